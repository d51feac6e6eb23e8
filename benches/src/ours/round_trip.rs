//! `Duplex::request`, blocking and with tokio.

use std::time::Instant;

use crossmist::{Child, Duplex, func};

use crate::harness::{Group, Result, Row};
use crate::rows::round_trip::{Messages, same_bytes, tokio_runtime};

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

#[func]
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn echo_tokio(mut channel: crossmist::tokio::Duplex<Bytes, Bytes>) {
    while let Ok(Some(message)) = channel.recv().await {
        if channel.send(&message).await.is_err() {
            break;
        }
    }
}

pub(crate) fn tokio(group: &mut Group, size: usize) {
    group.ours("tokio request", move || request_tokio(size));
}

fn request_tokio(size: usize) -> Result<impl Row> {
    let runtime = tokio_runtime()?;
    let (child, mut channel) = runtime.block_on(async {
        let (ours, theirs) = crossmist::tokio::duplex()?;
        let child = echo_tokio.builder().kill_on_drop(true).spawn(theirs)?;
        Result::Ok((child, ours))
    })?;
    let mut messages = Messages::new(size);
    Ok(move || {
        let _alive = &child;
        let message = messages.next().to_vec();
        let took = runtime.block_on(async {
            let start = Instant::now();
            let answer = channel.request(&message).await?;
            let took = start.elapsed();
            same_bytes(&answer, &message)?;
            Result::Ok(took)
        })?;
        Ok(took.into())
    })
}
