//! systemd units, by systemd's own rules: the filter's list is kept as systemd keeps it, and the mounts are
//! made one after the other on a tree of a few paths.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use crossmist_policy::Arch;
use crossmist_policy::import::Format;
use proptest::prelude::*;

use super::reach::{self, CALLS, arguments, call, hold, imported};

/// The sets, a line each, as `systemd-analyze syscall-filter` of systemd 250 lists them.
static SETS: LazyLock<BTreeMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let lines = include_str!("systemd-sets.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, members) = line.split_once(' ').unwrap();
            (name, members.split(' ').collect())
        })
        .collect()
});

fn expand(name: &str, into: &mut Vec<&'static str>) {
    match SETS.get(name) {
        Some(members) => members
            .iter()
            .for_each(|member| match member.starts_with('@') {
                true => expand(member, into),
                false => into.push(member),
            }),
        None => into.extend(CALLS.iter().find(|known| **known == name)),
    }
}

#[derive(Clone, Debug)]
struct Unit {
    lines: Vec<(&'static str, String)>,
    comments: bool,
}

impl Unit {
    fn text(&self) -> String {
        let mut text = String::from("[Unit]\nDescription=generated\n\n[Service]\nType=exec\n");
        for (key, value) in &self.lines {
            match value.split_once(' ') {
                Some((first, rest)) if self.comments => {
                    writeln!(text, "{key}={first} \\\n# in between\n  {rest}").unwrap();
                }
                _ => writeln!(text, "{key}={value}").unwrap(),
            }
        }
        text
    }

    /// The assignments of a list since the last empty one.
    fn list(&self, key: &str) -> Vec<&str> {
        let mut list = Vec::new();
        for (_, value) in self.lines.iter().filter(|(own, _)| *own == key) {
            match value.as_str() {
                "" => list.clear(),
                value => list.push(value),
            }
        }
        list
    }

    fn last(&self, key: &str) -> &str {
        let mut values = self.lines.iter().rev().filter(|(own, _)| *own == key);
        values.next().map_or("", |(_, value)| value)
    }

    fn is_on(&self, key: &str) -> bool {
        self.last(key) == "yes"
    }

    /// `SystemCallFilter=`: which calls it lets pass.
    fn filter(&self) -> impl Fn(&str) -> bool + use<> {
        let mut allow_list = None;
        let mut listed: BTreeMap<&'static str, Option<&str>> = BTreeMap::new();
        for value in self.list("SystemCallFilter") {
            let (invert, words) = match value.strip_prefix('~') {
                Some(words) => (true, words),
                None => (false, value),
            };
            let is_allow_list = *allow_list.get_or_insert_with(|| {
                if !invert {
                    let mut names = Vec::new();
                    expand("@default", &mut names);
                    listed.extend(names.into_iter().map(|name| (name, None)));
                }
                !invert
            });
            for word in words.split(' ') {
                let (name, errno) = match word.split_once(':') {
                    Some((name, errno)) => (name, Some(errno)),
                    None => (word, None),
                };
                let mut names = Vec::new();
                expand(name, &mut names);
                for name in names {
                    if invert != is_allow_list || (invert && is_allow_list && errno.is_some()) {
                        listed.insert(name, errno);
                    } else {
                        listed.remove(name);
                    }
                }
            }
        }
        let listed: BTreeMap<_, _> = listed
            .into_iter()
            .map(|(name, errno)| (name, errno.is_some()))
            .collect();
        move |name: &str| match (allow_list, listed.get(name)) {
            (None, _) => true,
            (Some(true), found) => found == Some(&false),
            (Some(false), found) => found.is_none(),
        }
    }

    fn allows(&self, by_filter: bool, name: &str, args: [u64; 6]) -> bool {
        let dynamic = self.is_on("DynamicUser");
        if !by_filter {
            return false;
        }
        if self.is_on("MemoryDenyWriteExecute") {
            match name {
                "mmap" if args[2] & 6 == 6 => return false,
                "mprotect" if args[2] & 4 != 0 => return false,
                "shmat" if args[2] & 0o100_000 != 0 => return false,
                _ => {}
            }
        }
        if self.is_on("RestrictRealtime")
            && name == "sched_setscheduler"
            && ![0, 3, 5].contains(&args[1])
        {
            return false;
        }
        if dynamic || self.is_on("RestrictSUIDSGID") {
            let mode = match name {
                "chmod" | "fchmod" | "mkdir" => args[1],
                "mkdirat" => args[2],
                "open" if args[1] & 0o20_000_100 != 0 => args[2],
                "openat" if args[2] & 0o20_000_100 != 0 => args[3],
                "openat2" => return false,
                _ => 0,
            };
            if mode & 0o6000 != 0 {
                return false;
            }
        }
        if self.is_on("RestrictNamespaces") {
            match name {
                "clone3" => return false,
                "clone" if args[0] & 0x7e02_0000 != 0 => return false,
                _ => {}
            }
        }
        if self.is_on("LockPersonality") && name == "personality" && args[0] != 0 {
            return false;
        }
        name != "socket" || self.allows_family(args[0])
    }

    fn allows_family(&self, family: u64) -> bool {
        let mut mode = None;
        let mut listed = Vec::new();
        for value in self.list("RestrictAddressFamilies") {
            let (invert, words) = match value.strip_prefix('~') {
                Some(words) => (true, words),
                None => (false, value),
            };
            let allow = *mode.get_or_insert(!invert);
            for word in words.split(' ') {
                let number = match word {
                    "AF_UNIX" => 1,
                    "AF_INET" => 2,
                    "AF_INET6" => 10,
                    other => panic!("{other}"),
                };
                match invert == allow {
                    true => listed.retain(|own| *own != number),
                    false => listed.push(number),
                }
            }
        }
        match mode {
            None => true,
            Some(allow) => listed.contains(&family) == allow,
        }
    }
}

/// Whether a path is another one or beneath it.
fn beneath(path: &str, above: &str) -> bool {
    above == "/"
        || path == above
        || path
            .strip_prefix(above)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// The access to a place: read, write.
#[derive(Clone, Copy, Debug)]
struct Place {
    readable: bool,
    writable: bool,
    /// Under an inaccessible directory nothing is mounted any more.
    dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mount {
    Inaccessible,
    Empty,
    ReadOnly,
    Writable,
    /// The host's directory is put there again.
    Bound(bool),
}

/// The places that units are about, and some at and beneath them.
const PLACES: &[&str] = &[
    "/",
    "/srv",
    "/srv/data",
    "/srv/data/keys",
    "/srv/data/keys/one",
    "/srv/spool",
    "/etc",
    "/etc/app",
    "/usr",
    "/usr/share",
    "/usr/share/fonts",
    "/home",
    "/home/u",
    "/home/u/x",
    "/tmp",
    "/tmp/x",
    "/var/tmp",
    "/var/tmp/x",
    "/var",
    "/var/lib",
    "/var/lib/app",
    "/var/lib/app/x",
    "/run",
    "/run/app",
    "/var/cache/app",
    "/proc",
    "/dev",
    "/dev/shm",
    "/root",
];

impl Unit {
    /// Makes the mounts, the ones above first and the strictest last, and looks at what is left.
    fn tree(&self) -> BTreeMap<&'static str, Place> {
        let mut mounts: Vec<(String, Mount)> = Vec::new();
        let mut add = |paths: &[&str], mount: Mount| {
            mounts.extend(paths.iter().map(|path| ((*path).to_owned(), mount)))
        };
        let dynamic = self.is_on("DynamicUser");
        match self.last("ProtectSystem") {
            "strict" => add(&["/"], Mount::ReadOnly),
            _ if dynamic => add(&["/"], Mount::ReadOnly),
            "full" => add(&["/usr", "/boot", "/etc"], Mount::ReadOnly),
            "yes" => add(&["/usr", "/boot"], Mount::ReadOnly),
            _ => {}
        }
        if dynamic || self.last("ProtectSystem") == "strict" {
            add(
                &["/proc", "/sys", "/dev", "/home", "/root", "/run/user"],
                Mount::Writable,
            );
        }
        let homes = &["/home", "/root", "/run/user"];
        match self.last("ProtectHome") {
            "yes" => add(homes, Mount::Inaccessible),
            "tmpfs" => add(homes, Mount::Empty),
            "read-only" => add(homes, Mount::ReadOnly),
            _ if dynamic => add(homes, Mount::ReadOnly),
            _ => {}
        }
        if dynamic || self.is_on("PrivateTmp") {
            add(&["/tmp", "/var/tmp"], Mount::Empty);
        }
        if self.is_on("PrivateDevices") {
            add(&["/dev"], Mount::Empty);
        }
        for (key, mount) in [
            ("InaccessiblePaths", Mount::Inaccessible),
            ("TemporaryFileSystem", Mount::Empty),
            ("ReadOnlyPaths", Mount::ReadOnly),
            ("ReadWritePaths", Mount::Writable),
            ("BindReadOnlyPaths", Mount::Bound(false)),
            ("BindPaths", Mount::Bound(true)),
        ] {
            for value in self.list(key) {
                for word in value.split(' ') {
                    add(&[word.trim_start_matches('-')], mount);
                }
            }
        }
        for (key, under) in [
            ("StateDirectory", "/var/lib"),
            ("RuntimeDirectory", "/run"),
            ("CacheDirectory", "/var/cache"),
        ] {
            for value in self.list(key) {
                add(&[&format!("{under}/{value}")], Mount::Writable);
            }
        }
        let depth = |path: &str| path.matches('/').count() - usize::from(path == "/");
        // Of several at one place, the strictest is made last and hides the others.
        mounts.sort_by(|a, b| (depth(&a.0), &b.1).cmp(&(depth(&b.0), &a.1)));
        let mut tree: BTreeMap<_, _> = PLACES
            .iter()
            .map(|place| {
                (
                    *place,
                    Place {
                        readable: true,
                        writable: true,
                        dead: false,
                    },
                )
            })
            .collect();
        for (path, mount) in mounts {
            let at = tree.iter_mut().filter(|(place, _)| beneath(place, &path));
            for (_, place) in at.filter(|(_, place)| !place.dead) {
                match mount {
                    Mount::Inaccessible => {
                        *place = Place {
                            readable: false,
                            writable: false,
                            dead: true,
                        }
                    }
                    Mount::Empty => {
                        *place = Place {
                            readable: false,
                            writable: false,
                            dead: false,
                        }
                    }
                    Mount::ReadOnly => place.writable = false,
                    Mount::Writable => place.writable = place.readable,
                    Mount::Bound(writable) => {
                        *place = Place {
                            readable: true,
                            writable,
                            dead: false,
                        }
                    }
                }
            }
        }
        tree
    }
}

fn words(from: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(from), 1..=most).prop_map(|words| words.join(" "))
}

fn filter_line() -> impl Strategy<Value = (&'static str, String)> {
    const SETS: &[&str] = &[
        "@system-service",
        "@basic-io",
        "@file-system",
        "@io-event",
        "@network-io",
        "@process",
        "@privileged",
        "@resources",
        "@mount",
        "@debug",
        "@setuid",
        "@ipc",
        "@signal",
        "@timer",
        "@sync",
        "@default",
        "@chown",
        "@nothing-known",
        "flock",
        "fallocate",
        "getsid",
        "socket",
        "mmap",
        "openat",
        "chmod",
        "brk",
        "getuid",
        "madvise",
        "ptrace",
        "flock:EPERM",
        "@resources:EACCES",
        "uname:kill",
        "getsid:38",
        "no_such_call",
    ];
    let plain: Vec<_> = SETS
        .iter()
        .copied()
        .filter(|word| !word.contains(':'))
        .collect();
    let list =
        prop::collection::vec(prop::sample::select(plain), 1..5).prop_map(|words| words.join(" "));
    let value = prop_oneof![
        5 => list,
        4 => words(SETS, 4).prop_map(|words| format!("~{words}")),
        1 => Just(String::new()),
    ];
    value.prop_map(|value| ("SystemCallFilter", value))
}

fn path_line() -> impl Strategy<Value = (&'static str, String)> {
    let key = prop::sample::select(vec![
        "ReadOnlyPaths",
        "ReadWritePaths",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "InaccessiblePaths",
        "BindPaths",
        "BindReadOnlyPaths",
        "TemporaryFileSystem",
    ]);
    let word = (any::<bool>(), prop::sample::select(PLACES));
    let word =
        word.prop_map(|(optional, path)| format!("{}{path}", if optional { "-" } else { "" }));
    let value = prop_oneof![
        9 => prop::collection::vec(word, 1..3).prop_map(|words| words.join(" ")),
        1 => Just(String::new()),
    ];
    (key, value).prop_map(|(key, value)| match key {
        "TemporaryFileSystem" => (key, value.replace('-', "")),
        _ => (key, value),
    })
}

fn unit() -> impl Strategy<Value = Unit> {
    let switch = prop::sample::select(vec![
        "MemoryDenyWriteExecute",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "RestrictNamespaces",
        "LockPersonality",
        "PrivateTmp",
        "PrivateDevices",
        "DynamicUser",
    ]);
    let switch = (switch, prop::sample::select(vec!["yes", "no", "yes"]))
        .prop_map(|(key, value)| (key, value.to_owned()));
    let choice = |key: &'static str, values: &'static [&'static str]| {
        prop::sample::select(values).prop_map(move |value| (key, value.to_owned()))
    };
    let families = prop_oneof![
        words(&["AF_UNIX", "AF_INET", "AF_INET6"], 2),
        words(&["AF_UNIX", "AF_INET", "AF_INET6"], 2).prop_map(|words| format!("~{words}")),
    ];
    let line = prop_oneof![
        6 => filter_line(),
        6 => path_line(),
        3 => switch,
        1 => choice("ProtectSystem", &["yes", "full", "strict", "no"]),
        1 => choice("ProtectHome", &["yes", "read-only", "tmpfs", "no"]),
        1 => families.prop_map(|value| ("RestrictAddressFamilies", value)),
        1 => choice("StateDirectory", &["app", ""]),
        1 => choice("RuntimeDirectory", &["app"]),
        1 => choice("CacheDirectory", &["app"]),
        1 => choice("SystemCallErrorNumber", &["EPERM", "kill", "ENOSYS", ""]),
    ];
    (prop::collection::vec(line, 0..10), any::<bool>())
        .prop_map(|(lines, comments)| Unit { lines, comments })
}

proptest! {
    #![proptest_config(reach::config())]

    #[test]
    fn no_unit_becomes_wider(unit in unit(), tried in prop::collection::vec(arguments(), 3)) {
        let text = unit.text();
        let reach = imported(Format::Systemd, &text);
        let mut tried = tried;
        tried.extend([
            [0; 6], [2; 6], [10, 1, 0, 0, 0, 0], [0, 4096, 7, 0x22, 0, 0], [0, 4096, 3, 0x22, 0, 0],
            [0, 0o100, 0o4755, 0, 0, 0], [0, 0, 0o100, 0o4755, 0, 0], [0, 0o4755, 0o4755, 0, 0, 0],
            [0x7e02_0000; 6], [0x3d_0f00; 6], [0xffff_ffff; 6], [0, 1, 0o100_000, 0, 0, 0],
        ]);
        let filter = unit.filter();
        for name in CALLS {
            let by_filter = filter(name);
            for args in &tried {
                hold(&reach, &text, call(name), *args, |_, args| unit.allows(by_filter, name, args));
            }
        }
        for (path, place) in unit.tree() {
            for grant in reach.policy.grants_of_path(path) {
                let may = match grant.what.as_str() {
                    "read" => place.readable,
                    _ => place.writable,
                };
                assert!(may, "{} {path}: {place:?}\n{text}\n{}", grant.what, reach.text);
            }
        }
        for name in ["flock", "epoll_wait", "fsync"] {
            let simple = unit.lines.iter().all(|(_, value)| !value.contains("@nothing-known"));
            if simple && !unit.list("SystemCallFilter").is_empty() && !unit.list("SystemCallFilter")[0].starts_with('~') && filter(name) {
                assert!(reach.allows(Arch::X86_64, call(name), [0; 6]), "{name}\n{text}\n{}", reach.text);
            }
        }
    }
}
