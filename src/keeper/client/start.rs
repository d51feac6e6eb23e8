//! One keeper: how it is started and greeted, and whether it still fits this process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::packets::{late, receive, send};
use crate::error::Error;
use crate::executable::{KEEPER_ARGUMENT, Program};
use crate::keeper::{
    Credentials, Handshake, Kind, Restrictions, Surroundings, environment, execute,
};
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{self, Ended};
use crate::sys::socket;
use crate::sys::socket_options;
use crate::sys::stream;
use crate::sys::system_files;

/// The keeper of this process.
#[derive(Debug)]
pub(super) struct Keeper {
    /// The process that started it. A copy of that process made by `fork` also has the socket, but
    /// must not use it, because the keeper does not watch for the copy's end.
    pub(super) program: u32,
    pub(super) socket: OwnedFd,
    credentials: Credentials,
    surroundings: Surroundings,
    restrictions: Restrictions,
    /// How often state had been prepared anew when it began to prepare its own.
    pub(super) generation: u64,
    /// The code that is mapped in it, and so in its children.
    pub(super) mapped: Arc<[u8]>,
}

/// Why there is no keeper.
pub(super) enum NotStarted {
    /// It can't have a user namespace of its own.
    NoUserNamespace(Error),
    /// The state that its children were to share could not be prepared.
    NotPrepared(String),
    Failed(Error),
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl NotStarted {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NoUserNamespace(error) | Self::Failed(error) => error,
            Self::NotPrepared(reason) => not_prepared(&reason),
        }
    }
}

impl Keeper {
    pub(super) fn start(
        executable: &Program,
        kind: Kind,
        generation: u64,
        deadline: Deadline,
    ) -> Result<Self, NotStarted> {
        let failed = |step| move |source| Error::Launch { step, source };
        let (ours, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
        let surroundings = Surroundings::of_this_thread(ours.as_fd());
        // From the first packet on.
        socket_options::set(theirs.as_fd(), libc::SO_PASSCRED, 1).map_err(failed(
            "have the kernel tell the keeper who asks (SO_PASSCRED)",
        ))?;
        let null = system_files::null().map_err(failed("open /dev/null"))?;
        let starter = execute(
            executable,
            theirs.as_fd(),
            KEEPER_ARGUMENT,
            &kind.word(),
            &environment::for_keeper(),
            [Some(null.as_fd()); 3],
        );
        drop(theirs);
        let starter = starter.map_err(|error| Error::Launch {
            step: error.step,
            source: error.source,
        })?;
        // The keeper waits for the end of this process.
        let program = std::process::id();
        let own = i32::try_from(program).unwrap_or(0);
        let pidfd = process::open_pidfd(own).map_err(failed("open a pidfd of this process"))?;
        // If the keeper could not start, it reports that. If it cannot even report, the read fails.
        let _ = send(ours.as_fd(), b"G", &[pidfd.as_fd()], deadline);
        // The starter has forked the keeper and ended, or has failed: the keeper is not this
        // process's child, and nothing here waits for it.
        if let Err(source) = poll::readable(starter.pidfd.as_fd(), deadline) {
            let _ = starter.signal(libc::SIGKILL);
            let _ = starter.wait();
            return Err(late(source).into());
        }
        let ended = starter.wait().unwrap_or(Ended::Unknown);

        let mut hello = Vec::new();
        if let Err(source) = poll::readable(ours.as_fd(), deadline) {
            return Err(match kind.preload {
                None => late(source).into(),
                // It ends by itself when it notices, or by its alarm.
                Some(_) => NotStarted::NotPrepared("it was not done in time".to_owned()),
            });
        }
        receive(ours.as_fd(), &mut hello, Handshake::BYTES).map_err(failed("greet the keeper"))?;
        let (credentials, witness, mapped) = match Handshake::parse(&hello) {
            Some(Handshake::Ready {
                credentials,
                witness,
                mapped,
            }) => (credentials, witness, mapped),
            Some(Handshake::Failed(reason)) => {
                return Err(failed("start the keeper")(io::Error::other(reason)).into());
            }
            Some(Handshake::NotPrepared(reason)) => return Err(NotStarted::NotPrepared(reason)),
            Some(Handshake::NoUserNamespace(reason)) => {
                let source = io::Error::other(format!(
                    "{reason}; the policy wants namespaces that this program has no right to create, or \
                     a user namespace itself: run the program with CAP_SYS_ADMIN, let it create user \
                     namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                     kernel.apparmor_restrict_unprivileged_userns; a container's filter), or say \
                     \"if-possible\" in `[namespaces]`"
                ));
                let step = "give the keeper a user namespace of its own (unshare)";
                return Err(NotStarted::NoUserNamespace(failed(step)(source)));
            }
            None if kind.preload.is_some() => {
                let reason = "the process ended before it was done: it exited, crashed, aborted, or took \
                              longer than a minute";
                return Err(NotStarted::NotPrepared(reason.to_owned()));
            }
            None => {
                let source = io::Error::other(format!(
                    "it ended before it was ready ({ended}). It has none of this program's \
                     environment, so what depends on that has to come after `crossmist::init`; and it \
                     is started below the root directory and with the restrictions as they are now, \
                     where perhaps a library is missing or can't be read"
                ));
                return Err(failed("start the keeper")(source).into());
            }
        };
        // An `execve` can give what the program has dropped.
        if !credentials.is_at_most(&own_credentials()?) {
            let source = io::Error::other("it got more privileges than this program has");
            return Err(failed("start the keeper")(source).into());
        }
        Ok(Self {
            program,
            socket: ours,
            credentials,
            surroundings,
            restrictions: Restrictions::of_this_thread(witness),
            generation,
            mapped: mapped.into(),
        })
    }

    /// Returns whether this process is the one that it was started for, and has no fewer rights
    /// than that had.
    pub(super) fn is_for_this_process(&self, socket: BorrowedFd<'_>) -> Result<bool, Error> {
        let own = own_credentials()?;
        Ok(self.program == std::process::id()
            && self.credentials.is_at_most(&own)
            && self.restrictions.cover_this_thread(&own)
            && self.surroundings == Surroundings::of_this_thread(socket))
    }

    /// Sends a request, and waits while the keeper is busy.
    pub(super) fn ask(
        &self,
        request: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        send(self.socket.as_fd(), request, descriptors, deadline)
    }

    /// Returns how much memory the requests take that it has not taken yet. It shrinks as it takes them.
    pub(super) fn unreceived(&self) -> Option<usize> {
        stream::unreceived(self.socket.as_fd()).ok()
    }
}

pub(super) fn not_prepared(reason: &str) -> Error {
    Error::Preload {
        reason: reason.to_owned(),
    }
}

pub(super) fn own_credentials() -> Result<Credentials, Error> {
    Credentials::of_this_thread().map_err(|source| Error::Launch {
        step: "read its own credentials",
        source,
    })
}
