//! The subcommands. Each returns the exit code of the process.

mod bpf;
mod check;
mod diff;
mod explain;
mod export;
mod fmt;
mod help;
mod import;
mod kernel;
mod learn;
mod new;
mod outcomes;
mod schema;
mod test;

use std::process::ExitCode;

use clap::CommandFactory;
use crossmist_policy::Report;

use crate::args::{Arguments, Command, Format};
use crate::report::{self, FINDINGS, Failure};

/// How a command ended.
pub(crate) type Outcome = Result<ExitCode, Failure>;

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::New(options) => new::run(arguments, options),
        Command::Check(options) => check::run(arguments, options),
        Command::Explain(options) => explain::run(arguments, options),
        Command::Diff(options) => diff::run(arguments, options),
        Command::Test(options) => test::run(arguments, options),
        Command::Learn(options) => learn::run(arguments, options),
        Command::Import(options) => import::run(arguments, options),
        Command::Export(options) => export::run(arguments, options),
        Command::Schema(options) => schema::run(arguments, options),
        Command::Fmt(options) => fmt::run(arguments, options),
        Command::Bpf(options) => bpf::run(arguments, options),
        Command::Kernel(options) => kernel::run(arguments, options),
        Command::Help(options) => help::run(options),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(
                *shell,
                &mut Arguments::command(),
                "cargo-crossmist",
                &mut text,
            );
            print(&String::from_utf8_lossy(&text));
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { folder } => {
            clap_mangen::generate_to(Arguments::command(), folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes to standard output. If the reader has gone away, as `head` does, that is not an error.
fn print(text: &str) {
    use std::io::Write;
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Ends a command with the mistakes of a policy.
fn refused(arguments: &Arguments, report: &Report) -> ExitCode {
    report::write(report.diagnostics(), arguments.format);
    ExitCode::from(FINDINGS)
}

/// For commands whose result is not a list of findings.
fn no_sarif(arguments: &Arguments) -> Result<(), Failure> {
    match arguments.format {
        Format::Sarif => Err("SARIF is for findings: `check` has it".into()),
        _ => Ok(()),
    }
}
