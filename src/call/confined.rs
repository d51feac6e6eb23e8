//! The plan of a confined call: that of its policy, completed with what the caller sets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crossmist_policy::{Compiled, Stdio as Wanted};

use super::confinement::Confined;
use super::options::{Options, Stdio, standard};
use crate::confine::Plan;
use crate::confine::trace::Answers;
use crate::error::{Error, Unusable, UnusableKind};
use crate::func::Func;
use crate::keeper::Piped;
use crate::object::{Sends, sends};

/// Returns the confinement of a call of `F`, if it has a policy, and the plan for its child.
pub(crate) fn confinement<F: Func>(options: &Options) -> Result<Option<(Confined, Plan)>, Error> {
    let policy = match (&options.policy, F::sandbox()) {
        (Some(policy), _) => policy,
        (None, Some(sandbox)) => sandbox.policy()?,
        (None, None) if F::DYNAMIC => {
            let reason = format!("`{}` must be called through its method `sandbox`", F::NAME);
            return Err(Unusable::new(UnusableKind::NotChosen, reason).of("none"));
        }
        (None, None) => return Ok(None),
    };
    let failed = |unusable: Unusable| unusable.of(policy.name());
    if options.directory.is_some() {
        return Err(failed(Unusable::new(
            UnusableKind::Option,
            "a confined child has no working directory of its own: pass it an open directory, \
             or a path that its policy grants",
        )));
    }
    if options.process_group.is_some() {
        return Err(failed(Unusable::new(
            UnusableKind::Option,
            "a confined child is in the session of the keeper, where no terminal reaches it, and can't join \
             another process group: leave out `process_group`",
        )));
    }
    let sends = sends::<F::Args, F::Output>();
    let mut plan = Plan::prepare(
        policy.compiled(),
        policy.kept(),
        &options.bound,
        sends > Sends::Bytes,
    )
    .map_err(failed)?;
    #[cfg(crossmist_learn)]
    if super::watch::is_on() {
        plan = plan.watched().map_err(failed)?;
    }
    plan.set_variables(&options.environment);
    plan.allow_calls(options.calls.max(1));
    let piped = connect(&mut plan, policy.compiled(), options).map_err(|source| Error::Launch {
        step: "set up the standard descriptors",
        source,
    })?;
    // Nobody else can have them honestly, and whoever hides them is not to keep the program waiting.
    let takes_ends_along = plan.sends_descriptors() && sends < Sends::Ends;
    let group = plan.add_control_group(policy.compiled()).map_err(failed)?;
    let confined = Confined::new(F::NAME, policy, piped, takes_ends_along)
        .traced_by(Answers::of(policy.compiled(), plan.sends_descriptors()))
        .in_group(group)
        .for_calls(options.calls.max(1));
    Ok(Some((confined, plan)))
}

/// Puts the standard descriptors into a plan: those that the caller sets, or else those of the
/// policy. Returns those for which the keeper creates a stream.
fn connect(plan: &mut Plan, policy: &Compiled, options: &Options) -> io::Result<Piped> {
    let process = &policy.process;
    let mut piped = Piped::default();
    let wanted = [process.stdin, process.stdout, process.stderr];
    for ((number, wanted), explicit) in (0..).zip(wanted).zip(&options.standard) {
        let descriptor = match (explicit, wanted) {
            (Some(Stdio::Inherit), _) | (None, Wanted::Inherit) => own(number)?,
            (Some(Stdio::Null), _) | (None, Wanted::Null) => None,
            (Some(stdio), _) => standard(Some(stdio))?,
            (None, Wanted::Pipe) => {
                piped.add(number);
                None
            }
        };
        plan.set_standard(number, descriptor);
    }
    Ok(piped)
}

/// Returns a copy of this process's own descriptor, unless it is closed.
fn own(number: usize) -> io::Result<Option<OwnedFd>> {
    let copy = match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        _ => io::stderr().as_fd().try_clone_to_owned(),
    };
    match copy {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        copy => copy.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use crate::object::{Object, Sends, sends};
    use crate::{Blob, Duplex, Receiver, Sender};

    #[test]
    fn a_function_sends_what_a_type_of_its_names() {
        fn of<Args: Object, Output: Object>() -> Sends {
            sends::<Args, Output>()
        }
        assert_eq!(of::<(), ()>(), Sends::Bytes);
        // The arguments do not count, only the result.
        assert_eq!(of::<(File, Blob), Vec<String>>(), Sends::Bytes);
        assert_eq!(of::<(Sender<u64>, Receiver<File>), u8>(), Sends::Bytes);
        assert_eq!(of::<(Duplex<String, File>,), u8>(), Sends::Bytes);

        assert_eq!(of::<(), Option<File>>(), Sends::Descriptors);
        assert_eq!(of::<(u8, Vec<Sender<Blob>>), ()>(), Sends::Descriptors);
        assert_eq!(of::<(Duplex<File, u8>,), ()>(), Sends::Descriptors);
        assert_eq!(of::<(), Sender<u8>>(), Sends::Ends);
        assert_eq!(of::<(Sender<OwnedFd>,), Option<File>>(), Sends::Ends);
        assert_eq!(of::<(Sender<Receiver<u8>>,), ()>(), Sends::Ends);
        // An end that arrives over a channel is as good as one among the arguments.
        assert_eq!(of::<(Receiver<Sender<File>>,), ()>(), Sends::Descriptors);
        assert_eq!(of::<(Receiver<Sender<u8>>,), ()>(), Sends::Bytes);
        type Nested = Receiver<(Receiver<File>, Sender<u8>)>;
        assert_eq!(of::<(Receiver<Nested>,), ()>(), Sends::Bytes);
        // The type does not show what code has bound.
        type Code = Box<dyn crate::FnOnceObject<(), Output = ()>>;
        assert_eq!(of::<(Code,), ()>(), Sends::Ends);
    }
}
