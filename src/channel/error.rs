//! What can go wrong with a channel.

use std::io;

use crate::object::{DecodeError, EncodeError};
use crate::wire::FrameError;

/// Why a value could not be sent or received.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// A data channel was to be made for a type that can hold code.
    #[error(
        "a `{type_name}` can hold code{}; make the channel with `crossmist::trusted`, between unconfined processes only",
        in_part(part)
    )]
    CarriesCode {
        /// The type.
        type_name: &'static str,
        /// The field that holds it.
        part: String,
    },
    /// The value can't be sent; nothing has left the process.
    #[error("the value can't be sent")]
    Encode(#[from] EncodeError),
    /// What came is not a value of the type. The channel goes on with the next message.
    #[error("the peer sent something else")]
    Decode(#[from] DecodeError),
    /// What came is not a message at all. The channel is of no use any more.
    #[error("the peer sent a malformed message, so the channel is at its end")]
    Malformed(#[source] FrameError),
    /// Nobody holds the other end any more.
    #[error("the other end of the channel is closed")]
    Closed,
    /// The time is over. What was sent or received in part goes on at the next call, except that
    /// a message sent in part leaves the channel [half sent](ChannelError::HalfSent).
    #[error("the time for it is over")]
    TimedOut,
    /// An earlier send was given up in the middle of a message of several packets.
    #[error("an earlier message was sent in part only, so nothing can follow it")]
    HalfSent,
    /// `try_send` of a message that one packet can't hold.
    #[error("a message of more than one packet can't be sent without waiting; use `send`")]
    TooLongToTry,
    /// `request` got the end of the channel instead of an answer.
    #[error("the other end was closed before it answered")]
    NoAnswer,
    /// A descriptor that was to become a channel end is none.
    #[error("the descriptor is not a channel end: {reason}")]
    NotAChannel {
        /// What it lacks.
        reason: &'static str,
    },
    /// The system refused.
    #[error("can't {operation}{}", cure(source))]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl ChannelError {
    pub(crate) fn sending(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io {
                operation: "send",
                source: error,
            },
        }
    }

    pub(crate) fn receiving(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io {
                operation: "receive",
                source: error,
            },
        }
    }
}

// What `unwrap` and `main` show is for people, and should have the cure in it.
impl std::fmt::Debug for ChannelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        show_with_sources(self, f)
    }
}

/// An error and what it comes from, in one line.
pub(crate) fn show_with_sources(
    error: &dyn std::error::Error,
    f: &mut std::fmt::Formatter<'_>,
) -> std::fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(error) = source {
        write!(f, ": {error}")?;
        source = error.source();
    }
    Ok(())
}

fn in_part(part: &str) -> String {
    if part.is_empty() {
        String::new()
    } else {
        format!(" (in `{part}`)")
    }
}

/// What to do about the errors that have a known cause.
fn cure(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            ": this process has no free descriptor; close some or raise RLIMIT_NOFILE"
        }
        Some(libc::ETOOMANYREFS) => {
            ": too many descriptors of this user are in flight, sent and not yet received; \
             the limit is the sender's RLIMIT_NOFILE"
        }
        _ => "",
    }
}

impl From<ChannelError> for io::Error {
    fn from(error: ChannelError) -> Self {
        let kind = match &error {
            ChannelError::Closed => io::ErrorKind::BrokenPipe,
            ChannelError::TimedOut => io::ErrorKind::TimedOut,
            ChannelError::NoAnswer => io::ErrorKind::UnexpectedEof,
            ChannelError::Decode(_) | ChannelError::Malformed(_) => io::ErrorKind::InvalidData,
            ChannelError::Encode(_)
            | ChannelError::CarriesCode { .. }
            | ChannelError::TooLongToTry
            | ChannelError::NotAChannel { .. } => io::ErrorKind::InvalidInput,
            ChannelError::HalfSent => io::ErrorKind::Other,
            ChannelError::Io { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}
