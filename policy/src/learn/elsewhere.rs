//! Recorded accesses that no line of a policy can grant, with the advice for each.

use std::collections::BTreeSet;

use super::paths::{LIBRARIES, is_beneath};
use super::record::{is_named_library, maps_code, opens};
use super::{Proposal, Record, happens};
use crate::policy::Policy;

/// A kind of things that libraries do, how it is recognized by a path, and what to do about it.
struct Road {
    is_taken: fn(&str) -> bool,
    /// Whether the path must have been opened, by a function that makes a file's contents executable.
    loads: bool,
    advice: &'static str,
}

/// Libraries that are loaded at run time for the C library's own sake.
pub(crate) fn is_converter(path: &str) -> bool {
    path.contains("/gconv/") && LIBRARIES.iter().any(|tree| is_beneath(path, tree))
}

fn is_name_service(path: &str) -> bool {
    let file = file_name(path);
    file.starts_with("libnss_")
        // `libnss_dns` needs it.
        || file.starts_with("libresolv.so")
        || path == "/etc/nsswitch.conf"
        || path == "/etc/resolv.conf"
        || path.ends_with("/nscd/socket")
}

fn is_plugin(path: &str) -> bool {
    is_named_library(path) && !is_converter(path) && !is_name_service(path)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Whether a call makes the contents of a file executable. What only reads a library, such as a backtrace, doesn't.
pub(super) fn loads_code(record: &Record) -> bool {
    record.call == "mmap" && maps_code(&record.arguments)
}

/// The files that code was loaded from.
#[derive(Debug)]
pub(super) struct Loaded {
    paths: BTreeSet<String>,
    /// Whether a file isn't known that code was loaded from.
    others: bool,
}

impl Loaded {
    pub(super) fn of(records: &[Record]) -> Self {
        let loads = || records.iter().filter(|record| loads_code(record));
        Self {
            paths: loads().filter_map(|record| record.path.clone()).collect(),
            // What isn't recorded may be of code.
            others: loads().any(|record| record.path.is_none())
                || records.iter().any(|record| record.is_partial),
        }
    }

    /// Whether code may have been loaded from a file, after it was opened.
    pub(super) fn may_hold(&self, path: &str) -> bool {
        self.others || self.paths.contains(path)
    }

    /// Whether a file that is called like a library was opened to read it, as any other file is. A backtrace reads those
    /// that the process has loaded, which is not for the function's sake.
    pub(super) fn is_data(&self, record: &Record) -> bool {
        let path = record.path.as_deref().filter(|path| is_named_library(path));
        path.is_some_and(|path| !self.may_hold(path)) && !record.was_loaded
    }
}

const ROADS: &[Road] = &[
    Road {
        is_taken: is_converter,
        loads: false,
        advice: "Converters of text (gconv) are code that `iconv_open` loads, and a confined child loads no code. \
                 Open one of each kind in a function given as `preload`, and leave it open: it is loaded then, and \
                 the calls use it.",
    },
    Road {
        is_taken: is_name_service,
        loads: false,
        advice: "Names of users, groups and hosts (NSS) are looked up by code that is loaded, and by asking other \
                 processes. Look them up in the program, and pass the result.",
    },
    Road {
        is_taken: is_plugin,
        loads: true,
        advice: "A shared library is loaded at run time (`dlopen`), and a confined child loads no code. Load it in a \
                 function given as `preload`: the calls find it loaded.",
    },
];

/// The advice for what is opened by O_PATH.
const BY_NAME: &str = "Landlock doesn't restrict O_PATH, so a grant of a path doesn't allow it. Open folders with O_RDONLY \
                       and O_DIRECTORY instead, or pass the open file. If the code isn't yours, allow the call itself \
                       with these flags: it then shows of every path whether it is there.";

/// Returns the advice for opening a path that leads to code which is loaded, whatever is granted.
pub(crate) fn other_way(path: &str) -> Option<&'static str> {
    let mut roads = ROADS.iter().filter(|road| !road.loads);
    roads
        .find(|road| (road.is_taken)(path))
        .map(|road| road.advice)
}

/// Adds advice about what was seen of such things, with the first path that shows it.
pub(super) fn name_other_ways(
    policy: &Policy,
    records: &[Record],
    loaded: &Loaded,
    proposal: &mut Proposal,
) {
    let is_denied = |record: &&Record| record.only_names() && !happens(policy, record);
    let mut by_name = records.iter().filter(is_denied);
    if let Some(path) = by_name.find_map(|record| record.path.as_deref()) {
        proposal
            .notes
            .push(format!("{BY_NAME} Seen: {}", shown(path)));
    }
    for road in ROADS {
        let seen = records.iter().filter(|record| record.exists);
        let seen = seen.filter(|record| !road.loads || opens(&record.call));
        let seen = seen.filter(|record| !loaded.is_data(record));
        let mut paths = seen.filter_map(|record| record.path.as_deref());
        let is_loaded = |path: &str| !road.loads || loaded.may_hold(path);
        if let Some(path) = paths.find(|path| (road.is_taken)(path) && is_loaded(path)) {
            proposal
                .notes
                .push(format!("{} Seen: {}", road.advice, shown(path)));
        }
    }
}

/// A path as a reader sees it, and not too much of it.
fn shown(path: &str) -> String {
    path.escape_debug().take(200).collect()
}
