use crossmist::Object;

#[derive(Object)]
#[repr(C, packed(2))]
struct Header {
    kind: u8,
    length: u32,
}

fn main() {}
