//! `new`: creates a policy.

use std::io::Write;
use std::process::ExitCode;

use crossmist_policy::template;

use super::{Outcome, print, refused};
use crate::args::{Arguments, New};
use crate::workspace;

pub(super) fn run(arguments: &Arguments, options: &New) -> Outcome {
    let folder = match &arguments.policies {
        // It may be created here.
        Some(folder) => folder.clone(),
        None => workspace::folder(arguments)?,
    };
    let text = match template(&workspace::library(&folder), &options.name, &options.from) {
        Ok(text) => text,
        Err(report) => return Ok(refused(arguments, &report)),
    };
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = folder.join(format!("{}.toml", options.name));
    // An existing file is somebody's work.
    let mut file =
        std::fs::File::create_new(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.write_all(text.as_bytes())
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let path = path.display();
    print(&format!(
        "{path} written: use it by #[func(sandbox = \"{name}\")]\n\
         next: cargo crossmist check {name}; cargo crossmist explain {name}\n",
        name = options.name,
    ));
    Ok(ExitCode::SUCCESS)
}
