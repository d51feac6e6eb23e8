//! Shows what children have written to a piped standard error or output.

use super::stderr;
use crate::error::ChildText;

/// How much of a child's output is shown.
const SHOWN_BYTES: usize = 72 << 10;

/// Passes on what the child of a function has written, marked as the child's text. `may_wait` says whether to wait a
/// moment until it is printed.
pub(crate) fn show(function: &str, text: &[u8], process: u32, may_wait: bool) {
    if text.is_empty() {
        return;
    }
    let name = function.rsplit(':').next().unwrap_or(function);
    let text = String::from_utf8_lossy(text);
    // From the end, because each line gets a prefix, and a child may write nothing but line
    // breaks.
    let mut shown = Vec::new();
    let mut length = 0usize;
    for line in text.lines().rev() {
        let line = ChildText::new(line.to_owned());
        let line = format!("{name}[{process}]: {line}\n");
        length = length.saturating_add(line.len());
        if length > SHOWN_BYTES {
            break;
        }
        shown.push(line);
    }
    shown.reverse();
    let text = shown.concat();
    match may_wait {
        true => stderr::print(text.as_bytes()),
        false => stderr::print_later(text.as_bytes()),
    }
}
