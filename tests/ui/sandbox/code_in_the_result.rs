use crossmist::{FnObject, Object, func};

#[derive(Object)]
struct Wrapper<T>(T);

#[func(sandbox = "pure")]
fn boxed() -> Result<Box<dyn FnObject<(), Output = u8>>, String> {
    Err(String::new())
}

#[func(sandbox = "pure")]
fn wrapped() -> Wrapper<crossmist::StaticRef<u8>> {
    loop {}
}

fn main() {}
