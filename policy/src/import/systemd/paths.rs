//! The file system of a unit: the paths that may be read or written, with all beneath them.

use std::collections::BTreeSet;

use super::super::source::{Path, Source};
use super::lines;

/// The treatment of a path and of everything beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Nothing of it can be used, and nothing beneath it can be opened again.
    Inaccessible,
    /// Something else is there: an empty or a private directory.
    Elsewhere,
    ReadOnly,
    Writable,
    /// A file system that is mounted there, whatever the directories above it hold.
    Mounted {
        writable: bool,
    },
}

/// One rule.
#[derive(Debug)]
struct Rule {
    path: String,
    kind: Kind,
}

/// The paths that the unit names for its own use.
#[derive(Debug)]
struct Wish {
    original: String,
    path: String,
    writable: bool,
    optional: bool,
}

/// The rules and wishes of a unit.
#[derive(Debug, Default)]
pub(super) struct Tree {
    rules: Vec<Rule>,
    wishes: Vec<Wish>,
    /// Beginnings of paths that are taken away and that nobody can say in full, and whether only
    /// writing is.
    unclear: Vec<(String, bool)>,
    /// Why the paths of the unit are not those of the machine.
    elsewhere: Option<String>,
}

impl Tree {
    /// The unit has a root of its own, so its paths lead to other files.
    pub(super) fn is_elsewhere(&mut self, option: &str) {
        self.elsewhere = Some(option.to_owned());
    }

    pub(super) fn inaccessible(&mut self, key: &str, value: &str, source: &mut Source) {
        self.restrict(key, value, Kind::Inaccessible, source);
    }

    /// Something else is mounted at fixed places.
    pub(super) fn replaced(&mut self, paths: &[&str]) {
        self.add(paths, Kind::Elsewhere);
    }

    pub(super) fn hidden(&mut self, paths: &[&str]) {
        self.add(paths, Kind::Inaccessible);
    }

    pub(super) fn protected(&mut self, paths: &[&str]) {
        self.add(paths, Kind::ReadOnly);
    }

    pub(super) fn exempt(&mut self, paths: &[&str]) {
        self.add(paths, Kind::Writable);
    }

    fn add(&mut self, paths: &[&str], kind: Kind) {
        self.rules.extend(paths.iter().map(|path| Rule {
            path: (*path).to_owned(),
            kind,
        }));
    }

    /// `TemporaryFileSystem=`: behind `:` stand options of the mount.
    pub(super) fn temporary(&mut self, key: &str, value: &str, source: &mut Source) {
        self.restrict(key, value, Kind::Elsewhere, source);
    }

    fn restrict(&mut self, key: &str, value: &str, kind: Kind, source: &mut Source) {
        let Some(words) = lines::words(value) else {
            self.unclear.push(("/".to_owned(), false));
            return source.note(
                format!("{key}={value}"),
                "a quote is never closed; no path is granted",
            );
        };
        for word in words {
            let bare = word.trim_start_matches(['-', '+']);
            let bare = match kind {
                Kind::Elsewhere => bare.split(':').next().unwrap_or_default(),
                _ => bare,
            };
            match plain(bare) {
                Some(path) => self.rules.push(Rule { path, kind }),
                None => {
                    let known = bare.split(['%', '$', '*']).next().unwrap_or_default();
                    let known = known.rfind('/').map_or("/", |at| &known[..=at]);
                    let beginning = plain(known).unwrap_or_else(|| "/".to_owned());
                    source.note(
                        format!("{key}={word}"),
                        format!(
                            "not a plain path, so nothing at or beneath {beginning} is granted"
                        ),
                    );
                    self.unclear.push((beginning, kind == Kind::ReadOnly));
                }
            }
        }
    }

    /// `ReadOnlyPaths=` and `ReadWritePaths=`.
    pub(super) fn allow(&mut self, key: &str, value: &str, writable: bool, source: &mut Source) {
        if !writable {
            self.restrict(key, value, Kind::ReadOnly, source);
        }
        let Some(words) = lines::words(value) else {
            return source.note(format!("{key}={value}"), "a quote is never closed");
        };
        for word in words {
            let bare = word.trim_start_matches(['-', '+']);
            let optional = word.len() > bare.len() && word[..word.len() - bare.len()].contains('-');
            match plain(bare) {
                Some(path) => {
                    let kind = if writable {
                        Kind::Writable
                    } else {
                        Kind::ReadOnly
                    };
                    if writable {
                        self.rules.push(Rule {
                            path: path.clone(),
                            kind,
                        });
                    }
                    self.wishes.push(Wish {
                        original: format!("{key}={word}"),
                        path,
                        writable,
                        optional,
                    });
                }
                None if writable => {
                    source.note(format!("{key}={word}"), "not a plain absolute path")
                }
                None => {}
            }
        }
    }

    /// `BindPaths=` and `BindReadOnlyPaths=`: where it comes from, where it is mounted, options.
    pub(super) fn bind(&mut self, key: &str, value: &str, writable: bool, source: &mut Source) {
        let Some(words) = lines::words(value) else {
            self.unclear.push(("/".to_owned(), false));
            return source.note(
                format!("{key}={value}"),
                "a quote is never closed; no path is granted",
            );
        };
        for word in words {
            let optional = word.starts_with('-');
            let mut parts = word.trim_start_matches('-').split(':');
            let from = parts.next().unwrap_or_default();
            let to = parts.next().filter(|to| !to.is_empty()).unwrap_or(from);
            let original = format!("{key}={word}");
            match (plain(from), plain(to.trim_start_matches(['-', '+']))) {
                (Some(from), Some(to)) if from == to => {
                    self.rules.push(Rule {
                        path: to.clone(),
                        kind: Kind::Mounted { writable },
                    });
                    self.wishes.push(Wish {
                        original,
                        path: to,
                        writable,
                        optional,
                    });
                }
                // Other files are seen there.
                (_, Some(to)) => {
                    self.rules.push(Rule {
                        path: to,
                        kind: Kind::Elsewhere,
                    });
                    source.note(
                        original,
                        "a policy mounts nothing: name the path that the files have outside",
                    );
                }
                _ => {
                    self.unclear.push(("/".to_owned(), false));
                    source.note(original, "not plain absolute paths; no path is granted");
                }
            }
        }
    }

    /// `StateDirectory=` and its relatives: directories of the unit's own under a fixed one.
    pub(super) fn own(
        &mut self,
        key: &str,
        value: &str,
        under: &str,
        writable: bool,
        source: &mut Source,
    ) {
        for word in lines::words(value).unwrap_or_default() {
            let mut parts = word.split(':');
            let name = parts.next().unwrap_or_default();
            let read_only = parts.nth(1).is_some_and(|flags| flags == "ro");
            let original = format!("{key}={word}");
            match plain(&format!("{under}/{name}"))
                .filter(|_| !name.is_empty() && !name.starts_with('/'))
            {
                Some(path) => {
                    let writable = writable && !read_only;
                    if writable {
                        self.rules.push(Rule {
                            path: path.clone(),
                            kind: Kind::Writable,
                        });
                    }
                    self.wishes.push(Wish {
                        original,
                        path,
                        writable,
                        optional: false,
                    });
                }
                None => source.note(original, "not a plain name"),
            }
        }
    }

    /// Returns the access to a path.
    fn at(&self, path: &str) -> Option<bool> {
        let above = || self.rules.iter().filter(|rule| covers(&rule.path, path));
        if above().any(|rule| rule.kind == Kind::Inaccessible) {
            return None;
        }
        let depth = |rule: &&Rule| rule.path.trim_end_matches('/').len();
        let elsewhere = above()
            .filter(|rule| rule.kind == Kind::Elsewhere)
            .max_by_key(depth);
        let mounted = |rule: &&Rule| matches!(rule.kind, Kind::Mounted { .. });
        if let Some(elsewhere) = elsewhere
            && !above()
                .filter(mounted)
                .any(|rule| depth(&rule) > depth(&elsewhere))
        {
            return None;
        }
        // The deepest rule says it; of two at one path, the stricter one.
        let said = above().filter(|rule| rule.kind != Kind::Elsewhere);
        let deepest = said.max_by_key(|rule| {
            let writable = matches!(rule.kind, Kind::Writable | Kind::Mounted { writable: true });
            (depth(rule), !writable)
        });
        Some(deepest.is_none_or(|rule| {
            matches!(rule.kind, Kind::Writable | Kind::Mounted { writable: true })
        }))
    }

    /// Whether a path may be used with all beneath it.
    fn is_open(&self, path: &str, writes: bool) -> Result<(), String> {
        let within = self.rules.iter().filter(|rule| covers(path, &rule.path));
        let places = within.map(|rule| rule.path.as_str()).chain([path]);
        for place in places {
            match (self.at(place), writes) {
                (None, _) => {
                    return Err(format!(
                        "the unit has no access to {place}, which it holds or is beneath"
                    ));
                }
                (Some(false), true) => return Err(format!("the unit can't write to {place}")),
                _ => {}
            }
        }
        let unclear = self.unclear.iter().find(|(beginning, only_writing)| {
            (covers(beginning, path) || covers(path, beginning)) && (writes || !only_writing)
        });
        match unclear {
            Some((beginning, _)) => Err(format!(
                "something at {beginning} is taken away that isn't named in full"
            )),
            None => Ok(()),
        }
    }

    /// Grants what the unit names, as far as all beneath it is open.
    pub(super) fn finish(self, source: &mut Source) {
        let mut granted = BTreeSet::new();
        for wish in &self.wishes {
            if let Some(option) = &self.elsewhere {
                source.note(
                    &wish.original,
                    format!("{option} gives the unit other files than the machine's"),
                );
                continue;
            }
            if let Err(reason) = self.is_open(&wish.path, false) {
                source.note(&wish.original, format!("not granted: {reason}"));
                continue;
            }
            let writable = wish.writable
                && match self.is_open(&wish.path, true) {
                    Ok(()) => true,
                    Err(reason) => {
                        source.note(
                            &wish.original,
                            format!("granted for reading only: {reason}"),
                        );
                        false
                    }
                };
            granted.insert(Path {
                path: wish.path.clone(),
                writable,
                optional: wish.optional,
            });
        }
        // Of the same path twice, the one that is there for sure.
        let all = granted.clone();
        granted.retain(|own| {
            let stronger = |other: &&Path| {
                other.path == own.path
                    && *other != own
                    && other.writable >= own.writable
                    && (other.writable != own.writable || !other.optional)
            };
            !all.iter().any(|other| stronger(&other))
        });
        source.paths.extend(granted);
    }
}

/// Whether a path is another one or beneath it.
fn covers(above: &str, path: &str) -> bool {
    let above = above.trim_end_matches('/');
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Links that every machine has, as the paths that they lead to.
const LINKS: &[(&str, &str)] = &[
    ("/var/run", "/run"),
    ("/var/lock", "/run/lock"),
    ("/bin", "/usr/bin"),
    ("/sbin", "/usr/sbin"),
    ("/lib", "/usr/lib"),
    ("/lib64", "/usr/lib64"),
];

/// An absolute path without anything to be replaced in it; `None` for another one.
fn plain(path: &str) -> Option<String> {
    let path = path.replace("%%", "\0");
    if !path.starts_with('/') || path.contains(['%', '*']) {
        return None;
    }
    let path = path.replace('\0', "%");
    let mut parts = Vec::new();
    for part in path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        if part == ".." || part.chars().any(char::is_control) {
            return None;
        }
        parts.push(part);
    }
    let path = format!("/{}", parts.join("/"));
    let link = LINKS.iter().find(|(link, _)| covers(link, &path));
    Some(match link {
        Some((link, target)) => format!("{target}{}", &path[link.len()..]),
        None => path,
    })
}
