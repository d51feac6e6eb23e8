//! Finds grants that no expectation needs, and that could be removed.

use crate::diagnostic::Report;
use crate::library::Library;
use crate::resolve;
use crate::source::{Location, Place};

/// A line that no expectation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redundant {
    /// The entry as it is written.
    pub entry: String,
    /// The place of the grant.
    pub location: Location,
}

/// Returns what a policy's own file grants, and none of its `[[expect]]`s needs.
///
/// Each grant is removed by itself. If the policy still meets all its expectations, none of them
/// needs that grant. So the result is as good as the expectations: there should be one with
/// `is = "allowed"` for each thing that the function does.
///
/// # Errors
///
/// A [`Report`] if the policy itself has mistakes.
pub fn redundant(library: &dyn Library, name: &str) -> Result<Vec<Redundant>, Report> {
    let policy = crate::Policy::load(library, name)?;
    let mut found = Vec::new();
    for place in resolve::own_grants(library, name)? {
        if resolve::without(library, name, place).is_ok() {
            let text = policy.sources.text_at(place);
            found.push(Redundant {
                entry: text.trim_matches(['"', '\'']).to_owned(),
                location: policy.sources.locate(place),
            });
        }
    }
    Ok(found)
}

/// Removes the grant at a place from a file.
pub(crate) fn take_out(file: &mut crate::file::File, place: Place) {
    file.syscalls.allow.retain(|entry| entry.place != place);
    file.paths.retain(|grant| grant.path.place != place);
    file.ports.retain(|grant| grant.ports.place != place);
}

/// Returns the places of all grants in a file, in order.
pub(crate) fn places(file: &crate::file::File) -> Vec<Place> {
    let calls = file.syscalls.allow.iter().map(|entry| entry.place);
    let paths = file.paths.iter().map(|grant| grant.path.place);
    let ports = file.ports.iter().map(|grant| grant.ports.place);
    let mut places: Vec<_> = calls.chain(paths).chain(ports).collect();
    places.sort_unstable();
    places
}
