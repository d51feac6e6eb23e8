//! Finds the files that come with the examples.

use std::path::PathBuf;

/// Returns the path of a file or folder in `examples/data`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "data", name].iter().collect()
}
