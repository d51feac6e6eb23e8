//! The library by another name, and by way of another module: `::crossmist` is nothing here.

mod facade {
    pub(crate) use renamed as inner;
}

#[renamed::func(crate = renamed)]
fn add(x: i32, y: i32) -> i32 {
    x + y
}

#[renamed::func(crate = "crate::facade::inner")]
fn pair<T: renamed::Object, const N: usize>(x: T, y: [u8; N]) -> Pair<T, N> {
    Pair(x, y)
}

#[derive(renamed::Object, Debug, PartialEq)]
#[object(crate = crate::facade::inner)]
struct Pair<T, const N: usize>(T, [u8; N]);

#[derive(renamed::Object)]
#[object(crate = ::renamed)]
enum Animal {
    Dog { name: String },
}

#[renamed::object(crate = renamed)]
trait Speak {
    fn speak(&self) -> String;
}

impl Speak for Animal {
    fn speak(&self) -> String {
        let Animal::Dog { name } = self;
        format!("{name} barks")
    }
}

#[renamed::func(crate = renamed)]
fn listen(speaker: Box<dyn Speak + Send>) -> String {
    speaker.speak()
}

#[renamed::func(callback, crate = renamed)]
fn push(list: &mut Vec<i32>, number: i32) {
    list.push(number);
}

#[renamed::main(crate = crate::facade::inner)]
fn main() -> Result<(), renamed::Error> {
    assert_eq!(add.run(5, 7)?, 12);
    assert_eq!(pair.run('x', [1, 2])?, Pair('x', [1, 2]));
    let name = "Rex".to_owned();
    assert_eq!(listen.run(Box::new(Animal::Dog { name }))?, "Rex barks");
    let mut list = vec![1];
    push(&mut list, 2);
    assert_eq!(list, [1, 2]);
    let captured = 5;
    let lambda = renamed::lambda! { move(captured: i32) |x: i32| -> i32 { captured + x } };
    assert_eq!(renamed::FnObject::call_object(&lambda, (7,)), 12);
    Ok(())
}
