//! The children that start in `main`: those of the peers, and raw ones that need a heap.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::harness::Result;
use crate::raw::process::{CHILD, CHILD_SOCKET};
use crate::rows::{bulk, descriptors, round_trip, spawn};

/// Plays the role that the command line names, if it names one, and ends the process.
pub(crate) fn play() {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some(CHILD) {
        return;
    }
    let role = words.next().unwrap_or_default();
    let parameters: Vec<String> = words.collect();
    let status = match perform(&role, &parameters) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("child in the role {role}: {error}");
            1
        }
    };
    std::process::exit(status);
}

fn perform(role: &str, parameters: &[String]) -> Result<()> {
    match role {
        "add-in-main" => spawn::add_in_main(socket()),
        "command-add" => spawn::command_add(parameters),
        "ipc-add" => spawn::ipc_add(parameters),
        "stream-echo" => round_trip::stream_echo(socket(), parameters),
        "busy-echo" => round_trip::busy_echo(socket()),
        "tokio-echo" => round_trip::tokio_echo(socket(), parameters),
        "ipc-echo" => round_trip::ipc_echo(parameters),
        "bulk" => bulk::receive_bulk(socket(), parameters),
        "bulk-slots" => bulk::receive_slots(socket(), parameters),
        "ipc-bulk" => bulk::ipc_receive_bulk(parameters),
        "descriptors" => descriptors::receive_descriptors(socket()),
        _ => Err("there is no such role".into()),
    }
}

fn socket() -> OwnedFd {
    // SAFETY: the harness starts these roles with a socket there, and this is called once.
    unsafe { OwnedFd::from_raw_fd(CHILD_SOCKET) }
}
