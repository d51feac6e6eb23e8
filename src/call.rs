//! The parent's side of a call, from the arguments to the child.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Weak};

use crate::builder::{Options, Stdio};
use crate::confined::Confined;
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
use crate::func::{Func, Launch};
use crate::handle::Child;
use crate::keeper;
use crate::launch;
use crate::object::{EncodeError, EncodeErrorKind, Link, Terms, Trust, carries};
use crate::program::{self, CHILD_ARGUMENT, Program, VERSION};
use crate::reaper;
use crate::running::{ChildProcess, Hold};
use crate::starter;
use crate::sys::poll::Deadline;
use crate::sys::privileges;
use crate::sys::process::{Process, Start, StartError};
use crate::sys::socket::{self, Connection, Wait};
use crate::sys::system_files;
use crate::transport::{self, Outbox};

/// Calls `F` in a child and waits for its result.
pub(crate) fn run<F: Func>(arguments: F::Args, options: &Options) -> Result<F::Output, Error> {
    start_call::<F>(arguments, options)?.join()
}

/// Starts `F` in a child. Its deadline holds whether or not anybody joins it.
pub(crate) fn spawn<F: Func>(
    arguments: F::Args,
    options: &Options,
) -> Result<Child<F::Output>, Error> {
    let child = start_call::<F>(arguments, options)?;
    child.watch();
    Ok(child)
}

fn start_call<F: Func>(arguments: F::Args, options: &Options) -> Result<Child<F::Output>, Error> {
    let (launch, confined) = message::<F>(arguments, options)?;
    let (mut child, mut rest) = start_child::<F>(&launch, confined, options)?;
    child.send(&mut rest)?;
    Ok(child)
}

/// Returns the launch message of a call, and for a confined call what is known of its confinement.
pub(crate) fn message<F: Func>(
    arguments: F::Args,
    options: &Options,
) -> Result<(Launch<F>, Option<Confined>), Error> {
    let (confined, plan) = launch::confinement::<F>(options)?.unzip();
    let limits = match &confined {
        Some(confined) => options.limits.min(confined.limits::<F::Output>()),
        None => options.limits,
    };
    let launch = Launch {
        limits,
        plan,
        arguments,
    };
    Ok((launch, confined))
}

/// The parent's story: everything until a child runs `F` on its arguments. Returns the child, and
/// what did not fit its socket and must still be sent.
pub(crate) fn start_child<'a, F: Func>(
    launch: &'a Launch<F>,
    confined: Option<Confined>,
    options: &Options,
) -> Result<(Child<F::Output>, Outbox<'a>), Error> {
    let time = match (
        options.deadline,
        confined.as_ref().and_then(Confined::wall_time),
    ) {
        (Some(call), Some(policy)) => Some(call.min(policy)),
        (call, policy) => call.or(policy),
    };
    let deadline = time.map_or(Deadline::NEVER, Deadline::after);
    refuse_code_in_result::<F>()?;
    let program = program::own()?;
    if confined.is_some() || options.clear_environment {
        refuse_merged_example()?;
    }
    refuse_privileges(options)?;

    let mut outbox = Outbox::encode(launch, options.limits, Trust::Code)?;
    let (ours, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
    // What fits the socket is there before the child exists.
    send(&mut outbox, ours.as_fd(), Wait::Never).map_err(failed("send the arguments"))?;

    let hold = Hold {
        limits: launch.limits,
        deadline,
        time: time.unwrap_or_default(),
        kill_on_drop: options.kill_on_drop,
    };
    #[cfg(feature = "tracing")]
    let policy = confined
        .as_ref()
        .map(|confined| confined.policy_name().to_owned());
    let child = match confined {
        None => {
            let process = start::<F>(program, theirs, options)?;
            Child::new(ChildProcess::own(process), ours, hold, None)
        }
        Some(mut confined) => {
            let group = confined.take_group();
            let passed = Passed::new(outbox.links(), &confined);
            let request = confined.request(deadline);
            let kept =
                ChildProcess::kept(keeper::launch(program, request, theirs, group, deadline)?);
            let child = Child::new(kept, ours, hold, Some(confined));
            if let (Some(passed), Some(process)) = (passed, child.process()) {
                passed.belong_to(process);
            }
            child
        }
    };
    #[cfg(feature = "tracing")]
    events::started(F::NAME, policy.as_deref(), || child.id());
    Ok((child, outbox))
}

/// The ends of channels that a confined call is passed.
struct Passed {
    terms: Arc<Terms>,
    /// The other ends of those that end with the child.
    end_with_child: Vec<Weak<Connection>>,
}

impl Passed {
    /// Holds the ends to the policy, if there are any.
    fn new(links: &[Link], confined: &Confined) -> Option<Self> {
        if links.is_empty() {
            return None;
        }
        let terms = Arc::new(confined.terms());
        links.iter().for_each(|link| link.pass(&terms));
        let end_with_child = match confined.takes_ends_along() {
            true => links.iter().map(|link| Weak::clone(link.other())).collect(),
            false => Vec::new(),
        };
        Some(Self {
            terms,
            end_with_child,
        })
    }

    fn belong_to(self, process: &Arc<ChildProcess>) {
        let owner: Weak<ChildProcess> = Arc::downgrade(process);
        self.terms.belong_to(owner);
        if !self.end_with_child.is_empty() {
            reaper::end_with(Arc::clone(process), self.end_with_child);
        }
    }
}

fn refuse_code_in_result<F: Func>() -> Result<(), Error> {
    match carries::<F::Output>().code {
        None => Ok(()),
        Some(part) => Err(Error::ReturnsCode {
            function: F::NAME,
            type_name: std::any::type_name::<F::Output>(),
            part,
        }),
    }
}

/// rustdoc merges the examples of a crate into one program, which finds the one to run by a
/// variable. Without it, a child would run all of them again.
fn refuse_merged_example() -> Result<(), Error> {
    match std::env::var_os("RUSTDOC_DOCTEST_RUN_NB_TEST") {
        None => Ok(()),
        Some(_) => Err(Error::Unsupported {
            reason: "it is one of several examples that rustdoc has put into one program, whose `main` \
                     needs an environment variable that a child of this call doesn't get; begin this \
                     example with ```standalone_crate"
                .to_owned(),
        }),
    }
}

fn refuse_privileges(options: &Options) -> Result<(), Error> {
    let reason = match privileges::is_privileged() {
        false => return Ok(()),
        true if !privileges::is_privileged_by_ids() => {
            "its file has capabilities, or gave it privileges that it has dropped; a child could not \
             tell this process from one that never had them"
        }
        true if options.privileged => return Ok(()),
        true => {
            "its file has privileges (set-user-ID or set-group-ID), which a child would get anew \
             by `execve`; `Builder::allow_privileged` accepts that"
        }
    };
    Err(Error::Unsupported {
        reason: reason.to_owned(),
    })
}

/// Sends what the socket takes. The rest is sent later, if the socket is full or too many
/// descriptors are in flight.
fn send(outbox: &mut Outbox<'_>, socket: BorrowedFd<'_>, wait: Wait) -> io::Result<()> {
    match outbox.advance(socket, wait) {
        Err(error) if transport::is_crowded(&error) => Ok(()),
        result => result.map(drop),
    }
}

/// Starts this executable again, with `socket` as the only descriptor that it gets.
fn start<F: Func>(
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
    let standard: Vec<Option<OwnedFd>> = standard
        .into_iter()
        .collect::<io::Result<_>>()
        .map_err(failed("open a standard descriptor"))?;
    let (process_group, dies_with_thread) = (options.process_group, options.kill_on_parent_death);
    let start = move || {
        let borrowed = [0, 1, 2].map(|index| {
            standard
                .get(index)
                .and_then(Option::as_ref)
                .map(AsFd::as_fd)
        });
        Process::start(&Start {
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

/// Returns a copy of the descriptor, above those that it will replace.
pub(crate) fn standard(stdio: Option<&Stdio>) -> io::Result<Option<OwnedFd>> {
    match stdio {
        None | Some(Stdio::Inherit) => Ok(None),
        Some(Stdio::Null) => system_files::null()?.as_fd().try_clone_to_owned().map(Some),
        Some(Stdio::Descriptor(descriptor)) => descriptor.try_clone().map(Some),
    }
}

fn c_string(text: impl AsRef<OsStr>) -> Result<CString, Error> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| {
        Error::Encode(EncodeError::new(EncodeErrorKind::Refused {
            reason: "a path or an environment variable holds a zero byte".to_owned(),
        }))
    })
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Launch { step, source }
}
