//! Grants that nothing needs: what could be taken out of a policy without anybody's noticing.

use crate::diagnostic::Report;
use crate::library::Library;
use crate::resolve;
use crate::source::{Location, Place};

/// A line that no expectation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redundant {
    /// The entry as it is written.
    pub entry: String,
    /// Where.
    pub location: Location,
}

/// What a policy's own file grants and none of its `[[expect]]`s notices the lack of.
///
/// Each grant is taken out by itself; where the policy still does all that it expects of itself, the
/// grant is one that no expectation needs. So it is as good as the expectations are: one that says
/// `is = "allowed"` for each thing that the function does.
///
/// # Errors
///
/// If the policy itself has mistakes.
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

/// Takes the grant at a place out of a file.
pub(crate) fn take_out(file: &mut crate::file::File, place: Place) {
    file.syscalls.allow.retain(|entry| entry.place != place);
    file.paths.retain(|grant| grant.path.place != place);
    file.ports.retain(|grant| grant.ports.place != place);
}

/// The places of all grants of a file, in its order.
pub(crate) fn places(file: &crate::file::File) -> Vec<Place> {
    let calls = file.syscalls.allow.iter().map(|entry| entry.place);
    let paths = file.paths.iter().map(|grant| grant.path.place);
    let ports = file.ports.iter().map(|grant| grant.ports.place);
    let mut places: Vec<_> = calls.chain(paths).chain(ports).collect();
    places.sort_unstable();
    places
}
