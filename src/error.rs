//! The errors of a call, with one variant for each stage.

use std::io;
use std::time::Duration;

use crate::channel::ChannelError;
use crate::object::{DecodeError, EncodeError};
use crate::stack::{Frame, Place, Stack};
use crate::wire::FrameError;

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
    Unsupported {
        /// What prevents it.
        reason: String,
    },
    /// The function returns a type that can hold code. Code is never accepted from a child.
    #[error(
        "`{function}` returns a `{type_name}`, which can hold code{}; code is not accepted from a child process, so return data, or pass a `crossmist::trusted` channel",
        in_part(part)
    )]
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
    Launch {
        /// The step that failed.
        step: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// The function's policy cannot be used for this call: this kernel cannot enforce it, or one of
    /// its variables has no value. No child was started.
    #[error("the policy `{policy}` can't be used: {reason}")]
    Policy {
        /// The policy's name.
        policy: String,
        /// What prevents it, and what to do.
        reason: String,
    },
    /// The child could not confine itself as its policy demands. It has ended, without looking at
    /// its arguments.
    #[error(
        "`{function}` was not run, since its process could not be confined by the policy \
         `{policy}`: {reason}"
    )]
    Confine {
        /// The function.
        function: &'static str,
        /// The policy's name.
        policy: String,
        /// The step that failed, the cause, and what to do.
        reason: String,
    },
    /// The child did something that its policy denies, and was ended for it.
    #[error(transparent)]
    Violation(Box<Violation>),
    /// The child used up a resource that its policy limits, and was ended.
    #[error("`{function}` was ended: it used up the {resource} that the policy `{policy}` allows")]
    Limit {
        /// The function.
        function: &'static str,
        /// The policy's name.
        policy: String,
        /// The resource.
        resource: Resource,
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
    BadArguments {
        /// The reason that the child gave.
        reason: ChildText,
    },
    /// The child could not send the result.
    #[error("the child process could not send the result, saying: {reason}")]
    BadResult {
        /// The reason that the child gave.
        reason: ChildText,
    },
    /// A signal ended the child before it returned a result.
    #[error("the child process was ended by signal {signal} ({}){}", signal_name(*signal), if *core_dumped { ", with a core dump" } else { "" })]
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// The child exited without returning a result.
    #[error("the child process exited with status {status} and gave no result")]
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
    /// The child closed its end of the socket without returning a result, and did not exit. It was
    /// killed.
    #[error("the child process closed its channel and gave no result")]
    Silent,
    /// The call missed its deadline. The child was killed.
    #[error("the call was not done within {after:?}")]
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
        "the child process was killed: to receive {traffic} took {:?} of processor time more than it \
         should, which a process brings about only on purpose",
        crate::cost::EXCESS_TIME
    )]
    TooCostly {
        /// What was received.
        traffic: Traffic,
    },
    /// The child was killed by [`Child::kill`](crate::Child::kill) or a
    /// [`KillHandle`](crate::KillHandle).
    #[error("the child process was killed on request")]
    Killed,
    /// The child sent something that is not a message. It was killed.
    #[error("the child process sent something that is not an answer")]
    Malformed(#[source] FrameError),
    /// The child sent an answer that is not of the function's type. It was killed.
    #[error("the child process sent an answer that is not of the function's type")]
    Decode(#[source] DecodeError),
    /// A system call in this process failed. If it failed while waiting for the child, the child
    /// was killed.
    #[error("can't {operation}")]
    Io {
        /// What this process was trying to do.
        operation: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// A channel failed. No call returns this variant; it lets functions that use both calls and
    /// channels return one error type.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

// `unwrap` and `main` show this text to people, so it includes the cure.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::channel::show_with_sources(self, f)
    }
}

/// A resource that a policy limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// Processor time of all threads together: `limits.cpu_time`.
    CpuTime,
    /// Memory: `limits.memory`. This is the child's own claim: it printed that an allocation
    /// failed, and aborted.
    Memory,
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CpuTime => "processor time (`limits.cpu_time`)",
            Self::Memory => "memory (`limits.memory`)",
        })
    }
}

/// What a program receives from a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic {
    /// The function's result.
    Answer,
    /// Messages on a channel that the call passed to the child.
    Channel,
    /// Standard output or standard error.
    Output,
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Answer => "its answer",
            Self::Channel => "its messages on a channel",
            Self::Output => "what it prints",
        })
    }
}

/// A system call that was denied.
///
/// The signal that ended the child proves that there was one; the kernel reports it. Which call it
/// was, only the child says, and a child that an attacker controls can lie.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The function.
    pub function: &'static str,
    /// The policy's name.
    pub policy: String,
    /// The id of the child process.
    pub process: u32,
    /// What the child said about the call. `None` if it said nothing: it was killed at once,
    /// because honest code never makes such a call, or the call was made while signals were
    /// blocked.
    pub claim: Option<Claim>,
}

/// A denied system call as the child reports it, explained by its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The number of the system call.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// The call in words, such as `socket(AF_INET, SOCK_STREAM, 0)`.
    pub call: String,
    /// Which line of which policy denies it.
    pub denied_by: String,
    /// What to add to a policy to allow it. `None` if no policy may allow it, if a line denies it,
    /// or if code that tries it does without. A path in it comes from the child: do not grant a
    /// path that you do not know.
    pub allow_with: Option<String>,
    /// Why adding it is dangerous, if it is.
    pub caution: Option<&'static str>,
    /// The id of the thread that made the call.
    pub thread: u32,
    pub(crate) place: Place,
}

impl Claim {
    /// Returns the function of this program that made the call, or that called the C library for
    /// it. Returns `None` if that is not known: the function is in a shared library, or the policy
    /// says `backtrace = "off"`.
    ///
    /// With the feature `backtrace`, the first lookup opens the program's own file.
    #[must_use]
    pub fn at(&self) -> Option<Frame> {
        self.place.frame()
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            function,
            policy,
            process,
            claim,
        } = self;
        write!(
            f,
            "`{function}` (policy `{policy}`, process {process}) was ended for a system call that \
             its policy denies"
        )?;
        let Some(claim) = claim else {
            return f.write_str(
                "; it could not say which: calls that honest code never makes kill at once, and so \
                 does one where signals are blocked, as in the middle of starting a thread",
            );
        };
        write!(f, ":\n  {}", claim.call)?;
        if claim.thread != *process {
            write!(f, " on thread {}", claim.thread)?;
        }
        write!(f, "\n  denied by: {}", claim.denied_by)?;
        if let Some(frame) = claim.at().filter(|frame| frame.function.is_some()) {
            write!(f, "\n  at: {frame}")?;
        }
        match &claim.allow_with {
            Some(lines) => {
                f.write_str("\n  to allow it:")?;
                lines
                    .lines()
                    .try_for_each(|line| write!(f, "\n      {line}"))?;
                if let Some(caution) = claim.caution {
                    write!(f, "\n  careful: {caution}")?;
                }
            }
            None => f.write_str(
                "\n  there is nothing to add: no policy may allow it, a line denies it, or code that \
                 tries it does without",
            )?,
        }
        // The name alone, which is the table's: the arguments are the child's word, and no text for
        // a shell.
        match claim.call.split_once('(') {
            Some((name, _)) => {
                write!(
                    f,
                    "\n  more: cargo crossmist explain {policy} --syscall {name}"
                )
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Violation {}

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

/// Text from a child. Its length is bounded, and it may be a lie.
///
/// Displayed on one line, with every invisible character escaped.
#[derive(Clone, PartialEq, Eq)]
pub struct ChildText(String);

impl ChildText {
    pub(crate) const BYTES: usize = 4096;

    pub(crate) fn new(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(Self::BYTES));
        Self(text)
    }

    /// Returns the text as the child sent it, line breaks and control characters included.
    #[must_use]
    pub fn as_raw(&self) -> &str {
        &self.0
    }
}

/// Escapes line breaks, control characters and everything else that is invisible, so that a log
/// takes the text for one entry and a terminal takes it for text.
impl std::fmt::Display for ChildText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write;
        // `escape_debug` escapes what is not printable, and quotes as well.
        for part in self.0.split_inclusive(is_shown_otherwise) {
            let last = part
                .chars()
                .next_back()
                .filter(|last| is_shown_otherwise(*last));
            let length = last.map_or(0, char::len_utf8);
            let plain = part.get(..part.len().saturating_sub(length));
            write!(f, "{}", plain.unwrap_or_default().escape_debug())?;
            match last {
                Some(quote @ ('"' | '\'' | '\\')) => f.write_char(quote)?,
                Some(invisible) => write!(f, "{}", invisible.escape_unicode())?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Whether `escape_debug` is wrong for a character: it escapes quotes, and it does not escape
/// letters that are invisible (Unicode's `Default_Ignorable_Code_Point`).
fn is_shown_otherwise(character: char) -> bool {
    matches!(
        character,
        '"' | '\''
            | '\\'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

impl std::fmt::Debug for ChildText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A panic in a child, as the child reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The message, if it is text.
    pub message: ChildText,
    /// File, line and column, as `file:line:column`.
    pub location: ChildText,
    pub(crate) stack: Stack,
    /// Which limit may be the cause; the parent's text.
    pub(crate) limit: Option<String>,
}

impl Panic {
    /// Returns the functions that the panic was raised in, the innermost first. At most 64 frames
    /// are recorded, including those of the panic machinery itself. Empty if the policy says
    /// `backtrace = "off"`, or if the panic did not reach this library's hook.
    ///
    /// With the feature `backtrace`, the first lookup opens the program's own file and takes
    /// milliseconds. Without it, a frame holds only an offset.
    #[must_use]
    pub fn backtrace(&self) -> Vec<Frame> {
        self.stack.frames_of_panic()
    }
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at {})", self.message, self.location)?;
        match &self.limit {
            Some(limit) => write!(f, "; {limit}"),
            None => Ok(()),
        }
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
            Error::Violation(_) => io::ErrorKind::PermissionDenied,
            Error::Policy { .. } => io::ErrorKind::Unsupported,
            Error::Malformed(_) | Error::Decode(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
