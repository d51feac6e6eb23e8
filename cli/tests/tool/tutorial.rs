//! The tutorial of `policies/README.md`, done as it says: its program, its commands, what they print.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use crate::support::Folder;

/// The part of the page that is a tutorial.
fn tutorial() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("## Your own policy, step by step").unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The fenced blocks of a language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn the_tutorial_does_what_it_says() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap();
    let folder = Folder::new("tutorial");
    let manifest = format!(
        "[package]\nname = \"visits\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\ncrossmist = {{ path = {workspace:?} }}\n"
    );
    folder.write("Cargo.toml", manifest);
    folder.write(
        "log.txt",
        "127.0.0.1 GET /\n127.0.0.1 GET /favicon.ico\n192.0.2.7 GET /\n",
    );
    // The versions that are there already.
    std::fs::copy(workspace.join("Cargo.lock"), folder.0.join("Cargo.lock")).unwrap();
    let text = tutorial();
    let [source] = blocks(&text, "rust")[..] else {
        panic!("one program")
    };
    folder.write("src/main.rs", source);
    let tool = Path::new(env!("CARGO_BIN_EXE_cargo-crossmist"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    for block in blocks(&text, "console") {
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
    assert!(commands >= 14);
}
