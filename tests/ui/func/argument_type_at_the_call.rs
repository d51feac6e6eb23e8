use crossmist::func;

#[func]
fn add(x: i32, y: i32) -> i32 {
    x + y
}

fn main() {
    let _ = add("5", 7);
    let _ = add.run("5", 7);
    let _ = add.spawn(5, 7.0);
}
