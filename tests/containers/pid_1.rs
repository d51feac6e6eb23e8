//! Programs that are the first process of a PID namespace, or run under one that does not reap.

use crate::cases;
use crate::enter::{self};
use crate::every_policy::{HOST, helper_every_policy, inside};
use crate::support::{self, Case, this_program};

pub(crate) const CASES: &[Case] = cases![
    every_policy_runs_in_pid_1 needs Root,
    a_first_process_that_does_not_reap_finds_nothing_of_a_program_that_runs needs Root,
];

pub(crate) const HELPERS: &[Case] = cases![helper_in_pid_1, helper_that_does_not_reap];

fn every_policy_runs_in_pid_1() {
    let status = inside(enter::pid_namespace, "helper_in_pid_1", &[HOST.name()]);
    assert!(status.success(), "{status}");
}

fn helper_in_pid_1() {
    assert_eq!(std::process::id(), 1);
    helper_every_policy();
    // The keeper, and of what has ended only the process that it leaves to be looked at.
    assert_eq!(processes(), ["crossmist-keepe", "crossmist-witne Z"]);
}

/// All processes but this one, by the beginning of their names, and a Z for those that have ended.
fn processes() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let ids = ids.filter(|name| *name != own && name.parse::<u32>().is_ok());
    let known = ids.filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok());
    let mut names: Vec<_> = known
        .map(|stat| {
            let (name, rest) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
            match rest.starts_with('Z') {
                true => format!("{name} Z"),
                false => name.to_owned(),
            }
        })
        .collect();
    names.sort();
    names
}

fn a_first_process_that_does_not_reap_finds_nothing_of_a_program_that_runs() {
    let status = inside(enter::pid_namespace, "helper_that_does_not_reap", &[]);
    assert!(status.success(), "{status}");
}

fn helper_that_does_not_reap() {
    assert_eq!(std::process::id(), 1);
    let run = || {
        let mut program = this_program("helper_every_policy");
        let status = program.arg(HOST.name()).status().unwrap();
        assert!(status.success(), "{status}");
    };
    // It asserts itself that nothing is left of its children while it runs. After its end there is
    // its keeper, whose parent this process has become.
    run();
    support::wait_until("the keeper has ended", || {
        processes() == ["crossmist-keepe Z"]
    });
    run();
    support::wait_until("the keeper has ended", || {
        processes() == ["crossmist-keepe Z", "crossmist-keepe Z"]
    });
}
