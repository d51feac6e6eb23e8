//! `schema`: writes the schema with which editors complete and check policies.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, print};
use crate::args::{Arguments, Schema};
use crate::report::Failure;
use crate::workspace;

/// The file that taplo reads beside a manifest.
const TAPLO: &str = "[[rule]]
include = [\"policies/*.toml\"]

[rule.schema]
enabled = true
path = \".crossmist/policy.schema.json\"
";

/// The file that VS Code's TOML extension reads.
const VS_CODE: &str = "{
  \"evenBetterToml.schema.associations\": {
    \".*/policies/.*\\\\.toml\": \"file:///${workspaceFolder}/.crossmist/policy.schema.json\"
  }
}
";

pub(super) fn run(arguments: &Arguments, options: &Schema) -> Outcome {
    if options.reference {
        print(&reference());
        return Ok(ExitCode::SUCCESS);
    }
    if !options.install {
        print(&crossmist_policy::schema());
        return Ok(ExitCode::SUCCESS);
    }
    let policies = workspace::folder(arguments)?;
    let root = match policies.parent() {
        Some(root) if !root.as_os_str().is_empty() => root,
        _ => Path::new("."),
    };
    let folder = root.join(".crossmist");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    write(
        &folder.join("policy.schema.json"),
        &crossmist_policy::schema(),
    )?;
    // Existing settings are somebody's own.
    add(&root.join(".taplo.toml"), TAPLO)?;
    let code = root.join(".vscode");
    std::fs::create_dir_all(&code).map_err(|error| format!("{}: {error}", code.display()))?;
    add(&code.join("settings.json"), VS_CODE)?;
    Ok(ExitCode::SUCCESS)
}

/// All keys, all groups and all calls, as `policies/REFERENCE.md` has them.
fn reference() -> String {
    let groups = crossmist_policy::syscalls::groups::all().iter();
    let groups: String = groups.map(crossmist_policy::group_page).collect();
    format!(
        "<!-- Written by `cargo crossmist schema --reference`; a test holds it to that. -->\n\
         # Reference\n\n\
         This page lists every key, then every group, then every call. Begin with [README.md](README.md).\n\n\
         {}\n{groups}{}",
        crossmist_policy::reference(),
        crossmist_policy::verdict_page()
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    print(&format!("{} written\n", path.display()));
    Ok(())
}

/// Writes a file, unless there is one: then it shows what to add.
fn add(path: &Path, text: &str) -> Result<(), Failure> {
    match std::fs::read_to_string(path) {
        Ok(found) if found.contains("policy.schema.json") => {
            print(&format!("{} knows of it already\n", path.display()));
            Ok(())
        }
        Ok(_) => {
            print(&format!(
                "{} is there: add to it\n\n{text}\n",
                path.display()
            ));
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write(path, text),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}
