//! The keeper, the process that starts, supervises and reaps all confined children of a program.
//!
//! It is a fork server (zygote) that also supervises. It is the same executable, started again when the first
//! sandboxed function is called, and has none of the program's memory: no heap, no secret, no layout. It has
//! one thread, so that forking it is sound and cheap. It is the parent of every confined child, so the
//! program's own `wait` calls see none of them. It enforces every deadline, even while all threads of the
//! program are busy. When the program ends, it kills every child.
//!
//! The keeper cannot start if a library starts a thread before `main`, in a constructor. Some
//! libraries are known to do so (jemalloc, OpenBLAS, OpenMP, MKL, BLIS), and their variables are
//! set to prevent it. [`env()`] sets further variables.
//!
//! # Coverage
//!
//! Code coverage is not recorded in confined children, because they may not open a file for their
//! counters. To cover a confined function, call it in the test's own process with
//! `parse.call_unconfined(input)` instead of `parse.run(input)`. Children without a sandbox write
//! their counters as other programs do.
//
//! # Prepared state
//!
//! `#[func(sandbox = "…", preload = load_fonts)]` gives the function a keeper of its own, which calls
//! `load_fonts` once, before it forks its first child. [`prepare`](crate::prepare) does this ahead of the
//! first call, and [`reload()`] causes it to be done again.
//
// It learns of the end of the program through a pidfd. If it is killed itself, its children are
// told by PR_SET_PDEATHSIG, which concerns the parent's *thread*: one more reason to have only one.

mod client;
mod empty_network;
mod environment;
mod handshake;
mod identity;
mod init;
mod oom;
mod output;
mod protocol;
mod restrictions;
mod server;
mod turn;
mod undertaker;
mod user_namespace;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

pub(crate) use self::client::{Outcome, Supervised, generation, launch, prepare, shared_record};
pub use self::client::{end, reload};
pub use self::environment::env;
use self::handshake::Handshake;
pub(crate) use self::identity::Credentials;
use self::identity::Surroundings;
pub(crate) use self::oom::of_program as oom_score;
pub(crate) use self::protocol::{Cause, Piped, Request, StartMethod};
use self::restrictions::Restrictions;
pub(crate) use self::server::enter;
use crate::confine::{Namespace, NamespaceSet};
use crate::executable::{Program, VERSION};
use crate::sys::process::Process;
use crate::sys::system_files;
use crate::sys::vfork::{self, Start, StartError};

/// A kind of keeper; a program has at most one of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    /// In a user namespace of its own: see [`user_namespace`].
    pub(crate) in_user_namespace: bool,
    /// The reference of the function that prepares it, if its children share prepared state.
    pub(crate) preload: Option<u64>,
}

impl Kind {
    /// The argument by which the process is told.
    fn word(self) -> String {
        let namespace = match self.in_user_namespace {
            false => "",
            true => "-in-user-namespace",
        };
        match self.preload {
            None => format!("crossmist-keeper{namespace}"),
            Some(preload) => format!("crossmist-keeper{namespace}:{preload:x}"),
        }
    }

    pub(crate) fn of_word(word: &std::ffi::OsStr) -> Option<Self> {
        let word = word.to_str()?;
        let (name, preload) = match word.split_once(':') {
            None => (word, None),
            Some((name, preload)) => (name, Some(u64::from_str_radix(preload, 16).ok()?)),
        };
        let kind = Self {
            in_user_namespace: name.ends_with("-in-user-namespace"),
            preload,
        };
        (kind.word() == word).then_some(kind)
    }

    /// The namespaces that it is in and the program is not.
    fn namespaces(self) -> NamespaceSet {
        match self.in_user_namespace {
            false => NamespaceSet::default(),
            true => NamespaceSet::default().with(Namespace::User),
        }
    }
}

/// Starts this executable again, to become the keeper or one of its children: with one socket and `/proc`,
/// without privileges of its file. A standard descriptor that isn't given stays what it is.
fn execute(
    program: &Program,
    socket: BorrowedFd<'_>,
    role: &str,
    argument: &str,
    environment: &[CString],
    standard: [Option<BorrowedFd<'_>>; 3],
) -> Result<Process, StartError> {
    // None holds a zero byte: they are numbers, and words of this library.
    let word = |text: &str| CString::new(text).unwrap_or_default();
    // If it is missing, the code that needs it says so.
    let proc = system_files::proc().ok();
    let mut arguments = vec![
        program.name().clone(),
        word(role),
        word(&socket.as_raw_fd().to_string()),
        word(argument),
        word(VERSION),
    ];
    arguments.extend(
        proc.iter()
            .map(|proc| word(&proc.as_fd().as_raw_fd().to_string())),
    );
    vfork::start(&Start {
        program: program.as_fd(),
        arguments: &arguments,
        environment,
        socket,
        proc: proc.as_ref().map(AsFd::as_fd),
        standard,
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
    let _ = handshake::Handshake::parse(packet);
    if let Some(request) = Request::parse(packet) {
        assert_eq!(request.to_bytes(), packet);
    }
    if let Some(report) = Report::parse(packet) {
        assert_eq!(Report::parse(&report.to_bytes()), Some(report));
    }
}
