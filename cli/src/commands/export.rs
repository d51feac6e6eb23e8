//! `export`: a policy's filter in the format of another program.

use std::process::ExitCode;

use anstream::eprintln;
use crossmist_policy::Arch;

use super::{Outcome, no_sarif, print, refused};
use crate::args::{Arguments, Exchange, Export};
use crate::workspace;

pub(super) fn run(arguments: &Arguments, options: &Export) -> Outcome {
    no_sarif(arguments)?;
    let arch = match &options.arch {
        Some(name) => Arch::ALL.into_iter().find(|arch| arch.to_string() == *name),
        None => Arch::host(),
    };
    let arch = arch.ok_or("the architectures are x86_64 and aarch64")?;
    let policy = match workspace::compile(arguments, &options.name)? {
        Ok((policy, _)) => policy,
        Err(report) => return Ok(refused(arguments, &report)),
    };
    let exported = match options.kind {
        Exchange::Seccompiler => policy.seccompiler_json(arch),
    };
    print(&exported.text);
    for note in &exported.notes {
        eprintln!("not exported: {note}");
    }
    Ok(ExitCode::SUCCESS)
}
