//! Options that deny system calls by filters of their own, beside `SystemCallFilter=`.

use super::super::logic::{Condition, Op, Test};
use super::super::source::Source;
use super::Unit;
use super::lines::is_on;
use super::sets;

const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const SHM_EXEC: u64 = 0o100_000;
const O_CREAT: u64 = 0o100;
const O_TMPFILE: u64 = 0o20_000_000;
/// S_ISUID and S_ISGID.
const SET_ID: u64 = 0o6000;
/// Every namespace that `clone` can make.
const NAMESPACES: u64 = 0x7e02_0000;
/// SCHED_OTHER, SCHED_BATCH and SCHED_IDLE.
const UNHURRIED: [u64; 3] = [0, 3, 5];

pub(super) fn calls(unit: &Unit, source: &mut Source) {
    let dynamic = unit.is_on("DynamicUser");
    if unit.is_on("MemoryDenyWriteExecute") {
        source
            .values
            .insert(("process", "deny_write_execute"), "true".to_owned());
        let not_both = Condition::any(vec![Test::lacks(2, PROT_WRITE), Test::lacks(2, PROT_EXEC)]);
        source.confine("mmap", &not_both);
        for name in ["mprotect", "pkey_mprotect"] {
            source.confine(name, &Condition::all(vec![Test::lacks(2, PROT_EXEC)]));
        }
        source.confine("shmat", &Condition::all(vec![Test::lacks(2, SHM_EXEC)]));
    }
    if unit.is_on("RestrictRealtime") {
        let policies = UNHURRIED.map(|policy| Test::is(1, policy));
        source.confine("sched_setscheduler", &Condition::any(policies.to_vec()));
    }
    if dynamic || unit.is_on("RestrictSUIDSGID") {
        set_id(source);
    }
    if is_on(unit.value("RestrictNamespaces")) {
        for name in ["unshare", "setns", "clone3"] {
            source.confine(name, &Condition::never());
        }
        // Whichever it keeps: none of them is needed here.
        source.confine("clone", &Condition::all(vec![Test::lacks(0, NAMESPACES)]));
    }
    if unit.is_on("LockPersonality") {
        let allowed = match unit.value("Personality") {
            "" => Condition::all(vec![Test::is(0, 0)]),
            _ => Condition::never(),
        };
        source.confine("personality", &allowed);
    }
    for (option, set) in [
        ("ProtectClock", "@clock"),
        ("ProtectKernelModules", "@module"),
        ("PrivateDevices", "@raw-io"),
    ] {
        if unit.is_on(option) {
            deny(sets::members(set).unwrap_or_default(), source);
        }
    }
    if unit.is_on("ProtectKernelLogs") {
        deny(&["syslog"], source);
    }
    if unit.is_on("ProtectHostname") {
        deny(&["sethostname", "setdomainname"], source);
    }
}

fn deny(names: &[&str], source: &mut Source) {
    for name in names {
        source.confine(name, &Condition::never());
    }
}

/// No file that runs as its owner or group is made.
fn set_id(source: &mut Source) {
    for (name, mode) in [
        ("chmod", 1),
        ("fchmod", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
        ("mkdir", 1),
        ("mkdirat", 2),
        ("mknod", 1),
        ("mknodat", 2),
        ("creat", 1),
    ] {
        source.confine(name, &Condition::all(vec![Test::lacks(mode, SET_ID)]));
    }
    for (name, flags, mode) in [("open", 1, 2), ("openat", 2, 3)] {
        let makes_nothing = Test::new(flags, Op::Same, O_CREAT | O_TMPFILE, 0);
        source.confine(
            name,
            &Condition::any(vec![makes_nothing, Test::lacks(mode, SET_ID)]),
        );
    }
    source.confine("openat2", &Condition::never());
}
