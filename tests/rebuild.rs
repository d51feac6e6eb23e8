//! A crate is compiled again when a policy that it uses changes, wherever in the chain.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A crate of its own, with its policies.
struct Project {
    root: PathBuf,
    target: PathBuf,
}

impl Project {
    fn new() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = workspace.join("target/tests/rebuild");
        let root = target.join("project");
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("src")).unwrap();
        std::fs::create_dir_all(root.join("policies")).unwrap();
        // The versions that are there already.
        std::fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        let project = Self { root, target };
        project.write(
            "Cargo.toml",
            &format!(
                "[package]\nname = \"project\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                 [dependencies]\ncrossmist = {{ path = {workspace:?} }}\n[workspace]\n"
            ),
        );
        project.write(
            "src/main.rs",
            "#[crossmist::func(sandbox = \"near\", wall_time = \"1s\")]\n\
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
    let project = Project::new();
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
        "wall_time = 1s",
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
