//! `import`: turns a policy of another tool into one of this project.

use std::process::ExitCode;

use anstream::eprintln;

use super::{Outcome, no_sarif, print};
use crate::args::{Arguments, Import};
use crate::import::{MOST_BYTES, import};

pub(super) fn run(arguments: &Arguments, options: &Import) -> Outcome {
    no_sarif(arguments)?;
    let path = options.file.display();
    let length = std::fs::metadata(&options.file)
        .map_err(|error| format!("{path}: {error}"))?
        .len();
    if length > MOST_BYTES as u64 {
        return Err(format!("{path} is longer than {MOST_BYTES} bytes").into());
    }
    let text =
        std::fs::read_to_string(&options.file).map_err(|error| format!("{path}: {error}"))?;
    let (toml, left) = import(options.kind, &path.to_string(), &text)
        .map_err(|error| format!("{path}: {error}"))?;
    print(&toml);
    eprintln!("{left} things have no counterpart; they are at the end as comments");
    Ok(ExitCode::SUCCESS)
}
