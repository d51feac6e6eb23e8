#[crossmist::object]
trait Find<'a> {
    fn find(&self, text: &'a str) -> &'a str;
}

fn main() {}
