//! Measures crossmist beside raw system calls and its peers, all in one run.
//!
//! `README.md` says how to run it, how to read what it prints, and how to add a row.

mod allocator;
mod arguments;
mod harness;
mod ours;
mod raw;
mod report;
mod roles;
mod rows;

use std::process::ExitCode;

use arguments::Arguments;
use harness::{Cores, Result, run};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> ExitCode {
    // Each of these takes over in a process that was started to be a child, and returns in all
    // others. Children of the raw rows do not get this far, see `raw::early`.
    crossmist::init();
    procspawn::init();
    roles::play();

    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match measure(&arguments) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let cores = Cores::choose()?;
    let mut passes = rows::passes(arguments.smoke);
    for groups in &mut passes {
        groups.retain_mut(|group| group.keep(&arguments.filter, &cores));
    }
    passes.retain(|groups| !groups.is_empty());
    if passes.is_empty() {
        return Err("no row matches the filter on this machine".into());
    }
    if arguments.list {
        for group in passes.iter().flatten() {
            for entry in &group.entries {
                println!("{}", group.path(entry));
            }
        }
        return Ok(ExitCode::SUCCESS);
    }

    let results = run(passes, &cores, arguments)?;
    print!("{}", report::table(&results));
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, report::markdown(&results))?;
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::json(&results)?)?;
    }
    if let Some(path) = &arguments.svg {
        std::fs::write(path, report::svg(&results))?;
    }

    harness::nothing_left_running()?;
    let failed = results.failures().count();
    if failed > 0 {
        return Err(format!("{failed} rows failed").into());
    }
    Ok(ExitCode::SUCCESS)
}
