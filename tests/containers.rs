//! The built-in policies where programs run in containers: as root with few ids or few capabilities,
//! as PID 1, behind an engine's seccomp profile, with few descriptors, on a read-only root.
//!
//! `docs/containers.md` says what users are to do; each of its claims about this library is held here.

#[path = "containers/enter.rs"]
mod enter;
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use crossmist::{Error, SameUser, SandboxPolicy, Status, func};
use enter::Answer;
use support::{Holdings, case_arguments, patience, raw, this_program, wait_until_gone};

fn main() {
    crossmist::init();
    support::main(
        cases![
            every_policy_runs_under_plain_root needs Root,
            every_policy_runs_for_a_plain_user needs Root,
            every_policy_runs_in_a_rootless_container needs Root UserNamespaces,
            every_policy_runs_in_a_user_namespace_of_one needs Root UserNamespaces,
            every_policy_runs_for_root_without_capabilities needs Root,
            every_policy_runs_for_root_with_one_capability_added needs Root,
            every_policy_runs_for_a_user_without_new_privileges needs Root,
            every_policy_runs_in_pid_1 needs Root,
            a_first_process_that_does_not_reap_finds_nothing_of_a_program_that_runs needs Root,
            every_policy_runs_behind_a_container_engines_filter needs Root,
            every_policy_runs_behind_a_filter_of_what_is_documented needs Root,
            an_old_engines_filter_is_named_where_a_policy_grants_paths_or_ports needs Root,
            what_an_engines_filter_denies_is_named needs Root,
            every_policy_runs_with_few_descriptors needs Root,
            a_child_has_no_more_descriptors_than_its_caller needs Root,
            children_that_are_too_many_for_the_descriptors_are_refused needs Root,
            every_policy_runs_on_a_read_only_root needs Root,
            root_that_could_not_end_its_children_shares_its_user needs Root,
            either_id_of_root_makes_root needs Root,
            users_differ_across_pid_namespaces needs Root,
            groups_that_could_not_be_given_up_stop_the_call needs Root UserNamespaces,
            files_that_a_child_creates_belong_to_its_user needs Root Truncation,
        ],
        cases![
            helper_every_policy,
            helper_in_pid_1,
            helper_that_does_not_reap,
            helper_with_two_ids,
            helper_user,
            helper_with_fixed_groups,
            helper_pure,
            helper_without_landlock,
            helper_descriptors,
            helper_with_many_children,
        ],
    );
}

// What is run in each of the containers.

#[func(sandbox = dynamic)]
fn adds(numbers: Vec<u32>, in_a_thread: bool) -> u32 {
    let sum = move || numbers.iter().sum();
    match in_a_thread {
        true => std::thread::spawn(sum).join().unwrap(),
        false => sum(),
    }
}

#[func(sandbox = dynamic)]
fn panics() {
    panic!("at the {}", "disco");
}

#[func(sandbox = dynamic)]
fn sleeps() {
    std::thread::sleep(Duration::from_secs(3600));
}

#[func(sandbox = dynamic)]
fn reads(path: String) -> Result<String, i32> {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.map(|_| text)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

#[func(sandbox = dynamic)]
fn connects(port: u16) -> Result<(), i32> {
    let connected = TcpStream::connect(("127.0.0.1", port));
    connected
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// A file that every user may read.
const READABLE: &str = "/etc/passwd";
/// Another one, which no policy grants.
const WITHHELD: &str = "/proc/version";

/// For what is not about the time that a policy gives: emulated machines need more.
const PATIENT: &str = "[limits]\nwall_time = \"10min\"";

fn policy(name: &str, more: &str) -> SandboxPolicy {
    if more.is_empty() {
        return SandboxPolicy::builtin(name).unwrap();
    }
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"{name}\"]\n{more}\n");
    SandboxPolicy::from_toml("extended", &text).unwrap()
}

/// What a child's user is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// One of its own, from this range.
    Own(u32, u32),
    Same(SameUser),
}

/// The ids that children get where all are mapped.
const HOST: Expected = Expected::Own(0x7800_0000, 0x7ffd_ffff);
const CONTAINER: Expected = Expected::Own(20_000, 60_000);

impl Expected {
    const ALL: [(&str, Expected); 5] = [
        ("host", HOST),
        ("container", CONTAINER),
        ("not-root", Expected::Same(SameUser::NotRoot)),
        ("no-capability", Expected::Same(SameUser::NoCapability)),
        ("no-other-ids", Expected::Same(SameUser::NoOtherIds)),
    ];

    fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, expected)| *expected == self);
        known.unwrap().0
    }

    fn named(name: &str) -> Self {
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.unwrap().1
    }

    #[track_caller]
    fn assert_is(self, status: &Status, child: u32) {
        let ids = proc_ids(child);
        match self {
            Self::Own(first, last) => {
                let user = status.own_user.expect("a user of its own");
                assert!((first..=last).contains(&user), "{user}");
                assert_eq!(status.same_user, None);
                assert_eq!(ids, [[user; 4], [user; 4]]);
            }
            Self::Same(why) => {
                assert_eq!((status.own_user, status.same_user), (None, Some(why)));
                assert_eq!(ids, proc_ids(std::process::id()));
            }
        }
        assert_eq!(status.capabilities, 0);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(proc_status(child, set), "0000000000000000", "{set}");
        }
        assert_eq!(proc_status(child, "NoNewPrivs"), "1");
        assert_eq!(proc_status(child, "Seccomp"), "2");
    }
}

fn proc_status(process: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == field).unwrap();
    value.trim().to_owned()
}

/// The user and group ids of a process.
fn proc_ids(process: u32) -> [[u32; 4]; 2] {
    ["Uid", "Gid"].map(|field| {
        let ids = proc_status(process, field);
        let ids: Vec<u32> = ids.split('\t').map(|id| id.parse().unwrap()).collect();
        ids.try_into().unwrap()
    })
}

/// Runs each built-in policy: what it is for, what it withholds, how it ends, and whose process it is.
fn helper_every_policy() {
    let expected = Expected::named(&case_arguments()[0]);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let all = [
        policy("pure", ""),
        policy("parser", ""),
        policy("worker", ""),
        policy(
            "file-reader",
            &format!("[filesystem]\nread = [\"{READABLE}\"]"),
        ),
        policy(
            "network-client",
            &format!("[network]\ntcp_connect = [{port}]"),
        ),
    ];
    // The controls: unconfined, all of it works.
    assert!(reads.call_unconfined(READABLE.to_owned()).is_ok());
    assert!(reads.call_unconfined(WITHHELD.to_owned()).is_ok());
    assert_eq!(connects.call_unconfined(port), Ok(()));
    let open = policy("unconfined", "");
    assert_eq!(crossmist_policy::BUILTIN.len(), all.len() + 1);
    assert_eq!(adds.sandbox(&open).run(vec![1, 2], true).unwrap(), 3);
    assert!(
        reads
            .sandbox(&open)
            .run(WITHHELD.to_owned())
            .unwrap()
            .is_ok()
    );
    assert_eq!(connects.sandbox(&open).run(port).unwrap(), Ok(()));
    // What needs more than this kernel has is refused, and that is all there is to it.
    let (granting, refused) = match crossmist::landlock_abi() {
        ..4 => all.split_at(4),
        _ => all.split_at(5),
    };
    for policy in refused {
        let error = adds.sandbox(policy).run(vec![], false).unwrap_err();
        assert!(error.to_string().contains("Landlock ABI"), "{error}");
    }
    for policy in granting {
        let has_threads = policy.name() != "pure";
        let sum = adds.sandbox(policy).run(vec![1, 2, 3], has_threads);
        assert_eq!(sum.unwrap(), 6);
        let Err(Error::Panicked(panic)) = panics.sandbox(policy).run() else {
            panic!("it did not panic");
        };
        assert_eq!(panic.message.as_raw(), "at the disco");
        let read = |path: &str| reads.sandbox(policy).run(path.to_owned()).unwrap();
        assert_eq!(read(WITHHELD), Err(libc::EACCES));
    }
    let [pure, _, worker, files, network] = &all;
    let read = reads.sandbox(files).run(READABLE.to_owned()).unwrap();
    assert_eq!(read, reads.call_unconfined(READABLE.to_owned()));
    if refused.is_empty() {
        assert_eq!(connects.sandbox(network).run(port).unwrap(), Ok(()));
    }

    // What the library keeps between calls is there by now.
    let holdings = Holdings::now();
    // Some at once: whose they are. One is executed, not forked.
    let fresh = self::policy("pure", "[process]\nlaunch = \"exec\"");
    let children = [pure, &fresh, worker].map(|policy| {
        let mut child = sleeps.sandbox(policy).spawn().unwrap();
        let status = child.confinement().unwrap().unwrap();
        expected.assert_is(&status, child.id());
        (child, status.own_user)
    });
    let users: BTreeSet<u32> = children.iter().filter_map(|(_, user)| *user).collect();
    let count = match expected {
        Expected::Own(..) => children.len(),
        Expected::Same(_) => 0,
    };
    assert_eq!(users.len(), count, "{users:?}");
    // They can be ended, by order and at their deadline.
    for (child, _) in children {
        let process = child.id();
        child.kill().unwrap();
        assert!(matches!(child.join(), Err(Error::Killed)));
        wait_until_gone(process);
    }
    let deadline = patience(Duration::from_secs(2));
    let late = sleeps.sandbox(pure).deadline(deadline).spawn().unwrap();
    let process = late.id();
    let late = late.join();
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    wait_until_gone(process);
    // The first process of a namespace has the keeper as its child.
    if std::process::id() != 1 {
        holdings.assert_same();
    }
}

/// Starts a helper, in what a container is made of.
fn inside(enter: impl FnOnce(), helper: &str, arguments: &[&str]) -> ExitStatus {
    let mut program = this_program(helper);
    enter::run_in(enter, program.args(arguments))
}

#[track_caller]
fn every_policy_runs(expected: Expected, enter: impl FnOnce()) {
    let status = inside(enter, "helper_every_policy", &[expected.name()]);
    assert!(status.success(), "{status}");
}

fn every_policy_runs_under_plain_root() {
    every_policy_runs(HOST, || ());
}

fn every_policy_runs_for_a_plain_user() {
    every_policy_runs(Expected::Same(SameUser::NotRoot), || {
        enter::become_user(4242)
    });
}

fn every_policy_runs_in_a_rootless_container() {
    every_policy_runs(CONTAINER, || enter::user_namespace("0 100000 65536"));
    // As Podman maps them for a user whose id is 4242.
    every_policy_runs(CONTAINER, || {
        enter::user_namespace("0 4242 1\n1 100000 65536")
    });
}

fn every_policy_runs_in_a_user_namespace_of_one() {
    every_policy_runs(
        Expected::Same(SameUser::NoOtherIds),
        enter::user_namespace_of_one,
    );
}

fn every_policy_runs_for_root_without_capabilities() {
    every_policy_runs(Expected::Same(SameUser::NoCapability), || {
        enter::keep_capabilities(&[])
    });
    every_policy_runs(Expected::Same(SameUser::NoCapability), || {
        enter::user_namespace("0 100000 65536");
        enter::keep_capabilities(&[]);
    });
}

fn every_policy_runs_for_root_with_one_capability_added() {
    // CAP_NET_BIND_SERVICE, the one that Kubernetes' strictest standard lets be added; no CAP_SETPCAP.
    every_policy_runs(Expected::Same(SameUser::NoCapability), || {
        enter::keep_capabilities(&[10])
    });
}

fn every_policy_runs_for_a_user_without_new_privileges() {
    every_policy_runs(Expected::Same(SameUser::NotRoot), || {
        enter::keep_capabilities(&[6, 7]);
        enter::become_user(65_532);
        enter::no_new_privileges();
    });
}

fn every_policy_runs_on_a_read_only_root() {
    let directory = support::Directory::new();
    let file = directory.path().join("new");
    File::create(&file).unwrap();
    every_policy_runs(HOST, || {
        enter::read_only_root();
        let refused = File::create(&file).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    });
}

// The first process of a PID namespace.

fn every_policy_runs_in_pid_1() {
    let status = inside(enter::pid_namespace, "helper_in_pid_1", &[HOST.name()]);
    assert!(status.success(), "{status}");
}

fn helper_in_pid_1() {
    assert_eq!(std::process::id(), 1);
    helper_every_policy();
    // The keeper, and of what has ended only the process that it leaves to be looked at.
    assert_eq!(processes(), ["crossmist-keepe", "crossmist-witne Z"]);
}

/// All processes but this one, by the beginning of their names, and a Z for those that have ended.
fn processes() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let ids = ids.filter(|name| *name != own && name.parse::<u32>().is_ok());
    let known = ids.filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok());
    let mut names: Vec<_> = known
        .map(|stat| {
            let (name, rest) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
            match rest.starts_with('Z') {
                true => format!("{name} Z"),
                false => name.to_owned(),
            }
        })
        .collect();
    names.sort();
    names
}

fn a_first_process_that_does_not_reap_finds_nothing_of_a_program_that_runs() {
    let status = inside(enter::pid_namespace, "helper_that_does_not_reap", &[]);
    assert!(status.success(), "{status}");
}

fn helper_that_does_not_reap() {
    assert_eq!(std::process::id(), 1);
    let run = || {
        let mut program = this_program("helper_every_policy");
        let status = program.arg(HOST.name()).status().unwrap();
        assert!(status.success(), "{status}");
    };
    // It asserts itself that nothing is left of its children while it runs. After its end there is
    // its keeper, whose parent this process has become.
    run();
    support::wait_until("the keeper has ended", || {
        processes() == ["crossmist-keepe Z"]
    });
    run();
    support::wait_until("the keeper has ended", || {
        processes() == ["crossmist-keepe Z", "crossmist-keepe Z"]
    });
}

fn users_differ_across_pid_namespaces() {
    let user = || {
        let mut program = this_program("helper_user");
        let (mut read, write) = std::io::pipe().unwrap();
        program.stdout(Stdio::from(write));
        let status = enter::run_in(enter::pid_namespace, &mut program);
        assert!(status.success(), "{status}");
        drop(program);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        let (process, user) = text.trim().split_once(' ').unwrap();
        (
            process.parse::<u32>().unwrap(),
            user.parse::<u32>().unwrap(),
        )
    };
    let (first, second) = (user(), user());
    // The same process as far as it can tell itself.
    assert_eq!(first.0, second.0);
    assert_ne!(first.1, second.1);
}

fn helper_user() {
    let mut child = sleeps.sandbox(&policy("pure", "")).spawn().unwrap();
    let status = child.confinement().unwrap().unwrap();
    println!("{} {}", child.id(), status.own_user.unwrap());
    child.kill().unwrap();
}

// Privileges.

fn root_that_could_not_end_its_children_shares_its_user() {
    // Each of the three alone: to be a group, to be a user, and to end a process of another user.
    for missing in [6, 7, 5] {
        every_policy_runs(Expected::Same(SameUser::NoCapability), || {
            let kept: Vec<u32> = (0..41).filter(|number| *number != missing).collect();
            enter::keep_capabilities(&kept);
        });
    }
}

fn either_id_of_root_makes_root() {
    for (real, effective) in [("0", "4242"), ("4242", "0")] {
        let arguments = [HOST.name(), real, effective];
        let status = inside(|| (), "helper_with_two_ids", &arguments);
        assert!(status.success(), "{real} {effective}: {status}");
    }
}

fn helper_with_two_ids() {
    let id = |index: usize| nix::unistd::Uid::from_raw(case_arguments()[index].parse().unwrap());
    nix::unistd::setresuid(id(1), id(2), id(2)).unwrap();
    let pure = policy("pure", PATIENT);
    let mut child = sleeps.sandbox(&pure).spawn().unwrap();
    let status = child.confinement().unwrap().unwrap();
    Expected::named(&case_arguments()[0]).assert_is(&status, child.id());
    let process = child.id();
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
    wait_until_gone(process);
    let sum = adds.sandbox(&pure).run(vec![1, 2], false);
    assert_eq!(sum.unwrap(), 3);
}

fn groups_that_could_not_be_given_up_stop_the_call() {
    let map = "0 100000 65536";
    // The control: if there are none, none have to be given up.
    every_policy_runs(CONTAINER, || {
        enter::user_namespace_with_fixed_groups(map, &[]);
    });
    let enter = || enter::user_namespace_with_fixed_groups(map, &[4242]);
    let status = inside(enter, "helper_with_fixed_groups", &[]);
    assert!(status.success(), "{status}");
}

fn helper_with_fixed_groups() {
    let refused = adds.sandbox(&policy("pure", "")).run(vec![1, 2], false);
    let Err(error @ Error::Confine { .. }) = refused else {
        panic!("{refused:?}");
    };
    let text = error.to_string();
    for part in ["setgroups", "not permitted", "user = \"same\""] {
        assert!(text.contains(part), "{text}");
    }
    let same = policy("pure", "[process]\nuser = \"same\"");
    assert_eq!(adds.sandbox(&same).run(vec![1, 2], false).unwrap(), 3);
}

#[func(sandbox = dynamic)]
fn creates(path: String) -> Result<(), i32> {
    let created = File::create(path);
    created
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

fn files_that_a_child_creates_belong_to_its_user() {
    let directory = support::Directory::new();
    let folder = directory.path().to_str().unwrap();
    let grants = ["read", "write", "create"].map(|grant| format!("{grant} = [\"{folder}\"]"));
    let grants = format!(
        "[syscalls]\nallow = [\"@path-write\", \"@path-create\"]\n[filesystem]\n{}",
        grants.join("\n")
    );
    let policy = policy("file-reader", &grants);
    let file = directory.path().join("new");
    let create = || {
        let path = file.to_str().unwrap().to_owned();
        let mut child = creates.sandbox(&policy).spawn(path).unwrap();
        let user = child.confinement().unwrap().unwrap().own_user.unwrap();
        (user, child.join().unwrap())
    };
    let allow = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(directory.path(), mode).unwrap();
    };
    // The policy grants it, and the folder is root's.
    allow(0o755);
    assert_eq!(create().1, Err(libc::EACCES));
    allow(0o777);
    let (user, created) = create();
    assert_eq!(created, Ok(()));
    let made = std::fs::metadata(&file).unwrap();
    assert_eq!((made.uid(), made.gid()), (user, user));
    std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
}

// Filters of container engines.

/// What Docker's default profile denies a container without further capabilities.
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

/// What an engine denies in addition whose profile is older than Landlock (Docker before 23), and older
/// than some calls for which C libraries have others if a kernel doesn't know them.
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

fn an_old_engines_filter_is_named_where_a_policy_grants_paths_or_ports() {
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
    const PAGE: &str = include_str!("../docs/containers.md");
    let (_, rest) = PAGE.split_once("```text\n").unwrap();
    let (list, _) = rest.split_once("```").unwrap();
    list.split_whitespace().collect()
}

/// What stands for calls of that list where AArch64 has others.
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

fn what_an_engines_filter_denies_is_named() {
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

// Limits.

/// Lets this process and all that it starts have fewer descriptors.
fn limit_descriptors(most: u64) {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

fn every_policy_runs_with_few_descriptors() {
    for most in [64, 1024] {
        every_policy_runs(HOST, || limit_descriptors(most));
    }
}

fn a_child_has_no_more_descriptors_than_its_caller() {
    for most in [64, 1024] {
        let enter = || limit_descriptors(most);
        let status = inside(enter, "helper_descriptors", &[&most.to_string()]);
        assert!(status.success(), "{status}");
    }
}

#[func(sandbox = dynamic)]
fn copies_until_refused() -> (u64, i32) {
    let file = File::from(raw::adopt(1));
    let mut copies = Vec::new();
    loop {
        match file.try_clone() {
            Ok(copy) => copies.push(copy),
            Err(error) => {
                // Those that it was started with are its own as well: standard ones, and the socket.
                let last = copies.iter().map(std::os::fd::AsRawFd::as_raw_fd).max();
                let count = u64::try_from(last.unwrap()).unwrap() + 1;
                return (count, error.raw_os_error().unwrap());
            }
        }
    }
}

fn helper_descriptors() {
    let most: u64 = case_arguments()[0].parse().unwrap();
    for (policy, wanted) in [("pure", 32), ("worker", 256), ("unconfined", 1_048_576)] {
        let found = copies_until_refused
            .sandbox(&self::policy(policy, PATIENT))
            .run();
        assert_eq!(found.unwrap(), (most.min(wanted), libc::EMFILE), "{policy}");
    }
}

fn children_that_are_too_many_for_the_descriptors_are_refused() {
    let enter = || limit_descriptors(64);
    let status = inside(enter, "helper_with_many_children", &[]);
    assert!(status.success(), "{status}");
}

fn helper_with_many_children() {
    let pure = policy("pure", PATIENT);
    let mut children = Vec::new();
    let refused = loop {
        let child = sleeps.sandbox(&pure).spawn();
        let started = child.and_then(|mut child| child.confinement().map(|_| child));
        match started {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
    };
    assert!((8..32).contains(&children.len()), "{}", children.len());
    let text = whole(refused);
    assert!(text.contains("Too many open files"), "{text}");
    // Those that there are go on, and when they are gone there is room again.
    children.iter().for_each(|child| child.kill().unwrap());
    for child in children {
        assert!(matches!(child.join(), Err(Error::Killed)));
    }
    assert_eq!(adds.sandbox(&pure).run(vec![1, 2], false).unwrap(), 3);
    // Those whose handles were dropped take the keeper's descriptors, and none of the program's.
    let refused = loop {
        let child = sleeps.sandbox(&pure).spawn();
        if let Err(error) = child.and_then(|mut child| child.confinement()) {
            break error;
        }
    };
    let text = whole(refused);
    assert!(text.contains("Too many open files"), "{text}");
}

/// An error with its source.
fn whole(error: Error) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
