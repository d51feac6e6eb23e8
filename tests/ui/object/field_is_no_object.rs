use crossmist::Object;

struct Opaque;

#[derive(Object)]
struct Named {
    number: u32,
    value: Opaque,
}

#[derive(Object)]
enum Tuple {
    One(u32, Vec<Opaque>),
}

fn main() {}
