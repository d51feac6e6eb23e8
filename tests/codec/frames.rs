//! Packets that this library never sends.

use std::os::fd::{AsRawFd, OwnedFd};

use crossmist::{ChannelError, ProtocolError, Receiver, channel};
use nix::sys::socket::{MsgFlags, send};

use super::support::{cost, message};

/// Sends these packets to a receiver of byte strings, and closes the channel.
fn peer(packets: &[&[u8]]) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel::<Vec<u8>>().unwrap();
    let sender = OwnedFd::from(sender);
    for packet in packets {
        send(sender.as_raw_fd(), packet, MsgFlags::empty()).unwrap();
    }
    receiver
}

#[track_caller]
fn fault(packets: &[&[u8]]) -> ProtocolError {
    match peer(packets).recv() {
        Err(ChannelError::Malformed(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The header of a message called 5 with a value of this many bytes, and runs of so many.
fn header(value: u32, runs: u32, run_bytes: u32) -> Vec<u8> {
    let mut header = message(&[]);
    header[4..8].copy_from_slice(&value.to_le_bytes());
    header[12..16].copy_from_slice(&runs.to_le_bytes());
    header[16..20].copy_from_slice(&run_bytes.to_le_bytes());
    header[24] = 5;
    header
}

fn piece(number: u32, part: &[u8]) -> Vec<u8> {
    let mut piece = vec![0xC2, 0, 0, 0];
    piece.extend_from_slice(&number.to_le_bytes());
    piece.extend_from_slice(&5u64.to_le_bytes());
    piece.extend_from_slice(part);
    piece
}

#[test]
fn a_message_in_pieces_is_put_together() {
    let value = [3, 0, 0, 0, 7, 8, 9];
    let mut packets = vec![header(7, 0, 0)];
    packets.extend((0..7).map(|at| piece(at, &value[at as usize..][..1])));
    let packets: Vec<_> = packets.iter().map(Vec::as_slice).collect();
    assert_eq!(peer(&packets).recv().unwrap(), Some(vec![7, 8, 9]));
}

#[test]
fn pieces_come_in_order_and_of_one_message() {
    let begin = header(7, 0, 0);
    let wrong = |piece, message| ProtocolError::Piece {
        message,
        piece,
        expected_message: 5,
        expected_piece: 0,
    };
    assert_eq!(fault(&[&begin, &piece(1, b"x")]), wrong(1, 5));
    let mut other = piece(0, b"x");
    other[8] = 6;
    assert_eq!(fault(&[&begin, &other]), wrong(0, 6));
    let (bytes, header) = (16, 16);
    assert_eq!(
        fault(&[&begin, &piece(0, b"")]),
        ProtocolError::Short { bytes, header }
    );
    assert_eq!(
        fault(&[&begin, &piece(0, &[0; 8])]),
        ProtocolError::Truncated
    );
    assert_eq!(fault(&[&begin]), ProtocolError::Unfinished);
}

#[test]
fn an_empty_packet_is_not_the_end() {
    let (sender, mut receiver) = channel::<Vec<u8>>().unwrap();
    let sender = OwnedFd::from(sender);
    send(sender.as_raw_fd(), &[], MsgFlags::empty()).unwrap();
    match receiver.recv() {
        Err(ChannelError::Malformed(error)) => assert_eq!(error, ProtocolError::Empty),
        other => panic!("{other:?}"),
    }
    // With nobody there to send another one it is: the two can't be told apart.
    assert_eq!(peer(&[&[]]).recv().unwrap(), None);
}

#[test]
fn a_header_is_held_to_the_limits_before_anything_is_stored() {
    let field = |field, value| ProtocolError::Field { field, value };
    assert_eq!(fault(&[&piece(0, &[0; 16])]), field("kind", 0xC2));
    let mut bytes = header(0, 0, 0);
    bytes[20] = 9;
    assert_eq!(fault(&[&bytes]), field("zero", 1));
    let (bytes, limit) = (1 + (256 << 20), 256 << 20);
    let long = header(1 + (256 << 20), 0, 0);
    assert_eq!(fault(&[&long]), ProtocolError::TooLong { bytes, limit });
    assert_eq!(fault(&[&header(4, 1, 65_535)]), ProtocolError::Runs);
    assert_eq!(fault(&[&header(4, 0, 65_536)]), ProtocolError::Runs);
    assert_eq!(fault(&[&header(4, 1025, 1025 << 16)]), ProtocolError::Runs);
    let mut code = header(0, 0, 0);
    code[8] = 1;
    assert_eq!(fault(&[&code]), ProtocolError::Code { references: 1 });
    let mut descriptors = header(0, 0, 0);
    descriptors[2] = 2;
    let (expected, found) = (2, 0);
    assert_eq!(
        fault(&[&descriptors]),
        ProtocolError::Descriptors { expected, found }
    );
}

#[test]
fn the_table_of_runs_agrees_with_the_header() {
    let table = |lengths: &[u32]| {
        let total = lengths.iter().sum();
        let mut packet = header(4, lengths.len() as u32, total);
        packet.extend_from_slice(&65_536u32.to_le_bytes());
        for length in lengths {
            packet.extend_from_slice(&length.to_le_bytes());
        }
        packet
    };
    assert_eq!(fault(&[&table(&[65_536])]), ProtocolError::Unfinished);
    assert_eq!(fault(&[&table(&[65_535, 65_537])]), ProtocolError::Runs);
    let mut other = table(&[65_536]);
    other[16] += 1;
    assert_eq!(fault(&[&other]), ProtocolError::Runs);
}

#[test]
fn memory_is_reserved_for_arrived_bytes_not_for_announced_ones() {
    for begin in [header(200 << 20, 0, 0), header(4, 1, 200 << 20)] {
        let mut first = begin;
        if first[12] == 1 {
            first.extend_from_slice(&(200u32 << 20).to_le_bytes());
            first.extend_from_slice(&(200u32 << 20).to_le_bytes());
        }
        let mut receiver = peer(&[&first, &piece(0, &[0; 1000])]);
        let (result, cost) = cost(|| receiver.recv());
        assert!(matches!(
            result,
            Err(ChannelError::Malformed(ProtocolError::Unfinished))
        ));
        // The buffer of a first packet, and one piece ahead, which may be twice as long.
        assert!(cost.peak <= (200 << 10) + (1 << 20), "{} bytes", cost.peak);
    }
}
