//! Panics of the function, and how they arrive.

use crossmist::{DecodeError, Decoder, Encoder, Error, Object, Shape, Stdio, func};

use crate::cases;
use crate::support::{Case, Holdings};

pub(crate) const CASES: &[Case] = cases![
    panics_arrive_with_text_and_place,
    a_caught_panic_is_not_taken_for_a_later_one,
    a_panic_without_our_hook_arrives_with_its_text,
    a_panic_of_another_thread_is_no_panic_of_the_function,
    a_panic_in_a_panic_is_an_abort,
    a_panic_while_the_result_is_encoded_arrives,
    a_payload_that_panics_when_dropped_changes_nothing,
    text_of_a_panic_is_bounded_and_shown_escaped,
];

/// A payload that is no text.
struct Payload;

/// Panics in the ways there are.
#[func]
pub(crate) fn panic_in_a_way(way: String) {
    match way.as_str() {
        "str" => panic!("a literal"),
        "string" => panic!("the number {}", 5),
        "payload" => std::panic::panic_any(Payload),
        "empty" => std::panic::panic_any(String::new()),
        "drop" => drop(PanicsWhenDropped),
        "unwrap" => {
            let _: u32 = "x".parse().unwrap();
        }
        "index" => {
            let _ = vec![0u8][way.len()];
        }
        _ => unreachable!("{way}"),
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

fn panics_arrive_with_text_and_place() {
    let before = Holdings::now();
    for (way, text) in [
        ("str", "a literal"),
        ("string", "the number 5"),
        ("payload", "a panic without a text"),
        ("empty", ""),
        ("drop", "dropped"),
        (
            "unwrap",
            "called `Result::unwrap()` on an `Err` value: ParseIntError { kind: InvalidDigit }",
        ),
        (
            "index",
            "index out of bounds: the len is 1 but the index is 5",
        ),
    ] {
        let result = panic_in_a_way
            .builder()
            .stderr(Stdio::Null)
            .run(way.to_owned());
        let Err(Error::Panicked(panic)) = result else {
            panic!("{way}: {result:?}");
        };
        assert_eq!(panic.message.as_raw(), text, "{way}");
        let place = panic.location.as_raw();
        assert!(
            place.starts_with("tests/calls/panics.rs:"),
            "{way}: {place}"
        );
    }
    before.assert_same();
}

#[func]
fn panic_again(another: String) {
    let _ = std::panic::catch_unwind(|| panic!("caught"));
    match another.as_str() {
        "resume" => std::panic::resume_unwind(Box::new("resumed".to_owned())),
        "payload" => std::panic::resume_unwind(Box::new(Payload)),
        _ => {}
    }
}

fn a_caught_panic_is_not_taken_for_a_later_one() {
    let call = || panic_again.builder().stderr(Stdio::Null);
    call().run("none".to_owned()).unwrap();
    for (way, text) in [("resume", "resumed"), ("payload", "a panic without a text")] {
        let result = call().run(way.to_owned());
        let Err(Error::Panicked(panic)) = result else {
            panic!("{way}: {result:?}");
        };
        assert_eq!(panic.message.as_raw(), text);
        assert_eq!(panic.location.as_raw(), "an unknown place");
    }
}

#[func]
fn panic_with_another_hook(text: String) {
    std::panic::set_hook(Box::new(|_| {}));
    panic!("{text}");
}

fn a_panic_without_our_hook_arrives_with_its_text() {
    let result = panic_with_another_hook.run("some text".to_owned());
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "some text");
    assert_eq!(panic.location.as_raw(), "an unknown place");
}

#[func]
fn panic_in_a_thread(and_join: bool) -> bool {
    let result = std::thread::spawn(|| panic!("in a thread")).join();
    if and_join {
        result.unwrap();
    }
    true
}

fn a_panic_of_another_thread_is_no_panic_of_the_function() {
    let call = || panic_in_a_thread.builder().stderr(Stdio::Null);
    assert!(call().run(false).unwrap());
    let Err(Error::Panicked(panic)) = call().run(true) else {
        panic!("no panic");
    };
    let text = panic.message.as_raw();
    assert!(text.starts_with("called `Result::unwrap()`"), "{text}");
}

#[func]
fn panic_twice() {
    let _second = PanicsWhenDropped;
    panic!("first");
}

fn a_panic_in_a_panic_is_an_abort() {
    let result = panic_twice.builder().stderr(Stdio::Null).run();
    let Err(Error::Signalled { signal, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(signal, libc::SIGABRT);
}

/// A result that can't be encoded, and says so in the wrong way.
#[derive(Debug)]
struct PanicsWhenEncoded;

impl Object for PanicsWhenEncoded {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&[1, 2, 3]);
        panic!("while encoding");
    }

    fn decode(_: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    fn describe(_: &mut Shape) {}
}

#[func]
fn give_what_panics_when_encoded() -> PanicsWhenEncoded {
    PanicsWhenEncoded
}

fn a_panic_while_the_result_is_encoded_arrives() {
    let call = give_what_panics_when_encoded.builder();
    let result = call.stderr(Stdio::Null).run();
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "while encoding");
}

#[func]
fn panic_with_what_panics_when_dropped() {
    std::panic::panic_any(PanicsWhenDropped);
}

fn a_payload_that_panics_when_dropped_changes_nothing() {
    let call = panic_with_what_panics_when_dropped.builder();
    let result = call.stderr(Stdio::Null).run();
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "a panic without a text");
}

fn text_of_a_panic_is_bounded_and_shown_escaped() {
    let told = |text: String| {
        let result = panic_with_another_hook.run(text);
        let Err(Error::Panicked(panic)) = result else {
            panic!("{result:?}");
        };
        panic.message
    };
    assert_eq!(told("é".repeat(1 << 20)).as_raw(), "é".repeat(2048));
    assert_eq!(told(format!("a{}", "é".repeat(4096))).as_raw().len(), 4095);
    let message = told("a\x1b[31m\r\u{9b}\u{7f}\0\nb \u{202e}c\u{2028}d \\ 'é' 日本".to_owned());
    assert_eq!(
        message.to_string(),
        "a\\u{1b}[31m\\r\\u{9b}\\u{7f}\\0\\nb \\u{202e}c\\u{2028}d \\ 'é' 日本"
    );
    // Nothing of a message looks like another line of a log, and nothing of it is there unseen.
    let unseen = told(
        "a\n2026-11-26 INFO granted\u{200b}\u{feff}\u{ad}\u{e0041}\u{3164}\u{2060}".to_owned(),
    );
    assert_eq!(
        unseen.to_string(),
        "a\\n2026-11-26 INFO granted\\u{200b}\\u{feff}\\u{ad}\\u{e0041}\\u{3164}\\u{2060}"
    );
    // Letters of several characters stay letters.
    assert_eq!(told("नमस्ते é".to_owned()).to_string(), "नमस्ते é");
    assert!(message.as_raw().contains('\x1b'));
    assert!(!format!("{message:?}").contains(['\x1b', '\u{202e}']));
}
