//! Policies, as the macro handles them in a crate that uses it: it is compiled again when one changes,
//! wherever in the chain, and it refuses in the words of the tool.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A crate of its own, with its policies.
struct Project {
    root: PathBuf,
    target: PathBuf,
}

impl Project {
    fn new(name: &str) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = workspace.join("target/tests/rebuild");
        let root = target.join(name);
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("src")).unwrap();
        std::fs::create_dir_all(root.join("policies")).unwrap();
        // The versions that are there already.
        std::fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        let project = Self { root, target };
        project.write(
            "Cargo.toml",
            &format!(
                "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                 [dependencies]\ncrossmist = {{ path = {workspace:?} }}\n[workspace]\n"
            ),
        );
        project.write(
            "src/main.rs",
            "#[crossmist::func(sandbox = \"near\", wall_time = \"60s\")]\n\
             fn parse() {}\n\
             #[crossmist::main]\n\
             fn main() { parse.run().unwrap(); println!(\"parsed\"); }\n",
        );
        project.write("policies/near.toml", NEAR);
        project.write("policies/far.toml", FAR);
        project
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.root.join(file), text).unwrap();
    }

    fn cargo(&self, command: &str) -> Output {
        Command::new(env!("CARGO"))
            .args([command, "--offline", "--quiet", "--color", "never"])
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_DEV_DEBUG", "none")
            .env_remove("CROSSMIST_POLICY_DIR")
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn runs(&self) {
        let output = self.cargo("run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        assert_eq!(output.stdout, b"parsed\n", "{error}");
    }

    #[track_caller]
    fn fails(&self, parts: &[&str]) {
        let output = self.cargo("run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "it was compiled");
        for part in parts {
            assert!(error.contains(part), "no `{part}` in\n{error}");
        }
    }
}

const NEAR: &str = "format = 1\ndescription = \"near\"\nextends = [\"far\"]\n";
const FAR: &str = "format = 1\ndescription = \"far\"\nextends = [\"parser\"]\n";

#[test]
fn a_change_of_a_policy_is_noticed() {
    let project = Project::new("project");
    project.runs();
    project.runs();
    // The policy itself, and the one that it extends.
    project.write(
        "policies/near.toml",
        &format!("{NEAR}[limits]\nmemori = \"1MiB\"\n"),
    );
    project.fails(&["policies/near.toml:5:1", "memori", "did you mean `memory`?"]);
    project.write("policies/near.toml", NEAR);
    project.runs();
    project.write(
        "policies/far.toml",
        &format!("{FAR}[limits]\nwall_time = \"10ms\"\n"),
    );
    project.fails(&[
        "src/main.rs:1:",
        "wall_time = 60s",
        "allows more than the policy's",
    ]);
    project.write("policies/far.toml", FAR);
    project.runs();
    // Another folder.
    let manifest = std::fs::read_to_string(project.root.join("Cargo.toml")).unwrap();
    let elsewhere = format!("{manifest}[package.metadata.crossmist]\npolicies = \"elsewhere\"\n");
    project.write("Cargo.toml", &elsewhere);
    project.fails(&["elsewhere/near.toml"]);
    project.write("Cargo.toml", &manifest);
    project.runs();
    // One that is gone, and one that would hide a built-in policy.
    std::fs::remove_file(project.root.join("policies/far.toml")).unwrap();
    project.fails(&["far", "policies/far.toml"]);
    project.write("policies/far.toml", FAR);
    project.runs();
    project.write("policies/parser.toml", FAR);
    project.write("policies/far.toml", &format!("{FAR}\n"));
    project.fails(&["would hide it"]);
}

#[test]
fn the_macro_refuses_every_bad_sample_in_the_readers_words() {
    let project = Project::new("samples");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/tests/samples/bad");
    let mut source = String::new();
    let mut expected = Vec::new();
    for entry in std::fs::read_dir(&samples).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let extension = path.extension().unwrap();
        if extension == "toml" {
            std::fs::copy(&path, project.root.join(format!("policies/{name}.toml"))).unwrap();
        } else if extension == "expected" && is_plain(&name) {
            let number = expected.len();
            source.push_str(&format!(
                "#[crossmist::func(sandbox = {name:?})]\nfn f{number}() {{}}\n"
            ));
            // The folder is called otherwise here.
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replace("bad/", "policies/");
            expected.push((name, text));
        }
    }
    assert!(expected.len() >= 30);
    project.write("src/main.rs", &format!("{source}fn main() {{}}\n"));
    let output = project.cargo("check");
    assert!(!output.status.success(), "it was compiled");
    // rustc indents what it is told, and so what is compared is the words.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = words(&String::from_utf8_lossy(&output.stderr));
    for (name, text) in expected {
        for mistake in text.split("\n\n") {
            let found = said.contains(&words(mistake));
            assert!(found, "{name}: no\n{mistake}\nin\n{said}");
        }
    }
}

/// Whether a sample's name can be a policy's at all.
fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}
