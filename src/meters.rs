//! The metrics of the feature `metrics`. The crate's documentation has the list. The program measures
//! them, or the kernel does. No figure comes from a child.
//!
//! A recorder is the user's code. Pools call it with their locks held, so it must not call them. If it panics, the
//! figure is lost, and nothing else.
//!
//! A copy of the program that was made by `fork` reports only what began in it. The original reports the rest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use metrics::{Gauge, Unit, counter, gauge, histogram};

use crate::error::Error;

const CALLS: &str = "crossmist_calls_total";
const CALL_TIME: &str = "crossmist_call_seconds";
const CHILDREN: &str = "crossmist_children";
const CPU_TIME: &str = "crossmist_child_cpu_seconds";
const MEMORY: &str = "crossmist_child_memory_bytes";
const RUNNING: &str = "crossmist_pool_running";
const WAITING: &str = "crossmist_pool_waiting";
const WAIT_TIME: &str = "crossmist_pool_wait_seconds";
const SPARES: &str = "crossmist_pool_spares";
const POOL_CHILDREN: &str = "crossmist_pool_children_total";
const KEEPER_RESTARTS: &str = "crossmist_keeper_restarts_total";

/// Tells the program's recorder the unit and the meaning of each metric of this library. Call this once, after
/// the recorder has been installed. Exporters show the texts beside the figures.
pub fn describe_metrics() {
    metrics::describe_counter!(CALLS, "Calls that have ended, by how they ended");
    let text = "Time from the start of a call to its end";
    metrics::describe_histogram!(CALL_TIME, Unit::Seconds, text);
    metrics::describe_gauge!(CHILDREN, "Child processes that have not ended");
    let text = "Processor time of a child that has ended";
    metrics::describe_histogram!(CPU_TIME, Unit::Seconds, text);
    let text =
        "Most memory that a confined child had at a time, with what it shares with its keeper";
    metrics::describe_histogram!(MEMORY, Unit::Bytes, text);
    metrics::describe_gauge!(RUNNING, "Calls of pools that have a worker");
    metrics::describe_gauge!(WAITING, "Calls of pools that wait for a worker");
    let text = "Time that a call has waited for a worker, if it had to";
    metrics::describe_histogram!(WAIT_TIME, Unit::Seconds, text);
    metrics::describe_gauge!(SPARES, "Children of pools that wait for a call");
    let text = "Children that pools have given a call: a spare, a reused one, or a new one if there was no spare";
    metrics::describe_counter!(POOL_CHILDREN, text);
    let text = "Keepers that were started in place of another one";
    metrics::describe_counter!(KEEPER_RESTARTS, text);
}

/// Calls the recorder. Its panic must not end a thread of this library, or take a worker from a pool.
fn tell(report: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(report)) {
        // The payload is the recorder's, and dropping it could panic again.
        std::mem::forget(payload);
    }
}

/// The process in which something began.
#[derive(Clone, Copy, Debug)]
struct Origin(u32);

impl Origin {
    fn here() -> Self {
        Self(std::process::id())
    }

    /// Calls the recorder, unless this process is a copy of the one in which it began.
    fn tell(self, report: impl FnOnce()) {
        if self.0 == std::process::id() {
            tell(report);
        }
    }
}

/// A call that has not ended. If it is dropped, so were the handle or the future of the call.
#[derive(Debug)]
pub(crate) struct CallMeter {
    function: &'static str,
    origin: Origin,
    /// `None` if it has no worker yet. Such a call is counted, and has no time: otherwise, a pool that is too
    /// busy would look faster with each call that it refuses.
    begun: Option<Instant>,
    has_ended: bool,
}

impl CallMeter {
    pub(crate) fn begin(function: &'static str) -> Self {
        Self::new(function, Some(Instant::now()))
    }

    /// A call of a pool that has no worker yet.
    pub(crate) fn in_line(function: &'static str) -> Self {
        Self::new(function, None)
    }

    fn new(function: &'static str, begun: Option<Instant>) -> Self {
        Self {
            function,
            origin: Origin::here(),
            begun,
            has_ended: false,
        }
    }

    /// Ends the wait for a worker. A call that was not refused has another meter from now on.
    #[cfg(feature = "__runtime")]
    pub(crate) fn leave_line(mut self, refusal: Option<&Error>) {
        match refusal {
            Some(error) => self.fail(error),
            None => self.has_ended = true,
        }
    }

    pub(crate) fn end<R>(mut self, result: &Result<R, Error>) {
        match result {
            Ok(_) => self.count("ok"),
            Err(error) => self.fail(error),
        }
    }

    pub(crate) fn fail(mut self, error: &Error) {
        self.count(outcome(error));
    }

    /// Goes on in the child of the call, or ends with the error if there is none.
    pub(crate) fn follow<C>(
        self,
        child: Result<C, Error>,
        measure_call: impl FnOnce(&mut C, Self),
    ) -> Result<C, Error> {
        match child {
            Ok(mut child) => {
                measure_call(&mut child, self);
                Ok(child)
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    fn count(&mut self, outcome: &'static str) {
        self.has_ended = true;
        let (function, time) = (self.function, self.begun.map(|begun| begun.elapsed()));
        self.origin.tell(|| {
            counter!(CALLS, "function" => function, "outcome" => outcome).increment(1);
            if let Some(time) = time {
                histogram!(CALL_TIME, "function" => function).record(time);
            }
        });
    }
}

impl Drop for CallMeter {
    fn drop(&mut self) {
        if !self.has_ended {
            self.count("dropped");
        }
    }
}

/// Something that there is one more of, until this is dropped.
#[derive(Debug)]
pub(crate) struct Level {
    /// The recorder's at the beginning: one that is installed later does not see the end alone.
    gauge: Gauge,
    origin: Origin,
}

impl Level {
    fn raise(name: &'static str, function: &'static str) -> Self {
        // It stays this one if the recorder panics, and then is not lowered either.
        let mut gauge = Gauge::noop();
        tell(|| {
            let raised = gauge!(name, "function" => function);
            raised.increment(1);
            gauge = raised;
        });
        let origin = Origin::here();
        Self { gauge, origin }
    }

    pub(crate) fn pool_running(function: &'static str) -> Self {
        Self::raise(RUNNING, function)
    }

    pub(crate) fn pool_spare(function: &'static str) -> Self {
        Self::raise(SPARES, function)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        let gauge = std::mem::replace(&mut self.gauge, Gauge::noop());
        self.origin.tell(move || gauge.decrement(1));
    }
}

/// A call that waits for a worker, until this is dropped.
#[derive(Debug)]
pub(crate) struct WaitMeter {
    function: &'static str,
    origin: Origin,
    begun: Instant,
    _waiting: Level,
}

impl WaitMeter {
    pub(crate) fn begin(function: &'static str) -> Self {
        Self {
            function,
            origin: Origin::here(),
            begun: Instant::now(),
            _waiting: Level::raise(WAITING, function),
        }
    }
}

impl Drop for WaitMeter {
    fn drop(&mut self) {
        let (function, time) = (self.function, self.begun.elapsed());
        self.origin
            .tell(|| histogram!(WAIT_TIME, "function" => function).record(time));
    }
}

/// A child process that is not known to have ended.
#[derive(Debug)]
pub(crate) struct ChildMeter {
    function: &'static str,
    origin: Origin,
    _alive: Level,
}

impl ChildMeter {
    pub(crate) fn begin(function: &'static str) -> Self {
        Self {
            function,
            origin: Origin::here(),
            _alive: Level::raise(CHILDREN, function),
        }
    }

    /// Records what it has used. The most memory of an unconfined child is not known: the kernel counts the
    /// memory of the program that it was started from.
    pub(crate) fn end(self, cpu_time: Duration, memory: Option<u64>) {
        let function = self.function;
        self.origin.tell(|| {
            histogram!(CPU_TIME, "function" => function).record(cpu_time);
            if let Some(memory) = memory {
                // Exact up to 8 PiB.
                #[expect(clippy::as_conversions, reason = "there is no other way to a float")]
                let memory = memory as f64;
                histogram!(MEMORY, "function" => function).record(memory);
            }
        });
    }
}

/// A pool has given a call to a child that had waited, had answered others, or is being started.
pub(crate) fn pool_child(function: &'static str, child: &'static str) {
    tell(|| {
        counter!(POOL_CHILDREN, "function" => function, "child" => child).increment(1);
    });
}

/// A keeper was started in place of another one.
pub(crate) fn keeper_restarted() {
    tell(|| counter!(KEEPER_RESTARTS).increment(1));
}

/// Returns the name of an error's kind.
fn outcome(error: &Error) -> &'static str {
    match error {
        Error::NotEntered => "not_entered",
        Error::Unsupported { .. } => "unsupported",
        Error::ReturnsCode { .. } => "returns_code",
        Error::Encode(_) => "encode",
        Error::Launch { .. } => "launch",
        Error::Policy { .. } => "policy",
        Error::Confine { .. } => "confine",
        Error::Violation(_) => "violation",
        Error::Limit { .. } => "limit",
        Error::Preload { .. } => "preload",
        Error::KeeperDied => "keeper_died",
        Error::Panicked(_) => "panicked",
        Error::BadArguments { .. } => "bad_arguments",
        Error::BadResult { .. } => "bad_result",
        Error::ResultTooLarge { .. } => "result_too_large",
        Error::Signalled { .. } => "signalled",
        Error::Exited { .. } => "exited",
        Error::StatusTaken => "status_taken",
        Error::AlreadyJoined => "already_joined",
        Error::Silent => "silent",
        Error::PoolBusy => "pool_busy",
        Error::PoolClosed => "pool_closed",
        Error::Deadline { .. } => "deadline",
        Error::TooCostly { .. } => "too_costly",
        Error::Killed => "killed",
        Error::Malformed(_) => "malformed",
        Error::Decode(_) => "decode",
        Error::Io { .. } => "io",
        Error::Channel(_) => "channel",
    }
}
