use crossmist::func;

#[func]
const fn add(x: i32, y: i32) -> i32 {
    x + y
}

fn main() {}
