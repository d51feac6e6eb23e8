#[crossmist::object]
trait Make {
    type Thing;
    fn make(&self) -> Self::Thing;
}

fn main() {}
