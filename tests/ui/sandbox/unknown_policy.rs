use crossmist::func;

#[func(sandbox = "praser")]
fn parse(text: String) -> usize {
    text.len()
}

fn main() {
    let _ = parse.run(String::new());
}
