//! The syntax of unit files (systemd.syntax(7)).

/// An assignment, in the order of the file.
pub(super) struct Assignment {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// The assignments, and the lines that are none.
pub(super) fn read(text: &str) -> (Vec<Assignment>, Vec<String>) {
    let mut found = Vec::new();
    let mut strange = Vec::new();
    let mut section = String::new();
    for line in logical(text) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            continue;
        }
        match line.split_once('=') {
            Some((key, value)) => found.push(Assignment {
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            None => strange.push(line.to_owned()),
        }
    }
    (found, strange)
}

/// Lines with their continuations: a backslash at the end joins the next one, comments in between are
/// passed over.
fn logical(text: &str) -> Vec<String> {
    let text = text
        .trim_start_matches('\u{feff}')
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let mut lines = Vec::new();
    let mut pending = String::new();
    for line in text.split('\n') {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        pending.push_str(line);
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes % 2 == 1 {
            pending.pop();
            pending.push(' ');
        } else {
            lines.push(std::mem::take(&mut pending));
        }
    }
    lines.push(pending);
    lines
}

/// The words of a value, without the quotes around them; `None` if a quote is never closed.
pub(super) fn words(value: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// A switch; what can't be read counts as on, since every switch here restricts.
pub(super) fn is_on(value: &str) -> bool {
    let off = ["0", "no", "n", "false", "f", "off", ""];
    !off.contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_across_comments_and_line_ends_of_every_kind() {
        let (found, strange) = read("[A]\r\nk=a \\\r\n# no\r\n  b\r\n;c\nl = x\\\\\nnothing\n");
        let found: Vec<_> = found
            .iter()
            .map(|own| (own.section.as_str(), own.key.as_str(), own.value.as_str()))
            .collect();
        assert_eq!(found, [("A", "k", "a    b"), ("A", "l", "x\\\\")]);
        assert_eq!(strange, ["nothing"]);
    }

    #[test]
    fn words_lose_their_quotes() {
        let read = words(r#"a "b c" d'e 'f \"g"#);
        assert_eq!(read.unwrap_or_default(), ["a", "b c", "de f", "\"g"]);
        assert!(words("\"open").is_none());
    }
}
