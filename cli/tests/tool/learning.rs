//! Learning, from real parsers to policies that hold, and from hostile records to errors.
//!
//! The parsers are an example of this workspace, built as `cargo crossmist learn` builds programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::Folder;

/// Examples, in a folder beside that of ordinary builds.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--offline",
            "--package",
            "crossmist-examples",
            "--example",
            "parsers",
            "--example",
            "unpack",
        ])
        .env("RUSTFLAGS", "--cfg crossmist_learn")
        .env("CARGO_TARGET_DIR", workspace.join("target/crossmist-learn"))
        .current_dir(&workspace)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the examples aren't built"
    );
    workspace.join("target/crossmist-learn/debug/examples")
});

/// Returns the path of an example that can be watched.
pub(crate) fn example(name: &str) -> String {
    EXAMPLES.join(name).display().to_string()
}

fn parsers() -> String {
    example("parsers")
}

#[test]
fn what_four_parsers_need_is_learned_verified_and_tight() {
    let folder = Folder::new("learn");
    let program = parsers();
    for (parser, says, needs) in [
        ("png", "640 × 420", None),
        ("zip", "3 entries", Some("\"@threads\"")),
        ("xml", "25 elements", None),
        // C.
        ("webp", "640 × 420", None),
    ] {
        folder
            .run(&["new", parser, "--from", "pure", "--policies", "policies"])
            .ends(0);
        let confined = |code| {
            let ran = Command::new(&program)
                .args(["policies", parser, parser])
                .current_dir(&folder.0)
                .output();
            let ran = ran.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        };
        // The control: what needs more than the base doesn't run by it.
        confined(i32::from(needs.is_some()));
        let ran = folder.run(&[
            "learn",
            parser,
            "--write",
            "--verify",
            "--policies",
            "policies",
            "--",
            &program,
            "policies",
            parser,
            parser,
        ]);
        // Verified, and nothing in it that wasn't needed.
        ran.ends(0).says(&[
            "WATCHED AND NOT CONFINED",
            says,
            "verified: it runs the same",
        ]);
        confined(0);
        let text = std::fs::read_to_string(folder.0.join(format!("policies/{parser}.toml")));
        let text = text.unwrap_or_else(|error| panic!("{error}"));
        match needs {
            Some(needs) => assert!(
                text.contains(needs)
                    && text.contains("examples/parsers.rs:")
                    && !text.contains("perhaps"),
                "{text}"
            ),
            None => assert!(!text.contains("allow = ["), "{text}"),
        }
        // No wider than the policy that was written by hand for all of them.
        folder
            .run(&[
                "diff",
                "parser",
                parser,
                "--policies",
                "policies",
                "--fail-on",
                "wider",
            ])
            .ends(0);
        folder
            .run(&["check", parser, "--policies", "policies", "--strict"])
            .ends(0);
    }
}

#[test]
fn a_program_that_fails_never_ends_or_learns_nothing_is_told_of() {
    let folder = Folder::new("learn-ends");
    folder
        .run(&["new", "png", "--from", "pure", "--policies", "policies"])
        .ends(0);
    let learn = |options: &[&str], command: &[&str]| {
        let fixed = ["learn", "png", "--policies", "policies"];
        folder.run(&[&fixed, options, &["--"], command].concat())
    };
    learn(&[], &["false"])
        .ends(3)
        .says(&["nothing was recorded: `false` ended with exit status: 1 before"]);
    learn(&[], &["true"])
        .ends(3)
        .says(&["did the program call a confined function?"]);
    learn(&["--timeout", "1"], &["sleep", "60"])
        .ends(3)
        .says(&["ended by --timeout"]);
    learn(&[], &["/nowhere/to/be/found"])
        .ends(3)
        .says(&["can't be run"]);
    learn(&["--verify"], &["true"]).ends(2);
    // It fails, but not before it has called a function.
    let program = parsers();
    let fails = format!("{program} policies png png; exit 7");
    learn(&[], &["sh", "-c", &fails]).ends(0).says(&[
        "exit status: 7",
        "what it did until then counts",
        "extends = [\"pure\"]",
    ]);
    // A file that allows something is somebody's work.
    folder.write(
        "policies/kept.toml",
        "format = 1\nextends = [\"pure\"]\n[syscalls]\nallow = [\"flock\"]\n",
    );
    let kept = folder.run(&[
        "learn",
        "kept",
        "--write",
        "--policies",
        "policies",
        "--",
        &program,
        "policies",
        "kept",
        "png",
    ]);
    kept.ends(3)
        .says(&["allows something already", "--add adds to it"]);
    // It says what goes.
    let forced = folder.run(&[
        "learn",
        "kept",
        "--write",
        "--force",
        "--policies",
        "policies",
        "--",
        &program,
        "policies",
        "kept",
        "png",
    ]);
    forced
        .ends(0)
        .says(&["--force throws these lines", "- allow = [\"flock\"]"]);
    folder
        .run(&[
            "learn",
            "parser",
            "--write",
            "--policies",
            "policies",
            "--",
            "true",
        ])
        .ends(3)
        .says(&["built in"]);
    // A function of another policy.
    let other = folder.run(&[
        "learn",
        "kept",
        "--policies",
        "policies",
        "--",
        &program,
        "policies",
        "png",
        "png",
    ]);
    other.ends(0);
    let other = folder.run(&[
        "learn",
        "kept",
        "--policies",
        "policies",
        "--",
        &program,
        "policies",
        "png",
        "zip",
    ]);
    other.ends(3).says(&[
        "nothing was recorded of the policy `kept`, but of",
        "zip (png)",
    ]);
}

#[test]
fn what_a_person_wrote_is_added_to_and_the_result_is_verified() {
    let folder = Folder::new("learn-add");
    let program = parsers();
    let ours = "# For archives.\nformat = 1\nextends = [\"pure\"] # no more than that\n\n[limits]\n\
                wall_time = \"5s\" # enough\n\n[[expect]]\nsyscall = \"socket(AF_INET, SOCK_STREAM, 0)\"\n\
                is = \"violation\"\n";
    folder.write("policies/zip.toml", ours);
    let learn = |options: &[&str]| {
        let fixed = ["learn", "zip", "--policies", "policies"];
        let command = ["--", &program, "policies", "zip", "zip"];
        folder.run(&[&fixed, options, &command].concat())
    };
    learn(&["--add", "--verify"]).ends(0).says(&[
        "lines added to",
        "verified: it runs the same under what was learned, and gives the same answers",
    ]);
    let text = std::fs::read_to_string(folder.0.join("policies/zip.toml"));
    let text = text.unwrap_or_else(|error| panic!("{error}"));
    let mut lines = text.lines();
    for line in ours.lines() {
        assert!(lines.any(|known| known == line), "{line}:\n{text}");
    }
    assert!(text.contains("    \"@threads\",\n"), "{text}");
    // There is nothing left to add.
    learn(&["--add"]).ends(0).says(&["0 lines added to"]);
    let again = std::fs::read_to_string(folder.0.join("policies/zip.toml"));
    assert_eq!(again.unwrap_or_default(), text);
    // A policy that forbids a call that the function makes is not verified, whatever the program's status.
    folder.write(
        "policies/zip.toml",
        text.replace("[syscalls]\n", "[syscalls]\ndeny = [\"lseek\"]\n"),
    );
    learn(&["--add", "--verify"])
        .ends(1)
        .says(&["not verified: ", "fails now: ", "lseek("]);
}

#[test]
fn records_are_kept_and_merged_and_hostile_ones_refused() {
    let folder = Folder::new("learn-records");
    let program = parsers();
    folder
        .run(&["new", "zip", "--from", "pure", "--policies", "policies"])
        .ends(0);
    let learn = |options: &[&str]| {
        let fixed = ["learn", "zip", "--policies", "policies"];
        folder.run(&[&fixed, options].concat())
    };
    learn(&[
        "--record",
        "one.jsonl",
        "--",
        &program,
        "policies",
        "zip",
        "zip",
    ])
    .ends(0);
    learn(&["--merge", "one.jsonl", "--merge", "one.jsonl"])
        .ends(0)
        .says(&["Learned from 2 runs", "@threads"]);
    learn(&["--merge", "one.jsonl", "--func", "zip"])
        .ends(0)
        .says(&["@threads"]);
    learn(&["--merge", "one.jsonl", "--func", "png"])
        .ends(3)
        .says(&["nothing was recorded"]);
    learn(&["--merge", "nowhere.jsonl"])
        .ends(3)
        .says(&["nowhere.jsonl"]);
    learn(&[]).ends(3).says(&["a program to run"]);
    let line = |call: &str, path: &str| {
        format!(
            "{{\"function\":\"f\",\"policy\":\"zip\",\"call\":\"{call}\",\"arguments\":[\"0x0\",\"0x0\",\"0x80000\"],\
             \"path\":{path},\"exists\":true,\"port\":null,\"count\":1,\"seen_at\":\"x\\\"]\\n[evil]\"}}\n"
        )
    };
    // A text that a process chose never becomes a line of a policy by itself.
    let evil = line(
        "openat",
        "\"/a\\\"]\\n[capabilities]\\nkeep = [\\\"*\\\"]\\nwhy = \\\"\"",
    );
    folder.write(
        "evil.jsonl",
        evil + &line("ptrace", "null") + &line("openat", "\"/etc/app.conf\""),
    );
    let ran = learn(&["--merge", "evil.jsonl"]);
    ran.ends(0)
        .says(&["\"/etc/app.conf\", # 1×", "no policy may allow it"]);
    assert!(
        !ran.out()
            .lines()
            .any(|line| line.starts_with("[cap") || line.starts_with("[evil")),
        "{}",
        ran.out()
    );
    for (bad, says) in [
        ("{}\n{}\n", "not a record"),
        ("[1]\nx\ny\n", "not a record"),
        (&"x".repeat(70_000), "too long"),
    ] {
        folder.write("bad.jsonl", bad);
        learn(&["--merge", "bad.jsonl"])
            .ends(3)
            .says(&["bad.jsonl:1:", says]);
    }
    // An earlier recording doesn't say whether the process had loaded the library that it has opened.
    let opens = line("openat", "\"/usr/lib/x86_64-linux-gnu/libz.so.1.3\"");
    let says_loaded = |is_loaded| {
        let loaded = format!("\"loaded\":{is_loaded},\"count\"");
        opens.replace("\"count\"", &loaded)
    };
    let granted = "read = [\n    \"/usr/lib/x86_64-linux-gnu/libz.so.1.3\"";
    folder.write("silent.jsonl", &opens);
    folder.write("loaded.jsonl", says_loaded(true));
    folder.write("data.jsonl", says_loaded(false));
    // Nor what isn't recorded of the function.
    let incomplete = "{\"function\":\"f\",\"policy\":\"zip\",\"incomplete\":true}\n";
    folder.write("incomplete.jsonl", incomplete);
    for (files, is_granted) in [
        (&["silent.jsonl"][..], false),
        (&["silent.jsonl", "loaded.jsonl"], false),
        (&["data.jsonl", "incomplete.jsonl"], false),
        // The control.
        (&["data.jsonl"], true),
    ] {
        let merged: Vec<_> = files.iter().flat_map(|file| ["--merge", file]).collect();
        let ran = learn(&merged);
        let has = ran.ends(0).out().contains(granted);
        assert_eq!(has, is_granted, "{files:?}: {}", ran.out());
    }
    // A program that was killed leaves half a line.
    folder.write(
        "torn.jsonl",
        line("openat", "\"/etc/app.conf\"") + "{\"function\":\"f",
    );
    learn(&["--merge", "torn.jsonl"])
        .ends(0)
        .says(&["/etc/app.conf"]);
}

#[test]
fn records_are_judged_by_the_kernels_that_they_were_made_on() {
    let folder = Folder::new("learn-kernels");
    folder
        .run(&["new", "dns", "--from", "parser", "--policies", "policies"])
        .ends(0);
    let learn = |files: &[&str]| {
        let merged: Vec<_> = files.iter().flat_map(|file| ["--merge", file]).collect();
        folder.run(&[&["learn", "dns", "--policies", "policies"][..], &merged].concat())
    };
    let made_on = |release: &str, abi: u32, arch: &str| {
        format!(
            "{{\"kernel\":\"{release}\",\"arch\":\"{arch}\",\"landlock_abi\":{abi},\
             \"denies_write_execute\":true}}\n"
        )
    };
    let here = std::env::consts::ARCH;
    let seen = "{\"function\":\"f\",\"policy\":\"dns\",\"call\":\"connect\",\"arguments\":[],\"path\":null,\
                \"exists\":false,\"port\":53,\"udp\":true,\"count\":1}\n";
    folder.write("new.jsonl", made_on("7.2.1-x", 10, here) + seen);
    folder.write("old.jsonl", made_on("6.1.0", 2, here) + seen);
    // What this machine's kernel can do doesn't matter to records that were made elsewhere.
    let judged = "can't enforce are left out: Linux 7.2 (Landlock ABI 10)";
    learn(&["new.jsonl"])
        .ends(0)
        .says(&["udp_connect = [\n    53, #", judged]);
    for files in [["new.jsonl", "old.jsonl"], ["old.jsonl", "new.jsonl"]] {
        learn(&files).ends(0).says(&[
            "udp_connect 53: 2×",
            "Linux 6.1: this kernel has Landlock ABI 2, but",
            "Linux 7.2 (Landlock ABI 10)",
            "Linux 6.1 (Landlock ABI 2)",
        ]);
    }
    // One that can't enforce the policy that is extended judges nothing, which is said.
    folder.write(
        "policies/own.toml",
        "format = 1\nextends = [\"parser\"]\n[network]\ntcp_connect = [80]\n",
    );
    let of_own = seen.replace("\"policy\":\"dns\"", "\"policy\":\"own\"");
    folder.write("own-old.jsonl", made_on("6.1.0", 2, here) + &of_own);
    folder.write("own-new.jsonl", made_on("7.2.1", 10, here) + &of_own);
    let own = ["learn", "own", "--policies", "policies", "--base", "own"];
    let merged = ["--merge", "own-old.jsonl", "--merge", "own-new.jsonl"];
    folder.run(&[&own[..], &merged].concat()).ends(0).says(&[
        "udp_connect = [\n    53, #",
        "Linux 6.1 can't enforce `own` itself; lines were not judged by it",
        "can't enforce are left out: Linux 7.2 (Landlock ABI 10)\n",
    ]);
    // Records that don't say it are taken to be of this one.
    folder.write("silent.jsonl", seen);
    let kernel = folder.run(&["kernel", "--policies", "policies", "--format", "json"]);
    let abi = &kernel.json()["landlock_abi"];
    learn(&["silent.jsonl"]).ends(0).says(&[
        "silent.jsonl doesn't say on which kernel it was made",
        &format!("(Landlock ABI {abi})"),
    ]);
    // So are those before the line that says it.
    folder.write("late.jsonl", seen.to_owned() + &made_on("7.2.1", 10, here));
    learn(&["late.jsonl"])
        .ends(0)
        .says(&["late.jsonl doesn't say on which kernel it was made"]);
    // A file of several recordings has a line for each, and each counts.
    folder.write(
        "both.jsonl",
        made_on("6.1.0", 2, here) + seen + &made_on("7.2.1", 10, here) + seen,
    );
    learn(&["both.jsonl"]).ends(0).says(&[
        "udp_connect 53: 2×",
        "Linux 6.1 (Landlock ABI 2), Linux 7.2 (Landlock ABI 10)",
    ]);
    // What was recorded of another policy says nothing of this one.
    folder.write("other.jsonl", made_on("6.1.0", 2, here) + &of_own);
    let ran = learn(&["new.jsonl", "other.jsonl"]);
    ran.ends(0).says(&["udp_connect = [\n    53, #"]);
    assert!(!ran.err().contains("Linux 6.1"), "{}", ran.err());
    // A recording says it itself.
    let program = parsers();
    folder
        .run(&[
            "learn",
            "dns",
            "--policies",
            "policies",
            "--record",
            "own.jsonl",
            "--",
            &program,
            "policies",
            "dns",
            "zip",
        ])
        .ends(0);
    let own = learn(&["own.jsonl"]);
    own.ends(0).says(&[&format!("(Landlock ABI {abi})")]);
    assert!(!own.err().contains("doesn't say"), "{}", own.err());
    let many: String = (0..65).map(|abi| made_on("6.1", abi, here)).collect();
    for (bad, says) in [
        (made_on("6.1", 2, "pdp11"), "made on pdp11, where"),
        (
            made_on("6.1", 2, "\\u001b[31m"),
            "made on \\u{1b}[31m, where",
        ),
        (made_on("6.1", 2, here).replace(":2", ":-2"), "not a record"),
        (made_on("6.1", 2, here).replace("true", "1"), "not a record"),
        (many, "made on too many different kernels"),
    ] {
        folder.write("bad.jsonl", &bad);
        learn(&["bad.jsonl"]).ends(3).says(&["bad.jsonl:", says]);
    }
}

#[test]
fn a_program_with_more_privileges_than_its_user_does_not_learn() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        let excused = std::env::var("CROSSMIST_TEST_MAY_SKIP").unwrap_or_default();
        assert!(
            excused.split(',').any(|need| need == "Root"),
            "this test needs root"
        );
        return;
    }
    let folder = Folder::new("learn-privileges");
    folder
        .run(&["new", "png", "--from", "parser", "--policies", "policies"])
        .ends(0);
    let records = folder.0.join("records");
    // Beside the original, since set-user-ID may mean nothing where temporary files are.
    let program = EXAMPLES.join("parsers-of-root");
    // By another process: a program can't be executed while any has it open for writing, and another test may start
    // one meanwhile that has the descriptor for a moment.
    let copied = Command::new("cp").arg(parsers()).arg(&program).status();
    assert!(copied.unwrap().success());
    let run = |mode| {
        std::fs::create_dir(&records).unwrap();
        let permissions = std::fs::Permissions::from_mode;
        std::fs::set_permissions(&records, permissions(0o777)).unwrap();
        std::fs::set_permissions(&program, permissions(mode)).unwrap();
        let output = Command::new(&program)
            .args(["policies", "png", "png"])
            .current_dir(&folder.0)
            .env("CROSSMIST_LEARN", &records)
            .uid(4242)
            .gid(4242)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let written = std::fs::read_dir(&records).unwrap().count();
        std::fs::remove_dir_all(&records).unwrap();
        (said.contains("WATCHED"), written > 0, said)
    };
    // The control: without the bit, it is watched.
    let (watched, written, said) = run(0o755);
    assert!(watched && written, "{said}");
    let (watched, written, said) = run(0o4755);
    assert!(!watched && !written, "{said}");
    std::fs::remove_file(program).unwrap();
}

#[test]
fn what_is_released_can_be_shown_not_to_learn() {
    let folder = Folder::new("learn-binary");
    folder.write("policies/x.toml", "format = 1\n");
    let check = |binary: &str| folder.run(&["check", "--policies", "policies", "--binary", binary]);
    check(&parsers())
        .ends(1)
        .says(&["built with `--cfg crossmist_learn`"]);
    // The tool itself has no use for it.
    let plain = std::env::temp_dir().join(format!("crossmist-plain-{}", std::process::id()));
    std::fs::copy("/bin/true", &plain).unwrap_or_else(|error| panic!("{error}"));
    check(&plain.display().to_string()).ends(0);
    let _ = std::fs::remove_file(plain);
    check("/nowhere").ends(3);
}
