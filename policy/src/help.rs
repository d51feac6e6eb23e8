//! The meaning of each code, in more detail than in a message.

use crate::Code;

/// The explanation of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help {
    /// The mistake, and why it matters.
    pub meaning: &'static str,
    /// Lines of a policy that cause it. Empty if that takes more than one file.
    pub example: &'static str,
    /// The cure.
    pub cure: &'static str,
}

impl Code {
    /// Returns the meaning of the code, and the cure.
    #[rustfmt::skip] // A table.
    pub fn help(self) -> Help {
        let (meaning, example, cure) = match self {
            Self::Syntax => (
                "The file is not valid TOML.",
                "format = \"1",
                "Close what is open. The caret is where the parser gave up, which may be a line after the mistake.",
            ),
            Self::UnknownKey => (
                "The table has no key of this name. Nothing unknown is ignored: a misspelt key would otherwise be a promise that nothing enforces.",
                "[limits]\nmemori = \"1MiB\"",
                "Correct the key. The keys of each table are in the reference, `policies/REFERENCE.md`, and in the schema that editors read.",
            ),
            Self::BadValue => (
                "A value has the wrong type, no unit, or is out of its range.",
                "[limits]\nwall_time = 10",
                "Write sizes as `\"64KiB\"`, times as `\"500ms\"`, counts as whole numbers, and switches as `true` or `false`.",
            ),
            Self::Format => (
                "The file does not name its format, or names one that this version does not know.",
                "description = \"x\"",
                "Begin the file with `format = 1`.",
            ),
            Self::Unreadable => (
                "The file can't be read, is longer than 256 KiB, or is not UTF-8.",
                "",
                "Check the file's permissions and encoding.",
            ),
            Self::Unsupported => (
                "This version does not support this part of the format. It is an error, since the policy would otherwise be weaker than it says.",
                "[network]\nudp = \"any\"",
                "Do without it, or do that part of the work in the parent and pass the result or the descriptor.",
            ),
            Self::UnknownSyscall => (
                "No architecture has a system call of this name.",
                "[syscalls]\nallow = [\"opennat\"]",
                "Names are the kernel's, as in `man 2 syscalls`.",
            ),
            Self::ForeignSyscall => (
                "The system call exists only on architectures that are not supported.",
                "[syscalls]\nallow = [\"mmap2\"]",
                "Name the call that x86_64 and aarch64 have instead.",
            ),
            Self::UnknownGroup => (
                "There is no group of this name.",
                "[syscalls]\nallow = [\"@thread\"]",
                "`cargo crossmist help groups` lists the groups, and `help @threads` shows one.",
            ),
            Self::SystemdGroup => (
                "This is a group of systemd. It allows more than its name suggests, so there is no such group here.",
                "[syscalls]\nallow = [\"@system-service\"]",
                "Use the group that the message names.",
            ),
            Self::UnknownConstant => (
                "No constant of this name is known.",
                "[syscalls]\nallow = [\"madvise(advice == MADV_FRE)\"]",
                "Constants have the kernel's names, as in the manual page. Numbers can be written as numbers.",
            ),
            Self::UnknownArgument => (
                "The call has no argument of this name.",
                "[syscalls]\nallow = [\"madvise(advise == MADV_FREE)\"]",
                "Arguments are named as in the manual page. `a0` to `a5` work as well.",
            ),
            Self::PointerCompared => (
                "A pointer is compared with something other than NULL. What it points to can change after the filter has looked, so the comparison would promise nothing.",
                "[syscalls]\nallow = [\"openat(path == 7)\"]",
                "Let Landlock decide about paths, with `[filesystem]`.",
            ),
            Self::SignedOrder => (
                "A signed argument is compared by order. The filter compares unsigned numbers, and takes -1 for the largest one.",
                "[syscalls]\nallow = [\"clock_gettime(clockid < 3)\"]",
                "Compare with `==`, `!=` or `in`.",
            ),
            Self::BadCondition => (
                "The condition can't be read.",
                "[syscalls]\nallow = [\"madvise(advice MADV_FREE)\"]",
                "Tests are joined by `&&`, alternatives by `||`, without brackets: `name(arg == VALUE && arg2 only FLAGS)`.",
            ),
            Self::BadOperand => (
                "An argument can't have this value, or the condition is always or never true.",
                "[syscalls]\nallow = [\"fchmod(mode == 0x1ffff)\"]",
                "Compare with a value that fits the argument's width.",
            ),
            Self::AllowedAndDenied => (
                "The same file allows and denies the same thing.",
                "[syscalls]\nallow = [\"getsid\"]\ndeny = [\"getsid\"]",
                "Remove one of the lines. `deny` is for what an ancestor allows.",
            ),
            Self::ConditionWithoutEffect => (
                "A call is allowed with a condition in one place and without one in another, so the condition has no effect.",
                "extends = [\"worker\"]\n[syscalls]\nallow = [\"mmap\"]",
                "Remove the wider entry, or write `replace = [\"mmap\"]`, so that only this file's entries count.",
            ),
            Self::AnswerConflict => (
                "Two lines answer one call with different error numbers.",
                "[syscalls.errno]\nEPERM = [\"getsid\"]\nEACCES = [\"getsid\"]",
                "Keep one of them.",
            ),
            Self::DeniedByAncestor => (
                "A policy that this one extends denies what it allows. A denial cannot be undone.",
                "",
                "Extend another policy, or leave the call out.",
            ),
            Self::Cycle => (
                "Policies extend each other in a circle.",
                "",
                "Move what they share into a third one.",
            ),
            Self::UnknownParent => (
                "There is no policy of this name.",
                "extends = [\"parsr\"]",
                "The message says where it was searched. Built-in policies need no file.",
            ),
            Self::ParentsDisagree => (
                "Two parents set different values, and this file sets none.",
                "extends = [\"parser\", \"worker\"]",
                "Set the value in this file.",
            ),
            Self::NotWithin => (
                "The policy allows more than its ceiling, or it can't be shown that it doesn't.",
                "within = \"pure\"\nextends = [\"parser\"]",
                "Remove the line that the caret is under, or raise the ceiling. The ceiling may be that of a policy which this one extends. Declare a variable as in the ceiling, or as `required`.",
            ),
            Self::TooDeep => (
                "There are more than 8 generations of policies, or more than 64 files.",
                "",
                "Extend fewer.",
            ),
            Self::BadPath => (
                "The path is not absolute, has `.`, `..`, an empty part (`//`), a `*` at its end, or a variable that isn't declared; or each process finds its own there, as at /proc/self.",
                "[filesystem]\nread = [\"data\"]",
                "Write an absolute path, or a variable: `\"${data}/fonts\"`. A directory includes everything beneath it.",
            ),
            Self::BadVariable => (
                "A variable is used but not declared, or its declaration has no type, or does not have exactly one of `required`, `default` and `from_env`.",
                "[filesystem]\nread = [\"${data}\"]",
                "Write `data = { type = \"dir\", required = true }` under `[variables]`.",
            ),
            Self::PathDenied => (
                "A path cannot be denied: Landlock cannot exclude a part of a tree that is allowed.",
                "[filesystem]\ndeny = [\"/etc/shadow\"]",
                "Allow only the parts of the tree that are needed.",
            ),
            Self::BadPort => (
                "This is not a port, or it is a range of more than 64 ports.",
                "[network]\ntcp_connect = [70000]",
                "Write a port from 0 to 65535, `\"${variable}\"`, or `{ from = 8000, to = 8010 }`.",
            ),
            Self::WritesKernelTree => (
                "Writing would reach into /proc, /sys or /dev. A process that can write to its own /proc/self/mem can turn any memory into code, whatever the filter says.",
                "[filesystem]\nwrite = [\"/proc\"]",
                "Write elsewhere, or let the parent write.",
            ),
            Self::NeverAllowed => (
                "No policy may allow this call, because a process could escape its confinement with it.",
                "[syscalls]\nallow = [\"ptrace\"]",
                "Do it in the parent.",
            ),
            Self::MissingReason => (
                "Something dangerous is allowed without a reason. The reason is for the policy's reviewers.",
                "[syscalls]\nallow = [\"execve\"]",
                "Write `{ call = \"execve\", why = \"…\" }`, or `[syscalls.dangerous] execve = \"…\"`.",
            ),
            Self::LandlockTooLow => (
                "`[kernel] landlock` asks for less than the policy needs.",
                "[kernel]\nlandlock = \"off\"\n[filesystem]\nread = [\"/usr\"]",
                "Leave it at `\"auto\"`, or give up the promise with `relax`.",
            ),
            Self::BadRelaxation => (
                "A relaxation names something that cannot be relaxed, or has no reason.",
                "[kernel]\nrelax = [{ what = \"landlock-fs\" }]",
                "Write `{ what = \"landlock-net\", reason = \"…\" }`.",
            ),
            Self::BadRequirement => (
                "`[kernel] require` names something that is not a second net, or a second net that is turned off by this policy or by one that it extends.",
                "[kernel]\nrequire = [\"seccomp\"]",
                "Name a second net from the reference. The wall (seccomp, capabilities, limits, no_new_privs) is always required.",
            ),
            Self::FilterTooLong => (
                "The filter is longer than the 4096 instructions that the kernel accepts.",
                "",
                "Allow calls without conditions, or fewer of them.",
            ),
            Self::ReservedName => (
                "The file has the name of a built-in policy but another text, so it would hide that policy.",
                "",
                "Rename the file, and extend the built-in policy.",
            ),
            Self::ExpectationFailed => (
                "An `[[expect]]` does not hold.",
                "[[expect]]\nsyscall = \"socket(AF_INET, SOCK_STREAM, 0)\"\nis = \"allowed\"",
                "Either the policy or the expectation is wrong. `explain NAME --syscall …` shows which line decides.",
            ),
            Self::BadExpectation => (
                "An `[[expect]]` can't be read.",
                "[[expect]]\nsyscall = \"socket\"\nis = \"violation\"",
                "Write `syscall = \"socket(AF_INET, SOCK_STREAM, 0)\"` and `is`, or `path` and `access`, or `probe`.",
            ),
            Self::BadAllowance => (
                "An `[[allow_lint]]` names no advice about policies, or gives no reason.",
                "[[allow_lint]]\nlint = \"C021\"",
                "Write `lint = \"C021\"` and `why = \"…\"`; `about = \"/srv\"` allows it for one path, call or entry alone. Mistakes (P001 to P092) can't be allowed.",
            ),
            Self::NoDescription => (
                "The policy does not say what it is for.",
                "format = 1",
                "Add a line such as `description = \"Decode one uploaded image\"`.",
            ),
            Self::OneArchitecture => (
                "The call exists on only one architecture, as an older form of another call. C libraries use the newer form.",
                "[syscalls]\nallow = [\"open\"]",
                "Allow the form that every architecture has, such as `openat`, or a group that has both.",
            ),
            Self::Unconditional => (
                "The call is allowed with any arguments, and a group would allow it with a condition.",
                "[syscalls]\nallow = [\"splice\"]",
                "Use the group, or its condition.",
            ),
            Self::InGroup => (
                "A group in the same list already says what the entry says.",
                "[syscalls]\nallow = [\"@poll\", \"epoll_wait\"]",
                "Remove the entry.",
            ),
            Self::ForeignPath => (
                "Others can change what is at the path, or it is a symbolic link, which is followed when the rule is created.",
                "[filesystem]\nread = [\"/tmp\"]",
                "Name a folder that only its owner can write, or bind a variable at the call.",
            ),
            Self::BroadPath => (
                "The path contains a large part of the machine.",
                "[filesystem]\nread = [\"/etc\"]",
                "Name the folders that are needed.",
            ),
            Self::NoTimeLimit => (
                "Only the child ends itself, so an endless loop runs for ever.",
                "[limits]\nwall_time = \"none\"",
                "Add a line such as `wall_time = \"10s\"`. A longer job can get its deadline at the call.",
            ),
            Self::NoMemoryLimit => (
                "The child may use all the memory of the machine.",
                "[limits]\nmemory = \"none\"",
                "Add a line such as `memory = \"512MiB\"`.",
            ),
            Self::UncountedMemory => (
                "The policy allows memory objects (memfd_create), which `limits.memory` doesn't count.",
                "[syscalls]\nallow = [\"@shared-memory\"]",
                "Do without them, or run the program in a control group with a limit.",
            ),
            Self::LandlockGap => (
                "The policy relies on Landlock where it has a gap: `listen` without `bind` uses a port that the kernel chooses.",
                "[network]\ntcp_bind = [80]",
                "Be aware of it: `explain` lists it under what is not protected.",
            ),
            Self::UnreachablePort => (
                "The policy grants a TCP port, and puts the child into a network in which no address can be reached.",
                "[network]\ntcp_connect = [443]\n\n[namespaces]\nnetwork = \"none\"",
                "Take out the port, or `namespaces.network`.",
            ),
            Self::Unused => (
                "No `sandbox = \"…\"` in the workspace names the policy, and no other policy extends it.",
                "",
                "Remove it. If the program chooses it at run time, add `[[allow_lint]]` with `lint = \"C050\"` and `why`.",
            ),
            Self::NoExpectations => (
                "The policy has no expectations. Write down what it must deny, so that it stays denied.",
                "",
                "Add a table such as `[[expect]]` with `syscall = \"socket(AF_INET, SOCK_STREAM, 0)\"` and `is = \"violation\"`.",
            ),
            Self::UnusedAllowance => (
                "An `[[allow_lint]]` allows advice that isn't given any more.",
                "[[allow_lint]]\nlint = \"C031\"\nwhy = \"its input is trusted\"",
                "Remove the allowance, or correct what it is `about`.",
            ),
            Self::UnknownSandbox => (
                "A `sandbox = \"…\"` in the sources names no policy.",
                "",
                "Create it with `new`, or correct the name.",
            ),
            Self::Raised => (
                "A function raises limits of its policy, by `raise(…)` in its attribute. So its child gets more than \
                 the policy says.",
                "",
                "Look whether it needs that. `--allow C061` accepts it everywhere; `within` bounds it.",
            ),
        };
        Help {
            meaning,
            example,
            cure,
        }
    }
}
