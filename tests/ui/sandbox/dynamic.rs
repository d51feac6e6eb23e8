use crossmist::func;

#[func(sandbox = dynamic, wall_time = "2s")]
fn narrowed() {}

#[func(sandbox = dynamic)]
fn parse(text: String) -> usize {
    text.len()
}

fn main() {
    // There is no policy to run it under.
    let _ = parse.run(String::new());
}
