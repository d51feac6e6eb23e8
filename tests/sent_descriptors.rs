//! Which children can send a descriptor: those whose functions name one in a type, and no others.

mod support;

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crossmist::{
    Blob, Child, Duplex, Error, Receiver, SandboxPolicy, Sender, Violation, channel, duplex, func,
};
use support::{patience, raw, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_child_sends_descriptors_only_if_a_type_names_one,
            a_channel_ends_with_the_child_that_tried_to_park_it,
            what_types_name_is_sent,
            long_messages_need_no_call_that_carries_descriptors,
            a_policy_can_allow_it_whatever_the_types,
        ],
        &[],
    );
}

/// Tries to send a descriptor beside a byte on the socket that its answer goes over.
fn park(end: &OwnedFd) -> Result<(), i32> {
    let sent = raw::send_with(raw::launch_socket(), b"x", &[end.as_raw_fd()], 0);
    sent.map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// Ends before its answer does, so that only what was parked is left of it.
fn park_and_exit(end: Sender<u64>) -> u64 {
    park(&OwnedFd::from(end)).unwrap();
    raw::exit(0)
}

#[func]
fn parks_unconfined(end: Sender<u64>) -> u64 {
    park_and_exit(end)
}

#[func(sandbox = "pure")]
fn parks(end: Sender<u64>) -> u64 {
    park_and_exit(end)
}

#[func(sandbox = "network-client")]
fn parks_by_the_widest_policy(end: Sender<u64>) -> u64 {
    park_and_exit(end)
}

#[func(sandbox = "pure")]
fn parks_and_may_answer(end: Sender<u64>) -> Option<File> {
    park_and_exit(end);
    None
}

#[func(sandbox = "pure")]
fn parks_and_may_send(end: Sender<u64>, _files: Sender<File>) -> u64 {
    park_and_exit(end)
}

#[track_caller]
fn violation<T: std::fmt::Debug>(result: Result<T, Error>) -> Violation {
    match result {
        Err(Error::Violation(violation)) => *violation,
        other => panic!("no violation: {other:?}"),
    }
}

fn a_child_sends_descriptors_only_if_a_type_names_one() {
    let end = || channel::<u64>().unwrap().0;
    // Controls: the same call is made by those that may. What they sent is refused by the program.
    let result = parks_unconfined.run(end());
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    let result = parks_and_may_answer.run(end());
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    let result = parks_and_may_send.run(end(), channel().unwrap().0);
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");

    for result in [parks.run(end()), parks_by_the_widest_policy.run(end())] {
        let violation = violation(result);
        let claim = violation.claim.as_ref().unwrap();
        assert!(claim.call.starts_with("sendmsg("), "{}", claim.call);
        let expected = "if a type of the function names a descriptor";
        assert!(claim.denied_by.contains(expected), "{}", claim.denied_by);
        let cure = claim.allow_with.as_deref().unwrap();
        assert!(cure.contains("@send-descriptors"), "{cure}");
    }
}

fn a_channel_ends_with_the_child_that_tried_to_park_it() {
    let (end, mut receiver) = channel::<u64>().unwrap();
    let child: Child<u64> = parks.spawn(end).unwrap();
    // The child's end is gone with the child, wherever it had put it.
    let received = within(patience(Duration::from_secs(10)), || receiver.recv());
    assert_eq!(received.unwrap(), None);
    violation(child.join());
}

#[func(sandbox = "pure")]
fn gives_back(file: File) -> File {
    file
}

#[func(sandbox = "worker")]
fn makes_a_blob(text: String) -> Blob {
    Blob::from_slice(text.as_bytes()).unwrap()
}

#[func(sandbox = "pure")]
fn sends_on(mut files: Receiver<File>, mut back: Sender<File>) -> u32 {
    let mut count = 0;
    while let Some(file) = files.recv().unwrap() {
        back.send(&file).unwrap();
        count += 1;
    }
    count
}

#[func(sandbox = "pure")]
fn answers_over_what_arrives(mut ends: Receiver<Sender<File>>, file: File) {
    let mut end = ends.recv().unwrap().unwrap();
    end.send(&file).unwrap();
}

fn what_types_name_is_sent() {
    let open = || File::open("/proc/self/exe").unwrap();
    let length = open().metadata().unwrap().len();
    let same = |file: &File| file.metadata().unwrap().len() == length;
    assert!(same(&gives_back.run(open()).unwrap()));
    assert_eq!(&*makes_a_blob.run("shared".to_owned()).unwrap(), b"shared");

    let (mut files, theirs) = channel().unwrap();
    let (back, mut ours) = channel().unwrap();
    let child = sends_on.spawn(theirs, back).unwrap();
    files.send(&open()).unwrap();
    assert!(same(&ours.recv().unwrap().unwrap()));
    drop(files);
    assert_eq!(child.join().unwrap(), 1);

    let (mut ends, theirs) = channel().unwrap();
    let (end, mut files) = channel().unwrap();
    let child = answers_over_what_arrives.spawn(theirs, open()).unwrap();
    ends.send(&end).unwrap();
    assert!(same(&files.recv().unwrap().unwrap()));
    child.join().unwrap();
}

#[func(sandbox = "pure")]
fn talks_at_length(mut duplex: Duplex<Vec<u8>, u64>, length: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
    duplex.send(&bytes).unwrap();
    // And by the calls that don't wait.
    let sent = duplex.send_timeout(&bytes, Duration::from_secs(60));
    sent.unwrap();
    assert_eq!(duplex.recv().unwrap(), Some(1));
    bytes
}

fn long_messages_need_no_call_that_carries_descriptors() {
    for length in [0, 16, 100_000, 5 << 20] {
        let wanted: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let (mut ours, theirs) = duplex().unwrap();
        let child = talks_at_length.spawn(theirs, length).unwrap();
        assert!(ours.recv().unwrap().unwrap() == wanted, "{length}");
        assert!(ours.recv().unwrap().unwrap() == wanted, "{length}");
        ours.send(&1).unwrap();
        assert!(child.join().unwrap() == wanted, "{length}");
    }
}

#[func(sandbox = dynamic)]
fn parks_by_policy(end: Sender<u64>) -> u64 {
    park_and_exit(end)
}

fn a_policy_can_allow_it_whatever_the_types() {
    let end = || channel::<u64>().unwrap().0;
    let policy = |allow: &str| {
        let text = format!("format = 1\nextends = [\"pure\"]\n[syscalls]\nallow = [{allow}]\n");
        SandboxPolicy::from_toml("own", &text).unwrap()
    };
    violation(parks_by_policy.sandbox(&policy("")).run(end()));
    let allowed = policy("\"@send-descriptors\"");
    let result = parks_by_policy.sandbox(&allowed).run(end());
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
}
