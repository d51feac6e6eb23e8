//! `Duplex::request`, blocking and with tokio.

use std::time::Instant;

use crossmist::{Child, Duplex, func};

use crate::harness::{Group, Result, Row};
use crate::rows::round_trip::{Messages, same_bytes};

type Bytes = Vec<u8>;

#[func]
pub(crate) fn echo(mut channel: Duplex<Bytes, Bytes>) {
    while let Ok(Some(message)) = channel.recv() {
        if channel.send(&message).is_err() {
            break;
        }
    }
}

/// An echoing child, which ends when its channel does.
pub(crate) fn start() -> Result<(Child<()>, Duplex<Bytes, Bytes>)> {
    let (ours, theirs) = crossmist::duplex()?;
    let child = echo.builder().kill_on_drop(true).spawn(theirs)?;
    Ok((child, ours))
}

pub(crate) fn blocking(group: &mut Group, size: usize) {
    group.ours("request", move || request(size));
}

fn request(size: usize) -> Result<impl Row> {
    let (child, mut channel) = start()?;
    let mut messages = Messages::new(size);
    Ok(move || {
        let _alive = &child;
        let message = messages.next().to_vec();
        let start = Instant::now();
        let answer = channel.request(&message)?;
        let took = start.elapsed();
        same_bytes(&answer, &message)?;
        Ok(took.into())
    })
}

pub(crate) fn tokio(_: &mut Group, _size: usize) {}
