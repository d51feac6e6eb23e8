//! Runs many rows interleaved, so that what the machine does meanwhile touches all of them alike.
//!
//! The usual harnesses measure one subject after the other and compare figures that were taken
//! minutes apart. Here every round gives every row a turn, in an order drawn anew, and a figure is
//! worth something only beside the floor that was measured in the same rounds.

mod cores;
mod group;
mod run;
mod statistics;
mod watchdog;

pub(crate) use cores::bring;
pub(crate) use cores::{Cores, Placement};
pub(crate) use group::{Group, Kind, Row, Sample, Turn, Unit};
pub(crate) use run::{GroupResult, Results, RowResult, nothing_left_running, run};
pub(crate) use statistics::Summary;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Refuses an answer that is not the expected one. A broken exchange has no speed.
pub(crate) fn expect_same<T: PartialEq + std::fmt::Debug>(got: T, expected: T) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(format!("wrong answer: got {got:?}, expected {expected:?}").into())
    }
}
