use crossmist::func;

#[func]
fn add((x, y): (i32, i32), [z]: [i32; 1]) -> i32 {
    x + y + z
}

fn main() {}
