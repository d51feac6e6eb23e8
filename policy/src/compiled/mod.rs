//! Compiled policies: plain data that the run time enforces without reading any text.
//!
//! A macro stores it as one byte string ([`Compiled::to_bytes`]); the parent reads it back
//! ([`Compiled::from_bytes`]), binds the variables, patches the filter, and the child makes system
//! calls only.

mod bytes;
pub(crate) mod explain;
mod make;
pub(crate) mod words;

pub use bytes::DecodeError;
pub use explain::{Explanation, Provenance};

use std::time::Duration;

use crate::Arch;
use crate::bpf::Program;
use crate::file::{OnViolation, VariableKind, bad_parts};
use crate::kernel::Requirement;
use crate::landlock::{FsRights, Need};
use crate::namespaces::Namespaces;
use crate::policy::Capabilities;

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The policy's name.
    pub name: String,
    /// The policy's description; may be empty.
    pub description: String,
    /// The filters, one for each architecture that it was compiled for.
    pub programs: Vec<Program>,
    /// The filters for functions that can't send a descriptor by their types; see
    /// [`Compiled::program_for`].
    pub data_programs: Vec<Program>,
    /// The result of a denied call.
    pub on_violation: OnViolation,
    /// The only paths that may be used; `None` leaves the filesystem unconfined.
    pub filesystem: Option<Vec<PathRule>>,
    /// The only TCP ports that may be used; `None` leaves the network unconfined.
    pub network: Option<Vec<PortRule>>,
    /// The bits of Landlock's scopes.
    pub scopes: u64,
    /// The parts that only Landlock denies, and the other things that the policy asks of Landlock.
    pub needs: Vec<Need>,
    /// The second nets that the policy insists on.
    pub required: Vec<Requirement>,
    /// Promises given up if the kernel can't keep them: which, and why.
    pub relaxed: Vec<(String, String)>,
    /// The variables that paths and ports may name.
    pub variables: Vec<VariableRule>,
    /// The policies that this one stays within, and that those stay within, but for such as leave the
    /// filesystem unconfined.
    pub ceilings: Vec<Ceiling>,
    /// The resources of the process.
    pub limits: Limits,
    /// The limits on data from the child.
    pub channel: ChannelLimits,
    /// The capabilities that stay.
    pub capabilities: Capabilities,
    /// The environment.
    pub environment: Environment,
    /// How the process is set up.
    pub process: Process,
    /// The namespaces that it has for itself.
    pub namespaces: Namespaces,
    /// The origin of each call that isn't simply allowed.
    pub provenance: Vec<Provenance>,
    /// The files it was made of, as they are called in messages.
    pub sources: Vec<String>,
}

/// A path, perhaps with variables, and what may be done beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// To be put through [`Compiled::bind`] before use.
    pub path: String,
    /// The rights; a kernel that knows less takes [`FsRights::known_to`] of them.
    pub rights: FsRights,
    /// Whether a path that isn't there is passed over, instead of being an error.
    pub optional: bool,
    /// The line that it comes from.
    pub line: String,
}

/// Ports that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// The ports.
    pub ports: PortSet,
    /// One of [`crate::landlock`]'s `NET_…`.
    pub rights: u64,
    /// The line that it comes from.
    pub line: String,
}

/// The ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSet {
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The value of a variable.
    Variable(String),
}

/// A variable and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableRule {
    /// Its name.
    pub name: String,
    /// Whether it is a port; otherwise it is a path.
    pub is_port: bool,
    /// Its value if the caller gives none.
    pub default: Option<String>,
    /// The variable of the parent's environment that it is taken from.
    pub from_env: Option<String>,
}

/// The paths of a policy that another one stays within. What a name stands for is known at the call
/// only: a symbolic link can lead out of what the name lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// The name of the variable.
    pub name: String,
    /// Its variables.
    pub variables: Vec<VariableRule>,
    /// Its paths.
    pub filesystem: Vec<PathRule>,
}

/// Limits of the process. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// RLIMIT_DATA: private writable memory.
    pub memory: Option<u64>,
    /// Memory that may be mapped beyond `memory` and beyond what the process has at first, by RLIMIT_AS.
    /// Pages that can't be written any more are not counted by RLIMIT_DATA.
    pub reserved: Option<u64>,
    /// RLIMIT_AS.
    pub address_space: Option<u64>,
    /// RLIMIT_STACK, and the default of a thread's stack.
    pub stack: Option<u64>,
    /// RLIMIT_CPU.
    pub cpu_time: Option<Duration>,
    /// The deadline, which the parent's side keeps.
    pub wall_time: Option<Duration>,
    /// How many processes it may start; 0 is also in the filter.
    pub processes: u64,
    /// How many threads it may have; up to 1 is also in the filter. Advisory above.
    pub threads: u64,
    /// RLIMIT_NOFILE.
    pub open_files: u64,
    /// RLIMIT_FSIZE.
    pub file_size: Option<u64>,
    /// RLIMIT_CORE.
    pub core: Option<u64>,
    /// RLIMIT_MEMLOCK.
    pub locked_memory: Option<u64>,
    /// Whether it gets a control group of its own.
    pub control_group: WantedGroup,
}

/// Whether something that a machine may not allow is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedGroup {
    /// A call fails without it.
    Required,
    /// A call does without if it can't be had, and says so.
    IfPossible,
    /// Not at all.
    Never,
}

/// The limits on data that the parent takes from the child. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Bytes in one message.
    pub message_bytes: Option<u64>,
    /// Descriptors in one message.
    pub message_fds: u64,
    /// Messages altogether.
    pub messages: u64,
    /// How deep values may nest.
    pub nesting: u64,
    /// Bytes altogether.
    pub total_bytes: Option<u64>,
}

/// The environment of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Variables that are inherited: names, or prefixes followed by a `*`.
    pub inherit: Vec<String>,
    /// Variables that are set.
    pub set: Vec<(String, String)>,
    /// Whether a panic sends the addresses of its stack.
    pub backtrace: bool,
}

/// The target of a standard descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// /dev/null.
    Null,
    /// A pipe that the parent's side drains.
    Pipe,
    /// The parent's own.
    Inherit,
}

/// How the process is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
    /// PR_SET_DUMPABLE.
    pub dumpable: bool,
    /// Whether it dies with its parent.
    pub dies_with_parent: bool,
    /// PR_SET_MDWE.
    pub deny_write_execute: bool,
    /// SECCOMP_FILTER_FLAG_SPEC_ALLOW.
    pub allow_speculation: bool,
    /// Whether a parent that is root gives it a user of its own.
    pub own_user: bool,
    /// Whether it gets an address space of its own layout, by exec instead of fork.
    pub fresh_image: bool,
    /// Whether it reports the calls that it is answered with an error number.
    pub trace_denials: bool,
}

/// A variable that can't be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbound {
    /// Its name.
    pub name: String,
    /// Why its value can't be used; `None` if it has none.
    pub reason: Option<&'static str>,
}

impl std::fmt::Display for Unbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "the policy's variable `{}` {reason}", self.name),
            None => write!(
                f,
                "the policy's variable `{}` has no value: bind it",
                self.name
            ),
        }
    }
}

impl std::error::Error for Unbound {}

impl Compiled {
    /// The filter for an architecture.
    pub fn program(&self, arch: Arch) -> Option<&Program> {
        self.programs.iter().find(|program| program.arch == arch)
    }

    /// The filter for a function that can send a descriptor by its types, or can't: without
    /// `sendmsg`, which carries descriptors, no end of a channel and no socket can be parked where
    /// the parent would have to close it.
    pub fn program_for(&self, arch: Arch, sends_descriptors: bool) -> Option<&Program> {
        let programs = match sends_descriptors {
            true => &self.programs,
            false => &self.data_programs,
        };
        programs.iter().find(|program| program.arch == arch)
    }

    /// The same for one architecture only.
    pub fn only(mut self, arch: Arch) -> Self {
        self.programs.retain(|program| program.arch == arch);
        self.data_programs.retain(|program| program.arch == arch);
        self
    }

    /// Whether the filter of an architecture lets anything start a process; without one it might.
    pub fn may_start_processes(&self, arch: Option<Arch>) -> bool {
        let program = arch.and_then(|arch| self.program(arch));
        program.is_none_or(Program::may_start_processes)
    }

    /// Puts the values of variables into the path of a rule. `bound` holds what the caller gave,
    /// `env` looks into the parent's environment.
    ///
    /// # Errors
    ///
    /// If a variable has no value, or one that isn't an absolute path without `..` and empty parts.
    pub fn bind(
        &self,
        path: &str,
        bound: &[(&str, &str)],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<String, Unbound> {
        bind(&self.variables, path, bound, env)
    }

    /// The value of a variable: what the caller bound, else the environment's, else the default.
    ///
    /// # Errors
    ///
    /// If it isn't declared or has no value.
    pub fn value(
        &self,
        name: &str,
        bound: &[(&str, &str)],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<String, Unbound> {
        value(&self.variables, name, bound, env)
    }
}

impl Ceiling {
    /// As [`Compiled::bind`], with the ceiling's own variables: a value that the caller binds, or the
    /// environment has, is the same in both.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn bind(
        &self,
        path: &str,
        bound: &[(&str, &str)],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<String, Unbound> {
        bind(&self.variables, path, bound, env)
    }
}

fn bind(
    variables: &[VariableRule],
    path: &str,
    bound: &[(&str, &str)],
    env: impl Fn(&str) -> Option<String>,
) -> Result<String, Unbound> {
    const BAD_PARTS: &str = "has `.`, `..`, an empty part or NUL in it";

    let mut whole = String::new();
    let mut rest = path;
    let mut last = "";
    while let Some(at) = rest.find('$') {
        whole.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            whole.push('$');
            rest = after;
            continue;
        }
        // The policy was checked to have no other dollars.
        let (name, after) = rest
            .strip_prefix('{')
            .and_then(|r| r.split_once('}'))
            .unwrap_or((rest, ""));
        let value = value(variables, name, bound, &env)?;
        let refused = |reason| Unbound {
            name: name.to_owned(),
            reason: Some(reason),
        };
        if whole.is_empty() && !value.starts_with('/') {
            return Err(refused("is not an absolute path"));
        }
        // A folder may be named with a slash at its end.
        match after.starts_with('/') {
            true => whole.push_str(value.strip_suffix('/').unwrap_or(&value)),
            false => whole.push_str(&value),
        }
        if bad_parts(&value).is_some() {
            return Err(refused(BAD_PARTS));
        }
        last = name;
        rest = after;
    }
    whole.push_str(rest);
    // The text around a value can create such parts as well.
    if !last.is_empty() && bad_parts(&whole).is_some() {
        return Err(Unbound {
            name: last.to_owned(),
            reason: Some(BAD_PARTS),
        });
    }
    Ok(whole)
}

fn value(
    variables: &[VariableRule],
    name: &str,
    bound: &[(&str, &str)],
    env: impl Fn(&str) -> Option<String>,
) -> Result<String, Unbound> {
    let none = || Unbound {
        name: name.to_owned(),
        reason: None,
    };
    let rule = variables
        .iter()
        .find(|rule| rule.name == name)
        .ok_or_else(none)?;
    if let Some((_, value)) = bound.iter().find(|(known, _)| *known == name) {
        return Ok((*value).to_owned());
    }
    let from_env = rule.from_env.as_deref().and_then(env);
    from_env.or_else(|| rule.default.clone()).ok_or_else(none)
}

impl From<&crate::file::Variable> for VariableRule {
    fn from(variable: &crate::file::Variable) -> Self {
        Self {
            name: variable.name.value.clone(),
            is_port: variable.kind == VariableKind::Port,
            default: variable
                .default
                .as_ref()
                .map(|default| default.value.clone()),
            from_env: variable.from_env.clone(),
        }
    }
}
