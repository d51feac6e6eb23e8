//! The child's side of a call, from where it branches off to its exit.

mod answer;
#[cfg(feature = "early-entry")]
mod early;
mod launch;
mod panic;
mod preload;
mod reply;

use std::ffi::{CString, OsStr};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use self::answer::{Ending, IS_CONFINED, NUMBER, SOCKET, flush, send};
use self::launch::Opened;
pub(crate) use self::launch::{Call, Calls, Launch, Preparation};
pub use self::preload::{Preload, PreloadPoint, Prepared};
pub(crate) use self::reply::{Numbered, Reply};
use crate::confine::{self, Origin, Plan};
use crate::executable::{self, CHILD_ARGUMENT, KEEPER_ARGUMENT, VERSION};
use crate::func::Arguments;
use crate::keeper;
use crate::object::{Decoder, Limits, Object, Trust};
use crate::sys::closing;
use crate::sys::poll::Deadline;
use crate::sys::privileges;
use crate::sys::process;
use crate::sys::signals;
use crate::sys::socket::{Wait, receive};
use crate::sys::system_files;
use crate::sys::usage::usage;
use crate::transport::{self, Arrival, Inbox, Outbox};
use crate::wire::Message;

/// Branches off if this process is a child, and returns in the parent.
///
/// [`#[crossmist::main]`](crate::main) calls it at the top of `main`. If you cannot use the
/// attribute, call it yourself, before anything else: code above it runs in every child as well.
///
/// If the program contains several versions of this library, call the `init` of each, one after the other:
/// each version enters only the children that it has started itself. Calls of a version whose `init` wasn't
/// called fail with [`Error::NotEntered`](crate::Error::NotEntered).
///
/// # Panics
///
/// Never in a parent.
pub fn init() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(role) = arguments.next() else {
        return executable::note_entry();
    };
    let serve: fn(&OsStr, &OsStr, Option<&OsStr>) -> i32 = match role {
        role if role == CHILD_ARGUMENT => enter_executed,
        role if role == KEEPER_ARGUMENT => enter_keeper,
        _ => return executable::note_entry(),
    };
    let (socket, word) = (arguments.next(), arguments.next());
    if arguments.next().is_some_and(|version| version != VERSION) {
        // A child of another version of the library, whose own `init` is still to come.
        return executable::note_child();
    }
    let status = match (socket, word) {
        (Some(socket), Some(word)) => serve(&socket, &word, arguments.next().as_deref()),
        _ => fail("is started by the program itself, with a socket"),
    };
    std::process::exit(status);
}

/// Enters a process that was started by `execve`. Its parent is the program, or the keeper, which
/// then tells it how it was made.
fn enter_executed(socket: &OsStr, parent: &OsStr, proc: Option<&OsStr>) -> i32 {
    signals::reset_signals();
    let origin = parent.to_str().and_then(Origin::of_word);
    match (adopt(socket, proc), origin) {
        (Ok(socket), None) => run(socket, None),
        (Ok(socket), Some(origin)) => {
            origin.await_keeper();
            // The keeper does this before it forks. If it fails, that is reported where the value
            // is needed.
            let _ = usage();
            run_confined(socket, origin)
        }
        (Err(reason), _) => fail(reason),
    }
}

/// Enters the process that forks the keeper, and the keeper.
fn enter_keeper(socket: &OsStr, kind: &OsStr, proc: Option<&OsStr>) -> i32 {
    let Some(kind) = keeper::Kind::of_word(kind) else {
        return fail("is to be a keeper of an unknown kind");
    };
    match adopt(socket, proc) {
        // Handlers of `atexit` belong to the program, which this is not. Those of a build for
        // coverage, for example, would write files.
        Ok(socket) => process::leave(keeper::enter(socket, kind, preload::run, run_confined)),
        Err(reason) => fail(reason),
    }
}

/// Runs a child of the keeper. It exits immediately after its answer. Whatever else a program does
/// at its end belongs to the keeper, of which the child is a copy, or must not be decided by the
/// code that ran in it.
fn run_confined(socket: OwnedFd, origin: Origin) -> ! {
    // The policy may deny starting threads.
    closing::do_without_threads();
    IS_CONFINED.store(true, Ordering::Relaxed);
    let status = run(socket, Some(origin));
    flush();
    process::leave(status)
}

/// Takes the socket and the `/proc` that the program passed.
fn adopt(number: &OsStr, proc: Option<&OsStr>) -> Result<OwnedFd, &'static str> {
    if cfg!(feature = "early-entry") && process::fill_standard_descriptors().is_err() {
        return Err("has nothing to fill its closed standard descriptors with");
    }
    let inherited = |number: &OsStr| {
        let number = number.to_str().and_then(|number| number.parse().ok());
        number.and_then(|fd| process::adopt_inherited(fd).ok())
    };
    let Some(socket) = inherited(number) else {
        return Err("got no socket from the program that started it");
    };
    if privileges::is_privileged() && !privileges::starter_had_them(socket.as_fd()) {
        // Anybody may start a program with privileges, and would choose what it does with them.
        return Err("was started by a process without its privileges");
    }
    if let Some(proc) = proc.and_then(inherited) {
        system_files::adopt_proc(proc);
    }
    Ok(socket)
}

/// The child's story.
fn run(socket: OwnedFd, mut origin: Option<Origin>) -> i32 {
    executable::note_child();
    let socket = SOCKET.get_or_init(|| socket);

    let limits = launch_limits();
    let mut inbox = Inbox::for_launch();
    let arrival = inbox.receive(
        socket.as_fd(),
        &limits,
        Trust::Code,
        Deadline::NEVER,
        |message| {
            let mut code = Vec::new();
            let opened = message
                .parts(&mut code)
                .and_then(|parts| launch::open(Decoder::new(parts, limits, Trust::Code)));
            match opened {
                Ok(opened) => start(opened, socket.as_fd(), origin.take()),
                Err(error) => fail(&format!("got a malformed launch message: {error}")),
            }
        },
    );
    match arrival {
        Ok(Arrival::Message(status)) => status,
        // The parent has gone before it asked for anything.
        Ok(Arrival::End | Arrival::Partly | Arrival::DenialReport(_)) => Ending::Failed as i32,
        Err(fault) => fail(&format!("could not receive its arguments: {fault:?}")),
    }
}

/// The parent's limits were applied where the arguments were encoded, and a parent is trusted.
fn launch_limits() -> Limits {
    Limits {
        message_bytes: usize::MAX,
        memory_bytes: usize::MAX,
        ..Limits::default()
    }
}

/// Everything has been received and nothing looked at: confines the process if it is to be confined, says so,
/// and continues with the function.
fn start(opened: Opened<'_>, socket: BorrowedFd<'_>, origin: Option<Origin>) -> i32 {
    let Opened {
        entry,
        limits,
        plan,
        arguments,
        calls,
    } = opened;
    if let Ok(name) = CString::new(short_name(entry.name)) {
        process::set_name(&name);
    }
    match (plan, origin) {
        (Some(plan), Some(origin)) => {
            panic::tell_stack(plan.tells_places());
            let waits = calls != Calls::Launch;
            // Before it is confined, since a policy may deny what that takes. If it fails, the call takes a little
            // longer.
            let _ = waits.then(transport::rehearse);
            let rehearse = || {
                if waits {
                    (entry.rehearse)(limits);
                }
            };
            if let Err(ending) = confine(plan, socket, &arguments, origin, rehearse) {
                return ending as i32;
            }
        }
        (None, None) => transport::trust_peers_until_a_child_starts(),
        // The keeper's children are confined or don't run, and so is nobody else's.
        (None, Some(_)) => return fail("was to be confined, and not told how"),
        (Some(_), None) => return fail("was to be confined, and has no keeper to end with"),
    }
    let enter = |arguments: Arguments<'_>| (entry.enter)(arguments, limits) as i32;
    match calls {
        Calls::Launch => enter(arguments),
        Calls::One => wait_for_call(socket, false, enter).0,
        Calls::Many => loop {
            if let (status, false) = wait_for_call(socket, true, enter) {
                return status;
            }
        },
    }
}

/// A spare child waits for its call, confined already. Returns its status, and whether another call may follow.
fn wait_for_call(
    socket: BorrowedFd<'_>,
    is_numbered: bool,
    enter: impl Fn(Arguments<'_>) -> i32,
) -> (i32, bool) {
    let limits = launch_limits();
    let enter = |message: Message<'_>| {
        let mut code = Vec::new();
        let arguments = message.parts(&mut code).and_then(|parts| {
            let mut decoder = Decoder::new(parts, limits, Trust::Code);
            if is_numbered {
                NUMBER.store(u64::decode(&mut decoder)?, Ordering::Relaxed);
            }
            Ok(Arguments::new(decoder))
        });
        match arguments {
            Ok(arguments) => enter(arguments),
            Err(error) => fail(&format!("got a malformed call: {error}")),
        }
    };
    let mut inbox = Inbox::of_the_program();
    inbox.use_slots(transport::given_slots().cloned());
    match inbox.receive(socket, &limits, Trust::Code, Deadline::NEVER, enter) {
        Ok(Arrival::Message(status)) => {
            flush();
            let has_returned = status == Ending::Returned as i32;
            if has_returned && !is_numbered {
                wait_until_dismissed(socket);
            }
            (status, has_returned && is_numbered)
        }
        // It is not needed.
        Ok(Arrival::End | Arrival::Partly | Arrival::DenialReport(_)) => {
            let has_answered = NUMBER.load(Ordering::Relaxed) != 0;
            let status = if has_answered {
                Ending::Returned
            } else {
                Ending::Failed
            };
            (status as i32, false)
        }
        Err(fault) => (
            fail(&format!("could not receive its call: {fault:?}")),
            false,
        ),
    }
}

/// Waits until the parent has hung up. The end of a process takes longer than a short call, and on one processor
/// the caller would wait for both.
fn wait_until_dismissed(socket: BorrowedFd<'_>) {
    // Nothing depends on what it returns.
    let _ = receive(socket, &mut Vec::new(), 1, None, Wait::Block);
}

/// Confines the process, and tells the parent.
fn confine(
    plan: Plan,
    socket: BorrowedFd<'_>,
    arguments: &Arguments<'_>,
    origin: Origin,
    rehearse: impl FnOnce(),
) -> Result<(), Ending> {
    let (keep, received) = (arguments.descriptors(), arguments.bytes());
    let report = match confine::apply(plan, socket, &keep, origin, received) {
        Ok(applied) => {
            // Before the program hears that it can call.
            rehearse();
            #[cfg(crossmist_learn)]
            let applied = hand_over(applied);
            Reply::<()>::Confined(Box::new(applied.status))
        }
        Err(failure) => Reply::NotConfined(failure),
    };
    // A parent that has dropped its handle doesn't listen, and wants the child to run on.
    let _ = Outbox::encode(&report, Limits::default(), Trust::Data)
        .is_ok_and(|mut outbox| send(&mut outbox));
    match report {
        Reply::Confined(_) => Ok(()),
        _ => Err(Ending::Failed),
    }
}

/// Sends the parent the descriptor on which it is asked about this process's calls, before this
/// process makes such a call.
#[cfg(crossmist_learn)]
fn hand_over(mut applied: confine::Applied) -> confine::Applied {
    if let Some(listener) = applied.listener.take() {
        let report = Reply::<()>::Watched(listener);
        let _ = Outbox::encode(&report, Limits::default(), Trust::Data)
            .is_ok_and(|mut outbox| send(&mut outbox));
    }
    applied
}

/// Reports on stderr, because there is nobody else to tell.
fn fail(reason: &str) -> i32 {
    let _ = writeln!(std::io::stderr(), "crossmist: this child process {reason}");
    Ending::Failed as i32
}

/// Returns the last part of a function's path. The name of a process shows 15 bytes of it.
fn short_name(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or_default()
}
