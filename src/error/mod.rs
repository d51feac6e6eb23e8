//! The errors of a call, with one variant for each stage.

mod backtrace;
mod blame;
mod kinds;
mod named_place;
mod panic;
mod place;
mod result_limit;
mod step;
mod text;
mod violation;

use std::io;
use std::time::Duration;

use crate::channel::ChannelError;
use crate::object::{DecodeError, EncodeError, debug_as_text, in_part};
use crate::wire::ProtocolError;

pub use self::backtrace::BacktraceFrame;
pub(crate) use self::backtrace::Stack;
pub use self::blame::Blame;
pub(crate) use self::kinds::Unusable;
pub use self::kinds::{UnsupportedKind, UnusableKind};
pub(crate) use self::named_place::NamedPlace;
pub use self::panic::Panic;
pub(crate) use self::place::Place;
#[cfg(crossmist_learn)]
pub(crate) use self::place::{NamedFrame, look_up};
pub use self::result_limit::ResultLimit;
pub use self::step::Step;
pub use self::text::ChildText;
pub use self::violation::{DeniedCall, Resource, Traffic, Violation};

/// Why a call failed.
///
/// The variants follow the stages of a call. Those after [`Launch`](Error::Launch), except
/// [`Policy`](Error::Policy) and [`Channel`](Error::Channel), concern a child that was started. It
/// has ended, or has been killed, by the time that the error is returned.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program has no entry for child processes.
    #[error(
        "this program has no entry for child processes: put `#[crossmist::main]` on `fn main`, or \
         call `crossmist::init()` first thing in it; a library or a `#[test]` enables the feature \
         `early-entry` instead"
    )]
    NotEntered,
    /// The program cannot start itself again as a child.
    #[error("this program can't start itself as a child process: {reason}")]
    #[non_exhaustive]
    Unsupported {
        /// The kind of obstacle.
        kind: UnsupportedKind,
        /// The obstacle, and what to do about it.
        reason: String,
    },
    /// The function returns a type that can hold code. Code is never accepted from a child.
    #[error(
        "`{function}` returns a `{type_name}`, which can hold code{}; code is not accepted from a child process, so return data, or pass a `crossmist::trusted` channel",
        in_part(part)
    )]
    #[non_exhaustive]
    ReturnsCode {
        /// The function.
        function: &'static str,
        /// The type that it returns.
        type_name: &'static str,
        /// The field that holds the code.
        part: String,
    },
    /// The arguments cannot be sent. No child was started.
    #[error("the arguments can't be sent")]
    Encode(#[from] EncodeError),
    /// The child could not be started.
    #[error("can't start the child process: {step}")]
    #[non_exhaustive]
    Launch {
        /// The step that failed.
        step: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// The function's policy cannot be used for this call: this kernel cannot enforce it, or one of
    /// its variables has no value. No child was started.
    #[error("the policy `{policy}` can't be used: {reason}")]
    #[non_exhaustive]
    Policy {
        /// The policy's name.
        policy: String,
        /// The kind of obstacle.
        kind: UnusableKind,
        /// The obstacle, and what to do about it.
        reason: String,
    },
    /// The child could not confine itself as its policy demands. It has ended, without looking at
    /// its arguments.
    #[error(
        "`{function}` was not run, since its process could not be confined by the policy \
         `{policy}`: {reason}"
    )]
    #[non_exhaustive]
    Confine {
        /// The function.
        function: &'static str,
        /// The policy's name.
        policy: String,
        /// The step that failed.
        step: Step,
        /// The error number of the system call that failed; `None` if none did.
        errno: Option<i32>,
        /// The step that failed, the cause, and what to do.
        reason: String,
    },
    /// The child did something that its policy denies, and was killed for it.
    #[error(transparent)]
    Violation(Box<Violation>),
    /// The child used up a resource that its policy limits, and was ended.
    #[error("`{function}` was ended: it used up the {resource} that the policy `{policy}` allows")]
    #[non_exhaustive]
    Limit {
        /// The function.
        function: &'static str,
        /// The policy's name.
        policy: String,
        /// The resource.
        resource: Resource,
    },
    /// The state that the function's children share could not be prepared (`preload`). No child was started.
    /// A later call tries again, after pauses that grow from a tenth of a second to half a minute.
    #[error("the state that the function's processes share could not be prepared: {reason}")]
    #[non_exhaustive]
    Preload {
        /// A description of the failure.
        reason: String,
    },
    /// The keeper, which supervises all confined children, was killed, and this child with it. The
    /// next call starts another keeper.
    #[error(
        "the process that watches over confined children was killed, and the child process with it"
    )]
    KeeperDied,
    /// The function panicked.
    #[error("the function panicked in the child process: {0}")]
    Panicked(Panic),
    /// The child refused the arguments: they exceed its own limits, or are not valid values.
    #[error("the child process refused the arguments, saying: {reason}")]
    #[non_exhaustive]
    BadArguments {
        /// The reason that the child gave.
        reason: ChildText,
    },
    /// The child could not send the result.
    #[error("the child process could not send the result, saying: {reason}")]
    #[non_exhaustive]
    BadResult {
        /// The reason that the child gave.
        reason: ChildText,
    },
    /// The result exceeds a limit. The child reported this, and has ended.
    #[error("{}", ResultTooLargeText(function, policy.as_deref(), *limit, [*amount, *allowed]))]
    #[non_exhaustive]
    ResultTooLarge {
        /// The function.
        function: &'static str,
        /// The policy whose limit it is; `None` if it is that of the caller, as in
        /// [`Builder::limits`](crate::Builder::limits).
        policy: Option<String>,
        /// The limit.
        limit: ResultLimit,
        /// How much there is, by the child's word.
        amount: u64,
        /// How much is allowed.
        allowed: u64,
    },
    /// A signal ended the child before it returned a result.
    #[error("the child process was ended by signal {signal} ({}){}", signal_name(*signal), if *core_dumped { ", with a core dump" } else { "" })]
    #[non_exhaustive]
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// The child exited without returning a result.
    #[error("the child process exited with status {status} and gave no result")]
    #[non_exhaustive]
    Exited {
        /// Its exit status.
        status: i32,
    },
    /// The child ended without returning a result, and its exit status is not known: another part
    /// of this program waited for it, SIGCHLD is ignored, or a debugger has the status.
    #[error(
        "the child process ended and gave no result; its status was taken by another `wait` in this program, or by a debugger"
    )]
    StatusTaken,
    /// The result of this call was returned before.
    #[error("another `join` has already returned the result of this call")]
    AlreadyJoined,
    /// The child closed its end of the socket without returning a result, and did not exit. It was
    /// killed.
    #[error("the child process closed its channel and gave no result")]
    Silent,
    /// All workers of the pool are busy. No child looked at the arguments.
    #[error("all workers of the pool are busy: call later, or give the pool more `workers`")]
    PoolBusy,
    /// The pool was closed. No child looked at the arguments.
    #[error("the pool is closed, and takes no more calls")]
    PoolClosed,
    /// The call missed its deadline. The child was killed.
    #[error("the call was not done within {after:?}")]
    #[non_exhaustive]
    Deadline {
        /// The time that the call was given.
        after: Duration,
    },
    /// Receiving what the child sends took far more processor time than it should. The child was
    /// killed.
    ///
    /// A receiver wakes up the processes that wait at the other end. A hostile child can make tens
    /// of thousands of them wait, so that each packet costs milliseconds.
    #[error(
        "the child process was killed: receiving {traffic} took {:?} more processor time \
         than it should, which a process causes only on purpose",
        crate::transport::EXCESS_TIME
    )]
    #[non_exhaustive]
    TooCostly {
        /// The traffic that was too costly.
        traffic: Traffic,
    },
    /// The child was killed by [`Child::kill`](crate::Child::kill) or a
    /// [`KillHandle`](crate::KillHandle).
    #[error("the child process was killed on request")]
    Killed,
    /// The child sent something that is not a message. It was killed.
    #[error("the child process sent something that is not an answer")]
    Malformed(#[source] ProtocolError),
    /// The child sent an answer that is not of the function's type. It was killed.
    #[error("the child process sent an answer that is not of the function's type")]
    Decode(#[source] DecodeError),
    /// A system call in this process failed. If it failed while waiting for the child, the child
    /// was killed.
    #[error("can't {operation}")]
    #[non_exhaustive]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// A channel failed. Of the methods of a call, only [`Child::explain`](crate::Child::explain) returns this
    /// variant. It lets functions that use both calls and channels return one error type.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

debug_as_text!(Error);

/// The text of [`Error::ResultTooLarge`].
struct ResultTooLargeText<'t>(&'t str, Option<&'t str>, ResultLimit, [u64; 2]);

impl std::fmt::Display for ResultTooLargeText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        result_limit::write(f, self.0, self.1, self.2, self.3)
    }
}

fn signal_name(signal: i32) -> &'static str {
    nix::sys::signal::Signal::try_from(signal).map_or("unknown", |signal| signal.as_str())
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Channel(_) => {
                let Error::Channel(error) = error else {
                    return io::ErrorKind::Other.into();
                };
                return error.into();
            }
            Error::Unsupported { .. } | Error::NotEntered => io::ErrorKind::Unsupported,
            Error::Encode(_) | Error::ReturnsCode { .. } => io::ErrorKind::InvalidInput,
            Error::Launch { source, .. } | Error::Io { source, .. } => source.kind(),
            Error::Deadline { .. } => io::ErrorKind::TimedOut,
            Error::PoolBusy => io::ErrorKind::ResourceBusy,
            Error::Violation(_) => io::ErrorKind::PermissionDenied,
            Error::Policy { .. } => io::ErrorKind::Unsupported,
            Error::Malformed(_) | Error::Decode(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
