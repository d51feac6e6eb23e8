//! Programs with few descriptors.

use std::fs::File;

use crossmist::{Error, func};

use crate::cases;
use crate::every_policy::{HOST, PATIENT, adds, every_policy_runs, inside, policy, sleeps, whole};
use crate::support::{Case, case_arguments, raw};

pub(crate) const CASES: &[Case] = cases![
    every_policy_runs_with_few_descriptors needs Root,
    a_child_has_no_more_descriptors_than_its_caller needs Root,
    children_that_are_too_many_for_the_descriptors_are_refused needs Root,
];

pub(crate) const HELPERS: &[Case] = cases![helper_descriptors, helper_with_many_children];

/// Lets this process and all that it starts have fewer descriptors.
fn limit_descriptors(most: u64) {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

fn every_policy_runs_with_few_descriptors() {
    for most in [64, 1024] {
        every_policy_runs(HOST, || limit_descriptors(most));
    }
}

fn a_child_has_no_more_descriptors_than_its_caller() {
    for most in [64, 1024] {
        let enter = || limit_descriptors(most);
        let status = inside(enter, "helper_descriptors", &[&most.to_string()]);
        assert!(status.success(), "{status}");
    }
}

#[func(sandbox = dynamic)]
fn copies_until_refused() -> (u64, i32) {
    let file = File::from(raw::adopt(1));
    let mut copies = Vec::new();
    loop {
        match file.try_clone() {
            Ok(copy) => copies.push(copy),
            Err(error) => {
                // Those that it was started with are its own as well: standard ones, and the socket.
                let last = copies.iter().map(std::os::fd::AsRawFd::as_raw_fd).max();
                let count = u64::try_from(last.unwrap()).unwrap() + 1;
                return (count, error.raw_os_error().unwrap());
            }
        }
    }
}

fn helper_descriptors() {
    let most: u64 = case_arguments()[0].parse().unwrap();
    for (policy, wanted) in [("pure", 32), ("worker", 128), ("unconfined", 1_048_576)] {
        let found = copies_until_refused
            .sandbox(&self::policy(policy, PATIENT))
            .run();
        assert_eq!(found.unwrap(), (most.min(wanted), libc::EMFILE), "{policy}");
    }
}

fn children_that_are_too_many_for_the_descriptors_are_refused() {
    let enter = || limit_descriptors(64);
    let status = inside(enter, "helper_with_many_children", &[]);
    assert!(status.success(), "{status}");
}

fn helper_with_many_children() {
    let pure = policy("pure", PATIENT);
    let mut children = Vec::new();
    let refused = loop {
        let child = sleeps.sandbox(&pure).spawn();
        let started = child.and_then(|mut child| child.confinement().map(|_| child));
        match started {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
    };
    assert!((8..32).contains(&children.len()), "{}", children.len());
    let text = whole(refused);
    assert!(text.contains("Too many open files"), "{text}");
    // Those that there are go on, and when they are gone there is room again.
    children.iter().for_each(|child| child.kill().unwrap());
    for child in children {
        assert!(matches!(child.join(), Err(Error::Killed)));
    }
    assert_eq!(adds.sandbox(&pure).run(vec![1, 2], false).unwrap(), 3);
    // Those whose handles were dropped take the keeper's descriptors, and none of the program's.
    let refused = loop {
        let child = sleeps.sandbox(&pure).spawn();
        if let Err(error) = child.and_then(|mut child| child.confinement()) {
            break error;
        }
    };
    let text = whole(refused);
    assert!(text.contains("Too many open files"), "{text}");
}
