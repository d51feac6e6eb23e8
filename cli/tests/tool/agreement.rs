//! The schema and the tool against the samples that the reader is tested by.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use crate::support::run_in;
use crossmist_policy::{BUILTIN, Code, Folder, Policy};

fn samples(kind: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../policy/tests/samples")
        .join(kind);
    let entries = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let mut samples: Vec<_> = files
        .map(|path| {
            (
                folder.clone(),
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
            )
        })
        .collect();
    samples.sort();
    samples
}

/// A file as the schema sees it; `None` where it isn't TOML.
fn value(text: &str) -> Option<serde_json::Value> {
    let table: toml::Table = text.parse().ok()?;
    serde_json::to_value(table).ok()
}

fn validator() -> jsonschema::Validator {
    let schema = serde_json::from_str(&crossmist_policy::schema()).unwrap();
    jsonschema::draft7::new(&schema).unwrap()
}

#[test]
fn the_schema_takes_every_good_file() {
    let validator = validator();
    let samples = samples("good").into_iter().map(|(folder, name)| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        (name, text)
    });
    let builtin = BUILTIN
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let mut count = 0;
    for (name, text) in samples.chain(builtin) {
        let value = value(&text).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        count += 1;
    }
    assert!(count > 10);
}

#[test]
fn the_schema_refuses_what_can_be_seen_in_a_file_alone() {
    // Mistakes in one word of one file. The others take the whole family of files, or arithmetic.
    let visible = [
        Code::UnknownKey,
        Code::UnknownSyscall,
        Code::ForeignSyscall,
        Code::UnknownGroup,
        Code::SystemdGroup,
        Code::PathDenied,
    ];
    let validator = validator();
    let mut count = 0;
    for (folder, name) in samples("bad") {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        let Err(report) = Policy::load(&Folder::new(&folder), &name) else {
            continue;
        };
        let own = format!("bad/{name}.toml");
        let seen = report
            .diagnostics()
            .iter()
            .any(|found| visible.contains(&found.code) && found.file == own);
        if let (true, Some(value)) = (seen, value(&text)) {
            assert!(!validator.is_valid(&value), "{name}: {report}");
            count += 1;
        }
    }
    assert!(count >= 5, "only {count}");
}

#[test]
fn the_tool_says_of_every_sample_what_the_macro_says() {
    // The macro prints the reader's report, which those files pin.
    for (folder, name) in samples("bad") {
        let ran = run_in(
            folder.parent().unwrap(),
            &["explain", &name, "--policies", "bad"],
        );
        let expected = std::fs::read_to_string(folder.join(format!("{name}.expected")));
        match expected {
            Ok(expected) => {
                let said = ran.ends(1).err();
                let pieces: Vec<_> = said.split("\n\n").map(str::trim_end).collect();
                for piece in expected.trim_end().split("\n\n") {
                    assert!(
                        pieces.contains(&piece.trim_end()),
                        "{name}: no\n{piece}\nin\n{said}"
                    );
                }
            }
            // Those that are there to be extended.
            Err(_) => assert!(name.starts_with("base-"), "{name}"),
        }
    }
    for (folder, name) in samples("good") {
        run_in(
            folder.parent().unwrap(),
            &["explain", &name, "--policies", "good", "--kernel", "99.0"],
        )
        .ends(0);
    }
}

#[test]
fn every_example_of_a_code_leads_to_it() {
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let help = code.help();
        assert!(
            help.meaning.ends_with('.') && !help.cure.is_empty(),
            "{code}"
        );
        if help.example.is_empty() || code.severity() == crossmist_policy::Severity::Warning {
            continue;
        }
        let begins = [Code::Syntax, Code::Format].contains(code);
        let text = if begins {
            help.example.to_owned()
        } else {
            format!("format = 1\n{}", help.example)
        };
        let found = match Policy::from_toml(&crossmist_policy::BuiltinOnly, "example", &text) {
            Ok(_) => panic!("{code}: its example is fine"),
            Err(report) => report
                .diagnostics()
                .iter()
                .map(|found| found.code)
                .collect::<Vec<_>>(),
        };
        if !found.contains(code) {
            wrong.push(format!("{code}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let advised = |text: &str, code| {
        let policy = Policy::from_toml(
            &crossmist_policy::BuiltinOnly,
            "example",
            &format!("format = 1\n{text}"),
        )
        .unwrap();
        let found: Vec<_> = policy
            .lint(|path| (path == "/tmp").then(|| "x".to_owned()))
            .given
            .iter()
            .map(|found| found.code)
            .collect();
        assert!(found.contains(&code), "{code}: {found:?}");
    };
    for code in Code::ALL
        .iter()
        .filter(|code| code.severity() == crossmist_policy::Severity::Warning)
    {
        let example = code.help().example;
        match code {
            Code::NoDescription | Code::NoExpectations => advised("", *code),
            // The tool finds these in the sources.
            Code::Unused | Code::Raised => {}
            // `/tmp` is found to be broad before anybody looks at it.
            Code::ForeignPath => advised(
                "extends = [\"file-reader\"]\n[filesystem]\nread = [\"/tmp/x\"]\n",
                Code::NoDescription,
            ),
            _ => advised(&format!("extends = [\"parser\"]\n{example}"), *code),
        }
    }
}

#[test]
fn the_reference_is_what_the_tool_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let written = run_in(&root, &["schema", "--reference"]).ends(0).out();
    let kept = root.join("policies/REFERENCE.md");
    if std::env::var_os("CROSSMIST_BLESS").is_some() {
        std::fs::write(&kept, &written).unwrap();
    }
    let kept = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        kept == written,
        "`CROSSMIST_BLESS=1 cargo test -p crossmist-cli` writes policies/REFERENCE.md anew"
    );
    // Each group by itself as well.
    run_in(&root, &["explain", "@threads"])
        .ends(0)
        .says(&["| `clone` |", "start a thread"]);
    run_in(&root, &["explain", "@nothing"])
        .ends(3)
        .says(&["there is no group"]);
}
