//! Every key of the format that isn't a single value: what it takes and what it is for.
//!
//! With the settings this is the whole format, in a form that the schema and the reference are made
//! from. A test reads samples by the schema and by the reader, so that they agree.

use crate::settings::{SETTINGS, Setting};

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    /// The table it stands in, `""` for none.
    pub(crate) table: &'static str,
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) about: &'static str,
}

/// The values that a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// The number of the format.
    Format,
    Text,
    Date,
    /// The name of a policy, and names.
    Policy,
    Policies,
    /// Declarations by name.
    Variables,
    Paths,
    Ports,
    /// Only this word.
    Word(&'static str),
    /// Only false.
    No,
    /// Groups and calls, with conditions.
    Entries,
    /// Names of calls.
    Calls,
    /// Entries by error number.
    Answers,
    /// Texts by name.
    Texts,
    OnViolation,
    Capabilities,
    /// Names of environment variables.
    Names,
    Landlock,
    Relaxations,
    /// Names of second nets.
    SecondNets,
    Expectations,
    /// Advice that isn't followed.
    Allowances,
}

/// The tables, in the order of a file, with what they are about.
pub(crate) const TABLES: &[(&str, &str)] = &[
    ("", "The policy as a whole."),
    (
        "variables",
        "Paths and ports that are set at the call, by the environment, or by a default. Each is a table with `type` (`dir`, `file`, `port`) and one of `required = true`, `default`, `from_env`. `${name}` stands for the value, and `$$` for a dollar sign.",
    ),
    (
        "filesystem",
        "Paths that may be used, each with everything beneath it. Landlock denies all others. An entry is a path, or `{ path, rights, optional, why }`. A path inside an allowed tree cannot be denied.",
    ),
    ("network", "Ports and kinds of sockets that may be used."),
    (
        "scope",
        "Whether other processes of the same user can be reached, if a call that does so is allowed.",
    ),
    (
        "syscalls",
        "Calls beyond those that the other tables allow. An entry is a group, `name`, `name(condition)`, or `{ call, why }`.",
    ),
    (
        "capabilities",
        "Capabilities that the child keeps. By default none.",
    ),
    (
        "limits",
        "Limits on the resources of the process. `raise(…)` in `#[func]`, or `SandboxPolicy::raise`, can raise `memory`, `reserved`, `address_space`, `stack`, `cpu_time` and `wall_time` for one function, but not beyond the policies that this one is `within`. `cargo crossmist check` and `explain` list what `#[func]` raises.",
    ),
    (
        "limits.channel",
        "Limits on the answer and on the channels that the call is passed. The parent enforces them. `message_bytes` and `total_bytes` can be raised for one function, as in `[limits]`.",
    ),
    (
        "environment",
        "The child's environment. By default it is empty.",
    ),
    ("process", "How the process is set up."),
    (
        "namespaces",
        "Namespaces that the child has for itself, beside the other layers.",
    ),
    ("kernel", "Requirements on the kernel."),
];

const fn key(table: &'static str, name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key {
        table,
        name,
        shape,
        about,
    }
}

#[rustfmt::skip] // A table.
pub(crate) static KEYS: &[Key] = &[
    key("", "format", Shape::Format, "The version of the format: 1."),
    key("", "description", Shape::Text, "What the policy is for, in one line."),
    key("", "extends", Shape::Policies, "Policies whose grants this one has as well. A single value is taken from the nearest file that sets it. If two parents disagree, this file must set the value."),
    key("", "within", Shape::Policy, "A ceiling: it is an error unless the policy provably allows no more, whatever the caller binds to variables. It also holds for every policy that extends this one, in addition to that policy's own ceiling."),
    key("", "expires", Shape::Date, "The date by which somebody should review the policy again. It is only a reminder."),
    key("", "variables", Shape::Variables, "Declarations. See below."),
    key("", "expect", Shape::Expectations, "The expected results of calls and paths, which are checked whenever the policy is compiled. Each names a `syscall`, a `path` with `access`, or a `probe`, and its result as `is`: `allowed`, `violation`, `killed`, `emulated`, or an error number."),
    key("", "allow_lint", Shape::Allowances, "Advice of `check` that is not to be given for this file: its code as `lint`, the reason as `why`, and, if it is meant for one path, call or entry alone, that as `about`. `explain` shows these reasons. An allowance that nothing needs is itself advice (C052)."),
    key("filesystem", "read", Shape::Paths, "Files may be read, and directories listed."),
    key("filesystem", "write", Shape::Paths, "Files may be written and truncated."),
    key("filesystem", "create", Shape::Paths, "Files, directories and links may be created, renamed and removed."),
    key("filesystem", "execute", Shape::Paths, "Programs may be executed, if a call that does so is allowed."),
    key("filesystem", "connect_unix", Shape::Paths, "Unix sockets may be connected to (Landlock ABI 9)."),
    key("filesystem", "ioctl_device", Shape::Paths, "Devices may receive ioctl commands (Landlock ABI 5)."),
    key("filesystem", "unconfined", Shape::Text, "The reason for not confining paths at all."),
    key("network", "tcp_connect", Shape::Ports, "TCP ports that may be connected to: numbers, `{ from, to }` of at most 64, or `\"${variable}\"`."),
    key("network", "tcp_bind", Shape::Ports, "TCP ports that may be bound."),
    key("network", "udp_connect", Shape::Ports, "UDP ports that datagrams may be sent to, with or without `connect` (Landlock ABI 10, Linux 7.2). The socket gets a port of its own from the kernel."),
    key("network", "udp_bind", Shape::Ports, "UDP ports that may be bound (Landlock ABI 10, Linux 7.2)."),
    key("network", "udp", Shape::Word("none"), "Only `none`: UDP is granted by port."),
    key("network", "netlink", Shape::Word("none"), "Only `none` in this version."),
    key("network", "resolve_dns", Shape::No, "Only `false` in this version: the parent resolves names."),
    key("network", "unconfined", Shape::Text, "The reason for not confining sockets at all."),
    key("syscalls", "allow", Shape::Entries, "Calls that are allowed."),
    key("syscalls", "deny", Shape::Entries, "Calls that are denied, whatever else is said. A policy that extends this one cannot allow them again."),
    key("syscalls", "replace", Shape::Calls, "Calls for which the entries of ancestors no longer count."),
    key("syscalls", "errno", Shape::Answers, "Calls that fail with an error number, listed under its name."),
    key("syscalls", "dangerous", Shape::Texts, "The reasons for calls that need one, by the name of the call."),
    key("syscalls", "on_violation", Shape::OnViolation, "The result of a denied call: `kill` (and a report), `kill-silent`, `trap` (to a handler of the program), `errno:EPERM`."),
    key("capabilities", "keep", Shape::Capabilities, "The names of the capabilities, or `*` for all."),
    key("capabilities", "why", Shape::Text, "The reason, which is required."),
    key("environment", "inherit", Shape::Names, "Variables that are inherited from the program: names, or prefixes followed by a `*`."),
    key("environment", "set", Shape::Texts, "Variables that are set, with their values."),
    key("kernel", "landlock", Shape::Landlock, "`auto`, the least ABI, or `off` if the policy does not need it."),
    key("kernel", "relax", Shape::Relaxations, "Promises that are given up on kernels that cannot keep them: `{ what, reason }`."),
    key("kernel", "require", Shape::SecondNets, "Second nets without which the policy does not run. By default they are used if the kernel has them, and the status of a child says which are missing."),
];

/// The keys and the settings of a table, in that order.
pub(crate) fn of(
    table: &str,
) -> (
    impl Iterator<Item = &'static Key>,
    impl Iterator<Item = &'static Setting>,
) {
    (
        KEYS.iter().filter(move |key| key.table == table),
        SETTINGS
            .iter()
            .filter(move |setting| setting.table == table),
    )
}
