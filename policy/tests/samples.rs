//! Files good and bad: what is right is taken, and what is wrong is said in pinned words.
//!
//! `CROSSMIST_BLESS=1 cargo test -p crossmist-policy` writes the words anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/golden.rs"]
mod golden;

use std::path::{Path, PathBuf};

use crossmist_policy::{BuiltinOnly, Code, Folder, MAX_FILE, Policy, Report};
use golden::compare_with_file;

fn samples(kind: &str) -> (PathBuf, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/samples")
        .join(kind);
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let policies = files.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let mut names: Vec<_> = policies
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    (folder, names)
}

fn from_text(text: &str) -> Result<Policy, Report> {
    Policy::from_toml(&BuiltinOnly, "text", text)
}

fn codes(text: &str) -> Vec<Code> {
    match from_text(text) {
        Ok(_) => Vec::new(),
        Err(report) => report
            .diagnostics()
            .iter()
            .map(|diagnostic| diagnostic.code)
            .collect(),
    }
}

#[test]
fn good_files_are_taken_and_compiled() {
    let (folder, names) = samples("good");
    assert!(names.len() >= 5);
    for name in names {
        let policy = Policy::load(&Folder::new(&folder), &name);
        let policy = policy.unwrap_or_else(|report| panic!("{name}:\n{report}"));
        assert!(policy.compile().is_ok(), "{name}");
        assert!(
            policy
                .files()
                .contains(&folder.join(format!("{name}.toml"))),
            "{name}"
        );
    }
}

#[test]
fn every_policy_in_the_readme_works() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let blocks = readme.split("```toml\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 7);
    for text in blocks {
        let whole = match text.starts_with("format = 1") {
            true => text.to_owned(),
            false => format!("format = 1\n{text}"),
        };
        let policy = from_text(&whole).unwrap_or_else(|report| panic!("{report}\n{whole}"));
        policy.compile().unwrap();
    }
}

#[test]
fn bad_files_are_refused_in_these_words() {
    let (folder, names) = samples("bad");
    assert!(names.len() >= 30);
    for name in names {
        // Some are only there to be extended.
        let report = match Policy::load(&Folder::new(&folder), &name) {
            Ok(_) if name.starts_with("base-") => continue,
            Ok(_) => panic!("{name} is taken"),
            Err(report) => report,
        };
        compare_with_file(
            &format!("samples/bad/{name}.expected"),
            &format!("{report}\n"),
        );
    }
}

#[test]
fn every_mistake_has_a_place_for_machines() {
    let text = "format = 1\n[syscalls]\nallow = [\"opennat\"]\n";
    let report = from_text(text).unwrap_err();
    let [mistake] = report.diagnostics() else {
        panic!("{report}")
    };
    assert_eq!((mistake.line, mistake.column, mistake.length), (3, 11, 7));
    assert_eq!(
        (mistake.code, mistake.code.as_str()),
        (Code::UnknownSyscall, "P010")
    );
    assert_eq!(mistake.file, "text");
    assert_eq!(mistake.source_line, "allow = [\"opennat\"]");
    assert_eq!(mistake.help.as_deref(), Some("did you mean `openat`?"));
}

#[test]
fn hostile_texts_are_errors_and_nothing_worse() {
    let deep = |open: &str, close: &str| {
        let text = format!(
            "format = 1\nx = {}1{}\n",
            open.repeat(20_000),
            close.repeat(20_000)
        );
        assert!(codes(&text).contains(&Code::Syntax), "{open}");
    };
    deep("[", "]");
    deep("{ a = ", " }");
    let keys = format!("format = 1\n{} = 1\n", vec!["a"; 20_000].join("."));
    assert!(!codes(&keys).is_empty());
    assert_eq!(codes(&"#".repeat(MAX_FILE + 1)), [Code::Unreadable]);
    let many = format!(
        "format = 1\n[syscalls]\nallow = [{}]\n",
        "'opennat',".repeat(2000)
    );
    assert_eq!(codes(&many).len(), 2000);
    let long = format!(
        "format = 1\n[syscalls]\nallow = ['futex(val == 1{})']\n",
        " || val == 1".repeat(40)
    );
    assert_eq!(codes(&long), [Code::BadCondition]);
    assert_eq!(codes("format = 1\u{0}"), [Code::Syntax]);
    assert_eq!(codes(""), [Code::Format]);
}

#[test]
fn a_policy_of_a_built_in_name_is_refused_rather_than_preferred() {
    let folder = tempfolder("reserved");
    std::fs::write(folder.join("parser.toml"), "format = 1\n").unwrap();
    let report = Policy::load(&Folder::new(&folder), "parser").unwrap_err();
    assert_eq!(report.diagnostics()[0].code, Code::ReservedName);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_no_text_is_unreadable() {
    let folder = tempfolder("unreadable");
    std::fs::write(folder.join("latin.toml"), b"format = 1 # \xe9\n").unwrap();
    std::fs::create_dir(folder.join("folder.toml")).unwrap();
    std::fs::write(folder.join("large.toml"), vec![b'#'; MAX_FILE + 1]).unwrap();
    for name in ["latin", "folder", "large"] {
        let report = Policy::load(&Folder::new(&folder), name).unwrap_err();
        assert_eq!(report.diagnostics()[0].code, Code::Unreadable, "{name}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn generations_are_counted() {
    let folder = tempfolder("deep");
    for number in 0..12 {
        let text = format!("format = 1\nextends = ['p{}']\n", number + 1);
        std::fs::write(folder.join(format!("p{number}.toml")), text).unwrap();
    }
    let report = Policy::load(&Folder::new(&folder), "p0").unwrap_err();
    assert_eq!(report.diagnostics()[0].code, Code::TooDeep);
    assert_eq!(
        report.diagnostics()[0].file,
        format!("{}/p7.toml", folder.file_name().unwrap().display())
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// Every file extends all of the next layer: millions of ways lead to the last one.
#[test]
fn many_ways_to_one_ancestor_are_one() {
    let folder = tempfolder("lattice");
    for layer in 0..7 {
        let parents: Vec<_> = (0..8).map(|at| format!("'p{}-{at}'", layer + 1)).collect();
        let parents = if layer == 6 {
            "'pure'".to_owned()
        } else {
            parents.join(",")
        };
        for at in 0..8 {
            let text = format!(
                "format = 1\nextends = [{parents}]\n[syscalls]\nallow = ['uname']\nreplace = ['uname']\n"
            );
            std::fs::write(folder.join(format!("p{layer}-{at}.toml")), text).unwrap();
        }
    }
    let policy = Policy::load(&Folder::new(&folder), "p0-0").unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(policy.files().len(), 49);
    std::fs::remove_dir_all(folder).unwrap();
}

fn tempfolder(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("crossmist-policy-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
