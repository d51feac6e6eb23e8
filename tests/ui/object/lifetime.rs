use crossmist::Object;

#[derive(Object)]
struct Name<'a> {
    text: std::borrow::Cow<'a, str>,
}

fn main() {}
