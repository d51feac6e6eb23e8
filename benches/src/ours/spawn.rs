//! Unconfined calls: `run`, `run_tokio`, and many at once.

use std::time::Instant;

use crossmist::func;

use crate::harness::{Group, Result, Row, expect_same};
use crate::raw::next_sum;
use crate::rows::round_trip::tokio_runtime;

#[func]
pub(crate) fn add(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

pub(crate) fn one_child(group: &mut Group) {
    group.ours("run", || Ok(blocking()));
    group.ours("run_tokio", asynchronous);
}

fn blocking() -> impl Row {
    let mut counter = 0;
    move || {
        let ((a, b), sum) = next_sum(&mut counter);
        let start = Instant::now();
        let answer = add.run(a, b)?;
        let took = start.elapsed();
        expect_same(answer, sum)?;
        Ok(took.into())
    }
}

fn asynchronous() -> Result<impl Row> {
    let runtime = tokio_runtime()?;
    let mut counter = 0;
    Ok(move || {
        let ((a, b), sum) = next_sum(&mut counter);
        let start = Instant::now();
        let answer = runtime.block_on(add.run_tokio(a, b))?;
        let took = start.elapsed();
        expect_same(answer, sum)?;
        Ok(took.into())
    })
}

pub(crate) fn many_children(group: &mut Group, count: usize) {
    group.ours("spawn", move || Ok(many(count)));
}

fn many(count: usize) -> impl Row {
    let mut counter = 0;
    move || {
        let sums: Vec<_> = (0..count).map(|_| next_sum(&mut counter)).collect();
        let start = Instant::now();
        let children: Vec<_> = sums
            .iter()
            .map(|((a, b), _)| add.spawn(*a, *b))
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
