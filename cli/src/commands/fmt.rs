//! `fmt`: policy files in one form, with their comments.

use std::process::ExitCode;

use super::{Outcome, no_sarif, print};
use crate::args::{Arguments, Fmt};
use crate::report::FINDINGS;
use crate::workspace;

pub(super) fn run(arguments: &Arguments, options: &Fmt) -> Outcome {
    no_sarif(arguments)?;
    let mut changed = 0;
    for (folder, names) in workspace::selected(arguments, &options.names)? {
        for name in names {
            let path = folder.join(format!("{name}.toml"));
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let form = taplo::formatter::Options {
                column_width: 100,
                indent_string: "    ".to_owned(),
                // Comments that are aligned in a column stay aligned.
                align_comments: true,
                align_entries: false,
                reorder_keys: false,
                reorder_arrays: false,
                ..taplo::formatter::Options::default()
            };
            let parsed = taplo::parser::parse(&text);
            if let Some(error) = parsed.errors.first() {
                return Err(format!("{} isn't TOML: {error}", path.display()).into());
            }
            let formatted = taplo::formatter::format_syntax(parsed.into_syntax(), form);
            if formatted == text {
                continue;
            }
            changed += 1;
            if options.check {
                print(&format!("{} would change\n", path.display()));
            } else {
                std::fs::write(&path, formatted)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                print(&format!("{} formatted\n", path.display()));
            }
        }
    }
    Ok(ExitCode::from(if options.check && changed > 0 {
        FINDINGS
    } else {
        0
    }))
}
