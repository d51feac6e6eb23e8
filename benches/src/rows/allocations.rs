//! Allocations that sending a small message costs, once everything is warm.

use std::os::fd::AsFd;

use ipc_channel::ipc;

use super::round_trip::{Messages, same_bytes};
use crate::allocator;
use crate::harness::{Group, Placement, Result, Row, Sample, Turn, Unit};
use crate::ours;
use crate::raw::socket;

pub(crate) const FAMILY: &str = "allocations";
pub(crate) const SIZE: usize = 64;

pub(crate) fn groups() -> Vec<Group> {
    let mut group = Group::new(FAMILY, "sending 64 B", Placement::OneCore)
        .unit(Unit::Count)
        .turn(Turn {
            lead_in: 16,
            repeats: 16,
            at_most: 4,
        });
    group.raw("SOCK_SEQPACKET", packets);
    group.peer("ipc-channel", ipc_channel);
    ours::allocations::sending(&mut group);
    vec![group]
}

fn packets() -> Result<impl Row> {
    let (here, there) = socket::pair(socket::Kind::Packets)?;
    let mut messages = Messages::new(SIZE);
    Ok(move || {
        let message = messages.next();
        let (sent, allocations) = allocator::count(|| socket::send(here.as_fd(), message));
        sent?;
        same_bytes(&socket::receive_array::<SIZE>(there.as_fd())?, message)?;
        Ok(Sample(allocations as f64))
    })
}

fn ipc_channel() -> Result<impl Row> {
    let (sender, receiver) = ipc::channel::<Vec<u8>>()?;
    let mut messages = Messages::new(SIZE);
    Ok(move || {
        let message = messages.next();
        let owned = message.to_vec();
        let (sent, allocations) = allocator::count(|| sender.send(owned));
        sent?;
        same_bytes(&receiver.recv()?, message)?;
        Ok(Sample(allocations as f64))
    })
}
