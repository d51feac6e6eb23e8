//! Many bytes one way: a child becomes the owner of a `Vec<u8>` and says so.
//!
//! The clock stops at the acknowledgement. The child then sums what it got, drops it, and the
//! parent compares sums.

use std::cell::LazyCell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use ipc_channel::ipc::{
    self, IpcBytesSender, IpcReceiver, IpcSender, IpcSharedMemory, bytes_channel,
};

use super::round_trip::{ipc_child, label, same_bytes};
use crate::harness::{Group, Placement, Result, Row, Turn, expect_same};
use crate::ours;
use crate::raw::process::{Command, Launch};
use crate::raw::slots::Slots;
use crate::raw::socket::{self, Kind};

pub(crate) const FAMILY: &str = "bulk, owned";

/// The default socket buffer takes packets of up to 212,700 bytes.
const PACKET: usize = 200 << 10;
const CHUNK: usize = 1 << 20;

pub(crate) fn groups(smoke: bool) -> Vec<Group> {
    let sizes = match smoke {
        true => [1, 2, 4],
        false => [1, 16, 256],
    };
    let plan = [
        (
            5.0,
            Turn {
                lead_in: 2,
                repeats: 5,
                at_most: usize::MAX,
            },
        ),
        (3.0, Turn::MEDIUM),
        (2.0, Turn::LONG),
    ];
    let groups = sizes
        .into_iter()
        .zip(plan)
        .map(|(mebibytes, (target, turn))| {
            let size = mebibytes << 20;
            let payload: Payload = Rc::new(LazyCell::new(Box::new(move || payload(size))));
            let mut group = Group::new(FAMILY, label(size), Placement::TwoCores)
                .turn(turn)
                .target(target)
                .headline();
            let bytes = Rc::clone(&payload);
            group.raw("memcpy into a new Vec", move || Ok(copy(bytes)));
            let bytes = Rc::clone(&payload);
            group.raw("SOCK_STREAM, 1 MiB chunks", move || {
                raw(bytes, Kind::Stream, CHUNK)
            });
            let bytes = Rc::clone(&payload);
            group.raw("SOCK_SEQPACKET, 200 KiB packets", move || {
                raw(bytes, Kind::Packets, PACKET)
            });
            let bytes = Rc::clone(&payload);
            group.raw("four shared slots of 256 KiB", move || slots(bytes));
            let bytes = Rc::clone(&payload);
            group.peer("ipc-channel Vec<u8>", move || ipc_vec(bytes));
            let bytes = Rc::clone(&payload);
            group.peer("ipc-channel bytes_channel", move || ipc_bytes(bytes));
            let bytes = Rc::clone(&payload);
            group.peer("ipc-channel shared memory, to_vec", move || {
                ipc_shared(bytes)
            });
            ours::bulk::one_way(&mut group, &payload);
            group
        });
    groups.chain(answers(smoke)).collect()
}

/// A `Vec<u8>` as the answer of a confined call, which makes it. The floor only makes it.
fn answers(smoke: bool) -> impl Iterator<Item = Group> {
    let sizes = match smoke {
        true => [1, 2, 4],
        false => [1, 16, 64],
    };
    sizes.into_iter().map(|mebibytes| {
        let size = mebibytes << 20;
        let mut group =
            Group::new("bulk, answer", label(size), Placement::TwoCores).turn(Turn::MEDIUM);
        group.raw("a new Vec, filled", move || {
            Ok(move || {
                let start = Instant::now();
                let made = vec![7_u8; size];
                std::hint::black_box(&made);
                Ok(start.elapsed().into())
            })
        });
        ours::bulk::answers(&mut group, size);
        group
    })
}

/// The value that the rows of one size send. Made when the first of them is set up, as passes before it
/// should not carry it around.
pub(crate) type Payload = Rc<LazyCell<Vec<u8>, Box<dyn FnOnce() -> Vec<u8>>>>;

/// Bytes in which no two pieces are alike.
fn payload(size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    for word in 0..size as u64 / 8 {
        let mixed = (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    bytes
}

/// Depends on the value and place of every byte.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chain(rest).fold(bytes.len() as u64, |sum, word| {
        (sum ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23)
    })
}

fn copy(payload: Payload) -> impl Row {
    move || {
        let start = Instant::now();
        let copied = payload.to_vec();
        let took = start.elapsed();
        same_bytes(&copied, &payload)?;
        Ok(took.into())
    }
}

fn raw(payload: Payload, kind: Kind, piece: usize) -> Result<impl Row> {
    let parameters = [piece, payload.len()].map(|number| number.to_string());
    let (child, socket) = Command::role("bulk", &parameters)?.start(Launch::PosixSpawn, kind)?;
    let expected = sum(&payload);
    Ok(move || {
        let _alive = &child;
        let start = Instant::now();
        for piece in payload.chunks(piece) {
            socket::send_all(socket.as_fd(), piece)?;
        }
        let mut length = [0; 8];
        socket::receive_exact(socket.as_fd(), &mut length)?;
        let took = start.elapsed();
        expect_same(u64::from_le_bytes(length), payload.len() as u64)?;
        let mut summed = [0; 8];
        socket::receive_exact(socket.as_fd(), &mut summed)?;
        expect_same(u64::from_le_bytes(summed), expected)?;
        Ok(took.into())
    })
}

pub(crate) fn receive_bulk(socket: OwnedFd, parameters: &[String]) -> Result<()> {
    let [piece, length] = parameters else {
        return Err("wants the size of a piece and the length".into());
    };
    let (piece, length) = (piece.parse()?, length.parse()?);
    while let Some(bytes) = socket::receive_vec(socket.as_fd(), length, piece)? {
        let length = (bytes.len() as u64).to_le_bytes();
        socket::send_all(socket.as_fd(), &length)?;
        let summed = sum(&bytes).to_le_bytes();
        drop(bytes);
        socket::send_all(socket.as_fd(), &summed)?;
    }
    Ok(())
}

fn slots(payload: Payload) -> Result<impl Row> {
    let slots = Slots::new()?;
    let parameters = [slots.path(), payload.len().to_string()];
    let command = Command::role("bulk-slots", &parameters)?;
    let (child, socket) = command.start(Launch::PosixSpawn, Kind::Packets)?;
    let expected = sum(&payload);
    Ok(move || {
        let _alive = &child;
        let start = Instant::now();
        socket::send_all(socket.as_fd(), &[1])?;
        slots.send(&payload);
        let mut length = [0; 8];
        socket::receive_exact(socket.as_fd(), &mut length)?;
        let took = start.elapsed();
        expect_same(u64::from_le_bytes(length), payload.len() as u64)?;
        let mut summed = [0; 8];
        socket::receive_exact(socket.as_fd(), &mut summed)?;
        expect_same(u64::from_le_bytes(summed), expected)?;
        Ok(took.into())
    })
}

pub(crate) fn receive_slots(socket: OwnedFd, parameters: &[String]) -> Result<()> {
    let [path, length] = parameters else {
        return Err("wants the slots and the length".into());
    };
    let (slots, length) = (Slots::open(path)?, length.parse()?);
    while let Some(_) = socket::receive_vec(socket.as_fd(), 1, 1)? {
        let bytes = slots.receive(length);
        socket::send_all(socket.as_fd(), &(bytes.len() as u64).to_le_bytes())?;
        let summed = sum(&bytes).to_le_bytes();
        drop(bytes);
        socket::send_all(socket.as_fd(), &summed)?;
    }
    Ok(())
}

/// The child's answers: first the length, then the sum.
type Answers = IpcReceiver<u64>;

fn ipc_vec(payload: Payload) -> Result<impl Row> {
    let (child, (sender, answers)): (_, (IpcSender<Vec<u8>>, Answers)) =
        ipc_child("ipc-bulk", &["vec".into()])?;
    let expected = sum(&payload);
    Ok(move || {
        let _alive = &child;
        let owned = payload.to_vec();
        let start = Instant::now();
        sender.send(owned)?;
        expect_same(answers.recv()?, payload.len() as u64)?;
        let took = start.elapsed();
        expect_same(answers.recv()?, expected)?;
        Ok(took.into())
    })
}

fn ipc_bytes(payload: Payload) -> Result<impl Row> {
    let (child, (sender, answers)): (_, (IpcBytesSender, Answers)) =
        ipc_child("ipc-bulk", &["bytes".into()])?;
    let expected = sum(&payload);
    Ok(move || {
        let _alive = &child;
        let start = Instant::now();
        sender.send(&payload)?;
        expect_same(answers.recv()?, payload.len() as u64)?;
        let took = start.elapsed();
        expect_same(answers.recv()?, expected)?;
        Ok(took.into())
    })
}

/// Both copies count, into the shared memory and out of it: that is how a `Vec` becomes a `Vec`.
fn ipc_shared(payload: Payload) -> Result<impl Row> {
    let (child, (sender, answers)): (_, (IpcSender<IpcSharedMemory>, Answers)) =
        ipc_child("ipc-bulk", &["shared".into()])?;
    let expected = sum(&payload);
    Ok(move || {
        let _alive = &child;
        let start = Instant::now();
        sender.send(IpcSharedMemory::from_bytes(&payload))?;
        expect_same(answers.recv()?, payload.len() as u64)?;
        let took = start.elapsed();
        expect_same(answers.recv()?, expected)?;
        Ok(took.into())
    })
}

pub(crate) fn ipc_receive_bulk(parameters: &[String]) -> Result<()> {
    let [name, road] = parameters else {
        return Err("wants the server's name and the road".into());
    };
    let (to_parent, answers) = ipc::channel::<u64>()?;
    let acknowledge = |bytes: Vec<u8>| -> Result<()> {
        to_parent.send(bytes.len() as u64)?;
        let summed = sum(&bytes);
        drop(bytes);
        Ok(to_parent.send(summed)?)
    };
    match road.as_str() {
        "vec" => {
            let (sender, receiver) = ipc::channel::<Vec<u8>>()?;
            IpcSender::connect(name.clone())?.send((sender, answers))?;
            while let Ok(bytes) = receiver.recv() {
                acknowledge(bytes)?;
            }
        }
        "bytes" => {
            let (sender, receiver) = bytes_channel()?;
            IpcSender::connect(name.clone())?.send((sender, answers))?;
            while let Ok(bytes) = receiver.recv() {
                acknowledge(bytes)?;
            }
        }
        "shared" => {
            let (sender, receiver) = ipc::channel::<IpcSharedMemory>()?;
            IpcSender::connect(name.clone())?.send((sender, answers))?;
            while let Ok(shared) = receiver.recv() {
                acknowledge(shared.to_vec())?;
            }
        }
        _ => return Err("there is no such road".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{payload, sum};

    #[test]
    fn the_sum_notices_two_words_that_changed_places() {
        let mut bytes = payload(64);
        let before = sum(&bytes);
        bytes[..16].rotate_left(8);
        assert_ne!(sum(&bytes), before);
    }
}
