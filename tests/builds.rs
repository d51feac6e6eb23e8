//! Programs that are built in ways of their own: without RELRO, for coverage, with two versions of the
//! library, as examples in documentation. Each works, or is told what to change.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A crate of its own.
struct Project {
    root: PathBuf,
    target: PathBuf,
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Project {
    /// One with these dependencies and this source.
    fn new(name: &str, dependencies: &str, file: &str, source: &str) -> Self {
        let target = workspace().join("target/tests/builds");
        let root = target.join(name);
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("src")).unwrap();
        // The versions that are there already.
        std::fs::copy(workspace().join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\n{dependencies}\n[workspace]\n"
        );
        std::fs::write(root.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(root.join("src").join(file), source).unwrap();
        Self { root, target }
    }

    /// Returns the output of cargo, and of the program that it runs.
    fn cargo(&self, arguments: &[&str]) -> String {
        let output: Output = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env("CARGO_PROFILE_TEST_DEBUG", "none")
            .env_remove("RUSTFLAGS")
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        text.concat()
    }
}

fn own_path() -> String {
    format!("crossmist = {{ path = {:?} }}", workspace())
}

const CALLS: &str = r#"
#[crossmist::func]
fn plain(x: u32) -> u32 { x + 1 }
#[crossmist::func(sandbox = "pure")]
fn confined(x: u32) -> u32 { x + 1 }
#[crossmist::main]
fn main() {
    for result in [plain.run(1), confined.run(1)] {
        match result {
            Ok(number) => println!("got {number}"),
            Err(error) => println!("failed: {error}"),
        }
    }
}
"#;

#[test]
fn a_program_without_relro_is_told_so() {
    let project = Project::new("relro", &own_path(), "main.rs", CALLS);
    let run = |level: &str| {
        // The program alone: it is a matter of how it is linked.
        let level = format!("-Crelro-level={level}");
        let built = project.cargo(&["rustc", "-q", "--", &level]);
        assert_eq!(built, "");
        let output = Command::new(project.target.join("debug/relro"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run("off");
    assert_eq!(text.matches("linked without RELRO").count(), 2, "{text}");
    assert_eq!(text.matches("-C relro-level=off").count(), 2, "{text}");
    // The controls: of the two kinds that there are, either protects the records.
    for level in ["full", "partial"] {
        assert_eq!(run(level), "got 2\ngot 2\n", "{level}");
    }
}

/// Counters of the program and of its plain child; the keeper and what is confined write none.
#[test]
fn coverage_is_recorded_where_it_is_said_to_be() {
    let project = Project::new("covered", &own_path(), "main.rs", CALLS);
    let built = project.cargo(&["rustc", "-q", "--", "-Cinstrument-coverage"]);
    assert_eq!(built, "");
    let counters = project.root.join("counters");
    std::fs::create_dir(&counters).unwrap();
    let output = Command::new(project.target.join("debug/covered"))
        .current_dir(&counters)
        .env("LLVM_PROFILE_FILE", "%p.profraw")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "got 2\ngot 2\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(std::fs::read_dir(&counters).unwrap().count(), 2);
}

fn copy(from: &Path, to: &Path, change: &impl Fn(String) -> String) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()), change);
        }
    } else if from.file_name().is_some_and(|name| name == "Cargo.toml") {
        let text = std::fs::read_to_string(from).unwrap();
        std::fs::write(to, change(text)).unwrap();
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn two_versions_in_one_program_enter_their_own_children() {
    let next = workspace().join("target/tests/builds/next");
    let _ = std::fs::remove_dir_all(&next);
    let version = |text: String| {
        let members = "members = [\"macros\", \"policy\"]";
        let (before, rest) = text.split_once("members = [").unwrap_or((&text, ""));
        let text = match rest.split_once("]\n") {
            Some((_, rest)) if before == "[workspace]\n" => format!("{before}{members}\n{rest}"),
            _ => text,
        };
        let text = text.replace("default-members = [\".\", \"examples\"]\n", "");
        text.replace(concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "\"9.9.9\"")
            .replace(
                concat!("\"=", env!("CARGO_PKG_VERSION"), "\""),
                "\"=9.9.9\"",
            )
    };
    for part in [
        "src",
        "macros",
        "policy",
        "policies",
        "README.md",
        "Cargo.toml",
    ] {
        std::fs::create_dir_all(&next).unwrap();
        copy(&workspace().join(part), &next.join(part), &version);
    }
    let manifest = std::fs::read_to_string(next.join("Cargo.toml")).unwrap();
    // Tests and what they need stay behind.
    let (manifest, _) = manifest.split_once("[dev-dependencies]").unwrap();
    std::fs::write(next.join("Cargo.toml"), manifest).unwrap();

    let dependencies = format!(
        "older = {{ package = \"crossmist\", path = {:?} }}\n\
         newer = {{ package = \"crossmist\", path = {next:?} }}",
        workspace()
    );
    let source = r#"
mod one {
    #[older::func(crate = older)] pub fn plain(x: u32) -> u32 { x + 1 }
    #[older::func(crate = older, sandbox = "pure")] pub fn confined(x: u32) -> u32 { x + 1 }
}
mod other {
    #[newer::func(crate = newer)] pub fn plain(x: u32) -> u32 { x + 1 }
    #[newer::func(crate = newer, sandbox = "pure")] pub fn confined(x: u32) -> u32 { x + 1 }
}
fn main() {
    older::init();
    // Children have other arguments.
    if std::env::args().nth(1).as_deref() != Some("one-only") {
        newer::init();
    }
    println!("in main");
    println!("older: {:?} {:?}", one::plain.run(1).ok(), one::confined.run(1).ok());
    match (other::plain.run(1), other::confined.run(1)) {
        (Ok(plain), Ok(confined)) => println!("newer: {plain} {confined}"),
        (Err(plain), Err(confined)) => println!("{plain}\n{confined}"),
        _ => println!("they differ"),
    }
}
"#;
    let project = Project::new("versions", &dependencies, "main.rs", source);
    let text = project.cargo(&["run", "-q"]);
    assert_eq!(text, "in main\nolder: Some(2) Some(2)\nnewer: 2 2\n");
    let text = project.cargo(&["run", "-q", "--", "one-only"]);
    assert!(
        text.starts_with("in main\nolder: Some(2) Some(2)\n"),
        "{text}"
    );
    assert_eq!(text.matches("crossmist::init").count(), 2, "{text}");
    assert_eq!(
        text.matches("in main").count(),
        1,
        "no second `main`: {text}"
    );
}

#[test]
fn merged_examples_work_or_are_told_what_to_write() {
    let example = |fence: &str, body: &str, call: &str| {
        format!(
            "/// ```{fence}\n/// {body}\n/// fn f(x: u32) -> u32 {{ x + 1 }}\n\
             /// #[crossmist::main]\n/// fn main() {{ assert_eq!({call}.run(1).unwrap(), 2); }}\n\
             /// ```\npub fn NAME() {{}}\n"
        )
    };
    let all = [
        example("", "#[crossmist::func]", "f").replace("NAME", "plain"),
        example("", "#[crossmist::func]", "f.builder().env_clear()").replace("NAME", "cleared"),
        example("", "#[crossmist::func(sandbox = \"pure\")]", "f").replace("NAME", "confined"),
        example(
            "standalone_crate",
            "#[crossmist::func(sandbox = \"pure\")]",
            "f",
        )
        .replace("NAME", "standalone"),
    ];
    let project = Project::new("examples", &own_path(), "lib.rs", &all.concat());
    let text = project.cargo(&["test", "--doc"]);
    let result = |name: &str| {
        let line = text.lines().find(|line| {
            line.starts_with("test ") && line.contains(&format!(" {name} ")) && !line.is_empty()
        });
        line.and_then(|line| line.rsplit(' ').next())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    };
    let results = ["plain", "cleared", "confined", "standalone"].map(result);
    assert_eq!(results, ["ok", "FAILED", "FAILED", "ok"], "{text}");
    assert_eq!(text.matches("```standalone_crate").count(), 2, "{text}");
}
