//! Violations name their place in an optimized program as well, whose functions are inlined, wherever it is loaded.

use std::path::Path;
use std::process::Command;

/// A program whose function makes a denied call in a function that is inlined into it.
const PROGRAM: &str = r#"
#[inline(always)]
fn inner(path: &str) -> bool {
    std::fs::create_dir(path).is_ok()
}

#[crossmist::func(sandbox = "parser")]
fn outer(path: String) -> bool {
    inner(&path)
}

#[crossmist::main]
fn main() {
    let error = outer.run("/nothing".to_owned()).unwrap_err();
    let crossmist::Error::Violation(violation) = &error else {
        panic!("{error}");
    };
    let claim = violation.claim.as_ref().unwrap();
    let frame = claim.at().unwrap();
    println!("{} {}", claim.call, frame.is_guess);
    // Its kind, in its header (elf(5)).
    println!("{}", std::fs::read("/proc/self/exe").unwrap()[16]);
    println!("{} {}", frame.function.unwrap(), frame.line.unwrap());
}
"#;

#[test]
fn a_function_that_was_inlined_is_named_and_its_line() {
    const ANYWHERE: &str = "3";
    assert_names_its_place("optimized", "", ANYWHERE);
}

#[test]
fn a_program_that_is_always_at_the_same_address_names_its_place() {
    const FIXED: &str = "2";
    let script = "fn main() { println!(\"cargo:rustc-link-arg=-no-pie\"); }";
    assert_names_its_place("fixed", script, FIXED);
}

/// Builds the program, with a script for its build unless that is empty, and checks what kind it is and what it says.
#[track_caller]
fn assert_names_its_place(name: &str, script: &str, expected_kind: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Most of the dependencies are built for other tests as well.
    let target = workspace.join("target/tests/rebuild");
    let root = target.join(name);
    std::fs::create_dir_all(root.join("src")).unwrap();
    // The versions that are there already.
    std::fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\ncrossmist = {{ path = {workspace:?}, features = [\"backtrace\"] }}\n\
         [profile.dev.package.{name}]\nopt-level = 2\ndebug = \"line-tables-only\"\n\
         [workspace]\n"
    );
    std::fs::write(root.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(root.join("src/main.rs"), PROGRAM).unwrap();
    if !script.is_empty() {
        std::fs::write(root.join("build.rs"), script).unwrap();
    }
    let output = Command::new(env!("CARGO"))
        .args(["run", "--offline", "--quiet", "--color", "never"])
        .current_dir(&root)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let (told, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let lines: Vec<&str> = told.lines().collect();
    let [call, kind, place] = lines[..] else {
        panic!("{told}{error}");
    };
    assert!(
        call.starts_with("mkdir(") && call.ends_with(" false"),
        "{told}{error}"
    );
    assert_eq!(kind, expected_kind);
    let line = PROGRAM.lines().position(|line| line.contains("create_dir"));
    let line = line.unwrap() + 1;
    // Without the paths of what was inlined, which only whole debug information has.
    assert_eq!(place, format!("inner {line}"), "{told}");
}
