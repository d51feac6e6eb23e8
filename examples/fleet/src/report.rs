//! Reports: the text of an error, in a form that a database and a terminal take.

/// How long a report is, in bytes. Longer ones are cut.
const REPORT_BYTES: usize = 4 << 10;

/// Returns the text of an error, and of what has led to it.
#[must_use]
pub fn of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Returns a report as it is stored. A confined process may have written a part of it, so this cuts it and
/// escapes control characters, except for line feeds and tabs.
///
/// PostgreSQL refuses text that contains NUL. Without this, such a report could never be stored.
#[must_use]
pub fn to_store(report: &str) -> String {
    let mut text = String::new();
    for letter in report.chars() {
        if text.len() >= REPORT_BYTES {
            text.push('…');
            break;
        }
        match letter {
            '\n' | '\t' => text.push(letter),
            _ if letter.is_control() => text.extend(letter.escape_debug()),
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_other_text_is_kept() {
        let report = to_store("a\0b\u{1b}[2J\r\n\tc\\0 \"é\" \u{9b}");
        assert_eq!(report, "a\\0b\\u{1b}[2J\\r\n\tc\\0 \"é\" \\u{9b}");
    }

    #[test]
    fn a_report_is_cut_at_its_bound_between_two_characters() {
        let whole = "é".repeat(REPORT_BYTES / 2);
        assert_eq!(to_store(&whole), whole);
        assert_eq!(to_store(&format!("{whole}é")), format!("{whole}…"));
        let escaped = to_store(&"\0".repeat(1 << 20));
        assert_eq!(escaped.len(), REPORT_BYTES + '…'.len_utf8());
    }
}
