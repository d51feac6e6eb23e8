//! Children that mean harm: they leave the library aside and use its sockets themselves.
//!
//! Whatever they do, the program gets an exact error in time, keeps its memory, its descriptors and
//! its signals, and its next call works.

mod support;

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crossmist::{
    ChannelError, Duplex, Error, FrameError, Limits, Object, Receiver, Sender, channel, duplex,
    func,
};
use support::{Directory, Holdings, raw, state, wait_until, within};

#[crossmist::main]
fn main() {
    support::main(
        cases![
            packets_that_are_no_answer_end_the_call,
            packets_that_are_no_message_end_the_channel,
            messages_of_another_type_leave_the_channel_usable,
            an_answer_is_one_value_of_the_type_and_nothing_more,
            an_unfinished_answer_is_no_answer,
            a_drip_does_not_outlast_a_deadline,
            a_flood_of_pieces_does_not_outlast_a_deadline,
            a_flood_of_pieces_does_not_outlast_a_wait,
            a_flood_of_pieces_does_not_outlast_the_child,
            memory_is_taken_for_what_arrives,
            what_is_announced_above_the_limit_is_refused_at_once,
            a_peer_that_does_not_read_does_not_hold_up_a_send,
            a_peer_that_leaves_is_an_error_and_no_signal,
            descriptors_that_nobody_asked_for_are_refused_and_closed,
            descriptors_above_the_budget_are_refused_and_closed,
            descriptors_with_a_piece_are_refused_and_closed,
            descriptors_that_do_not_fit_the_table_are_refused,
            credentials_are_ignored,
            a_lingering_socket_holds_nothing_up,
            a_lingering_socket_that_is_not_received_holds_nothing_up,
            options_set_on_a_passed_end_leak_nothing,
            a_child_that_hands_out_its_own_socket_still_ends,
            a_channel_end_of_the_child_comes_back,
            what_is_no_file_is_not_taken_for_one,
            what_is_no_channel_end_is_not_taken_for_one,
            memory_files_are_files,
            a_tracer_that_keeps_the_status_holds_nothing_up,
            a_child_that_becomes_another_program_gives_no_result,
            a_dead_leader_is_not_a_dead_child,
            many_attackers_at_once_do_not_disturb_an_honest_call,
        ],
        &[],
    );
}

#[func]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// What an attack must not change.
struct Unharmed(Holdings);

impl Unharmed {
    fn so_far() -> Self {
        Self(Holdings::now())
    }

    #[track_caller]
    fn check(&self) {
        self.0.assert_same();
        assert_eq!(add.run(5, 7).unwrap(), 12);
        self.0.assert_same();
    }
}

/// What a child does after it has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Object)]
enum After {
    Exit,
    Stay,
}

impl After {
    fn act(self) -> ! {
        match self {
            After::Exit => raw::exit(0),
            After::Stay => loop {
                std::thread::park();
            },
        }
    }
}

/// Sends packets as its answer.
#[func]
fn say(packets: Vec<Vec<u8>>, after: After) -> u64 {
    for packet in packets {
        let _ = raw::send(raw::launch_socket(), &packet);
    }
    after.act()
}

/// Sends packets over a channel whose end it was given.
#[func]
fn say_over(channel: OwnedFd, packets: Vec<Vec<u8>>) {
    for packet in packets {
        raw::send(channel.as_raw_fd(), &packet).unwrap();
    }
}

/// The header of a first packet, field by field.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    zero: u8,
    descriptors: u16,
    value: u32,
    code: u32,
    runs: u32,
    run_bytes: u32,
    zeros: u32,
    name: u64,
}

const HEAD: Head = Head {
    kind: 0xC1,
    zero: 0,
    descriptors: 0,
    value: 0,
    code: 0,
    runs: 0,
    run_bytes: 0,
    zeros: 0,
    name: 0,
};

impl Head {
    fn with(self, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![self.kind, self.zero];
        packet.extend(self.descriptors.to_le_bytes());
        packet.extend(self.value.to_le_bytes());
        packet.extend(self.code.to_le_bytes());
        packet.extend(self.runs.to_le_bytes());
        packet.extend(self.run_bytes.to_le_bytes());
        packet.extend(self.zeros.to_le_bytes());
        packet.extend(self.name.to_le_bytes());
        packet.extend(body);
        packet
    }
}

fn piece(number: u32, name: u64, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xC2, 0, 0, 0];
    packet.extend(number.to_le_bytes());
    packet.extend(name.to_le_bytes());
    packet.extend(bytes);
    packet
}

/// A whole message of one packet.
fn message(value: &[u8]) -> Vec<u8> {
    let value_bytes = value.len() as u32;
    Head {
        value: value_bytes,
        ..HEAD
    }
    .with(value)
}

/// The answer that returns a number.
fn answer(number: u64) -> Vec<u8> {
    let mut value = vec![0];
    value.extend(number.to_le_bytes());
    message(&value)
}

const LIMIT: usize = 256 << 20;

/// Packets that are no message, and what is said of them.
fn malformed() -> Vec<(String, Vec<Vec<u8>>, FrameError)> {
    let mut all: Vec<(String, Vec<Vec<u8>>, FrameError)> = Vec::new();
    let mut is = |name: &str, packets: Vec<Vec<u8>>, error| {
        all.push((name.to_owned(), packets, error));
    };
    is("an empty packet", vec![vec![]], FrameError::Empty);
    for length in 1..32 {
        is(
            "garbage",
            vec![vec![0xC1; length]],
            FrameError::Short {
                bytes: length,
                header: 32,
            },
        );
    }
    for length in 32..64 {
        let field = FrameError::Field {
            field: "kind",
            value: 0xAA,
        };
        is("garbage", vec![vec![0xAA; length]], field);
    }
    let field = |field, value| FrameError::Field { field, value };
    let body = [0; 9];
    let head = Head { value: 9, ..HEAD };
    for kind in [0, 0xC0, 0xC2, 0xFF] {
        let packet = Head { kind, ..head }.with(&body);
        is("another kind", vec![packet], field("kind", kind.into()));
    }
    for wrong in [
        Head { zero: 1, ..head },
        Head { zeros: 1, ..head },
        Head {
            zeros: 1 << 31,
            ..head
        },
    ] {
        is("no zeros", vec![wrong.with(&body)], field("zero", 1));
    }
    for descriptors in [1, 253, u16::MAX] {
        let wrong = Head {
            descriptors,
            ..head
        };
        let error = FrameError::Descriptors {
            expected: descriptors.into(),
            found: 0,
        };
        is("missing descriptors", vec![wrong.with(&body)], error);
    }
    for code in [1, 1000, u32::MAX] {
        let wrong = Head { code, ..head };
        let error = FrameError::Code { references: code };
        is("code", vec![wrong.with(&[0; 17])], error);
    }
    for value in [LIMIT as u32 + 1, u32::MAX] {
        let error = FrameError::TooLong {
            bytes: value.into(),
            limit: LIMIT,
        };
        is("too long", vec![Head { value, ..head }.with(&body)], error);
    }
    let sum = Head {
        value: LIMIT as u32 - 65536,
        runs: 1,
        run_bytes: 65537,
        ..HEAD
    };
    let error = FrameError::TooLong {
        bytes: LIMIT as u64 + 1,
        limit: LIMIT,
    };
    is("too long together", vec![sum.with(&body)], error);
    for (runs, run_bytes) in [
        (0, 1),
        (1, 0),
        (1, 65535),
        (2, 131_071),
        (1025, 1 << 27),
        (u32::MAX, 1 << 27),
    ] {
        let wrong = Head {
            runs,
            run_bytes,
            ..head
        };
        is("runs", vec![wrong.with(&body)], FrameError::Runs);
    }
    // One run of 70,000 bytes is announced, another one is listed.
    for listed in [0u32, 65_536, 69_999, 70_001, u32::MAX] {
        let wrong = Head {
            runs: 1,
            run_bytes: 70_000,
            name: 1,
            ..head
        };
        let mut packet = wrong.with(&body);
        packet.extend(listed.to_le_bytes());
        is("other runs", vec![packet], FrameError::Runs);
    }
    is(
        "more than announced",
        vec![head.with(&[0; 10])],
        field("length", 10),
    );
    is(
        "a long packet",
        vec![vec![0xC1; 204_801]],
        FrameError::Truncated,
    );

    // Pieces. The message has 9 bytes, of which 4 come with the header.
    let first = || Head { name: 7, ..head }.with(&[0; 4]);
    let wrong_piece = |message, piece, expected_piece| FrameError::Piece {
        message,
        piece,
        expected_message: 7,
        expected_piece,
    };
    is(
        "a piece is missing",
        vec![first(), piece(1, 7, &[0; 5])],
        wrong_piece(7, 1, 0),
    );
    is(
        "a piece twice",
        vec![first(), piece(0, 7, &[0; 2]), piece(0, 7, &[0; 2])],
        wrong_piece(7, 0, 1),
    );
    is(
        "a foreign piece",
        vec![first(), piece(0, 8, &[0; 5])],
        wrong_piece(8, 0, 0),
    );
    is(
        "a message in a message",
        vec![first(), HEAD.with(&[])[..21].to_vec()],
        field("kind", 0xC1),
    );
    is(
        "a piece that is too long",
        vec![first(), piece(0, 7, &[0; 6])],
        FrameError::Truncated,
    );
    is(
        "a piece without bytes",
        vec![first(), piece(0, 7, &[])],
        FrameError::Short {
            bytes: 16,
            header: 16,
        },
    );
    for length in 1..16 {
        let error = FrameError::Short {
            bytes: length,
            header: 16,
        };
        is("half a piece", vec![first(), vec![0xC2; length]], error);
    }
    let mut packet = piece(0, 7, &[0; 5]);
    packet[2] = 1;
    is("no zeros", vec![first(), packet], field("zero", 1));
    is(
        "an empty piece",
        vec![first(), vec![]],
        FrameError::Unfinished,
    );
    all
}

fn packets_that_are_no_answer_end_the_call() {
    let unharmed = Unharmed::so_far();
    for (name, packets, expected) in malformed() {
        // The child stays, so that the error comes by the packets alone.
        let result = within(Duration::from_secs(1), || {
            say.run(packets.clone(), After::Stay)
        });
        let Err(Error::Malformed(error)) = result else {
            panic!("{name} {packets:x?}: {result:?}");
        };
        assert_eq!(error, expected, "{name} {packets:x?}");
    }
    unharmed.check();
}

fn packets_that_are_no_message_end_the_channel() {
    let unharmed = Unharmed::so_far();
    for (name, packets, expected) in malformed() {
        let (ours, theirs) = duplex::<u64, u64>().unwrap();
        let mut ours = ours.into_receiver();
        let child = say_over.spawn(theirs.into(), packets.clone()).unwrap();
        for _ in 0..2 {
            let result = within(Duration::from_secs(1), || ours.recv());
            if name == "an empty packet" && matches!(result, Ok(None)) {
                // The child has gone meanwhile; what is empty and what is the end look alike.
                continue;
            }
            let Err(ChannelError::Malformed(error)) = result else {
                panic!("{name} {packets:x?}: {result:?}");
            };
            assert_eq!(error, expected, "{name} {packets:x?}");
        }
        child.join().unwrap();
    }
    unharmed.check();
}

fn messages_of_another_type_leave_the_channel_usable() {
    let unharmed = Unharmed::so_far();
    let (ours, theirs) = duplex::<(), bool>().unwrap();
    let mut ours = ours.into_receiver();
    let packets = vec![message(&[2]), message(&[]), message(&[1, 1]), message(&[1])];
    let child = say_over.spawn(theirs.into(), packets).unwrap();
    for (expected, found) in [
        ("a bool, 0 or 1", "2"),
        ("1 bytes", "the end after 0"),
        ("the end of the message", "1 bytes more"),
    ] {
        let Err(ChannelError::Decode(error)) = ours.recv() else {
            panic!("no error");
        };
        assert_eq!((error.expected(), error.found()), (expected, found));
    }
    assert_eq!(ours.recv().unwrap(), Some(true));
    child.join().unwrap();
    assert_eq!(ours.recv().unwrap(), None);
    drop(ours);
    unharmed.check();
}

fn an_answer_is_one_value_of_the_type_and_nothing_more() {
    let unharmed = Unharmed::so_far();
    // A control: the bytes are those of an answer.
    for after in [After::Exit, After::Stay] {
        assert_eq!(say.run(vec![answer(5)], after).unwrap(), 5);
    }
    let decode = |value: &[u8]| {
        let result = within(Duration::from_secs(1), || {
            say.run(vec![message(value)], After::Stay)
        });
        let Err(Error::Decode(error)) = result else {
            panic!("{result:?}");
        };
        (error.expected().to_owned(), error.found().to_owned())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(decode(&[9; 9]), pair("the kind of an answer, 0 to 5", "9"));
    assert_eq!(decode(&[]), pair("1 bytes", "the end after 0"));
    assert_eq!(decode(&[0; 8]), pair("8 bytes", "the end after 7"));
    assert_eq!(
        decode(&[0; 10]),
        pair("the end of the message", "1 bytes more")
    );
    assert_eq!(
        decode(&[1, 2, 0, 0, 0, 0xFF, 0xFF]).0,
        "UTF-8",
        "a panic's message"
    );
    let begun = Head {
        value: 9,
        name: 7,
        ..HEAD
    };
    for second in [
        answer(6),
        vec![],
        vec![1, 2, 3],
        piece(0, 0, &[1]),
        begun.with(&[0; 4]),
    ] {
        let empty = second.is_empty();
        for after in [After::Exit, After::Stay] {
            let result = say.run(vec![answer(5), second.clone()], after);
            if empty && matches!(result, Ok(5)) {
                // As above: this is the end.
                continue;
            }
            assert!(
                matches!(result, Err(Error::Malformed(FrameError::Surplus))),
                "{second:?}: {result:?}"
            );
        }
    }
    unharmed.check();
}

fn an_unfinished_answer_is_no_answer() {
    let unharmed = Unharmed::so_far();
    let head = Head {
        value: 9,
        name: 7,
        ..HEAD
    };
    for packets in [
        vec![head.with(&[0; 4])],
        vec![head.with(&[0; 4]), piece(0, 7, &[0; 4])],
    ] {
        let result = say.run(packets.clone(), After::Exit);
        assert!(
            matches!(result, Err(Error::Malformed(FrameError::Unfinished))),
            "{result:?}"
        );
        let call = say.builder().deadline(Duration::from_millis(200));
        let result = within(Duration::from_secs(1), || call.run(packets, After::Stay));
        assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    }
    unharmed.check();
}

/// Announces a long message and sends it in pieces of one byte.
#[func]
fn drip(channel: Option<OwnedFd>, bytes: u32, pause: Duration) -> u64 {
    let socket = match &channel {
        Some(channel) => channel.as_raw_fd(),
        None => raw::launch_socket(),
    };
    let head = Head {
        value: bytes,
        name: 7,
        ..HEAD
    };
    if pause.is_zero() {
        // Where it may, it puts far more into the socket than a socket usually takes.
        let bytes = 200i32 << 20;
        let _ = raw::set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes);
    }
    let mut result = raw::send(socket, &head.with(&[0]));
    let mut number = 0;
    while result.is_ok() {
        if pause.is_zero() {
            // Many in one system call, so as to be faster than who receives them one by one.
            let pieces = (number..number + 64).map(|number| piece(number, 7, &[0]));
            result = raw::send_many(socket, &pieces.collect::<Vec<_>>());
            number += 64;
        } else {
            result = raw::send(socket, &piece(number, 7, &[0]));
            number += 1;
            std::thread::sleep(pause);
        }
    }
    1
}

fn a_drip_does_not_outlast_a_deadline() {
    let unharmed = Unharmed::so_far();
    let call = drip.builder().deadline(Duration::from_millis(300));
    let result = within(Duration::from_millis(600), || {
        call.run(None, 100 << 20, Duration::from_millis(10))
    });
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    unharmed.check();
}

fn a_flood_of_pieces_does_not_outlast_a_deadline() {
    let unharmed = Unharmed::so_far();
    let call = drip.builder().deadline(Duration::from_millis(300));
    let result = within(Duration::from_millis(900), || {
        call.run(None, 200 << 20, Duration::ZERO)
    });
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    unharmed.check();
}

fn a_flood_of_pieces_does_not_outlast_a_wait() {
    let unharmed = Unharmed::so_far();
    let mut child = drip.spawn(None, 200 << 20, Duration::ZERO).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        within(Duration::from_millis(100), || child.try_join()).unwrap(),
        None
    );
    let result = within(Duration::from_millis(500), || {
        child.join_timeout(Duration::from_millis(100))
    });
    assert_eq!(result.unwrap(), None);
    assert_eq!(
        within(Duration::from_millis(300), || child.try_join()).unwrap(),
        None
    );
    child.kill().unwrap();
    assert!(child.join().is_err());

    let (_tx, rx) = duplex::<u64, u64>().unwrap();
    let mut rx = rx.into_receiver();
    let child = drip
        .spawn(Some(_tx.into()), 200 << 20, Duration::ZERO)
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let result = within(Duration::from_millis(100), || rx.try_recv());
    assert_eq!(result.unwrap(), None);
    let result = within(Duration::from_millis(500), || {
        rx.recv_timeout(Duration::from_millis(100))
    });
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    let result = within(Duration::from_millis(300), || rx.try_recv());
    assert_eq!(result.unwrap(), None);
    child.kill().unwrap();
    assert!(child.join().is_err());
    drop(rx);
    unharmed.check();
}

/// Leaves another process behind that floods in its place.
#[func]
fn leave_a_flood(seconds: u32) -> u64 {
    // SAFETY: this child has one thread.
    #[expect(unsafe_code, reason = "a fork")]
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => {
            nix::unistd::alarm::set(seconds);
            drip(None, 200 << 20, Duration::ZERO);
            raw::exit(0)
        }
        _ => {
            std::thread::sleep(Duration::from_millis(50));
            raw::exit(3)
        }
    }
}

fn a_flood_of_pieces_does_not_outlast_the_child() {
    let unharmed = Unharmed::so_far();
    let child = leave_a_flood.spawn(linger().unsigned_abs()).unwrap();
    // Meanwhile the socket fills, as far as its buffer goes.
    std::thread::sleep(Duration::from_millis(600));
    let result = within(Duration::from_millis(500), || child.join());
    assert!(
        matches!(result, Err(Error::Exited { status: 3 })),
        "{result:?}"
    );
    unharmed.check();
}

fn memory_is_taken_for_what_arrives() {
    let unharmed = Unharmed::so_far();
    // Announced: as much as the limit allows.
    let head = Head {
        value: LIMIT as u32,
        name: 7,
        ..HEAD
    };
    let runs = Head {
        value: 9,
        runs: 1,
        run_bytes: LIMIT as u32 - 9,
        name: 7,
        ..HEAD
    };
    let mut with_runs = runs.with(&[0; 9]);
    with_runs.extend((LIMIT as u32 - 9).to_le_bytes());
    for packet in [head.with(&[0; 9]), with_runs] {
        let packets = vec![packet, piece(0, 7, &[0; 1000])];
        let call = say.builder().deadline(Duration::from_millis(200));
        let result = call.run(packets, After::Stay);
        assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
        unharmed.0.assert_memory(4 << 20);
    }
    // Sent: many messages that nobody receives.
    let (ours, theirs) = duplex::<u64, Vec<u8>>().unwrap();
    let child = flood.spawn(theirs.into()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    unharmed.0.assert_memory(4 << 20);
    drop(ours);
    let error = child.join().unwrap();
    assert!([libc::EPIPE, libc::ECONNRESET].contains(&error), "{error}");
    unharmed.check();
}

/// Sends messages until it can't.
#[func]
fn flood(channel: OwnedFd) -> i32 {
    let packet = message(&[0; 100_000]);
    loop {
        if let Err(error) = raw::send(channel.as_raw_fd(), &packet) {
            return error.raw_os_error().unwrap();
        }
    }
}

fn what_is_announced_above_the_limit_is_refused_at_once() {
    let unharmed = Unharmed::so_far();
    let limits = Limits {
        message_bytes: 1 << 20,
        ..Limits::default()
    };
    let call = drip.builder().limits(limits);
    let result = within(Duration::from_secs(1), || {
        call.run(None, 200 << 20, Duration::ZERO)
    });
    let Err(Error::Malformed(error)) = result else {
        panic!("{result:?}");
    };
    let expected = FrameError::TooLong {
        bytes: 200 << 20,
        limit: 1 << 20,
    };
    assert_eq!(error, expected);
    unharmed.check();
}

#[func]
fn hold(_channel: OwnedFd) {
    After::Stay.act()
}

fn a_peer_that_does_not_read_does_not_hold_up_a_send() {
    let unharmed = Unharmed::so_far();
    let (ours, theirs) = duplex::<Vec<u8>, ()>().unwrap();
    let mut ours = ours.into_sender();
    let child = hold
        .builder()
        .kill_on_drop(true)
        .spawn(theirs.into())
        .unwrap();
    let time = Duration::from_millis(100);
    // A message that can't be sent half: the channel goes on after it.
    let result = loop {
        let result = within(time * 4, || ours.send_timeout(&vec![1; 10_000], time));
        if result.is_err() {
            break result;
        }
    };
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    assert!(!ours.try_send(&vec![1; 10_000]).unwrap());
    let result = within(time * 4, || ours.send_timeout(&vec![1; 10_000_000], time));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    drop(ours);
    drop(child);

    let (ours, theirs) = duplex::<Vec<u8>, ()>().unwrap();
    let mut ours = ours.into_sender();
    let child = hold
        .builder()
        .kill_on_drop(true)
        .spawn(theirs.into())
        .unwrap();
    let result = within(time * 4, || ours.send_timeout(&vec![1; 10_000_000], time));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    // Part of it has gone.
    let result = ours.send(&vec![]);
    assert!(matches!(result, Err(ChannelError::HalfSent)), "{result:?}");
    drop(ours);
    drop(child);
    unharmed.check();
}

fn a_peer_that_leaves_is_an_error_and_no_signal() {
    let unharmed = Unharmed::so_far();
    let (ours, theirs) = duplex::<Vec<u8>, ()>().unwrap();
    let mut ours = ours.into_sender();
    let child = say_over.spawn(theirs.into(), vec![]).unwrap();
    child.join().unwrap();
    for length in [1, 10_000_000] {
        let result = ours.send(&vec![1; length]);
        assert!(matches!(result, Err(ChannelError::Closed)), "{result:?}");
    }
    drop(ours);
    unharmed.check();
}

/// Sends a packet with copies of a descriptor, without its own end of it.
#[func]
fn say_with(packets: Vec<(Vec<u8>, u32)>, descriptor: OwnedFd, socket: Option<OwnedFd>) -> u64 {
    let socket = match &socket {
        Some(socket) => socket.as_raw_fd(),
        None => raw::launch_socket(),
    };
    let copies: Vec<OwnedFd> = (0..253).map(|_| descriptor.try_clone().unwrap()).collect();
    let numbers: Vec<RawFd> = copies.iter().map(AsRawFd::as_raw_fd).collect();
    for (packet, count) in packets {
        let _ = raw::send_with(socket, &packet, &numbers[..count as usize], 0);
    }
    // All of them are closed before anything is received, and those in flight are the last.
    raw::exit(0)
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn descriptors_that_nobody_asked_for_are_refused_and_closed() {
    let unharmed = Unharmed::so_far();
    for count in [1u16, 253] {
        // The header says nothing of them.
        let packets = vec![(answer(5), count.into())];
        let result = say_with.run(packets, null(), None);
        let Err(Error::Malformed(error)) = result else {
            panic!("{result:?}");
        };
        let expected = FrameError::Descriptors {
            expected: 0,
            found: count.into(),
        };
        assert_eq!(error, expected);
        // The header says so, and the value has no use for them.
        let head = Head {
            descriptors: count,
            value: 9,
            ..HEAD
        };
        let packets = vec![(head.with(&[0; 9]), count.into())];
        let result = say_with.run(packets, null(), None);
        let Err(Error::Decode(error)) = result else {
            panic!("{result:?}");
        };
        assert_eq!(error.found(), "a descriptor that nothing named");
    }
    // Beside nothing at all.
    let result = say_with.run(vec![(vec![], 3)], null(), None);
    assert!(
        matches!(result, Err(Error::Malformed(FrameError::Empty))),
        "{result:?}"
    );
    // Beside an answer that is fine, and behind it.
    let result = say_with.run(vec![(answer(5), 0), (answer(5), 253)], null(), None);
    assert!(
        matches!(result, Err(Error::Malformed(FrameError::Surplus))),
        "{result:?}"
    );
    unharmed.check();
}

fn descriptors_above_the_budget_are_refused_and_closed() {
    let unharmed = Unharmed::so_far();
    let limits = Limits {
        descriptors: 2,
        ..Limits::default()
    };
    let head = Head {
        descriptors: 3,
        value: 9,
        ..HEAD
    };
    let call = say_with.builder().limits(limits);
    let result = call.run(vec![(head.with(&[0; 9]), 3)], null(), None);
    let Err(Error::Malformed(error)) = result else {
        panic!("{result:?}");
    };
    let expected = FrameError::TooManyDescriptors {
        descriptors: 3,
        limit: 2,
    };
    assert_eq!(error, expected);
    unharmed.check();
}

fn descriptors_with_a_piece_are_refused_and_closed() {
    let unharmed = Unharmed::so_far();
    let head = Head {
        value: 9,
        name: 7,
        ..HEAD
    };
    let packets = vec![(head.with(&[0; 4]), 0), (piece(0, 7, &[0; 5]), 253)];
    let result = say_with.run(packets, null(), None);
    let Err(Error::Malformed(error)) = result else {
        panic!("{result:?}");
    };
    let expected = FrameError::Descriptors {
        expected: 0,
        found: 253,
    };
    assert_eq!(error, expected);
    unharmed.check();
}

fn descriptors_that_do_not_fit_the_table_are_refused() {
    let unharmed = Unharmed::so_far();
    raw::limit_descriptors(100);
    let head = Head {
        descriptors: 253,
        value: 9,
        ..HEAD
    };
    let (ours, theirs) = duplex::<(), Vec<OwnedFd>>().unwrap();
    let mut ours = ours.into_receiver();
    let packets = vec![(head.with(&[0; 9]), 253), (message(&[0; 4]), 0)];
    let child = send_copies.spawn(packets, null(), theirs.into()).unwrap();
    let result = ours.recv();
    assert!(
        matches!(result, Err(ChannelError::Malformed(FrameError::Truncated))),
        "{result:?}"
    );
    child.join().unwrap();
    drop(ours);
    unharmed.check();
}

/// As [`say_with`], with a table of its own that is large enough.
#[func]
fn send_copies(packets: Vec<(Vec<u8>, u32)>, descriptor: OwnedFd, socket: OwnedFd) {
    raw::limit_descriptors(1000);
    for (packet, count) in packets {
        let numbers = vec![descriptor.as_raw_fd(); count as usize];
        let _ = raw::send_with(socket.as_raw_fd(), &packet, &numbers, 0);
    }
}

#[func]
fn answer_with_credentials() -> u64 {
    raw::send_credentials(raw::launch_socket(), &answer(5)).unwrap();
    raw::exit(0)
}

fn credentials_are_ignored() {
    let unharmed = Unharmed::so_far();
    assert_eq!(answer_with_credentials.run().unwrap(), 5);
    unharmed.check();
}

/// How long a socket lingers, in seconds.
fn linger() -> i32 {
    support::stays().as_secs().try_into().unwrap()
}

/// Waits until a child is dead and not yet waited for.
#[track_caller]
fn wait_until_dead(id: u32) {
    wait_until("the child is dead", || state(id) == Some('Z'));
}

fn a_lingering_socket_holds_nothing_up() {
    let unharmed = Unharmed::so_far();
    // A control: closing it takes its time.
    let (socket, peer) = raw::lingering_socket(3);
    let begun = Instant::now();
    drop(socket);
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "it doesn't linger"
    );
    drop(peer);

    let head = |descriptors| Head {
        descriptors,
        value: 9,
        ..HEAD
    };
    for packet in [
        (head(0).with(&[0; 9]), 253),
        (head(253).with(&[0; 9]), 253),
        (vec![], 1),
        (vec![1], 1),
    ] {
        let (socket, peer) = raw::lingering_socket(linger());
        let child = say_with.spawn(vec![packet], socket, None).unwrap();
        wait_until_dead(child.id());
        let result = within(Duration::from_secs(1), || child.join());
        assert!(
            matches!(result, Err(Error::Malformed(_) | Error::Decode(_))),
            "{result:?}"
        );
        drop(peer);
    }
    unharmed.check();
}

fn a_lingering_socket_that_is_not_received_holds_nothing_up() {
    let unharmed = Unharmed::so_far();
    // Behind what ends the call.
    let (socket, peer) = raw::lingering_socket(linger());
    let packets = vec![(vec![1], 0), (answer(5), 1)];
    let child = say_with.spawn(packets, socket, None).unwrap();
    wait_until_dead(child.id());
    let result = within(Duration::from_secs(1), || child.join());
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    drop(peer);

    // In a call that nobody waits for.
    let (socket, peer) = raw::lingering_socket(linger());
    let child = say_with.spawn(vec![(answer(5), 1)], socket, None).unwrap();
    wait_until_dead(child.id());
    within(Duration::from_secs(1), || drop(child));
    drop(peer);

    // In a channel that is given up, either end, and by either kind of drop.
    for receives in [true, false] {
        let (socket, peer) = raw::lingering_socket(linger());
        let (ours, theirs) = duplex::<u64, u64>().unwrap();
        let packets = vec![(answer(5), 0), (vec![], 0), (answer(5), 1), (vec![1], 0)];
        let child = say_with
            .spawn(packets, socket, Some(theirs.into()))
            .unwrap();
        assert!(child.join().is_err());
        within(Duration::from_secs(1), || {
            if receives {
                drop(ours.into_receiver());
            } else {
                drop(ours.into_sender());
            }
        });
        drop(peer);
    }
    unharmed.check();
}

/// Gives an end away, keeps it, and sets options that put more into each message.
#[func]
fn give_an_end_and_spoil_it(mut give: Sender<Receiver<u64>>, mut go: Receiver<()>) {
    let (mut tx, rx) = channel::<u64>().unwrap();
    give.send(&rx).unwrap();
    go.recv().unwrap();
    const SO_PASSPIDFD: i32 = 76;
    for option in [libc::SO_PASSCRED, libc::SO_PASSSEC, SO_PASSPIDFD] {
        let _ = raw::set_option(rx.as_fd().as_raw_fd(), libc::SOL_SOCKET, option, &1i32);
    }
    for number in 0..100 {
        tx.send(&number).unwrap();
    }
}

fn options_set_on_a_passed_end_leak_nothing() {
    let unharmed = Unharmed::so_far();
    let (give, mut given) = channel().unwrap();
    let (mut go, gone) = channel().unwrap();
    let child = give_an_end_and_spoil_it.spawn(give, gone).unwrap();
    let mut rx = given.recv().unwrap().unwrap();
    go.send(&()).unwrap();
    let before = support::descriptors().len();
    for number in 0..100 {
        assert_eq!(rx.recv().unwrap(), Some(number));
    }
    assert_eq!(support::descriptors().len(), before);
    child.join().unwrap();
    drop((rx, given, go));
    unharmed.check();
}

#[func]
fn give_own_socket() -> OwnedFd {
    let socket = std::mem::ManuallyDrop::new(raw::adopt(raw::launch_socket()));
    socket.try_clone().unwrap()
}

/// Sends its own end of the socket through that socket, and leaves.
#[func]
fn send_own_socket(times: u32) -> u64 {
    let socket = raw::launch_socket();
    for _ in 0..times {
        let _ = raw::send_with(socket, &[1], &[socket], 0);
    }
    raw::exit(3)
}

#[func]
fn send_end_into_itself(channel: OwnedFd) {
    let socket = channel.as_raw_fd();
    raw::send_with(socket, &message(&[0; 8]), &[socket], 0).unwrap();
}

fn a_child_that_hands_out_its_own_socket_still_ends() {
    let unharmed = Unharmed::so_far();
    drop(within(Duration::from_secs(1), || give_own_socket.run()).unwrap());
    for times in [1, 100] {
        let child = send_own_socket.spawn(times).unwrap();
        wait_until_dead(child.id());
        let result = within(Duration::from_secs(1), || child.join());
        assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    }
    // Over a channel there is no end to wait for; the message is refused, and that is one.
    let (ours, theirs) = duplex::<u64, u64>().unwrap();
    let mut ours = ours.into_receiver();
    send_end_into_itself.run(theirs.into()).unwrap();
    let result = within(Duration::from_secs(1), || ours.recv());
    assert!(
        matches!(result, Err(ChannelError::Malformed(_))),
        "{result:?}"
    );
    drop(ours);
    unharmed.check();
}

#[func]
fn give_back(end: Duplex<u64, u64>) -> Duplex<u64, u64> {
    end
}

fn a_channel_end_of_the_child_comes_back() {
    let unharmed = Unharmed::so_far();
    let (mut ours, theirs) = duplex::<u64, u64>().unwrap();
    ours.send(&5).unwrap();
    let mut theirs = give_back.run(theirs).unwrap();
    assert_eq!(theirs.recv().unwrap(), Some(5));
    theirs.send(&6).unwrap();
    assert_eq!(ours.recv().unwrap(), Some(6));
    drop((ours, theirs));
    unharmed.check();
}

/// Gives something as a file.
#[func]
fn give_as_file(descriptor: OwnedFd) -> File {
    descriptor.into()
}

fn open(path: &std::path::Path, flags: i32) -> OwnedFd {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .custom_flags(flags)
        .open(path)
        .unwrap()
        .into()
}

fn what_is_no_file_is_not_taken_for_one() {
    let unharmed = Unharmed::so_far();
    let directory = Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, "hello").unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();

    // A control: a file and a directory.
    let mut file = give_as_file.run(open(&path, 0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(
        give_as_file
            .run(open(directory.path(), 0))
            .unwrap()
            .metadata()
            .unwrap()
            .is_dir()
    );

    let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let event = nix::sys::eventfd::EventFd::new().unwrap();
    let event = event.as_fd().try_clone_to_owned().unwrap();
    for (descriptor, found) in [
        (open(&fifo, libc::O_NONBLOCK), "the reading end of a pipe"),
        (reader.into(), "the reading end of a pipe"),
        (writer.into(), "the writing end of a pipe"),
        (unix.into(), "a Unix stream socket"),
        (null(), "a character device"),
        (
            open(std::path::Path::new("/dev/ptmx"), 0),
            "a character device",
        ),
        (event, "a descriptor that is no file"),
        (
            open(&link, libc::O_PATH | libc::O_NOFOLLOW),
            "a path that was opened by O_PATH",
        ),
        (
            open(&fifo, libc::O_PATH),
            "a path that was opened by O_PATH",
        ),
        // Whoever opened these need not have had the right to read or list them.
        (
            open(&path, libc::O_PATH),
            "a path that was opened by O_PATH",
        ),
        (
            open(directory.path(), libc::O_PATH),
            "a path that was opened by O_PATH",
        ),
        (
            open(std::path::Path::new("/proc/self/ns/net"), 0),
            "a namespace",
        ),
    ] {
        let result = within(Duration::from_secs(1), || give_as_file.run(descriptor));
        let Err(Error::Decode(error)) = result else {
            panic!("{found}: {result:?}");
        };
        assert_eq!(error.found(), found);
        assert!(
            error
                .expected()
                .starts_with("a regular file or a directory")
        );
    }
    drop((file, _peer, directory));
    let _ = text;
    unharmed.0.assert_memory(64 << 20);
}

/// Gives something as the end of a channel.
#[func]
fn give_as_end(descriptor: OwnedFd) -> OwnedFd {
    // The limits of an end: what is asked for is more than the receiver allows.
    let mut value = vec![0, 0, 0, 0];
    value.extend([0xFF; 40]);
    let head = Head {
        descriptors: 1,
        value: value.len() as u32,
        ..HEAD
    };
    let rights = [descriptor.as_raw_fd()];
    raw::send_with(raw::launch_socket(), &head.with(&value), &rights, 0).unwrap();
    raw::exit(0)
}

/// The same, to the parent's eyes: a function that gives an end.
#[func]
fn give_end(descriptor: OwnedFd) -> Receiver<u64> {
    give_as_end(descriptor);
    raw::exit(4)
}

fn what_is_no_channel_end_is_not_taken_for_one() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket, socketpair};
    let unharmed = Unharmed::so_far();
    let pair = |kind| socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
    // A control.
    let (mut tx, rx) = channel::<u64>().unwrap();
    let mut end = give_end.run(rx.into()).unwrap();
    tx.send(&5).unwrap();
    assert_eq!(end.recv().unwrap(), Some(5));
    drop((tx, end));

    let seqpacket = |connected: bool, option: Option<i32>| {
        let socket = if connected {
            pair(SockType::SeqPacket).0
        } else {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap()
        };
        if let Some(option) = option {
            raw::set_option(socket.as_raw_fd(), libc::SOL_SOCKET, option, &1i32).unwrap();
        }
        socket
    };
    for (descriptor, found) in [
        (null(), "is not a Unix socket"),
        (
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            "is not a Unix socket",
        ),
        (pair(SockType::Stream).0, "is not a SOCK_SEQPACKET socket"),
        (pair(SockType::Datagram).0, "is not a SOCK_SEQPACKET socket"),
        (seqpacket(false, None), "is not connected"),
        (
            seqpacket(true, Some(libc::SO_PASSCRED)),
            "wants credentials with each message (SO_PASSCRED and the like)",
        ),
    ] {
        let result = give_end.run(descriptor);
        let Err(Error::Decode(error)) = result else {
            panic!("{found}: {result:?}");
        };
        assert_eq!(error.found(), format!("a descriptor that {found}"));
    }
    unharmed.check();
}

fn memory_files_are_files() {
    let unharmed = Unharmed::so_far();
    for sealed in [false, true] {
        let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING;
        let memory = nix::sys::memfd::memfd_create(c"memory", flags).unwrap();
        nix::unistd::write(&memory, b"hello").unwrap();
        if sealed {
            let seals = nix::fcntl::SealFlag::F_SEAL_SHRINK | nix::fcntl::SealFlag::F_SEAL_WRITE;
            nix::fcntl::fcntl(&memory, nix::fcntl::FcntlArg::F_ADD_SEALS(seals)).unwrap();
        }
        let mut file = give_as_file.run(memory).unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
    unharmed.check();
}

/// Is traced by a process that doesn't wait for it, and ends.
#[func]
fn be_traced(until: std::io::PipeReader) -> u64 {
    raw::be_traced_by_a_child(until);
    raw::exit(3)
}

fn a_tracer_that_keeps_the_status_holds_nothing_up() {
    // The kernel gives the status to the tracer first, and that one doesn't take it.
    let (until, tracers_stay) = std::io::pipe().unwrap();
    let again = until.try_clone().unwrap();
    let result = within(Duration::from_secs(1), || be_traced.run(until));
    assert!(matches!(result, Err(Error::StatusTaken)), "{result:?}");
    let call = be_traced.builder().kill_on_drop(true);
    let child = call.spawn(again).unwrap();
    wait_until_dead(child.id());
    within(Duration::from_secs(1), || drop(child));
    // And nobody spins meanwhile.
    let before = raw::processor_time();
    std::thread::sleep(Duration::from_secs(1));
    let used = raw::processor_time() - before;
    assert!(used < Duration::from_millis(200), "{used:?}");
    assert_eq!(add.run(5, 7).unwrap(), 12);
    // Once the tracers are gone nothing is left.
    drop(tracers_stay);
    wait_until("all are gone", || raw::any_child().is_none());
}

#[func]
fn become_another(program: String) -> u64 {
    use std::os::unix::process::CommandExt;
    let _ = std::process::Command::new(program).arg("1").exec();
    raw::exit(9)
}

fn a_child_that_becomes_another_program_gives_no_result() {
    let unharmed = Unharmed::so_far();
    let result = become_another.run("true".to_owned());
    assert!(
        matches!(result, Err(Error::Exited { status: 0 })),
        "{result:?}"
    );
    let result = within(Duration::from_secs(4), || {
        become_another.run("yes".to_owned())
    });
    assert!(
        matches!(result, Err(Error::Silent | Error::Signalled { .. })),
        "{result:?}"
    );
    unharmed.check();
}

/// Ends its first thread and answers from another.
#[func]
fn answer_from_another_thread() -> u64 {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(200));
        raw::send(raw::launch_socket(), &answer(5)).unwrap();
        raw::exit(0)
    });
    raw::exit_thread()
}

fn a_dead_leader_is_not_a_dead_child() {
    let unharmed = Unharmed::so_far();
    assert_eq!(answer_from_another_thread.run().unwrap(), 5);
    unharmed.check();
}

fn many_attackers_at_once_do_not_disturb_an_honest_call() {
    let unharmed = Unharmed::so_far();
    let attackers: Vec<_> = (0..10)
        .map(|_| {
            let call = drip.builder().kill_on_drop(true);
            call.spawn(None, 200 << 20, Duration::from_millis(1))
                .unwrap()
        })
        .collect();
    for number in 0..20 {
        let result = within(Duration::from_secs(5), || add.run(number, 1));
        assert_eq!(result.unwrap(), number + 1);
    }
    drop(attackers);
    unharmed.check();
}
