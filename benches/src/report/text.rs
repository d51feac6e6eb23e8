//! The table, for a terminal and as Markdown.

use std::fmt::Write;

use super::machine::Machine;
use super::{amount, ratio, reaches, subject, title};
use crate::harness::{GroupResult, Results, RowResult};

pub(crate) fn table(results: &Results) -> String {
    let mut text = heading(results);
    for group in &results.groups {
        let _ = writeln!(
            text,
            "\n{}: {}{}",
            group.family,
            title(group),
            wanted(group)
        );
        for row in &group.rows {
            let name = subject(row);
            match cells(group, row) {
                Ok([p50, p10, p90, ratio]) => {
                    let spread = format!("{p10} .. {p90}");
                    let _ = writeln!(text, "  {name:<36} {p50:>10}  {spread:<24} {ratio}");
                }
                Err(cause) => {
                    let _ = writeln!(text, "  {name:<36} FAILED: {cause}");
                }
            }
        }
    }
    text
}

pub(crate) fn markdown(results: &Results) -> String {
    let mut text = heading(results);
    for group in &results.groups {
        let _ = writeln!(
            text,
            "\n**{}: {}**{}\n\n| row | p50 | p10 .. p90 | × floor |\n|---|---|---|---|",
            group.family,
            title(group),
            wanted(group)
        );
        for row in &group.rows {
            let name = subject(row).replace('|', "\\|");
            let _ = match cells(group, row) {
                Ok([p50, p10, p90, ratio]) => {
                    writeln!(text, "| {name} | {p50} | {p10} .. {p90} | {ratio} |")
                }
                Err(cause) => writeln!(text, "| {name} | failed: {cause} | | |"),
            };
        }
    }
    text
}

fn heading(results: &Results) -> String {
    let mut text = String::new();
    if results.smoke {
        text.push_str("Smoke run: the rows work; the figures say nothing.\n\n");
    }
    let _ = writeln!(
        text,
        "{}; {}; {} rounds, seed {}.",
        Machine::here().describe(),
        results.cores,
        results.rounds,
        results.seed
    );
    text
}

fn wanted(group: &GroupResult) -> String {
    group.target.map_or(String::new(), |target| {
        format!(" (target for crossmist: ≤ {target:.2} ×)")
    })
}

fn cells<'a>(group: &GroupResult, row: &'a RowResult) -> Result<[String; 4], &'a String> {
    let summary = row.outcome.as_ref()?;
    let [p50, p10, p90] =
        [summary.p50, summary.p10, summary.p90].map(|value| amount(value, group.unit));
    let verdict = match reaches(group, row) {
        Some(true) => " (reached)",
        Some(false) => " (MISSED)",
        None => "",
    };
    let ratio = ratio(group, row).map_or(String::new(), |ratio| format!("{ratio:.2}{verdict}"));
    Ok([p50, p10, p90, ratio])
}
