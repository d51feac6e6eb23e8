//! The keeper: one small process that makes, watches and buries all confined children.
//!
//! It is this executable again, started when the first sandboxed function is called. It holds
//! nothing of the program's: no heap, no secret, no layout. It runs one thread, so that forking
//! it is sound and cheap; it is the parent of every confined child, so that the program's own
//! `wait` calls see none of them; and it keeps every deadline, even while all threads of the
//! program are busy. When the program ends, it sees that by a pidfd, and kills them all. When
//! it is killed itself, its children are told by PR_SET_PDEATHSIG, which is about the parent's
//! *thread*: one more reason to have only one.

mod credentials;
mod drain;
mod hello;
mod program;
mod protocol;
mod server;
mod surroundings;

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use self::credentials::Credentials;
use self::hello::Hello;
pub(crate) use self::program::{Kept, Parting, launch};
pub(crate) use self::protocol::{Launch, Piped, Request};
pub(crate) use self::server::enter;
use self::surroundings::Surroundings;
use crate::program::{Program, VERSION};
use crate::sys::process::{Process, Start, StartError};
use crate::sys::socket;

/// Starts this executable again, to become the keeper or a child of its: with one socket, no
/// privileges of its file, `/dev/null` or what there is for the standard descriptors, and no
/// environment but where its libraries are.
fn execute(
    program: &Program,
    socket: OwnedFd,
    role: &str,
    argument: &str,
    standard: [Option<BorrowedFd<'_>>; 3],
) -> Result<Process, StartError> {
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null
        .and_then(|null| socket::above_standard(null.into()))
        .map_err(|source| StartError {
            step: "open /dev/null",
            source,
        })?;
    // Neither holds a zero byte: numbers, and words of ours.
    let word = |text: &str| CString::new(text).unwrap_or_default();
    let libraries = std::env::var_os("LD_LIBRARY_PATH");
    let libraries = libraries.and_then(|path| {
        let path = path.into_encoded_bytes();
        CString::new([&b"LD_LIBRARY_PATH="[..], &path].concat()).ok()
    });
    let environment: Vec<CString> = libraries.into_iter().collect();
    Process::start(&Start {
        program: program.as_fd(),
        arguments: &[
            program.name().clone(),
            word(role),
            word(&socket.as_raw_fd().to_string()),
            word(argument),
            word(VERSION),
        ],
        environment: &environment,
        socket: socket.as_fd(),
        standard: standard.map(|descriptor| Some(descriptor.unwrap_or(null.as_fd()))),
        directory: Some(c"/"),
        no_new_privs: true,
        process_group: None,
        dies_with_thread: false,
    })
}

/// Parses a packet as each of those that there are; what is one survives the way back.
#[cfg(feature = "__fuzzing")]
pub(crate) fn parse_any(packet: &[u8]) {
    use self::protocol::Report;
    let _ = hello::Hello::parse(packet);
    if let Some(request) = Request::parse(packet) {
        assert_eq!(request.to_bytes(), packet);
    }
    if let Some(report) = Report::parse(packet) {
        assert_eq!(Report::parse(&report.to_bytes()), Some(report));
    }
}
