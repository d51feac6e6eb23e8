use crossmist::func;

struct Counter(u32);

impl Counter {
    #[func]
    fn count(&self, by: u32) -> u32 {
        self.0 + by
    }
}

fn main() {}
