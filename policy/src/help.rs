//! What each code means, at more length than a message has.

use crate::Code;

/// What there is to say about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help {
    /// What is wrong, and why that matters.
    pub meaning: &'static str,
    /// Lines of a policy that lead to it; empty where it takes more than one file.
    pub example: &'static str,
    /// What to do.
    pub cure: &'static str,
}

impl Code {
    /// What the code means and what to do.
    #[rustfmt::skip] // A table.
    pub fn help(self) -> Help {
        let (meaning, example, cure) = match self {
            Self::Syntax => (
                "The file isn't TOML.",
                "format = \"1",
                "Close what is open. The caret stands where the reader gave up, which may be a line behind the mistake.",
            ),
            Self::UnknownKey => (
                "A table has no key of this name. Nothing unknown is passed over: a key that is misspelt would otherwise be a promise that nobody keeps.",
                "[limits]\nmemori = \"1MiB\"",
                "Write the key that is meant. The keys of each table are in the reference, `policies/README.md`, and in the schema that editors read.",
            ),
            Self::BadValue => (
                "A value has the wrong type, no unit, or is out of its range.",
                "[limits]\nwall_time = 10",
                "Sizes are `\"64KiB\"`, times `\"500ms\"`, counts whole numbers, switches `true` or `false`.",
            ),
            Self::Format => (
                "The file doesn't say which format it is in, or one that this version doesn't know.",
                "description = \"x\"",
                "Begin the file with `format = 1`.",
            ),
            Self::Unreadable => (
                "The file can't be read, is longer than 256 KiB, or isn't UTF-8.",
                "",
                "Look at the file's permissions and encoding.",
            ),
            Self::Unsupported => (
                "A part of the format that this version doesn't do. It is an error, since the policy would be weaker than it says.",
                "[network]\nudp = \"any\"",
                "Do without, or do that part of the work in the parent and pass the result or the descriptor.",
            ),
            Self::UnknownSyscall => (
                "No architecture has a system call of this name.",
                "[syscalls]\nallow = [\"opennat\"]",
                "Names are the kernel's, as in `man 2 syscalls`.",
            ),
            Self::ForeignSyscall => (
                "The system call exists on architectures that aren't supported.",
                "[syscalls]\nallow = [\"mmap2\"]",
                "Name the call that x86_64 and aarch64 have in its place.",
            ),
            Self::UnknownGroup => (
                "There is no group of this name.",
                "[syscalls]\nallow = [\"@thread\"]",
                "The groups are listed in `policies/groups.md` and by `explain`.",
            ),
            Self::SystemdGroup => (
                "A group that systemd has. Its set is wider than the name sounds, so it isn't taken over.",
                "[syscalls]\nallow = [\"@system-service\"]",
                "Take the group that the message names.",
            ),
            Self::UnknownConstant => (
                "No constant of this name is known.",
                "[syscalls]\nallow = [\"madvise(advice == MADV_FRE)\"]",
                "Constants are the kernel's, as in the manual page; numbers can be written as numbers.",
            ),
            Self::UnknownArgument => (
                "The call has no argument of this name.",
                "[syscalls]\nallow = [\"madvise(advise == MADV_FREE)\"]",
                "Arguments are named as in the manual page; `a0` to `a5` work, too.",
            ),
            Self::PointerCompared => (
                "A pointer is compared with something other than NULL. What it leads to can change after the filter has looked, so the comparison would promise nothing.",
                "[syscalls]\nallow = [\"openat(path == 7)\"]",
                "Let Landlock decide about paths, by `[filesystem]`.",
            ),
            Self::SignedOrder => (
                "A signed argument is compared by order. The filter compares without signs, where -1 is the largest number.",
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
                "Take one of the lines out. `deny` is for what an ancestor allows.",
            ),
            Self::ConditionWithoutEffect => (
                "A call is allowed with a condition in one place and without one in another, so that the condition does nothing.",
                "extends = [\"worker\"]\n[syscalls]\nallow = [\"mmap\"]",
                "Drop the wider entry; or say `replace = [\"mmap\"]` to take this file's word alone.",
            ),
            Self::AnswerConflict => (
                "Two lines answer one call by different error numbers.",
                "[syscalls.errno]\nEPERM = [\"getsid\"]\nEACCES = [\"getsid\"]",
                "Keep one of them.",
            ),
            Self::DeniedByAncestor => (
                "A policy that this one extends denies what it allows. A denial is for good.",
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
                "The message says where it was looked for. Built-in names need no file.",
            ),
            Self::ParentsDisagree => (
                "Two parents say different things about a single value, and this file says nothing.",
                "extends = [\"parser\", \"worker\"]",
                "Write the value that you want into this file.",
            ),
            Self::NotWithin => (
                "The policy allows more than its ceiling, or it can't be shown that it doesn't.",
                "within = \"pure\"\nextends = [\"parser\"]",
                "Take the line out that the caret is under, or raise the ceiling. It may be that of a policy which this one extends. A variable is to be declared as in the ceiling, or `required`.",
            ),
            Self::TooDeep => (
                "More than 8 generations of policies, or more than 64 files.",
                "",
                "Extend fewer.",
            ),
            Self::BadPath => (
                "The path is not absolute, has `.`, `..`, an empty part (`//`), a `*` at its end, or a variable that isn't declared.",
                "[filesystem]\nread = [\"data\"]",
                "Write an absolute path, or a variable: `\"${data}/fonts\"`. A directory stands for everything beneath it.",
            ),
            Self::BadVariable => (
                "A variable is used and not declared, or its declaration has no type, or not exactly one of `required`, `default` and `from_env`.",
                "[filesystem]\nread = [\"${data}\"]",
                "`[variables]`: `data = { type = \"dir\", required = true }`.",
            ),
            Self::PathDenied => (
                "A path can't be denied: Landlock can't cut a hole into a tree that is allowed.",
                "[filesystem]\ndeny = [\"/etc/shadow\"]",
                "Allow the parts of the tree that are needed.",
            ),
            Self::BadPort => (
                "Not a port, or a range of more than 64.",
                "[network]\ntcp_connect = [70000]",
                "A port from 0 to 65535, `\"${variable}\"`, or `{ from = 8000, to = 8010 }`.",
            ),
            Self::WritesKernelTree => (
                "Writing would reach into /proc, /sys or /dev: a process that can write its own /proc/self/mem makes code of any memory, whatever the filter says.",
                "[filesystem]\nwrite = [\"/proc\"]",
                "Write elsewhere, or have the parent write.",
            ),
            Self::NeverAllowed => (
                "No policy may allow this call: with it a process steps around its confinement.",
                "[syscalls]\nallow = [\"ptrace\"]",
                "Do it in the parent.",
            ),
            Self::MissingReason => (
                "Something dangerous is allowed without a reason. The reason is for whoever reviews the policy.",
                "[syscalls]\nallow = [\"execve\"]",
                "`{ call = \"execve\", why = \"…\" }`, or `[syscalls.dangerous] execve = \"…\"`.",
            ),
            Self::LandlockTooLow => (
                "`[kernel] landlock` asks for less than the policy needs.",
                "[kernel]\nlandlock = \"off\"\n[filesystem]\nread = [\"/usr\"]",
                "Leave it `\"auto\"`, or give the promise up by `relax`.",
            ),
            Self::BadRelaxation => (
                "A relaxation names nothing that can be relaxed, or has no reason.",
                "[kernel]\nrelax = [{ what = \"landlock-fs\" }]",
                "`{ what = \"landlock-net\", reason = \"…\" }`.",
            ),
            Self::BadRequirement => (
                "`[kernel] require` names something that isn't a second net, or a second net that this policy or one that it extends turns off.",
                "[kernel]\nrequire = [\"seccomp\"]",
                "Name one of those in the reference. The wall (seccomp, capabilities, limits, no_new_privs) is always required.",
            ),
            Self::FilterTooLong => (
                "The filter is longer than the 4096 instructions that the kernel takes.",
                "",
                "Allow calls without conditions, or fewer of them.",
            ),
            Self::ReservedName => (
                "A file has the name of a built-in policy and another text, so it would hide it.",
                "",
                "Rename the file, and extend the built-in one.",
            ),
            Self::ExpectationFailed => (
                "An `[[expect]]` doesn't hold.",
                "[[expect]]\nsyscall = \"socket(AF_INET, SOCK_STREAM, 0)\"\nis = \"allowed\"",
                "Either the policy or the expectation is wrong: `explain NAME --syscall …` shows who says what.",
            ),
            Self::BadExpectation => (
                "An `[[expect]]` can't be read.",
                "[[expect]]\nsyscall = \"socket\"\nis = \"violation\"",
                "`syscall = \"socket(AF_INET, SOCK_STREAM, 0)\"` and `is`; or `path` and `access`; or `probe`.",
            ),
            Self::NoDescription => (
                "The policy doesn't say what it is for.",
                "format = 1",
                "`description = \"Decode one uploaded image\"`.",
            ),
            Self::OneArchitecture => (
                "The call exists on one architecture only, where it is an older form of another one. C libraries use the newer form.",
                "[syscalls]\nallow = [\"open\"]",
                "Allow the form that every architecture has, such as `openat`, or a group that has both.",
            ),
            Self::Unconditional => (
                "The call is allowed whatever its arguments, where a group allows it by a condition.",
                "[syscalls]\nallow = [\"splice\"]",
                "Take the group, or its condition.",
            ),
            Self::InGroup => (
                "The entry says what a group in the same list says already.",
                "[syscalls]\nallow = [\"@poll\", \"epoll_wait\"]",
                "Take it out.",
            ),
            Self::ForeignPath => (
                "Others can change what lies at the path, or it is a symbolic link, which is followed when the rule is made.",
                "[filesystem]\nread = [\"/tmp\"]",
                "Name a folder that only its owner can write, or bind a variable at the call.",
            ),
            Self::BroadPath => (
                "The path holds much of the machine.",
                "[filesystem]\nread = [\"/etc\"]",
                "Name the folders that are needed.",
            ),
            Self::NoTimeLimit => (
                "Nothing ends the child but itself: an endless loop in it stays.",
                "[limits]\nwall_time = \"none\"",
                "`wall_time = \"10s\"`; a longer job can be given its deadline at the call.",
            ),
            Self::NoMemoryLimit => (
                "The child may take all the memory that there is.",
                "[limits]\nmemory = \"none\"",
                "`memory = \"512MiB\"`.",
            ),
            Self::UncountedMemory => (
                "The policy allows memory objects (memfd_create), which `limits.memory` doesn't count.",
                "[syscalls]\nallow = [\"@shared-memory\"]",
                "Do without, or run the program in a control group with a limit.",
            ),
            Self::LandlockGap => (
                "The policy leans on Landlock where it has a gap: `listen` without `bind` takes a port of the kernel's choice.",
                "[network]\ntcp_bind = [80]",
                "Know it: `explain` lists it under what is not protected.",
            ),
            Self::Unused => (
                "No `sandbox = \"…\"` in the workspace names the policy, and no other policy extends it.",
                "",
                "Remove it, or name it where policies are chosen at run time.",
            ),
            Self::NoExpectations => (
                "The policy says nothing about itself that could be held against it. What it must deny is worth a line: it stays denied then.",
                "",
                "`[[expect]] syscall = \"socket(AF_INET, SOCK_STREAM, 0)\"`, `is = \"violation\"`.",
            ),
            Self::UnknownSandbox => (
                "A `sandbox = \"…\"` in the sources names no policy.",
                "",
                "Create it by `new`, or correct the name.",
            ),
        };
        Help {
            meaning,
            example,
            cure,
        }
    }
}
