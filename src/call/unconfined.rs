//! An unconfined child: this executable, started again by `clone` and `execveat`.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::options::{Options, standard};
use super::starter;
use crate::error::Error;
use crate::executable::{CHILD_ARGUMENT, Program, VERSION};
use crate::func::Func;
use crate::object::{EncodeError, EncodeErrorKind};
use crate::sys::process::Process;
use crate::sys::vfork::{self, Start, StartError};

/// Starts this executable again, with `socket` as the only descriptor that it gets.
pub(super) fn start<F: Func>(
    program: &'static Program,
    socket: OwnedFd,
    options: &Options,
) -> Result<Process, Error> {
    use std::os::fd::AsRawFd;

    let arguments = [
        program.name().clone(),
        c_string(CHILD_ARGUMENT)?,
        c_string(socket.as_raw_fd().to_string())?,
        c_string(F::NAME)?,
        c_string(VERSION)?,
    ];
    let environment = environment(options)?;
    let directory = options.directory.as_ref().map(c_string).transpose()?;
    let [stdin, stdout, stderr] = &options.standard;
    let standard = [stdin, stdout, stderr].map(|stdio| standard(stdio.as_ref()));
    let standard: Vec<Option<OwnedFd>> =
        standard
            .into_iter()
            .collect::<io::Result<_>>()
            .map_err(|source| Error::Launch {
                step: "open a standard descriptor",
                source,
            })?;
    let (process_group, dies_with_thread) = (options.process_group, options.kill_on_parent_death);
    let start = move || {
        let borrowed = [0, 1, 2].map(|index| {
            standard
                .get(index)
                .and_then(Option::as_ref)
                .map(AsFd::as_fd)
        });
        vfork::start(&Start {
            program: program.as_fd(),
            arguments: &arguments,
            environment: &environment,
            socket: socket.as_fd(),
            proc: None,
            standard: borrowed,
            directory: directory.as_deref(),
            no_new_privs: false,
            process_group,
            dies_with_thread,
        })
    };
    let started = match dies_with_thread {
        true => starter::start(start),
        false => start(),
    };
    started.map_err(|StartError { step, source }| Error::Launch { step, source })
}

/// Returns the variables as `NAME=value`.
fn environment(options: &Options) -> Result<Vec<CString>, Error> {
    let mut variables: Vec<(OsString, OsString)> = if options.clear_environment {
        Vec::new()
    } else {
        std::env::vars_os().collect()
    };
    for (name, value) in &options.environment {
        variables.retain(|(other, _)| other != name);
        variables.extend(value.as_ref().map(|value| (name.clone(), value.clone())));
    }
    let joined = variables.into_iter().map(|(name, value)| {
        let mut bytes = name.into_vec();
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        c_string(OsString::from_vec(bytes))
    });
    joined.collect()
}

fn c_string(text: impl AsRef<OsStr>) -> Result<CString, Error> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| {
        Error::Encode(EncodeError::new(EncodeErrorKind::Refused {
            reason: "a path or an environment variable holds a zero byte".to_owned(),
        }))
    })
}
