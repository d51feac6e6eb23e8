//! The entries of groups and of soft answers, each read once: every policy has most of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::syscalls::{Target, parse_entry};
use crate::syscalls::groups::{self, SOFT};

/// Returns the meaning of an entry of a table; `None` if it is in no table.
pub(crate) fn known_entry(entry: &str) -> Option<&'static Target> {
    static KNOWN: LazyLock<HashMap<&str, Target>> = LazyLock::new(|| {
        let of_groups = groups::all().iter().flat_map(|group| group.entries);
        let of_answers = SOFT.iter().flat_map(|(_, entries)| *entries);
        // A test shows that every entry can be read.
        let read = |entry: &&'static str| Some((*entry, parse_entry(entry).ok()?.0));
        of_groups.chain(of_answers).filter_map(read).collect()
    });
    KNOWN.get(entry)
}
