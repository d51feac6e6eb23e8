use crossmist::func;

#[func]
fn add(x: i32, #[cfg(test)] y: i32) -> i32 {
    x
}

fn main() {}
