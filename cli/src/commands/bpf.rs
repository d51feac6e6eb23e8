//! `bpf`: a filter as the kernel runs it.

use std::process::ExitCode;

use crossmist_policy::Arch;
use crossmist_policy::bpf::disassemble::annotate;
use serde_json::json;

use super::{Outcome, no_sarif, print, refused};
use crate::args::{Arguments, Bpf, Format};
use crate::workspace;

pub(super) fn run(arguments: &Arguments, options: &Bpf) -> Outcome {
    no_sarif(arguments)?;
    let arch = match &options.arch {
        Some(name) => Arch::ALL.into_iter().find(|arch| arch.to_string() == *name),
        None => Arch::host(),
    };
    let arch = arch.ok_or("the architectures are x86_64 and aarch64")?;
    let (policy, compiled) = match workspace::compile(arguments, &options.name)? {
        Ok(both) => both,
        Err(report) => return Ok(refused(arguments, &report)),
    };
    let program = compiled
        .program(arch)
        .ok_or("it isn't compiled for this architecture")?;
    match arguments.format {
        Format::Json => {
            let code = program
                .code
                .iter()
                .map(|i| json!([i.code, i.jt, i.jf, i.k]));
            print(&format!(
                "{}\n",
                json!({
                    "arch": arch.to_string(),
                    "code": code.collect::<Vec<_>>(),
                    "own_pid": program.own_pid,
                })
            ));
        }
        _ => print(&format!(
            "# {} on {arch}: {} instructions\n{}",
            policy.name(),
            program.code.len(),
            annotate(program)
        )),
    }
    Ok(ExitCode::SUCCESS)
}
