//! Programs behind the seccomp filter of a container engine.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use crossmist::{Error, func};

use crate::cases;
use crate::enter::{self, Answer};
use crate::every_policy::{
    HOST, PATIENT, READABLE, adds, every_policy_runs, inside, policy, sleeps, whole,
};
use crate::support::{Case, patience, raw, this_program};

pub(crate) const CASES: &[Case] = cases![
    every_policy_runs_behind_a_container_engines_filter needs Root,
    every_policy_runs_behind_a_filter_of_what_is_documented needs Root,
    an_old_engines_filter_is_named_if_a_policy_grants_paths_or_ports needs Root,
    a_call_that_an_engines_filter_denies_is_named needs Root,
    confined_children_have_threads_though_clone3_is_not_permitted needs Root,
];

pub(crate) const HELPERS: &[Case] =
    cases![helper_pure, helper_without_landlock, helper_without_clone3];

/// The calls that Docker's default profile denies a container without further capabilities.
const DOCKER: &[(&str, Answer)] = {
    const DENIED: Answer = Answer::Errno(libc::EPERM);
    &[
        // Namespaces: CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET.
        ("clone", Answer::ErrnoIf(0x7e02_0000, libc::EPERM)),
        ("clone3", Answer::Errno(libc::ENOSYS)),
        ("unshare", DENIED),
        ("setns", DENIED),
        ("mount", DENIED),
        ("umount2", DENIED),
        ("pivot_root", DENIED),
        ("fsopen", DENIED),
        ("fsconfig", DENIED),
        ("fsmount", DENIED),
        ("fspick", DENIED),
        ("move_mount", DENIED),
        ("open_tree", DENIED),
        ("mount_setattr", DENIED),
        ("keyctl", DENIED),
        ("add_key", DENIED),
        ("request_key", DENIED),
        ("bpf", DENIED),
        ("perf_event_open", DENIED),
        ("userfaultfd", DENIED),
        ("io_uring_setup", DENIED),
        ("io_uring_enter", DENIED),
        ("io_uring_register", DENIED),
        ("kcmp", DENIED),
        ("process_madvise", DENIED),
        ("pidfd_getfd", DENIED),
        ("open_by_handle_at", DENIED),
        ("fanotify_init", DENIED),
        ("quotactl", DENIED),
        ("acct", DENIED),
        ("init_module", DENIED),
        ("finit_module", DENIED),
        ("delete_module", DENIED),
        ("kexec_load", DENIED),
        ("reboot", DENIED),
        ("swapon", DENIED),
        ("swapoff", DENIED),
        ("settimeofday", DENIED),
        ("clock_settime", DENIED),
        ("get_mempolicy", DENIED),
        ("set_mempolicy", DENIED),
        ("mbind", DENIED),
        ("move_pages", DENIED),
        ("lookup_dcookie", DENIED),
        ("ioperm", DENIED),
        ("iopl", DENIED),
        ("vhangup", DENIED),
        ("setdomainname", DENIED),
        ("sethostname", DENIED),
    ]
};

/// The calls that an engine denies in addition if its profile is older than Landlock (Docker before 23), and
/// older than some calls for which C libraries have others if a kernel doesn't know them.
const BEFORE_LANDLOCK: &[(&str, Answer)] = &[
    ("openat2", Answer::Errno(libc::EPERM)),
    ("faccessat2", Answer::Errno(libc::EPERM)),
    ("epoll_pwait2", Answer::Errno(libc::EPERM)),
    ("process_madvise", Answer::Errno(libc::EPERM)),
    ("landlock_create_ruleset", Answer::Errno(libc::EPERM)),
    ("landlock_add_rule", Answer::Errno(libc::EPERM)),
    ("landlock_restrict_self", Answer::Errno(libc::EPERM)),
];

/// The capabilities that Docker leaves.
const DOCKER_CAPABILITIES: &[u32] = &[0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

fn every_policy_runs_behind_a_container_engines_filter() {
    every_policy_runs(HOST, || {
        enter::load_filter(DOCKER, Answer::Allow);
        let refused = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS);
        assert_eq!(refused, Err(nix::Error::EPERM));
        enter::keep_capabilities(DOCKER_CAPABILITIES);
    });
}

fn an_old_engines_filter_is_named_if_a_policy_grants_paths_or_ports() {
    let enter = || {
        enter::load_filter(&[DOCKER, BEFORE_LANDLOCK].concat(), Answer::Allow);
        enter::keep_capabilities(DOCKER_CAPABILITIES);
    };
    let status = inside(enter, "helper_without_landlock", &[]);
    assert!(status.success(), "{status}");
}

fn helper_without_landlock() {
    assert_eq!(crossmist::landlock_abi(), 0);
    for name in ["pure", "parser", "worker", "unconfined"] {
        let sum = adds.sandbox(&policy(name, "")).run(vec![1, 2], false);
        assert_eq!(sum.unwrap(), 3, "{name}");
    }
    let files = policy(
        "file-reader",
        &format!("[filesystem]\nread = [\"{READABLE}\"]"),
    );
    let network = policy("network-client", "[network]\ntcp_connect = [443]");
    for policy in [files, network] {
        let Err(error @ Error::Policy { .. }) = adds.sandbox(&policy).run(vec![], false) else {
            panic!("it should not have run");
        };
        assert!(error.to_string().contains("Landlock"), "{error}");
    }
}

/// The calls that `docs/containers.md` asks a profile to allow.
fn documented() -> Vec<&'static str> {
    const PAGE: &str = include_str!("../../docs/containers.md");
    let (_, rest) = PAGE.split_once("```text\n").unwrap();
    let (list, _) = rest.split_once("```").unwrap();
    list.split_whitespace().collect()
}

/// The calls of AArch64 that stand for calls of that list.
const OF_AARCH64: &[&str] = &["dup3", "epoll_pwait", "faccessat", "readlinkat"];

/// Calls of the tests themselves: the case runner, its counts of what is left, and the listener that
/// children connect to.
const OF_THE_TESTS: &[&str] = &[
    "alarm",
    "setitimer",
    "getdents64",
    "listen",
    "bind",
    "accept4",
    "wait4",
    "getsockname",
];

fn allowing<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<(&'n str, Answer)> {
    names
        .into_iter()
        .map(|name| (name, Answer::Allow))
        .collect()
}

fn every_policy_runs_behind_a_filter_of_what_is_documented() {
    let names = documented();
    every_policy_runs(HOST, || {
        let own = match cfg!(target_arch = "aarch64") {
            true => OF_AARCH64,
            false => &[],
        };
        let names = names.iter().chain(own).chain(OF_THE_TESTS).copied();
        enter::load_filter(&allowing(names), Answer::Errno(libc::EPERM));
    });
}

fn a_call_that_an_engines_filter_denies_is_named() {
    let status = inside(|| (), "helper_pure", &[]);
    assert!(status.success(), "the control: {status}");
    for (call, said) in [
        ("close_range", "close_range"),
        ("seccomp", "seccomp filter"),
        ("setresuid", "setresuid"),
        ("getrandom", "user of its own"),
        ("execveat", "exec"),
        ("pidfd_open", "pidfd"),
        ("pidfd_send_signal", "pidfd_send_signal"),
        ("setsid", "setsid"),
        ("capset", "capset"),
        ("prlimit64", "prlimit"),
        ("sched_setscheduler", "sched_setscheduler"),
    ] {
        let enter = || enter::load_filter(&[(call, Answer::Errno(libc::EPERM))], Answer::Allow);
        let mut program = this_program("helper_pure");
        let (mut read, write) = std::io::pipe().unwrap();
        let status = enter::run_in(enter, program.stderr(Stdio::from(write)));
        drop(program);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert!(!status.success(), "{call}");
        assert!(
            text.contains(said) && text.contains("not permitted"),
            "{call}: {text}"
        );
    }
}

fn helper_pure() {
    let sum = adds
        .sandbox(&policy("pure", PATIENT))
        .run(vec![1, 2], false);
    assert_eq!(sum.map_err(whole), Ok(3));
}

/// The filters of engines from before 2021 answer calls that they don't know with EPERM. A C library takes
/// another call for ENOSYS only.
fn confined_children_have_threads_though_clone3_is_not_permitted() {
    let enter = || {
        let denied = ("clone3", Answer::Errno(libc::EPERM));
        let others = DOCKER.iter().filter(|(call, _)| *call != "clone3");
        let all: Vec<_> = others.copied().chain([denied]).collect();
        enter::load_filter(&all, Answer::Allow);
        enter::keep_capabilities(DOCKER_CAPABILITIES);
    };
    let status = inside(enter, "helper_without_clone3", &[]);
    assert!(status.success(), "{status}");
}

#[func]
fn adds_unconfined(x: u32, y: u32) -> u32 {
    x + y
}

#[func]
fn stays_unconfined() {
    std::thread::sleep(Duration::from_secs(3600));
}

fn helper_without_clone3() {
    assert_eq!(raw::clone3(), Some(libc::EPERM));
    // The control: whether this C library starts threads by that call.
    let thread = std::thread::Builder::new().spawn(|| ());
    let starts_threads = thread.is_ok();
    for name in ["parser", "worker"] {
        // Their own filter answers first, and says ENOSYS.
        let sum = adds.sandbox(&policy(name, PATIENT)).run(vec![1, 2], true);
        assert_eq!(sum.unwrap(), 3, "{name}");
    }
    // A call that needs no thread of the program's works as elsewhere.
    let deadline = patience(Duration::from_secs(2));
    let late = sleeps.sandbox(&policy("pure", "")).deadline(deadline).run();
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    let late = stays_unconfined.builder().deadline(deadline).run();
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    // A call that needs one says so.
    let bound = adds_unconfined.builder().kill_on_parent_death(true);
    let sum = bound.run(1, 2).map_err(whole);
    match (starts_threads, sum) {
        (true, sum) => assert_eq!(sum, Ok(3)),
        (false, Err(error)) => assert!(
            error.contains("thread") && error.contains("not permitted"),
            "{error}"
        ),
        (false, Ok(_)) => panic!("there was no thread to bind the child's life to"),
    }
}
