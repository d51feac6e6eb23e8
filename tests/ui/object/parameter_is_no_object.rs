use crossmist::Object;

struct Opaque;

#[derive(Object)]
struct Pair<T>(T, T);

fn main() {
    let _ = crossmist::to_bytes(&Pair(Opaque, Opaque));
}
