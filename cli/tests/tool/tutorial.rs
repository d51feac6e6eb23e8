//! The tutorials of `policies/README.md`, done as they say: their programs, their commands, what they print.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use crate::support::Folder;

/// A section of the page.
fn section(heading: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The fenced blocks, each with the paragraph before it.
fn blocks(text: &str) -> Vec<(&str, &str, &str)> {
    let parts: Vec<_> = text.split("```").collect();
    let pairs = parts.chunks_exact(2);
    pairs
        .map(|pair| {
            let before = pair[0].trim().rsplit("\n\n").next().unwrap();
            let (language, block) = pair[1].split_once('\n').unwrap();
            (before, language, block)
        })
        .collect()
}

/// Writes each file that a block shows below its name, and returns how many there are.
fn write_files(folder: &Folder, text: &str) -> usize {
    let files = blocks(text).into_iter().filter_map(|(before, _, block)| {
        let name = before.strip_prefix('`')?.strip_suffix("`:")?;
        let is_name = !name.contains(['`', ' ', '\n']);
        is_name.then(|| (name.to_owned(), block.to_owned()))
    });
    files
        .map(|(name, block)| folder.write(&name, block))
        .count()
}

#[test]
fn the_tutorial_does_what_it_says() {
    let folder = Folder::new("tutorial");
    folder.write(
        "log.txt",
        "127.0.0.1 GET /\n127.0.0.1 GET /favicon.ico\n192.0.2.7 GET /\n",
    );
    let text = section("Your own policy, step by step");
    assert_eq!(write_files(&folder, &text), 1);
    assert!(follow(&folder, "visits", "", &text) >= 14);
}

#[test]
fn the_tutorial_on_plugins_does_what_it_says() {
    let folder = Folder::new("plugins");
    let text = section("Another policy: a C library that loads plugins");
    assert_eq!(write_files(&folder, &text), 4);
    let more = "[build-dependencies]\ncc = \"1\"\n";
    assert!(follow(&folder, "plugged", more, &text) >= 10);
}

/// Runs the commands of a page in a crate of this name, and returns how many there are.
fn follow(folder: &Folder, name: &str, more: &str, text: &str) -> usize {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\ncrossmist = {{ path = {workspace:?} }}\n{more}"
    );
    folder.write("Cargo.toml", manifest);
    // The versions that are there already.
    std::fs::copy(workspace.join("Cargo.lock"), folder.0.join("Cargo.lock")).unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_cargo-crossmist"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    let blocks = blocks(text).into_iter();
    for (.., block) in blocks.filter(|(_, language, _)| *language == "console") {
        for part in block.split("$ ").skip(1) {
            let (command, expected) = part.split_once('\n').unwrap();
            let output = Command::new("sh")
                .args(["-c", command])
                .current_dir(&folder.0)
                .env("PATH", &path)
                .env("CARGO_NET_OFFLINE", "true")
                .env("CARGO_TERM_COLOR", "never")
                // Beside what other tests build of crates like this one.
                .env("CARGO_TARGET_DIR", workspace.join("target/tests/rebuild"))
                .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
                .env_remove("CROSSMIST_POLICY_DIR")
                .env_remove("CROSSMIST_TRACE_DENIALS")
                .env_remove("RUSTFLAGS")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            for line in expected.lines() {
                for piece in line.trim().split('…') {
                    assert!(
                        said.contains(piece.trim_end()),
                        "$ {command}\nno `{piece}` in\n{said}"
                    );
                }
            }
            commands += 1;
        }
    }
    commands
}
