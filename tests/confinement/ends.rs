//! How a confined child ends, and what the call says of it.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crossmist::{Error, Object, Resource, SandboxPolicy, func};

use crate::attempt::violation;
use crate::cases;
use crate::support::{self, Case, raw, this_program, within};

pub(crate) const CASES: &[Case] = cases![
    every_end_has_an_error_of_its_own,
    a_child_that_stops_or_stays_is_ended_at_its_deadline,
    a_child_ends_without_handlers_of_atexit,
];

pub(crate) const HELPERS: &[Case] = cases![helper_prints_from_c];

#[derive(Clone, Copy, Debug, Object)]
enum End {
    Abort,
    OverflowTheStack,
    DivideByZero,
    WriteToNull,
    TakeMemory,
    Loop,
    LoopDeafly,
    Exit,
    StopItself,
    Close,
    Flood,
    Sleep,
}

#[func(
    sandbox = "parser",
    cpu_time = "1s",
    memory = "64MiB",
    wall_time = "30s"
)]
pub(crate) fn ends(end: End) {
    act(end);
}

/// As [`ends`], with more processor time than a slow machine takes for it.
#[func(sandbox = "parser", memory = "64MiB")]
fn lasts(end: End) {
    act(end);
}

#[func(sandbox = dynamic)]
fn ends_under(end: End) {
    act(end);
}

#[expect(unsafe_code, reason = "what C code does wrong")]
fn act(end: End) {
    fn deeper(depth: u64) -> u64 {
        let room = std::hint::black_box([depth; 64]);
        if depth == u64::MAX {
            room[0]
        } else {
            deeper(depth + 1) + room[1]
        }
    }
    match end {
        End::Abort => std::process::abort(),
        End::OverflowTheStack => {
            std::hint::black_box(deeper(0));
        }
        End::DivideByZero => {
            // SAFETY: ends the process, as the division of a C program would.
            unsafe { libc::raise(libc::SIGFPE) };
        }
        End::WriteToNull => {
            // SAFETY: never: the fault is what is wanted.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
        }
        End::TakeMemory => {
            let mut taken = Vec::new();
            loop {
                taken.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        End::Loop => loop {
            std::hint::black_box(0);
        },
        End::LoopDeafly => {
            // SAFETY: a disposition without a function.
            unsafe { libc::signal(libc::SIGXCPU, libc::SIG_IGN) };
            loop {
                std::hint::black_box(0);
            }
        }
        End::Exit => std::process::exit(0),
        End::StopItself => {
            // SAFETY: takes a number.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        End::Close => {
            raw::close(raw::launch_socket());
            std::thread::sleep(Duration::from_secs(60));
        }
        End::Flood => loop {
            let _ = raw::send(raw::launch_socket(), &[0xC1; 100]);
        },
        End::Sleep => std::thread::sleep(Duration::from_secs(60)),
    }
}

#[func(sandbox = "parser", wall_time = "1s")]
fn soon_over(end: End) {
    act(end);
}

fn signalled(result: Result<(), Error>, expected: i32) {
    match result {
        Err(Error::Signalled { signal, .. }) if signal == expected => {}
        other => panic!("{other:?}, expected signal {expected}"),
    }
}

fn every_end_has_an_error_of_its_own() {
    signalled(ends.run(End::Abort), libc::SIGABRT);
    // The handler of Rust's runtime says what it was, where the runtime has been started.
    let signal = match cfg!(feature = "early-entry") {
        true => libc::SIGSEGV,
        false => libc::SIGABRT,
    };
    signalled(ends.run(End::OverflowTheStack), signal);
    signalled(ends.run(End::WriteToNull), libc::SIGSEGV);
    // Touching the memory takes a slow machine longer than the processor time of `ends`.
    match lasts.run(End::TakeMemory) {
        Err(Error::Limit {
            resource: Resource::Memory,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    // A busy machine takes longer than the time of `ends` for one or two seconds of processor time.
    let text =
        "format = 1\nextends = [\"parser\"]\n[limits]\ncpu_time = \"1s\"\nwall_time = \"10min\"\n";
    let policy = SandboxPolicy::from_toml("own", text).unwrap();
    for end in [End::Loop, End::LoopDeafly] {
        match ends_under.sandbox(&policy).run(end) {
            Err(Error::Limit {
                resource: Resource::CpuTime,
                ..
            }) => {}
            other => panic!("{end:?}: {other:?}"),
        }
    }
    assert!(matches!(
        ends.run(End::Exit),
        Err(Error::Exited { status: 0, .. })
    ));
    // Only one's own abort can be raised, so that no other death can be feigned.
    for end in [End::StopItself, End::DivideByZero] {
        let found = violation(ends.run(end));
        assert!(found.claim.unwrap().call.starts_with("tgkill("));
    }
    let result = within(Duration::from_secs(1), || ends.run(End::Flood));
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
}

fn a_child_that_stops_or_stays_is_ended_at_its_deadline() {
    // It counts from before the first child's keeper has been started.
    let _ = ends.run(End::Exit);
    // Stretched by twenty for an emulated machine, it is less than the processor time of `parser`.
    let time = support::patience(Duration::from_millis(1400));
    for end in [End::Sleep, End::Loop] {
        let begun = Instant::now();
        let child = lasts.builder().deadline(time).spawn(end).unwrap();
        let id = child.id().unwrap();
        let result = within(time * 2, || child.join());
        assert!(
            matches!(result, Err(Error::Deadline { .. })),
            "{end:?}: {result:?}"
        );
        assert!(begun.elapsed() >= time);
        support::wait_until_gone(id);
    }
    let result = within(Duration::from_secs(3), || ends.run(End::Close));
    assert!(matches!(result, Err(Error::Silent)), "{result:?}");
    // The policy's own time holds where the caller asks for more.
    let result = soon_over
        .builder()
        .deadline(Duration::from_secs(60))
        .run(End::Sleep);
    assert!(
        matches!(result, Err(Error::Deadline { after, .. }) if after == Duration::from_secs(1)),
        "{result:?}"
    );
}

#[func(sandbox = "pure")]
fn prints_from_c(stays: bool) {
    raw::print_into_a_buffer(c"a line of C's\n");
    raw::print_at_exit();
    assert!(!stays, "and a panic");
}

fn a_child_ends_without_handlers_of_atexit() {
    let printed = |call: &dyn Fn(OwnedFd)| {
        let (mut reading, writing) = std::io::pipe().unwrap();
        call(writing.into());
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        text
    };
    // The contents of a buffer are written, and handlers of `atexit` are not run.
    for stays in [false, true] {
        let text = printed(&|to| {
            let result = prints_from_c.builder().stdout(to).run(stays);
            assert_eq!(matches!(result, Err(Error::Panicked(_))), stays);
        });
        assert_eq!(text, "a line of C's\n");
    }
    // The control: a program does both.
    let text = printed(&|to| {
        let program = this_program("helper_prints_from_c").stdout(to).status();
        assert!(program.unwrap().success());
    });
    assert!(
        text.contains("a line of C's\n") && text.contains("at exit"),
        "{text}"
    );
}

fn helper_prints_from_c() {
    prints_from_c.call_unconfined(false);
}
