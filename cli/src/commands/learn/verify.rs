//! Runs a program again, confined by what was learned, and says in what the two runs differ.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anstream::eprintln;
use crossmist_policy::Policy;
use crossmist_policy::learn::{self, Record};

use super::records::{Found, Records};
use super::{VARIABLE, command, give_up};
use crate::args::Learn;
use crate::commands::Outcome;
use crate::commands::kernel::kernel;
use crate::commands::outcomes::Outcomes;
use crate::report::{FINDINGS, GREEN, RED, YELLOW, paint};

/// The variable that tells a program to be confined as always, and to say how its calls end.
const VERIFY_VARIABLE: &str = "CROSSMIST_VERIFY";

/// How many paths are named in a line.
const NAMED_PATHS: usize = 5;

/// How much of a path is shown.
const SHOWN_CHARACTERS: usize = 200;

/// The run that was watched.
pub(super) struct Watched {
    status: ExitStatus,
    outcomes: Outcomes,
    /// The paths that it seems to have created. Something else may have been there before.
    created: Vec<PathBuf>,
    /// The functions of which more was seen than is recorded.
    incomplete: BTreeSet<String>,
}

impl Watched {
    pub(super) fn new(
        options: &Learn,
        status: ExitStatus,
        outcomes: Outcomes,
        found: &Found,
    ) -> Self {
        let records = found.chosen(options).records;
        let created = learn::created(&records);
        Self {
            status,
            outcomes,
            created: created.into_iter().map(PathBuf::from).collect(),
            incomplete: found.incomplete.clone(),
        }
    }

    /// Returns what it has created and left.
    fn leftovers(&self) -> Vec<&Path> {
        let all = self.created.iter().map(PathBuf::as_path);
        all.filter(|path| path.symlink_metadata().is_ok()).collect()
    }
}

/// Runs the program again if that is asked for.
pub(super) fn if_asked(
    options: &Learn,
    records: &[Record],
    watched: Option<&Watched>,
    library: &crossmist_policy::Folder,
) -> Outcome {
    match (options.verify, watched) {
        (false, _) => Ok(ExitCode::SUCCESS),
        (true, Some(watched)) => verify(options, records, watched, library),
        (true, None) => Err("--verify takes a program to run".into()),
    }
}

/// Compares the two runs. Then it asks whether all of what was learned is needed.
fn verify(
    options: &Learn,
    records: &[Record],
    watched: &Watched,
    library: &crossmist_policy::Folder,
) -> Outcome {
    let leftovers = watched.leftovers();
    if !leftovers.is_empty() {
        eprintln!(
            "{}: the watched run has left {}, and the next run finds that unless the command removes it",
            paint(YELLOW, "note"),
            listed(&leftovers)
        );
    }
    eprintln!("running it again, confined");
    let again = Records::new()?;
    // The same build, which reads the policy anew: it says how each call ends.
    let mut child = command(options, true)?
        .env_remove(VARIABLE)
        .env(VERIFY_VARIABLE, &again.0)
        .spawn()?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        give_up(options, &mut child, begun)?;
        std::thread::sleep(Duration::from_millis(20));
    };
    let kernel = kernel(None)?;
    let outcomes = &watched.outcomes;
    let differences = outcomes.differences(&again.outcomes()?, &options.name);
    let other_answers = differences.iter().any(|difference| difference.is_answer);
    let differences = differences.into_iter().map(|difference| difference.text);
    let mut differences: Vec<_> = differences.collect();
    if status != watched.status {
        differences.push(format!(
            "the program ends with {status}; when it was watched, with {}",
            watched.status
        ));
    }
    for function in &watched.incomplete {
        differences.push(format!(
            "`{function}` did more different things than are recorded, so it is not known whether they are denied now"
        ));
    }
    for answered in learn::denied_now(library, &options.name, records, Some(&kernel.offer))? {
        differences.push(format!("denied now: {answered}"));
    }
    for difference in &differences {
        eprintln!("{}: {difference}", paint(RED, "not verified"));
    }
    if !differences.is_empty() {
        if other_answers && children_have_own_users(options, library) {
            eprintln!(
                "{}: the watched run was root's, and confined children of root have a user of their own: a function \
                 that asks who it is, as `home_dir` does, gets another answer; pass it what it needs, or set \
                 `user = \"same\"` under [process]",
                paint(YELLOW, "note")
            );
        }
        for folder in foreign_folders(options, watched, library)? {
            eprintln!(
                "{}: not everybody may create files in {}, and root's children have a user of their own: open the \
                 folder to them (chmod 1777), or set `user = \"same\"` under [process]",
                paint(YELLOW, "note"),
                shown(&folder)
            );
        }
        return Ok(ExitCode::from(FINDINGS));
    }
    let unneeded = learn::unneeded(library, &options.name, records)?;
    for grant in &unneeded {
        eprintln!(
            "{} {}: nothing that was seen needs `{}`",
            paint(YELLOW, "redundant"),
            grant.location,
            grant.entry
        );
    }
    eprintln!(
        "{}: it runs the same under what was learned, and gives the same answers",
        paint(GREEN, "verified")
    );
    Ok(ExitCode::from(if unneeded.is_empty() {
        0
    } else {
        FINDINGS
    }))
}

/// Returns a path as a terminal may show it: who made the name has chosen it.
fn shown(path: &Path) -> String {
    let path = path.to_string_lossy();
    let mut escaped = path.escape_debug();
    let mut shown: String = escaped.by_ref().take(SHOWN_CHARACTERS).collect();
    if escaped.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The first paths of a list.
fn listed(paths: &[&Path]) -> String {
    let named = paths.iter().take(NAMED_PATHS);
    let named: Vec<_> = named.map(|path| shown(path)).collect();
    match paths.len().saturating_sub(NAMED_PATHS) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Whether the program is root, and its children are not.
fn children_have_own_users(options: &Learn, library: &crossmist_policy::Folder) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let policy = Policy::load(library, &options.name).and_then(|policy| policy.compile());
    is_root && policy.is_ok_and(|policy| policy.process.own_user)
}

/// Returns the folders in which the function has created something and can't any more: the program is root, its
/// children are not, and the folder is not open to everybody.
fn foreign_folders(
    options: &Learn,
    watched: &Watched,
    library: &crossmist_policy::Folder,
) -> Result<BTreeSet<PathBuf>, crate::report::Failure> {
    if !children_have_own_users(options, library) {
        return Ok(BTreeSet::new());
    }
    let folders = watched.created.iter().filter_map(|path| path.parent());
    // What lies in a folder that was itself created is denied there.
    let folders =
        folders.filter(|folder| !watched.created.iter().any(|path| path.as_path() == *folder));
    let is_closed = |folder: &&Path| {
        folder
            .metadata()
            .is_ok_and(|folder| folder.mode() & 0o002 == 0)
    };
    Ok(folders.filter(is_closed).map(Path::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_made_up_to_look_like_a_result_is_shown_for_what_it_is() {
        let made_up = Path::new("/out/x\n\u{1b}[32mverified\u{1b}[0m: it runs the same\u{202e}");
        let listed = listed(&[made_up, Path::new("/out/ü")]);
        assert_eq!(
            listed,
            "/out/x\\n\\u{1b}[32mverified\\u{1b}[0m: it runs the same\\u{202e}, /out/ü"
        );
        let long = shown(Path::new(&"x".repeat(100_000)));
        assert!(long.ends_with('…') && long.chars().count() == SHOWN_CHARACTERS + 1);
    }
}
