//! Confined calls: forked from the keeper, by the whole of a policy and by next to nothing.

use std::time::Instant;

use std::sync::OnceLock;

use crossmist::{Pool, PoolBuilder, Reuse, func};

use crate::harness::{Group, Result, Row, Sample, bring, expect_same};
use crate::raw::next_sum;

#[func(sandbox = "parser", wall_time = "10s")]
fn confined(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

#[func(sandbox = "pure")]
fn pure(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

/// Everything but the confinement: what the policy's layers cost is the difference.
#[func(sandbox = "unconfined")]
fn unconfined(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

/// A child by which the keeper is found.
#[func(sandbox = "parser")]
fn stay() {
    std::thread::sleep(std::time::Duration::from_secs(10));
}

pub(crate) fn fresh_child(group: &mut Group) {
    group.ours("run, policy parser", || {
        Calls::new(|a, b| confined.run(a, b))
    });
    group.ours("run, policy pure", || Calls::new(|a, b| pure.run(a, b)));
    group.peer("run, policy unconfined", || {
        Calls::new(|a, b| unconfined.run(a, b))
    });
}

/// State that was prepared before the calls.
static PREPARED: OnceLock<Vec<u64>> = OnceLock::new();

/// Fills ten mebibytes.
fn prepare() {
    PREPARED.get_or_init(|| (0..10 << 17).collect());
}

#[func(sandbox = "parser", wall_time = "10s", preload = prepare)]
fn prepared(a: u64, b: u64) -> u64 {
    let zero = PREPARED.get().map_or(1, |state| state[0]);
    a.wrapping_add(b).wrapping_add(zero)
}

type Building = fn() -> PoolBuilder<(u64, u64), u64>;

pub(crate) fn spare_child(group: &mut Group) {
    let rows: [(&str, Building); 3] = [
        ("pool, policy parser", || Pool::of(confined)),
        ("pool, 10 MiB prepared", || Pool::of(prepared)),
        ("pool, children reused", || {
            Pool::of(confined).reuse(Reuse::Always)
        }),
    ];
    for (name, build) in rows {
        group.ours(name, move || {
            Ok(Pooled {
                build,
                pool: None,
                counter: 0,
            })
        });
    }
}

/// Calls to a child that waits. The time that it takes to replace it does not count, as with the floor.
struct Pooled {
    build: Building,
    pool: Option<Pool<(u64, u64), u64>>,
    counter: u64,
}

impl Row for Pooled {
    /// The spares are for calls from the processor that they were started on.
    fn enter(&mut self) -> Result<()> {
        self.pool = None;
        bring(keeper()?)?;
        self.pool = Some((self.build)().workers(1).spares(1).build()?);
        Ok(())
    }

    fn run(&mut self) -> Result<Sample> {
        let pool = self.pool.as_ref().ok_or("there is no pool")?;
        while pool.stats().spares == 0 {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        let ((a, b), sum) = next_sum(&mut self.counter);
        let start = Instant::now();
        let answer = pool.run(a, b)?;
        let took = start.elapsed();
        expect_same(answer, sum)?;
        if pool.stats().misses > 0 {
            return Err(format!("a call found no spare child: {:?}", pool.stats()).into());
        }
        Ok(took.into())
    }
}

pub(crate) fn many_children(group: &mut Group, count: usize) {
    group.ours("spawn, policy parser", move || Ok(many(count)));
}

/// The parent of a confined child.
fn keeper() -> Result<u32> {
    let mut child = stay.spawn()?;
    child.confinement()?;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id().unwrap_or_default()))?;
    child.kill()?;
    let parent = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(1));
    Ok(parent.unwrap_or_default().parse()?)
}

type Call = fn(u64, u64) -> std::result::Result<u64, crossmist::Error>;

struct Calls {
    call: Call,
    keeper: u32,
    counter: u64,
}

impl Calls {
    fn new(call: Call) -> Result<Self> {
        Ok(Self {
            call,
            keeper: keeper()?,
            counter: 0,
        })
    }
}

impl Row for Calls {
    /// The keeper, and so its children, runs where the row does.
    fn enter(&mut self) -> Result<()> {
        Ok(bring(self.keeper)?)
    }

    fn run(&mut self) -> Result<Sample> {
        let ((a, b), sum) = next_sum(&mut self.counter);
        let start = Instant::now();
        let answer = (self.call)(a, b)?;
        let took = start.elapsed();
        expect_same(answer, sum)?;
        Ok(took.into())
    }
}

fn many(count: usize) -> impl Row {
    let mut counter = 0;
    move || {
        let sums: Vec<_> = (0..count).map(|_| next_sum(&mut counter)).collect();
        let start = Instant::now();
        let children: Vec<_> = sums
            .iter()
            .map(|((a, b), _)| confined.spawn(*a, *b))
            .collect::<std::result::Result<_, crossmist::Error>>()?;
        let answers: Vec<u64> = children
            .into_iter()
            .map(crossmist::Child::join)
            .collect::<std::result::Result<_, crossmist::Error>>()?;
        let took = start.elapsed();
        for (answer, (_, sum)) in answers.into_iter().zip(sums) {
            expect_same(answer, sum)?;
        }
        Ok(took.into())
    }
}
