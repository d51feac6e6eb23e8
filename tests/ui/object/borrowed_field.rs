use crossmist::Object;

#[derive(Object)]
struct Name {
    text: &'static str,
    parts: Vec<&'static [u8]>,
}

fn main() {}
