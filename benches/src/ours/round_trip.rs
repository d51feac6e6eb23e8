//! `Duplex::request`, blocking and with tokio.

use std::time::{Duration, Instant};

use crossmist::{Child, Duplex, func};

use crate::harness::{Group, Result, Row};
use crate::rows::round_trip::{Messages, same_bytes, tokio_runtime};

type Bytes = Vec<u8>;

/// How long a busy side looks for a message before it waits.
pub(crate) const BUSY: Duration = Duration::from_micros(30);

#[func]
pub(crate) fn echo(channel: Duplex<Bytes, Bytes>) {
    echo_all(channel);
}

#[func(sandbox = "worker")]
pub(crate) fn echo_confined(channel: Duplex<Bytes, Bytes>) {
    echo_all(channel);
}

#[func]
pub(crate) fn echo_busily(mut channel: Duplex<Bytes, Bytes>) {
    channel.set_busy_poll(BUSY);
    echo_all(channel);
}

#[func(sandbox = "worker")]
pub(crate) fn echo_busily_confined(mut channel: Duplex<Bytes, Bytes>) {
    channel.set_busy_poll(BUSY);
    echo_all(channel);
}

fn echo_all(mut channel: Duplex<Bytes, Bytes>) {
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
    group.ours("request", move || request(start()?, size));
    group.ours("request, policy worker", move || {
        let (ours, theirs) = crossmist::duplex()?;
        let child = echo_confined.builder().kill_on_drop(true).spawn(theirs)?;
        request((child, ours), size)
    });
}

/// Both sides look for a message for a while before they wait.
pub(crate) fn busy(group: &mut Group, size: usize) {
    group.ours("request, busy polling", move || {
        let (mut ours, theirs) = crossmist::duplex()?;
        ours.set_busy_poll(BUSY);
        let child = echo_busily.builder().kill_on_drop(true).spawn(theirs)?;
        request((child, ours), size)
    });
    group.ours("busy polling, policy worker", move || {
        let (mut ours, theirs) = crossmist::duplex()?;
        ours.set_busy_poll(BUSY);
        let child = echo_busily_confined
            .builder()
            .kill_on_drop(true)
            .spawn(theirs)?;
        request((child, ours), size)
    });
}

fn request(started: (Child<()>, Duplex<Bytes, Bytes>), size: usize) -> Result<impl Row> {
    let (child, mut channel) = started;
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
