//! The children that can send a descriptor are those whose functions name one in a type, and no others.

mod support;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use crossmist::{
    Blob, ChannelError, Child, Duplex, Error, FnOnceObject, Receiver, SandboxPolicy, Sender,
    Violation, channel, duplex, func, trusted,
};
use support::{patience, raw, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_child_sends_descriptors_only_if_a_type_names_one needs Ports,
            a_channel_ends_with_the_child_that_tried_to_park_it,
            what_types_name_is_sent,
            long_messages_need_no_call_that_carries_descriptors,
            a_policy_can_allow_it_whatever_the_types,
            the_programs_ends_refuse_descriptors_that_a_policy_allows needs Refusal,
            ends_refuse_what_their_types_do_not_name needs Refusal,
            an_end_without_its_type_takes_descriptors needs Refusal,
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
    raw::play_a_kernel_that_passes_descriptors();
    let end = || channel::<u64>().unwrap().0;
    // Controls: the same call is made by those that may. The program refuses what they have sent.
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
    raw::play_a_kernel_that_passes_descriptors();
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

/// Sends its own standard error beside a byte, and returns how that failed.
fn send_beside(socket: &impl AsFd) -> Option<i32> {
    let socket = socket.as_fd().as_raw_fd();
    raw::send_with(socket, b"x", &[2], 0)
        .err()
        .and_then(|error| error.raw_os_error())
}

/// How sending a descriptor fails: over each end, and with the answer, which comes last since the program ends a
/// child whose answer is malformed.
#[func(sandbox = dynamic)]
fn tries_all(up: Sender<u64>, down: Receiver<u64>, both: Duplex<u64, u64>) -> [Option<i32>; 4] {
    let ends = [send_beside(&up), send_beside(&down), send_beside(&both)];
    let answer = raw::send_with(raw::launch_socket(), b"x", &[2], 0);
    let answer = answer.err().and_then(|error| error.raw_os_error());
    [ends[0], ends[1], ends[2], answer]
}

fn the_programs_ends_refuse_descriptors_that_a_policy_allows() {
    // The first net is off.
    let text = "format = 1\nextends = [\"pure\"]\n[syscalls]\nallow = [\"@send-descriptors\"]\n";
    let policy = SandboxPolicy::from_toml("own", text).unwrap();
    let refused = Some(libc::EPERM);
    let (up, mut from_below) = channel().unwrap();
    let (_to_below, down) = channel().unwrap();
    let (_ours, both) = duplex().unwrap();
    let tries = tries_all.sandbox(&policy);
    assert_eq!(tries.run(up, down, both).unwrap(), [refused; 4]);
    assert_eq!(from_below.recv().unwrap(), None);
    // So it is for a child that was waiting.
    let pool = crossmist::Pool::of(tries_all)
        .sandbox(&policy)
        .build()
        .unwrap();
    let (up, _from_below) = channel().unwrap();
    let (_to_below, down) = channel().unwrap();
    let (_ours, both) = duplex().unwrap();
    assert_eq!(pool.run(up, down, both).unwrap(), [refused; 4]);

    // The control: without the second net, the program gets them.
    raw::play_a_kernel_that_passes_descriptors();
    let (up, mut from_below) = channel().unwrap();
    let (_to_below, down) = channel().unwrap();
    let (_ours, both) = duplex().unwrap();
    let result = tries_all.sandbox(&policy).run(up, down, both);
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    let received = from_below.recv();
    assert!(
        matches!(received, Err(ChannelError::Malformed(_))),
        "{received:?}"
    );
}

fn ends_refuse_what_their_types_do_not_name() {
    let refused = Some(libc::EPERM);
    let (sender, receiver) = channel::<u64>().unwrap();
    assert_eq!(
        (send_beside(&sender), send_beside(&receiver)),
        (refused, refused)
    );
    // To the receiver of files, and not back.
    let (sender, receiver) = channel::<Vec<Option<File>>>().unwrap();
    assert_eq!(
        (send_beside(&sender), send_beside(&receiver)),
        (None, refused)
    );
    let (sends_files, sends_numbers) = duplex::<File, u64>().unwrap();
    assert_eq!(send_beside(&sends_files), None);
    assert_eq!(send_beside(&sends_numbers), refused);
    // An end of a channel is a descriptor, and code can hold one.
    let (sender, _receiver) = channel::<Sender<u64>>().unwrap();
    assert_eq!(send_beside(&sender), None);
    let (sender, _receiver) = trusted::channel::<Box<dyn FnOnceObject<(), Output = ()>>>().unwrap();
    assert_eq!(send_beside(&sender), None);
}

fn an_end_without_its_type_takes_descriptors() {
    let (sender, receiver) = channel::<u64>().unwrap();
    // As a descriptor, it may become anything.
    let receiver = OwnedFd::from(receiver);
    let sender = OwnedFd::from(sender);
    assert_eq!(send_beside(&sender), None);
    assert_eq!(raw::receive(receiver.as_raw_fd()), b"x");
    let mut sender = Sender::<File>::try_from(sender).unwrap();
    let mut receiver = Receiver::<File>::try_from(receiver).unwrap();
    sender.send(&File::open("/proc/self/exe").unwrap()).unwrap();
    assert!(receiver.recv().unwrap().is_some());
    // Another type for the same end.
    let (sender, receiver) = channel::<u64>().unwrap();
    let again = receiver.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(send_beside(&sender), Some(libc::EPERM));
    let _files = Receiver::<File>::try_from(again).unwrap();
    assert_eq!(send_beside(&sender), None);
    // A type that brings none takes nothing from who has the same end by another.
    let (files, numbers) = duplex::<File, u64>().unwrap();
    let again = numbers.as_fd().try_clone_to_owned().unwrap();
    let _sender = Sender::<u64>::try_from(again).unwrap();
    assert_eq!(send_beside(&files), None);
}
