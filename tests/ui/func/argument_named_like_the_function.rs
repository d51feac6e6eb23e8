use crossmist::func;

#[func]
fn number(number: i32) -> i32 {
    number
}

fn main() {}
