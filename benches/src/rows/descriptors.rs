//! Descriptors in a message, received, closed and acknowledged.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use crate::harness::{Group, Placement, Result, Row, expect_same};
use crate::ours;
use crate::raw::process::{Command, Launch};
use crate::raw::socket;

pub(crate) const FAMILY: &str = "descriptors";

pub(crate) fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    for placement in [Placement::OneCore, Placement::TwoCores] {
        for (count, target) in [(1, 1.10), (100, 1.05)] {
            let mut group =
                Group::new(FAMILY, format!("{count} and an answer"), placement).target(target);
            group.headline = placement == Placement::OneCore;
            group.raw("SCM_RIGHTS", move || raw(count));
            ours::descriptors::one_message(&mut group, count);
            groups.push(group);
        }
    }
    groups
}

/// Files that can be told from each other.
pub(crate) fn files(count: usize) -> Result<Vec<File>> {
    let new = || {
        // SAFETY: the name is a terminated string.
        match unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) } {
            -1 => Err(std::io::Error::last_os_error().into()),
            // SAFETY: just opened, and nobody else's.
            number => Ok(unsafe { File::from_raw_fd(number) }),
        }
    };
    (0..count).map(|_| new()).collect()
}

/// Depends on which files they are, and in which order.
pub(crate) fn identity<'a>(files: impl IntoIterator<Item = &'a File>) -> Result<u64> {
    files.into_iter().try_fold(0_u64, |sum, file| {
        let inode = file.metadata()?.ino();
        Ok(sum.wrapping_mul(31).wrapping_add(inode))
    })
}

/// The child counts. Before each turn's first measured message it also says which files came.
const COUNT: u8 = b'c';
const IDENTIFY: u8 = b'i';
/// How often the identity is asked for.
pub(crate) const CHECK_EVERY: u64 = 32;

fn raw(count: usize) -> Result<impl Row> {
    let (child, socket) =
        Command::role("descriptors", &[])?.start(Launch::PosixSpawn, socket::Kind::Packets)?;
    let files = files(count)?;
    let identity = identity(&files)?;
    let mut exchanges = 0_u64;
    Ok(move || {
        let _alive = &child;
        let descriptors: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        if exchanges.is_multiple_of(CHECK_EVERY) {
            socket::send_with(socket.as_fd(), &[IDENTIFY], &descriptors)?;
            let answer = socket::receive_array(socket.as_fd())?;
            expect_same(u64::from_ne_bytes(answer), identity)?;
        }
        exchanges += 1;
        let start = Instant::now();
        socket::send_with(socket.as_fd(), &[COUNT], &descriptors)?;
        let answer = socket::receive_array(socket.as_fd())?;
        let took = start.elapsed();
        expect_same(u64::from_ne_bytes(answer), count as u64)?;
        Ok(took.into())
    })
}

pub(crate) fn receive_descriptors(socket: OwnedFd) -> Result<()> {
    let mut arrived = Vec::with_capacity(socket::MOST_DESCRIPTORS);
    let mut order = [0];
    while socket::receive_with(socket.as_fd(), &mut order, &mut arrived)? > 0 {
        let mut answer = arrived.len() as u64;
        if order == [IDENTIFY] {
            let files: Vec<File> = arrived.drain(..).map(File::from).collect();
            answer = identity(&files)?;
        }
        arrived.clear();
        socket::send(socket.as_fd(), &answer.to_ne_bytes())?;
    }
    Ok(())
}
