use crossmist::func;

#[func(tokio)]
fn add(x: i32, y: i32) -> i32 {
    x + y
}

fn main() {}
