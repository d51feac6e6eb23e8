//! The calls that an imported policy lets happen, and those that it may.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{LazyLock, Mutex};

use crossmist_policy::bpf::interpret::{Call, answer};
use crossmist_policy::bpf::{Action, Program};
use crossmist_policy::import::{Format, Imported, Input, import};
use crossmist_policy::syscalls::{self, Syscall, Width};
use crossmist_policy::{Arch, BuiltinOnly, Policy};
use proptest::prelude::*;

/// A policy, and the filters of the calls that it was asked about. Making them takes a tenth of the time that the
/// whole filter takes, which is made for one policy in sixteen: there, both have to agree.
pub(crate) struct Reach {
    pub(crate) text: String,
    pub(crate) policy: Policy,
    whole: Option<[Program; 2]>,
    filters: Mutex<HashMap<(usize, Arch), Option<Program>>>,
}

impl Reach {
    pub(crate) fn of(text: &str) -> Self {
        let policy = Policy::from_toml(&BuiltinOnly, "imported", text);
        let policy = policy.unwrap_or_else(|report| panic!("{report}\n{text}"));
        // By the text, so that a case that fails fails again.
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let is_sample = hasher.finish().is_multiple_of(16);
        let whole = is_sample.then(|| {
            let compiled = policy
                .compile()
                .unwrap_or_else(|report| panic!("{report}\n{text}"));
            Arch::ALL.map(|arch| compiled.program(arch).unwrap().clone())
        });
        Self {
            text: text.to_owned(),
            policy,
            whole,
            filters: Mutex::default(),
        }
    }

    pub(crate) fn allows(&self, arch: Arch, call: &'static Syscall, args: [u64; 6]) -> bool {
        let Some(number) = call.number(arch) else {
            return false;
        };
        let asked = Call::new(arch, number, args);
        let mut filters = self.filters.lock().unwrap();
        let filter = filters
            .entry((std::ptr::from_ref(call).addr(), arch))
            .or_insert_with(|| self.policy.filter_of(arch, call));
        let found = answer(&filter.as_ref().unwrap().code, &asked);
        if let Some(whole) = &self.whole {
            let by_all = answer(&whole[usize::from(arch != Arch::X86_64)].code, &asked);
            assert_eq!(
                found, by_all,
                "{} {args:x?} on {arch}\n{}",
                call.name, self.text
            );
        }
        found == Action::Allow
    }
}

/// The calls that every child may make, whatever the source says: staying alive, and its channel.
pub(crate) fn every_child() -> &'static Reach {
    static LEAST: LazyLock<Reach> = LazyLock::new(|| {
        let itself = [
            "getuid",
            "geteuid",
            "getgid",
            "getegid",
            "getgroups",
            "getresuid",
            "getresgid",
            "getpgid",
            "getsid",
            "getppid",
            "getpgrp",
            "times",
            "getrusage",
            "getcpu",
            "getrlimit",
            "prlimit64",
            "getpriority",
            "ioprio_get",
            "sched_getaffinity",
            "sched_getattr",
            "sched_getparam",
            "sched_getscheduler",
            "sched_rr_get_interval",
            "sched_get_priority_max",
            "sched_get_priority_min",
            "getitimer",
            "rt_sigpending",
            "umask",
            "prctl",
            "personality",
        ];
        Reach::of(&format!("format = 1\n[syscalls]\nreplace = {itself:?}\n"))
    });
    &LEAST
}

pub(crate) fn try_import(format: Format, text: &str) -> Result<Imported, String> {
    import(&Input {
        format,
        name: "a file",
        text,
        filter: None,
        include: &|path| Err(format!("there is no {path}")),
    })
}

pub(crate) fn imported(format: Format, text: &str) -> Reach {
    let imported = try_import(format, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Reach::of(&imported.text)
}

/// Fails if a call can happen that the source denies, however its unseen bits are chosen.
pub(crate) fn hold(
    reach: &Reach,
    source: &str,
    call: &'static Syscall,
    args: [u64; 6],
    allows: impl Fn(Arch, [u64; 6]) -> bool,
) {
    for arch in Arch::ALL {
        if reach.allows(arch, call, args)
            && !every_child().allows(arch, call, args)
            && !extensions(call, args).any(|args| allows(arch, args))
        {
            panic!(
                "{} {args:x?} can happen on {arch}, which the source denies\n--- source\n{source}\n--- policy\n{}",
                call.name, reach.text
            );
        }
    }
}

/// The registers that the kernel takes for the same call: it looks at a part of most of them.
fn extensions(call: &'static Syscall, args: [u64; 6]) -> impl Iterator<Item = [u64; 6]> {
    let choices = (0..3u32.pow(6)).filter_map(move |mut choice| {
        let mut extended = args;
        for (at, own) in extended.iter_mut().enumerate() {
            let how = choice % 3;
            choice /= 3;
            let seen = call.args.get(at).map_or(0, |(_, width)| mask(*width));
            match how {
                0 => {}
                // Each choice once.
                _ if seen == u64::MAX => return None,
                1 => *own &= seen,
                _ => *own |= !seen,
            }
        }
        Some(extended)
    });
    choices.into_iter()
}

fn mask(width: Width) -> u64 {
    match width {
        Width::Short => 0xffff,
        Width::Int | Width::Unsigned => 0xffff_ffff,
        Width::Long | Width::Pointer => u64::MAX,
    }
}

/// Calls of every kind: with groups that narrow them, dangerous, forbidden, of one architecture, with
/// arguments of every width, such as every child needs, and such as it only has.
pub(crate) const CALLS: &[&str] = &[
    "read",
    "fcntl",
    "futex",
    "recvfrom",
    "mmap",
    "mprotect",
    "madvise",
    "munmap",
    "brk",
    "getsid",
    "getuid",
    "personality",
    "prctl",
    "prlimit64",
    "clone",
    "clone3",
    "fork",
    "socket",
    "connect",
    "bind",
    "setsockopt",
    "openat",
    "open",
    "openat2",
    "mkdirat",
    "mkdir",
    "chmod",
    "fchmod",
    "chown",
    "ioctl",
    "flock",
    "fallocate",
    "fsync",
    "sync_file_range",
    "ptrace",
    "mount",
    "execve",
    "semctl",
    "shmat",
    "arch_prctl",
    "sched_setscheduler",
    "epoll_create1",
    "epoll_wait",
    "eventfd2",
    "getrandom",
    "clock_gettime",
    "uname",
    "splice",
    "pipe2",
    "getdents64",
    "unlink",
    "pwritev2",
    "dup2",
];

pub(crate) fn call(name: &str) -> &'static Syscall {
    syscalls::find(name).unwrap()
}

/// Values that tell conditions apart.
pub(crate) fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..12u64,
        prop::sample::select(vec![
            0x22,
            0x802,
            0x5401,
            0x3d_0f00,
            0x7e02_0000,
            0o6000,
            0o100,
            0xffff_ffff,
            1 << 32,
            (1 << 32) + 1,
            u64::MAX,
            u64::MAX - 99,
            0x1_0000,
            0x8000_0000,
            0xffff,
        ]),
        any::<u64>(),
    ]
}

pub(crate) fn arguments() -> impl Strategy<Value = [u64; 6]> {
    prop::array::uniform6(value())
}

/// How many cases: `PROPTEST_CASES`, else few.
pub(crate) fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 150;
    }
    config.failure_persistence = None;
    config
}
