#![allow(unused_variables)]

use crossmist::func;

#[func(tokyo)]
unsafe fn everything<'a>((x, y): (i32, i32), name: &'a str) -> &'a str {
    name
}

fn main() {}
