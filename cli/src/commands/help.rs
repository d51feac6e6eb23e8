//! `help`: what a finding's code means, and how a command is used.

use std::process::ExitCode;

use clap::CommandFactory;
use crossmist_policy::Code;

use super::{Outcome, print};
use crate::args::{Arguments, Help};
use crate::report::{BOLD, paint};

pub(super) fn run(options: &Help) -> Outcome {
    let mut command = Arguments::command();
    let Some(name) = &options.about else {
        print(&command.render_long_help().to_string());
        return Ok(ExitCode::SUCCESS);
    };
    if name == "codes" {
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
    }
    if let Some(code) = Code::find(name) {
        print(&about(code));
        return Ok(ExitCode::SUCCESS);
    }
    command.build();
    match command.find_subcommand_mut(name) {
        Some(command) => print(&command.render_long_help().to_string()),
        None => {
            return Err(format!(
                "`{name}` is neither a code (`help codes` lists them) nor a command"
            )
            .into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn about(code: Code) -> String {
    let help = code.help();
    let mut text = format!(
        "{} ({})\n\n{}\n",
        paint(BOLD, code),
        code.severity(),
        help.meaning
    );
    if !help.example.is_empty() {
        let example: String = help
            .example
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect();
        text.push_str(&format!("\n{example}"));
    }
    text.push_str(&format!("\n{}\n", help.cure));
    text
}
