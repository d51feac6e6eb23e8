//! How the keeper starts the process of a child, in its control group if it has one.

use std::io;
use std::os::fd::BorrowedFd;

use super::super::{environment, execute};
use super::Keeper;
use crate::confine::{Group, Origin};
use crate::executable::{CHILD_ARGUMENT, Program};
use crate::sys::fork::{self, ForkError, ForkStep};
use crate::sys::group_fork::GroupError;
use crate::sys::process::Process;

/// In which process a fork has returned.
pub(super) enum Forked {
    Keeper(Process),
    Child { is_in_group: bool },
}

impl Keeper {
    /// Forks a child, into its control group if it has one. If the kernel, or a container's filter, does not let a
    /// process begin there, the child joins it.
    pub(super) fn fork_child(&mut self, group: Option<&Group>) -> Result<Forked, ForkError> {
        let (forked, is_in_group) = match group.map(|group| group.fork(self.undertaker.ending())) {
            None => (fork::fork()?, false),
            Some(Ok(forked)) => (forked, true),
            Some(Err(error)) => {
                let step = ForkStep::Fork;
                self.note(error)
                    .map_err(|source| ForkError { step, source })?;
                (fork::fork()?, false)
            }
        };
        Ok(forked.map_or(Forked::Child { is_in_group }, Forked::Keeper))
    }

    /// Starts a child by `execve`, in its control group if it has one. If it can't begin there, it joins it.
    pub(super) fn execute_child(
        &mut self,
        group: Option<&Group>,
        origin: &Origin,
        socket: BorrowedFd<'_>,
        standard: [Option<BorrowedFd<'_>>; 3],
    ) -> io::Result<Process> {
        let program = Program::open().map_err(io::Error::other)?;
        let environment = environment::of_keeper();
        let start = |between| {
            let word = origin.to_word(between);
            let (role, environment) = (CHILD_ARGUMENT, &environment);
            execute(&program, socket, role, &word, environment, standard)
                .map_err(|error| error.source)
        };
        match group.map(|group| group.start(self.undertaker.ending(), start)) {
            None => start(0),
            Some(Ok(process)) => Ok(process),
            Some(Err(error)) => {
                self.note(error)?;
                start(0)
            }
        }
    }

    /// Notes down what a process that could not begin in its control group has left behind. An error says that
    /// it may still begin.
    fn note(&mut self, error: GroupError) -> io::Result<()> {
        self.has_orphans |= !matches!(error, GroupError::Refused);
        match error {
            GroupError::Refused | GroupError::TooLate => Ok(()),
            GroupError::Unfinished(error) => Err(error),
        }
    }
}
