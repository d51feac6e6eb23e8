use crossmist::func;

// The function itself is fine, so its call is no error more.
#[func(tokyo, crat = ::crossmist, sandbx = "parser", timeout = 5, crate = 7)]
fn add(x: i32, y: i32) -> i32 {
    x + y
}

fn main() {
    let _ = add.run(5, 7);
}
