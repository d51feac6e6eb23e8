#[crossmist::object]
struct Dog;

fn main() {}
