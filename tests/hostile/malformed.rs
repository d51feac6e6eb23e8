//! Packets that are no message, no answer, or not the whole of one.

use std::time::Duration;

use crossmist::{ChannelError, Error, ProtocolError, duplex};

use crate::cases;
use crate::peer::{After, HEAD, Head, LIMIT, Unharmed, answer, message, piece, say, say_over};
use crate::support::{Case, within};

pub(crate) const CASES: &[Case] = cases![
    packets_that_are_no_answer_end_the_call,
    packets_that_are_no_message_end_the_channel,
    messages_of_another_type_leave_the_channel_usable,
    an_answer_is_one_value_of_the_type_and_nothing_more,
    an_unfinished_answer_is_no_answer,
];

/// Packets that are no message, and what is said of them.
fn malformed() -> Vec<(String, Vec<Vec<u8>>, ProtocolError)> {
    let mut all: Vec<(String, Vec<Vec<u8>>, ProtocolError)> = Vec::new();
    let mut is = |name: &str, packets: Vec<Vec<u8>>, error| {
        all.push((name.to_owned(), packets, error));
    };
    is("an empty packet", vec![vec![]], ProtocolError::Empty);
    for length in 1..32 {
        is(
            "garbage",
            vec![vec![0xC1; length]],
            ProtocolError::Short {
                bytes: length,
                header: 32,
            },
        );
    }
    for length in 32..64 {
        let field = ProtocolError::Field {
            field: "kind",
            value: 0xAA,
        };
        is("garbage", vec![vec![0xAA; length]], field);
    }
    let field = |field, value| ProtocolError::Field { field, value };
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
        let error = ProtocolError::Descriptors {
            expected: descriptors.into(),
            found: 0,
        };
        is("missing descriptors", vec![wrong.with(&body)], error);
    }
    for code in [1, 1000, u32::MAX] {
        let wrong = Head { code, ..head };
        let error = ProtocolError::Code { references: code };
        is("code", vec![wrong.with(&[0; 17])], error);
    }
    for value in [LIMIT as u32 + 1, u32::MAX] {
        let error = ProtocolError::TooLong {
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
    let error = ProtocolError::TooLong {
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
        is("runs", vec![wrong.with(&body)], ProtocolError::Runs);
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
        is("other runs", vec![packet], ProtocolError::Runs);
    }
    is(
        "more than announced",
        vec![head.with(&[0; 10])],
        field("length", 10),
    );
    is(
        "a long packet",
        vec![vec![0xC1; 204_801]],
        ProtocolError::Truncated,
    );

    // Pieces. The message has 9 bytes, of which 4 come with the header.
    let first = || Head { name: 7, ..head }.with(&[0; 4]);
    let wrong_piece = |message, piece, expected_piece| ProtocolError::Piece {
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
        ProtocolError::Truncated,
    );
    is(
        "a piece without bytes",
        vec![first(), piece(0, 7, &[])],
        ProtocolError::Short {
            bytes: 16,
            header: 16,
        },
    );
    for length in 1..16 {
        let error = ProtocolError::Short {
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
        ProtocolError::Unfinished,
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
    assert_eq!(
        decode(&[9; 9]),
        pair("the kind of an answer, 0 to 5 or 7", "9")
    );
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
                matches!(result, Err(Error::Malformed(ProtocolError::Surplus))),
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
            matches!(result, Err(Error::Malformed(ProtocolError::Unfinished))),
            "{result:?}"
        );
        let call = say.builder().deadline(Duration::from_millis(200));
        let result = within(Duration::from_secs(1), || call.run(packets, After::Stay));
        assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    }
    unharmed.check();
}
