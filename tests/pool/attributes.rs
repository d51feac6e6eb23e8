//! `spares`, `reuse`, `bulk` and `raise` as arguments of `#[func]`.

use std::sync::atomic::{AtomicU32, Ordering};

use crossmist::{Error, SandboxPolicy, func};

use crate::cases;
use crate::support::Case;

static SEEN: AtomicU32 = AtomicU32::new(0);

/// Returns its process, and which call of this process it is.
fn number() -> (u32, u32) {
    (
        std::process::id(),
        SEEN.fetch_add(1, Ordering::SeqCst).saturating_add(1),
    )
}

#[func(sandbox = "parser", spares = 1)]
fn answers_once() -> (u32, u32) {
    number()
}

#[func(sandbox = "parser", spares = 1, reuse = 2)]
fn answers_twice() -> (u32, u32) {
    number()
}

#[func(sandbox = "parser", spares = 1, reuse = always)]
fn answers_always() -> (u32, u32) {
    number()
}

fn plain_calls_go_to_a_child_as_often_as_the_attribute_says() {
    let three = |call: fn() -> Result<(u32, u32), Error>| [(); 3].map(|()| call().unwrap());
    let numbers = |calls: [(u32, u32); 3]| calls.map(|(_, number)| number);

    let calls = three(|| answers_once.run());
    assert_eq!(numbers(calls), [1, 1, 1]);
    let calls = three(|| answers_twice.run());
    assert_eq!(numbers(calls), [1, 2, 1]);
    assert_eq!(calls[0].0, calls[1].0);
    assert_ne!(calls[1].0, calls[2].0);
    let calls = three(|| answers_always.run());
    assert_eq!(numbers(calls), [1, 2, 3]);
}

fn has_shared_memory() -> bool {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .contains("crossmist-slots")
}

#[func(sandbox = "unconfined")]
fn alone(_text: String) -> bool {
    has_shared_memory()
}

#[func(sandbox = "unconfined", bulk)]
fn confined(_text: String) -> bool {
    has_shared_memory()
}

#[func(sandbox = "unconfined", spares = 1, bulk)]
fn spare(_text: String) -> bool {
    has_shared_memory()
}

#[func(bulk)]
fn executed(_text: String) -> bool {
    has_shared_memory()
}

fn the_attribute_gives_all_children_of_a_function_shared_memory() {
    let text = String::new;
    // The control.
    assert!(!alone.run(text()).unwrap());
    assert!(confined.run(text()).unwrap());
    assert!(confined.spawn(text()).unwrap().join().unwrap());
    assert!(spare.run(text()).unwrap());
    assert!(executed.run(text()).unwrap());
    // A call can do without.
    assert!(!confined.builder().bulk(false).run(text()).unwrap());
}

#[func(sandbox = "parser")]
fn fills(length: usize) -> Vec<u8> {
    vec![7; length]
}

#[func(sandbox = "parser", raise(message_bytes = "24MiB"), memory = "128MiB")]
fn fills_more(length: usize) -> Vec<u8> {
    vec![7; length]
}

fn a_raised_limit_holds_for_its_function_and_the_others_stay() {
    let length = 20 << 20;
    let too_large = |result: Result<Vec<u8>, Error>, most: u64| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::ResultTooLarge { allowed, .. } if allowed == most),
            "{error:?}"
        );
    };
    // The control.
    too_large(fills.run(length), 16 << 20);
    assert_eq!(fills_more.run(length).unwrap().len(), length);
    too_large(fills_more.run(25 << 20), 24 << 20);

    let policy = SandboxPolicy::builtin("parser").unwrap();
    let raised = policy.raise(&[("message_bytes", "24MiB")]).unwrap();
    let result = fills_by_choice.sandbox(&raised).run(length);
    assert_eq!(result.unwrap().len(), length);
    assert!(policy.raise(&[("processes", "4")]).is_err());
}

#[func(sandbox = dynamic)]
fn fills_by_choice(length: usize) -> Vec<u8> {
    vec![7; length]
}

pub(crate) const CASES: &[Case] = cases![
    plain_calls_go_to_a_child_as_often_as_the_attribute_says,
    the_attribute_gives_all_children_of_a_function_shared_memory,
    a_raised_limit_holds_for_its_function_and_the_others_stay,
];
