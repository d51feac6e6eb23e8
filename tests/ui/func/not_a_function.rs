use crossmist::func;

#[func]
struct Add(i32, i32);

#[func]
pub const ADD: fn(i32) -> i32 = |x| x + 1;

fn main() {}
