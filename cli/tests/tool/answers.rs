//! Answers that say no more than is known.

use crate::support::Folder;

const POLICY: &str = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[filesystem]\nread = [\"/srv/data\"]\n";

#[test]
fn a_path_is_not_called_granted_by_its_beginning_alone() {
    let folder = Folder::new("explain-path");
    folder.write("policies/p.toml", POLICY);
    let explain = |path: &str| folder.run(&["explain", "p", "--path", path]);
    explain("/srv/data/x").ends(0).says(&["Landlock read_file"]);
    for path in [
        "/srv/data/../../etc/passwd",
        "/srv/data/./x",
        "/srv/data//x",
    ] {
        explain(path)
            .ends(3)
            .says(&["write the path that it leads to"]);
    }
    // By a call, the same is left open.
    let call = "openat(AT_FDCWD, \"/srv/data/../x\", O_RDONLY)";
    folder
        .run(&["explain", "p", "--syscall", call])
        .ends(0)
        .says(&["Landlock decides by the path"]);
}

#[test]
fn a_call_can_be_pasted_from_a_report() {
    let folder = Folder::new("explain-pasted");
    folder.write("policies/p.toml", POLICY);
    let explain = |call: &str| folder.run(&["explain", "p", "--syscall", call]);
    for path in [
        r#"/srv/data/a \"b\""#,
        r"/srv/data/\xc3\xbc",
        r"/srv/data/a\\b",
    ] {
        let call = format!("openat(AT_FDCWD, \"{path}\", O_RDONLY|O_CLOEXEC, 0o0)");
        explain(&call).ends(0).says(&[&call]);
    }
}

#[test]
fn a_grant_of_what_each_process_finds_for_itself_is_refused() {
    let folder = Folder::new("explain-own");
    folder.write("policies/p.toml", POLICY);
    let call = "openat(AT_FDCWD, \"/proc/self/status\", O_RDONLY)";
    folder
        .run(&["explain", "parser", "--syscall", call])
        .ends(0)
        .says(&["each process finds its own there"]);
    folder.write(
        "policies/p.toml",
        POLICY.replace("/srv/data", "/proc/self/status"),
    );
    folder
        .run(&["check", "p"])
        .ends(1)
        .says(&["P040", "would grant the program's"]);
}
