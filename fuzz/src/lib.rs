//! Parts that the fuzz targets share: the types that are decoded, and the replay.

use std::path::Path;
use std::process::ExitCode;

pub mod types;

/// Defines what a target does with an input: under a fuzzer its entry, else a `main` that replays.
#[macro_export]
macro_rules! target {
    ($name:literal, $run:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $run(input));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::replay($name, $run)
        }
    };
}

/// Runs every input of the corpus and every one that failed once. A failure is a panic.
pub fn replay(target: &str, run: fn(&[u8])) -> ExitCode {
    let mut inputs = 0;
    for folder in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(folder)
            .join(target);
        // A target that never failed has no regressions; one without any input is an error below.
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match std::fs::read(&path) {
                Ok(input) => run(&input),
                Err(error) => {
                    println!("{}: {error}", path.display());
                    return ExitCode::FAILURE;
                }
            }
            inputs += 1;
        }
    }
    println!("{target}: {inputs} inputs replayed");
    if inputs == 0 {
        println!("no corpus: `cargo run --bin seed` writes it");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A message of these bytes, with nothing beside them.
#[must_use]
pub fn message(body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xC1, 0, 0, 0];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&[0; 24]);
    message.extend_from_slice(body);
    message
}
