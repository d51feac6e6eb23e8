//! Finds the policies and the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crossmist_policy::{Compiled, Folder, Policy, Report, home};
use serde_json::Value;

use crate::args::Arguments;
use crate::report::Failure;

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// The root files of its targets.
    pub(crate) targets: Vec<PathBuf>,
    /// The folder of its policies, which may not exist.
    pub(crate) policies: PathBuf,
}

/// Returns the packages of the workspace around the current folder. There are none without a
/// manifest.
pub(crate) fn packages() -> Result<Vec<Package>, Failure> {
    let here = std::env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
    if !here
        .ancestors()
        .any(|folder| folder.join("Cargo.toml").is_file())
    {
        return Ok(Vec::new());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|error| format!("cargo can't be run: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo metadata fails:\n{}", said.trim_end()).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata can't be read: {error}"))?;
    let mut packages = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(manifest) = package["manifest_path"].as_str() else {
            continue;
        };
        let root = Path::new(manifest)
            .parent()
            .unwrap_or(Path::new("/"))
            .to_owned();
        let targets = package["targets"].as_array().into_iter().flatten();
        let targets = targets
            .filter_map(|target| target["src_path"].as_str())
            .map(PathBuf::from);
        packages.push(Package {
            targets: targets.collect(),
            policies: home::find(variable(), Some(root))?,
        });
    }
    Ok(packages)
}

fn variable() -> Option<PathBuf> {
    let named = std::env::var_os(home::VARIABLE).filter(|folder| !folder.is_empty());
    named.map(PathBuf::from)
}

/// Returns the folder of policies for commands about one policy: the named folder, or else that of
/// the nearest package.
pub(crate) fn folder(arguments: &Arguments) -> Result<PathBuf, Failure> {
    if let Some(folder) = &arguments.policies {
        return match folder.is_dir() {
            true => Ok(folder.clone()),
            false => Err(format!("{} is not a folder", folder.display()).into()),
        };
    }
    let here = std::env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
    let manifest = here
        .ancestors()
        .find(|folder| folder.join("Cargo.toml").is_file());
    Ok(home::find(
        variable(),
        Some(manifest.unwrap_or(&here).to_owned()),
    )?)
}

/// Returns the folders of all policies of the workspace, each once.
pub(crate) fn folders(arguments: &Arguments) -> Result<Vec<PathBuf>, Failure> {
    if arguments.policies.is_some() {
        return Ok(vec![folder(arguments)?]);
    }
    let packages = packages()?;
    let mut folders: Vec<_> = packages
        .into_iter()
        .map(|package| package.policies)
        .collect();
    if folders.is_empty() {
        folders.push(folder(arguments)?);
    }
    folders.sort();
    folders.dedup();
    folders.retain(|folder| folder.is_dir());
    Ok(folders)
}

/// Returns the policies in a folder, by name.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| format!("{} can't be read: {error}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|error| format!("{} can't be read: {error}", folder.display()))?;
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Returns a folder's name for messages: relative to the current folder, if it is below that.
pub(crate) fn library(folder: &Path) -> Folder {
    let here = std::env::current_dir().unwrap_or_default();
    let label = folder.strip_prefix(&here).unwrap_or(folder);
    Folder::labelled(folder, label.to_string_lossy())
}

/// Loads a policy of the package, or a built-in one.
pub(crate) fn load(arguments: &Arguments, name: &str) -> Result<Result<Policy, Report>, Failure> {
    Ok(Policy::load(&library(&folder(arguments)?), name))
}

/// Does the same, and compiles it.
pub(crate) fn compile(
    arguments: &Arguments,
    name: &str,
) -> Result<Result<(Policy, Compiled), Report>, Failure> {
    let policy = load(arguments, name)?;
    Ok(policy.and_then(|policy| policy.compile().map(|compiled| (policy, compiled))))
}

/// Returns the policies that a command is about, by folder: those that were named, or else all.
pub(crate) fn selected(
    arguments: &Arguments,
    names: &[String],
) -> Result<BTreeMap<PathBuf, Vec<String>>, Failure> {
    let mut selected = BTreeMap::new();
    if names.is_empty() {
        for folder in folders(arguments)? {
            let found = self::names(&folder)?;
            selected.insert(folder, found);
        }
    } else {
        selected.insert(folder(arguments)?, names.to_vec());
    }
    Ok(selected)
}
