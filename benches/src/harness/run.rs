//! The rounds.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Cores, Group, Kind, Placement, Result, Row, Summary, Turn, Unit, watchdog};
use crate::arguments::Arguments;

/// The results of all groups.
pub(crate) struct Results {
    pub(crate) cores: String,
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
    pub(crate) smoke: bool,
    pub(crate) groups: Vec<GroupResult>,
}

pub(crate) struct GroupResult {
    pub(crate) family: &'static str,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) placement: Placement,
    pub(crate) target: Option<f64>,
    pub(crate) headline: bool,
    pub(crate) rows: Vec<RowResult>,
}

pub(crate) struct RowResult {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The cost, or the reason why there is none.
    pub(crate) outcome: std::result::Result<Summary, String>,
}

impl Results {
    pub(crate) fn failures(&self) -> impl Iterator<Item = &RowResult> {
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        rows.filter(|row| row.outcome.is_err())
    }
}

impl GroupResult {
    /// The cost of the first row, which the others are divided by. None where it is nothing.
    pub(crate) fn floor(&self) -> Option<f64> {
        let floor = self.rows.first()?.outcome.as_ref().ok()?.p50;
        (floor > 0.0).then_some(floor)
    }
}

/// A row in the middle of the measurement.
struct Subject {
    group: usize,
    name: String,
    kind: Kind,
    placement: Placement,
    turn: Turn,
    /// For the watchdog, which may only look at what lives for ever.
    path: &'static CStr,
    state: State,
    samples: Vec<f64>,
}

enum State {
    Ready(Box<dyn Row>),
    Failed(String),
}

/// Runs the passes one after the other.
pub(crate) fn run(
    passes: Vec<Vec<Group>>,
    cores: &Cores,
    arguments: &Arguments,
) -> Result<Results> {
    let seed = arguments.seed.unwrap_or_else(clock);
    eprintln!("{}; seed {seed}", cores.describe());
    watchdog::install()?;
    let mut random = Random(seed);
    let count = passes.len();
    let mut groups = Vec::new();
    for (index, pass) in passes.into_iter().enumerate() {
        eprintln!("pass {} of {count}", index + 1);
        groups.extend(run_pass(pass, cores, &mut random, arguments)?);
    }
    Ok(Results {
        cores: cores.describe(),
        rounds: arguments.rounds,
        seed,
        smoke: arguments.smoke,
        groups,
    })
}

/// Sets every row up, gives each its turn in every round, and tears all of them down.
fn run_pass(
    groups: Vec<Group>,
    cores: &Cores,
    random: &mut Random,
    arguments: &Arguments,
) -> Result<Vec<GroupResult>> {
    let start = Instant::now();
    let mut results = Vec::new();
    let mut subjects = Vec::new();
    for group in groups {
        results.push(GroupResult {
            family: group.family,
            name: group.name.clone(),
            unit: group.unit,
            placement: group.placement,
            target: group.target,
            headline: group.headline,
            rows: Vec::new(),
        });
        subjects.extend(set_up(group, results.len() - 1, cores, arguments)?);
    }

    for round in 0..arguments.rounds {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        random.shuffle(&mut order);
        for index in order {
            subjects[index].take_turn(round, cores, arguments);
        }
        eprint!(
            "\rround {} of {}, {:.0} s ",
            round + 1,
            arguments.rounds,
            start.elapsed().as_secs_f64()
        );
        io::stderr().flush()?;
    }
    eprintln!();
    watchdog::rest();

    for subject in subjects {
        let outcome = match subject.state {
            State::Failed(cause) => Err(cause),
            State::Ready(row) => {
                drop(row);
                Summary::of(&subject.samples).ok_or_else(|| "had no turn".into())
            }
        };
        results[subject.group].rows.push(RowResult {
            name: subject.name,
            kind: subject.kind,
            outcome,
        });
    }
    Ok(results)
}

fn set_up(
    group: Group,
    index: usize,
    cores: &Cores,
    arguments: &Arguments,
) -> Result<Vec<Subject>> {
    let paths: Vec<String> = group.entries.iter().map(|e| group.path(e)).collect();
    let turn = match arguments.smoke {
        true => Turn {
            lead_in: 1,
            repeats: 1,
            at_most: usize::MAX,
        },
        false => group.turn,
    };
    let mut subjects = Vec::new();
    for (entry, path) in group.entries.into_iter().zip(paths) {
        let watched = Box::leak(CString::new(path.clone())?.into_boxed_c_str());
        watchdog::watch(watched);
        cores.pin_for_children(group.placement)?;
        let state = match (entry.set_up)() {
            Ok(row) => State::Ready(row),
            Err(error) => {
                eprintln!("failed to set up: {path}: {error}");
                State::Failed(error.to_string())
            }
        };
        subjects.push(Subject {
            group: index,
            name: entry.name,
            kind: entry.kind,
            placement: group.placement,
            turn,
            path: watched,
            state,
            samples: Vec::new(),
        });
    }
    Ok(subjects)
}

impl Subject {
    fn take_turn(&mut self, round: usize, cores: &Cores, arguments: &Arguments) {
        let State::Ready(row) = &mut self.state else {
            return;
        };
        let turns = self.turn.at_most.min(arguments.rounds);
        let had = round * turns / arguments.rounds;
        let has_now = (round + 1) * turns / arguments.rounds;
        if had == has_now {
            return;
        }
        watchdog::watch(self.path);
        if let Err(error) = play(row, self.turn, self.placement, cores, &mut self.samples) {
            eprintln!("\nfailed: {}: {error}", self.path.to_string_lossy());
            self.state = State::Failed(error.to_string());
        }
    }
}

fn play(
    row: &mut Box<dyn Row>,
    turn: Turn,
    placement: Placement,
    cores: &Cores,
    samples: &mut Vec<f64>,
) -> Result<()> {
    cores.pin_for_children(placement)?;
    row.enter()?;
    cores.pin_for_parent(placement)?;
    for _ in 0..turn.lead_in {
        row.run()?;
    }
    let mut total = 0.0;
    for _ in 0..turn.repeats {
        total += row.run()?.0;
    }
    // A turn is one sample. If two processes share a core, what one leaves undone is paid in the next run, so
    // that single runs fall into two heaps and their median into either.
    samples.push(total / turn.repeats as f64);
    row.leave()
}

/// Fails if a row left a child behind.
pub(crate) fn nothing_left_running() -> Result<()> {
    // SAFETY: a null status is allowed; no code of this program waits for a child any more.
    match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
        -1 => Ok(()),
        0 => Err("a row left a child running".into()),
        pid => Err(format!("a row left child {pid} unreaped").into()),
    }
}

fn clock() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(1, |time| time.as_nanos() as u64)
}

/// Splitmix64: good enough to shuffle, and repeatable from the seed that the report names.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.next() % (last as u64 + 1);
            items.swap(last, other as usize);
        }
    }
}
