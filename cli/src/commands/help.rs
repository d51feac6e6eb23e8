//! `help`: what a finding's code means, what a group or a call is for, and how a command is used.

use std::process::ExitCode;

use clap::{Command, CommandFactory};
use crossmist_policy::syscalls::{self, Syscall, groups};
use crossmist_policy::{Code, nearest};

use super::{Outcome, print};
use crate::args::{Arguments, Help};
use crate::names;
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
    if name == "groups" {
        for group in groups::all() {
            print(&format!(
                "{}  for {}\n",
                paint(BOLD, group.name),
                group.about
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if name.starts_with('@') {
        print(&crossmist_policy::group_page(names::group(name)?));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(code) = Code::find(name) {
        print(&about(code));
        return Ok(ExitCode::SUCCESS);
    }
    command.build();
    if let Some(command) = command.find_subcommand_mut(name) {
        print(&command.render_long_help().to_string());
        return Ok(ExitCode::SUCCESS);
    }
    match syscalls::find(name) {
        Some(call) => print(&about_call(call)),
        None => return Err(unknown(name, &command).into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what is probably meant by an unknown name.
fn unknown(name: &str, command: &Command) -> String {
    // What clap holds lives no longer than the command.
    let commands = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned());
    let commands: Vec<String> = commands.collect();
    let near_command = commands.iter().find(|known| known.starts_with(name));
    let near = near_command.map(String::as_str).or_else(|| {
        let codes = Code::ALL.iter().map(|code| code.as_str());
        let words = ["codes", "groups"].into_iter();
        let groups = groups::all().iter().map(|group| group.name);
        let calls = syscalls::all().iter().map(|call| call.name);
        // `threads` is meant for `@threads`.
        let group = groups.clone().find(|group| group[1..] == *name);
        group.or_else(|| nearest(name, words.chain(codes).chain(groups).chain(calls)))
    });
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    format!(
        "`{name}` is no code (`help codes` lists them), no group (`help groups`), no system call and no \
         command{near}"
    )
}

/// Describes a system call: what it is for, and the groups that allow it.
fn about_call(call: &Syscall) -> String {
    let mut text = format!("{}\n", paint(BOLD, call.name));
    if let Some(about) = syscalls::about(call.name) {
        text.push_str(&format!("{about}\n"));
    }
    let arguments: Vec<_> = call.args.iter().map(|(name, _)| *name).collect();
    if !arguments.is_empty() {
        text.push_str(&format!("\narguments: {}\n", arguments.join(", ")));
    }
    for group in groups::all() {
        let of_call = |entry: &&&str| entry.split('(').next() == Some(call.name);
        for entry in group.entries.iter().filter(of_call) {
            text.push_str(&format!("\n{} allows `{entry}`", group.name));
        }
    }
    text.push_str(&format!(
        "\n\n`cargo crossmist explain POLICY --syscall {}` shows what a policy says of it.\n",
        call.name
    ));
    text
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
