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

/// What a key takes.
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
}

/// The tables, in the order of a file, with what they are about.
pub(crate) const TABLES: &[(&str, &str)] = &[
    ("", "The policy as a whole."),
    (
        "variables",
        "Paths and ports that are given at the call, by the environment, or a default. Each is a table with `type` (`dir`, `file`, `port`) and one of `required = true`, `default`, `from_env`. `${name}` stands for its value, `$$` for a dollar.",
    ),
    (
        "filesystem",
        "Paths that may be used, each with everything beneath it; Landlock keeps the others away. An entry is a path, or `{ path, rights, optional, why }`. A path can't be denied inside a tree that is allowed.",
    ),
    ("network", "Ports that may be used, and which sockets."),
    (
        "scope",
        "What may be reached in other processes of the same user, where something allows to try at all.",
    ),
    (
        "syscalls",
        "Calls beyond those that the other tables stand for. An entry is a group, `name`, `name(condition)`, or `{ call, why }`.",
    ),
    (
        "capabilities",
        "Capabilities that stay; none where nothing is said.",
    ),
    ("limits", "What the process may use up."),
    ("limits.channel", "What the parent takes for an answer."),
    (
        "environment",
        "The child's environment, empty but for what is said here.",
    ),
    ("process", "How the process is set up."),
    ("kernel", "What is asked of the kernel."),
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
    key("", "description", Shape::Text, "What the policy is for, in a line."),
    key("", "extends", Shape::Policies, "Policies whose grants this one has. Single values are the nearest file's; where two parents disagree, this file has to say."),
    key("", "within", Shape::Policy, "A ceiling: it is an error unless the policy provably allows no more, whatever the caller binds to variables. It holds for whatever extends the policy, too, besides that one's own."),
    key("", "expires", Shape::Date, "When somebody is to look at it again; a reminder for people."),
    key("", "variables", Shape::Variables, "Declarations; see below."),
    key("", "expect", Shape::Expectations, "What becomes of a call or a path, held against the policy whenever it is compiled: `syscall`, or `path` with `access`, or `probe`; and what it `is`: `allowed`, `violation`, `killed`, `emulated`, or an error number."),
    key("filesystem", "read", Shape::Paths, "Files may be read, directories listed."),
    key("filesystem", "write", Shape::Paths, "Files may be written and cut short."),
    key("filesystem", "create", Shape::Paths, "Files, directories and links may be made, renamed and removed."),
    key("filesystem", "execute", Shape::Paths, "Programs may be run, where a call to do so is allowed."),
    key("filesystem", "connect_unix", Shape::Paths, "Unix sockets may be connected to (Landlock ABI 9)."),
    key("filesystem", "ioctl_device", Shape::Paths, "Devices may be given commands (Landlock ABI 5)."),
    key("filesystem", "unconfined", Shape::Text, "The reason for not confining paths at all."),
    key("network", "tcp_connect", Shape::Ports, "TCP ports that may be connected to: numbers, `{ from, to }` of at most 64, or `\"${variable}\"`."),
    key("network", "tcp_bind", Shape::Ports, "TCP ports that may be bound."),
    key("network", "udp", Shape::Word("none"), "Only `none` in this version."),
    key("network", "netlink", Shape::Word("none"), "Only `none` in this version."),
    key("network", "resolve_dns", Shape::No, "Only `false` in this version: the parent resolves names."),
    key("network", "unconfined", Shape::Text, "The reason for not confining sockets at all."),
    key("syscalls", "allow", Shape::Entries, "What may happen."),
    key("syscalls", "deny", Shape::Entries, "What may not, whatever else is said. For good: what extends this policy can't allow it again."),
    key("syscalls", "replace", Shape::Calls, "Calls about which ancestors have nothing to say any more."),
    key("syscalls", "errno", Shape::Answers, "Calls that fail with an error number, by its name."),
    key("syscalls", "dangerous", Shape::Texts, "The reasons for what needs one, by the name of the call."),
    key("syscalls", "on_violation", Shape::OnViolation, "What a denied call leads to: `kill` (it is reported), `kill-silent`, `trap` (a handler of the user's own), `errno:EPERM`."),
    key("capabilities", "keep", Shape::Capabilities, "Which, by name; `*` for all."),
    key("capabilities", "why", Shape::Text, "The reason, which they need."),
    key("environment", "inherit", Shape::Names, "Variables taken over from the program: names, or beginnings of names with a `*` behind."),
    key("environment", "set", Shape::Texts, "Variables with their values."),
    key("kernel", "landlock", Shape::Landlock, "`auto`, a least ABI, or `off` where it isn't needed."),
    key("kernel", "relax", Shape::Relaxations, "Promises given up on kernels that can't keep them: `{ what, reason }`."),
    key("kernel", "require", Shape::SecondNets, "Second nets without which the policy doesn't run. Without a word here they are used if the kernel has them, and the status of a child says which are missing."),
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
