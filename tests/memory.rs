//! Memory that a program has before it is confined counts: memory that it has written is its own, and memory
//! that it has only reserved is part of what its policy allows.

use crossmist::{Error, Resource, SandboxPolicy, func};

#[macro_use]
mod support;

use support::memory::MIB;

fn main() {
    crossmist::init();
    support::main(
        cases![
            reserved_memory_counts_towards_the_memory_that_may_be_written,
            more_reserved_memory_than_the_limit_ends_the_call_with_the_numbers,
            what_was_passed_is_not_counted_again,
        ],
        cases![],
    );
}

const READY: usize = 96 * MIB;

/// Memory that no allocator knows of, and that takes up no room until it is written.
static BSS: [std::sync::atomic::AtomicU8; READY] =
    [const { std::sync::atomic::AtomicU8::new(0) }; READY];

fn write_bss() {
    for page in BSS.iter().step_by(4096) {
        page.store(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Writes to what lies ready, and then to all that it is given; tells how much that was.
#[func(sandbox = dynamic)]
fn fill(most: usize) -> usize {
    write_bss();
    READY + support::memory::fill(most)
}

#[func(sandbox = dynamic)]
fn fill_without_a_doubt(most: usize) -> usize {
    write_bss();
    support::memory::fill_without_a_doubt(most)
}

#[func(sandbox = dynamic)]
fn length(bytes: Vec<u8>) -> usize {
    let copy = std::hint::black_box(bytes.clone());
    copy.len()
}

fn policy(memory: &str, launch: &str) -> SandboxPolicy {
    let text = format!(
        "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[limits]\nmemory = \"{memory}\"\n\
         [process]\nlaunch = \"{launch}\"\n"
    );
    SandboxPolicy::from_toml("bounded", &text).unwrap()
}

fn reserved_memory_counts_towards_the_memory_that_may_be_written() {
    for launch in ["fork", "exec"] {
        // The control: it is the limit that ends it.
        let filled = fill.sandbox(&policy("512MiB", launch)).run(150 * MIB);
        assert_eq!(filled.unwrap(), READY + 150 * MIB);
        let filled = fill
            .sandbox(&policy("128MiB", launch))
            .run(150 * MIB)
            .unwrap();
        assert!(
            (110 * MIB..=128 * MIB).contains(&filled),
            "{launch}: {filled}"
        );
        let result = fill_without_a_doubt
            .sandbox(&policy("128MiB", launch))
            .run(150 * MIB);
        assert!(
            matches!(
                result,
                Err(Error::Limit {
                    resource: Resource::Memory,
                    ..
                })
            ),
            "{result:?}"
        );
    }
}

fn more_reserved_memory_than_the_limit_ends_the_call_with_the_numbers() {
    for launch in ["fork", "exec"] {
        let result = fill.sandbox(&policy("64MiB", launch)).run(MIB);
        let Err(error @ Error::Confine { .. }) = result else {
            panic!("{result:?}");
        };
        let text = error.to_string();
        assert!(text.contains("limits.memory` is 64MiB"), "{text}");
        let reserved = text.split("starts with ").nth(1).and_then(|rest| {
            let (number, _) = rest.split_once("MiB")?;
            number.parse::<usize>().ok()
        });
        assert!(
            reserved.is_some_and(|mib| (96..112).contains(&mib)),
            "{text}"
        );
    }
}

fn what_was_passed_is_not_counted_again() {
    // The arguments are there before the limit is. With them counted, the copy would not fit.
    let bounded = length.sandbox(&policy("256MiB", "fork"));
    assert_eq!(bounded.run(vec![1; 100 * MIB]).unwrap(), 100 * MIB);
}
