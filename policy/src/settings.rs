//! The single values of a policy: limits, choices, switches. One table says all about them.
//!
//! From it follow reading, inheriting, comparing and narrowing, so that a new setting is one row.

use std::time::Duration;

/// The name of a setting, and its possible values.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The table it stands in, `""` for none.
    pub(crate) table: &'static str,
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    /// The value if no policy sets it: the strictest that lets a computation run.
    pub(crate) default: &'static str,
    /// A sentence about it.
    pub(crate) about: &'static str,
}

/// The kind of values that a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes, with a unit, or `none`.
    Size,
    /// A time with a unit, or `none`.
    Time,
    /// A number up to this.
    Count(u64),
    /// One of these words, the strictest first.
    Choice(&'static [&'static str]),
    /// A switch; the value that is stricter.
    Switch(bool),
    /// A switch of which neither value allows more.
    Neutral,
}

/// The value of a setting, in a form in which more means more permissive, unless the setting is neutral.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// A number: bytes, milliseconds, a count, or a word's place in its list.
    Bounded(u64),
    /// No limit.
    Unlimited,
}

use Kind::{Choice, Count, Neutral, Size, Switch, Time};

const fn setting(
    table: &'static str,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting {
        table,
        key,
        kind,
        default,
        about,
    }
}

#[rustfmt::skip] // A table.
pub(crate) static SETTINGS: &[Setting] = &[
    setting("limits", "memory", Size, "256MiB", "Private memory that the process may write beyond what was written when it was confined (RLIMIT_DATA). An allocation beyond it fails. Memory that an allocator has reserved before then counts as well."),
    setting("limits", "reserved", Size, "256MiB", "Memory that may be mapped beyond `memory` and beyond what the process has at first (RLIMIT_AS): files, reservations of allocators, stacks. It also bounds memory that was made read-only, which `memory` no longer counts."),
    setting("limits", "address_space", Size, "none", "All of the address space (RLIMIT_AS), reservations included."),
    setting("limits", "stack", Size, "8MiB", "The stack of the first thread (RLIMIT_STACK), and the default of the others."),
    setting("limits", "cpu_time", Time, "5s", "Processor time (RLIMIT_CPU), rounded up to whole seconds. Using it up is an error of its own."),
    setting("limits", "wall_time", Time, "10s", "Time from the call to the answer. After it, the keeper kills the child."),
    setting("limits", "processes", Count(1 << 20), "0", "Processes that the child may start. The filter also enforces 0."),
    setting("limits", "threads", Count(1 << 20), "0", "Threads that the child may have. The filter also enforces 0 and 1. Above that, the kernel counts threads by user, so the limit binds only a child with a user of its own (under root) or a control group."),
    setting("limits", "control_group", Choice(&["required", "if-possible", "none"]), "none", "Whether the child gets a control group of its own (cgroups version 2). The group bounds all memory that is used for the child (`memory` with an eighth and 16 MiB more), bounds its processes and threads together, and ends all of them at once. If the program cannot create a group that bounds both, `required` makes the call fail; with `if-possible`, the child runs without it, and the status says so."),
    setting("limits", "open_files", Count(1 << 20), "32", "Descriptors that the child may have (RLIMIT_NOFILE)."),
    setting("limits", "file_size", Size, "0B", "The longest file that the child may write (RLIMIT_FSIZE)."),
    setting("limits", "core", Size, "0B", "The longest core dump (RLIMIT_CORE)."),
    setting("limits", "locked_memory", Size, "0B", "Memory that the child may lock (RLIMIT_MEMLOCK)."),
    setting("limits.channel", "message_bytes", Size, "16MiB", "Bytes in the answer, and in each message on a channel that the call is passed."),
    setting("limits.channel", "message_fds", Count(253), "4", "Descriptors in each of these, if its type has any."),
    setting("limits.channel", "messages", Count(1 << 40), "1000000000000", "Messages in total, on the channels that the call is passed."),
    setting("limits.channel", "nesting", Count(4096), "64", "How deeply the values in these may nest."),
    setting("limits.channel", "total_bytes", Size, "none", "Bytes in total, on the channels that the call is passed."),
    setting("environment", "backtrace", Choice(&["off", "addresses"]), "addresses", "Whether a panic sends the addresses of its stack, so that the parent can look up the names."),
    setting("process", "stdin", Choice(&["null", "inherit"]), "null", "Standard input."),
    setting("process", "stdout", Choice(&["null", "pipe", "inherit"]), "null", "Standard output. With `pipe`, the parent's side reads it and shows it; the pipe is a socket, so opening `/dev/stdout` fails."),
    setting("process", "stderr", Choice(&["null", "pipe", "inherit"]), "pipe", "Standard error. With `pipe`, the parent's side reads it and shows it; the pipe is a socket, so opening `/dev/stderr` fails."),
    setting("process", "dumpable", Switch(false), "false", "Whether other processes of the user may inspect the child (PR_SET_DUMPABLE)."),
    setting("process", "parent_death", Choice(&["kill", "ignore"]), "kill", "What happens to the child when the program dies."),
    setting("process", "deny_write_execute", Switch(true), "true", "Whether to deny memory that is writable and executable (PR_SET_MDWE, Linux 6.3)."),
    setting("process", "spec_allow", Switch(false), "false", "Whether the filter leaves speculation unmitigated (SECCOMP_FILTER_FLAG_SPEC_ALLOW)."),
    setting("process", "user", Choice(&["own", "same"]), "own", "Whether the child gets a user id of its own, if the program is root."),
    setting("process", "launch", Choice(&["exec", "fork"]), "fork", "`exec` gives the child a memory layout of its own, at the cost of an execve. `fork` shares the keeper's."),
    setting("process", "trace_denials", Neutral, "false", "Whether the program prints the calls that the policy has answered with an error number, each with the line that allows it. After each call of a function, it describes eight of them and counts the others. Counts are lower bounds: a child reports up to 256 calls, and none while the program doesn't read. With the feature `tracing`, they are events as well. `CROSSMIST_TRACE_DENIALS=1` in the program's environment does the same for all policies. Such a call then takes longer, because a signal and a message report it. The other calls do not. With `on_violation = \"trap\"`, which leaves that signal to the function, it has no effect. It grants nothing, so no ceiling binds it."),
    setting("scope", "signal", Choice(&["isolated", "open"]), "isolated", "Whether signals may leave the sandbox (Landlock ABI 6)."),
    setting("scope", "abstract_unix", Choice(&["isolated", "open"]), "isolated", "Whether abstract Unix sockets outside may be reached (Landlock ABI 6)."),
    setting("namespaces", "network", Choice(&["none", "if-possible", "shared"]), "shared", "`none` puts the child into a network namespace in which no interface is up: no address can be reached by any protocol. If the program has no right to create one, the call fails. With `if-possible`, the child runs without it, and the status says so."),
    setting("namespaces", "pid", Choice(&["own", "if-possible", "shared"]), "shared", "`own` puts the child into a PID namespace: it sees no other processes. Everything that it has started ends with it at once, even if it forks without end."),
    setting("namespaces", "ipc", Choice(&["own", "if-possible", "shared"]), "shared", "`own` gives the child System V and POSIX message queues, semaphores and shared memory of its own."),
    setting("namespaces", "mount", Choice(&["own", "if-possible", "shared"]), "shared", "`own` gives the child a root directory that holds only the paths that `[filesystem]` grants, each under its own name. Paths that are not granted for writing are mounted read-only. No other path exists. If `[filesystem]` leaves all paths open, it only gets a mount namespace. Needs Linux 5.12."),
    setting("namespaces", "user", Choice(&["own", "if-possible", "if-needed", "shared"]), "if-needed", "Whether the child is in another user namespace than the program, in which the keeper may create the other namespaces. User ids have the same meaning there. `if-needed` uses one only if another namespace is asked for and the program has no right to create it."),
    setting("syscalls", "nested", Switch(false), "false", "Whether the child may confine itself further, with Landlock or seccomp."),
    setting("network", "unix", Choice(&["none", "path", "path+abstract"]), "none", "Unix sockets to other programs: none, by path, or also by abstract name."),
    setting("filesystem", "metadata", Choice(&["none", "read"]), "none", "Whether the child may read the metadata of any path, which Landlock cannot restrict."),
];

impl Setting {
    /// Its name with the table, as in messages.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }

    /// Reads a value as it is written in a string or a word.
    pub(crate) fn read(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            Size | Time if text == "none" => Ok(Value::Unlimited),
            Size => with_unit(text, SIZES).map(Value::Bounded).ok_or_else(|| {
                format!("`{text}` isn't a size such as `256MiB`, `64KiB`, `0B` or `none`")
            }),
            Time => with_unit(text, TIMES).map(Value::Bounded).ok_or_else(|| {
                format!("`{text}` isn't a time such as `10s`, `500ms`, `2min`, `1h` or `none`")
            }),
            Count(most) => match text.replace('_', "").parse() {
                Ok(count) if count <= most => Ok(Value::Bounded(count)),
                _ => Err(format!("`{text}` isn't a whole number from 0 to {most}")),
            },
            Choice(words) => match words.iter().position(|word| *word == text) {
                Some(at) => Ok(Value::Bounded(at as u64)),
                None => Err(format!("`{text}` isn't one of {}", words.join(", "))),
            },
            Switch(_) | Neutral => match text.parse::<bool>() {
                Ok(value) => Ok(Value::Bounded(u64::from(value != self.zero()))),
                Err(_) => Err(format!("`{text}` is neither true nor false")),
            },
        }
    }

    /// The position of a switch whose value is 0.
    fn zero(&self) -> bool {
        matches!(self.kind, Switch(true))
    }

    /// Whether a value allows more than another one.
    pub(crate) fn allows_more(&self, value: Value, than: Value) -> bool {
        self.kind != Neutral && value > than
    }

    /// The default, which a test shows to be readable.
    pub(crate) fn default_value(&self) -> Value {
        self.read(self.default).unwrap_or(Value::Bounded(0))
    }

    /// Writes a value so that [`Setting::read`] reads it back.
    pub(crate) fn write(&self, value: Value) -> String {
        let Value::Bounded(number) = value else {
            return "none".to_owned();
        };
        match self.kind {
            Size => in_unit(number, SIZES),
            Time => in_unit(number, TIMES),
            Count(_) => number.to_string(),
            Choice(words) => words
                .get(number as usize)
                .copied()
                .unwrap_or("?")
                .to_owned(),
            Switch(_) | Neutral => (self.zero() != (number == 1)).to_string(),
        }
    }
}

/// The setting of a table and a key.
pub(crate) fn index_of(table: &str, key: &str) -> Option<usize> {
    SETTINGS
        .iter()
        .position(|setting| setting.table == table && setting.key == key)
}

/// All values of a policy, in the order of [`SETTINGS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values(pub(crate) Vec<Value>);

impl Values {
    fn value(&self, table: &str, key: &str) -> Value {
        let at = index_of(table, key);
        at.and_then(|at| self.0.get(at))
            .copied()
            .unwrap_or(Value::Bounded(0))
    }

    /// A size or a count; `None` is no limit.
    pub(crate) fn number(&self, table: &str, key: &str) -> Option<u64> {
        match self.value(table, key) {
            Value::Bounded(number) => Some(number),
            Value::Unlimited => None,
        }
    }

    pub(crate) fn count(&self, table: &str, key: &str) -> u64 {
        self.number(table, key).unwrap_or(u64::MAX)
    }

    pub(crate) fn time(&self, table: &str, key: &str) -> Option<Duration> {
        self.number(table, key).map(Duration::from_millis)
    }

    /// Whether a choice or a switch has its first, strictest value.
    pub(crate) fn is_strict(&self, table: &str, key: &str) -> bool {
        self.value(table, key) == Value::Bounded(0)
    }
}

/// Units, the smallest first.
type Units = &'static [(&'static str, u64)];
const SIZES: Units = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
const TIMES: Units = &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000)];

fn with_unit(text: &str, units: Units) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.replace('_', "").parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*factor)
}

fn in_unit(number: u64, units: Units) -> String {
    let fits = |(_, factor): &&(&str, u64)| number >= *factor && number.is_multiple_of(*factor);
    let (name, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", number / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_readable_and_written_back_the_same() {
        for setting in SETTINGS {
            let value = setting.read(setting.default).unwrap();
            assert_eq!(setting.read(&setting.write(value)).unwrap(), value);
        }
    }

    #[test]
    fn sizes_and_times_need_a_unit_and_do_not_overflow() {
        let memory = &SETTINGS[index_of("limits", "memory").unwrap()];
        assert_eq!(memory.read("1_024KiB"), Ok(Value::Bounded(1 << 20)));
        assert_eq!(memory.read("none"), Ok(Value::Unlimited));
        for bad in [
            "12",
            "MiB",
            "-1MiB",
            "1.5MiB",
            "1MB",
            "99999999999999TiB",
            "",
        ] {
            assert!(memory.read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_is_always_more_permissive() {
        assert!(Value::Bounded(u64::MAX) < Value::Unlimited);
        let mdwe = &SETTINGS[index_of("process", "deny_write_execute").unwrap()];
        assert!(mdwe.read("true").unwrap() < mdwe.read("false").unwrap());
        let dumpable = &SETTINGS[index_of("process", "dumpable").unwrap()];
        assert!(dumpable.read("false").unwrap() < dumpable.read("true").unwrap());
    }

    #[test]
    fn tracing_allows_neither_more_nor_less() {
        let traces = &SETTINGS[index_of("process", "trace_denials").unwrap()];
        let [on, off] = ["true", "false"].map(|text| traces.read(text).unwrap());
        assert_ne!(on, off);
        assert!(!traces.allows_more(on, off) && !traces.allows_more(off, on));
        // The control: another switch does.
        let dumpable = &SETTINGS[index_of("process", "dumpable").unwrap()];
        let [on, off] = ["true", "false"].map(|text| dumpable.read(text).unwrap());
        assert!(dumpable.allows_more(on, off) && !dumpable.allows_more(off, on));
    }
}
