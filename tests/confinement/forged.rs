//! Forgeries of a child: reports on its confinement, denied calls, stacks.

use std::time::Duration;

use crossmist::{Error, func};

use crate::cases;
use crate::support::{self, Case, Holdings, raw, within};

pub(crate) const CASES: &[Case] = cases![
    a_stack_that_a_child_forges_is_refused_or_unknown,
    what_a_child_forges_about_its_confinement_is_refused,
];

/// Returns the packet by which a child would report a panic with this many addresses on its stack.
fn panicked(count: u8, stack: &[u64]) -> Vec<u8> {
    let mut value = vec![1];
    for text in ["forged", "nowhere"] {
        value.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        value.extend(text.as_bytes());
    }
    value.push(count);
    value.extend(stack.iter().flat_map(|address| address.to_le_bytes()));
    message(&value)
}

fn a_stack_that_a_child_forges_is_refused_or_unknown() {
    let wild = [0, 1, u64::MAX, u64::MAX - 1, 1 << 47, 1 << 63];
    match forged(vec![panicked(6, &wild)], false) {
        Err(Error::Panicked(panic)) => {
            let stack = panic.backtrace();
            assert_eq!(stack.len(), 6);
            assert!(stack.iter().all(|frame| frame.function.is_none()));
        }
        other => panic!("{other:?}"),
    }
    // Any place in the program is somewhere in it, and none is a reason to fail.
    for step in [1u64, 4096, 65536] {
        let stack: Vec<u64> = (0..64).map(|index| index * step).collect();
        match forged(vec![panicked(64, &stack)], false) {
            Err(Error::Panicked(panic)) => assert!(panic.backtrace().len() >= 64),
            other => panic!("{other:?}"),
        }
    }
    for (count, length) in [(65, 65), (255, 255), (2, 1), (1, 2)] {
        let packet = panicked(count, &vec![1; length]);
        let result = forged(vec![packet], false);
        assert!(
            matches!(result, Err(Error::Decode(_))),
            "{count}: {result:?}"
        );
    }
}

/// A message in one packet.
pub(crate) fn message(value: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xC1, 0, 0, 0];
    packet.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    packet.resize(32, 0);
    packet.extend(value);
    packet
}

/// Returns the packet by which a handler would report a denied call.
fn note(call: u32, path: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xC3, 0];
    packet.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
    packet.extend(call.to_le_bytes());
    packet.resize(208, 0);
    packet.extend(path);
    packet
}

/// Sends packets where the answer is expected, and ends without one of its own, or with one.
#[func(sandbox = dynamic)]
fn forges(packets: Vec<Vec<u8>>, then_answers: bool) -> u8 {
    for packet in packets {
        // The caller may have hung up by then.
        let _ = raw::send(raw::launch_socket(), &packet);
    }
    if !then_answers {
        std::process::exit(0);
    }
    7
}

/// Returns the result of a call whose child forges.
fn forged(packets: Vec<Vec<u8>>, then_answers: bool) -> Result<u8, Error> {
    let policy = support::in_time("pure", Duration::from_secs(60), "");
    forges.sandbox(&policy).run(packets, then_answers)
}

fn what_a_child_forges_about_its_confinement_is_refused() {
    let holdings = {
        // A control: these are the forms of an answer and of a note.
        assert_eq!(forged(vec![message(&[0, 5])], false).unwrap(), 5);
        assert_eq!(forged(vec![note(2, b"/etc/passwd")], true).unwrap(), 7);
        Holdings::now()
    };
    let status = |tag| {
        let mut value = vec![tag];
        value.resize(1 + 9 * 8 + 3, 0);
        message(&value)
    };
    let mut begun = message(&[0]);
    begun[4..8].copy_from_slice(&1000u32.to_le_bytes());
    begun[24] = 1;
    for (what, packets) in [
        ("a second status", vec![status(4)]),
        ("a failure after it", vec![message(&[5, 3, 1, 0, 0, 0])]),
        ("two notes", vec![note(1, b""), note(1, b"")]),
        (
            "a note that is too short",
            vec![note(1, b"")[..207].to_vec()],
        ),
        (
            "a note with another length",
            vec![[note(1, b"ab"), vec![0]].concat()],
        ),
        ("a note with a long path", vec![note(1, &[b'a'; 257])]),
        (
            "a note of another version",
            vec![[vec![0xC3, 1], note(1, b"")[2..].to_vec()].concat()],
        ),
        ("a status that is cut off", vec![message(&[4, 0, 0])]),
        (
            "a step that there is none of",
            vec![message(&[5, 99, 0, 0, 0, 0])],
        ),
        ("two answers", vec![message(&[0, 5]), message(&[0, 5])]),
        ("an answer and a status", vec![message(&[0, 5]), status(4)]),
    ] {
        let result = within(Duration::from_secs(2), || forged(packets, false));
        assert!(
            matches!(result, Err(Error::Malformed(_) | Error::Decode(_))),
            "{what}: {result:?}"
        );
    }
    // A note ends the message that it interrupts. A child that then just exits has violated nothing: the
    // kernel's word is what counts.
    let result = forged(vec![begun, note(41, b"")], false);
    assert!(
        matches!(result, Err(Error::Exited { status: 0, .. })),
        "{result:?}"
    );
    let result = forged(vec![note(41, b"")], false);
    assert!(
        matches!(result, Err(Error::Exited { status: 0, .. })),
        "{result:?}"
    );
    holdings.assert_same();
}
