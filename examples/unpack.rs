//! Unpacks a zip into a folder, in a process that writes to this folder and nowhere else:
//! `cargo run --example unpack [-- POLICIES POLICY FOLDER]`
//!
//! POLICIES is a folder, and POLICY a file in it, without `.toml`. Without arguments, the policy is
//! `examples/policies/unpack.toml`, and the folder a new one.
//! `cargo crossmist learn POLICY -- cargo run --example unpack -- …` finds out what unpacking needs.

use std::error::Error;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crossmist::{SandboxPolicy, func};

/// Unpacks an archive into a folder, and returns the number of its entries.
#[func(sandbox = dynamic)]
fn unpack(archive: File, folder: PathBuf) -> Result<usize, String> {
    let mut archive = zip::ZipArchive::new(archive).map_err(|error| error.to_string())?;
    archive.extract(folder).map_err(|error| error.to_string())?;
    Ok(archive.len())
}

/// Creates a folder that the children of root can write to: each has a user of its own.
fn new_folder() -> std::io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("unpacked-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    std::fs::set_permissions(&folder, Permissions::from_mode(0o1777))?;
    Ok(folder)
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn Error>> {
    let archive = File::open(crossmist_examples::data("things.zip"))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, result) = match arguments.as_slice() {
        [] => {
            let folder = new_folder()?;
            let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
            let policy = SandboxPolicy::load(policies, "unpack")?;
            let call = unpack.sandbox(&policy);
            let call = call.bind("folder", folder.display().to_string());
            (folder.clone(), call.run(archive, folder)?)
        }
        [policies, policy, folder] => {
            let policy = SandboxPolicy::load(policies, policy)?;
            let folder = PathBuf::from(folder);
            (
                folder.clone(),
                unpack.sandbox(&policy).run(archive, folder)?,
            )
        }
        _ => {
            return Err(
                "arguments: the folder of the policies, a policy, the folder to unpack to".into(),
            );
        }
    };
    println!("{} entries unpacked to {}", result?, folder.display());
    Ok(())
}
