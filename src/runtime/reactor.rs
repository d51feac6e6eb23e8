//! `Reactor`: the interface to a runtime, which waits for descriptors and for time, and decides nothing.

use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use crate::sys::readiness::Held;
use crate::transport::{Interest, WaitFor};

/// An asynchronous runtime that this library can wait in: [`Tokio`](crate::tokio::Tokio) or
/// [`Smol`](crate::smol::Smol). It cannot be implemented elsewhere, since the type of a registered descriptor
/// has no public name.
pub trait Reactor: Debug + Send + Sync + Sized + 'static {
    /// A descriptor that the runtime watches.
    type Source: Debug + Send + Sync;
    /// Says that a descriptor is ready, until it is cleared.
    type Ready<'s>: Send;

    /// Registers a descriptor.
    fn register(held: Held) -> io::Result<Self::Source>;

    /// Waits until a descriptor can be read from.
    fn readable(source: &Self::Source) -> impl Future<Output = io::Result<Self::Ready<'_>>> + Send;

    /// Waits until a descriptor can be written to.
    fn writable(source: &Self::Source) -> impl Future<Output = io::Result<Self::Ready<'_>>> + Send;

    /// Takes back a readiness at which nothing was there.
    fn clear(ready: Self::Ready<'_>);

    /// Waits until a point in time.
    fn sleep_until(time: Instant) -> impl Future<Output = ()> + Send;

    /// Gives other tasks a turn.
    fn yield_now() -> impl Future<Output = ()> + Send;
}

/// The event that ended a wait.
pub(super) enum Woken<'s, R: Reactor> {
    Socket(R::Ready<'s>),
    End(R::Ready<'s>),
    Time,
}

/// Waits for the first of what a step asks for.
pub(super) async fn wait<'s, R: Reactor>(
    socket: &'s R::Source,
    end: Option<&'s R::Source>,
    wait: WaitFor,
) -> io::Result<Woken<'s, R>> {
    let mut ended = pin!(async {
        match end.filter(|_| wait.end) {
            Some(end) => R::readable(end).await.map(Woken::End),
            None => std::future::pending().await,
        }
    });
    let mut ready = pin!(async {
        match wait.socket {
            Some(Interest::Readable) => R::readable(socket).await.map(Woken::Socket),
            Some(Interest::Writable) => R::writable(socket).await.map(Woken::Socket),
            None => std::future::pending().await,
        }
    });
    let mut late = pin!(async {
        match wait.until.instant() {
            Some(time) => R::sleep_until(time).await,
            None => std::future::pending().await,
        }
    });
    poll_fn(|context| {
        // The end first, as another process may keep the socket full.
        if let Poll::Ready(woken) = ended.as_mut().poll(context) {
            return Poll::Ready(woken);
        }
        if let Poll::Ready(woken) = ready.as_mut().poll(context) {
            return Poll::Ready(woken);
        }
        late.as_mut().poll(context).map(|()| Ok(Woken::Time))
    })
    .await
}
