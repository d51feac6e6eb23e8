//! Texts that are pinned by files.

use std::path::Path;

/// Compares a text with a file under `tests/`, or writes the file if `CROSSMIST_BLESS` is set.
pub(crate) fn compare_with_file(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    if std::env::var_os("CROSSMIST_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; if that is meant, run the tests with CROSSMIST_BLESS=1.\n--- now\n{actual}",
        path.display()
    );
}
