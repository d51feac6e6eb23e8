//! The state of a child: its possessions, its user, and the truth of its status.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use crossmist::{Child, Error, SandboxPolicy, Step, func};

use crate::attempt::Outcome::{Denied, Done, Fails};
use crate::attempt::{HERE, VICTIM, attempt, outcome, parser, unconfined};
use crate::cases;
use crate::reports::panics;
use crate::support::{Case, Holdings, raw, this_program, within};

pub(crate) const CASES: &[Case] = cases![
    a_childs_status_is_true,
    a_child_has_what_it_was_given_and_nothing_else,
    a_child_runs_as_nobody_else needs Root,
    a_program_without_privileges_confines needs Root,
    a_step_that_fails_is_named_and_nothing_is_run needs Root,
    a_policy_can_be_chosen_for_each_call,
];

pub(crate) const HELPERS: &[Case] = cases![helper_unprivileged, helper_without_setresuid];

#[func(sandbox = "parser")]
fn waits(time: Duration) {
    std::thread::sleep(time);
}

/// A line of `/proc/PID/status`.
fn proc_status(pid: u32, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

#[func(sandbox = "parser", launch = "exec")]
fn waits_anew(time: Duration) {
    std::thread::sleep(time);
}

fn a_childs_status_is_true() {
    let time = Duration::from_secs(30);
    says_true(waits.spawn(time).unwrap(), "waits");
    says_true(waits_anew.spawn(time).unwrap(), "waits_anew");
    // An unconfined one says nothing, and is none of it.
    let mut other = unconfined_sleep.spawn(time).unwrap();
    assert_eq!(other.confinement().unwrap(), None);
    assert_eq!(proc_status(other.id().unwrap(), "Seccomp"), "0");
    other.kill().unwrap();
}

fn says_true(mut child: Child<()>, name: &str) {
    let status = child.confinement().unwrap().unwrap();
    let pid = child.id().unwrap();
    assert!(status.seccomp_instructions > 100);
    // The kernel decides which second nets there are; the tests of `second_nets` have more of it.
    let abi = crossmist::landlock_abi();
    assert_eq!(
        (status.landlock_abi, status.landlock_files != 0),
        (abi, abi > 0)
    );
    let since = |first, all| if abi >= first { all } else { 0 };
    assert_eq!(
        (status.landlock_ports, status.landlock_scopes),
        (since(4, 3), since(6, 3))
    );
    assert_eq!(
        status.denies_write_execute,
        crossmist::can_deny_write_execute()
    );
    assert_eq!(status.is_fully_enforced(), status.missing.is_empty());
    assert!(!status.dumpable && !status.allows_speculation);
    assert_eq!(status.capabilities, 0);
    // The kernel says the same.
    assert_eq!(proc_status(pid, "Seccomp"), "2");
    assert_eq!(proc_status(pid, "Seccomp_filters"), "1");
    assert_eq!(proc_status(pid, "NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(proc_status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(proc_status(pid, "Threads"), "1");
    assert_eq!(proc_status(pid, "SigBlk"), "0000000000000000");
    assert_eq!(proc_status(pid, "Name"), name);
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
}

#[func]
fn unconfined_sleep(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = "parser")]
fn looks_around(file: File) -> (Vec<i32>, Vec<(String, String)>, i32) {
    let open = (0..64).filter(|fd| raw::is_open(*fd)).collect();
    let environment = std::env::vars().collect();
    (open, environment, file.as_raw_fd())
}

fn a_child_has_what_it_was_given_and_nothing_else() {
    let holdings = {
        // The keeper is there, and the ruleset that grants nothing.
        looks_around.run(File::open("/dev/null").unwrap()).unwrap();
        waits.run(Duration::ZERO).unwrap();
        Holdings::now()
    };
    let _many: Vec<File> = (0..20).map(|_| File::open("/dev/null").unwrap()).collect();
    let mut child = waits.spawn(Duration::from_secs(30)).unwrap();
    child.confinement().unwrap();
    let (open, environment, file) = looks_around.run(File::open("/dev/null").unwrap()).unwrap();
    let socket: Vec<i32> = open
        .iter()
        .copied()
        .filter(|fd| *fd > 2 && *fd != file)
        .collect();
    assert_eq!(socket.len(), 1, "{open:?}");
    assert_eq!(environment, []);
    let place = |what| std::fs::read_link(format!("/proc/{}/{what}", child.id().unwrap())).unwrap();
    assert_eq!(place("cwd").to_str(), Some("/"));
    assert_eq!(place("fd/0").to_str(), Some("/dev/null"));
    assert_eq!(place("fd/1").to_str(), Some("/dev/null"));
    assert!(place("fd/2").to_str().unwrap().starts_with("socket:"));
    // A variable that the caller sets is there.
    let (_, environment, _) = looks_around
        .builder()
        .env("LANG", "C.UTF-8")
        .run(File::open("/dev/null").unwrap())
        .unwrap();
    assert_eq!(environment, [("LANG".to_owned(), "C.UTF-8".to_owned())]);
    child.kill().unwrap();
    drop(child);
    drop(_many);
    holdings.assert_same();
}

fn a_child_runs_as_nobody_else() {
    let children = [(); 2].map(|()| {
        let mut child = waits.spawn(Duration::from_secs(30)).unwrap();
        let status = child.confinement().unwrap().unwrap();
        (child, status)
    });
    for (child, status) in &children {
        let user = status.own_user.unwrap();
        assert!((0x7800_0000..=0x7ffd_ffff).contains(&user), "{user}");
        assert_eq!(status.same_user, None);
        let all = format!("{user}\t{user}\t{user}\t{user}");
        assert_eq!(proc_status(child.id().unwrap(), "Uid"), all);
        assert_eq!(proc_status(child.id().unwrap(), "Gid"), all);
        assert_eq!(proc_status(child.id().unwrap(), "Groups"), "");
    }
    assert_ne!(children[0].1.own_user, children[1].1.own_user);
    for (child, _) in &children {
        child.kill().unwrap();
    }
}

fn a_program_without_privileges_confines() {
    let status = this_program("helper_unprivileged")
        .uid(4242)
        .gid(4242)
        .status()
        .unwrap();
    assert!(status.success());
}

fn helper_unprivileged() {
    let mut child = waits.spawn(Duration::from_secs(30)).unwrap();
    let status = child.confinement().unwrap().unwrap();
    assert_eq!(status.own_user, None);
    assert_eq!(status.same_user, Some(crossmist::SameUser::NotRoot));
    assert_eq!(status.capabilities, 0);
    assert_eq!(
        proc_status(child.id().unwrap(), "Uid"),
        "4242\t4242\t4242\t4242"
    );
    assert_eq!(
        proc_status(child.id().unwrap(), "CapPrm"),
        "0000000000000000"
    );
    child.kill().unwrap();
    let kill = attempt(libc::SYS_kill, &[std::process::id().into(), 0]);
    assert_eq!(outcome(parser.run(kill, String::new())), Denied("kill"));
    let open = attempt(libc::SYS_openat, &[HERE, VICTIM, 0]);
    let path = "/etc/passwd".to_owned();
    assert_eq!(outcome(unconfined.run(open, path.clone())), Done);
    assert_eq!(outcome(parser.run(open, path)), Fails(libc::EACCES));
}

fn a_step_that_fails_is_named_and_nothing_is_run() {
    // The control: with that call it works.
    waits.run(Duration::ZERO).unwrap();
    let status = this_program("helper_without_setresuid").status().unwrap();
    assert!(status.success());
}

fn helper_without_setresuid() {
    raw::refuse(libc::SYS_setresuid, libc::EPERM);
    let result = waits.run(Duration::ZERO);
    let Err(error @ Error::Confine { step, errno, .. }) = &result else {
        panic!("{result:?}");
    };
    assert_eq!((*step, *errno), (Step::User, Some(libc::EPERM)));
    let text = error.to_string();
    for part in [
        "waits",
        "`parser`",
        "setresuid",
        "not permitted",
        "user = \"same\"",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let same = SandboxPolicy::from_toml(
        "same",
        "format = 1\ndescription = \"x\"\nextends = [\"pure\"]\n[process]\nuser = \"same\"\n",
    )
    .unwrap();
    let Err(Error::Panicked(_)) = panics.sandbox(&same).run(String::new()) else {
        panic!("it should have run");
    };
}

fn a_policy_can_be_chosen_for_each_call() {
    assert_eq!(
        SandboxPolicy::builtin("nothing")
            .unwrap_err()
            .to_string()
            .lines()
            .next(),
        Some("error[P031]: there is no policy `nothing`: looked for it at the built-in policies")
    );
    let whole = SandboxPolicy::builtin("pure").unwrap();
    let quick = whole.narrow(&[("wall_time", "2s")]).unwrap();
    assert!(quick.narrow(&[("wall_time", "3s")]).is_err());
    assert_eq!(chosen_sleep.sandbox(&whole).run(10).unwrap(), 10);
    let result = within(Duration::from_secs(4), || {
        chosen_sleep.sandbox(&quick).run(50_000)
    });
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

#[func(sandbox = dynamic)]
fn chosen_sleep(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}
