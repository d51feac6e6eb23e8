use crossmist::func;

#[func(callback, sandbox = "pure")]
fn parse(text: &str) -> usize {
    text.len()
}

fn main() {}
