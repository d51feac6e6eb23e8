//! Messages through slots, from honest peers and from others.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::object::{Limits, Trust};
use crate::transport::{Arrival, Fault, Inbox, Outbox};
use crate::wire::{Header, Message, Piece, ProtocolError};

fn limits() -> Limits {
    Limits::default()
}

/// A program and its child, each with its end of a socket and of the slots.
struct Ends {
    program: (OwnedFd, Slots),
    child: (OwnedFd, Slots),
}

fn ends() -> Ends {
    let (ours, theirs) = socket::pair().unwrap();
    let (program, child) = Slots::pair().unwrap();
    Ends {
        program: (ours, program),
        child: (theirs, child),
    }
}

fn send(end: &(OwnedFd, Slots), value: &Vec<u8>) -> io::Result<()> {
    let mut outbox = Outbox::encode(value, limits(), Trust::Data).unwrap();
    outbox.use_slots(Some(&end.1));
    outbox.send(end.0.as_fd(), Deadline::after(Duration::from_secs(60)))
}

fn receive(end: &(OwnedFd, Slots)) -> Result<Vec<u8>, Fault> {
    let mut inbox = Inbox::default();
    inbox.use_slots(Some(end.1.clone()));
    let read = |message: Message<'_>| message.decode::<Vec<u8>>(limits(), Trust::Data).unwrap();
    let deadline = Deadline::after(Duration::from_secs(60));
    match inbox.receive(end.0.as_fd(), &limits(), Trust::Data, deadline, read)? {
        Arrival::Message(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

/// Bytes in which no two pieces are alike.
fn bytes(length: usize) -> Vec<u8> {
    let mix = |word: u64| (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let words = (0..length.div_ceil(8) as u64).flat_map(mix);
    words.take(length).collect()
}

/// The slots of one direction that have ever been written to.
fn used(slots: &Slots, is_downward: bool) -> usize {
    let lane = slots.lane(is_downward);
    let is_used = |slot: &usize| {
        let mut words = lane.slot(*slot).iter();
        words.any(|word| word.load(Ordering::Relaxed) != 0)
    };
    (0..COUNT).filter(is_used).count()
}

/// Nobody sends or receives, and later messages find everything free.
fn assert_idle(slots: &Slots) {
    for is_downward in [true, false] {
        let lane = slots.lane(is_downward);
        assert_eq!(lane.receives().load(Ordering::Relaxed), 0);
        assert_eq!(lane.is_sent_to().load(Ordering::Relaxed), 0);
    }
}

#[test]
fn long_messages_go_through_slots_in_both_directions() {
    let ends = ends();
    for length in [100, 70_000, 1 << 20, (3 << 20) + 12_345, 16 << 20] {
        let value = bytes(length);
        for (from, to) in [(&ends.program, &ends.child), (&ends.child, &ends.program)] {
            let received = thread::scope(|scope| {
                let receiving = scope.spawn(|| receive(to).unwrap());
                send(from, &value).unwrap();
                receiving.join().unwrap()
            });
            assert!(received == value, "{length}");
        }
        assert_idle(&ends.program.1);
    }
    assert!(used(&ends.program.1, true) > 0 && used(&ends.program.1, false) > 0);
}

#[test]
fn a_message_that_nobody_looks_for_in_slots_goes_through_the_socket() {
    let ends = ends();
    let value = bytes(4 << 20);
    let received = thread::scope(|scope| {
        let without = (ends.child.0.try_clone().unwrap(), Slots::pair().unwrap().1);
        let receiving = scope.spawn(move || receive(&without).unwrap());
        send(&ends.program, &value).unwrap();
        receiving.join().unwrap()
    });
    assert!(received == value);
    assert_eq!(used(&ends.program.1, true), 0);
}

#[test]
fn two_messages_at_once_do_not_share_slots() {
    let first = ends();
    let (ours, theirs) = socket::pair().unwrap();
    let second = Ends {
        program: (ours, first.program.1.clone()),
        child: (theirs, first.child.1.clone()),
    };
    thread::scope(|scope| {
        for (ends, seed) in [(&first, 1), (&second, 2)] {
            scope.spawn(move || {
                for _ in 0..20 {
                    receive(&ends.child)
                        .map(|value| assert!(value == bytes((2 << 20) + seed)))
                        .unwrap();
                }
            });
            scope.spawn(move || {
                let value = bytes((2 << 20) + seed);
                (0..20).for_each(|_| send(&ends.program, &value).unwrap());
            });
        }
    });
    assert_idle(&first.program.1);
    assert!(used(&first.program.1, true) > 0);
}

/// Begins a message of `runs` bytes in one run, as a child does, and waits until the program receives it.
fn begin(child: &(OwnedFd, Slots), runs: u32, name: u64) {
    let header = Header {
        descriptors: 0,
        value_bytes: 4,
        code: 0,
        runs: 1,
        run_bytes: runs,
        name,
    };
    let mut packet = header.to_bytes().to_vec();
    packet.extend_from_slice(&runs.to_le_bytes());
    packet.extend_from_slice(&runs.to_le_bytes());
    raw(child, &packet);
    while child.1.lane(false).receives().load(Ordering::Acquire) != name {
        thread::yield_now();
    }
}

fn raw(child: &(OwnedFd, Slots), packet: &[u8]) {
    socket::send(child.0.as_fd(), &[IoSlice::new(packet)], &[], Wait::Block).unwrap();
}

fn piece(number: u32, name: u64, slot: u8) -> [u8; Piece::BYTES] {
    Piece {
        number,
        name,
        slot: Some(slot),
    }
    .to_bytes()
}

/// Says that a slot holds a piece of a message.
fn mark(child: &(OwnedFd, Slots), slot: usize, name: u64) {
    child
        .1
        .lane(false)
        .is_full(slot)
        .store(name, Ordering::Release);
}

/// Has others stop when a test ends, however it does.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns what a program receives from a child that does this.
fn received_from(child: impl FnOnce(&(OwnedFd, Slots)) + Send) -> Result<Vec<u8>, Fault> {
    let ends = ends();
    let result = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&ends.program));
        child(&ends.child);
        receiving.join().unwrap()
    });
    assert_eq!(
        ends.program
            .1
            .lane(false)
            .receives()
            .load(Ordering::Relaxed),
        0
    );
    result
}

fn fault(result: Result<Vec<u8>, Fault>) -> ProtocolError {
    match result {
        Err(Fault::Frame(error)) => error,
        other => panic!("{:?}", other.map(|value| value.len())),
    }
}

#[test]
fn a_slot_that_does_not_exist_is_an_error() {
    // The control: one that does is none.
    let value = bytes(SLOT_BYTES);
    let result = received_from(|child| {
        begin(child, SLOT_BYTES as u32, 9);
        shared::write(child.1.lane(false).slot(3), &value);
        mark(child, 3, 9);
        raw(child, &piece(0, 9, 3));
    });
    assert!(result.unwrap() == value);
    for slot in [4, 5, 255] {
        let error = fault(received_from(|child| {
            begin(child, SLOT_BYTES as u32, 9);
            raw(child, &piece(0, 9, slot));
        }));
        assert_eq!(error, ProtocolError::Slot { slot });
    }
}

/// A holder of the other end that does not have the memory can't make the program accept what another process
/// has put there.
#[test]
fn a_piece_in_a_slot_of_another_message_is_refused() {
    for other in [0, 1, 8] {
        let error = fault(received_from(|child| {
            begin(child, SLOT_BYTES as u32, 9);
            shared::write(child.1.lane(false).slot(2), &[7; SLOT_BYTES]);
            mark(child, 2, other);
            raw(child, &piece(0, 9, 2));
        }));
        assert_eq!(error, ProtocolError::Slot { slot: 2 });
    }
}

#[test]
fn a_piece_in_a_slot_says_nothing_about_its_length() {
    let error = fault(received_from(|child| {
        begin(child, SLOT_BYTES as u32, 9);
        let mut packet = piece(0, 9, 0).to_vec();
        packet.extend_from_slice(&[0xff; 8]);
        raw(child, &packet);
    }));
    assert_eq!(error, ProtocolError::Truncated);
    // As much is taken as is missing, and no more.
    let result = received_from(|child| {
        begin(child, 70_000, 9);
        shared::write(child.1.lane(false).slot(0), &[7; SLOT_BYTES]);
        mark(child, 0, 9);
        raw(child, &piece(0, 9, 0));
    });
    assert!(result.unwrap() == [7; 70_000]);
}

#[test]
fn pieces_in_slots_are_counted_like_others() {
    for (number, name) in [(1, 9), (0, 8)] {
        let error = fault(received_from(|child| {
            begin(child, SLOT_BYTES as u32, 9);
            mark(child, 0, 9);
            raw(child, &piece(number, name, 0));
        }));
        assert!(matches!(error, ProtocolError::Piece { .. }), "{error:?}");
    }
}

#[test]
fn a_piece_in_a_slot_is_refused_by_whoever_shares_none() {
    let ends = ends();
    let mut inbox = Inbox::default();
    let result = thread::scope(|scope| {
        let child = &ends.child;
        scope.spawn(move || {
            let header = Header {
                descriptors: 0,
                value_bytes: 4,
                code: 0,
                runs: 1,
                run_bytes: 1 << 20,
                name: 9,
            };
            let mut packet = header.to_bytes().to_vec();
            packet.extend_from_slice(&[0, 0, 16, 0].repeat(2));
            raw(child, &packet);
            raw(child, &piece(0, 9, 0));
        });
        let deadline = Deadline::after(Duration::from_secs(60));
        inbox.receive(
            ends.program.0.as_fd(),
            &limits(),
            Trust::Data,
            deadline,
            |_| (),
        )
    });
    assert!(
        matches!(result, Err(Fault::Frame(ProtocolError::Slot { slot: 0 }))),
        "{result:?}"
    );
}

#[test]
fn nothing_changes_in_a_message_after_it_was_received() {
    let ends = ends();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        let memory = ends.child.1.memory();
        scope.spawn(|| {
            let mut value = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                value = value.wrapping_add(0x0101_0101_0101_0101);
                let slots = &memory.words()[HEAD_WORDS..];
                slots
                    .iter()
                    .for_each(|word| word.store(value, Ordering::Relaxed));
            }
        });
        for _ in 0..20 {
            let received = thread::scope(|scope| {
                let receiving = scope.spawn(|| receive(&ends.program).unwrap());
                send(&ends.child, &vec![0; 3 << 20]).unwrap();
                receiving.join().unwrap()
            });
            let copy = received.clone();
            thread::yield_now();
            assert_eq!(received.len(), 3 << 20);
            assert!(received == copy);
        }
    });
}

#[test]
fn whatever_a_peer_writes_beside_the_slots_messages_to_it_and_from_it_arrive() {
    let ends = ends();
    let stop = AtomicBool::new(false);
    let value = bytes(5 << 20);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let lanes = [true, false].map(|is_downward| ends.child.1.lane(is_downward));
            let mut word = 1_u64;
            while !stop.load(Ordering::Relaxed) {
                // Not the marks of the slots, with which it would spoil its own messages.
                for place in lanes
                    .iter()
                    .flat_map(|lane| [lane.receives(), lane.is_sent_to()])
                {
                    word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7) ^ 5;
                    place.store(word % 3, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..20 {
            // To the peer: its own writes can spoil what it gets, never the program's send.
            let length = thread::scope(|scope| {
                let receiving = scope.spawn(|| receive(&ends.child).unwrap().len());
                send(&ends.program, &value).unwrap();
                receiving.join().unwrap()
            });
            assert_eq!(length, value.len());
            let length = thread::scope(|scope| {
                let receiving = scope.spawn(|| receive(&ends.program).unwrap().len());
                send(&ends.child, &value).unwrap();
                receiving.join().unwrap()
            });
            assert_eq!(length, value.len());
        }
    });
}

#[test]
fn a_peer_that_frees_no_slot_gets_the_rest_through_the_socket() {
    let ends = ends();
    let value = bytes(8 << 20);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let lane = ends.child.1.lane(true);
            while !stop.load(Ordering::Relaxed) {
                // A slot that the program has filled stays marked as filled.
                (0..COUNT).for_each(|slot| _ = take(lane.is_full(slot), 1));
            }
        });
        let receiving = scope.spawn(|| receive(&ends.child).unwrap());
        send(&ends.program, &value).unwrap();
        let received = receiving.join().unwrap();
        assert!(received == value);
    });
}

#[test]
fn a_peer_that_does_not_read_meets_the_deadline() {
    let ends = ends();
    let value = bytes(8 << 20);
    let mut outbox = Outbox::encode(&value, limits(), Trust::Data).unwrap();
    outbox.use_slots(Some(&ends.program.1));
    outbox.advance(ends.program.0.as_fd(), Wait::Never).unwrap();
    // It reads the beginning, claims to receive the rest, and reads no more.
    let mut packet = Vec::new();
    while socket::receive(
        ends.child.0.as_fd(),
        &mut packet,
        1 << 20,
        None,
        Wait::Never,
    )
    .is_ok()
    {}
    let name = packet[24..32].try_into().map(u64::from_le_bytes).unwrap();
    ends.child
        .1
        .lane(true)
        .receives()
        .store(name, Ordering::Release);
    let result = outbox.send(
        ends.program.0.as_fd(),
        Deadline::after(Duration::from_millis(200)),
    );
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(used(&ends.program.1, true), COUNT);
    drop(outbox);
    assert_eq!(
        ends.program
            .1
            .lane(true)
            .is_sent_to()
            .load(Ordering::Relaxed),
        0
    );
}

#[test]
fn an_end_in_the_middle_of_a_message_frees_the_slots() {
    let error = {
        let ends = ends();
        let Ends { program, child } = ends;
        let result = thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(&program));
            begin(&child, 8 << 20, 9);
            mark(&child, 1, 9);
            raw(&child, &piece(0, 9, 1));
            let (socket, slots) = child;
            drop(socket);
            let result = receiving.join().unwrap();
            assert_idle(&slots);
            result
        });
        fault(result)
    };
    assert_eq!(error, ProtocolError::Unfinished);
}
