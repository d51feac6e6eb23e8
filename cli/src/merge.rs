//! Adds lines to a policy that a person wrote, and leaves comments, order and everything else as it is.

use crossmist_policy::learn::{Addition, Learned};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

/// A policy with additions.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) text: String,
    /// How many lines were added, without the expectations.
    pub(crate) added: usize,
    /// The person's decisions that are kept, in words.
    pub(crate) kept: Vec<String>,
}

/// Adds what was learned to the text of a policy.
///
/// # Errors
///
/// If the text has another form than lists in tables, in words.
pub(crate) fn merge(text: &str, learned: &Learned) -> Result<Merged, String> {
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let mut kept = Vec::new();
    let mut added = 0;
    for addition in &learned.additions {
        let Addition {
            table, key, value, ..
        } = addition;
        let mut place = document.as_table_mut();
        for part in table.split('.') {
            let tables = place.entry(part).or_insert(Item::Table(Table::new()));
            place = tables
                .as_table_mut()
                .ok_or_else(|| format!("write `{table}` as a table of its own, `[{table}]`"))?;
        }
        let value: Value = value.parse().map_err(|error| format!("{error}"))?;
        if *table == "limits" {
            match place.get(key) {
                Some(set) => kept.push(format!(
                    "`limits.{key}` is {} as before; what was learned takes about {}",
                    set.to_string().trim(),
                    value.to_string().trim()
                )),
                None => {
                    place.insert(key, Item::Value(value));
                    added += 1;
                }
            }
            continue;
        }
        let list = place
            .entry(key)
            .or_insert(Item::Value(Value::Array(Array::new())));
        let list = list
            .as_array_mut()
            .ok_or_else(|| format!("write `{table}.{key}` as a list"))?;
        push(list, value, &addition.evidence);
        added += 1;
    }
    let expected = document
        .entry("expect")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let expected = expected
        .as_array_of_tables_mut()
        .ok_or("write each expectation as a table, `[[expect]]`")?;
    for expect in &learned.expected {
        let table: DocumentMut = expect.parse().map_err(|error| format!("{error}"))?;
        let is_known = expected
            .iter()
            .any(|known| known.to_string().trim() == table.to_string().trim());
        if !is_known {
            let mut table = table.as_table().clone();
            table.set_position(None);
            table.decor_mut().set_prefix("\n");
            expected.push(table);
        }
    }
    if expected.is_empty() {
        document.remove("expect");
    }
    Ok(Merged {
        text: document.to_string(),
        added,
        kept,
    })
}

/// Puts a value at the end of a list, on a line of its own below what speaks for it.
fn push(list: &mut Array, mut value: Value, evidence: &str) {
    // Text behind the last value, such as a comment about it, stays there.
    let behind = list
        .trailing()
        .as_str()
        .unwrap_or_default()
        .trim_end()
        .to_owned();
    value
        .decor_mut()
        .set_prefix(format!("{behind}\n    # {evidence}\n    "));
    value.decor_mut().set_suffix("");
    list.push_formatted(value);
    list.set_trailing("\n");
    list.set_trailing_comma(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(additions: &[(&'static str, &'static str, &str, &str)]) -> Learned {
        let additions = additions
            .iter()
            .map(|(table, key, value, evidence)| Addition {
                table,
                key,
                value: (*value).to_owned(),
                evidence: (*evidence).to_owned(),
            });
        Learned {
            toml: String::new(),
            granted: additions.len(),
            left_out: Vec::new(),
            notes: Vec::new(),
            additions: additions.collect(),
            not_judged_by: Vec::new(),
            expected: vec!["path = \"/etc/b\"\nis = \"allowed\"\n".to_owned()],
        }
    }

    #[test]
    fn what_a_person_wrote_stays_as_it_is() {
        let text = "# Ours.\nformat = 1\nextends = [\"parser\"] # the base\n\n[filesystem]\nread = [\n    \
                    { path = \"/etc/a\", why = \"the rules\" }, # first\n]\n\n[limits]\nthreads = 2 # few\n\n\
                    [[expect]]\nsyscall = \"execve(NULL, NULL, NULL)\"\nis = \"killed\"\n";
        let merged = merge(
            text,
            &learned(&[
                (
                    "filesystem",
                    "read",
                    "\"/etc/b\"",
                    "2×, first at src/x.rs:7",
                ),
                ("syscalls", "allow", "\"@poll\"", "1×"),
                ("syscalls.errno", "EEXIST", "\"mkdir\"", "2×"),
                ("limits", "threads", "16", ""),
                ("limits", "file_size", "\"16MiB\"", ""),
            ]),
        )
        .unwrap_or_else(|error| panic!("{error}"));
        // Each line is still there, in the same order.
        let mut lines = merged.text.lines();
        for line in text.lines() {
            assert!(lines.any(|known| known == line), "{line}:\n{}", merged.text);
        }
        for part in [
            "    # 2×, first at src/x.rs:7\n    \"/etc/b\",\n]",
            "[syscalls]\nallow = [\n    # 1×\n    \"@poll\",\n]",
            "[syscalls.errno]\nEEXIST = [\n    # 2×\n    \"mkdir\",\n]",
            "file_size = \"16MiB\"",
            "[[expect]]\npath = \"/etc/b\"\nis = \"allowed\"",
        ] {
            assert!(merged.text.contains(part), "{part}:\n{}", merged.text);
        }
        // The limit that is kept is none of them.
        assert_eq!(merged.added, 4);
        assert_eq!(merged.kept.len(), 1, "{:?}", merged.kept);
        // Twice is once, but for what is asked to be added.
        let again = merge(&merged.text, &learned(&[])).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.text, merged.text);
    }

    #[test]
    fn a_form_that_cannot_be_added_to_is_an_error() {
        for text in [
            "filesystem = { read = [] }",
            "[filesystem]\nread = \"x\"",
            "[[x",
        ] {
            let add = learned(&[("filesystem", "read", "\"/etc/b\"", "1×")]);
            assert!(merge(text, &add).is_err(), "{text}");
        }
    }
}
