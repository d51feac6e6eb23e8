//! `cargo crossmist` writes, checks, explains, compares and tests policies.
//!
//! Everything that it knows of policies is in `crossmist-policy`, which the macro uses as well, so
//! both always agree. This crate finds files, and presents results in the requested form.

mod args;
mod cargo;
mod commands;
mod merge;
mod names;
mod page;
mod report;
mod sources;
mod table;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;
use crate::report::Failure;

#[crossmist::main]
fn main() -> ExitCode {
    // If cargo starts this program, the first argument is the subcommand's name.
    let arguments = std::env::args_os().enumerate();
    let arguments = arguments.filter(|(at, argument)| !(*at == 1 && argument == "crossmist"));
    let arguments = Arguments::parse_from(arguments.map(|(_, argument)| argument));
    arguments.color.write_global();
    match commands::run(&arguments) {
        Ok(code) => code,
        Err(Failure(message)) => {
            report::error(&message);
            ExitCode::from(report::ENVIRONMENT)
        }
    }
}
