//! Programs as users of crossmist have written them: each feature at its plainest, over a real
//! child process.

use crossmist::{
    BindValue, Duplex, FnMutObject, FnObject, FnOnceObject, Object, Receiver, Sender, channel,
    duplex, func,
};
use libtest_mimic::{Arguments, Trial};

#[derive(Debug, PartialEq, Object)]
struct Pair {
    x: i32,
    y: i32,
}

#[func]
fn sum(nums: Vec<i32>) -> i32 {
    nums.into_iter().sum()
}

fn front_page_sum() {
    assert_eq!(sum.run(vec![5, 7]).unwrap(), 12);
    assert_eq!(sum(vec![5, 7]), 12);
}

#[func]
fn adder(mut chan: Duplex<i32, Vec<i32>>) {
    while let Some(nums) = chan.recv().unwrap() {
        let _ = chan.send(&nums.into_iter().sum());
    }
}

fn front_page_long_lived_adder() {
    let (mut ours, theirs) = duplex().unwrap();
    // The child's handle is dropped at once: it runs on.
    adder.spawn(theirs).expect("failed to spawn the child");
    for i in 1..=5 {
        for j in 1..=5 {
            assert_eq!(ours.request(&vec![i, j]).unwrap(), i + j);
        }
    }
}

#[func]
fn number() -> i64 {
    0x0123_4567_89ab_cdef
}

#[func]
fn text() -> String {
    "hello".to_string()
}

#[func]
fn add(x: i32, y: i32) -> i32 {
    x + y
}

#[func]
fn add_any<T: std::ops::Add<Output = T> + Object + 'static>(x: T, y: T) -> T {
    x + y
}

#[func]
fn swap(pair: Pair) -> Pair {
    Pair {
        x: pair.y,
        y: pair.x,
    }
}

#[func]
#[expect(clippy::boxed_local, reason = "that it is a box is the point")]
fn increment(item: Box<i32>) -> Box<i32> {
    Box::new(*item + 1)
}

fn results_and_arguments() {
    assert_eq!(number.run().unwrap(), 0x0123_4567_89ab_cdef);
    assert_eq!(
        number.spawn().unwrap().join().unwrap(),
        0x0123_4567_89ab_cdef
    );
    assert_eq!(text.spawn().unwrap().join().unwrap(), "hello");
    assert_eq!(add.spawn(5, 7).unwrap().join().unwrap(), 12);
    assert_eq!(add(5, 7), 12);
    assert_eq!(swap.run(Pair { x: 5, y: 7 }).unwrap(), Pair { x: 7, y: 5 });
    assert_eq!(*increment.run(Box::new(7)).unwrap(), 8);
}

fn generic_functions() {
    assert_eq!(add_any.spawn(5, 7).unwrap().join().unwrap(), 12);
    assert_eq!(add_any.run(0.5, 0.25).unwrap(), 0.75);
    assert_eq!(add_any(5u8, 7), 12);
}

fn functions_in_blocks() {
    #[func]
    fn inner(x: u8) -> u8 {
        x + 1
    }
    assert_eq!(inner.run(1).unwrap(), 2);
}

#[crossmist::object]
trait Speaker: Object {
    fn say(&self) -> String;
}

#[derive(Object)]
struct Words(String);

#[derive(Object)]
struct Count(i32);

impl Speaker for Words {
    fn say(&self) -> String {
        format!("words: {}", self.0)
    }
}

impl Speaker for Count {
    fn say(&self) -> String {
        format!("count: {}", self.0)
    }
}

#[func]
fn listen(speaker: Box<dyn Speaker>) -> String {
    speaker.say()
}

fn boxed_trait_objects() {
    assert_eq!(
        listen.run(Box::new(Words("hello".to_string()))).unwrap(),
        "words: hello"
    );
    assert_eq!(listen.run(Box::new(Count(5))).unwrap(), "count: 5");
}

#[func]
fn with_two(func: Box<dyn FnOnceObject<(i32, i32), Output = i32>>) -> i32 {
    func.call_object_once((5, 7))
}

#[func]
fn with_one(func: Box<dyn FnOnceObject<(i32,), Output = i32>>) -> i32 {
    func.call_object_once((7,))
}

#[func]
fn with_none(func: Box<dyn FnOnceObject<(), Output = i32>>) -> i32 {
    func.call_object_once(())
}

fn functions_as_arguments() {
    assert_eq!(with_two.run(Box::new(add)).unwrap(), 12);
    assert_eq!(with_one.run(Box::new(add.bind_value(5))).unwrap(), 12);
    assert_eq!(
        with_none
            .run(Box::new(add.bind_value(5).bind_value(7)))
            .unwrap(),
        12
    );
}

#[func]
fn often(mut func: Box<dyn FnMutObject<(i32,), Output = i32>>) -> i32 {
    (0..3).map(|_| func.call_object_mut((1,))).sum()
}

#[func]
fn shared(func: Box<dyn FnObject<(i32,), Output = i32> + Send + Sync>) -> i32 {
    let func = &func;
    std::thread::scope(|scope| {
        let threads = [1, 2].map(|n| scope.spawn(move || func.call_object((n,))));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

fn callbacks_of_each_kind() {
    let mut total = 0;
    let counter =
        crossmist::lambda! { move(&mut total: &mut i32) |n: i32| -> i32 { *total += n; *total } };
    assert_eq!(often.run(Box::new(counter)).unwrap(), 1 + 2 + 3);
    total += 0;
    assert_eq!(total, 0);
    let factor = 10;
    let times = crossmist::lambda! { move(factor: i32) |n: i32| -> i32 { factor * n } };
    assert_eq!(shared.run(Box::new(times)).unwrap(), 30);
}

#[func]
fn difference(mut rx: Receiver<i32>) -> i32 {
    let a = rx.recv().unwrap().unwrap();
    let b = rx.recv().unwrap().unwrap();
    a - b
}

#[func]
fn produce(mut tx: Sender<i32>) {
    tx.send(&5).unwrap();
    tx.send(&7).unwrap();
}

#[func]
fn subtract(mut chan: Duplex<i32, (i32, i32)>) {
    while let Some((x, y)) = chan.recv().unwrap() {
        chan.send(&(x - y)).unwrap();
    }
}

#[func]
fn nested(mut chan: Receiver<Receiver<i32>>) -> i32 {
    let mut inner = chan.recv().unwrap().unwrap();
    inner.recv().unwrap().unwrap()
}

fn receivers_as_arguments() {
    let (mut tx, rx) = channel::<i32>().unwrap();
    let child = difference.spawn(rx).unwrap();
    tx.send(&5).unwrap();
    tx.send(&7).unwrap();
    assert_eq!(child.join().unwrap(), -2);
}

fn senders_as_arguments() {
    let (tx, mut rx) = channel::<i32>().unwrap();
    let child = produce.spawn(tx).unwrap();
    assert_eq!(
        rx.recv().unwrap().unwrap() - rx.recv().unwrap().unwrap(),
        -2
    );
    child.join().unwrap();
    assert_eq!(rx.recv().unwrap(), None);
}

fn duplexes_as_arguments() {
    let (mut local, downstream) = duplex::<(i32, i32), i32>().unwrap();
    let child = subtract.spawn(downstream).unwrap();
    for (x, y) in [(5, 7), (100, -1), (53, 2354)] {
        local.send(&(x, y)).unwrap();
        assert_eq!(local.recv().unwrap().unwrap(), x - y);
    }
    drop(local);
    child.join().unwrap();
}

fn channels_over_channels() {
    let (mut tx, rx) = channel::<i32>().unwrap();
    let (mut tx1, rx1) = channel::<Receiver<i32>>().unwrap();
    tx.send(&5).unwrap();
    tx1.send(&rx).unwrap();
    assert_eq!(nested.run(rx1).unwrap(), 5);
}

/// Whatever they carry, ends and children can be shown, so that results of theirs can be unwrapped.
fn what_holds_no_debug_can_be_unwrapped() {
    let error = channel::<Option<Box<dyn Speaker>>>().unwrap_err();
    assert!(error.to_string().contains("crossmist::trusted"), "{error}");
    let (mut tx, mut rx) = channel::<Words>().unwrap();
    tx.send(&Words("hello".to_string())).unwrap();
    assert_eq!(rx.recv().unwrap().map(|words| words.0).unwrap(), "hello");
    assert!(format!("{tx:?}{rx:?}").contains("Sender"));
}

#[crossmist::main]
fn main() {
    let arguments = Arguments::from_args();
    let trials = [
        ("front_page_sum", front_page_sum as fn()),
        ("front_page_long_lived_adder", front_page_long_lived_adder),
        ("results_and_arguments", results_and_arguments),
        ("generic_functions", generic_functions),
        ("functions_in_blocks", functions_in_blocks),
        ("boxed_trait_objects", boxed_trait_objects),
        ("functions_as_arguments", functions_as_arguments),
        ("callbacks_of_each_kind", callbacks_of_each_kind),
        ("receivers_as_arguments", receivers_as_arguments),
        ("senders_as_arguments", senders_as_arguments),
        ("duplexes_as_arguments", duplexes_as_arguments),
        ("channels_over_channels", channels_over_channels),
        (
            "what_holds_no_debug_can_be_unwrapped",
            what_holds_no_debug_can_be_unwrapped,
        ),
    ];
    let trials = trials.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
