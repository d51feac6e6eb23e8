//! Events, as a subscriber of `tracing` receives them.

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossmist::{Child, Error, func};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_good_call_is_told,
            an_unconfined_call_is_told,
            a_violation_is_told,
            a_deadline_is_told_once,
            a_limit_is_told,
            a_keeper_that_was_killed_is_told,
        ],
        cases![],
    );
}

/// An event: its level, and its fields with the message among them.
#[derive(Clone, Debug)]
struct Told {
    level: Level,
    fields: BTreeMap<String, String>,
}

impl Told {
    #[track_caller]
    fn assert(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        assert_eq!((self.level, self.field("message")), (level, message));
        for (name, value) in fields {
            assert_eq!(self.field(name), *value, "{name} of {self:?}");
        }
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        self.fields.insert(field.name().to_owned(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
}

/// Keeps every event of the library's.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<Told>>>);

impl Collector {
    fn install() -> Self {
        let collector = Self::default();
        tracing::subscriber::set_global_default(collector.clone()).unwrap();
        collector
    }

    /// Returns the events since the last time.
    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "crossmist"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut told = Told {
            level: *event.metadata().level(),
            fields: BTreeMap::new(),
        };
        event.record(&mut told);
        self.0.lock().unwrap().push(told);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const STARTED: &str = "a child process was started";
const CONFINED: &str = "a child process has confined itself";
const LATE: &str = "a child process was ended: the call was not done in time";

#[func(sandbox = "pure")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[func]
fn add_unconfined(a: u32, b: u32) -> u32 {
    a + b
}

#[func(sandbox = "pure")]
fn waits(time: Duration) {
    std::thread::sleep(time);
}

#[func]
fn waits_unconfined(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = "parser", cpu_time = "1s")]
fn spins() {
    loop {
        std::hint::black_box(0);
    }
}

#[func(sandbox = "pure")]
fn listens() -> bool {
    std::net::TcpListener::bind("127.0.0.1:0").is_ok()
}

/// Checks the events that come before all others in a confined call, and returns the id of its child.
#[track_caller]
fn assert_begins(told: &[Told], function: &str) -> String {
    let [started, confined, ..] = told else {
        panic!("{told:#?}");
    };
    let policy = if function == "spins" {
        "parser"
    } else {
        "pure"
    };
    let function = format!("{}::{function}", module_path!());
    let fields = [("function", function.as_str()), ("policy", policy)];
    started.assert(Level::DEBUG, STARTED, &fields);
    let pid = started.field("pid");
    assert!(pid.parse::<u32>().unwrap() > 0);
    confined.assert(
        Level::DEBUG,
        CONFINED,
        &[("pid", pid), ("dumpable", "false"), ("relaxed", "0")],
    );
    pid.to_owned()
}

fn missing(status: &crossmist::ConfinementStatus) -> String {
    let names = status.missing.iter().map(|net| net.name());
    names.collect::<Vec<_>>().join(", ")
}

fn a_good_call_is_told() {
    let collector = Collector::install();
    let mut child = add.spawn(5, 7).unwrap();
    let id = child.id().unwrap().to_string();
    let status = child.confinement().unwrap().unwrap();
    assert_eq!(child.join().unwrap(), 12);
    let told = collector.take();
    assert_eq!(told.len(), 3, "{told:#?}");
    told[0].assert(Level::DEBUG, "the keeper was started", &[]);
    assert_eq!(assert_begins(&told[1..], "add"), id);
    let number = |number: u64| number.to_string();
    told[2].assert(
        Level::DEBUG,
        CONFINED,
        &[
            (
                "seccomp_instructions",
                &number(status.seccomp_instructions.into()),
            ),
            ("landlock_abi", &number(status.landlock_abi.into())),
            ("landlock_files", &number(status.landlock_files)),
            ("landlock_ports", &number(status.landlock_ports)),
            ("landlock_scopes", &number(status.landlock_scopes)),
            ("capabilities", &number(status.capabilities)),
            (
                "own_user",
                &status.own_user.map_or(String::new(), |id| id.to_string()),
            ),
            (
                "same_user",
                &status
                    .same_user
                    .map_or(String::new(), |why| format!("{why:?}")),
            ),
            ("limits", &number(status.limits.into())),
            ("shared_bytes", &number(status.shared_bytes)),
            (
                "denies_write_execute",
                &status.denies_write_execute.to_string(),
            ),
            ("missing", &missing(&status)),
            ("allows_speculation", &status.allows_speculation.to_string()),
        ],
    );
    // The next one has a keeper.
    assert_eq!(add.run(1, 2).unwrap(), 3);
    let told = collector.take();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_ne!(assert_begins(&told, "add"), id);
}

fn an_unconfined_call_is_told() {
    let collector = Collector::install();
    assert_eq!(add_unconfined.run(5, 7).unwrap(), 12);
    let told = collector.take();
    assert_eq!(told.len(), 1, "{told:#?}");
    let function = concat!(module_path!(), "::add_unconfined");
    told[0].assert(Level::DEBUG, STARTED, &[("function", function)]);
    assert!(!told[0].fields.contains_key("policy"));
}

fn a_violation_is_told() {
    let collector = Collector::install();
    let Err(Error::Violation(violation)) = listens.run() else {
        panic!("it should have been denied");
    };
    let claim = violation.claim.unwrap();
    let told = collector.take();
    assert_eq!(told.len(), 4, "{told:#?}");
    let pid = assert_begins(&told[1..], "listens");
    // The innermost place, without names: nobody waits for the debug information to be read. So it is a guess if
    // the C library, which makes the call, is not part of the program, and no register says where that returns to.
    let at = told[3].fields["at"].clone();
    let offset = at.strip_prefix("perhaps ");
    assert_eq!(
        offset.is_none(),
        cfg!(any(target_feature = "crt-static", target_arch = "aarch64")),
        "{at}"
    );
    let offset = offset.unwrap_or(&at);
    let offset = offset
        .strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    assert!(offset.is_some_and(|offset| offset > 0), "{at}");
    told[3].assert(
        Level::WARN,
        "a child process was ended for a system call that its policy denies",
        &[
            ("pid", &pid),
            ("function", concat!(module_path!(), "::listens")),
            ("policy", "pure"),
            ("call", &claim.call),
            ("denied_by", &claim.denied_by),
            ("at", &at),
        ],
    );
    assert!(claim.call.starts_with("socket("));
}

fn a_deadline_is_told_once() {
    let collector = Collector::install();
    let (time, long) = (Duration::from_millis(6500), Duration::from_secs(50));
    let result = waits.builder().deadline(time).run(long);
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    let told = collector.take();
    assert_eq!(told.len(), 4, "{told:#?}");
    let pid = assert_begins(&told[1..], "waits");
    let fields = [("pid", pid.as_str()), ("after_seconds", "6.5")];
    told[3].assert(Level::WARN, LATE, &fields);

    let result = waits_unconfined.builder().deadline(time).run(long);
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    let told = collector.take();
    assert_eq!(told.len(), 2, "{told:#?}");
    told[1].assert(Level::WARN, LATE, &[("pid", told[0].field("pid"))]);
}

fn a_limit_is_told() {
    let collector = Collector::install();
    assert!(matches!(spins.run(), Err(Error::Limit { .. })));
    let told = collector.take();
    assert_eq!(told.len(), 4, "{told:#?}");
    let pid = assert_begins(&told[1..], "spins");
    told[3].assert(
        Level::WARN,
        "a child process was ended: it used up what its policy gives it",
        &[
            ("pid", &pid),
            ("function", concat!(module_path!(), "::spins")),
            ("policy", "parser"),
            ("resource", "processor time (`limits.cpu_time`)"),
        ],
    );
}

fn a_keeper_that_was_killed_is_told() {
    let collector = Collector::install();
    let mut child: Child<()> = waits.spawn(Duration::from_secs(50)).unwrap();
    child.confinement().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let keeper = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    let keeper: i32 = keeper.unwrap().parse().unwrap();
    let id = child.id().unwrap().to_string();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(keeper),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert!(matches!(child.join(), Err(Error::KeeperDied)));
    // Until then, it may still take a request, with which it ends.
    support::wait_until_ended(keeper.unsigned_abs());
    assert_eq!(add.run(5, 7).unwrap(), 12);
    let told = collector.take();
    assert_eq!(told.len(), 7, "{told:#?}");
    let killed = "the process that watches over confined children was killed, and the child \
                  process with it";
    told[3].assert(Level::WARN, killed, &[("pid", &id)]);
    told[4].assert(Level::WARN, "the keeper was started again", &[]);
    assert_begins(&told[5..], "add");
}
