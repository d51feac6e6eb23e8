//! `learn`: a program is run, and what its functions need becomes a policy.

mod records;
mod verify;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anstream::{eprint, eprintln};
use crossmist_policy::learn::{self, Learned, Record};
use crossmist_policy::{BUILTIN, Kernel, Policy};

use self::records::{Chosen, Found, Records};
use self::verify::Watched;
use super::{Outcome, no_sarif, print, refused};
use crate::args::{Arguments, Learn};
use crate::cargo::build_watched;
use crate::report::{BOLD, Failure, YELLOW, count, paint};
use crate::{merge, workspace};

/// The variable that tells a program to learn.
const VARIABLE: &str = "CROSSMIST_LEARN";

pub(super) fn run(arguments: &Arguments, options: &Learn) -> Outcome {
    no_sarif(arguments)?;
    let folder = workspace::folder(arguments)?;
    let library = workspace::library(&folder);
    let path = folder.join(format!("{}.toml", options.name));
    let is_builtin = BUILTIN.iter().any(|(known, _)| *known == options.name);
    if (options.write || options.add) && is_builtin {
        return Err(format!(
            "`{}` is built in: learn a policy of your own that extends it",
            options.name
        )
        .into());
    }
    let base = match &options.base {
        _ if options.add && path.exists() => options.name.clone(),
        Some(base) => base.clone(),
        None if is_builtin => options.name.clone(),
        None => parent(&path)?.unwrap_or_else(|| "parser".to_owned()),
    };
    if options.write && !options.force && path.exists() && !is_bare(&library, &options.name) {
        return Err(format!(
            "{} allows something already: --add adds to it, --force replaces it",
            path.display()
        )
        .into());
    }
    let mut found = Found::default();
    for file in &options.merge {
        found.read(file)?;
    }
    let mut runs = options.merge.len();
    let mut watched = None;
    if !options.command.is_empty() {
        let records = Records::new()?;
        let status = watch(options, &records)?;
        let recorded = records.all()?;
        if recorded.is_empty() && !records.has_any()? {
            if !status.success() {
                return Err(format!(
                    "nothing was recorded: `{}` ended with {status} before it called a confined function; its own \
                     message, above, says why (a build that failed, for example)",
                    options.command.join(" ")
                )
                .into());
            }
            return Err("nothing was recorded: did the program call a confined function? A program that cargo does not run here has to be built with RUSTFLAGS=\"--cfg crossmist_learn\"".into());
        }
        if !status.success() {
            eprintln!(
                "{}: the program ended with {status}; what it did until then counts",
                paint(YELLOW, "note")
            );
        }
        if let Some(file) = &options.record {
            records.keep(file)?;
        }
        watched = Some(Watched::new(
            options,
            status,
            records.outcomes()?,
            &recorded,
        ));
        found.append(recorded);
        runs += 1;
    }
    if runs == 0 {
        return Err("a program to run, or --merge with records of earlier runs".into());
    }
    for function in &found.incomplete {
        eprintln!(
            "{}: `{function}` did more different things than are recorded; what is missing is not learned",
            paint(YELLOW, "note")
        );
    }
    let chosen = chosen(options, &found)?;
    let kernels = kernels(options, &chosen)?;
    let records = chosen.records;
    let learned = match learn::learn(&library, &base, &records, runs, &kernels) {
        Ok(learned) => learned,
        Err(report) => return Ok(refused(arguments, &report)),
    };
    tell_judges(options, &base, &kernels, &learned);
    if options.add && path.exists() {
        return add(
            arguments,
            options,
            &path,
            &learned,
            &records,
            watched.as_ref(),
        );
    }
    if !options.write && !options.add {
        print(&learned.toml);
        summary(&learned, &base);
        return Ok(ExitCode::SUCCESS);
    }
    if options.force {
        say_what_goes(&path, &learned.toml);
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    std::fs::write(&path, &learned.toml).map_err(|error| format!("{}: {error}", path.display()))?;
    eprintln!("{} written: review it", path.display());
    summary(&learned, &base);
    verify::if_asked(options, &records, watched.as_ref(), &library)
}

/// Returns the kernels that the policy has to run on: those that the records were made on. It says so if others than
/// this one may be among them.
fn kernels(options: &Learn, chosen: &Chosen) -> Result<Vec<Kernel>, Failure> {
    let mut kernels = chosen.kernels.clone();
    let here = super::kernel::kernel(None)?.offer;
    let runs_here = !options.command.is_empty() || !chosen.without_kernel.is_empty();
    if runs_here && !kernels.contains(&here) {
        kernels.push(here);
    }
    for file in &chosen.without_kernel {
        eprintln!(
            "{}: {} doesn't say on which kernel it was made, so this one counts",
            paint(YELLOW, "note"),
            file.display()
        );
    }
    Ok(kernels)
}

/// Says by which kernels the lines were judged, if records of several may be among them.
fn tell_judges(options: &Learn, base: &str, kernels: &[Kernel], learned: &Learned) {
    let named = |kernel: &Kernel| {
        let release = kernel.release.map(|release| release.to_string());
        release.unwrap_or_else(|| "a kernel of unknown release".to_owned())
    };
    for kernel in &learned.not_judged_by {
        eprintln!(
            "{}: {} can't enforce `{base}` itself; lines were not judged by it",
            paint(YELLOW, "note"),
            named(kernel)
        );
    }
    let judges = kernels
        .iter()
        .filter(|kernel| !learned.not_judged_by.contains(kernel))
        .map(|kernel| format!("{} (Landlock ABI {})", named(kernel), kernel.landlock_abi));
    let judges: Vec<_> = judges.collect();
    if !options.merge.is_empty() && !judges.is_empty() {
        eprintln!(
            "{}: lines that any of these kernels can't enforce are left out: {}",
            paint(YELLOW, "note"),
            judges.join(", ")
        );
    }
}

/// Adds what was learned to the file of a policy, if the file is a policy then.
fn add(
    arguments: &Arguments,
    options: &Learn,
    path: &Path,
    learned: &Learned,
    records: &[Record],
    watched: Option<&Watched>,
) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let library = workspace::library(&workspace::folder(arguments)?);
    let old = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let merged = merge::merge(&old, learned).map_err(|error| failed(&error))?;
    if let Err(report) = Policy::from_toml(&library, &options.name, &merged.text) {
        return Ok(refused(arguments, &report));
    }
    if merged.text != old {
        std::fs::write(path, &merged.text).map_err(|error| failed(&error))?;
    }
    for kept in &merged.kept {
        eprintln!("{}: {kept}", paint(YELLOW, "kept"));
    }
    tell_notes(learned);
    for left_out in &learned.left_out {
        eprintln!("{}: {left_out}", paint(YELLOW, "left out"));
    }
    eprintln!(
        "{} added to {}: review what is new",
        paint(BOLD, count(merged.added, "line", "lines")),
        path.display()
    );
    verify::if_asked(options, records, watched, &library)
}

/// Says which lines of a file are thrown away.
fn say_what_goes(path: &Path, new: &str) {
    let Ok(old) = std::fs::read_to_string(path) else {
        return;
    };
    let stays: BTreeSet<&str> = new.lines().map(str::trim).collect();
    let gone = old.lines().filter(|line| {
        let line = line.trim();
        !line.is_empty() && !stays.contains(line)
    });
    let gone: Vec<_> = gone.collect();
    if !gone.is_empty() {
        eprintln!(
            "{}: --force throws these lines of {} away:",
            paint(YELLOW, "note"),
            path.display()
        );
        gone.iter().for_each(|line| eprintln!("- {line}"));
    }
}

/// Says what can't be granted, and which road works.
fn tell_notes(learned: &Learned) {
    for note in &learned.notes {
        eprintln!("{}: {note}", paint(YELLOW, "not by a policy"));
    }
}

fn summary(learned: &Learned, base: &str) {
    tell_notes(learned);
    eprintln!(
        "{} beyond {base}; left out: {}, with the reasons in comments at the end",
        paint(BOLD, count(learned.granted, "line", "lines")),
        count(learned.left_out.len(), "thing", "things")
    );
}

/// The first policy that a file extends now; none where there is no such file.
fn parent(path: &Path) -> Result<Option<String>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let parsed = taplo::parser::parse(&text).into_dom();
    let first = parsed.get("extends").get(0);
    Ok(first.as_str().map(|name| name.value().to_owned()))
}

/// Whether a policy allows nothing beyond what it extends, so that nothing is lost.
fn is_bare(library: &crossmist_policy::Folder, name: &str) -> bool {
    let Ok(policy) = Policy::load(library, name) else {
        return false;
    };
    let own = format!("/{name}.toml:");
    let overview = policy.overview();
    let by_call = overview.calls.iter().flat_map(|call| &call.clauses);
    let grants = overview
        .grants
        .iter()
        .filter_map(|grant| grant.location.as_ref());
    !by_call
        .map(|clause| clause.from.clone())
        .chain(grants.map(ToString::to_string))
        .any(|from| from.contains(&own))
}

/// Runs the program, showing what is recorded meanwhile.
fn watch(options: &Learn, records: &Records) -> Result<ExitStatus, Failure> {
    let mut child = command(options, true)?
        .env(VARIABLE, &records.0)
        .spawn()
        .map_err(|error| format!("`{}` can't be run: {error}", options.command.join(" ")))?;
    let begun = Instant::now();
    let shows = std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if shows {
                eprintln!("\r{}", progress(records, begun));
            }
            return Ok(status);
        }
        give_up(options, &mut child, begun)?;
        if shows && shown.elapsed() > Duration::from_secs(1) {
            eprint!("\r{}", progress(records, begun));
            shown = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn progress(records: &Records, begun: Instant) -> String {
    let found = records.all().unwrap_or_default();
    let calls: BTreeSet<_> = found.records().map(|record| record.call.as_str()).collect();
    let paths: BTreeSet<_> = found
        .records()
        .filter_map(|record| record.path.as_deref())
        .collect();
    format!(
        "{:>4.0?} s: {} kinds of calls, {} paths",
        begun.elapsed().as_secs(),
        calls.len(),
        paths.len()
    )
}

/// Ends a program that takes too long.
fn give_up(options: &Learn, child: &mut Child, begun: Instant) -> Result<(), Failure> {
    if options
        .timeout
        .is_some_and(|most| begun.elapsed() > Duration::from_secs(most))
    {
        child.kill()?;
        child.wait()?;
        return Err("the program was ended by --timeout; nothing was learned".into());
    }
    Ok(())
}

/// The program as it was typed; cargo gets what makes it build a program that can be watched.
fn command(options: &Learn, is_watched: bool) -> Result<Command, Failure> {
    let (program, rest) = options.command.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    let is_cargo = Path::new(program)
        .file_stem()
        .is_some_and(|stem| stem == "cargo");
    // `cargo nextest run` has its verb behind.
    let verbs = rest
        .iter()
        .take_while(|word| ["run", "test", "bench", "nextest"].contains(&word.as_str()))
        .count();
    if !is_cargo || !is_watched || verbs == 0 {
        command.args(rest);
        return Ok(command);
    }
    let (verbs, rest) = rest.split_at(verbs);
    command.args(verbs);
    build_watched(&mut command);
    command.args(rest);
    Ok(command)
}

/// The records that are of the policy, and of the function if one is named.
fn chosen(options: &Learn, found: &Found) -> Result<Chosen, Failure> {
    let chosen = found.chosen(options);
    if chosen.records.is_empty() && !found.is_empty() {
        return Err(format!(
            "nothing was recorded of the policy `{}`, but of {}",
            options.name,
            found.functions().join(", ")
        )
        .into());
    }
    Ok(chosen)
}
