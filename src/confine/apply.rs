//! The child's part: the list of steps, in their order.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;

use crossmist_policy::Arch;
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

/// The confinement that a process has applied to itself.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) status: ConfinementStatus,
    /// The descriptor on which its calls are asked about, if it is watched instead of confined.
    #[cfg(crossmist_learn)]
    pub(crate) listener: Option<std::os::fd::OwnedFd>,
}

/// Confines this process, which must have one thread.
///
/// Denied calls are reported on `report`. The descriptors in `keep` stay open as well. `origin` names the
/// process that this one dies with. `received` is the number of bytes that this process has received.
///
/// The order matters. A step that needs a right comes before that right is given up. The standard
/// descriptors are set before the limit on descriptors. The user is set before the signal of the parent's
/// death, because the kernel forgets that signal when the user changes. no_new_privs comes before Landlock
/// and seccomp, which require it. The limit on memory comes after the steps that allocate. The caller's
/// settings come before the policy's limits, which only lower them. The filter comes last, since it forbids
/// most of the rest.
///
/// # Errors
///
/// The step that failed. The steps before it cannot be undone, so the process has to end.
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

    // The calls that a measurement takes may be denied from here on.
    transport::trust_peers();
    // Landlock and seccomp are about this thread and those that it starts.
    if !fork::is_single_threaded().map_err(step(Step::Threads))? {
        return Err(Failure::threads(threads::others()));
    }
    // Before `/proc` is closed: if the kernel doesn't say that there is one thread, `/proc` does.
    let variables = plan.environment.iter();
    sys::replace_environment(variables.map(|(name, value)| (name.as_os_str(), value.as_os_str())))
        .map_err(step(Step::Environment))?;
    // Early, so that the group counts everything that the process uses from here on.
    let control_group = control_group
        .map(|entrance| entrance.join(origin.is_in_group))
        .transpose();
    let control_group = control_group.map_err(step(Step::ControlGroup))?;
    // Before the limit on descriptors, because it may read files.
    let user = User::choose(fixed.own_user).map_err(step(Step::User))?;
    // Before `/proc` is closed with the rest. The process uses next to no memory after this. If it has
    // received little, that is not worth reading a file.
    let usage = match received > RECEIVED_UNCOUNTED {
        true => usage(),
        false => first_usage(),
    };
    let usage = usage.map(|usage| count_slots(usage, received));
    // Before the keeper's descriptors, which lead to namespaces, are closed, and before rights are given up.
    let namespaces = origin
        .complete(&fixed.namespaces, plan.root.as_ref())
        .map_err(|(at, error)| Failure::new(at, errno(&error)))?;
    sweep(&plan, report, keep).map_err(step(Step::Descriptors))?;
    standard_descriptors(&plan).map_err(step(Step::Standard))?;
    // The other signals are as they were when the keeper, or this process, was executed.
    signals::restore(&signals::FROM_TERMINAL);
    signals::ignore(&[libc::SIGXFSZ, libc::SIGPIPE]);
    plan.inherited.take().map_err(step(Step::Inherit))?;
    limits(&fixed.limits).map_err(step(Step::Limits))?;
    let own_user = privileges::give_up(fixed.capabilities, user)
        .map_err(|(at, error)| Failure::new(at, errno(&error)))?;
    if own_user.is_some() {
        limits(&[(libc::RLIMIT_NPROC, fixed.tasks, fixed.tasks)]).map_err(step(Step::Limits))?;
        // A pool of threads takes one for each processor that it may run on, and fails if it can't start
        // one. So the process gets as many processors as it may have threads beside this one and one more,
        // which tokio, for example, starts for blocking calls beside one for each processor. If it may
        // have none, the kernel chooses the processor. This bounds nothing, so it may fail: then a pool
        // that doesn't fit gets an error.
        if fixed.tasks > 1 {
            let _ = sys::run_on_few(fixed.tasks.saturating_sub(2));
        }
    }
    die_with(fixed, origin.keeper).map_err(step(Step::ParentDeath))?;
    sys::set_no_new_privs().map_err(step(Step::NoNewPrivs))?;
    bound_memory(fixed, usage.map_err(step(Step::Memory)))?;
    let denies_write_execute = fixed.deny_write_execute
        && deny_write_execute(fixed).map_err(step(Step::DenyWriteExecute))?;
    sys::set_dumpable(fixed.dumpable).map_err(step(Step::Dumpable))?;
    let filter = patched(fixed);
    if fixed.reports {
        if FILTER.set(filter.clone()).is_err() {
            // The process is already confined.
            return Err(Failure::new(Step::Handler, libc::EBUSY));
        }
        let setup = sigsys::Setup {
            death: bpf::DEATH,
            emulate: bpf::TRAP_EMULATE,
            ask,
            traced: bpf::TRAP_TRACED,
            head: DenialReport::head,
            tells_places: fixed.tells_places,
        };
        sigsys::install(report, setup).map_err(step(Step::Handler))?;
    }
    if !fixed.sends_descriptors {
        socket::do_without_sendmsg();
    }
    passing::leave_sockets_alone();
    // Before the filter, because little is allowed after it.
    let status = ConfinementStatus {
        control_group,
        ..ConfinementStatus::of(fixed, user, own_user, denies_write_execute, namespaces)
    };
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

/// Up to how many received bytes the memory of a process is taken to be that of the process that it is a copy
/// of. Up to twice as many bytes then count towards its limit.
const RECEIVED_UNCOUNTED: usize = 256 << 10;

/// Counts the memory that is shared with the program as mapped already, if it was mapped after that was read.
fn count_slots(usage: Usage, received: usize) -> Usage {
    let uncounted = match received > RECEIVED_UNCOUNTED {
        true => 0,
        false => transport::given_slot_bytes(),
    };
    Usage {
        mapped: usage.mapped.saturating_add(uncounted),
        ..usage
    }
}

/// Closes every descriptor but those of the call.
#[expect(
    unsafe_code,
    reason = "only this process's story tells who still uses a descriptor"
)]
fn sweep(plan: &Plan, report: BorrowedFd<'_>, keep: &[RawFd]) -> io::Result<()> {
    let ruleset = plan.ruleset.iter().map(|ruleset| ruleset.as_raw_fd());
    let standard = plan.standard.iter().flatten().map(AsRawFd::as_raw_fd);
    let keep = keep.iter().copied().chain(ruleset).chain(standard);
    // SAFETY: this process is a copy of the keeper, or was executed. A copy has forgotten the owners of the
    // keeper's descriptors without dropping them (`keeper/server`). An executed process had only the launch
    // socket, which is `report`, and `/proc`, which `system_files` compares before each use. Since then the
    // process has received the descriptors of the plan and of the arguments, which are kept. Those of its
    // network and of its control group are closed already (`Origin::complete`, `Entrance::join`). Statics
    // of the user's own can own a descriptor only in a copy of a keeper that has run a `preload` function,
    // whose documentation says that such descriptors are closed.
    unsafe { sys::close_others(keep.chain([report.as_raw_fd()])) }
}

/// Sets the standard descriptors of the plan. For the others, the keeper has set its stream or `/dev/null`.
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

/// Bounds memory relative to what this process has now: from here on it can write to `memory` more bytes,
/// and map `mappable` more.
///
/// RLIMIT_DATA counts private memory when it becomes writable, not when it is written. Memory that an
/// allocator has reserved is such memory, and so is the program's `.bss`. So the limit is the memory that
/// was written plus `memory`, and the reserve is a part of it. A reserve that is larger than `memory` would
/// exceed every limit, and is an error.
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

/// Sets up a second net. If the kernel doesn't know it, that is an error only if the policy requires it.
fn deny_write_execute(fixed: &StaticPlan) -> io::Result<bool> {
    match sys::deny_write_execute()? {
        false if fixed.requires_deny_write_execute => {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
        is_set => Ok(is_set),
    }
}

/// A copy of this process's filter, for the handler of SIGSYS.
static FILTER: OnceLock<BpfProgram> = OnceLock::new();

/// Returns the filter's answer to a call that the handler wants to make. Allocates nothing and waits for
/// nothing, because it runs in the handler.
fn ask(number: libc::c_long, arguments: [u64; 6]) -> sigsys::Answer {
    let (Some(filter), Some(arch)) = (FILTER.get(), Arch::host()) else {
        return sigsys::Answer::Denied;
    };
    let Ok(number) = u32::try_from(number) else {
        return sigsys::Answer::Denied;
    };
    let call = bpf::interpret::Call::new(arch, number, arguments);
    let action = bpf::interpret::answer(filter, &call);
    match action {
        bpf::Action::Allow => sigsys::Answer::Allowed,
        bpf::Action::Errno(errno) => sigsys::Answer::Fails(errno),
        action => match action.traced_errno() {
            Some(errno) => sigsys::Answer::Fails(errno),
            None => sigsys::Answer::Denied,
        },
    }
}

/// Returns the filter with this process's id in it.
fn patched(fixed: &StaticPlan) -> BpfProgram {
    let (mut filter, own) = (fixed.filter.clone(), std::process::id());
    for at in &fixed.own_pid {
        if let Some(instruction) = filter.get_mut(usize::from(*at)) {
            instruction.k = own;
        }
    }
    filter
}

/// Closes the descriptors that only the plan needed.
fn drop_descriptors(plan: Plan) {
    let Plan {
        ruleset, standard, ..
    } = plan;
    drop(standard);
    drop(ruleset);
}
