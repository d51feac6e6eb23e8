#[crossmist::object]
trait Show {
    const NAME: &'static str;
    fn new() -> Box<Self>;
    fn show<T>(&self, value: T) -> String;
    async fn wait(&self);
    fn both<T>(&self, value: T) -> T
    where
        Self: Sized;
}

fn main() {}
