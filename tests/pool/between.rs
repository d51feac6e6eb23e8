//! What a reused child does between two calls, or at the end of one: the next call neither pays for it nor waits.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossmist::{
    DecodeError, Decoder, Encoder, Error, Object, Pool, Reuse, SandboxPolicy, Shape, func,
};

use crate::calls::until_full;
use crate::cases;
use crate::support::{Case, raw, wait_until};

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
            let mut report = [0; 80];
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
        std::thread::sleep(Duration::from_millis(300));
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
    for round in 0..600 {
        until_full(&pool, 1);
        // Around the deadline, whatever the way there and back takes.
        if pool.run(4_400 + round).is_err() {
            continue;
        }
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

pub(crate) const CASES: &[Case] = cases![
    what_an_idle_child_sends_is_never_decoded,
    a_child_that_claims_a_violation_gets_no_other_call,
    a_deadline_that_passes_with_the_answer_does_not_end_the_next_call,
];
