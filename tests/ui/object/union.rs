use crossmist::Object;

#[derive(Object)]
union Either {
    number: u32,
    bytes: [u8; 4],
}

fn main() {}
