use crossmist::Object;

#[derive(Object)]
#[object(crat = ::crossmist)]
struct Misspelt;

#[derive(Object)]
#[object]
struct Nothing;

#[derive(Object)]
struct Field {
    #[object(recursive)]
    next: Option<Box<Field>>,
}

fn main() {}
