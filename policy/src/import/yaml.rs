//! YAML as the values that JSON has, by a parser that stops at what those don't have.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// How deep a document may nest.
const DEEPEST: usize = 32;

/// A list or a map that isn't closed yet.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// The documents of a file.
///
/// # Errors
///
/// If it isn't YAML, or has an alias, a tag or a key that isn't a text.
pub(super) fn read(text: &str) -> Result<Vec<Value>, String> {
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| format!("not YAML: {error}"))?;
        let value = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Some(Value::Array(list)),
                Some(Open::Map(map, None)) => Some(Value::Object(map)),
                _ => return Err("not YAML: a key without a value".to_owned()),
            },
            Event::Scalar(_, _, _, Some(tag)) => {
                return Err(format!("the tag `{tag}` is not read"));
            }
            Event::Scalar(text, style, _, None) => Some(scalar(&text, style)),
            Event::Alias(_) => {
                return Err(
                    "aliases (`*name`) are not read: write out what they stand for".to_owned(),
                );
            }
            _ => None,
        };
        if open.len() > DEEPEST {
            return Err(format!("it nests deeper than {DEEPEST}"));
        }
        let Some(value) = value else {
            continue;
        };
        match open.last_mut() {
            None => documents.push(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => match (key.take(), value) {
                (None, Value::String(text)) => *key = Some(text),
                (None, other) => return Err(format!("the key {other} is not a text")),
                (Some(key), value) => {
                    if map.insert(key.clone(), value).is_some() {
                        return Err(format!("the key `{key}` stands twice in one map"));
                    }
                }
            },
        }
    }
    Ok(documents)
}

/// A number, a truth value or nothing, if it stands without quotes; else a text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => match text.strip_prefix("0o") {
            Some(digits) => u64::from_str_radix(digits, 8).ok(),
            // In old YAML a zero ahead makes a number octal, in new YAML it doesn't.
            None if text.len() > 1 && text.starts_with('0') => None,
            None => text.parse().ok(),
        },
    };
    match (text, number) {
        (_, Some(number)) => Value::from(number),
        ("" | "~" | "null", _) => Value::Null,
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_become_values() {
        let read = read("a: [1, 0x10, '2', 010]\nb:\n- c: ~\n---\nx: true\n").unwrap_or_default();
        let first = json!({ "a": [1, 16, "2", "010"], "b": [{ "c": null }] });
        assert_eq!(read, [first, json!({ "x": true })]);
    }

    #[test]
    fn what_values_have_not_is_an_error() {
        for text in [
            "a: &x [1]\nb: *x",
            "a: !!binary x",
            "? [1]\n: 2",
            "a: 1\na: 2",
            "a: [",
            "{a, b",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&"[".repeat(1000)).is_err());
    }
}
