//! `diff`: what has become wider or narrower.

use std::path::Path;
use std::process::{Command, ExitCode};

use crossmist_policy::diff::{self, Change, Direction};
use crossmist_policy::{Library, Missing, Policy, Report, Text};
use serde_json::json;

use super::{Outcome, no_sarif, print, refused};
use crate::args::{Arguments, Diff, FailOn, Format};
use crate::report::{BLUE, FINDINGS, Failure, GREEN, RED, paint};
use crate::workspace;

pub(super) fn run(arguments: &Arguments, options: &Diff) -> Outcome {
    no_sarif(arguments)?;
    let old = match load(arguments, &options.old)? {
        Ok(policy) => policy,
        Err(report) => return Ok(refused(arguments, &report)),
    };
    let new = match load(arguments, &options.new)? {
        Ok(policy) => policy,
        Err(report) => return Ok(refused(arguments, &report)),
    };
    let changes = diff::between(&old, &new);
    match arguments.format {
        Format::Json => print(&format!(
            "{:#}\n",
            json!({ "changes": changes.iter().map(object).collect::<Vec<_>>() })
        )),
        _ => print(&drawn(&changes)),
    }
    let has_widened = changes
        .iter()
        .any(|change| change.direction == Direction::Wider);
    let fails = match options.fail_on {
        Some(FailOn::Wider) => has_widened,
        Some(FailOn::Any) => !changes.is_empty(),
        None => false,
    };
    Ok(ExitCode::from(if fails { FINDINGS } else { 0 }))
}

fn object(change: &Change) -> serde_json::Value {
    json!({
        "direction": change.direction.to_string(),
        "what": change.what,
        "location": change.location.as_ref().map(ToString::to_string),
    })
}

fn drawn(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        let (sign, style) = match change.direction {
            Direction::Wider => ("+ wider   ", RED),
            Direction::Narrower => ("- narrower", GREEN),
            Direction::Moved => ("~ moved   ", BLUE),
        };
        let place = change.location.as_ref().map(|place| format!("  {place}"));
        let mut what = change.what.iter();
        if let Some(first) = what.next() {
            text.push_str(&format!(
                "{}  {first}{}\n",
                paint(style, sign),
                place.unwrap_or_default()
            ));
        }
        for more in what {
            text.push_str(&format!("            {more}\n"));
        }
    }
    let count = |direction| {
        changes
            .iter()
            .filter(|change| change.direction == direction)
            .count()
    };
    text.push_str(&format!(
        "{} wider, {} narrower, {} moved\n",
        count(Direction::Wider),
        count(Direction::Narrower),
        count(Direction::Moved),
    ));
    text
}

/// Finds a policy by its name, by its path, or at a revision.
fn load(arguments: &Arguments, what: &str) -> Result<Result<Policy, Report>, Failure> {
    if let Some((revision, name)) = what.split_once(':') {
        let folder = workspace::folder(arguments)?;
        let folder = std::path::absolute(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let past = Past {
            revision,
            folder: &folder,
        };
        past.check()?;
        return Ok(Policy::load(&past, name));
    }
    if what.ends_with(".toml") {
        let path = Path::new(what);
        let (Some(name), Some(parent)) = (
            path.file_stem().and_then(|name| name.to_str()),
            path.parent(),
        ) else {
            return Err(format!("`{what}` is not the path of a policy").into());
        };
        let folder = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        return Ok(Policy::load(&workspace::library(folder), name));
    }
    workspace::load(arguments, what)
}

/// The policies of a folder at a revision of git.
struct Past<'p> {
    revision: &'p str,
    folder: &'p Path,
}

impl Past<'_> {
    fn git(&self, arguments: &[&str]) -> std::io::Result<std::process::Output> {
        // The folder may no longer exist, although its repository does.
        let there = self
            .folder
            .ancestors()
            .find(|folder| folder.is_dir())
            .unwrap_or(Path::new("/"));
        Command::new("git")
            .arg("-C")
            .arg(there)
            .args(arguments)
            .output()
    }

    /// Fails if there is no such revision, which is different from a missing policy.
    fn check(&self) -> Result<(), Failure> {
        let commit = format!("{}^{{commit}}", self.revision);
        let output = self
            .git(&[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                &commit,
            ])
            .map_err(|error| format!("git can't be run: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("git has no revision `{}`", self.revision).into()),
        }
    }
}

impl Library for Past<'_> {
    fn fetch(&self, name: &str) -> Result<Text, Missing> {
        let unreadable = |reason: String| Missing::Unreadable(reason);
        let top = self
            .git(&["rev-parse", "--show-toplevel"])
            .map_err(|error| unreadable(error.to_string()))?;
        let top = String::from_utf8_lossy(&top.stdout).trim_end().to_owned();
        let folder = self.folder.canonicalize().unwrap_or(self.folder.to_owned());
        let folder = folder
            .strip_prefix(&top)
            .map_err(|_| unreadable(format!("{} is in no repository", self.folder.display())))?;
        let path = folder.join(format!("{name}.toml"));
        let label = format!("{}:{}", self.revision, path.display());
        let shown = self
            .git(&["show", "--end-of-options", &label])
            .map_err(|error| unreadable(error.to_string()))?;
        if !shown.status.success() {
            return Err(Missing::NotFound(label));
        }
        match String::from_utf8(shown.stdout) {
            Ok(text) => Ok(Text {
                label,
                path: None,
                text,
            }),
            Err(_) => Err(unreadable(format!("{label} isn't UTF-8"))),
        }
    }
}
