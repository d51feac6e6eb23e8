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
mod channel;
mod child;
mod endpoint;
mod object;

pub use self::channel::{Duplex, Receiver, Sender, channel, duplex};
pub use self::child::Child;

pub(crate) use self::call::{run, spawn};

/// Channels that carry code. See [`crossmist::trusted`](crate::channel::trusted).
pub mod trusted {
    use super::{Duplex, Receiver, Sender};
    use crate::ChannelError;
    use crate::object::Object;

    /// Creates a channel in one direction, for values that may hold code.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Io`] if no socket can be created.
    pub fn channel<T: Object>() -> Result<(Sender<T>, Receiver<T>), ChannelError> {
        crate::channel::trusted::channel()
            .map(|(sender, receiver)| (sender.into(), receiver.into()))
    }

    /// Creates a channel in both directions, for values that may hold code.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Io`] if no socket can be created.
    pub fn duplex<S: Object, R: Object>() -> Result<(Duplex<S, R>, Duplex<R, S>), ChannelError> {
        crate::channel::trusted::duplex().map(|(ours, theirs)| (ours.into(), theirs.into()))
    }
}
