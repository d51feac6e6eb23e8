//! The limits on resources.

use std::fs::File;

use crossmist::{SandboxPolicy, func};

use crate::cases;
use crate::support::{Case, raw};

pub(crate) const CASES: &[Case] = cases![
    memory_that_is_hidden_from_one_count_is_in_another,
    limits_of_resources_hold,
];

const CHUNK: usize = 8 << 20;

/// How many bytes can be written, up to `most`, if each stretch is made read-only then, and so is no
/// longer counted by RLIMIT_DATA.
#[func(sandbox = dynamic)]
fn hoards(most: usize) -> (usize, String) {
    let stretches = (0..most / CHUNK).map(|_| raw::hoard(CHUNK));
    let taken: Vec<_> = stretches.take_while(Result::is_ok).collect();
    let error = raw::hoard(CHUNK).err();
    (taken.len() * CHUNK, format!("{error:?}"))
}

fn memory_that_is_hidden_from_one_count_is_in_another() {
    // The control: nothing else stops it.
    let (taken, _) = hoards.call_unconfined(256 << 20);
    assert_eq!(taken, 256 << 20);
    // An emulated machine takes its time to write all that.
    let policy = SandboxPolicy::from_toml(
        "hoards",
        "format = 1\nextends = [\"pure\"]\n[limits]\nmemory = \"64MiB\"\nreserved = \"64MiB\"\n\
         cpu_time = \"5min\"\nwall_time = \"10min\"\n",
    );
    let (taken, error) = hoards.sandbox(&policy.unwrap()).run(256 << 20).unwrap();
    assert!((96 << 20..=128 << 20).contains(&taken), "{taken}");
    assert!(error.contains("code: 12"), "{error}");
}

#[func(sandbox = "pure", open_files = 16)]
fn uses_up() -> (i32, Option<String>) {
    let mut kept = Vec::new();
    let file = File::from(raw::adopt(1));
    let refused = loop {
        match file.try_clone() {
            Ok(copy) => kept.push(copy),
            Err(error) => break error,
        }
    };
    let thread = std::thread::Builder::new().spawn(|| ()).err();
    (
        refused.raw_os_error().unwrap(),
        thread.map(|error| error.to_string()),
    )
}

fn limits_of_resources_hold() {
    let (descriptors, thread) = uses_up.run().unwrap();
    assert_eq!(descriptors, libc::EMFILE);
    assert_eq!(
        thread.as_deref(),
        Some("Resource temporarily unavailable (os error 11)")
    );
}
