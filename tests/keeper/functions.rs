//! Functions that several modules call in a confined child, and who the keeper is.

use std::time::Duration;

use crossmist::{Child, func};

use crate::support::stays;

#[func(sandbox = "worker")]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = "worker")]
pub(crate) fn add(x: u64, y: u64) -> u64 {
    x + y
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn long_sleep() -> Child<()> {
    let mut child = sleep.spawn(stays()).unwrap();
    child.confinement().unwrap();
    child
}

pub(crate) fn kill(pid: u32, signal: i32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(signal).unwrap()).unwrap();
}
