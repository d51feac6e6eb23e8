#![allow(unused_variables)]

use crossmist::func;

struct Opaque;

#[func]
fn close(times: u32) -> Option<Opaque> {
    None
}

fn main() {}
