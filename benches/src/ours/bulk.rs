//! A `Vec<u8>` through a channel, acknowledged by its new owner.

use std::rc::Rc;
use std::time::Instant;

use crossmist::{Duplex, Limits, SandboxPolicy, func};

use crate::harness::{Group, Result, Row, expect_same};
use crate::rows::bulk::{Payload, sum};

/// Acknowledges with the length, then says the sum.
#[func]
pub(crate) fn receive(mut channel: Duplex<u64, Vec<u8>>) {
    while let Ok(Some(bytes)) = channel.recv() {
        if channel.send(&(bytes.len() as u64)).is_err() {
            break;
        }
        let summed = sum(&bytes);
        drop(bytes);
        if channel.send(&summed).is_err() {
            break;
        }
    }
}

pub(crate) fn one_way(group: &mut Group, payload: &Payload) {
    for (name, bulk) in [("send and recv", false), ("send and recv, bulk", true)] {
        let payload = Rc::clone(payload);
        group.ours(name, move || send(payload, bulk));
    }
}

#[func(sandbox = dynamic)]
fn make(size: usize) -> Vec<u8> {
    vec![7; size]
}

/// `parser`, for long values.
fn policy() -> Result<SandboxPolicy> {
    let text = "format = 1\nextends = [\"parser\"]\n[limits.channel]\nmessage_bytes = \"256MiB\"\n";
    Ok(SandboxPolicy::from_toml("bulk", text)?)
}

pub(crate) fn answers(group: &mut Group, size: usize) {
    for (name, bulk) in [("run", false), ("run, bulk", true)] {
        group.ours(name, move || {
            let policy = policy()?;
            Ok(move || {
                let start = Instant::now();
                let made = make
                    .sandbox(&policy)
                    .bulk(bulk)
                    .limits(limits())
                    .run(size)?;
                let took = start.elapsed();
                expect_same(made.len(), size)?;
                Ok(took.into())
            })
        });
    }
    group.ours("run, long argument", move || {
        let policy = policy()?;
        Ok(move || {
            let argument = vec![7; size];
            let start = Instant::now();
            let length = measure.sandbox(&policy).limits(limits()).run(argument)?;
            let took = start.elapsed();
            expect_same(length, size)?;
            Ok(took.into())
        })
    });
}

#[func(sandbox = dynamic)]
fn measure(bytes: Vec<u8>) -> usize {
    bytes.len()
}

fn limits() -> Limits {
    Limits::new().message_bytes(1 << 30)
}

fn send(payload: Payload, bulk: bool) -> Result<impl Row> {
    let (mut channel, mut theirs) = crossmist::duplex::<Vec<u8>, u64>()?;
    channel.set_limits(limits());
    theirs.set_limits(limits());
    let builder = receive.builder().kill_on_drop(true);
    let child = builder.bulk(bulk).spawn(theirs)?;
    let expected = sum(&payload);
    Ok(move || {
        let _alive = &child;
        let start = Instant::now();
        channel.send(&payload)?;
        expect_same(channel.recv()?, Some(payload.len() as u64))?;
        let took = start.elapsed();
        expect_same(channel.recv()?, Some(expected))?;
        Ok(took.into())
    })
}
