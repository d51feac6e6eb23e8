//! Idle children, weighed by `rows::memory::private_memory`.

use crate::harness::{Group, Result, Sample, expect_same};
use crate::ours::round_trip;
use crate::rows::memory::{CHILDREN, private_memory};

pub(crate) fn idle_children(group: &mut Group) {
    group.ours("spawn", || Ok(idle));
}

fn idle() -> Result<Sample> {
    let mut children = Vec::new();
    for index in 0..CHILDREN as u64 {
        let (child, mut channel) = round_trip::start()?;
        // It has answered once, so it is idle now.
        let message = index.to_ne_bytes().to_vec();
        expect_same(channel.request(&message)?, message)?;
        children.push((child, channel));
    }
    private_memory(children.iter().filter_map(|(child, _)| child.id()))
}
