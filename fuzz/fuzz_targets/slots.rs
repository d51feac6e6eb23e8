//! Messages of which pieces are in shared memory, as a hostile child could send them.
//!
//! The input is a byte with the length of what is at the memory's beginning, in words of eight bytes, that, and
//! packets: two bytes with the length, and the bytes.
#![cfg_attr(fuzzing, no_main)]

use crossmist::fuzzing;

fn run(input: &[u8]) {
    let Some((words, input)) = input.split_first() else {
        return;
    };
    let (memory, mut rest) = input.split_at((usize::from(*words) * 8).min(input.len()));
    let mut packets = Vec::new();
    while let Some(([low, high], more)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (packet, more) = more.split_at(length);
        packets.push(packet);
        rest = more;
    }
    fuzzing::slots(&packets, memory).expect("sockets and memory");
}

crossmist_fuzz::target!("slots", run);
