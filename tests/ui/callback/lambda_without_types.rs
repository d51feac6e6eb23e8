use crossmist::lambda;

#[crossmist::main]
fn main() {
    let x = 5;
    let _ = lambda! { move(x) |y: i32| -> i32 { x * y } };
    let _ = lambda! { |y| y + 1 };
}
