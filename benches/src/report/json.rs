//! All figures, for scripts. Times are in seconds, memory in bytes.

use serde::Serialize;

use super::machine::Machine;
use super::{kind, ratio, reaches};
use crate::harness::{GroupResult, Results, RowResult, Summary, Unit};

pub(crate) fn json(results: &Results) -> serde_json::Result<String> {
    let document = Document {
        machine: Machine::here(),
        processors: &results.cores,
        rounds: results.rounds,
        seed: results.seed,
        smoke: results.smoke,
        groups: results.groups.iter().map(Group::of).collect(),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[derive(Serialize)]
struct Document<'a> {
    machine: Machine,
    processors: &'a str,
    rounds: usize,
    seed: u64,
    smoke: bool,
    groups: Vec<Group<'a>>,
}

#[derive(Serialize)]
struct Group<'a> {
    family: &'a str,
    name: &'a str,
    placement: &'static str,
    unit: &'static str,
    target: Option<f64>,
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'static str,
    #[serde(flatten)]
    cost: Option<Summary>,
    failure: Option<&'a str>,
    ratio: Option<f64>,
    reaches_target: Option<bool>,
}

impl<'a> Group<'a> {
    fn of(group: &'a GroupResult) -> Self {
        Self {
            family: group.family,
            name: &group.name,
            placement: group.placement.label(),
            unit: match group.unit {
                Unit::Seconds => "seconds",
                Unit::Bytes => "bytes",
                Unit::Count => "count",
            },
            target: group.target,
            rows: group.rows.iter().map(|row| Row::of(group, row)).collect(),
        }
    }
}

impl<'a> Row<'a> {
    fn of(group: &GroupResult, row: &'a RowResult) -> Self {
        Self {
            name: &row.name,
            kind: kind(row.kind),
            cost: row.outcome.as_ref().ok().copied(),
            failure: row.outcome.as_ref().err().map(String::as_str),
            ratio: ratio(group, row),
            reaches_target: reaches(group, row),
        }
    }
}
