//! The end of all that a child has started, however fast it starts more.

#![expect(unsafe_code, reason = "native code of an attacker")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crossmist::{Error, SandboxPolicy, Sender, channel, func};
use support::{raw, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_fork_storm_ends_at_once needs Root,
            a_storm_ends_with_its_program needs Root,
            a_program_that_gave_up_root_gets_nothing_from_the_keeper needs Root,
        ],
        cases![helper_starts_a_storm],
    );
}

/// How long a storm lasts if nobody ends it.
const STORM: Duration = Duration::from_secs(40);

fn forker() -> SandboxPolicy {
    let text = "format = 1\nextends = [\"parser\"]\n[syscalls]\n\
        allow = [{ call = \"@process\", why = \"a storm\" }]\n\
        [limits]\nprocesses = 4000\nthreads = 64\nmemory = \"none\"\nwall_time = \"none\"\ncpu_time = \"none\"\n";
    SandboxPolicy::from_toml("forker", text).unwrap()
}

fn fork() -> i64 {
    // SAFETY: a copy of this process, as by `fork(2)`; it has one thread.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }
}

/// Each generation forks the next one and ends at once, in several lines.
#[func(sandbox = dynamic)]
fn storms(mut begun: Sender<u32>) {
    begun.send(&std::process::id()).unwrap();
    let end = Instant::now() + STORM;
    for _ in 0..40 {
        if fork() != 0 {
            continue;
        }
        // One that can't fork, since there are too many, tries again.
        while Instant::now() < end {
            if fork() > 0 {
                break;
            }
        }
        raw::exit(0);
    }
    std::thread::sleep(STORM);
}

/// The processes of a user, zombies included.
fn processes_of(user: u32) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let is_theirs = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
        ids.and_then(|ids| ids.split('\t').next()?.parse().ok()) == Some(user)
    };
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.parse().ok());
    pids.filter(is_theirs).collect()
}

/// Starts a storm, and returns its user.
fn start_storm(policy: &SandboxPolicy) -> (crossmist::Child<()>, u32) {
    let (tx, mut rx) = channel().unwrap();
    let mut child = storms.sandbox(policy).spawn(tx).unwrap();
    let user = child.confinement().unwrap().unwrap().own_user.unwrap();
    rx.recv().unwrap().unwrap();
    // The control: it blows.
    support::wait_until("it has started processes", || processes_of(user).len() > 5);
    (child, user)
}

fn a_fork_storm_ends_at_once() {
    let policy = forker();
    for _ in 0..3 {
        let (child, user) = start_storm(&policy);
        child.kill().unwrap();
        assert!(matches!(child.join(), Err(Error::Killed)));
        // All are dead already; they are waited for one by one. None is new.
        let dead = processes_of(user);
        support::wait_until("none of the user's processes is left", || {
            let left = processes_of(user);
            let new = left.difference(&dead).count();
            assert_eq!(new, 0, "started after the end of the child");
            left.is_empty()
        });
    }
}

fn helper_starts_a_storm() {
    let (child, user) = start_storm(&forker());
    println!("{user}");
    std::thread::sleep(STORM);
    drop(child);
}

fn a_storm_ends_with_its_program() {
    let mut program = support::this_program("helper_starts_a_storm");
    let mut program = program
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let user: u32 = support::first_line(&mut program).trim().parse().unwrap();
    assert!(!processes_of(user).is_empty());
    program.kill().unwrap();
    program.wait().unwrap();
    within(Duration::from_secs(3), || {
        support::wait_until("none of the user's processes is left", || {
            processes_of(user).is_empty()
        });
    });
}

#[func(sandbox = "parser")]
fn sleeps(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = "pure")]
fn adds(x: u64, y: u64) -> u64 {
    x + y
}

fn a_program_that_gave_up_root_gets_nothing_from_the_keeper() {
    let status = raw::in_fork(|| {
        let sockets = || {
            let all = support::descriptors().into_iter();
            all.filter(|(_, link)| link.starts_with("socket:"))
                .collect::<Vec<_>>()
        };
        let before = sockets();
        assert_eq!(adds.run(1, 2).unwrap(), 3);
        support::wait_until("one socket is left, the keeper's", || {
            sockets().len() == before.len() + 1
        });
        let keepers = sockets()
            .into_iter()
            .find(|socket| !before.contains(socket))
            .unwrap()
            .0;
        let mut child = sleeps.spawn(Duration::from_secs(50)).unwrap();
        child.confinement().unwrap();
        // The control: a packet that says nothing changes nothing.
        raw::send(keepers, b"nonsense").unwrap();
        assert_eq!(adds.run(1, 2).unwrap(), 3);
        assert!(support::state(child.id().unwrap()).is_some_and(|state| state != 'Z'));

        let (user, group) = (
            nix::unistd::Uid::from_raw(65534),
            nix::unistd::Gid::from_raw(65534),
        );
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setresgid(group, group, group).unwrap();
        nix::unistd::setresuid(user, user, user).unwrap();
        // An attacker who took this program over knows the form of a request.
        raw::send(keepers, b"nonsense").unwrap();
        within(Duration::from_secs(1), || {
            assert!(matches!(child.join(), Err(Error::KeeperDied)));
        });
        support::wait_until("the keeper has gone", || {
            raw::send(keepers, b"nonsense").is_err()
        });
    });
    assert_eq!(status, 0);
}
