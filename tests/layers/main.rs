//! The rules of the source: who may import whom, where `unsafe` may be, what stays where.

/// The imports between the files of `src/`.
mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, lowest first. A room imports from those above it here, never from one below it.
/// So no two rooms import each other.
const ROOMS: &[&str] = &[
    // The system, without anything of this library.
    "sys",
    // Values, messages, and their way over a socket.
    "arity",
    "object",
    "wire",
    "transport",
    // Things made of messages.
    "channel",
    "callback",
    // Failures, and reports on them.
    "places",
    "error",
    "confine",
    "events",
    "meters",
    "executable",
    // The three processes of a call: who supervises, who runs the function, who calls it.
    "keeper",
    "func",
    "child",
    "call",
    // Other ways to wait, and doors for tests.
    "runtime",
    "tokio",
    "smol",
    "pool",
    "private",
    "fuzzing",
    "testing",
    "lib",
];

/// Files that are one definition, and so may import each other: the trait `Object`, the encoder and the
/// decoder that its methods take, and the limits that those hold to, which are sent themselves.
const ONE_DEFINITION: &[&str] = &[
    "object",
    "object::decode",
    "object::decode::bounds",
    "object::encode",
    "object::limits",
    "object::link",
];

/// The files that may contain `unsafe`, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("sys/", "the fence: everything outside denies it"),
    ("callback/boxed.rs", "auto traits of a trait object"),
    ("child/early.rs", "a constructor in a section of its own"),
    ("channel/trusted.rs", "a contract that callers sign"),
    (
        "confine/apply.rs",
        "the sweep of descriptors: only the child's story tells who uses one",
    ),
    (
        "testing.rs",
        "tries any system call, in a process that is there for it",
    ),
];

/// The places where each crate may be used. Any other crate may not be used at all.
const CRATES: &[(&str, &[&str])] = &[
    ("async_io", &["smol/", "private.rs"]),
    ("backtrace", &["error/backtrace.rs"]),
    ("bytemuck", &["object/"]),
    ("caps", &["sys/"]),
    ("crossmist_macros", &["lib.rs"]),
    (
        "crossmist_policy",
        &[
            "confine/",
            "call/confined.rs",
            "call/confinement.rs",
            "call/watch/",
            "testing.rs",
        ],
    ),
    ("gimli", &["places/"]),
    ("landlock", &["confine/"]),
    // Numbers of the kernel are used everywhere; its functions are `unsafe`, and so in `sys/`.
    ("libc", &[""]),
    (
        "nix",
        &[
            "sys/",
            "keeper/",
            "confine/",
            "object/blob.rs",
            "error/",
            "call/watch/",
        ],
    ),
    ("metrics", &["meters.rs"]),
    ("object", &["places/"]),
    ("postcard", &["object/serde"]),
    ("rustc_demangle", &["places/"]),
    ("seccompiler", &["confine/", "sys/"]),
    ("serde", &["object/serde"]),
    ("thiserror", &[""]),
    ("tokio", &["tokio/", "sys/readiness.rs", "private.rs"]),
    ("tower_service", &["pool/service.rs"]),
    ("tracing", &["events.rs"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a directory, by their paths in it.
fn files(directory: &Path) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, &mut found);
    found.sort();
    let text = |path: PathBuf| {
        let name = path.strip_prefix(directory).expect("below it");
        let name = name.display().to_string();
        (name, fs::read_to_string(path).expect("text"))
    };
    found.into_iter().map(text).collect()
}

/// The code without its comments, and so without what documentation shows.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        // An address in a string is none.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the text behind each `prefix`: an identifier, or several in braces.
fn behind<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        // `$crate::`, and `super::` paths that end so, are something else.
        if text[..at].ends_with(|c: char| is_part(c) || c == '$' || c == ':') {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = &list[..list.find("};").unwrap_or(list.len())];
                found.extend(list.split(',').map(|item| {
                    let item = item.trim();
                    &item[..item.find(|c| !is_part(c)).unwrap_or(item.len())]
                }));
            }
            None => found.push(&rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())]),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn room(module: &str) -> &str {
    match module.split("::").next() {
        Some("" | "__private") | None => "lib",
        Some(first) => first,
    }
}

fn place(room: &str) -> Option<usize> {
    ROOMS.iter().position(|other| *other == room)
}

#[test]
fn rooms_import_downwards_only() {
    let files = files(&root().join("src"));
    let mut wrong = Vec::new();
    for (module, imported) in imports::between(&files) {
        let Some(own) = place(room(&module)) else {
            wrong.push(format!(
                "`{module}` is in no room; give `{}` a place in tests/layers/main.rs",
                room(&module)
            ));
            continue;
        };
        for other in imported {
            if place(room(&other)).is_some_and(|other| other > own) {
                wrong.push(format!("`{module}` imports `{other}`, which is above it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other() {
    let files = files(&root().join("src"));
    let mut circles = imports::circles(&imports::between(&files));
    circles.retain(|circle| {
        !circle
            .iter()
            .all(|file| ONE_DEFINITION.contains(&file.as_str()))
    });
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn the_rules_see_what_they_forbid() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [
        file("lib.rs", "mod a; mod b; pub use crate::b::Thing;"),
        file(
            "a/mod.rs",
            "mod inner; pub(crate) use self::inner::Part; use crate::Thing; fn f() { crate::b::g() }",
        ),
        file("a/inner.rs", "#[cfg(test)] mod tests { use crate::c; }"),
        file("b.rs", "use super::a::{Part, self}; // use crate::c;"),
        file("c.rs", ""),
    ];
    let found = imports::between(&files);
    assert_eq!(found["a"], ["b".to_owned()].into());
    assert_eq!(found["b"], ["a".to_owned(), "a::inner".to_owned()].into());
    assert!(found["a::inner"].is_empty() && found[""].is_empty());
    assert_eq!(imports::circles(&found), [["a".to_owned(), "b".to_owned()]]);
    assert!(place("call") > place("wire"));
}

/// A newcomer's map: the few files beside the rooms, and every room in ARCHITECTURE.md.
#[test]
fn the_ground_floor_is_furnished() {
    let files = files(&root().join("src"));
    let loose: Vec<_> = files
        .iter()
        .filter(|(file, _)| !file.contains('/'))
        .collect();
    assert!(
        loose.len() <= 10,
        "too many files beside the rooms: {loose:?}"
    );
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let named = |file: &str| map.contains(&format!("`{file}`"));
    for room in ROOMS {
        let entry = match root().join("src").join(room).is_dir() {
            true => format!("{room}/"),
            false => format!("{room}.rs"),
        };
        assert!(named(&entry), "ARCHITECTURE.md does not name `{entry}`");
    }
    // Every path in it exists.
    let parts = map.split('`').skip(1).step_by(2);
    for path in parts.filter(|part| part.ends_with(".rs") && !part.contains(' ')) {
        let is_there = [".", "src", "policy/src"]
            .iter()
            .any(|folder| root().join(folder).join(path).exists());
        assert!(
            is_there,
            "ARCHITECTURE.md names `{path}`, which is not there"
        );
    }
}

#[test]
fn unsafe_code_is_where_it_is_expected() {
    let used: BTreeSet<String> = files(&root().join("src"))
        .into_iter()
        .filter(|(_, text)| {
            let code = code(text);
            [
                "unsafe {",
                "unsafe fn",
                "unsafe impl",
                "unsafe extern",
                "unsafe(",
            ]
            .iter()
            .any(|form| code.contains(form))
        })
        .map(|(file, _)| file)
        .collect();
    let is_allowed = |file: &String| UNSAFE.iter().any(|(place, _)| file.starts_with(place));
    let wrong: Vec<_> = used.iter().filter(|file| !is_allowed(file)).collect();
    assert!(wrong.is_empty(), "`unsafe` in {wrong:?}");
    for (place, _) in UNSAFE {
        let is_used = used.iter().any(|file| file.starts_with(place));
        assert!(is_used, "`{place}` needs no `unsafe` any more");
    }
}

#[test]
fn crates_are_used_where_they_belong() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").expect("a list");
    let dependencies = dependencies.split("\n[").next().expect("its part");
    let names: BTreeSet<String> = dependencies
        .lines()
        .filter_map(|line| line.split_once([' ', '.', '=']))
        .map(|(name, _)| name.replace('-', "_"))
        .collect();
    let listed: BTreeSet<String> = CRATES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        names, listed,
        "the crates of Cargo.toml and those of this test"
    );

    for (file, text) in files(&root().join("src")) {
        let code = code(&text);
        for (name, places) in CRATES {
            let is_used = !behind_crate(&code, name).is_empty();
            let is_allowed = places.iter().any(|place| file.starts_with(place));
            assert!(
                !is_used || is_allowed,
                "src/{file} uses `{name}`, which belongs in {places:?}"
            );
        }
    }
}

/// Uses of a crate, not of a module of this library with its name.
fn behind_crate<'t>(code: &'t str, name: &str) -> Vec<&'t str> {
    let mut found = behind(code, &format!("{name}::"));
    found.extend(behind(code, &format!("::{name}::")));
    found
}

#[test]
fn what_is_left_to_do_has_an_issue() {
    let marks = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "XX".to_owned() + "X",
    ];
    for directory in [
        "src",
        "macros/src",
        "policy/src",
        "tests",
        "benches/src",
        "examples",
        "fuzz",
    ] {
        let directory = root().join(directory);
        if !directory.exists() {
            continue;
        }
        for (file, text) in files(&directory) {
            for (number, line) in text.lines().enumerate() {
                let has_mark = marks.iter().any(|mark| line.contains(mark.as_str()));
                let has_issue = line
                    .split('#')
                    .skip(1)
                    .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                assert!(
                    !has_mark || has_issue,
                    "{}/{file}:{}: {line}",
                    directory.display(),
                    number + 1
                );
            }
        }
    }
}
