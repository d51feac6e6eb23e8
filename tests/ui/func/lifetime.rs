use crossmist::func;

#[func]
fn longest<'a, 'b>(left: std::borrow::Cow<'a, str>, right: std::borrow::Cow<'b, str>) -> usize {
    left.len().max(right.len())
}

fn main() {}
