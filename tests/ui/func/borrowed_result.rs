use crossmist::func;

#[func]
fn name() -> &'static str {
    "name"
}

fn main() {}
