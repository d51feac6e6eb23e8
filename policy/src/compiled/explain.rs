//! Why a call was denied, and which line of policy would allow it.

use super::{Compiled, words};
use crate::Arch;
use crate::bpf::{Action, TRAP_EMULATE, interpret};
use crate::file::{KERNEL_TREES, bad_parts};
use crate::names;
use crate::policy::Policy;
use crate::resolve::{Grant, Rules};
use crate::syscalls::groups::{
    self, ALWAYS, DANGEROUS_UNFILTERED, EVERYTHING, NEVER, Soft, is_dangerous,
};
use crate::syscalls::{self, Syscall, Width};

/// What the files say about one call that isn't simply allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The name of the call.
    pub call: String,
    /// Each a sentence's end with its place: "allowed when … (policies/x.toml:7)".
    pub said: Vec<String>,
}

/// A denied call in words. The arguments are whatever the process claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The call as one would write it, such as `socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0)`.
    pub call: String,
    /// Who denies it.
    pub denied_by: String,
    /// What could be added to a policy to allow it. `None` if no policy may, a line denies it, or
    /// libraries that try it do without.
    pub allow_with: Option<String>,
    /// What speaks against adding it, where it is dangerous.
    pub caution: Option<&'static str>,
}

/// What the words on a `deny` begin with.
const DENIED: &str = "denied";

/// What the words on an error number, and on an emulation, begin with.
const ANSWERED: &str = "answered";
const EMULATED: &str = "emulated";

/// What stands before a condition.
const WHEN: &str = " when ";

/// The table for a policy.
pub(super) fn provenance(policy: &Policy) -> Vec<Provenance> {
    let mut table = Vec::new();
    for (name, rules) in &policy.calls {
        let allowed = policy
            .grants(name, rules)
            .any(|grant| grant.condition.is_none());
        if !(allowed && rules.deny.is_empty()) {
            let said = said(policy, name, rules);
            table.push(Provenance {
                call: (*name).to_owned(),
                said,
            });
        }
    }
    table
}

fn said(policy: &Policy, name: &str, rules: &Rules) -> Vec<String> {
    let say = |verb: &str, grant: &Grant| {
        let when = grant
            .condition
            .as_ref()
            .map(|condition| format!("{WHEN}{}", condition.text));
        let types = match grant.depends_on_types() {
            true => ", if a type of the function names a descriptor",
            false => "",
        };
        format!(
            "{verb}{}{types} ({})",
            when.unwrap_or_default(),
            policy.source_of(grant)
        )
    };
    let mut said: Vec<String> = rules.deny.iter().map(|grant| say(DENIED, grant)).collect();
    said.extend(
        policy
            .grants(name, rules)
            .map(|grant| say("allowed", grant)),
    );
    for (soft, grant) in &rules.soft {
        let verb = match soft {
            Soft::Errno(number) => format!(
                "{ANSWERED} {}",
                names::errno_name(*number).unwrap_or("by an error")
            ),
            Soft::Emulate => EMULATED.to_owned(),
        };
        said.push(say(&verb, grant));
    }
    said
}

impl Compiled {
    /// Explains why a call was denied.
    ///
    /// It doesn't ask whether it was: what a violation's report says is the process's claim.
    pub fn explain(&self, arch: Arch, number: u32, args: [u64; 6]) -> Explanation {
        self.explain_with_path(arch, number, args, None)
    }

    /// The same for a call whose path is known, if it has one.
    pub fn explain_with_path(
        &self,
        arch: Arch,
        number: u32,
        args: [u64; 6],
        path: Option<&[u8]>,
    ) -> Explanation {
        let Some(call) = syscalls::by_number(arch, number) else {
            return Explanation {
                call: format!("system call {number}"),
                denied_by: "no policy knows this number".to_owned(),
                allow_with: None,
                caution: None,
            };
        };
        let shown =
            call.args.iter().zip(args).map(|((name, width), value)| {
                words::argument(call, arch, (name, *width), value, path)
            });
        let shown: Vec<_> = shown.collect();
        let known = self.provenance.iter().find(|known| known.call == call.name);
        // What is answered under a condition was not the case where it is a violation.
        let is_answered = self.program(arch).is_none_or(|program| {
            let call = interpret::Call::new(arch, number, args);
            let answer = interpret::answer(&program.code, &call);
            matches!(answer, Action::Errno(_) | Action::Trap(TRAP_EMULATE))
        });
        let is_reason = |said: &&String| {
            let is_soft = said.starts_with(ANSWERED) || said.starts_with(EMULATED);
            is_answered || !(is_soft && said.contains(WHEN))
        };
        let reasons = known.iter().flat_map(|known| &known.said);
        let reasons: Vec<_> = reasons.filter(is_reason).map(String::as_str).collect();
        let denied_by = match reasons.as_slice() {
            [] => format!("nothing in {} allows it", self.sources.join(", ")),
            reasons => reasons.join("; "),
        };
        // What is denied stays so, whatever is allowed besides.
        let is_denied =
            known.is_some_and(|known| known.said.iter().any(|said| said.starts_with(DENIED)));
        let allow_with = match is_denied {
            true => None,
            false => allow_with(call, arch, args, path),
        };
        Explanation {
            call: format!("{}({})", call.name, shown.join(", ")),
            denied_by,
            caution: allow_with
                .as_deref()
                .and_then(|lines| caution(call.name, lines)),
            allow_with,
        }
    }
}

/// What speaks against the lines that would allow a call.
fn caution(name: &str, lines: &str) -> Option<&'static str> {
    let has = |part: &str| lines.contains(part);
    Some(match name {
        _ if has(EXECUTABLE) => "what an attacker writes into such memory can be run",
        "execve" | "execveat" => "it runs other programs, with all that the policy allows",
        "fork" | "vfork" | "clone" if has("@process") => {
            "processes multiply, and outlive the function"
        }
        "kill" | "tkill" | "tgkill" | "pidfd_send_signal" => {
            "signals reach other processes of the same user"
        }
        "socket" | "connect" | "sendto" | "sendmsg" if has("@net") || has("tcp_") => {
            "what it has been given can be sent away"
        }
        "open" | "openat" | "creat" if has("write = ") || has("create = ") => {
            "what it writes there is whatever its input makes it write"
        }
        _ if is_dangerous(name) || has("why = ") => "it is one of the calls that need a reason",
        _ => return None,
    })
}

/// The shortest addition to a policy that allows the call.
fn allow_with(
    call: &'static Syscall,
    arch: Arch,
    args: [u64; 6],
    path: Option<&[u8]>,
) -> Option<String> {
    if NEVER.contains(&call.name) {
        return None;
    }
    match call.name {
        // Libraries that try these fall back to calls whose arguments a filter can see.
        "openat2" | "clone3" => return None,
        // Nobody else may be signalled, and no death by another signal feigned.
        "tgkill" => return None,
        // What it is may be asked; to change it is for those who run other programs.
        "personality" => return None,
        "openat" => return for_open(args[2], path),
        "open" => return for_open(args[1], path),
        // The port lies in memory that the filter can't read.
        "connect" => {
            let port = "tcp_connect = [443] # or whichever port it is";
            return Some(format!("[network]\n{port}"));
        }
        _ => {}
    }
    let covers = |entry: &&str| match crate::file::parse_entry(entry) {
        Ok((crate::file::Target::Call(known, condition), None)) => {
            let holds = condition.is_none_or(|condition| condition.holds(arch, &args, u32::MAX));
            known.name == call.name && holds
        }
        _ => false,
    };
    let group = groups::all().iter().find(|group| {
        ![EVERYTHING, "@nested"].contains(&group.name)
            && !ALWAYS.contains(&group.name)
            && group.entries.iter().any(covers)
    });
    if let Some(group) = group {
        return Some(addition(group.name, group.name));
    }
    // About another process, of which there is nothing to be known.
    if ABOUT_OTHERS.contains(&call.name) {
        return None;
    }
    let tests = call
        .args
        .iter()
        .zip(args)
        .filter(|((name, width), _)| SELECTORS.contains(name) && *width != Width::Pointer);
    let tests: Vec<_> = tests
        .map(|((name, width), value)| match *name {
            // The kernel looks at no other bits.
            "prot" => format!(
                "prot == {}",
                words::argument(call, arch, (name, *width), value, None)
            ),
            _ => format!("{name} == {:#x}", value & width.mask()),
        })
        .collect();
    let condition = if tests.is_empty() {
        String::new()
    } else {
        format!("({})", tests.join(" && "))
    };
    Some(addition(&format!("{}{condition}", call.name), call.name))
}

/// Questions that every policy answers as far as they are about the process itself.
const ABOUT_OTHERS: &[&str] = &[
    "getpgid",
    "getpriority",
    "getsid",
    "ioprio_get",
    "sched_getaffinity",
    "sched_getattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
];

/// The lines that let a path be opened so; none where a policy may not grant it.
fn for_open(flags: u64, path: Option<&[u8]>) -> Option<String> {
    const CREATE: u64 = 0o100;
    const TRUNCATE: u64 = 0o1000;
    let path = path.filter(|path| is_grantable(path));
    let path = path.and_then(|path| std::str::from_utf8(path).ok());
    let path = path.unwrap_or("/the/path");
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let folder = if folder.is_empty() { "/" } else { folder };
    let reads = flags & 0b11 != 0b01;
    let creates = flags & CREATE != 0;
    let writes = flags & 0b11 != 0 || creates || flags & TRUNCATE != 0;
    let in_kernel_tree = |path: &str| {
        let tree = path.split('/').nth(1).unwrap_or_default();
        path == "/"
            || KERNEL_TREES
                .iter()
                .any(|known| known.trim_start_matches('/') == tree)
    };
    if writes && in_kernel_tree(path) || creates && in_kernel_tree(folder) {
        return None;
    }
    let mut lines = vec!["[filesystem]".to_owned()];
    lines.extend(reads.then(|| format!("read = [\"{path}\"]")));
    lines.extend(writes.then(|| format!("write = [\"{path}\"]")));
    lines.extend(creates.then(|| format!("create = [\"{folder}\"]")));
    Some(lines.join("\n"))
}

/// Whether a path can stand in a policy as it is. An attacker chose it: what a reader couldn't see
/// is not for a line that somebody copies.
fn is_grantable(path: &[u8]) -> bool {
    let is_plain =
        |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'$' | b'"' | b'\\' | b'*');
    let is_whole = |path: &str| path.starts_with('/') && bad_parts(path).is_none();
    path.iter().all(is_plain) && std::str::from_utf8(path).is_ok_and(is_whole)
}

/// The lines that allow `entry`, which is about `name`.
fn addition(entry: &str, name: &str) -> String {
    let limit = match name {
        "@process" => "[limits]\nprocesses = 1\n",
        "@threads" => "[limits]\nthreads = 4\n",
        _ => "",
    };
    let is_whole = entry == name && DANGEROUS_UNFILTERED.contains(&name);
    match is_whole || is_dangerous(name) || entry.contains(EXECUTABLE) {
        // Which needs a reason.
        true => format!("{limit}[syscalls]\nallow = [{{ call = \"{entry}\", why = \"…\" }}]"),
        false => format!("{limit}[syscalls]\nallow = [\"{entry}\"]"),
    }
}

/// What marks an entry that allows executable memory.
const EXECUTABLE: &str = "PROT_EXEC";

/// The arguments that say what a call is to do, rather than with what.
pub(crate) const SELECTORS: &[&str] = &[
    "advice", "clockid", "cmd", "domain", "flags", "level", "op", "option", "optname", "prot",
    "protocol", "request", "resource", "type", "which", "who",
];
