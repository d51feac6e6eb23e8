//! Channels and children under tokio: the feature `tokio`.
//!
//! These types do what the blocking ones do, with the same sockets, messages and checks, but they
//! wait in the runtime. You can convert an end to the other kind at any time, and the two ends of a
//! channel may be of different kinds.
//!
//! Creating, sending and receiving an end needs no runtime. The first call that may wait registers
//! the end with the current runtime, and the end then belongs to that runtime. The runtime must
//! have I/O enabled. A [`Child`] also needs time (`enable_all`, which `#[tokio::main]` does).
//!
//! ```
//! use crossmist::func;
//! use crossmist::tokio::{Duplex, duplex};
//!
//! #[func]
//! #[tokio::main(flavor = "current_thread")]
//! async fn adder(mut chan: Duplex<i32, Vec<i32>>) {
//!     while let Some(nums) = chan.recv().await.unwrap() {
//!         let sum = nums.into_iter().sum();
//!         chan.send(&sum).await.unwrap();
//!     }
//! }
//!
//! #[crossmist::main]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() {
//!     let (mut ours, theirs) = duplex().unwrap();
//!     adder.spawn_tokio(theirs).await.unwrap();
//!     assert_eq!(ours.request(&vec![5, 7]).await.unwrap(), 12);
//! }
//! ```

mod call;
mod object;

use std::future::Future;
use std::io;
use std::time::Instant;

use ::tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::runtime::{self, Reactor};
use crate::sys::readiness::{Held, register_with_tokio};

/// A function that is running in a child process, waited for in a tokio runtime.
pub type Child<T> = runtime::Child<T, Tokio>;

/// The end of a channel that sends `T`s in a tokio runtime.
pub type Sender<T> = runtime::Sender<T, Tokio>;

/// The end of a channel that receives `T`s in a tokio runtime.
pub type Receiver<T> = runtime::Receiver<T, Tokio>;

/// One end of a channel in both directions in a tokio runtime.
pub type Duplex<S, R> = runtime::Duplex<S, R, Tokio>;

/// The runtime of the current task.
#[derive(Clone, Copy, Debug)]
pub struct Tokio;

impl Reactor for Tokio {
    type Source = AsyncFd<Held>;
    type Ready<'s> = AsyncFdReadyGuard<'s, Held>;

    fn register(held: Held) -> io::Result<Self::Source> {
        register_with_tokio(held)
    }

    fn readable(source: &Self::Source) -> impl Future<Output = io::Result<Self::Ready<'_>>> + Send {
        source.readable()
    }

    fn writable(source: &Self::Source) -> impl Future<Output = io::Result<Self::Ready<'_>>> + Send {
        source.writable()
    }

    fn clear(mut ready: Self::Ready<'_>) {
        ready.clear_ready();
    }

    fn sleep_until(time: Instant) -> impl Future<Output = ()> + Send {
        ::tokio::time::sleep_until(time.into())
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        ::tokio::task::yield_now()
    }
}

runtime::constructors!();
