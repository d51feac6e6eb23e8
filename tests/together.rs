//! Namespaces and control groups together: each holds beside the others, however children are started, and
//! nothing is left of either.

#![expect(unsafe_code, reason = "native code of an attacker")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossmist::{Error, Namespace, Pool, SandboxPolicy, func};

#[macro_use]
mod support;
#[path = "containers/enter.rs"]
#[expect(dead_code, reason = "another test uses the rest")]
mod enter;
#[path = "support/starts.rs"]
mod starts;

use starts::{STAY, start};
use support::groups::{clean_up, delegate, groups, members};
use support::raw::{self, Refused};
use support::{this_program, wait_until, wait_until_gone, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            children_have_all_namespaces_and_a_group needs Root UserNamespaces ControlGroups,
            children_join_a_group_from_all_namespaces needs Root UserNamespaces ControlGroups,
            a_plain_user_with_groups_has_all_as_well needs Root UserNamespaces ControlGroups,
            all_that_was_started_in_both_is_gone_with_its_call needs Root ControlGroups,
            a_killed_keeper_leaves_neither needs Root ControlGroups,
            spares_have_groups_and_leave_none needs Root ControlGroups,
            state_is_shared_by_children_with_groups needs Root UserNamespaces ControlGroups,
        ],
        cases![helper_has_all, helper_is_left],
    );
}

const GROUP: &str = "[limits]\nwall_time = \"10min\"\ncontrol_group = \"if-possible\"\n";
const OWN: &str =
    "[namespaces]\nnetwork = \"none\"\npid = \"own\"\nipc = \"own\"\nmount = \"own\"\n";

fn policy(base: &str, more: &str) -> SandboxPolicy {
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"{base}\"]\n{more}");
    SandboxPolicy::from_toml("together", &text).unwrap()
}

#[func(sandbox = dynamic)]
fn adds(x: u64, y: u64) -> u64 {
    x + y
}

/// Every namespace, with and without the one for users, for both ways to start a child.
fn each_way() -> impl Iterator<Item = (SandboxPolicy, bool)> {
    let ways = ["fork", "exec"].into_iter();
    let ways = ways.flat_map(|launch| [(launch, "if-needed"), (launch, "own")]);
    ways.map(|(launch, user)| {
        let process = format!("[process]\nlaunch = \"{launch}\"\n");
        let more = format!("{process}{GROUP}{OWN}user = \"{user}\"\n");
        (policy("parser", &more), user == "own")
    })
}

#[track_caller]
fn has_all(unit: &Path, needs_user: bool) {
    for (policy, own_user) in each_way() {
        let mut child = adds.sandbox(&policy).spawn(1, 2).unwrap();
        let status = child.confinement().unwrap().unwrap();
        let all = Namespace::ALL.into_iter();
        let all = all.filter(|one| *one != Namespace::User || own_user || needs_user);
        assert_eq!(status.namespaces, all.collect::<Vec<_>>());
        assert!(status.control_group.is_some(), "{status:?}");
        assert_eq!(child.join().unwrap(), 3);
    }
    wait_until("no group is left", || groups(unit).is_empty());
}

fn children_have_all_namespaces_and_a_group() {
    let unit = delegate("all");
    has_all(&unit, false);
    clean_up(&unit);
}

fn children_join_a_group_from_all_namespaces() {
    let unit = delegate("joined");
    // As filters of containers answer it: nobody begins in a group.
    raw::play_a_kernel_without(&[Refused::call(libc::SYS_clone3, libc::ENOSYS)]);
    has_all(&unit, false);
    clean_up(&unit);
}

const USER: u32 = 4242;

fn a_plain_user_with_groups_has_all_as_well() {
    let unit = delegate("user");
    let program = unit.join("program");
    // As a service manager delegates them to a user.
    for group in [&unit, &program] {
        for name in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            std::os::unix::fs::chown(group.join(name), Some(USER), Some(USER)).unwrap();
        }
    }
    let path = unit.to_str().unwrap().to_owned();
    let mut helper = this_program("helper_has_all");
    let ended = enter::run_in(|| enter::become_user(USER), helper.arg(path));
    assert!(ended.success());
    clean_up(&unit);
}

fn helper_has_all() {
    let unit = PathBuf::from(support::case_arguments().remove(0));
    has_all(&unit, true);
}

/// Starts processes, which only a namespace or a group can end all at once.
fn starter(more: &str) -> SandboxPolicy {
    policy(
        "worker",
        &format!(
            "[process]\nuser = \"same\"\n[syscalls]\nallow = [{{ call = \"@process\", why = \"x\" }}]\n{GROUP}\
             processes = 64\n{more}"
        ),
    )
}

fn all_that_was_started_in_both_is_gone_with_its_call() {
    let unit = delegate("both");
    let child = start(&starter(OWN), 20);
    let inside = members(&groups(&unit).pop().unwrap());
    // The child and what it has started, and not the first process of the namespace.
    assert_eq!(inside.len(), 21);
    assert!(!inside.contains(&child.id().unwrap()));
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
    within(Duration::from_secs(3), || {
        inside.iter().for_each(|pid| wait_until_gone(*pid));
        wait_until("the group is gone", || groups(&unit).is_empty());
    });
    clean_up(&unit);
}

fn helper_is_left() {
    let unit = PathBuf::from(support::case_arguments().remove(0));
    let child = start(&starter(OWN), 5);
    println!("{}", groups(&unit).pop().unwrap().display());
    std::thread::sleep(STAY);
    drop(child);
}

fn a_killed_keeper_leaves_neither() {
    let unit = delegate("left");
    let mut program = this_program("helper_is_left")
        .arg(&unit)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let group = PathBuf::from(support::first_line(&mut program).trim());
    let inside = members(&group);
    assert_eq!(inside.len(), 6);
    program.kill().unwrap();
    program.wait().unwrap();
    within(Duration::from_secs(3), || {
        inside.iter().for_each(|pid| wait_until_gone(*pid));
        wait_until("the group is gone", || !group.exists());
    });
    clean_up(&unit);
}

fn spares_have_groups_and_leave_none() {
    let unit = delegate("pool");
    let policy = policy("parser", &format!("{GROUP}{OWN}"));
    let pool = Pool::of(adds)
        .sandbox(&policy)
        .workers(2)
        .spares(3)
        .build()
        .unwrap();
    for x in 0..20 {
        assert_eq!(pool.run(x, 1).unwrap(), x + 1);
    }
    wait_until("spares wait in groups", || !groups(&unit).is_empty());
    drop(pool);
    wait_until("no group is left", || groups(&unit).is_empty());
    clean_up(&unit);
}

static STATE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();

fn load() {
    STATE.set(42).unwrap();
}

#[func(sandbox = dynamic, preload = load)]
fn prepared() -> Option<u64> {
    STATE.get().copied()
}

fn state_is_shared_by_children_with_groups() {
    let unit = delegate("preload");
    for user in ["if-needed", "own"] {
        let policy = policy("parser", &format!("{GROUP}{OWN}user = \"{user}\"\n"));
        for _ in 0..3 {
            let mut child = prepared.sandbox(&policy).spawn().unwrap();
            let status = child.confinement().unwrap().unwrap();
            assert!(status.control_group.is_some());
            assert_eq!(child.join().unwrap(), Some(42));
        }
    }
    wait_until("no group is left", || groups(&unit).is_empty());
    clean_up(&unit);
}
