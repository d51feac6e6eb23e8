//! The plan by which a child confines itself. The parent makes it, partly once for each policy and partly
//! once for each call.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

use crossmist_policy::steps::SecondNet;
use crossmist_policy::{Arch, Capabilities, Compiled, Kernel, OnViolation, WantedGroup};

use super::control_group::{self, Bounds, ControlGroup, Entrance, NewGroup};
use super::fields::Shared;
use super::inherited::Inherited;
use super::landlock;
use super::namespaces::{Namespace, Wanted};
use super::root::Root;
use super::trace;
use crate::error::{Unusable, UnusableKind};
use crate::sys::confinement::{Resource, can_deny_write_execute, landlock_abi};
use crossmist_policy::bpf::BpfProgram;

/// The plan by which a child confines itself.
#[derive(Debug, crate::Object)]
pub(crate) struct Plan {
    pub(super) fixed: Shared<StaticPlan>,
    /// The Landlock ruleset: the only paths, ports and neighbours that there are. `None` if
    /// Landlock has nothing to do.
    pub(super) ruleset: Option<Shared<OwnedFd>>,
    /// The contents of its root directory, if it has one of its own.
    pub(super) root: Option<Root>,
    /// The standard descriptors, or `/dev/null` if there is none.
    pub(super) standard: [Option<OwnedFd>; 3],
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) inherited: Inherited,
    pub(super) control_group: Option<Entrance>,
}

/// The part of a plan that is the same for each call of a policy.
#[derive(Clone, Debug, PartialEq, Eq, crate::Object)]
pub(super) struct StaticPlan {
    /// The filter as the kernel takes it, except for the process's own id.
    pub(super) filter: BpfProgram,
    /// The instructions whose operand is that id.
    pub(super) own_pid: Vec<u16>,
    /// Resources with their soft and hard limits, in the order in which they are set.
    pub(super) limits: Vec<(Resource, u64, u64)>,
    /// Limits on memory, which are set when nothing more will be allocated.
    pub(super) memory_limits: Vec<(Resource, u64, u64)>,
    /// How much private memory may be written beyond what has been, if that is bounded.
    pub(super) memory: Option<u64>,
    /// How much may be mapped beyond what is, if that is bounded.
    pub(super) mappable: Option<u64>,
    /// The capabilities that are kept, as a mask.
    pub(super) capabilities: u64,
    pub(super) landlock_abi: u32,
    /// The rights that Landlock handles: on files, on ports, and scopes.
    pub(super) handled: [u64; 3],
    /// How many promises the policy gives up.
    pub(super) relaxed: u32,
    pub(super) own_user: bool,
    /// RLIMIT_NPROC for a user of its own.
    pub(super) tasks: u64,
    pub(super) namespaces: Wanted,
    pub(super) dies_with_parent: bool,
    pub(super) dumpable: bool,
    pub(super) deny_write_execute: bool,
    /// Whether it is an error if the kernel does not know how.
    pub(super) requires_deny_write_execute: bool,
    /// The parts of Landlock that the policy uses and the kernel does not have.
    pub(super) missing: Vec<SecondNet>,
    pub(super) allow_speculation: bool,
    /// Whether this library's handler takes SIGSYS.
    pub(super) reports: bool,
    /// Whether a supervisor is asked about calls, instead of denying them.
    pub(super) is_watched: bool,
    /// Whether the child tells where in the program it panicked, or was denied a call.
    pub(super) tells_places: bool,
    /// Whether the filter allows `sendmsg`, which can send descriptors.
    pub(super) sends_descriptors: bool,
}

/// The parts of a policy that are kept between its calls.
///
/// For functions whose types let them send no descriptor, and for the others.
#[derive(Debug, Default)]
pub(crate) struct StaticPlans([OnceLock<Arc<StaticPlan>>; 2]);

impl Plan {
    /// Makes the plan for one call. The function's types say whether it can send a descriptor.
    ///
    /// # Errors
    ///
    /// What prevents it.
    pub(crate) fn prepare(
        policy: &Compiled,
        kept: &StaticPlans,
        bound: &[(String, String)],
        sends_descriptors: bool,
    ) -> Result<Self, Unusable> {
        for (name, _) in bound {
            if !policy.variables.iter().any(|rule| rule.name == *name) {
                let known: Vec<_> = policy
                    .variables
                    .iter()
                    .map(|rule| rule.name.as_str())
                    .collect();
                let reason = match known.as_slice() {
                    [] => format!("it has no variable `{name}`, nor any other"),
                    known => format!("it has no variable `{name}`; it has {}", known.join(", ")),
                };
                return Err(Unusable::new(UnusableKind::Variable, reason));
            }
        }
        let [data, descriptors] = &kept.0;
        let kept = if sends_descriptors { descriptors } else { data };
        let fixed = match kept.get() {
            Some(fixed) => Arc::clone(fixed),
            None => {
                let fixed = Arc::new(StaticPlan::of(policy, sends_descriptors)?);
                Arc::clone(kept.get_or_init(|| fixed))
            }
        };
        let has_root = fixed.namespaces.all().has(Namespace::Mount) && policy.filesystem.is_some();
        let mut root = has_root.then(Root::default);
        let ruleset = landlock::ruleset(policy, fixed.landlock_abi, bound, root.as_mut())?;
        root.iter_mut().for_each(Root::complete);
        Ok(Self {
            fixed: Shared(fixed),
            ruleset: ruleset.map(Shared),
            root,
            standard: [None, None, None],
            environment: environment(policy),
            inherited: Inherited::of_caller(makes_files(policy)),
            control_group: None,
        })
    }

    /// Does the same without any denial: a supervisor is asked about calls that not every policy
    /// allows.
    #[cfg(crossmist_learn)]
    pub(crate) fn watched(self) -> Result<Self, Unusable> {
        let program = Arch::host().and_then(crossmist_policy::learn::watching);
        let program = program.ok_or_else(|| {
            Unusable::new(UnusableKind::Version, "this architecture can't be watched")
        })?;
        let fixed = StaticPlan {
            filter: program.code.clone(),
            own_pid: program.own_pid,
            dies_with_parent: self.fixed.dies_with_parent,
            is_watched: true,
            sends_descriptors: true,
            ..StaticPlan::without_denials()
        };
        Ok(Self {
            fixed: Shared(Arc::new(fixed)),
            ruleset: None,
            root: None,
            ..self
        })
    }

    /// Whether the child's filter lets it send descriptors.
    pub(crate) fn sends_descriptors(&self) -> bool {
        self.fixed.sends_descriptors
    }

    /// Gives the child a control group, if the policy wants one and there can be one. Its end is the
    /// keeper's.
    ///
    /// Fails with the reason if the policy requires one.
    pub(crate) fn add_control_group(
        &mut self,
        policy: &Compiled,
    ) -> Result<Option<NewGroup>, Unusable> {
        let limits = &policy.limits;
        if limits.control_group == WantedGroup::Never {
            return Ok(None);
        }
        let bounds = Bounds {
            memory: limits.memory,
            tasks: self.fixed.tasks,
        };
        let is_required = limits.control_group == WantedGroup::Required;
        let made = control_group::make(bounds).and_then(|(group, entrance)| {
            let ControlGroup { memory, tasks } = entrance.bounds();
            match is_required && !(tasks && (memory || limits.memory.is_none())) {
                false => Ok((group, entrance)),
                true => Err(
                    "the program's control groups have no controllers for memory and for the number of \
                     processes (cgroup.subtree_control)"
                        .to_owned(),
                ),
            }
        });
        match made {
            Ok((group, entrance)) => {
                self.control_group = Some(entrance);
                Ok(Some(group))
            }
            Err(_) if !is_required => Ok(None),
            Err(reason) => Err(Unusable::new(
                UnusableKind::ControlGroup,
                format!(
                    "it requires a control group (`limits.control_group`), and {reason}; have the program's \
                     service manager delegate some (systemd: `Delegate=memory pids` and \
                     `DelegateSubgroup=program`), or let the policy say \"if-possible\""
                ),
            )),
        }
    }

    /// Sets a standard descriptor, or `/dev/null` without one.
    pub(crate) fn set_standard(&mut self, number: usize, descriptor: Option<OwnedFd>) {
        if let Some(slot) = self.standard.get_mut(number) {
            *slot = descriptor;
        }
    }

    /// Sets or removes environment variables, as the caller demands.
    pub(crate) fn set_variables(&mut self, changes: &[(OsString, Option<OsString>)]) {
        for (name, value) in changes {
            self.environment.retain(|(known, _)| known != name);
            let set = value.as_ref().map(|value| (name.clone(), value.clone()));
            self.environment.extend(set);
        }
    }

    /// Lets the child answer several calls, each with the processor time of the policy.
    pub(crate) fn allow_calls(&mut self, calls: u32) {
        if calls <= 1 {
            return;
        }
        for (resource, soft, hard) in &mut Arc::make_mut(&mut self.fixed.0).limits {
            if *resource == libc::RLIMIT_CPU {
                *soft = soft.saturating_mul(calls.into());
                *hard = soft.saturating_add(1);
            }
        }
    }

    /// Whether the child tells where in the program it panicked.
    pub(crate) fn tells_places(&self) -> bool {
        self.fixed.tells_places
    }
}

impl StaticPlan {
    /// A plan that takes nothing away, and whose filter is missing.
    #[cfg(any(test, crossmist_learn))]
    pub(super) fn without_denials() -> Self {
        Self {
            filter: BpfProgram::new(),
            own_pid: Vec::new(),
            limits: Vec::new(),
            memory_limits: Vec::new(),
            memory: None,
            mappable: None,
            capabilities: u64::MAX,
            landlock_abi: 0,
            handled: [0; 3],
            relaxed: 0,
            own_user: false,
            tasks: 0,
            namespaces: Wanted::default(),
            dies_with_parent: false,
            dumpable: true,
            deny_write_execute: false,
            requires_deny_write_execute: false,
            missing: Vec::new(),
            allow_speculation: false,
            reports: false,
            is_watched: false,
            tells_places: false,
            sends_descriptors: false,
        }
    }

    fn of(policy: &Compiled, sends_descriptors: bool) -> Result<Self, Unusable> {
        let program = Arch::host().and_then(|arch| policy.program_for(arch, sends_descriptors));
        let program = program.ok_or_else(|| {
            Unusable::new(
                UnusableKind::Version,
                "it was compiled for another architecture",
            )
        })?;
        let reports = policy.on_violation != OnViolation::Trap;
        // The parent's decision, which the child need not know of.
        let traced = trace::is_on_for(policy).then(|| program.traced()).flatten();
        let program = traced.as_ref().unwrap_or(program);
        let kernel = kernel();
        let abi = kernel.landlock_abi;
        policy
            .check_kernel(&kernel)
            .map_err(|error| Unusable::new(UnusableKind::Kernel, error.to_string()))?;
        let limits = &policy.limits;
        let limit = |resource, most: Option<u64>| most.map(|most| (resource, most, most));
        let seconds = limits.cpu_time.map(|time| {
            time.as_secs()
                .saturating_add(u64::from(time.subsec_nanos() > 0))
        });
        let process = &policy.process;
        Ok(Self {
            filter: program.code.clone(),
            own_pid: program.own_pid.clone(),
            limits: [
                limit(libc::RLIMIT_CORE, limits.core),
                // SIGXCPU comes first. A process that ignores it is killed a second later.
                seconds.map(|most| (libc::RLIMIT_CPU, most.max(1), most.max(1).saturating_add(1))),
                limit(libc::RLIMIT_NOFILE, Some(limits.open_files)),
                limit(libc::RLIMIT_FSIZE, limits.file_size),
                limit(libc::RLIMIT_MEMLOCK, limits.locked_memory),
                limit(libc::RLIMIT_STACK, limits.stack),
                limit(libc::RLIMIT_MSGQUEUE, Some(0)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            memory_limits: Vec::from_iter(limit(libc::RLIMIT_AS, limits.address_space)),
            memory: limits.memory,
            mappable: limits
                .memory
                .zip(limits.reserved)
                .map(|(memory, reserved)| memory.saturating_add(reserved)),
            capabilities: match &policy.capabilities {
                Capabilities::All => u64::MAX,
                Capabilities::Only(kept) => kept
                    .iter()
                    .filter(|number| **number < 64)
                    .fold(0, |mask, n| mask | 1 << n),
            },
            landlock_abi: abi,
            handled: landlock::handled(policy, abi),
            relaxed: u32::try_from(policy.relaxed.len()).unwrap_or(u32::MAX),
            own_user: process.own_user,
            tasks: limits.threads.max(limits.processes).max(1),
            namespaces: Wanted::of(policy),
            dies_with_parent: process.dies_with_parent,
            dumpable: process.dumpable,
            deny_write_execute: process.deny_write_execute,
            requires_deny_write_execute: policy.requires(SecondNet::DenyWriteExecute),
            // The child finds out about the other one.
            missing: policy
                .missing_on(&kernel)
                .into_iter()
                .filter(|net| net.landlock_abi() > 0)
                .collect(),
            allow_speculation: process.allow_speculation,
            reports,
            is_watched: false,
            tells_places: policy.environment.backtrace,
            // A policy may allow it whatever the types are.
            sends_descriptors: sends_descriptors || policy.programs == policy.data_programs,
        })
    }
}

/// Returns the second nets that this kernel has. The wall's own calls report by themselves if they
/// are missing.
pub(crate) fn kernel() -> Kernel {
    Kernel {
        release: None,
        landlock_abi: landlock_abi(),
        denies_write_execute: can_deny_write_execute(),
    }
}

/// Returns what a policy inherits from this process's environment, and what it sets.
fn environment(policy: &Compiled) -> Vec<(OsString, OsString)> {
    let wanted = |name: &OsStr| {
        policy
            .environment
            .inherit
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.as_bytes().starts_with(beginning.as_bytes()),
                None => name == pattern.as_str(),
            })
    };
    let mut variables: Vec<(OsString, OsString)> = match policy.environment.inherit.as_slice() {
        [] => Vec::new(),
        _ => std::env::vars_os()
            .filter(|(name, _)| wanted(name))
            .collect(),
    };
    for (name, value) in &policy.environment.set {
        variables.retain(|(known, _)| *known != **name);
        variables.push((name.into(), value.into()));
    }
    variables
}

/// Returns whether a policy lets files be created, as far as Landlock tells: by its rights to
/// create something.
fn makes_files(policy: &Compiled) -> bool {
    const MAKE: u64 = 0x7f << 6;
    let rules = policy.filesystem.as_ref();
    rules.is_none_or(|rules| rules.iter().any(|rule| rule.rights.bits() & MAKE != 0))
}

/// Returns the error number of a system call.
pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
