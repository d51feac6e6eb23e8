//! `code`: what a finding's code means.

use std::process::ExitCode;

use super::{Outcome, print};
use crate::args::Code as Options;
use crate::report::{BOLD, paint};
use crossmist_policy::Code;

pub(super) fn run(options: &Options) -> Outcome {
    let Some(name) = &options.code else {
        for code in Code::ALL {
            let meaning = code.help().meaning;
            let first = meaning
                .split_inclusive(". ")
                .next()
                .unwrap_or(meaning)
                .trim_end();
            print(&format!("{}  {first}\n", paint(BOLD, code)));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let code = Code::find(name)
        .ok_or_else(|| format!("there is no code `{name}`: `cargo crossmist code` lists them"))?;
    let help = code.help();
    print(&format!(
        "{} ({})\n\n{}\n",
        paint(BOLD, code),
        code.severity(),
        help.meaning
    ));
    if !help.example.is_empty() {
        let example: String = help
            .example
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect();
        print(&format!("\n{example}"));
    }
    print(&format!("\n{}\n", help.cure));
    Ok(ExitCode::SUCCESS)
}
