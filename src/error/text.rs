//! `ChildText`: text that a child wrote.

/// Text from a child. Its length is bounded, and it may be a lie.
///
/// Displayed on one line, with every invisible character escaped.
#[derive(Clone, PartialEq, Eq)]
pub struct ChildText(String);

impl ChildText {
    pub(crate) const BYTES: usize = 4096;

    pub(crate) fn new(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(Self::BYTES));
        Self(text)
    }

    /// Returns the text as the child sent it, line breaks and control characters included.
    #[must_use]
    pub fn as_raw(&self) -> &str {
        &self.0
    }
}

/// Escapes line breaks, control characters and everything else that is invisible, so that a log
/// takes the text for one entry and a terminal takes it for text.
impl std::fmt::Display for ChildText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write;
        // `escape_debug` escapes what is not printable, and quotes as well.
        for part in self.0.split_inclusive(is_shown_otherwise) {
            let last = part
                .chars()
                .next_back()
                .filter(|last| is_shown_otherwise(*last));
            let length = last.map_or(0, char::len_utf8);
            let plain = part.get(..part.len().saturating_sub(length));
            write!(f, "{}", plain.unwrap_or_default().escape_debug())?;
            match last {
                Some(quote @ ('"' | '\'' | '\\')) => f.write_char(quote)?,
                Some(invisible) => write!(f, "{}", invisible.escape_unicode())?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Whether `escape_debug` is wrong for a character: it escapes quotes, and it does not escape
/// letters that are invisible (Unicode's `Default_Ignorable_Code_Point`).
fn is_shown_otherwise(character: char) -> bool {
    matches!(
        character,
        '"' | '\''
            | '\\'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

impl std::fmt::Debug for ChildText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
