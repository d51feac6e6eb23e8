#[crossmist::main]
struct Main;

fn main() {}
