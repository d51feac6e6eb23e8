//! The errors of channels.

use std::io;

use crate::object::{DecodeError, EncodeError, Exceeded, Terms, debug_as_text, in_part};
use crate::wire::ProtocolError;

/// Why a value could not be sent or received.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The type can hold code, and the channel is one for data.
    #[error(
        "a `{type_name}` can hold code{}; make the channel with `crossmist::trusted`, between unconfined processes only",
        in_part(part)
    )]
    #[non_exhaustive]
    CarriesCode {
        /// The type.
        type_name: &'static str,
        /// The field that holds the code.
        part: String,
    },
    /// The value cannot be sent. Nothing has left the process.
    #[error("the value can't be sent")]
    Encode(#[from] EncodeError),
    /// The peer sent something that is not a value of the type. The channel continues with the next
    /// message.
    #[error("the peer sent something that is not of the channel's type")]
    Decode(#[from] DecodeError),
    /// The peer sent something that is not a message. The channel can no longer be used.
    #[error("the peer sent a malformed message, so the channel can't be used any more")]
    Malformed(#[source] ProtocolError),
    /// Nobody holds the other end any more. If a child had it, [`Child::explain`](crate::Child::explain) returns
    /// how the child ended.
    #[error("the other end of the channel is closed")]
    Closed,
    /// The timeout has passed. A message that was received in part is continued by the next
    /// receive. A message that was sent in part leaves the channel [half
    /// sent](ChannelError::HalfSent).
    #[error("the timeout has passed")]
    TimedOut,
    /// An earlier send timed out or was dropped in the middle of a message of several packets.
    #[error("only part of an earlier message was sent, so nothing can follow it")]
    HalfSent,
    /// `try_send` was called with a message that does not fit in one packet.
    #[error("a message of more than one packet can't be sent without waiting; use `send`")]
    TooLongToTry,
    /// `request` reached the end of the channel instead of an answer. If a child had the other end,
    /// [`Child::explain`](crate::Child::explain) returns how the child ended.
    #[error("the other end was closed before it answered")]
    NoAnswer,
    /// The descriptor is not the end of a channel.
    #[error("the descriptor is not a channel end: {reason}")]
    #[non_exhaustive]
    NotAChannel {
        /// Why it is not one.
        reason: &'static str,
    },
    /// A confined function, to which the other end was passed, has sent more than its policy allows. Nothing
    /// more is received, unless the reason is a value that nests too deeply.
    #[error("`{function}` has sent more than the policy `{policy}` allows by `{key}`")]
    #[non_exhaustive]
    Limit {
        /// The function.
        function: &'static str,
        /// The policy's name.
        policy: String,
        /// The key of the policy, such as `limits.channel.message_bytes`.
        key: &'static str,
    },
    /// Receiving what the peer sends, or sending to it, repeatedly took much more processor time than it should.
    /// Nothing more is received or sent. If the peer is a confined function to which the other end was passed, its process was killed.
    #[error(
        "exchanging messages with the peer took {:?} more processor time than it should, which a process causes \
         only on purpose",
        crate::transport::EXCESS_TIME
    )]
    TooCostly,
    /// A system call failed.
    #[error("can't {operation}{}", cure(source))]
    #[non_exhaustive]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
}

impl ChannelError {
    pub(super) fn limit(terms: &Terms, Exceeded(key): Exceeded) -> Self {
        Self::Limit {
            function: terms.function,
            policy: terms.policy.clone(),
            key,
        }
    }

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

debug_as_text!(ChannelError);

/// Returns the cure for an error whose cause is known.
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
            ChannelError::Decode(_)
            | ChannelError::Malformed(_)
            | ChannelError::Limit { .. }
            | ChannelError::TooCostly => io::ErrorKind::InvalidData,
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
