use crossmist::func;

#[func(sandbox = "mistakes")]
fn parse(text: String) -> usize {
    text.len()
}

fn main() {
    let _ = parse.run(String::new());
}
