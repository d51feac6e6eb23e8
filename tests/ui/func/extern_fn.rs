use crossmist::func;

#[func]
extern "C" fn add(x: i32, y: i32) -> i32 {
    x + y
}

fn main() {}
