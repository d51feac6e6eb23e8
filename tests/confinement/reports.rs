//! Reports of a panic and of a denied call: the call, its path, its place, the stack.

use crossmist::{BacktraceFrame, Error, Panic, SandboxPolicy, func};

use crate::attempt::{HERE, VICTIM, attempt, chosen, parser, pure, violation};
use crate::cases;
use crate::support::{Case, Need};

pub(crate) const CASES: &[Case] = cases![
    the_path_of_a_denied_call_is_told,
    a_violation_says_what_would_allow_it,
    panics_in_every_policy_reach_the_caller,
    a_panic_tells_its_stack_in_every_policy,
    a_violation_tells_where_it_was,
    a_policy_can_keep_places_to_itself,
];

fn the_path_of_a_denied_call_is_told() {
    let unlink = attempt(libc::SYS_unlinkat, &[HERE, VICTIM, 0]);
    let found = violation(parser.run(unlink, "/tmp/\x1b[31m".to_owned()));
    let claim = found.claim.as_ref().unwrap();
    assert_eq!(i64::from(claim.number), libc::SYS_unlinkat);
    assert_eq!(claim.arguments[0], HERE);
    assert_eq!(found.policy, "parser");
    assert!(found.function.ends_with("::parser"), "{found}");
    let text = found.to_string();
    assert!(text.contains("unlinkat("), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    // A pointer that leads nowhere costs the path, not the report.
    let unlink = attempt(libc::SYS_unlinkat, &[HERE, 16, 0]);
    assert!(violation(parser.run(unlink, String::new())).claim.is_some());
}

fn a_violation_says_what_would_allow_it() {
    let lock = attempt(libc::SYS_flock, &[0, 5]);
    let found = violation(parser.run(lock, String::new()));
    let claim = found.claim.unwrap();
    assert!(claim.denied_by.contains("parser"), "{claim:?}");
    assert!(claim.allow_with.is_some(), "{claim:?}");
    assert_eq!(
        claim.caution,
        Some("a lock on a lent file holds for everybody who has it")
    );
    let yielding = attempt(libc::SYS_fallocate, &[0, 0, 0, 1]);
    let found = violation(parser.run(yielding, String::new()));
    assert_eq!(found.claim.unwrap().caution, None);
    let text = violation(parser.run(lock, String::new())).to_string();
    assert!(
        text.ends_with("\n  more: cargo crossmist explain parser --syscall flock"),
        "{text}"
    );
    let internet = attempt(libc::SYS_socket, &[2, 1, 0]);
    let text = violation(parser.run(internet, String::new())).to_string();
    // A line that this kernel can't enforce is not proposed.
    if !Need::Ports.is_excused() {
        assert!(
            text.contains("\n  careful: the function can send away everything that it was given\n"),
            "{text}"
        );
    }
    assert!(
        text.contains("\n  instead: connect in the program, and pass the connected socket\n"),
        "{text}"
    );
    // Two layers deny it, so that one line is not enough.
    let code = attempt(libc::SYS_mprotect, &[0, 4096, 5]);
    let text = violation(parser.run(code, String::new())).to_string();
    if !Need::WriteExecute.is_excused() {
        assert!(
            text.contains("\n      deny_write_execute = false\n      [syscalls]\n"),
            "{text}"
        );
    }
    // It takes a folder, not a call alone.
    let make = attempt(libc::SYS_mkdirat, &[HERE, VICTIM, 0o755]);
    let text = violation(parser.run(make, "/srv/out/new".to_owned())).to_string();
    if !Need::Truncation.is_excused() {
        assert!(text.contains("\n      create = [\"/srv/out\"]\n"), "{text}");
    }
    // No line helps, because no child has the capability.
    let identity = attempt(libc::SYS_setuid, &[0]);
    let found = violation(parser.run(identity, String::new()));
    assert_eq!(found.claim.as_ref().unwrap().allow_with, None);
    assert!(found.to_string().contains("\n  instead: "), "{found}");
}

#[func(sandbox = dynamic)]
pub(crate) fn panics(text: String) {
    panic!("on purpose: {text}");
}

fn panics_in_every_policy_reach_the_caller() {
    for name in ["pure", "parser", "worker", "file-reader", "unconfined"] {
        let policy = SandboxPolicy::builtin(name).unwrap();
        let result = panics.sandbox(&policy).run(name.to_owned());
        let Err(Error::Panicked(panic)) = result else {
            panic!("{name}: {result:?}");
        };
        assert_eq!(panic.message.as_raw(), format!("on purpose: {name}"));
        let location = panic.location.as_raw();
        assert!(location.starts_with("tests/confinement/reports.rs:"));
    }
}

/// The frame of a function of these files, with the line that it has reached.
fn is_at(frame: &BacktraceFrame, function: &str) -> bool {
    let name = frame.function.as_deref().unwrap_or_default();
    let file = frame.file.as_deref().unwrap_or_default();
    name.split("::").any(|part| part == function)
        && file.contains("tests/confinement/")
        && frame.line.is_some_and(|line| line > 0)
}

fn assert_has_stack(panic: &Panic, function: &str) {
    let stack = panic.backtrace();
    let inside = stack.iter().filter(|frame| frame.offset.is_some()).count();
    assert!(inside > 3, "{stack:#?}");
    if cfg!(feature = "backtrace") {
        assert!(
            stack.iter().any(|frame| is_at(frame, function)),
            "{stack:#?}"
        );
        let first = stack[0].function.as_deref().unwrap();
        assert!(!first.contains("crossmist"), "{stack:#?}");
    }
}

#[func]
fn panics_unconfined() {
    panic!("on purpose");
}

fn a_panic_tells_its_stack_in_every_policy() {
    for name in [
        "pure",
        "parser",
        "worker",
        "file-reader",
        "network-client",
        "unconfined",
    ] {
        let policy = SandboxPolicy::builtin(name).unwrap();
        match panics.sandbox(&policy).run(name.to_owned()) {
            Err(Error::Panicked(panic)) => assert_has_stack(&panic, "panics"),
            // It grants ports, so it needs a kernel that denies the others.
            Err(Error::Policy { .. })
                if name == "network-client" && crossmist::landlock_abi() < 4 => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    match panics_unconfined.run() {
        Err(Error::Panicked(panic)) => assert_has_stack(&panic, "panics_unconfined"),
        other => panic!("{other:?}"),
    }
}

fn a_violation_tells_where_it_was() {
    let listen = attempt(libc::SYS_listen, &[0, 1]);
    for result in [
        parser.run(listen, String::new()),
        pure.run(listen, String::new()),
    ] {
        let found = violation(result);
        let frame = found.claim.as_ref().unwrap().at().unwrap();
        let text = found.to_string();
        if cfg!(feature = "backtrace") {
            assert!(is_at(&frame, "make"), "{frame:?}");
            assert!(text.contains(&format!("\n  at: {frame}\n")), "{text}");
        } else {
            assert!(frame.offset.is_some() && frame.function.is_none());
            assert!(!text.contains("\n  at: "), "{text}");
        }
    }
    // Nor does it cost the report that the handler may not ask what can be read.
    let text = r#"
        format = 1
        description = "Deny what the handler calls"
        extends = ["parser"]
        [syscalls]
        deny = ["rt_sigprocmask"]
    "#;
    let policy = SandboxPolicy::from_toml("deaf", text).unwrap();
    let found = violation(chosen.sandbox(&policy).run(listen, String::new()));
    assert!(found.claim.unwrap().call.starts_with("listen("));
    // A stack pointer that leads nowhere costs the place, not the report: the handler has a stack of
    // its own, where Rust's runtime has been started.
    if !cfg!(feature = "early-entry") {
        let found = violation(calls_without_a_stack.run());
        assert!(found.claim.unwrap().call.starts_with("listen("));
    }
}

/// `listen` by hand, with a stack pointer that nothing is at.
#[func(sandbox = "parser")]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "native code of an attacker")
)]
fn calls_without_a_stack() {
    // SAFETY: the register is put back before anything uses it; the handler has a stack of its own.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "mov r12, rsp",
            "mov rsp, 16",
            "syscall",
            "mov rsp, r12",
            inlateout("rax") libc::SYS_listen => _,
            in("rdi") 0,
            in("rsi") 1,
            out("rcx") _,
            out("r11") _,
            out("r12") _,
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = crate::attempt::make(attempt(libc::SYS_listen, &[0, 1]), "");
}

fn a_policy_can_keep_places_to_itself() {
    let text = r#"
        format = 1
        description = "Tell nobody where"
        extends = ["parser"]
        [environment]
        backtrace = "off"
    "#;
    let policy = SandboxPolicy::from_toml("quiet", text).unwrap();
    let Err(Error::Panicked(panic)) = panics.sandbox(&policy).run(String::new()) else {
        panic!("no panic");
    };
    assert_eq!(panic.message.as_raw(), "on purpose: ");
    assert_eq!(panic.backtrace(), []);
    let listen = attempt(libc::SYS_listen, &[0, 1]);
    let found = violation(chosen.sandbox(&policy).run(listen, String::new()));
    let claim = found.claim.as_ref().unwrap();
    assert!(claim.call.starts_with("listen("));
    assert_eq!(claim.at(), None);
    assert!(!found.to_string().contains("\n  at: "), "{found}");
}
