use crossmist::func;

#[func]
fn call(f: dyn Fn() -> i32, bytes: [u8], text: str) {}

fn main() {}
