use crossmist::func;

struct Counter(u32);

impl Counter {
    #[func]
    fn new(count: u32) -> Self {
        Counter(count)
    }
}

fn main() {}
