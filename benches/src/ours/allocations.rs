//! `Sender::send` of 64 bytes, counted by `allocator::count`.

use crate::allocator;
use crate::harness::{Group, Result, Row, Sample};
use crate::rows::allocations::SIZE;
use crate::rows::round_trip::{Messages, same_bytes};

pub(crate) fn sending(group: &mut Group) {
    group.ours("send", send);
}

fn send() -> Result<impl Row> {
    let (mut sender, mut receiver) = crossmist::channel::<Vec<u8>>()?;
    let mut messages = Messages::new(SIZE);
    Ok(move || {
        let message = messages.next().to_vec();
        let (sent, allocations) = allocator::count(|| sender.send(&message));
        sent?;
        same_bytes(&receiver.recv()?.unwrap_or_default(), &message)?;
        Ok(Sample(allocations as f64))
    })
}
