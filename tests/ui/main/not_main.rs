#[crossmist::main]
fn start() {}

fn main() {}
