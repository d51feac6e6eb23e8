//! As much of JSON as it takes to write a schema.

use std::fmt;

/// A value. Objects keep the order of their fields, so that the text is the same every time.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Text(String),
    Number(u64),
    Bool(bool),
}

impl Json {
    pub(super) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        Self::Object(fields.into())
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Array(
            texts
                .into_iter()
                .map(|text| Self::Text(text.into()))
                .collect(),
        )
    }

    /// A string of this form.
    pub(super) fn pattern(pattern: &str) -> Self {
        Self::object([
            ("type", Self::text("string")),
            ("pattern", Self::text(pattern)),
        ])
    }

    /// One of these strings.
    pub(super) fn one_of(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::object([("type", Self::text("string")), ("enum", Self::texts(texts))])
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth + 1);
        let end = "  ".repeat(depth);
        match self {
            Self::Object(fields) if fields.is_empty() => f.write_str("{}"),
            Self::Object(fields) => {
                f.write_str("{\n")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{indent}{}: ", quoted(name))?;
                    value.write(f, depth + 1)?;
                    f.write_str(if at + 1 < fields.len() { ",\n" } else { "\n" })?;
                }
                write!(f, "{end}}}")
            }
            // Long lists of words stand on one line.
            Self::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    item.write(f, depth)?;
                    f.write_str(if at + 1 < items.len() { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(flag) => write!(f, "{flag}"),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
