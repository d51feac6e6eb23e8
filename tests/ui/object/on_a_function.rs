#[derive(crossmist::Object)]
fn add() {}

fn main() {}
