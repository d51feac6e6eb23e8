//! Kernels that lack something, played by a filter that answers as they do: what a policy can do
//! without is reported as missing, what it can't do without is an error that names the kernel.

use std::fs::File;
use std::time::Duration;

use crossmist::{ConfinementStatus, Error, SandboxPolicy, SecondNet, Step, UnusableKind, func};

#[macro_use]
mod support;
use support::raw::{self, Refused};
use support::this_program;

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_confined_call_has_every_second_net_of_the_kernel,
            a_missing_second_net_is_reported_and_the_wall_stands,
            a_second_net_that_fails_otherwise_stops_the_child,
            a_policy_can_insist_on_a_second_net,
            a_second_net_is_insisted_on_to_the_last_step,
            a_policy_that_grants_paths_does_not_run_without_landlock,
            a_landlock_too_old_for_a_policy_is_named,
            an_older_kernel_is_refused_by_name,
        ],
        cases![
            helper_without_second_nets,
            helper_that_fails_at_write_execute,
            helper_insists,
            helper_insists_in_the_child,
            helper_without_landlock_for_paths,
            helper_with_old_landlock,
            helper_on_5_10,
            helper_on_5_8,
        ],
    );
}

/// Runs a helper, which plays the kernel in a process of its own.
#[track_caller]
fn play(helper: &str) {
    let output = this_program(helper).output().unwrap();
    assert!(output.status.success(), "{helper}: {output:#?}");
}

const PR_SET_MDWE: u32 = 65;
const PR_GET_MDWE: u32 = 66;
const MAPPED: i32 = libc::PROT_READ | libc::PROT_WRITE;

const NO_LANDLOCK: Refused = Refused::call(libc::SYS_landlock_create_ruleset, libc::ENOSYS);
const NO_SETTING: Refused = Refused::with(libc::SYS_prctl, 0, PR_SET_MDWE, libc::EINVAL);
const NO_ASKING: Refused = Refused::with(libc::SYS_prctl, 0, PR_GET_MDWE, libc::EINVAL);

/// Waits, so that what it says of itself can be asked for.
#[func(sandbox = "parser")]
fn waits(time: Duration) {
    std::thread::sleep(time);
}

#[func]
fn waits_unconfined(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = dynamic)]
fn chosen(number: u32) -> u32 {
    number + 1
}

/// Opens a path, and returns the kernel's answer.
#[func(sandbox = "parser")]
fn opens(path: String) -> i32 {
    File::open(path).unwrap_err().raw_os_error().unwrap()
}

#[func]
fn opens_unconfined(path: String) -> bool {
    File::open(path).is_ok()
}

/// Tries to map executable memory, which the filter denies.
#[func(sandbox = "parser")]
fn maps_code() -> bool {
    raw::can_map(MAPPED | libc::PROT_EXEC)
}

#[func]
fn maps_code_unconfined() -> bool {
    raw::can_map(MAPPED | libc::PROT_EXEC)
}

fn status() -> ConfinementStatus {
    let mut child = waits.spawn(Duration::from_secs(60)).unwrap();
    let status = child.confinement().unwrap().unwrap();
    child.kill().unwrap();
    status
}

/// The policy `pure` with more lines.
fn pure_with(lines: &str) -> SandboxPolicy {
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"pure\"]\n{lines}");
    SandboxPolicy::from_toml("insisting", &text).unwrap()
}

/// A policy that can't do without Landlock.
fn reader() -> SandboxPolicy {
    SandboxPolicy::builtin("file-reader").unwrap()
}

#[track_caller]
fn refused(policy: &SandboxPolicy, parts: &[&str]) {
    let result = chosen.sandbox(policy).run(1);
    let Err(error @ Error::Policy { kind, .. }) = &result else {
        panic!("{result:?}");
    };
    assert_eq!(*kind, UnusableKind::Kernel);
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

/// Second nets that a kernel like this one has not.
fn not_here() -> Vec<SecondNet> {
    let has = |net: &SecondNet| match net {
        SecondNet::DenyWriteExecute => crossmist::can_deny_write_execute(),
        net => net.landlock_abi() <= crossmist::landlock_abi(),
    };
    let all = SecondNet::ALL.into_iter();
    all.filter(|net| !has(net)).collect()
}

fn a_confined_call_has_every_second_net_of_the_kernel() {
    let status = status();
    assert_eq!(status.missing, not_here());
    assert_eq!(status.is_fully_enforced(), not_here().is_empty());
    assert_eq!(
        status.denies_write_execute,
        crossmist::can_deny_write_execute()
    );
    assert_eq!(status.landlock_abi, crossmist::landlock_abi());
    let has = |net| !not_here().contains(&net);
    assert_eq!(status.landlock_files != 0, has(SecondNet::LandlockFs));
    assert_eq!(status.landlock_ports != 0, has(SecondNet::LandlockNet));
    assert_eq!(status.landlock_scopes != 0, has(SecondNet::LandlockScope));
}

fn a_missing_second_net_is_reported_and_the_wall_stands() {
    play("helper_without_second_nets");
}

fn helper_without_second_nets() {
    raw::play_a_kernel_without(&[NO_LANDLOCK, NO_SETTING, NO_ASKING]);
    let status = status();
    assert_eq!(status.missing, SecondNet::ALL);
    assert!(!status.is_fully_enforced() && !status.denies_write_execute);
    assert_eq!(
        (
            status.landlock_abi,
            status.landlock_files,
            status.landlock_ports
        ),
        (0, 0, 0)
    );
    assert_eq!(status.landlock_scopes, 0);
    assert!(status.seccomp_instructions > 100 && status.capabilities == 0);
    // The wall denies alone what it denied together with them.
    let path = || "/etc/passwd".to_owned();
    assert!(opens_unconfined.run(path()).unwrap());
    assert_eq!(opens.run(path()).unwrap(), libc::EACCES);
    assert!(maps_code_unconfined.run().unwrap());
    let result = maps_code.run();
    assert!(matches!(result, Err(Error::Violation(_))), "{result:?}");
}

fn a_second_net_that_fails_otherwise_stops_the_child() {
    play("helper_that_fails_at_write_execute");
}

fn helper_that_fails_at_write_execute() {
    raw::play_a_kernel_without(&[Refused::with(libc::SYS_prctl, 0, PR_SET_MDWE, libc::EPERM)]);
    let result = waits.run(Duration::ZERO);
    let Err(error @ Error::Confine { step, errno, .. }) = &result else {
        panic!("{result:?}");
    };
    assert_eq!((*step, *errno), (Step::DenyWriteExecute, Some(libc::EPERM)));
    let text = error.to_string();
    assert!(
        text.contains("PR_SET_MDWE") && text.contains("not permitted"),
        "{text}"
    );
}

const INSISTS: &str = "[kernel]\nrequire = [\"deny_write_execute\"]\n";

fn a_policy_can_insist_on_a_second_net() {
    play("helper_insists");
}

fn helper_insists() {
    raw::play_a_kernel_without(&[NO_LANDLOCK, NO_SETTING, NO_ASKING]);
    // The control: without a word about them it runs.
    assert_eq!(chosen.sandbox(&pure_with("")).run(1).unwrap(), 2);
    refused(
        &pure_with(INSISTS),
        &["deny_write_execute", "PR_SET_MDWE", "Linux 6.3", "require"],
    );
    for (net, since) in [
        ("landlock-fs", "Linux 5.13"),
        ("landlock-net", "Linux 6.7"),
        ("landlock-scope", "Linux 6.12"),
    ] {
        let policy = pure_with(&format!("[kernel]\nrequire = [\"{net}\"]\n"));
        refused(&policy, &[net, since, "insisting"]);
    }
}

fn a_second_net_is_insisted_on_to_the_last_step() {
    play("helper_insists_in_the_child");
}

fn helper_insists_in_the_child() {
    // The kernel says that it could, and then it can't.
    raw::play_a_kernel_without(&[NO_SETTING]);
    assert_eq!(chosen.sandbox(&pure_with("")).run(1).unwrap(), 2);
    let result = chosen.sandbox(&pure_with(INSISTS)).run(1);
    match result {
        Err(error @ Error::Confine { .. }) if crossmist::can_deny_write_execute() => {
            let text = error.to_string();
            assert!(
                text.contains("PR_SET_MDWE") && text.contains("Linux 6.3"),
                "{text}"
            );
        }
        Err(Error::Policy { .. }) if !crossmist::can_deny_write_execute() => {}
        other => panic!("{other:?}"),
    }
}

fn a_policy_that_grants_paths_does_not_run_without_landlock() {
    play("helper_without_landlock_for_paths");
}

fn helper_without_landlock_for_paths() {
    raw::play_a_kernel_without(&[NO_LANDLOCK]);
    refused(&reader(), &["no Landlock", "opening paths", "Linux 5.13"]);
}

fn a_landlock_too_old_for_a_policy_is_named() {
    play("helper_with_old_landlock");
}

fn helper_with_old_landlock() {
    // A word for the newest ABI, on a kernel that has none.
    raw::play_a_kernel_without(&[NO_LANDLOCK]);
    assert_eq!(chosen.sandbox(&pure_with("")).run(1).unwrap(), 2);
    refused(
        &pure_with("[kernel]\nlandlock = 10\n"),
        &["no Landlock", "ABI 10", "kernel.landlock", "insisting:5"],
    );
}

fn an_older_kernel_is_refused_by_name() {
    play("helper_on_5_10");
    play("helper_on_5_8");
}

fn helper_on_5_10() {
    // It has the call, and not the flag.
    const CLOEXEC: u32 = libc::CLOSE_RANGE_CLOEXEC;
    let flag = Refused::with(libc::SYS_close_range, 2, CLOEXEC, libc::EINVAL);
    raw::play_a_kernel_without(&[flag]);
    names_5_11();
}

fn helper_on_5_8() {
    raw::play_a_kernel_without(&[Refused::call(libc::SYS_close_range, libc::ENOSYS)]);
    names_5_11();
}

fn names_5_11() {
    let confined = waits.run(Duration::ZERO);
    let unconfined = waits_unconfined.run(Duration::ZERO);
    for result in [confined, unconfined] {
        let Err(error @ Error::Launch { .. }) = result else {
            panic!("{result:?}");
        };
        let text = error.to_string();
        assert!(text.contains("close_range, Linux 5.11"), "{text}");
    }
}
