use crossmist::func;

#[func]
fn show(value: impl std::fmt::Display) -> String {
    value.to_string()
}

#[func]
fn numbers() -> impl Iterator<Item = i32> {
    0..3
}

fn main() {}
