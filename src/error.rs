//! How a call can fail: one variant a stage.

use std::io;
use std::time::Duration;

use crate::channel::ChannelError;
use crate::object::{DecodeError, EncodeError};
use crate::wire::FrameError;

/// Why a call gave no result.
///
/// The variants tell how far it came. What stands after [`Launch`](Error::Launch) happened with a
/// child, whose end is certain by the time that the error is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program has no entry for its children.
    #[error(
        "this program has no entry for child processes: put `#[crossmist::main]` on `fn main`, or \
         call `crossmist::init()` first thing in it; a library or a `#[test]` enables the feature \
         `early-entry` instead"
    )]
    NotEntered,
    /// The program can't be started again as a child.
    #[error("this program can't start itself as a child process: {reason}")]
    Unsupported {
        /// What stands in the way.
        reason: String,
    },
    /// The function's result could hold code, and code is never accepted from a child.
    #[error(
        "`{function}` returns a `{type_name}`, which can hold code{}; code is not accepted from a child process, so return data, or pass a `crossmist::trusted` channel",
        in_part(part)
    )]
    ReturnsCode {
        /// The function.
        function: &'static str,
        /// The type of its result.
        type_name: &'static str,
        /// The field that holds the code.
        part: String,
    },
    /// The arguments can't be sent. Nothing was started.
    #[error("the arguments can't be sent")]
    Encode(#[from] EncodeError),
    /// No child could be started.
    #[error("can't start the child process: {step}")]
    Launch {
        /// The step that failed.
        step: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The function panicked.
    #[error("the function panicked in the child process: {0}")]
    Panicked(Panic),
    /// The child could not make sense of the arguments: they hold what its own limits don't
    /// allow.
    #[error("the child process refused the arguments, saying: {reason}")]
    BadArguments {
        /// The child's words.
        reason: ChildText,
    },
    /// The result can't be sent.
    #[error("the child process could not send the result, saying: {reason}")]
    BadResult {
        /// The child's words.
        reason: ChildText,
    },
    /// The child was ended by a signal before it gave a result.
    #[error("the child process was ended by signal {signal} ({}){}", signal_name(*signal), if *core_dumped { ", with a core dump" } else { "" })]
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// The child ended without a result.
    #[error("the child process exited with status {status} and gave no result")]
    Exited {
        /// Its exit status.
        status: i32,
    },
    /// The child has ended without a result, and how is not known: another part of this program
    /// waited for it, SIGCHLD is ignored, or a debugger has the status.
    #[error(
        "the child process ended and gave no result; its status was taken by another `wait` in this program, or by a debugger"
    )]
    StatusTaken,
    /// The child closed its side and gave no result, but did not exit. It was killed.
    #[error("the child process closed its channel and gave no result")]
    Silent,
    /// The call took too long. The child was killed.
    #[error("the call was not done within {after:?}")]
    Deadline {
        /// The time that it had.
        after: Duration,
    },
    /// The child was killed by [`Child::kill`](crate::Child::kill) or a
    /// [`KillHandle`](crate::KillHandle).
    #[error("the child process was killed on request")]
    Killed,
    /// The answer is not a message. The child was killed.
    #[error("the child process sent a malformed answer")]
    Malformed(#[source] FrameError),
    /// The answer is a message, but not of the function's type. The child was killed.
    #[error("the child process sent a malformed answer")]
    Decode(#[source] DecodeError),
    /// A system call on this side failed. The child was killed.
    #[error("can't {operation}")]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A channel failed, where a function that returns this error used one.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

fn in_part(part: &str) -> String {
    if part.is_empty() {
        String::new()
    } else {
        format!(" (in `{part}`)")
    }
}

fn signal_name(signal: i32) -> &'static str {
    nix::sys::signal::Signal::try_from(signal).map_or("unknown", |signal| signal.as_str())
}

/// Text from a child: bounded, shown with control characters escaped, and not to be believed.
#[derive(Clone, PartialEq, Eq)]
pub struct ChildText(String);

impl ChildText {
    pub(crate) const BYTES: usize = 4096;

    pub(crate) fn new(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(Self::BYTES));
        Self(text)
    }

    /// The text as the child sent it, control characters and all.
    #[must_use]
    pub fn as_raw(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ChildText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write;
        for character in self.0.chars() {
            match character {
                '\n' => f.write_char(character)?,
                // Those that turn the direction of the text around, and two more line ends.
                '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' => write!(f, "{}", character.escape_unicode())?,
                _ if character.is_control() => write!(f, "{}", character.escape_default())?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for ChildText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A panic in a child. All of it is the child's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The message, where it is text.
    pub message: ChildText,
    /// File, line and column, as `file:line:column`.
    pub location: ChildText,
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at {})", self.message, self.location)
    }
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
            Error::Malformed(_) | Error::Decode(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
