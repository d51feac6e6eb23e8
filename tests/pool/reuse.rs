//! Children that answer several calls: what one of these calls can do to the next, and what it cannot.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossmist::{
    DecodeError, Decoder, Encoder, Error, Object, Pool, ProtocolError, Resource, Reuse,
    SandboxPolicy, Shape, UnsupportedKind, func,
};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::calls::{add, until_full};
use crate::cases;
use crate::hostile::{keeper, named};
use crate::support::{Case, patience, raw, wait_until};

/// How many calls this process has seen.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// Does what it is told, and returns which call of its process it is.
#[func(sandbox = dynamic)]
fn counts(how: String) -> u32 {
    let number = SEEN.fetch_add(1, Ordering::SeqCst) + 1;
    match how.as_str() {
        "opens" => {
            let _ = std::net::TcpStream::connect("127.0.0.1:1");
        }
        "panics" => panic!("on purpose"),
        "exits" => raw::exit(3),
        "works" => work(Duration::from_millis(400)),
        "loops" => work(Duration::from_secs(3600)),
        "answers without a number" => {
            raw::send(
                raw::launch_socket(),
                &message(&[&[0], &7_u32.to_le_bytes()]),
            )
            .unwrap();
            never_return();
        }
        "answers another call" => {
            let other = [&12345_u64.to_le_bytes()[..], &[0], &7_u32.to_le_bytes()];
            raw::send(raw::launch_socket(), &message(&other)).unwrap();
            never_return();
        }
        "answers later" => {
            std::thread::spawn(|| {
                // By then the program has the answer of this call.
                std::thread::sleep(Duration::from_millis(100));
                let other = [&12345_u64.to_le_bytes()[..], &[0], &7_u32.to_le_bytes()];
                raw::send(raw::launch_socket(), &message(&other)).unwrap();
            });
        }
        _ => {}
    }
    number
}

/// No other answer follows.
fn never_return() {
    loop {
        std::thread::park();
    }
}

/// Is busy for this much time on a processor.
fn work(time: Duration) {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    let begun = Duration::from(clock.now().unwrap());
    while Duration::from(clock.now().unwrap()) - begun < time {
        std::hint::black_box(begun);
    }
}

/// What the next call of a child gets that does not read it.
struct Stays {
    is_in_child: bool,
}

impl Object for Stays {
    fn encode<'a>(&'a self, _: &mut Encoder<'a>) {}

    fn decode(_: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { is_in_child: false })
    }

    fn describe(_: &mut Shape) {}
}

impl Drop for Stays {
    /// Answers the next call with something that is no message, as soon as it comes, and does not read it.
    fn drop(&mut self) {
        if self.is_in_child {
            let socket = raw::copy_of(raw::launch_socket());
            let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            nix::poll::poll(&mut sockets, PollTimeout::NONE).unwrap();
            raw::send(raw::launch_socket(), b"no message").unwrap();
            never_return();
        }
    }
}

#[func(sandbox = "parser")]
fn stays(is_in_child: bool) -> (u32, Stays) {
    (std::process::id(), Stays { is_in_child })
}

fn a_call_that_a_taken_over_child_never_read_is_given_to_another_one() {
    let pool = Pool::of(stays).workers(1).spares(1);
    let pool = pool.reuse(Reuse::Always).build().unwrap();
    let (hostile, _) = pool.run(true).unwrap();
    // The call is given to the child that waits, which is this one.
    let (next, _) = pool.run(false).unwrap();
    assert_ne!(hostile, next);
    let stats = pool.stats();
    assert_eq!((stats.calls, stats.failed, stats.reused), (2, 0, 1));
}

/// A message of one packet.
fn message(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut message = vec![0xC1, 0, 0, 0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    message.extend_from_slice(&[0; 24]);
    message.extend_from_slice(&body);
    message
}

type Counting = Pool<(String,), u32>;

/// A pool with one child, which has a second of processor time for each call.
fn pool(reuse: Reuse) -> Counting {
    let policy = SandboxPolicy::from_toml(
        "reuse",
        "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[limits]\nwall_time = \"none\"\ncpu_time = \"1s\"\n",
    );
    Pool::of(counts)
        .sandbox(&policy.unwrap())
        .workers(1)
        .spares(1)
        .reuse(reuse)
        .build()
        .unwrap()
}

fn call(pool: &Counting, how: &str) -> Result<u32, Error> {
    pool.run(how.to_owned())
}

fn what_a_call_leaves_behind_is_seen_by_the_next_only_in_a_reused_child() {
    for (reuse, expected, reused) in [
        (Reuse::Never, [1, 1, 1, 1], 0),
        (Reuse::Times(0), [1, 1, 1, 1], 0),
        (Reuse::Times(1), [1, 1, 1, 1], 0),
        (Reuse::Times(2), [1, 2, 1, 2], 2),
        (Reuse::Always, [1, 2, 3, 4], 3),
    ] {
        let pool = pool(reuse);
        let seen = [0, 1, 2, 3].map(|number| {
            if number % 2 == 0 {
                // Otherwise the call may start a child, and find another one beside it at its end.
                until_full(&pool, 1);
            }
            call(&pool, "counts").unwrap()
        });
        assert_eq!(seen, expected, "{reuse:?}");
        assert_eq!(pool.stats().reused, reused, "{reuse:?}");
    }
}

fn a_reused_child_whose_call_fails_is_replaced() {
    type Check = fn(&Error) -> bool;
    let bad: [(&str, Check); 3] = [
        ("opens", |error| matches!(error, Error::Violation(_))),
        ("panics", |error| matches!(error, Error::Panicked(_))),
        ("exits", |error| {
            matches!(error, Error::Exited { status: 3, .. })
        }),
    ];
    let pool = pool(Reuse::Always);
    for (how, is_expected) in bad {
        until_full(&pool, 1);
        assert_eq!(call(&pool, "counts").unwrap(), 1);
        // The control: without a failure, it is the same child.
        assert_eq!(call(&pool, "counts").unwrap(), 2);
        let error = call(&pool, how).unwrap_err();
        assert!(is_expected(&error), "{how}: {error:?}");
    }
    assert_eq!(call(&pool, "counts").unwrap(), 1);
}

/// Although a child comes back from a call while another one is being started.
fn no_more_spares_wait_than_are_wanted() {
    let pool = Pool::of(add).workers(1).spares(1);
    let pool = pool.reuse(Reuse::Times(2)).build().unwrap();
    for x in 0..200 {
        assert_eq!(pool.run(x, 1).unwrap(), x + 1);
        // The child of every other call gets no more of them, and its replacement is on its way when the next call
        // comes.
        std::thread::sleep(Duration::from_micros(x));
        assert!(pool.stats().spares <= 1);
    }
    until_full(&pool, 1);
}

fn an_answer_without_the_number_of_the_call_is_nobodys() {
    // The control: a child that answers one call is believed.
    let control = call(&pool(Reuse::Never), "answers without a number");
    assert_eq!(control.unwrap(), 7);

    let pool = pool(Reuse::Always);
    assert_eq!(call(&pool, "counts").unwrap(), 1);
    let result = call(&pool, "answers another call");
    assert!(
        matches!(result, Err(Error::Malformed(ProtocolError::Surplus))),
        "{result:?}"
    );
    assert_eq!(call(&pool, "counts").unwrap(), 1);
    let result = call(&pool, "answers without a number");
    assert!(matches!(result, Err(Error::Decode(_))), "{result:?}");
    assert_eq!(call(&pool, "counts").unwrap(), 1);
}

fn a_late_answer_of_the_previous_call_is_not_the_next_ones() {
    let pool = pool(Reuse::Always);
    for _ in 0..20 {
        let is_surplus = |result: &Result<u32, Error>| {
            matches!(result, Err(Error::Malformed(ProtocolError::Surplus)))
        };
        // It may be this call that meets the late answer of the one before.
        let first = call(&pool, "answers later");
        assert!(is_surplus(&first) || first.is_ok_and(|number| number != 7));
        std::thread::sleep(Duration::from_millis(300));
        // The answer has come before this call, or it comes while it runs, or later.
        let next = call(&pool, "counts");
        assert!(is_surplus(&next) || next.is_ok_and(|number| number != 7));
        if pool.stats().died_idle > 0 {
            // It came before. Its child was not believed any more, and the call had another one.
            return;
        }
    }
    panic!("no answer came between two calls");
}

fn each_call_of_a_reused_child_has_its_own_processor_time() {
    let pool = pool(Reuse::Always);
    for number in 1..=5 {
        // Twice as much in all as one call may take.
        assert_eq!(call(&pool, "works").unwrap(), number);
    }
    let begun = Instant::now();
    let error = call(&pool, "loops").unwrap_err();
    // The kernel's limit would take a thousand times as long.
    let is_limit = matches!(
        error,
        Error::Limit {
            resource: Resource::CpuTime,
            ..
        }
    );
    assert!(is_limit, "{error:?}");
    let took = begun.elapsed();
    assert!(took < patience(Duration::from_secs(60)), "{took:?}");
    assert_eq!(call(&pool, "counts").unwrap(), 1);
}

#[func(sandbox = "parser")]
fn counts_in_time() -> u32 {
    SEEN.fetch_add(1, Ordering::SeqCst) + 1
}

fn the_deadline_of_a_call_is_not_that_of_the_next() {
    let time = patience(Duration::from_secs(2));
    let pool = Pool::of(counts_in_time)
        .workers(1)
        .spares(1)
        .deadline(time)
        .reuse(Reuse::Always)
        .build()
        .unwrap();
    for number in 1..=3 {
        assert_eq!(pool.run().unwrap(), number);
        std::thread::sleep(time);
    }
}

fn reused_children_end_with_their_pool() {
    let pool = Pool::of(counts_in_time)
        .workers(2)
        .spares(2)
        .reuse(Reuse::Times(100))
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..20).for_each(|_| assert!(pool.run().unwrap() > 0)));
        }
    });
    let stats = pool.stats();
    assert!(stats.calls == 40 && stats.reused >= 20, "{stats:?}");
    let keeper = keeper();
    assert!(!named(keeper, "counts_in_time").is_empty());
    drop(pool);
    wait_until("they have ended", || {
        named(keeper, "counts_in_time").is_empty()
    });
}

/// Only spares are reused. A child that is started for a call takes it in the same way.
fn without_spares_no_child_is_reused() {
    let pool = Pool::of(counts_in_time)
        .workers(1)
        .spares(0)
        .reuse(Reuse::Always)
        .build()
        .unwrap();
    for _ in 0..5 {
        assert_eq!(pool.run().unwrap(), 1);
    }
    let stats = pool.stats();
    assert_eq!((stats.misses, stats.reused, stats.failed), (5, 0, 0));
}

#[func(sandbox = "parser")]
fn doubles(number: u32) -> u32 {
    number * 2
}

fn a_map_reuses_children_and_keeps_its_order() {
    let pool = Pool::of(doubles)
        .workers(2)
        .spares(2)
        .reuse(Reuse::Always)
        .build()
        .unwrap();
    let results: Vec<u32> = pool.map(0..50).map(Result::unwrap).collect();
    assert_eq!(
        results,
        (0..50).map(|number| number * 2).collect::<Vec<_>>()
    );
    assert!(pool.stats().reused >= 20, "{:?}", pool.stats());
}

/// A call that waits in a runtime takes the same steps.
#[cfg(feature = "tokio")]
fn calls_in_a_runtime_reuse_children() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let pool = pool(Reuse::Times(3));
    runtime.block_on(async {
        for number in 1..=3 {
            let seen = pool.run_tokio("counts".to_owned()).await.unwrap();
            assert_eq!(seen, number);
        }
        let seen = pool.run_tokio("counts".to_owned()).await.unwrap();
        assert_eq!(seen, 1);
    });
}

#[cfg(not(feature = "tokio"))]
fn calls_in_a_runtime_reuse_children() {}

/// The program could not see what one call of them takes.
fn children_of_several_processes_are_not_reused() {
    let pool = |lines: &str, reuse| {
        let text = format!("format = 1\nextends = [\"parser\"]\n{lines}");
        let policy = SandboxPolicy::from_toml("several", &text).unwrap();
        Pool::of(counts).sandbox(&policy).reuse(reuse).build()
    };
    let forks = "[syscalls]\nallow = [{ call = \"@process\", why = \"a test\" }]\n[limits]\nprocesses = 2\n";
    for lines in [forks, "[namespaces]\npid = \"own\"\n"] {
        // The controls: without reuse, and without a limit.
        assert_eq!(
            pool(lines, Reuse::Never)
                .unwrap()
                .run(String::new())
                .unwrap(),
            1
        );
        let unlimited = match lines.contains("[limits]") {
            true => format!("{lines}cpu_time = \"none\"\n"),
            false => format!("{lines}[limits]\ncpu_time = \"none\"\n"),
        };
        pool(&unlimited, Reuse::Times(3)).unwrap();
        let refused = pool(lines, Reuse::Times(3)).map(drop);
        let Err(Error::Unsupported { kind, reason, .. }) = refused else {
            panic!("{lines}: {refused:?}");
        };
        assert_eq!(kind, UnsupportedKind::UnmeasuredCalls);
        assert!(reason.contains("processes = 0"), "{reason}");
    }
}

pub(crate) const CASES: &[Case] = cases![
    a_call_that_a_taken_over_child_never_read_is_given_to_another_one,
    children_of_several_processes_are_not_reused,
    what_a_call_leaves_behind_is_seen_by_the_next_only_in_a_reused_child,
    a_reused_child_whose_call_fails_is_replaced,
    no_more_spares_wait_than_are_wanted,
    an_answer_without_the_number_of_the_call_is_nobodys,
    a_late_answer_of_the_previous_call_is_not_the_next_ones,
    each_call_of_a_reused_child_has_its_own_processor_time,
    the_deadline_of_a_call_is_not_that_of_the_next,
    reused_children_end_with_their_pool,
    a_map_reuses_children_and_keeps_its_order,
    without_spares_no_child_is_reused,
    calls_in_a_runtime_reuse_children,
];
