use crossmist::func;

#[func(sandbox = "parser")]
fn parse(text: String) -> usize {
    text.len()
}

fn main() {
    let _ = parse.run(String::new());
}
