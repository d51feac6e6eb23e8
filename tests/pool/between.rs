//! What a reused child does between two calls, or at the end of one: the next call neither pays for it nor waits.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossmist::{
    DecodeError, Decoder, Encoder, Error, Object, Pool, Receiver, Reuse, SandboxPolicy, Sender,
    Shape, channel, func,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::dup2_stderr;

use crate::calls::until_full;
use crate::cases;
use crate::hostile::{keeper, kill, named};
use crate::support::{Case, patience, raw, wait_until};

/// How many calls this process has seen.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// How many values this process has decoded.
static DECODED: AtomicU32 = AtomicU32::new(0);

/// A value whose decoding is noticed.
#[derive(Debug, PartialEq)]
struct Noticed(u32);

impl Object for Noticed {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.0.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        DECODED.fetch_add(1, Ordering::SeqCst);
        u32::decode(decoder).map(Noticed)
    }

    fn describe(shape: &mut Shape) {
        shape.part::<u32>("0");
    }

    fn least_bytes() -> usize {
        4
    }
}

/// Does what it is told, and returns which call of its process it is.
#[func(sandbox = "parser")]
fn behaves(how: String) -> Noticed {
    let number = SEEN.fetch_add(1, Ordering::SeqCst) + 1;
    match how.as_str() {
        "answers nobody" => {
            std::thread::spawn(|| {
                // By then the program has the answer of this call.
                std::thread::sleep(Duration::from_millis(100));
                let _ = raw::send(raw::launch_socket(), &unasked());
            });
        }
        "claims a violation" => {
            let mut report = [0; 208];
            report[0] = 0xC3;
            raw::send(raw::launch_socket(), &report).unwrap();
        }
        _ => {}
    }
    Noticed(number)
}

/// A well-formed answer to no call.
fn unasked() -> Vec<u8> {
    let body = [&[0][..], &7_u32.to_le_bytes()].concat();
    let mut message = vec![0xC1, 0, 0, 0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    message.extend_from_slice(&[0; 24]);
    message.extend_from_slice(&body);
    message
}

fn pool() -> Pool<(String,), Noticed> {
    let pool = Pool::of(behaves).workers(1).spares(1);
    let pool = pool.reuse(Reuse::Always).build().unwrap();
    until_full(&pool, 1);
    pool
}

fn call(pool: &Pool<(String,), Noticed>, how: &str) -> Result<u32, Error> {
    pool.run(how.to_owned()).map(|Noticed(number)| number)
}

/// Decoding is the user's code: it may take long or panic, and the pool waits for whoever looks at idle children.
fn what_an_idle_child_sends_is_never_decoded() {
    let pool = pool();
    assert_eq!(call(&pool, "answers nobody").unwrap(), 1);
    // The control: what was asked is decoded.
    assert_eq!(DECODED.load(Ordering::SeqCst), 1);
    wait_until("the pool has given up the child", || {
        // By then the child has sent it, and no call is under way.
        std::thread::sleep(Duration::from_secs(2));
        call(&pool, "counts").unwrap();
        pool.stats().died_idle > 0
    });
    let stats = pool.stats();
    assert_eq!(u64::from(DECODED.load(Ordering::SeqCst)), stats.calls);
    assert_eq!(stats.failed, 0);
}

/// Otherwise a later violation would be told of in its words.
fn a_child_that_claims_a_violation_gets_no_other_call() {
    let pool = pool();
    assert_eq!(call(&pool, "counts").unwrap(), 1);
    // The control: without the claim, it is the same child.
    assert_eq!(call(&pool, "counts").unwrap(), 2);
    assert_eq!(call(&pool, "claims a violation").unwrap(), 3);
    assert_eq!(call(&pool, "counts").unwrap(), 1);
}

/// Answers this much later.
#[func(sandbox = dynamic)]
fn takes(micros: u64) -> u32 {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    SEEN.fetch_add(1, Ordering::SeqCst) + 1
}

fn a_deadline_that_passes_with_the_answer_does_not_end_the_next_call() {
    let time = Duration::from_millis(5);
    // No other limit ends it.
    let policy = SandboxPolicy::from_toml(
        "takes",
        "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[limits]\ncpu_time = \"none\"\n",
    );
    let pool = Pool::of(takes).workers(1).spares(1).deadline(time);
    let pool = { pool }.sandbox(&policy.unwrap()).reuse(Reuse::Always);
    let pool = pool.build().unwrap();
    let mut answered = 0;
    let mut micros = 4_400_u64;
    for _ in 0..200 {
        until_full(&pool, 1);
        // Around the deadline, whatever the way there and back takes.
        if pool.run(micros).is_err() {
            micros = micros.saturating_sub(200);
            continue;
        }
        micros += 7;
        answered += 1;
        let begun = Instant::now();
        if let Err(error) = pool.run(0) {
            assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
            // If the machine is busy, it may be its own.
            let took = begun.elapsed();
            assert!(took >= time, "ended after {took:?}");
        }
    }
    assert!(answered > 0, "no call was answered in time");
}

/// Tells that it runs, and waits until it may answer.
#[func(sandbox = "parser")]
pub(crate) fn answers_on_time(mut told: Sender<()>, mut go: Receiver<()>) {
    told.send(&()).unwrap();
    go.recv().unwrap();
}

type Waiting = Pool<(Sender<()>, Receiver<()>), ()>;

fn pool_of_waiting(workers: usize) -> Waiting {
    let pool = Pool::of(answers_on_time).workers(workers).spares(1);
    let pool = pool.reuse(Reuse::Always).build().unwrap();
    until_full(&pool, 1);
    pool
}

fn a_call_that_ends_after_the_pool_was_closed_leaves_no_child() {
    let pool = pool_of_waiting(1);
    let keeper = keeper();
    let children = || named(keeper, "answers_on_time");
    let (tell, mut told) = channel().unwrap();
    let (mut go, wait) = channel().unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.run(tell, wait));
        told.recv().unwrap();
        pool.close();
        wait_until("only the child of the call is left", || {
            children().len() == 1
        });
        // The thread of the pool has nothing to do meanwhile.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(children().len(), 1);
        go.send(&()).unwrap();
        call.join().unwrap().unwrap();
    });
    wait_until("it has ended, although the pool is still there", || {
        children().is_empty()
    });
    drop(pool);
}

/// Has a child answer a call that takes longer than the thread of the pool stays awake, and returns the child.
fn long_call(pool: &Waiting) -> u32 {
    let (tell, mut told) = channel().unwrap();
    let (mut go, wait) = channel().unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.run(tell, wait));
        told.recv().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let children = named(keeper(), "answers_on_time");
        go.send(&()).unwrap();
        call.join().unwrap().unwrap();
        children[0]
    })
}

fn a_child_is_idle_from_the_end_of_its_call_on() {
    let idle_time = Duration::from_millis(100);
    let pool = Pool::of(answers_on_time).workers(1).spares(1);
    let pool = { pool }.reuse(Reuse::Always).idle_time(idle_time);
    let pool = pool.build().unwrap();
    long_call(&pool);
    wait_until("it has been given up", || {
        named(keeper(), "answers_on_time").is_empty()
    });
    assert!(pool.stats().released >= 1);
}

fn a_child_that_dies_after_a_long_call_is_replaced_before_the_next() {
    let pool = pool_of_waiting(1);
    let child = long_call(&pool);
    assert_eq!((pool.stats().spares, pool.stats().died_idle), (1, 0));
    kill(child, Signal::SIGKILL);
    wait_until("it has been replaced", || {
        let stats = pool.stats();
        (stats.spares, stats.died_idle) == (1, 1)
    });
    assert_ne!(long_call(&pool), child);
    assert_eq!((pool.stats().hits, pool.stats().misses), (2, 0));
}

/// Whether spares could be started or not: nobody calls.
fn an_idle_pool_takes_no_processor_time() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let idle_time = patience(Duration::from_secs(8));
    let pool = Pool::of(answers_on_time).workers(1).spares(2);
    let pool = pool.idle_time(idle_time).build().unwrap();
    until_full(&pool, 2);
    let spares = named(keeper(), "answers_on_time");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Enough to wait for two descriptors, and not for another one.
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    spares.into_iter().for_each(|id| kill(id, Signal::SIGKILL));
    wait_until("no spare could be started", || {
        pool.stats().failed_starts > 0
    });
    std::thread::sleep(idle_time);
    let before = raw::processor_time();
    std::thread::sleep(Duration::from_secs(1));
    let took = raw::processor_time() - before;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(took < Duration::from_millis(100), "{took:?}");
}

/// Prints something, and answers when it may.
#[func(sandbox = "parser")]
fn prints(text: String) {
    eprintln!("{text}");
}

/// Does something while the standard error of this process is a file, and returns what is found there once it has so
/// many lines.
pub(crate) fn printed(lines: usize, work: impl FnOnce()) -> String {
    let file = memfd_create(c"printed", MFdFlags::empty()).unwrap();
    let stderr = std::io::stderr();
    let before = stderr.as_fd().try_clone_to_owned().unwrap();
    dup2_stderr(&file).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let shown = || std::fs::read_to_string(&path).unwrap();
    work();
    let patience = Instant::now() + patience(Duration::from_secs(20));
    while shown().lines().count() < lines && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    dup2_stderr(&before).unwrap();
    shown()
}

fn what_a_reused_child_printed_is_shown_when_it_is_given_up() {
    for (reuse, idle_time) in [
        // The control: a child that is not reused.
        (Reuse::Never, Duration::from_secs(60)),
        (Reuse::Always, Duration::from_secs(60)),
        // For now, the pool stays.
        (Reuse::Always, Duration::from_millis(100)),
    ] {
        let pool = Pool::of(prints).workers(1).spares(1).idle_time(idle_time);
        let pool = pool.reuse(reuse).build().unwrap();
        let is_closed = idle_time > Duration::from_secs(1);
        let shown = printed(2, || {
            pool.run("first".to_owned()).unwrap();
            pool.run("second".to_owned()).unwrap();
            if is_closed {
                pool.close();
            }
        });
        for text in ["first", "second"] {
            assert!(shown.contains(text), "{reuse:?}, {idle_time:?}: {shown:?}");
        }
    }
}

/// Calls that run at once have a child each, of which one is to stay. There are workers enough that none is killed.
fn what_a_surplus_child_printed_is_shown() {
    let pool = Pool::of(prints).workers(64).spares(1);
    let pool = pool.reuse(Reuse::Always).build().unwrap();
    let shown = printed(64, || {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..8).for_each(|_| pool.run("text".to_owned()).unwrap()));
            }
        });
        pool.close();
    });
    let lines = shown.lines().filter(|line| line.ends_with("text"));
    assert_eq!(lines.count(), 64, "{shown}");
}

/// Otherwise the next call would have to start one.
#[cfg(feature = "tokio")]
fn the_child_of_a_cancelled_call_is_replaced_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let pool = pool_of_waiting(1);
    let (tell, mut told) = channel().unwrap();
    let (_go, wait) = channel().unwrap();
    runtime.block_on(async {
        let call = pool.run_tokio(tell, wait);
        let mut call = std::pin::pin!(call);
        let begun = async {
            while told.try_recv().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The thread of the pool has nothing to do by now.
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        tokio::select! {
            result = &mut call => panic!("it has ended: {result:?}"),
            () = begun => {}
        }
        assert_eq!(pool.stats().spares, 0);
    });
    until_full(&pool, 1);
}

#[cfg(not(feature = "tokio"))]
fn the_child_of_a_cancelled_call_is_replaced_at_once() {}

pub(crate) const CASES: &[Case] = cases![
    what_an_idle_child_sends_is_never_decoded,
    a_child_that_claims_a_violation_gets_no_other_call,
    a_deadline_that_passes_with_the_answer_does_not_end_the_next_call,
    a_call_that_ends_after_the_pool_was_closed_leaves_no_child,
    a_child_is_idle_from_the_end_of_its_call_on,
    a_child_that_dies_after_a_long_call_is_replaced_before_the_next,
    an_idle_pool_takes_no_processor_time,
    what_a_reused_child_printed_is_shown_when_it_is_given_up,
    what_a_surplus_child_printed_is_shown,
    the_child_of_a_cancelled_call_is_replaced_at_once,
];
