//! The rules of the source: who may import whom, where `unsafe` may be, what stays where.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `src/`, lowest first. A module imports from its own line and from those above it
/// here; from what is below it, never. Some are yet to come.
const LAYERS: &[&[&str]] = &[
    // The system, without anything of ours.
    &["sys"],
    // What a message and a value are. `wire` does no I/O.
    &["wire", "object", "arity"],
    &["cost"],
    &["transport", "confine"],
    // What is made of messages, each by itself.
    &["channel", "callback", "blob", "bytes", "trusted"],
    &[
        "stack", "error", "events", "printer", "reply", "program", "starter", "sandbox",
    ],
    // What holds a child.
    &["running", "reaper", "handle", "keeper", "confined", "learn"],
    // The two sides of a call.
    &["func", "call", "launch", "child", "builder", "early"],
    &["tokio", "fuzzing", "probe"],
    &["lib"],
];

/// Where `unsafe` may be, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("sys/", "the fence: everything outside denies it"),
    ("callback/boxed.rs", "auto traits of a trait object"),
    ("early.rs", "a constructor in a section of its own"),
    ("trusted.rs", "a contract that callers sign"),
];

/// Where a crate may be used. What is not listed here may not be used at all.
const CRATES: &[(&str, &[&str])] = &[
    ("backtrace", &["stack.rs"]),
    ("bytemuck", &["object/"]),
    ("caps", &["sys/"]),
    ("crossmist_macros", &["lib.rs"]),
    (
        "crossmist_policy",
        &[
            "confine/",
            "sandbox.rs",
            "confined.rs",
            "launch.rs",
            "learn.rs",
            "probe.rs",
        ],
    ),
    ("landlock", &["confine/"]),
    // Numbers of the kernel are used everywhere; its functions are `unsafe`, and so in `sys/`.
    ("libc", &[""]),
    (
        "nix",
        &["sys/", "keeper/", "confine/", "blob.rs", "error.rs"],
    ),
    ("postcard", &["object/serde"]),
    ("seccompiler", &["confine/", "sys/"]),
    ("serde", &["object/serde"]),
    ("thiserror", &[""]),
    (
        "tokio",
        &["tokio/", "sys/readiness.rs", "sys/poll.rs", "lib.rs"],
    ),
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

/// What stands behind each `prefix` in a text: an identifier, or several in braces.
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

/// The module that a file of `src/` belongs to.
fn module(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The module that gives a name to the root of the crate.
fn source_of<'l>(name: &str, lib: &'l str) -> Option<&'l str> {
    lib.split(';')
        .filter_map(|item| item.split_once("pub use crate::"))
        .find(|(_, item)| {
            let mut words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.any(|word| word == name)
        })
        .map(|(_, item)| &item[..item.find("::").unwrap_or(item.len())])
}

#[test]
fn modules_import_downwards_only() {
    let files = files(&root().join("src"));
    let lib = files.iter().find(|(file, _)| file == "lib.rs");
    let lib = code(&lib.expect("src/lib.rs").1);
    let mut wrong = Vec::new();
    for (file, text) in &files {
        let own = module(file);
        let Some(own_layer) = layer(own) else {
            wrong.push(format!(
                "src/{file}: `{own}` has no layer; give it one in tests/layers.rs"
            ));
            continue;
        };
        for name in behind(&code(text), "crate::") {
            let (source, what) = match (layer(name), source_of(name, &lib)) {
                (Some(layer), _) => (layer, name.to_owned()),
                (None, Some(source)) => match layer(source) {
                    Some(layer) => (layer, format!("{name}, of {source}")),
                    None => continue,
                },
                // A macro, or a name of the root itself.
                (None, None) => continue,
            };
            if source > own_layer {
                wrong.push(format!(
                    "src/{file}: `{own}` imports `{what}`, which is above it"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rule_sees_what_it_forbids() {
    let lib = "pub use crate::handle::{Child, KillHandle};\npub use crate::error::Error;";
    assert_eq!(source_of("Child", lib), Some("handle"));
    assert_eq!(source_of("Error", lib), Some("error"));
    assert_eq!(source_of("KillHandl", lib), None);
    let text = "use crate::{call, wire::Header};\nfn a() { crate::child::run() } // crate::tokio";
    assert_eq!(behind(&code(text), "crate::"), ["call", "wire", "child"]);
    assert_eq!(behind("$crate::func!()", "crate::"), Vec::<&str>::new());
    assert!(layer("call") > layer("wire"));
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

/// Uses of a crate, not of a module of ours with its name.
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
