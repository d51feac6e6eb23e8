//! The child's part: the list of steps, in their order.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crossmist_policy::bpf::{self, BpfProgram};

use super::namespaces::Origin;
use super::plan::{Plan, StaticPlan, errno};
use super::privileges;
use super::status::ConfinementStatus;
use super::step::Failure;
use super::users::User;
use crate::error::Step;
use crate::sys::confinement as sys;
use crate::sys::fork;
use crate::sys::passing;
use crate::sys::signals;
use crate::sys::sigsys;
use crate::sys::socket;
use crate::sys::threads;
use crate::sys::usage::{Usage, first_usage, usage};
use crate::transport;
use crate::wire::DenialReport;

/// What a process has done to itself.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) status: ConfinementStatus,
    /// Where its calls are asked for, if it is watched instead of confined.
    #[cfg(crossmist_learn)]
    pub(crate) listener: Option<std::os::fd::OwnedFd>,
}

/// Confines this process, which must have one thread, or says which step failed; nothing of it can
/// be undone then, so the process has to end.
///
/// `report` is where denied calls are told of, `keep` what else stays open. `origin` tells the
/// process that this one dies with, `received` how many bytes it has received.
///
/// The order matters: what needs a right comes before the right is given up. The standard descriptors
/// are set before the limit on descriptors; the user before the signal of the parent's death, which
/// the kernel forgets with the user; no_new_privs before Landlock and seccomp, which ask for it; the
/// limit on memory after what allocates; what the caller has before the policy's own limits, which only
/// lower; the filter last, since it forbids most of the rest.
pub(crate) fn apply(
    mut plan: Plan,
    report: BorrowedFd<'_>,
    keep: &[RawFd],
    mut origin: Origin,
    received: usize,
) -> Result<Applied, Failure> {
    let step = |step| move |error: io::Error| Failure::new(step, errno(&error));
    let control_group = plan.control_group.take();
    let fixed: &StaticPlan = &plan.fixed;

    // The calls that this takes may be denied from here on.
    transport::do_without_measuring();
    // Landlock and seccomp are about this thread and those that it starts.
    if !fork::is_single_threaded().map_err(step(Step::Threads))? {
        return Err(Failure::threads(threads::others()));
    }
    // While `/proc` can still tell, if the kernel doesn't, that there is one thread.
    let variables = plan.environment.iter();
    sys::replace_environment(variables.map(|(name, value)| (name.as_os_str(), value.as_os_str())))
        .map_err(step(Step::Environment))?;
    // Early, so that all that it uses from here on is counted.
    let control_group = control_group
        .map(|entrance| entrance.join(origin.is_in_group))
        .transpose();
    let control_group = control_group.map_err(step(Step::ControlGroup))?;
    // Before the limit on descriptors, as it may read files.
    let user = User::choose(fixed.own_user).map_err(step(Step::User))?;
    // Before `/proc` is closed with the rest. What comes to it afterwards is next to nothing. Nor is what
    // little it has received worth reading a file for.
    let usage = match received > RECEIVED_UNCOUNTED {
        true => usage(),
        false => first_usage(),
    };
    // Before the descriptors of the keeper are closed, which lead there, and while it has every right.
    let namespaces = origin
        .complete(&fixed.namespaces, plan.root.as_ref())
        .map_err(|(at, error)| Failure::new(at, errno(&error)))?;
    sweep(&plan, report, keep).map_err(step(Step::Descriptors))?;
    standard_descriptors(&plan).map_err(step(Step::Standard))?;
    // The rest is as it was made when the keeper, or this process by `execve`, began.
    signals::restore(&signals::FROM_TERMINAL);
    signals::ignore(&[libc::SIGXFSZ, libc::SIGPIPE]);
    plan.inherited.take().map_err(step(Step::Inherit))?;
    limits(&fixed.limits).map_err(step(Step::Limits))?;
    let own_user = privileges::give_up(fixed.capabilities, user)
        .map_err(|(at, error)| Failure::new(at, errno(&error)))?;
    if own_user.is_some() {
        limits(&[(libc::RLIMIT_NPROC, fixed.tasks, fixed.tasks)]).map_err(step(Step::Limits))?;
        // Pools take a thread for each processor that they may run on, and fail where one can't be
        // started: so there are as many as there may be threads beside this one. Where there may be
        // none, the kernel is left the choice of the processor. It is no bound on anything, so it may
        // fail: a pool that doesn't fit is told of the limit.
        if fixed.tasks > 1 {
            let _ = sys::run_on_few(fixed.tasks.saturating_sub(1));
        }
    }
    die_with(fixed, origin.keeper).map_err(step(Step::ParentDeath))?;
    sys::set_no_new_privs().map_err(step(Step::NoNewPrivs))?;
    bound_memory(fixed, usage.map_err(step(Step::Memory)))?;
    let denies_write_execute = fixed.deny_write_execute
        && deny_write_execute(fixed).map_err(step(Step::DenyWriteExecute))?;
    sys::set_dumpable(fixed.dumpable).map_err(step(Step::Dumpable))?;
    if fixed.reports {
        let setup = sigsys::Setup {
            death: bpf::DEATH,
            emulate: bpf::TRAP_EMULATE,
            head: DenialReport::head,
            tells_places: fixed.tells_places,
        };
        sigsys::install(report, setup).map_err(step(Step::Handler))?;
    }
    if !fixed.sends_descriptors {
        socket::do_without_sendmsg();
    }
    passing::leave_sockets_alone();
    // Made here, as there is little to be had from here on.
    let status = ConfinementStatus {
        control_group,
        ..ConfinementStatus::of(fixed, user, own_user, denies_write_execute, namespaces)
    };
    let filter = patched(fixed);
    if let Some(ruleset) = &plan.ruleset {
        sys::landlock_restrict_self(ruleset.as_fd()).map_err(step(Step::Landlock))?;
    }
    #[cfg(crossmist_learn)]
    if fixed.is_watched {
        crate::sys::notify::let_anybody_look();
        drop_descriptors(plan);
        let listener = crate::sys::notify::load_filter(&filter).map_err(step(Step::Seccomp))?;
        return Ok(Applied {
            status,
            listener: Some(listener),
        });
    }
    drop_descriptors(plan);
    sys::load_filter(&filter, status.allows_speculation).map_err(step(Step::Seccomp))?;
    Ok(Applied {
        status,
        #[cfg(crossmist_learn)]
        listener: None,
    })
}

/// How much a process may have received that its memory is taken for that of the process that it is a copy
/// of. Up to twice as much counts towards its limit then.
const RECEIVED_UNCOUNTED: usize = 256 << 10;

/// Closes every descriptor but those of the call.
#[expect(
    unsafe_code,
    reason = "only this process's story tells who still uses a descriptor"
)]
fn sweep(plan: &Plan, report: BorrowedFd<'_>, keep: &[RawFd]) -> io::Result<()> {
    let ruleset = plan.ruleset.iter().map(|ruleset| ruleset.as_raw_fd());
    let standard = plan.standard.iter().flatten().map(AsRawFd::as_raw_fd);
    let keep = keep.iter().copied().chain(ruleset).chain(standard);
    // SAFETY: this process is the keeper's copy, which has forgotten the keeper's descriptors without
    // dropping their owners (`keeper/server`), or has just been executed with no others than the launch
    // socket, which is `report`, and `/proc`, which `system_files` looks after. It has received those of
    // the plan and of the arguments since then, which are kept, and that of its network, which
    // `Origin::complete` has closed, and that of its control group, which `Entrance::join` has. Statics
    // of the user's own that a `preload` function has filled are told of in its documentation.
    unsafe { sys::close_others(keep.chain([report.as_raw_fd()])) }
}

/// Where a plan has none, the keeper has put something there: its stream, or `/dev/null`.
fn standard_descriptors(plan: &Plan) -> io::Result<()> {
    for (number, descriptor) in (0..).zip(&plan.standard) {
        if let Some(descriptor) = descriptor {
            sys::set_standard(number, descriptor.as_fd())?;
        }
    }
    Ok(())
}

fn limits(limits: &[(sys::Resource, u64, u64)]) -> io::Result<()> {
    let mut limits = limits.iter();
    limits.try_for_each(|(resource, soft, hard)| sys::lower_limit(*resource, *soft, *hard))
}

/// Bounds memory by what this process has now: from here on it can write to `memory` more, and map
/// `mappable` more.
///
/// RLIMIT_DATA counts private memory when it becomes writable, and nobody is asked when it is written.
/// What an allocator has reserved, or the program's own `.bss`, is such memory. So the limit is
/// what was written plus what may be, of which the reserve is a part; a reserve that is larger is beyond
/// any limit, and an error.
fn bound_memory(fixed: &StaticPlan, usage: Result<Usage, Failure>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Step::Memory, errno(&error));
    limits(&fixed.memory_limits).map_err(failed)?;
    if fixed.memory.is_none() && fixed.mappable.is_none() {
        return Ok(());
    }
    let usage = usage?;
    if let Some(memory) = fixed.memory {
        let most = usage.written.saturating_add(memory);
        if usage.writable > most {
            let reserved = usage.writable.saturating_sub(usage.written);
            return Err(Failure::unbounded(reserved, memory));
        }
        limits(&[(libc::RLIMIT_DATA, most, most)]).map_err(failed)?;
    }
    if let Some(mappable) = fixed.mappable {
        let most = usage.mapped.saturating_add(mappable);
        limits(&[(libc::RLIMIT_AS, most, most)]).map_err(failed)?;
    }
    Ok(())
}

/// Has the kernel kill this process with its parent, which may have died before.
fn die_with(fixed: &StaticPlan, parent: i32) -> io::Result<()> {
    if !fixed.dies_with_parent {
        return Ok(());
    }
    sys::die_with_parent()?;
    match nix::unistd::getppid().as_raw() == parent {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Sets up a second net: that a kernel doesn't know it is an error only if the policy insists on it.
fn deny_write_execute(fixed: &StaticPlan) -> io::Result<bool> {
    match sys::deny_write_execute()? {
        false if fixed.requires_deny_write_execute => {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
        is_set => Ok(is_set),
    }
}

/// The filter with this process's id in it.
fn patched(fixed: &StaticPlan) -> BpfProgram {
    let mut filter = fixed.filter.clone();
    for at in &fixed.own_pid {
        if let Some(instruction) = filter.get_mut(usize::from(*at)) {
            instruction.k = std::process::id();
        }
    }
    filter
}

/// Closes what only the plan needed.
fn drop_descriptors(plan: Plan) {
    let Plan {
        ruleset, standard, ..
    } = plan;
    drop(standard);
    drop(ruleset);
}
