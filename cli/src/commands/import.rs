//! `import`: turns a policy of another tool into one of this project.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anstream::eprintln;
use crossmist_policy::import::{Format, Input, MOST_BYTES, import};

use super::{Outcome, no_sarif, print};
use crate::args::{Arguments, Foreign, Import};
use crate::report::count;

pub(super) fn run(arguments: &Arguments, options: &Import) -> Outcome {
    no_sarif(arguments)?;
    let name = options.file.display().to_string();
    let text = read(&options.file)?;
    let folder = options.file.parent().unwrap_or(Path::new(""));
    let format = match options.kind {
        Foreign::Systemd => Format::Systemd,
        Foreign::Oci => Format::Oci,
        Foreign::SecurityProfiles => Format::SecurityProfiles,
        Foreign::Seccompiler => Format::Seccompiler,
        Foreign::Minijail => Format::Minijail,
    };
    let imported = import(&Input {
        format,
        name: &name,
        text: &text,
        filter: options.filter.as_deref(),
        include: &|path| read(&folder.join(path)),
    });
    let imported = imported.map_err(|error| format!("{name}: {error}"))?;
    print(&imported.text);
    let notes = imported.notes;
    eprintln!(
        "not translated: {}; they are at the end, as comments",
        count(notes, "thing", "things")
    );
    Ok(ExitCode::SUCCESS)
}

/// Reads a file, as far as an import may be long.
fn read(path: &Path) -> Result<String, String> {
    let name = path.display();
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    file.take(MOST_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("{name}: {error}"))?;
    match text.len() > MOST_BYTES {
        true => Err(format!("{name} is longer than {MOST_BYTES} bytes")),
        false => Ok(text),
    }
}
