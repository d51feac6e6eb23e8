//! Makes cargo build a program whose functions can be watched.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The flags with which the compiler builds the part of the library that watches.
pub(crate) const FLAGS: [&str; 2] = ["--cfg", "crossmist_learn"];

/// Makes cargo build with [`FLAGS`], in addition to its other flags, and in a target folder of its
/// own.
///
/// Cargo takes flags from the first of four sources that has any, and ignores the others. So the
/// flags are added to that source. `command` has its verb, but no arguments after it.
pub(crate) fn build_watched(command: &mut Command) {
    let environment = |name: &str| std::env::var_os(name);
    if let Some(flags) = environment("CARGO_ENCODED_RUSTFLAGS") {
        command.env("CARGO_ENCODED_RUSTFLAGS", with_flags(flags, "\u{1f}"));
    } else if let Some(flags) = environment("RUSTFLAGS") {
        command.env("RUSTFLAGS", with_flags(flags, " "));
    } else {
        let table = match are_set_by_target() {
            true => "target.'cfg(all())'",
            false => "build",
        };
        command.args(["--config", &format!("{table}.rustflags={FLAGS:?}")]);
    }
    // Beside what is built without the flags, so that neither is built twice.
    let target =
        environment("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    command.env("CARGO_TARGET_DIR", target.join("crossmist-learn"));
}

/// Returns the flags of an environment variable, with [`FLAGS`].
fn with_flags(mut flags: OsString, separator: &str) -> OsString {
    for flag in FLAGS {
        if !flags.is_empty() {
            flags.push(separator);
        }
        flags.push(flag);
    }
    flags
}

/// Returns whether a `[target]` in cargo's configuration sets flags, for any target.
fn are_set_by_target() -> bool {
    let is_target = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS")
    };
    if std::env::vars_os().any(|(name, _)| is_target(&name)) {
        return true;
    }
    let here = std::env::current_dir().unwrap_or_default();
    let homes = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let folders = here.ancestors().map(|folder| folder.join(".cargo"));
    folders
        .chain(homes)
        .flat_map(|folder| [folder.join("config.toml"), folder.join("config")])
        .any(|file| sets_by_target(&file))
}

fn sets_by_target(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let Ok(config) = text.parse::<toml::Table>() else {
        return false;
    };
    let targets = config.get("target").and_then(toml::Value::as_table);
    targets
        .into_iter()
        .flat_map(toml::Table::values)
        .any(|target| target.get("rustflags").is_some())
}
