//! `Options`: everything that a child is started with, except for the function and its arguments.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::request_timer::RequestTimer;
use crate::confine::SandboxPolicy;
use crate::func::Func;
use crate::object::Limits;
use crate::sys::system_files;

/// A standard descriptor of a child.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// The descriptor of this process.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// The given descriptor: a file, the end of a pipe, a socket.
    Descriptor(OwnedFd),
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(descriptor: T) -> Self {
        Self::Descriptor(descriptor.into())
    }
}

/// Everything that a child is started with, except for the function and its arguments.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Standard input, output and error. `None` is the default: this process's descriptor, or what
    /// the policy says.
    pub(crate) standard: [Option<Stdio>; 3],
    pub(crate) clear_environment: bool,
    /// Variables to set, or to remove if `None`, in this order.
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) kill_on_drop: bool,
    pub(crate) kill_on_parent_death: bool,
    pub(crate) process_group: Option<i32>,
    pub(crate) privileged: bool,
    /// Whether memory is shared with the child, for long values.
    pub(crate) bulk: bool,
    /// The deadline of each request that the child serves.
    pub(crate) timer: Option<RequestTimer>,
    /// How many calls a child in a pool may answer, or 0 for one. Each may take the processor time of the policy.
    pub(crate) calls: u32,
    /// The policy of a function that has none of its own.
    pub(crate) policy: Option<SandboxPolicy>,
    /// The values of the policy's variables.
    pub(crate) bound: Vec<(String, String)>,
}

impl Options {
    /// Returns those that the attribute of a function sets.
    pub(crate) fn of<F: Func>() -> Self {
        Self {
            bulk: F::BULK,
            ..Self::default()
        }
    }
}

/// Returns a copy of the descriptor, above those that it will replace.
pub(crate) fn standard(stdio: Option<&Stdio>) -> io::Result<Option<OwnedFd>> {
    match stdio {
        None | Some(Stdio::Inherit) => Ok(None),
        Some(Stdio::Null) => system_files::null()?.as_fd().try_clone_to_owned().map(Some),
        Some(Stdio::Descriptor(descriptor)) => descriptor.try_clone().map(Some),
    }
}
