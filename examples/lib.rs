//! Where the examples find the files that come with them.

use std::path::PathBuf;

/// A file or folder of `examples/data`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "data", name].iter().collect()
}
