//! The cost of an idle child: the private memory of each of twenty that live at once.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use crate::harness::{Group, Placement, Result, Row, Sample, Turn, Unit, expect_same};
use crate::ours;
use crate::raw::process::{Command, Launch, Running};
use crate::raw::socket;

pub(crate) const FAMILY: &str = "memory";
pub(crate) const CHILDREN: usize = 20;

pub(crate) fn groups() -> Vec<Group> {
    let name = format!("private, {CHILDREN} idle children");
    let mut group = Group::new(FAMILY, name, Placement::EitherCore)
        .unit(Unit::Bytes)
        .turn(Turn {
            at_most: 5,
            ..Turn::LONG
        })
        .headline();
    group.raw("posix_spawn", raw);
    group.peer("procspawn", || Ok(procspawn_idle));
    ours::memory::idle_children(&mut group);
    vec![group]
}

/// The mean private memory of the processes, clean and dirty pages.
pub(crate) fn private_memory(pids: impl IntoIterator<Item = u32>) -> Result<Sample> {
    let mut kibibytes = 0;
    let mut count = 0;
    for pid in pids {
        let summary = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let private = summary.lines().filter(|line| line.starts_with("Private_"));
        for line in private {
            let number = line.split_whitespace().nth(1).ok_or("no number")?;
            kibibytes += number.parse::<u64>()?;
        }
        count += 1;
    }
    expect_same(count, CHILDREN)?;
    Ok(Sample(kibibytes as f64 * 1024.0 / count as f64))
}

fn raw() -> Result<impl Row> {
    let command = Command::role("echo", &[])?;
    Ok(move || {
        let mut children = Vec::new();
        for index in 0..CHILDREN as u64 {
            let (child, socket) = command.start(Launch::PosixSpawn, socket::Kind::Packets)?;
            socket::send(socket.as_fd(), &index.to_ne_bytes())?;
            expect_same(
                u64::from_ne_bytes(socket::receive_array(socket.as_fd())?),
                index,
            )?;
            children.push((child, socket));
        }
        private_memory(children.iter().map(|(child, _)| child.id()))
    })
}

fn procspawn_idle() -> Result<Sample> {
    let mut children = Vec::new();
    for _ in 0..CHILDREN {
        let (mut ours, theirs) = UnixStream::pair()?;
        // procspawn passes descriptors only by way of another crate's version of ipc-channel. So
        // this one is inherited, for as long as it takes to start the child.
        inheritable(&theirs, true)?;
        let number = theirs.as_raw_fd();
        let handle = procspawn::spawn(number, wait_for_the_end);
        inheritable(&theirs, false)?;
        drop(theirs);
        let Some(pid) = handle.pid() else {
            handle.join()?;
            return Err("procspawn did not start a child".into());
        };
        let child = Running::adopt(pid);
        ours.read_exact(&mut [0])?;
        children.push((child, ours, handle));
    }
    private_memory(children.iter().map(|(child, ..)| child.id()))
}

/// Runs in procspawn's child: says that it is there, and sleeps until the parent hangs up.
fn wait_for_the_end(number: RawFd) {
    // SAFETY: `procspawn_idle` left this descriptor open for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let mut socket = UnixStream::from(socket);
    let _ = socket.write_all(&[1]);
    let _ = socket.read(&mut [0]);
}

fn inheritable(socket: &UnixStream, yes: bool) -> Result<()> {
    let flags = if yes { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: sets a flag of an open descriptor.
    expect_same(
        unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, flags) },
        0,
    )
}
