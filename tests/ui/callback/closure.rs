use crossmist::{FnObject, func};

#[func]
fn apply(f: Box<dyn FnObject<(i32,), Output = i32>>) -> i32 {
    f.call_object((7,))
}

#[crossmist::main]
fn main() {
    let x = 5;
    let _ = apply.run(Box::new(move |y| x * y));
}
