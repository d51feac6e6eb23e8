//! A `Vec<u8>` through a channel, acknowledged by its new owner.

use std::rc::Rc;
use std::time::Instant;

use crossmist::{Duplex, Limits, func};

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
    let payload = Rc::clone(payload);
    group.ours("send and recv", move || send(payload));
}

fn send(payload: Payload) -> Result<impl Row> {
    let limits = Limits::new().message_bytes(1 << 30);
    let (mut channel, mut theirs) = crossmist::duplex::<Vec<u8>, u64>()?;
    channel.set_limits(limits);
    theirs.set_limits(limits);
    let child = receive.builder().kill_on_drop(true).spawn(theirs)?;
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
