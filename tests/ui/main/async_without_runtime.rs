#[crossmist::main]
async fn main() {}
