//! `Blame`: tells whether it makes sense to try a failed call again.

use super::{Error, UnusableKind};
use crate::channel::ChannelError;

/// The cause of an [`Error`], by which a queue of jobs decides whether to try one again. See
/// [`Error::blame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// Probably the input. It would end the next child as well, so do not try again, which would only take it
    /// from machine to machine. Put it aside, with the error.
    Input,
    /// The machine, or a passing condition. The failure says nothing about the input. Try again, later or
    /// elsewhere.
    Machine,
    /// The program: its code, its policy, or the way it was started. No call succeeds until that has changed.
    Program,
}

impl Error {
    /// Returns the probable cause of the error.
    ///
    /// | errors | blame |
    /// |---|---|
    /// | [`Violation`](Self::Violation), [`Limit`](Self::Limit), [`Deadline`](Self::Deadline), [`TooCostly`](Self::TooCostly) | the input |
    /// | [`Panicked`](Self::Panicked), [`Exited`](Self::Exited), [`Silent`](Self::Silent), [`StatusTaken`](Self::StatusTaken), [`Signalled`](Self::Signalled) by anything but SIGKILL | the input |
    /// | [`Malformed`](Self::Malformed), [`Decode`](Self::Decode), [`BadArguments`](Self::BadArguments), [`BadResult`](Self::BadResult), [`ResultTooLarge`](Self::ResultTooLarge), [`Encode`](Self::Encode) | the input |
    /// | [`Launch`](Self::Launch), [`Confine`](Self::Confine), [`Preload`](Self::Preload), [`Io`](Self::Io), [`Policy`](Self::Policy) if the kernel cannot enforce it or no control group can be made | the machine |
    /// | [`KeeperDied`](Self::KeeperDied), [`Killed`](Self::Killed), [`PoolBusy`](Self::PoolBusy), [`PoolClosed`](Self::PoolClosed), [`Signalled`](Self::Signalled) by SIGKILL | the machine |
    /// | [`NotEntered`](Self::NotEntered), [`Unsupported`](Self::Unsupported), [`ReturnsCode`](Self::ReturnsCode), [`AlreadyJoined`](Self::AlreadyJoined), [`Policy`](Self::Policy) otherwise | the program |
    ///
    /// The kernel sends SIGKILL when the machine has no memory left, usually to the process that uses most of
    /// it. If your policies bound memory, that process is seldom the child. Bound the number of tries
    /// nevertheless.
    ///
    /// # Security
    ///
    /// A child that an attacker controls chooses which error it causes. It can also kill itself by SIGKILL,
    /// so that the machine gets the blame for its input. That is why tries have to be bounded.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Violation(_)
            | Self::Limit { .. }
            | Self::Deadline { .. }
            | Self::TooCostly { .. }
            | Self::Panicked(_)
            | Self::Exited { .. }
            | Self::Silent
            | Self::StatusTaken
            | Self::Malformed(_)
            | Self::Decode(_)
            | Self::BadArguments { .. }
            | Self::BadResult { .. }
            | Self::ResultTooLarge { .. }
            | Self::Encode(_) => Blame::Input,
            Self::Signalled { signal, .. } if *signal != libc::SIGKILL => Blame::Input,
            Self::Signalled { .. }
            | Self::Launch { .. }
            | Self::Confine { .. }
            | Self::Preload { .. }
            | Self::Io { .. }
            | Self::KeeperDied
            | Self::Killed
            | Self::PoolBusy
            | Self::PoolClosed => Blame::Machine,
            Self::Policy { kind, .. } => match kind {
                UnusableKind::Kernel | UnusableKind::ControlGroup => Blame::Machine,
                _ => Blame::Program,
            },
            Self::NotEntered
            | Self::Unsupported { .. }
            | Self::ReturnsCode { .. }
            | Self::AlreadyJoined => Blame::Program,
            Self::Channel(error) => match error {
                ChannelError::Io { .. } => Blame::Machine,
                ChannelError::CarriesCode { .. }
                | ChannelError::NotAChannel { .. }
                | ChannelError::HalfSent
                | ChannelError::TooLongToTry => Blame::Program,
                _ => Blame::Input,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    fn signalled(signal: i32) -> Error {
        Error::Signalled {
            signal,
            core_dumped: false,
        }
    }

    fn policy(kind: UnusableKind) -> Error {
        Error::Policy {
            policy: "parser".to_owned(),
            kind,
            reason: String::new(),
        }
    }

    #[test]
    fn an_input_that_ends_a_child_is_not_tried_again() {
        let after = Duration::ZERO;
        for error in [
            Error::Deadline { after },
            Error::Exited { status: 3 },
            Error::Silent,
            signalled(libc::SIGSEGV),
            signalled(libc::SIGSYS),
            ChannelError::TooCostly.into(),
        ] {
            assert_eq!(error.blame(), Blame::Input, "{error}");
        }
    }

    #[test]
    fn what_says_nothing_about_the_input_is_tried_again() {
        for error in [
            Error::KeeperDied,
            Error::PoolBusy,
            Error::PoolClosed,
            Error::Killed,
            signalled(libc::SIGKILL),
            policy(UnusableKind::Kernel),
            Error::Io {
                operation: "receive the answer",
                source: io::ErrorKind::OutOfMemory.into(),
            },
        ] {
            assert_eq!(error.blame(), Blame::Machine, "{error}");
        }
    }

    #[test]
    fn what_no_machine_can_do_is_the_programs() {
        for error in [
            Error::NotEntered,
            Error::AlreadyJoined,
            policy(UnusableKind::Variable),
            ChannelError::HalfSent.into(),
        ] {
            assert_eq!(error.blame(), Blame::Program, "{error}");
        }
    }
}
