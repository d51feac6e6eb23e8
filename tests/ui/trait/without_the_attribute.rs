use crossmist::func;

trait Speak: crossmist::Object {
    fn speak(&self) -> String;
}

#[func]
fn listen(speaker: Box<dyn Speak>) -> String {
    speaker.speak()
}

fn main() {}
