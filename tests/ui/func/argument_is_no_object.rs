#![allow(unused_variables)]

use crossmist::func;

struct Opaque;

#[func]
fn open(times: u32, value: Vec<Opaque>) {}

fn main() {}
