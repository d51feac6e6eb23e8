//! Children that do with the shared memory what they like.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossmist::{
    ChannelError, Duplex, Error, ProtocolError, Receiver, Sender, channel, duplex, func,
};

use crate::cases;
use crate::support::{Case, patience, raw, within};

pub(crate) const CASES: &[Case] = cases![
    a_child_that_changes_its_answer_while_it_is_read_changes_no_value_after_that,
    pages_that_a_child_gives_back_read_as_zeros,
    a_child_sees_nothing_of_the_calls_before,
    a_slot_that_does_not_exist_ends_the_call,
    a_child_that_holds_all_slots_is_served_through_the_socket,
    a_child_that_stops_reading_meets_its_deadline,
    a_child_that_dies_in_the_middle_leaves_an_error,
    later_writes_of_a_child_reach_nobody,
];

const LENGTH: usize = 12 << 20;

/// Has a thread do this to the shared memory again and again, as long as the process lives.
fn meanwhile(disturb: fn(&'static [std::sync::atomic::AtomicU64])) {
    let words = raw::shared_slots().unwrap();
    std::thread::spawn(move || {
        loop {
            disturb(words);
        }
    });
}

/// Changes every word behind the first page, where the slots are.
fn scribble(words: &'static [std::sync::atomic::AtomicU64]) {
    for word in words.iter().skip(512) {
        word.fetch_add(0x0101_0101, Ordering::Relaxed);
    }
}

#[func]
fn answers_and_scribbles(length: usize) -> Vec<u8> {
    meanwhile(scribble);
    vec![7; length]
}

fn a_child_that_changes_its_answer_while_it_is_read_changes_no_value_after_that() {
    for _ in 0..5 {
        let answer = answers_and_scribbles
            .builder()
            .bulk(true)
            .run(LENGTH)
            .unwrap();
        assert_eq!(answer.len(), LENGTH);
    }
    // While the child runs on.
    let (end, mut ours) = channel::<Vec<u8>>().unwrap();
    let child = sends_and_scribbles
        .builder()
        .bulk(true)
        .kill_on_drop(true)
        .spawn(end)
        .unwrap();
    for _ in 0..5 {
        let value = ours.recv().unwrap().unwrap();
        let copy = value.clone();
        std::thread::sleep(Duration::from_millis(5));
        assert!(value.len() == LENGTH && value == copy);
    }
    drop(child);
}

#[func]
fn sends_and_scribbles(mut end: Sender<Vec<u8>>) {
    meanwhile(scribble);
    while end.send(&vec![7; LENGTH]).is_ok() {}
}

#[func]
fn answers_and_punches_out(length: usize) -> Vec<u8> {
    meanwhile(|words| raw::punch_out(words).unwrap());
    vec![7; length]
}

fn pages_that_a_child_gives_back_read_as_zeros() {
    for _ in 0..5 {
        // Its own words about slots are gone as well, so it may send something that is no answer. A value
        // that can't be is a signal that ends the program.
        let result = answers_and_punches_out
            .builder()
            .bulk(true)
            .deadline(patience(Duration::from_secs(60)))
            .run(LENGTH);
        match result {
            Ok(answer) => {
                assert!(answer.len() == LENGTH && answer.iter().all(|byte| [0, 7].contains(byte)))
            }
            Err(error) => assert!(
                matches!(error, Error::Malformed(_) | Error::Decode(_)),
                "{error:?}"
            ),
        }
    }
}

#[func]
fn finds(secret: u64, bytes: Vec<u8>) -> usize {
    let words = raw::shared_slots().unwrap();
    let found = words
        .iter()
        .filter(|word| word.load(Ordering::Relaxed) == secret);
    found.count() + usize::from(bytes.is_empty())
}

fn a_child_sees_nothing_of_the_calls_before() {
    let secret = u64::from_ne_bytes([0x5a; 8]);
    // The control: it sees what it was sent itself.
    assert!(
        finds
            .builder()
            .bulk(true)
            .run(secret, vec![0x5a; LENGTH])
            .unwrap()
            > 0
    );
    assert_eq!(
        finds
            .builder()
            .bulk(true)
            .run(secret, vec![1; LENGTH])
            .unwrap(),
        0
    );
    assert_eq!(
        finds.builder().bulk(true).run(secret, vec![1; 10]).unwrap(),
        0
    );
}

/// The packet that says that the next piece of message `name` is in a slot.
fn in_slot(slot: u8, name: u64) -> Vec<u8> {
    let mut packet = vec![0xc5, slot, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(&name.to_le_bytes());
    packet
}

/// The packet that begins message `name`, a `Vec<u8>`.
fn beginning(length: u32, name: u64) -> Vec<u8> {
    let mut packet = vec![0xc1, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    packet.extend_from_slice(&length.to_le_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&name.to_le_bytes());
    packet.extend_from_slice(&length.to_le_bytes());
    packet.extend_from_slice(&length.to_le_bytes());
    packet
}

/// Says that a slot holds a piece of a message, once it is free. The second half of the first page is about what the
/// child sends.
fn mark(slot: u8, name: u64) {
    let words = raw::shared_slots().into_iter().flatten();
    let Some(word) = words
        .skip(256)
        .step_by(16)
        .take(6)
        .nth(2 + usize::from(slot))
    else {
        return;
    };
    while word
        .compare_exchange(0, name, Ordering::Release, Ordering::Relaxed)
        .is_err()
    {
        std::thread::yield_now();
    }
}

#[func]
fn says_where_it_is(end: Sender<Vec<u8>>, slot: u8) {
    let end = std::os::fd::OwnedFd::from(end);
    let socket = std::os::fd::AsRawFd::as_raw_fd(&end);
    raw::send(socket, &beginning(1 << 20, 77)).unwrap();
    for number in 0..4_u8 {
        let mut packet = in_slot(slot, 77);
        packet[4] = number;
        mark(slot, 77);
        if raw::send(socket, &packet).is_err() {
            break;
        }
    }
    std::thread::sleep(Duration::from_secs(1));
}

fn a_slot_that_does_not_exist_ends_the_call() {
    for slot in [4, 200, 255] {
        let (end, mut ours) = channel::<Vec<u8>>().unwrap();
        let child = says_where_it_is
            .builder()
            .bulk(true)
            .spawn(end, slot)
            .unwrap();
        let error = ours.recv().unwrap_err();
        assert!(
            matches!(error, ChannelError::Malformed(ProtocolError::Slot { slot: said }) if said == slot),
            "{error:?}"
        );
        child.join().unwrap();
    }
    // The control: as it began, the message is a valid one.
    let (end, mut ours) = channel::<Vec<u8>>().unwrap();
    let child = says_where_it_is.builder().bulk(true).spawn(end, 2).unwrap();
    assert!(ours.recv().unwrap().unwrap() == vec![0; 1 << 20]);
    child.join().unwrap();
    // And without shared memory, no slot exists.
    let (end, mut ours) = channel::<Vec<u8>>().unwrap();
    let child = says_where_it_is.spawn(end, 2).unwrap();
    let error = ours.recv().unwrap_err();
    assert!(
        matches!(
            error,
            ChannelError::Malformed(ProtocolError::Slot { slot: 2 })
        ),
        "{error:?}"
    );
    child.join().unwrap();
}

/// Says of every slot that it is full, and that nobody receives.
fn hold_all(words: &'static [std::sync::atomic::AtomicU64]) {
    for word in words.iter().take(512).step_by(16).skip(2) {
        // A slot that the program has filled stays marked as filled.
        let _ = word.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[func]
fn holds_all(mut duplex: Duplex<usize, Vec<u8>>) {
    meanwhile(hold_all);
    while let Some(bytes) = duplex.recv().unwrap() {
        assert!(bytes.iter().all(|byte| *byte == 9));
        duplex.send(&bytes.len()).unwrap();
    }
    std::process::exit(0);
}

fn a_child_that_holds_all_slots_is_served_through_the_socket() {
    let (mut ours, theirs) = duplex::<Vec<u8>, usize>().unwrap();
    let child = holds_all
        .builder()
        .bulk(true)
        .kill_on_drop(true)
        .spawn(theirs)
        .unwrap();
    for _ in 0..3 {
        assert_eq!(ours.request(&vec![9; LENGTH]).unwrap(), LENGTH);
    }
    drop((ours, child));
}

#[func]
fn reads_one_and_no_more(mut end: Receiver<Vec<u8>>) {
    end.recv().unwrap();
    loop {
        std::thread::park();
    }
}

fn a_child_that_stops_reading_meets_its_deadline() {
    let (mut ours, theirs) = channel::<Vec<u8>>().unwrap();
    let child = reads_one_and_no_more
        .builder()
        .bulk(true)
        .kill_on_drop(true)
        .spawn(theirs)
        .unwrap();
    ours.send(&vec![1; LENGTH]).unwrap();
    let result = within(patience(Duration::from_secs(10)), || {
        ours.send_timeout(&vec![1; LENGTH], Duration::from_millis(300))
    });
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    drop(child);
}

#[func]
fn dies_while_it_sends(mut end: Sender<Vec<u8>>) {
    end.send(&vec![1; LENGTH]).unwrap();
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(2));
        raw::exit(0);
    });
    while end.send(&vec![1; LENGTH]).is_ok() {}
}

fn a_child_that_dies_in_the_middle_leaves_an_error() {
    for _ in 0..10 {
        let (end, mut ours) = channel::<Vec<u8>>().unwrap();
        let child = dies_while_it_sends.builder().bulk(true).spawn(end).unwrap();
        let last = loop {
            match ours.recv() {
                Ok(Some(value)) => assert!(value == vec![1; LENGTH]),
                other => break other,
            }
        };
        assert!(
            matches!(
                last,
                Ok(None) | Err(ChannelError::Malformed(ProtocolError::Unfinished))
            ),
            "{:?}",
            last.map(drop)
        );
        assert!(matches!(child.join(), Err(Error::Exited { status: 0, .. })));
    }
}

#[func]
fn scribbles_on(mut duplex: Duplex<u8, Vec<u8>>) {
    meanwhile(scribble);
    while duplex.recv().unwrap().is_some() {
        duplex.send(&1).unwrap();
    }
    std::process::exit(0);
}

fn later_writes_of_a_child_reach_nobody() {
    let (mut bad, theirs) = duplex::<Vec<u8>, u8>().unwrap();
    let child = scribbles_on
        .builder()
        .bulk(true)
        .kill_on_drop(true)
        .spawn(theirs)
        .unwrap();
    bad.request(&vec![0; 100]).unwrap();
    // Calls of others, and what this process holds, are as they were.
    let held = vec![3_u8; LENGTH];
    let (mut good, theirs) = duplex::<Vec<u8>, usize>().unwrap();
    let other = counts_threes.builder().bulk(true).spawn(theirs).unwrap();
    for _ in 0..5 {
        assert_eq!(good.request(&held).unwrap(), LENGTH);
        bad.request(&held).unwrap();
    }
    assert!(held == vec![3; LENGTH]);
    drop((good, bad, child));
    other.join().unwrap();
}

#[func]
fn counts_threes(mut duplex: Duplex<usize, Vec<u8>>) {
    while let Some(bytes) = duplex.recv().unwrap() {
        duplex
            .send(&bytes.iter().filter(|byte| **byte == 3).count())
            .unwrap();
    }
}
