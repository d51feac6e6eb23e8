//! Rows, and the groups of rows that are compared with each other.

use std::time::Duration;

use super::{Cores, Placement, Result};

/// One subject, set up and ready to be measured again and again.
///
/// A closure `FnMut() -> Result<Sample>` is a row; implement the trait by hand when something has
/// to be in place only while the row has its turn.
pub(crate) trait Row {
    /// Does the work once, checks what came back, and says what it cost.
    ///
    /// The row takes the time itself, so that checking and cleaning up stay outside of it.
    fn run(&mut self) -> Result<Sample>;

    /// Called before the first `run` of each turn.
    fn enter(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called after the last `run` of each turn. Not called when a `run` failed.
    fn leave(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<F: FnMut() -> Result<Sample>> Row for F {
    fn run(&mut self) -> Result<Sample> {
        self()
    }
}

/// The cost of one run: seconds, bytes or a count, as the group's [`Unit`] says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample(pub(crate) f64);

impl From<Duration> for Sample {
    fn from(time: Duration) -> Self {
        Self(time.as_secs_f64())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    Count,
}

/// Whose row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// System calls and nothing else.
    Raw,
    /// Another crate.
    Peer,
    /// crossmist.
    Ours,
}

/// The parts of one turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Runs whose cost is dropped: they warm caches after somebody else's turn.
    pub(crate) lead_in: usize,
    /// Runs that count. Their mean is one sample.
    pub(crate) repeats: usize,
    /// Heavy groups sit out rounds, evenly spread, so as to have no more turns than this.
    pub(crate) at_most: usize,
}

impl Turn {
    /// For what takes microseconds.
    pub(crate) const SHORT: Self = Self {
        lead_in: 16,
        repeats: 128,
        at_most: usize::MAX,
    };
    /// For what takes milliseconds.
    pub(crate) const MEDIUM: Self = Self {
        lead_in: 1,
        repeats: 3,
        at_most: usize::MAX,
    };
    /// For what takes tenths of a second.
    pub(crate) const LONG: Self = Self {
        lead_in: 0,
        repeats: 1,
        at_most: 20,
    };
}

pub(crate) type SetUp = Box<dyn FnOnce() -> Result<Box<dyn Row>>>;

pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) set_up: SetUp,
}

/// Rows that do the same work by different means. The first is the floor, by which the cost of the
/// others is divided.
pub(crate) struct Group {
    pub(crate) family: &'static str,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) placement: Placement,
    pub(crate) turn: Turn,
    /// The largest ratio to the floor that our rows may have.
    pub(crate) target: Option<f64>,
    /// Whether the plot shows the group.
    pub(crate) headline: bool,
    pub(crate) entries: Vec<Entry>,
}

impl Group {
    pub(crate) fn new(family: &'static str, name: impl Into<String>, placement: Placement) -> Self {
        Self {
            family,
            name: name.into(),
            unit: Unit::Seconds,
            placement,
            turn: Turn::SHORT,
            target: None,
            headline: false,
            entries: Vec::new(),
        }
    }

    pub(crate) fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    pub(crate) fn turn(mut self, turn: Turn) -> Self {
        self.turn = turn;
        self
    }

    pub(crate) fn target(mut self, ratio: f64) -> Self {
        self.target = Some(ratio);
        self
    }

    pub(crate) fn headline(mut self) -> Self {
        self.headline = true;
        self
    }

    pub(crate) fn raw<R: Row + 'static>(
        &mut self,
        name: impl Into<String>,
        set_up: impl FnOnce() -> Result<R> + 'static,
    ) {
        self.add(Kind::Raw, name.into(), set_up);
    }

    pub(crate) fn peer<R: Row + 'static>(
        &mut self,
        name: impl Into<String>,
        set_up: impl FnOnce() -> Result<R> + 'static,
    ) {
        self.add(Kind::Peer, name.into(), set_up);
    }

    /// Adds a row of crossmist.
    ///
    /// `set_up` runs once, on the processor where the row's children belong: what it starts
    /// inherits that, and the harness then moves its own thread to where the parent belongs.
    pub(crate) fn ours<R: Row + 'static>(
        &mut self,
        name: impl Into<String>,
        set_up: impl FnOnce() -> Result<R> + 'static,
    ) {
        self.add(Kind::Ours, name.into(), set_up);
    }

    fn add<R: Row + 'static>(
        &mut self,
        kind: Kind,
        name: String,
        set_up: impl FnOnce() -> Result<R> + 'static,
    ) {
        self.entries.push(Entry {
            name,
            kind,
            set_up: Box::new(|| Ok(Box::new(set_up()?))),
        });
    }

    pub(crate) fn path(&self, entry: &Entry) -> String {
        let Self { family, name, .. } = self;
        format!(
            "{family} / {name}, {} / {}",
            self.placement.label(),
            entry.name
        )
    }

    /// Drops the rows that the filter does not name, except a floor that others need; says whether
    /// anything is left that this machine can run.
    pub(crate) fn keep(&mut self, filter: &str, cores: &Cores) -> bool {
        if !cores.can(self.placement) {
            eprintln!(
                "left out, needs two processors: {} / {}",
                self.family, self.name
            );
            return false;
        }
        let wanted: Vec<bool> = self
            .entries
            .iter()
            .map(|entry| self.path(entry).contains(filter))
            .collect();
        let mut index = 0;
        self.entries.retain(|_| {
            index += 1;
            index == 1 || wanted[index - 1]
        });
        wanted.contains(&true)
    }
}
