//! A program that never enters the library: its calls fail with an error that says what is missing,
//! and nothing is ever started.

mod support;

use crossmist::{Error, channel, func};
use libtest_mimic::{Arguments, Trial};
use support::raw;

#[func]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

// No `#[crossmist::main]`, and no `init`: that is the point.
fn main() {
    assert!(
        std::env::args().all(|argument| !argument.contains("crossmist-child")),
        "a second `main`"
    );
    // With this feature every program enters; tests/early_entry.rs has it.
    if cfg!(feature = "early-entry") {
        return;
    }
    let trials = [
        (
            "a_call_without_an_entry_says_what_is_missing",
            a_call_without_an_entry_says_what_is_missing as fn(),
        ),
        (
            "what_starts_nothing_needs_no_entry",
            what_starts_nothing_needs_no_entry,
        ),
    ];
    let trials = trials.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn a_call_without_an_entry_says_what_is_missing() {
    let results = [
        add.run(5, 7),
        add.builder().run(5, 7),
        add.spawn(5, 7).and_then(crossmist::Child::join),
        std::thread::spawn(|| add.run(5, 7)).join().unwrap(),
    ];
    for result in results {
        let Err(error @ Error::NotEntered) = result else {
            panic!("{result:?}");
        };
        // The text that `unwrap` would show names the cure.
        assert!(format!("{error:?}").contains("#[crossmist::main]"));
        let text = error.to_string();
        for cure in ["#[crossmist::main]", "crossmist::init()", "early-entry"] {
            assert!(text.contains(cure), "{text}");
        }
    }
    assert_eq!(raw::any_child(), None, "nothing was started");
}

fn what_starts_nothing_needs_no_entry() {
    assert_eq!(add(5, 7), 12);
    let (mut tx, mut rx) = channel::<u64>().unwrap();
    tx.send(&5).unwrap();
    assert_eq!(rx.recv().unwrap(), Some(5));
}
