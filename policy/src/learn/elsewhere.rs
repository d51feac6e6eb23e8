//! What no line of a policy grants, although it was seen: the road that works instead.

use super::{Proposal, Record};

/// A kind of things that libraries do, how it is recognized by a path, and what to do about it.
struct Road {
    is_taken: fn(&str) -> bool,
    advice: &'static str,
}

/// Libraries that are loaded at run time for the C library's own sake.
fn is_converter(path: &str) -> bool {
    path.contains("/gconv/")
}

fn is_name_service(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.starts_with("libnss_")
        || path == "/etc/nsswitch.conf"
        || path == "/etc/resolv.conf"
        || path.ends_with("/nscd/socket")
}

fn is_plugin(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let is_library = file.ends_with(".so") || file.contains(".so.");
    is_library && !is_converter(path) && !is_name_service(path)
}

const ROADS: &[Road] = &[
    Road {
        is_taken: is_converter,
        advice: "Converters of text (gconv) are code that `iconv_open` loads, and a confined child loads no code. \
                 Open one of each kind in a function given as `preload`, and leave it open: it is loaded then, and \
                 the calls use it.",
    },
    Road {
        is_taken: is_name_service,
        advice: "Names of users, groups and hosts (NSS) are looked up by code that is loaded, and by asking other \
                 processes. Look them up in the program, and pass the result.",
    },
    Road {
        is_taken: is_plugin,
        advice: "A shared library is loaded at run time (`dlopen`), and a confined child loads no code. Load it in a \
                 function given as `preload`: the calls find it loaded.",
    },
];

/// Adds advice about what was seen of such things, with the first path that shows it.
pub(super) fn name_other_ways(records: &[Record], proposal: &mut Proposal) {
    for road in ROADS {
        let seen = records.iter().filter(|record| record.exists);
        let mut paths = seen.filter_map(|record| record.path.as_deref());
        if let Some(path) = paths.find(|path| (road.is_taken)(path)) {
            let shown: String = path.escape_debug().take(200).collect();
            proposal
                .notes
                .push(format!("{} Seen: {shown}", road.advice));
        }
    }
}
