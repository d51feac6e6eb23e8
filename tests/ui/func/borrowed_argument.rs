use crossmist::func;

use std::borrow::Cow;

#[func]
fn lengths(name: &str, numbers: &[i32], file: Option<&std::path::Path>, rest: Cow<'_, str>) -> usize {
    name.len() + numbers.len() + file.map_or(0, |_| 1) + rest.len()
}

fn main() {}
