//! Learning from a crate that unpacks an archive to a folder: what it creates, what takes a person's decision, and
//! what the watched run leaves.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::learning::example;
use crate::support::{Folder, Ran};

/// A folder with a policy that extends `parser`, and one to unpack to.
fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder
        .run(&[
            "new",
            "unpack",
            "--from",
            "parser",
            "--policies",
            "policies",
        ])
        .ends(0);
    let out = folder.0.join("out");
    std::fs::create_dir(&out).unwrap();
    // Root's children have users of their own.
    open_to_all(&out);
    folder
}

fn open_to_all(folder: &Path) {
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o1777)).unwrap();
}

/// Empties a folder, which is open to everybody then.
fn empty(folder: &str) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
    open_to_all(Path::new(folder));
}

/// Learns from unpacking the archive of the examples to a folder.
fn learn(folder: &Folder, options: &[&str], out: &str) -> Ran {
    let program = example("unpack");
    let fixed = ["learn", "unpack", "--policies", "policies"];
    let command = ["--", &program, "policies", "unpack", out];
    folder.run(&[&fixed, options, &command].concat())
}

/// Learns from a command that removes what is in the folder, and then unpacks the archive to it.
fn learn_anew(folder: &Folder, options: &[&str], out: &str) -> Ran {
    const COMMAND: &str = r#"find "$3" -mindepth 1 -delete && exec "$0" "$@""#;
    let program = example("unpack");
    let fixed = ["learn", "unpack", "--policies", "policies"];
    let command = [
        "--", "sh", "-c", COMMAND, &program, "policies", "unpack", out,
    ];
    folder.run(&[&fixed, options, &command].concat())
}

/// Adds what the tool leaves to a person.
fn decide(folder: &Folder) {
    const DECIDED: &str = "[syscalls]\nallow = [\n    \"openat(flags == O_PATH|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC)\",\n    \
                           { call = \"fchmod(mode lacks S_ISUID|S_ISGID)\", why = \"files get the modes of the archive\" },\n]\n";
    let path = folder.0.join("policies/unpack.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replacen("[filesystem]\n", "[filesystem]\nmetadata = \"read\"\n", 1);
    let text = text.replacen("[limits]\n", &format!("{DECIDED}\n[limits]\n"), 1);
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_crate_that_unpacks_to_a_folder_gets_a_verified_policy() {
    let folder = prepared("unpack");
    let out = folder.0.join("out").display().to_string();
    // It says everything that is denied, and not only the first of it.
    learn_anew(&folder, &["--write", "--verify"], &out)
        .ends(1)
        .says(&[
            "not verified: denied now: fchmod: ",
            "not verified: denied now: newfstatat ",
            &format!("not verified: denied now: openat \"{out}/notes\""),
        ]);
    let path = folder.0.join("policies/unpack.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    for line in [
        &format!("create = [\n    \"{out}\", # "),
        &format!("write = [\n    \"{out}\", # "),
        &format!("read = [\n    \"{out}\", # "),
        // The lines that a person may add.
        "#   [filesystem] metadata = \"read\": ",
        "#   { call = \"fchmod(mode lacks S_ISUID|S_ISGID)\", why = \"…\" }: ",
        "#   \"openat(flags == O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC|O_PATH)\": ",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    // Not a line of the crate, nor of those that it uses.
    let firsts = text.lines().filter(|line| line.contains("first at "));
    for line in firsts {
        assert!(line.contains("examples/unpack.rs:"), "{line}");
    }
    decide(&folder);
    learn_anew(&folder, &["--add", "--verify"], &out)
        .ends(0)
        .says(&["0 lines added", "verified: it runs the same"]);
    // The second run has unpacked it.
    assert!(folder.0.join("out/notes/readme.txt").exists());
}

#[test]
fn what_the_watched_run_leaves_is_named_and_nothing_is_removed() {
    let folder = prepared("unpack-twice");
    let out = folder.0.join("out").display().to_string();
    learn(&folder, &["--write"], &out).ends(0);
    decide(&folder);
    empty(&out);
    std::fs::write(folder.0.join("out/mine"), "text").unwrap();
    let ran = learn(&folder, &["--add", "--verify"], &out);
    ran.says(&[&format!(
        "the watched run has left {out}/notes, {out}/notes/data.csv, "
    )]);
    assert!(folder.0.join("out/mine").exists() && folder.0.join("out/notes/readme.txt").exists());
    // The option that removed files is gone: no record tells what was there before the run.
    learn(&folder, &["--add", "--verify", "--clean"], &out).ends(2);
    assert!(folder.0.join("out/mine").exists() && folder.0.join("out/notes/readme.txt").exists());
}

#[test]
fn a_folder_in_which_roots_children_may_not_create_files_is_named() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        let excused = std::env::var("CROSSMIST_TEST_MAY_SKIP").unwrap_or_default();
        assert!(
            excused.split(',').any(|need| need == "Root"),
            "this test needs root"
        );
        return;
    }
    let folder = prepared("unpack-foreign");
    let out = folder.0.join("out").display().to_string();
    learn(&folder, &["--write"], &out).ends(0);
    decide(&folder);
    // Everybody else may only look.
    empty(&out);
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o755)).unwrap();
    let says = format!("not everybody may create files in {out}, and root's children");
    learn_anew(&folder, &["--add", "--verify"], &out)
        .ends(1)
        .says(&[&says, "chmod 1777"]);
    // The control.
    open_to_all(Path::new(&out));
    let opened = learn_anew(&folder, &["--add", "--verify"], &out);
    opened.ends(0).says(&["verified: it runs the same"]);
}
