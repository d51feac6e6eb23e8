//! Reads what a program that was watched has recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossmist_policy::Kernel;
use crossmist_policy::learn::{self, Record};
use crossmist_policy::steps::Release;
use serde_json::Value;

use crate::args::Learn;
use crate::commands::outcomes::Outcomes;
use crate::report::Failure;

/// The longest record that is read, and the most of them.
const LINE_BYTES: usize = 64 << 10;
const MOST_LINES: usize = 1_000_000;

/// The most kernels that records may be made on. Every line of a policy is tried on each.
const MOST_KERNELS: usize = 64;

/// A record, and which function of which policy it is of.
struct Entry {
    function: String,
    policy: String,
    record: Record,
    origin: Origin,
}

/// The origin of a record.
#[derive(Clone)]
enum Origin {
    On(Arc<Kernel>),
    /// The file doesn't say it.
    Unknown(Arc<Path>),
}

/// The records of a run.
#[derive(Default)]
pub(super) struct Found {
    entries: Vec<Entry>,
    /// The functions of which more was seen than is recorded.
    pub(super) incomplete: BTreeSet<String>,
    /// The kernels that they were made on, each once.
    kernels: Vec<Arc<Kernel>>,
}

/// The records that are to be learned from.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) records: Vec<Record>,
    /// The kernels that they were made on, each once.
    pub(super) kernels: Vec<Kernel>,
    /// The files with those of which it isn't known on which kernel they were made, each once.
    pub(super) without_kernel: Vec<PathBuf>,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().map(|entry| &entry.record)
    }

    pub(super) fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.incomplete.extend(other.incomplete);
    }

    /// Returns the kernel as it is kept, once.
    fn add(&mut self, kernel: Kernel) -> Arc<Kernel> {
        if let Some(known) = self.kernels.iter().find(|known| ***known == kernel) {
            return Arc::clone(known);
        }
        let kernel = Arc::new(kernel);
        self.kernels.push(Arc::clone(&kernel));
        kernel
    }

    /// Returns the records that are of the policy, and of the function if one is named.
    pub(super) fn chosen(&self, options: &Learn) -> Chosen {
        let is_wanted = |entry: &&Entry| {
            let function = &entry.function;
            let by_name = options
                .func
                .as_ref()
                .is_none_or(|name| function == name || function.ends_with(&format!("::{name}")));
            by_name && (entry.policy == options.name || options.func.is_some())
        };
        let mut chosen = Chosen::default();
        for entry in self.entries.iter().filter(is_wanted) {
            chosen.records.push(Record {
                is_partial: self.incomplete.contains(&entry.function),
                ..entry.record.clone()
            });
            match &entry.origin {
                Origin::On(kernel) if !chosen.kernels.contains(kernel) => {
                    chosen.kernels.push(Kernel::clone(kernel));
                }
                Origin::Unknown(file)
                    if !chosen.without_kernel.iter().any(|known| **known == **file) =>
                {
                    chosen.without_kernel.push(file.to_path_buf());
                }
                Origin::On(_) | Origin::Unknown(_) => {}
            }
        }
        chosen
    }

    /// Returns the functions, each with its policy.
    pub(super) fn functions(&self) -> Vec<String> {
        let all = self.entries.iter();
        let names = all.map(|entry| format!("{} ({})", entry.function, entry.policy));
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Reads a file of records. Each recording in it begins with the line that says where it was made, and what it says
    /// of one thing last counts.
    pub(super) fn read(&mut self, file: &Path) -> Result<(), Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let mut last = BTreeMap::new();
        let mut origin = Origin::Unknown(Arc::from(file));
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
            if value["incomplete"].as_bool() == Some(true)
                && let Some(function) = value["function"].as_str()
            {
                self.incomplete.insert(function.to_owned());
                continue;
            }
            if value["kernel"].is_string() {
                origin = Origin::On(self.add(kernel(&value).map_err(|why| bad(&why))?));
                if self.kernels.len() > MOST_KERNELS {
                    return Err(bad("made on too many different kernels").into());
                }
                self.entries.extend(std::mem::take(&mut last).into_values());
                continue;
            }
            let entry = entry(&value, &origin).ok_or_else(|| bad("not a record"))?;
            let record = &entry.record;
            let key = (
                entry.function.clone(),
                record.call.clone(),
                record.arguments,
                record.path.clone(),
                record.other.clone(),
                record.port,
                record.is_udp,
            );
            last.insert(key, entry);
        }
        self.entries.extend(last.into_values());
        Ok(())
    }
}

/// A folder for the records of one run, removed in the end.
pub(super) struct Records(pub(super) PathBuf);

impl Records {
    pub(super) fn new() -> Result<Self, Failure> {
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

    pub(super) fn has_any(&self) -> Result<bool, Failure> {
        Ok(!self.files("jsonl")?.is_empty())
    }

    /// How the calls have ended.
    pub(super) fn outcomes(&self) -> Result<Outcomes, Failure> {
        let mut outcomes = Outcomes::default();
        for file in self.files("outcomes")? {
            outcomes.read(&file)?;
        }
        Ok(outcomes)
    }

    /// Returns the actions of each child. The last record of a thing has its count.
    pub(super) fn all(&self) -> Result<Found, Failure> {
        let mut all = Found::default();
        for file in self.files("jsonl")? {
            all.read(&file)?;
        }
        Ok(all)
    }

    pub(super) fn keep(&self, file: &Path) -> Result<(), Failure> {
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

/// Reads the line that says where the records after it were made.
fn kernel(value: &Value) -> Result<Kernel, String> {
    let arch = value["arch"].as_str().unwrap_or_default();
    if arch != std::env::consts::ARCH {
        let arch: String = arch.escape_debug().take(20).collect();
        return Err(format!(
            "made on {arch}, where the same flags have other numbers: learn from it on such a machine"
        ));
    }
    let release = value["kernel"].as_str().unwrap_or_default();
    let abi = value["landlock_abi"].as_u64();
    Ok(Kernel {
        release: Release::parse(release),
        landlock_abi: abi
            .and_then(|abi| u32::try_from(abi).ok())
            .ok_or("not a record")?,
        denies_write_execute: value["denies_write_execute"]
            .as_bool()
            .ok_or("not a record")?,
    })
}

fn entry(value: &Value, origin: &Origin) -> Option<Entry> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let mut arguments = [0; 6];
    for (slot, argument) in arguments.iter_mut().zip(value["arguments"].as_array()?) {
        *slot = u64::from_str_radix(argument.as_str()?.strip_prefix("0x")?, 16).ok()?;
    }
    let record = Record {
        call: text("call")?,
        arguments,
        path: text("path"),
        other: text("other"),
        exists: value["exists"].as_bool()?,
        replaces: value["replaces"].as_bool().unwrap_or(false),
        // A recording from before this was noted says nothing, and code is never granted as data.
        was_loaded: value["loaded"].as_bool().unwrap_or(true),
        is_partial: false,
        result: value["result"].as_str().and_then(learn::Outcome::from_name),
        port: value["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok()),
        is_udp: value["udp"].as_bool().unwrap_or(false),
        threads: value["threads"].as_u64().unwrap_or(0),
        count: value["count"].as_u64()?,
        seen_at: text("seen_at").map(|place| near(&place)),
    };
    Some(Entry {
        function: text("function")?,
        policy: text("policy")?,
        record,
        origin: origin.clone(),
    })
}

/// A place in the sources as it is called from here.
fn near(place: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    // It may be a guess.
    let (perhaps, path) = match place.strip_prefix(PERHAPS) {
        Some(path) => (PERHAPS, Path::new(path)),
        None => ("", Path::new(place)),
    };
    let path = path.strip_prefix(&here).unwrap_or(path);
    format!("{perhaps}{}", path.display())
}

const PERHAPS: &str = "perhaps ";
