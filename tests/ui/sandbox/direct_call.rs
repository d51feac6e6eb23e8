use crossmist::func;

#[func(sandbox = "pure")]
fn parse(text: String) -> usize {
    text.len()
}

fn main() {
    let _ = parse(String::new());
    let _ = parse.call_unconfined(String::new());
}
