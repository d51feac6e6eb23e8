//! Calls and channels that wait in an asynchronous runtime, whichever it is.
//!
//! You name these types through the module of a runtime: [`crossmist::tokio`](crate::tokio) or
//! [`crossmist::smol`](crate::smol). They do what the blocking ones do, with the same sockets, messages and
//! checks: all of them take the same steps, and a runtime only waits between two steps. You can convert an
//! end to another kind at any time, and the two ends of a channel may be of different kinds.
//!
//! Creating an end, and sending it to another process, needs no runtime. The first call that may wait
//! registers the end, which then belongs to that runtime.

mod call;
mod channel;
mod child;
mod constructors;
mod endpoint;
mod names;
mod object;
mod reactor;

pub(crate) use self::call::{run, spawn};
pub use self::channel::{Duplex, Receiver, Sender};
pub use self::child::Child;
pub(crate) use self::constructors::constructors;
pub use self::reactor::Reactor;
