//! The results of a run: as text, Markdown, JSON and a drawing.

mod json;
mod machine;
mod svg;
mod text;

pub(crate) use json::json;
pub(crate) use svg::svg;
pub(crate) use text::{markdown, table};

use crate::harness::{GroupResult, Kind, RowResult, Unit};

/// The group's name with its placement.
fn title(group: &GroupResult) -> String {
    format!("{}, {}", group.name, group.placement.label())
}

/// Ours are named after the crate, as peers are after theirs.
fn subject(row: &RowResult) -> String {
    match row.kind {
        Kind::Raw | Kind::Peer => row.name.clone(),
        Kind::Ours => format!("crossmist {}", row.name),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Raw => "raw",
        Kind::Peer => "peer",
        Kind::Ours => "ours",
    }
}

fn ratio(group: &GroupResult, row: &RowResult) -> Option<f64> {
    Some(row.outcome.as_ref().ok()?.p50 / group.floor()?)
}

/// Whether one of our rows keeps to the target. None for others, and where there is no target.
fn reaches(group: &GroupResult, row: &RowResult) -> Option<bool> {
    match row.kind {
        Kind::Ours => Some(ratio(group, row)? <= group.target?),
        Kind::Raw | Kind::Peer => None,
    }
}

/// Three digits that matter, in the unit that suits.
fn amount(value: f64, unit: Unit) -> String {
    let (scaled, suffix) = match unit {
        Unit::Count => return format!("{value}"),
        Unit::Bytes => (value / 1024.0, "KiB"),
        Unit::Seconds if value < 1e-6 => (value * 1e9, "ns"),
        Unit::Seconds if value < 1e-3 => (value * 1e6, "µs"),
        Unit::Seconds if value < 1.0 => (value * 1e3, "ms"),
        Unit::Seconds => (value, "s"),
    };
    let decimals = match scaled {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {suffix}")
}

#[cfg(test)]
mod tests {
    use super::amount;
    use crate::harness::Unit;

    #[test]
    fn amounts_have_three_digits_and_a_unit() {
        assert_eq!(amount(8.412e-6, Unit::Seconds), "8.41 µs");
        assert_eq!(amount(0.0123, Unit::Seconds), "12.3 ms");
        assert_eq!(amount(221_184.0, Unit::Bytes), "216 KiB");
        assert_eq!(amount(2.0, Unit::Count), "2");
    }
}
