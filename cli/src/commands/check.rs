//! `check`: every policy, and every sandbox that the sources name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::eprintln;
use crossmist_policy::{BUILTIN, Code, Diagnostic, Library, Policy, Severity};

use super::Outcome;
use crate::args::{Arguments, Check, Format};
use crate::report::{self, FINDINGS, GREEN, RED, paint};
use crate::{sources, workspace};

/// The mark in a program that was built with `--cfg crossmist_learn`.
const LEARNS: &[u8] = b"crossmist:this-program-can-be-made-to-watch-instead-of-confine";

pub(super) fn run(arguments: &Arguments, options: &Check) -> Outcome {
    if let Some(binary) = &options.binary {
        let bytes =
            std::fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
        if bytes.windows(LEARNS.len()).any(|window| window == LEARNS) {
            let name = binary.display();
            report::error(&format!(
                "{name} was built with `--cfg crossmist_learn`: its environment decides whether it confines"
            ));
            return Ok(ExitCode::from(FINDINGS));
        }
    }
    let mut allowed = BTreeSet::new();
    for code in &options.allow {
        allowed.insert(Code::find(code).ok_or_else(|| format!("there is no code `{code}`"))?);
    }
    let mut findings = Vec::new();
    let mut not_followed = 0;
    let selected = workspace::selected(arguments, &options.names)?;
    let mut loaded = BTreeMap::<PathBuf, Vec<Policy>>::new();
    for (folder, names) in &selected {
        let library = workspace::library(folder);
        let policies = loaded.entry(folder.clone()).or_default();
        for name in names {
            let checked = Policy::load(&library, name).and_then(|policy| {
                // For every architecture.
                policy.compile()?;
                Ok(policy)
            });
            match checked {
                Ok(policy) => {
                    // Built-in policies belong to this project.
                    if !is_builtin(name) {
                        let advice = policy.lint(inspect);
                        findings.extend(advice.given);
                        not_followed += advice.allowed.len();
                    }
                    policies.push(policy);
                }
                Err(report) => findings.extend_from_slice(report.diagnostics()),
            }
        }
    }
    let mut functions = 0;
    if options.names.is_empty() {
        functions = uses(arguments, &loaded, &mut findings, &mut not_followed)?;
    }
    // A mistake in a policy that two others extend is reported once.
    let mut told = BTreeSet::new();
    findings.retain(|finding| {
        !allowed.contains(&finding.code)
            && told.insert((
                finding.file.clone(),
                finding.line,
                finding.column,
                finding.code,
                finding.message.clone(),
            ))
    });
    findings.sort_by_key(|finding| {
        (
            std::cmp::Reverse(finding.code.severity()),
            finding.file.clone(),
            finding.line,
        )
    });
    report::write(&findings, arguments.format);
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.code.severity() == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let is_bad = errors > 0 || options.strict && warnings > 0;
    if arguments.format == Format::Human {
        let checked: usize = selected.values().map(Vec::len).sum();
        let (word, style) = if is_bad {
            ("refused", RED)
        } else {
            ("fine", GREEN)
        };
        let more = match not_followed {
            0 => String::new(),
            _ => format!(", {not_followed} allowed by `[[allow_lint]]`"),
        };
        eprintln!(
            "{}: {} and {} checked: {}, {}{more}",
            paint(style, word),
            report::count(checked, "policy", "policies"),
            report::count(functions, "function", "functions"),
            report::count(errors, "mistake", "mistakes"),
            report::count(warnings, "piece of advice", "pieces of advice"),
        );
        if checked == 0 {
            eprintln!("no policies found: `cargo crossmist new NAME` begins one");
        }
    }
    Ok(ExitCode::from(if is_bad { FINDINGS } else { 0 }))
}

fn is_builtin(name: &str) -> bool {
    BUILTIN.iter().any(|(known, _)| *known == name)
}

/// Resolves what the sources name, and finds policies that nothing names. Counts the advice that policies allow.
/// Returns how many functions have a sandbox.
fn uses(
    arguments: &Arguments,
    loaded: &BTreeMap<PathBuf, Vec<Policy>>,
    findings: &mut Vec<Diagnostic>,
    not_followed: &mut usize,
) -> Result<usize, report::Failure> {
    let mut used = BTreeSet::new();
    let mut functions = 0;
    let here = std::env::current_dir().unwrap_or_default();
    let packages = workspace::packages()?;
    let has_packages = !packages.is_empty();
    for package in packages {
        let folder = arguments.policies.clone().unwrap_or(package.policies);
        let library = workspace::library(&folder);
        for found in sources::scan(&package.targets) {
            functions += 1;
            used.insert((folder.clone(), found.policy.clone()));
            // A policy that exists but has mistakes was reported above.
            let is_there =
                is_builtin(&found.policy) || folder.join(format!("{}.toml", found.policy)).exists();
            if is_there {
                findings.extend(raised(&library, &found, &here));
                continue;
            }
            let Err(report) = Policy::load(&library, &found.policy) else {
                continue;
            };
            let first = report.diagnostics().first();
            let message = format!(
                "`{}` names no policy: looked for it in {}",
                found.function,
                folder.display()
            );
            let help = first.and_then(|first| first.help.clone());
            findings.push(at(&found, &here, Code::UnknownSandbox, message, help));
        }
    }
    // Without packages, nobody can tell.
    for (folder, policies) in loaded.iter().filter(|_| has_packages) {
        let extended: BTreeSet<_> = policies
            .iter()
            .flat_map(|policy| policy.ancestors().map(str::to_owned))
            .collect();
        for policy in policies {
            let name = policy.name();
            let is_used = used.contains(&(folder.clone(), name.to_owned()));
            if is_builtin(name) {
                continue;
            }
            let advice = policy.lint_use(is_used || extended.contains(name));
            findings.extend(advice.given);
            *not_followed += advice.allowed.len();
        }
    }
    Ok(functions)
}

/// Returns what a function raises of its policy. What can't be raised is a mistake that the compiler reports.
fn raised(library: &dyn Library, found: &sources::Use, here: &Path) -> Option<Diagnostic> {
    let raises = sources::raised(library, found);
    if raises.is_empty() {
        return None;
    }
    let told = raises.iter().map(ToString::to_string);
    let message = format!(
        "`{}` raises limits of `{}`: {}",
        found.function,
        found.policy,
        told.collect::<Vec<_>>().join(", ")
    );
    let help = "see whether it needs that; `--allow C061` accepts it".to_owned();
    Some(at(found, here, Code::Raised, message, Some(help)))
}

/// Returns a finding at the name of a policy in a source file.
fn at(
    found: &sources::Use,
    here: &Path,
    code: Code,
    message: String,
    help: Option<String>,
) -> Diagnostic {
    let file = found.file.strip_prefix(here).unwrap_or(&found.file);
    let number = |place| u32::try_from(place).unwrap_or(u32::MAX);
    Diagnostic {
        code,
        file: file.display().to_string(),
        line: number(found.line),
        column: number(found.column),
        // With its quotes.
        length: number(found.policy.chars().count() + 2),
        source_line: found.source_line.clone(),
        message,
        help,
    }
}

/// Returns what speaks against a path on this machine.
fn inspect(path: &str) -> Option<String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let path = Path::new(path);
    let own = std::fs::symlink_metadata(path).ok()?;
    if own.is_symlink() {
        return Some("is a symbolic link here: it is followed when the rule is created".to_owned());
    }
    let anybody = own.mode() & 0o002 != 0 && !own.file_type().is_char_device();
    anybody.then(|| "can be changed by anybody here".to_owned())
}
