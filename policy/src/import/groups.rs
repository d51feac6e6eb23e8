//! The groups of policies, as what each of their calls may do.

use std::sync::LazyLock;

use crate::condition::Condition;
use crate::file::{Target, parse_entry};
use crate::syscalls::Syscall;
use crate::syscalls::groups::{self, Group};

/// A group with every entry of it and of the groups in it.
pub(super) struct Flat {
    pub(super) name: &'static str,
    pub(super) entries: Vec<FlatEntry>,
}

pub(super) struct FlatEntry {
    pub(super) call: &'static Syscall,
    pub(super) condition: Option<Condition>,
    pub(super) text: &'static str,
}

static FLAT: LazyLock<Vec<Flat>> = LazyLock::new(|| {
    let flat = |group: &'static Group| {
        let mut entries = Vec::new();
        flatten(group, &mut entries);
        Flat {
            name: group.name,
            entries,
        }
    };
    groups::all().iter().map(flat).collect()
});

fn flatten(group: &'static Group, entries: &mut Vec<FlatEntry>) {
    for text in group.entries {
        // A test shows that every entry can be read.
        match parse_entry(text) {
            Ok((Target::Group(inner), _)) => flatten(inner, entries),
            Ok((Target::Call(call, condition), _)) => entries.push(FlatEntry {
                call,
                condition,
                text,
            }),
            Err(_) => {}
        }
    }
}

/// Every group.
pub(super) fn all() -> &'static [Flat] {
    &FLAT
}

/// The entries of some groups.
pub(super) fn entries(names: &[&str]) -> impl Iterator<Item = &'static FlatEntry> {
    let groups = FLAT.iter().filter(move |group| names.contains(&group.name));
    groups.flat_map(|group| &group.entries)
}

/// The groups that every child needs to stay alive and to answer. It has these whatever a source says.
pub(super) const NEEDED: &[&str] = &["@runtime", "@channel", "@send-descriptors"];

/// Whether a child needs the call to stay alive and to answer.
pub(super) fn is_needed(name: &str) -> bool {
    static NAMES: LazyLock<Vec<&'static str>> =
        LazyLock::new(|| entries(NEEDED).map(|entry| entry.call.name).collect());
    NAMES.contains(&name)
}
