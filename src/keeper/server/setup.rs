//! The keeper's start: what it does to itself, and that it tells the program who it is.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::super::empty_network::EmptyNetwork;
use super::super::handshake::Handshake;
use super::super::identity::Credentials;
use super::super::oom::OomScore;
use super::super::undertaker::Undertaker;
use super::super::{Kind, user_namespace};
use super::heap;
use super::{EnterChild, Keeper, PROGRAM, PROGRAM_ENDED, Preload, WITNESS_TIME};
use crate::confine::{self, User};
use crate::sys::closing;
use crate::sys::epoll::Epoll;
use crate::sys::fork;
use crate::sys::image;
use crate::sys::mappings;
use crate::sys::poll::{self, Deadline};
use crate::sys::privileges;
use crate::sys::process::{self, Process};
use crate::sys::signals;
use crate::sys::socket::{self, Sender, Wait};
use crate::sys::threads;
use crate::sys::usage::usage;
use crate::transport;

impl Keeper {
    /// Sets up the process, and tells the program who it is.
    pub(super) fn new(
        program: OwnedFd,
        kind: Kind,
        preload: Preload,
        enter_child: EnterChild,
    ) -> Option<Self> {
        match Self::set_up(program.as_fd(), kind, preload) {
            Ok((asker, own, program_ended, epoll, oom_score, witness)) => Some(Self {
                asker,
                own,
                own_id: nix::unistd::getpid().as_raw(),
                program,
                _program_ended: program_ended,
                enter_child,
                epoll,
                oom_score,
                witness,
                kind,
                empty_network: EmptyNetwork::default(),
                children: BTreeMap::new(),
                next: 0,
                groups: Vec::new(),
                has_orphans: false,
                retires_at: retires_at(),
                is_closed: false,
                is_retiring: false,
                undertaker: Undertaker::default(),
            }),
            Err(error) => {
                // A caller that reads the first one reads no other.
                Handshake::Failed(error.to_string()).send(program.as_fd());
                None
            }
        }
    }

    fn set_up(
        program: BorrowedFd<'_>,
        kind: Kind,
        preload: Preload,
    ) -> io::Result<(
        Sender,
        OwnedFd,
        OwnedFd,
        Epoll,
        Option<OomScore>,
        Option<Process>,
    )> {
        let credentials =
            Credentials::of_this_thread().map_err(failed("read its own credentials"))?;
        if kind.in_user_namespace
            && let Err(error) = user_namespace::enter(&credentials)
        {
            Handshake::NoUserNamespace(error.to_string()).send(program);
            return Err(error);
        }
        // A session of its own, and no reaction to what a terminal sends to all: it ends with the
        // program, which may want to finish its calls after Ctrl-C, and not before.
        nix::unistd::setsid().map_err(failed("begin a session of its own (setsid)"))?;
        signals::ignore(&signals::FROM_TERMINAL);
        // Processes that its children leave behind become its own children.
        nix::sys::prctl::set_child_subreaper(true).map_err(failed(
            "adopt what its children leave behind (PR_SET_CHILD_SUBREAPER)",
        ))?;
        let mut oom_score = OomScore::open();
        if let Some(score) = &mut oom_score {
            score.follow(score.now()).map_err(|error| {
                let text = format!("its /proc/self/oom_score_adj can't be raised to 0: {error}");
                io::Error::other(text)
            })?;
        }
        // No reading of its memory by others of the same user.
        nix::sys::prctl::set_dumpable(false)
            .map_err(failed("keep others from looking into it (PR_SET_DUMPABLE)"))?;
        confine::prepare_copies();
        if let Some(reference) = kind.preload
            && let Err(reason) = prepare(reference, preload)
                .and_then(|()| share_nothing("unmap it before it returns"))
        {
            Handshake::NotPrepared(reason.clone()).send(program);
            return Err(io::Error::other(reason));
        }
        share_nothing("unmap it before `main`").map_err(io::Error::other)?;
        // It is as long as the program that counts, and SIGXCPU would end the keeper at the lower limit.
        getrlimit(Resource::RLIMIT_CPU)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_CPU, hard, hard))
            .map_err(failed("raise its limit of processor time (prlimit)"))?;
        closing::do_without_threads();
        // Four descriptors a child.
        getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
            .map_err(failed("raise its limit of descriptors (prlimit)"))?;
        privileges::pass_on_by_inheritance().map_err(failed("set its capabilities (capset)"))?;
        if kind.in_user_namespace {
            privileges::keep_over_execve()
                .map_err(failed("pass its capabilities on (PR_CAP_AMBIENT)"))?;
        }
        process::set_name(c"crossmist-keeper");
        // Deadlines hold only if the keeper runs, so no child is to come before it: none is a real-time
        // process, nor has it a negative nice value (sched(7)).
        process::reset_scheduling_on_fork().map_err(failed(
            "be scheduled ahead of its children (sched_setscheduler)",
        ))?;
        // Every child would do this first.
        let _ = (image::image(), io::stdout());
        transport::rehearse().map_err(failed("send itself a message (socketpair)"))?;
        usage().map_err(|error| {
            io::Error::other(format!(
                "the memory that it starts with can't be read from /proc/self/status: {error}; mount \
                 /proc, or call `crossmist::init` before the program changes its root directory"
            ))
        })?;
        User::choose(true).map_err(failed("find out which users its children can have"))?;

        // The program sends a pidfd of itself first of all.
        let mut greeting = Vec::new();
        let packet = socket::receive(program, &mut greeting, 1, None, Wait::Block)
            .map_err(failed("hear from the program"))?;
        let asker = packet.sender.ok_or_else(|| {
            io::Error::other("the kernel doesn't say who the program is (SO_PASSCRED)")
        })?;
        let program_ended = packet.descriptors.into_iter().flatten().next();
        let program_ended = program_ended
            .ok_or_else(|| io::Error::other("the program sent no pidfd of itself"))?
            .into_owned();
        // A child that can't be killed is not started, and a container's filter may forbid killing.
        let own = process::open_pidfd(nix::unistd::getpid().as_raw())
            .map_err(failed("open a pidfd (pidfd_open)"))?;
        process::signal_by_pidfd(own.as_fd(), 0)
            .map_err(failed("end children (pidfd_send_signal)"))?;
        let watch = || {
            let epoll = Epoll::new()?;
            epoll.add(program, PROGRAM)?;
            epoll.add(program_ended.as_fd(), PROGRAM_ENDED)?;
            io::Result::Ok(epoll)
        };
        let epoll = watch().map_err(failed("watch the program (epoll)"))?;
        let witness = match confine::landlock_abi() {
            0 => None,
            _ => Some(leave_witness().map_err(failed("leave a process to be looked at"))?),
        };
        let ready = Handshake::Ready {
            credentials,
            witness: witness.as_ref().map_or(0, |witness| witness.id),
            mapped: mappings::code_of_files(Handshake::MOST_MAPPED),
        };
        ready.send(program);
        heap::merge_free_pieces();
        Ok((asker, own, program_ended, epoll, oom_score, witness))
    }
}

/// Prepares what the children share. The process ends if that takes too long.
fn prepare(reference: u64, preload: Preload) -> Result<(), String> {
    nix::unistd::alarm::set(PRELOAD_SECONDS);
    preload(reference)?;
    nix::unistd::alarm::cancel();
    match fork::is_single_threaded() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "it left threads behind: {}; a process of several threads cannot be forked: end them, or do \
             without",
            threads::others()
        )),
        Err(error) => Err(format!("its threads can't be counted: {error}")),
    }
}

/// Checks that copies of this process share no memory that they can write to, and no file by a mapping: whatever
/// their policies are, they would be ways from one call to another.
fn share_nothing(cure: &str) -> Result<(), String> {
    match mappings::shared_and_writable() {
        Ok(None) => Ok(()),
        Ok(Some(mapping)) => Err(format!(
            "it has mapped {mapping} as shared, so that every child could write there: map it by MAP_PRIVATE, \
             open its file for reading only, keep it from children by madvise(MADV_DONTFORK), or {cure}"
        )),
        Err(error) => Err(format!(
            "what it has mapped can't be read from /proc/self/maps: {error}; mount /proc, or call \
             `crossmist::init` before the program changes its root directory"
        )),
    }
}

/// A little longer than the program waits.
const PRELOAD_SECONDS: u32 = 65;

/// After how much processor time a keeper retires: it leaves a quarter of what it may use to the calls in
/// progress. `None` if it may use any amount.
fn retires_at() -> Option<Duration> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU).ok()?;
    let most = (hard != libc::RLIM_INFINITY).then(|| Duration::from_secs(hard))?;
    Some(most.saturating_sub(most / 4))
}

/// Describes the step of the set-up that failed, and why.
fn failed<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> io::Error {
    move |error| io::Error::other(format!("it could not {step}: {}", error.into()))
}

/// Makes a process that ends at once and isn't waited for. Others of this user may look at it, but of
/// its memory nothing is left.
fn leave_witness() -> io::Result<Process> {
    let forked = fork::fork();
    match forked.map_err(|error| io::Error::other(error.to_string()))? {
        Some(witness) => {
            poll::readable(witness.pidfd.as_fd(), Deadline::after(WITNESS_TIME))?;
            Ok(witness)
        }
        None => {
            process::set_name(c"crossmist-witness");
            let set = nix::sys::prctl::set_dumpable(true);
            process::leave(i32::from(set.is_err()))
        }
    }
}
