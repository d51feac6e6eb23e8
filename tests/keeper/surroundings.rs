//! Properties that the keeper and its children take over from the program: privileges, network, scheduling,
//! layout.

use std::time::Duration;

use crossmist::{Error, SandboxPolicy, func};

use crate::cases;
use crate::functions::{long_sleep, parent};
use crate::support::{self, Case, raw, stays, within};

pub(crate) const CASES: &[Case] = cases![
    a_fresh_image_has_a_layout_of_its_own,
    privileges_that_the_program_gave_up_do_not_come_back needs Root,
    a_program_that_moves_to_another_network_takes_the_keeper_along needs Root,
    children_are_scheduled_behind_the_keeper needs Root,
];

#[func(sandbox = "pure")]
fn place() -> usize {
    here as *const () as usize
}

fn here() {}

#[func(sandbox = "pure", launch = "exec")]
fn fresh_place() -> usize {
    here as *const () as usize
}

fn a_fresh_image_has_a_layout_of_its_own() {
    let forked: Vec<usize> = (0..4).map(|_| place.run().unwrap()).collect();
    assert!(forked.iter().all(|at| *at == forked[0]), "{forked:x?}");
    assert_ne!(forked[0], here as *const () as usize);
    let mut fresh: Vec<usize> = (0..4).map(|_| fresh_place.run().unwrap()).collect();
    fresh.push(forked[0]);
    fresh.sort_unstable();
    fresh.dedup();
    assert_eq!(fresh.len(), 5, "{fresh:x?}");
}

#[func(sandbox = "unconfined")]
fn reads(file: String) -> (u32, Option<String>) {
    let user = nix::unistd::geteuid().as_raw();
    (user, std::fs::read_to_string(file).ok())
}

fn privileges_that_the_program_gave_up_do_not_come_back() {
    use std::os::unix::fs::PermissionsExt;
    let directory = support::Directory::new();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.to_str().unwrap().to_owned();
    // In a copy, so that this one can remove what it has made.
    let status = raw::in_fork(|| {
        let text = "format = 1\nextends = [\"unconfined\"]\n[process]\nuser = \"same\"\n";
        let policy = SandboxPolicy::from_toml("same", text).unwrap();
        // The control.
        let read = || same.sandbox(&policy).run(secret.clone()).unwrap();
        assert_eq!(read(), (0, Some("secret".to_owned())));
        let before = long_sleep();
        let (user, group) = (
            nix::unistd::Uid::from_raw(65534),
            nix::unistd::Gid::from_raw(65534),
        );
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setresgid(group, group, group).unwrap();
        nix::unistd::setresuid(user, user, user).unwrap();
        assert_eq!(read(), (65534, None));
        // Children of the keeper that there was are gone with it.
        within(Duration::from_secs(1), || {
            assert!(matches!(before.join(), Err(Error::KeeperDied)));
        });
    });
    assert_eq!(status, 0);
}

#[func(sandbox = dynamic)]
pub(crate) fn same(file: String) -> (u32, Option<String>) {
    reads.call_unconfined(file)
}

#[func(sandbox = "unconfined")]
fn network() -> std::path::PathBuf {
    std::fs::read_link("/proc/self/ns/net").unwrap()
}

fn a_program_that_moves_to_another_network_takes_the_keeper_along() {
    let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = own();
    assert_eq!(network.run().unwrap(), before);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert_ne!(own(), before);
    assert_eq!(network.run().unwrap(), own());
}

/// Nice value and policy of a process.
fn scheduling(pid: u32) -> [String; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = rest.split(' ').collect();
    [fields[16].to_owned(), fields[38].to_owned()]
}

fn children_are_scheduled_behind_the_keeper() {
    raw::be_important();
    let child = long_sleep();
    // SCHED_FIFO is 1, SCHED_OTHER 0.
    assert_eq!(scheduling(parent(child.id().unwrap()))[1], "1");
    // The nice value is the caller's.
    let nice = scheduling(std::process::id())[0].clone();
    let ordinary = [nice, "0".to_owned()];
    assert_eq!(scheduling(child.id().unwrap()), ordinary);
    let mut fresh = fresh_sleep.spawn(stays()).unwrap();
    fresh.confinement().unwrap();
    assert_eq!(scheduling(fresh.id().unwrap()), ordinary);
}

#[func(sandbox = "worker", launch = "exec")]
fn fresh_sleep(time: Duration) {
    std::thread::sleep(time);
}
