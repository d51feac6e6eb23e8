//! Root with few ids, few capabilities or no new privileges, and users of their own.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use crossmist::{Error, SameUser, func};

use crate::cases;
use crate::enter::{self};
use crate::every_policy::{
    CONTAINER, Expected, HOST, PATIENT, adds, every_policy_runs, inside, policy, sleeps,
};
use crate::support::{self, Case, case_arguments, this_program, wait_until_gone};

pub(crate) const CASES: &[Case] = cases![
    every_policy_runs_in_a_rootless_container needs Root UserNamespaces,
    every_policy_runs_in_a_user_namespace_of_one needs Root UserNamespaces,
    every_policy_runs_for_root_without_capabilities needs Root,
    every_policy_runs_for_root_with_one_capability_added needs Root,
    every_policy_runs_for_a_user_without_new_privileges needs Root,
    root_that_could_not_end_its_children_shares_its_user needs Root,
    either_id_of_root_makes_root needs Root,
    users_differ_across_pid_namespaces needs Root,
    a_reused_process_id_has_another_user needs Root,
    groups_that_could_not_be_given_up_stop_the_call needs Root UserNamespaces,
    files_that_a_child_creates_belong_to_its_user needs Root Truncation,
];

pub(crate) const HELPERS: &[Case] = cases![
    helper_with_two_ids,
    helper_user,
    helper_with_reused_ids,
    helper_with_fixed_groups
];

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
    println!("{} {}", child.id().unwrap(), status.own_user.unwrap());
    child.kill().unwrap();
}

fn a_reused_process_id_has_another_user() {
    let status = inside(enter::pid_namespace, "helper_with_reused_ids", &[]);
    assert!(status.success(), "{status}");
}

/// Runs in a PID namespace that has no other processes, so that the next process id can be chosen
/// (proc_sys_kernel(5): `ns_last_pid`).
fn helper_with_reused_ids() {
    let start = || {
        let mut child = sleeps.sandbox(&policy("pure", "")).spawn().unwrap();
        let user = child.confinement().unwrap().unwrap().own_user.unwrap();
        let process = child.id().unwrap();
        child.kill().unwrap();
        assert!(matches!(child.join(), Err(Error::Killed)));
        wait_until_gone(process);
        (process, user)
    };
    let (process, user) = start();
    for _ in 0..100 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (process - 1).to_string()).unwrap();
        let (next, its_user) = start();
        if next == process {
            assert_ne!(its_user, user);
            return;
        }
    }
    panic!("no child had the process id {process} again");
}

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
    Expected::named(&case_arguments()[0]).assert_is(&status, child.id().unwrap());
    let process = child.id().unwrap();
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
