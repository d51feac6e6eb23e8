//! Channels and children on async-io: the feature `smol`.
//!
//! These types do what the blocking ones do, with the same sockets, messages and checks, but they wait in
//! the reactor of [`async-io`](async_io), which runs on a thread of its own. smol and async-std use it, and
//! every executor can: none needs to be running.
//!
//! ```
//! use crossmist::func;
//! use crossmist::smol::{Duplex, duplex};
//!
//! #[func]
//! fn adder(chan: Duplex<i32, Vec<i32>>) {
//!     async_io::block_on(async {
//!         let mut chan = chan;
//!         while let Some(nums) = chan.recv().await.unwrap() {
//!             let sum = nums.into_iter().sum();
//!             chan.send(&sum).await.unwrap();
//!         }
//!     })
//! }
//!
//! #[crossmist::main]
//! fn main() {
//!     async_io::block_on(async {
//!         let (mut ours, theirs) = duplex().unwrap();
//!         adder.spawn_smol(theirs).await.unwrap();
//!         assert_eq!(ours.request(&vec![5, 7]).await.unwrap(), 12);
//!     })
//! }
//! ```

mod call;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_io::{Async, Timer};

use crate::runtime::{self, Reactor};
use crate::sys::readiness::Held;

/// A function that is running in a child process, waited for on async-io.
pub type Child<T> = runtime::Child<T, Smol>;

/// The end of a channel that sends `T`s on async-io.
pub type Sender<T> = runtime::Sender<T, Smol>;

/// The end of a channel that receives `T`s on async-io.
pub type Receiver<T> = runtime::Receiver<T, Smol>;

/// One end of a channel in both directions on async-io.
pub type Duplex<S, R> = runtime::Duplex<S, R, Smol>;

/// The reactor of async-io.
#[derive(Clone, Copy, Debug)]
pub struct Smol;

impl Reactor for Smol {
    type Source = Async<Held>;
    // The reactor asks the kernel anew for each wait.
    type Ready<'s> = ();

    fn register(held: Held) -> io::Result<Self::Source> {
        // No call on these descriptors blocks, whatever their mode, which other processes share.
        Async::new_nonblocking(held)
    }

    fn readable(source: &Self::Source) -> impl Future<Output = io::Result<()>> + Send {
        source.readable()
    }

    fn writable(source: &Self::Source) -> impl Future<Output = io::Result<()>> + Send {
        source.writable()
    }

    fn clear((): ()) {}

    async fn sleep_until(time: Instant) {
        Timer::at(time).await;
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        Turn { was_given: false }
    }
}

/// Lets the executor run other tasks once.
struct Turn {
    was_given: bool,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.was_given {
            return Poll::Ready(());
        }
        self.was_given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

runtime::constructors!();
