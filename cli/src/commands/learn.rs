//! `learn`: a program is run, and what its functions need becomes a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anstream::{eprint, eprintln};
use crossmist_policy::learn::{self, Learned, Record};
use crossmist_policy::{BUILTIN, Policy};
use serde_json::Value;

use super::outcomes::Outcomes;
use super::{Outcome, no_sarif, print, refused};
use crate::args::{Arguments, Learn};
use crate::cargo::build_watched;
use crate::report::{BOLD, FINDINGS, Failure, GREEN, RED, YELLOW, paint};
use crate::{merge, workspace};

/// The variable that tells a program to learn.
const VARIABLE: &str = "CROSSMIST_LEARN";

/// The same for a run that is confined, and says how its calls end.
const VERIFY_VARIABLE: &str = "CROSSMIST_VERIFY";

/// The longest record that is read, and the most of them.
const LINE_BYTES: usize = 64 << 10;
const MOST_LINES: usize = 1_000_000;

/// A record, and which function of which policy it is of.
type Found = (String, String, Record);

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
    let mut found = Vec::new();
    for file in &options.merge {
        found.extend(read(file)?);
    }
    let mut runs = options.merge.len();
    let mut watched = None;
    if !options.command.is_empty() {
        let records = Records::new()?;
        let status = watch(options, &records)?;
        let recorded = records.all()?;
        if recorded.is_empty() && !records.has_any()? {
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
        found.extend(recorded);
        watched = Some((status, records.outcomes()?));
        runs += 1;
    }
    if runs == 0 {
        return Err("a program to run, or --merge with records of earlier runs".into());
    }
    let records = chosen(options, found)?;
    let learned = match learn::learn(&library, &base, &records, runs) {
        Ok(learned) => learned,
        Err(report) => return Ok(refused(arguments, &report)),
    };
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
    verified(options, &records, watched.as_ref(), &library)
}

/// Runs the program again if that is asked for.
fn verified(
    options: &Learn,
    records: &[Record],
    watched: Option<&(ExitStatus, Outcomes)>,
    library: &crossmist_policy::Folder,
) -> Outcome {
    match (options.verify, watched) {
        (false, _) => Ok(ExitCode::SUCCESS),
        (true, Some(watched)) => verify(options, records, watched, library),
        (true, None) => Err("--verify takes a program to run".into()),
    }
}

/// Adds what was learned to the file of a policy, if the file is a policy then.
fn add(
    arguments: &Arguments,
    options: &Learn,
    path: &Path,
    learned: &Learned,
    records: &[Record],
    watched: Option<&(ExitStatus, Outcomes)>,
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
        "{} lines added to {}: review them",
        paint(BOLD, learned.granted),
        path.display()
    );
    verified(options, records, watched, &library)
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
        "{} lines beyond {base}, {} things left out, which are at the end as comments",
        paint(BOLD, learned.granted),
        learned.left_out.len()
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

/// A folder for the records of one run, removed in the end.
struct Records(PathBuf);

impl Records {
    fn new() -> Result<Self, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossmist-learn-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }

    /// The files of what was seen, or those of how calls ended (`outcomes`).
    fn files(&self, extension: &str) -> Result<Vec<PathBuf>, Failure> {
        let entries =
            std::fs::read_dir(&self.0).map_err(|error| format!("{}: {error}", self.0.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        let mut files: Vec<_> = files
            .filter(|file| file.extension().is_some_and(|end| end == extension))
            .collect();
        files.sort();
        Ok(files)
    }

    fn has_any(&self) -> Result<bool, Failure> {
        Ok(!self.files("jsonl")?.is_empty())
    }

    /// How the calls have ended.
    fn outcomes(&self) -> Result<Outcomes, Failure> {
        let mut outcomes = Outcomes::default();
        for file in self.files("outcomes")? {
            outcomes.read(&file)?;
        }
        Ok(outcomes)
    }

    /// Returns the actions of each child. The last record of a thing has its count.
    fn all(&self) -> Result<Vec<Found>, Failure> {
        let mut all = Vec::new();
        for file in self.files("jsonl")? {
            all.extend(read(&file)?);
        }
        Ok(all)
    }

    fn keep(&self, file: &Path) -> Result<(), Failure> {
        let mut text = Vec::new();
        for part in self.files("jsonl")? {
            text.extend(
                std::fs::read(&part).map_err(|error| format!("{}: {error}", part.display()))?,
            );
        }
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()).into())
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
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
    let calls: BTreeSet<_> = found
        .iter()
        .map(|(.., record)| record.call.as_str())
        .collect();
    let paths: BTreeSet<_> = found
        .iter()
        .filter_map(|(.., record)| record.path.as_deref())
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
fn chosen(options: &Learn, found: Vec<Found>) -> Result<Vec<Record>, Failure> {
    let functions: BTreeSet<String> = found
        .iter()
        .map(|(function, policy, _)| format!("{function} ({policy})"))
        .collect();
    let is_wanted = |(function, policy, _): &Found| {
        let by_name = options
            .func
            .as_ref()
            .is_none_or(|name| function == name || function.ends_with(&format!("::{name}")));
        by_name && (*policy == options.name || options.func.is_some())
    };
    let records: Vec<_> = found
        .iter()
        .filter(|found| is_wanted(found))
        .map(|(.., record)| record.clone())
        .collect();
    if records.is_empty() && !found.is_empty() {
        let functions: Vec<_> = functions.into_iter().collect();
        return Err(format!(
            "nothing was recorded of the policy `{}`, but of {}",
            options.name,
            functions.join(", ")
        )
        .into());
    }
    Ok(records)
}

/// Reads a file of records: what it says of one thing last counts.
fn read(file: &Path) -> Result<Vec<Found>, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut last = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |what: &str| format!("{}:{}: {what}", file.display(), number + 1);
        if line.len() > LINE_BYTES || number >= MOST_LINES {
            return Err(bad("too long").into());
        }
        // The last line of a program that was killed may be torn.
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            if number + 1 == text.lines().count() {
                break;
            }
            return Err(bad("not a record").into());
        };
        let found = record(&value).ok_or_else(|| bad("not a record"))?;
        let key = (
            found.0.clone(),
            found.2.call.clone(),
            found.2.arguments,
            found.2.path.clone(),
            found.2.port,
            found.2.is_udp,
        );
        last.insert(key, found);
    }
    Ok(last.into_values().collect())
}

fn record(value: &Value) -> Option<Found> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let mut arguments = [0; 6];
    for (slot, argument) in arguments.iter_mut().zip(value["arguments"].as_array()?) {
        *slot = u64::from_str_radix(argument.as_str()?.strip_prefix("0x")?, 16).ok()?;
    }
    let record = Record {
        call: text("call")?,
        arguments,
        path: text("path"),
        exists: value["exists"].as_bool()?,
        result: value["result"].as_str().and_then(learn::Outcome::from_name),
        port: value["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok()),
        is_udp: value["udp"].as_bool().unwrap_or(false),
        count: value["count"].as_u64()?,
        seen_at: text("seen_at").map(|place| near(&place)),
    };
    Some((text("function")?, text("policy")?, record))
}

/// A place in the sources as it is called from here.
fn near(place: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = Path::new(place);
    path.strip_prefix(&here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Runs the program again, confined by what was learned, and compares the two runs. Then it asks whether
/// all of what was learned is needed.
fn verify(
    options: &Learn,
    records: &[Record],
    (watched_status, watched): &(ExitStatus, Outcomes),
    library: &crossmist_policy::Folder,
) -> Outcome {
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
    let mut differences = watched.differences(&again.outcomes()?, &options.name);
    if status != *watched_status {
        differences.push(format!(
            "the program ends with {status}; when it was watched, with {watched_status}"
        ));
    }
    for answered in learn::answered_softly(library, &options.name, records)? {
        differences.push(format!("answered with an error now: {answered}"));
    }
    for difference in &differences {
        eprintln!("{}: {difference}", paint(RED, "not verified"));
    }
    if !differences.is_empty() {
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
