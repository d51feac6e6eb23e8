//! Packets to and from the keeper, until a deadline.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::sys::poll::{self, Deadline};
use crate::sys::socket::{self, Wait};
use crate::transport;

pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    loop {
        match socket::send(socket, &parts, descriptors, Wait::Never) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::writable(socket, deadline)?;
            }
            Err(error) if transport::is_crowded(&error) && !deadline.has_passed() => {
                std::thread::sleep(transport::CROWD_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes the next packet of the keeper. It is empty if the keeper has died.
pub(super) fn receive(socket: BorrowedFd<'_>, bytes: &mut Vec<u8>, room: usize) -> io::Result<()> {
    loop {
        match socket::receive(socket, bytes, room, None, Wait::Never) {
            // It died with an unread request, which the kernel reports once. Packets that it has sent are
            // still there.
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {}
            result => return result.map(drop),
        }
    }
}

pub(super) fn late(source: io::Error) -> Error {
    Error::Launch {
        step: "wait for the keeper",
        source,
    }
}
