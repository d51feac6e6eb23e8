//! The parent's side of a call, from the arguments to the child.

mod builder;
mod child;
mod confined;
mod confinement;
mod denials;
mod options;
#[cfg(crossmist_learn)]
mod outcomes;
mod output;
mod process;
mod processor;
mod progress;
mod reaper;
mod request_timer;
mod spare;
mod starter;
mod stderr;
mod unconfined;
#[cfg(crossmist_learn)]
mod watch;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

pub use self::builder::Builder;
#[cfg(feature = "__runtime")]
pub(crate) use self::child::time_to_end;
pub use self::child::{Child, KillHandle};
pub(crate) use self::confinement::Confined;
pub(crate) use self::options::Options;
pub use self::options::Stdio;
use self::process::ChildProcess;
use self::progress::CallSettings;
pub use self::request_timer::RequestTimer;
pub(crate) use self::spare::{Remainder, Spare};
use crate::child::Launch;
use crate::error::{Error, UnsupportedKind};
#[cfg(feature = "tracing")]
use crate::events;
use crate::executable;
use crate::func::Func;
use crate::keeper;
#[cfg(feature = "metrics")]
use crate::meters::CallMeter;
use crate::object::{Link, Object, Terms, Trust, brings_descriptors, carries};
use crate::sys::connection::Connection;
use crate::sys::passing;
use crate::sys::poll::Deadline;
use crate::sys::privileges;
use crate::sys::socket::{self, Wait};
use crate::transport::{self, Outbox, Slots};

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
    #[cfg(feature = "metrics")]
    let meter = CallMeter::begin(F::NAME);
    let child = begin_call::<F>(arguments, options);
    #[cfg(feature = "metrics")]
    let child = meter.follow(child, Child::measure_call);
    child
}

fn begin_call<F: Func>(arguments: F::Args, options: &Options) -> Result<Child<F::Output>, Error> {
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
    let confined = confined::confinement::<F>(options);
    #[cfg(crossmist_learn)]
    if let Err(error @ Error::Policy { policy, .. }) = &confined {
        outcomes::failed(F::NAME, policy, error);
    }
    let (confined, plan) = confined?.unzip();
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
    let preload = match &confined {
        Some(confined) => prepared::<F>(confined)?,
        None => None,
    };
    let time = match &confined {
        Some(confined) => confined.time(options),
        None => options.deadline,
    };
    let deadline = time.map_or(Deadline::NEVER, Deadline::after);
    may_start::<F>(options, confined.is_some())?;
    let program = executable::own()?;
    if let Some(timer) = &options.timer {
        timer.give(F::NAME, confined.is_some())?;
    }

    let mut outbox = Outbox::encode(launch, options.limits, Trust::Code)?;
    let (ours, theirs) = sockets::<F::Output>()?;
    let slots = match options.bulk {
        // Without them, everything goes through the socket.
        true => Slots::offer(ours.as_fd()).ok(),
        false => None,
    };
    outbox.use_slots(slots.as_ref());
    if let Some(slots) = &slots {
        let links = outbox.links().iter();
        links.for_each(|link| link.share(slots.memory()));
    }
    // As much as the socket takes is sent before the child exists.
    outbox
        .advance(ours.as_fd(), Wait::Never)
        .map_err(failed("send the arguments"))?;

    let hold = CallSettings {
        function: F::NAME,
        limits: launch.limits,
        deadline,
        time: time.unwrap_or_default(),
        kill_on_drop: options.kill_on_drop,
    };
    #[cfg(feature = "tracing")]
    let policy = confined
        .as_ref()
        .map(|confined| confined.policy_name().to_owned());
    let mut child = match confined {
        None => {
            let process = unconfined::start::<F>(program, theirs, options)?;
            Child::new(ChildProcess::own(process), ours, hold, None)
        }
        Some(confined) => {
            let mut confined = confined.timed_by(options.timer.as_ref());
            let group = confined.take_group();
            let passed = Passed::new(outbox.links(), &confined);
            let request = confined.request(deadline);
            let supervised = ChildProcess::supervised(keeper::launch(
                program,
                preload,
                request,
                theirs,
                confined.timer(),
                group,
                deadline,
            )?);
            let child = Child::new(supervised, ours, hold, Some(confined));
            if let (Some(passed), Some(process)) = (passed, child.process()) {
                passed.belong_to(process);
            }
            child
        }
    };
    child.use_slots(slots);
    #[cfg(feature = "tracing")]
    events::started(F::NAME, policy.as_deref(), || child.id());
    Ok((child, outbox))
}

/// Creates the launch socket of a call that answers with an `R`: the program's end, and the child's.
fn sockets<R: Object>() -> Result<(OwnedFd, OwnedFd), Error> {
    let (ours, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
    // A watched child sends a descriptor on which it asks.
    if !cfg!(crossmist_learn) && !brings_descriptors::<R>() {
        passing::refuse_if_possible(ours.as_fd());
    }
    Ok((ours, theirs))
}

/// Has the state prepared that the children of `F` share, if there is some, and returns its reference.
fn prepared<F: Func>(confined: &Confined) -> Result<Option<u64>, Error> {
    let Some(preload) = F::preload() else {
        return Ok(None);
    };
    let Some(record) = preload.record else {
        return Err(Error::Unsupported {
            kind: UnsupportedKind::Executable,
            reason:
                "a function with `preload` has to be in the program itself, not in a shared object"
                    .to_owned(),
        });
    };
    confined.may_share()?;
    let reference = keeper::shared_record(preload.function, record);
    keeper::prepare(executable::own()?, reference, confined.namespaces())?;
    Ok(Some(reference))
}

/// Prepares the state that the calls of a function share, by calling the function that `preload` names in
/// `#[func(sandbox = "…", preload = load)]`. Without this, the first call prepares it.
///
/// Does nothing if it is prepared already, or if the function has no `preload`.
///
/// # Errors
///
/// [`Error::Preload`] if it fails, and the errors of a call that cannot be started.
pub fn prepare<F: Func>(_: F) -> Result<(), Error> {
    match confined::confinement::<F>(&Options::default())? {
        Some((confined, _)) => prepared::<F>(&confined).map(drop),
        None => Ok(()),
    }
}

/// Refuses what no child is started for. Comes before the first one.
fn may_start<F: Func>(options: &Options, is_confined: bool) -> Result<(), Error> {
    refuse_code_in_result::<F>()?;
    if is_confined || options.clear_environment {
        refuse_merged_example()?;
    }
    refuse_privileges(options)?;
    transport::measure_ahead();
    Ok(())
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
            kind: UnsupportedKind::MergedExamples,
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
        kind: UnsupportedKind::Privileges,
        reason: reason.to_owned(),
    })
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Launch { step, source }
}
