//! Each command as somebody types it: what it says, what it writes, how it ends.

use std::process::Command;

use crate::support::{Folder, run_in};

const MANIFEST: &str =
    "[package]\nname = \"app\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";

/// A package with these policies.
pub(crate) fn package(name: &str, policies: &[(&str, &str)], source: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("Cargo.toml", MANIFEST);
    folder.write("src/main.rs", source);
    for (name, text) in policies {
        folder.write(&format!("policies/{name}.toml"), text);
    }
    folder
}

const THUMBNAIL: &str = "format = 1
description = \"Decode a picture\"
extends = [\"parser\"]

[syscalls]
allow = [\"fallocate(mode == 0)\", { call = \"@poll\", why = \"the decoder waits for its threads\" }]

[limits]
wall_time = \"2s\"

[[expect]]
syscall = \"epoll_wait(3, NULL, 0, 0)\"
is = \"allowed\"

[[expect]]
syscall = \"socket(AF_INET, SOCK_STREAM, 0)\"
is = \"violation\"
";

#[test]
fn a_new_policy_is_fine_as_it_is() {
    let folder = package(
        "new",
        &[],
        "#[crossmist::func(sandbox = \"fresh\")] fn parse() {}\nfn main() {}",
    );
    for parent in ["pure", "parser", "worker", "file-reader", "network-client"] {
        let name = format!("fresh-{parent}");
        folder
            .run(&["new", &name, "--from", parent])
            .ends(0)
            .says(&[&format!("{name}.toml written")]);
        folder.run(&["fmt", "--check", &name]).ends(0);
        folder.run(&["test", &name]).ends(0).says(&["0 failed"]);
        folder
            .run(&[
                "check", &name, "--strict", "--allow", "C030", "--allow", "C033",
            ])
            .ends(0);
    }
    folder.run(&["new", "fresh"]).ends(0);
    folder
        .run(&["check", "--allow", "C050"])
        .ends(0)
        .says(&["1 function checked: 0 mistakes"]);
    // An existing file is somebody's work.
    folder.run(&["new", "fresh"]).ends(3).says(&["fresh.toml"]);
    folder
        .run(&["new", "../evil"])
        .ends(1)
        .says(&["letters, digits"]);
    folder
        .run(&["new", "x", "--from", "parsr"])
        .ends(1)
        .says(&["did you mean `parser`?"]);
    // As cargo calls it.
    folder.run(&["crossmist", "test", "fresh"]).ends(0);
}

#[test]
fn check_finds_mistakes_in_policies_and_in_sources() {
    let broken = "format = 1\n[limits]\nmemori = \"1MiB\"\n";
    let lax = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[filesystem]\nread = [\"/etc\", \"/tmp/x\"]\n\
               [syscalls]\nallow = [\"splice\", \"epoll_wait\"]\n[limits]\nwall_time = \"none\"\nmemory = \"none\"\n";
    let source = "mod inner;\n#[crossmist::func(sandbox = \"thumbnail\")]\nfn a() {}\n\
                  #[cfg(test)]\nmod tests { #[crossmist::func(sandbox = \"thumbnial\")] fn b() {} }\nfn main() {}\n";
    let folder = package(
        "check",
        &[("broken", broken), ("lax", lax), ("thumbnail", THUMBNAIL)],
        source,
    );
    folder.write(
        "src/inner.rs",
        "#[crossmist::func(sandbox = \"lax\")]\npub fn c() {}\n",
    );
    // Nobody builds this one.
    folder.write(
        "src/forgotten.rs",
        "#[crossmist::func(sandbox = \"nothing\")]\nfn d() {}\n",
    );
    let ran = folder.run(&["check"]);
    ran.ends(1).says(&[
        "error[P002]: `[limits]` has no key `memori`",
        " --> policies/broken.toml:3:1",
        "3 | memori = \"1MiB\"",
        "did you mean `memory`?",
        "error[C060]: `b` names no policy",
        " --> src/main.rs:5:41",
        "warning[C021]: `/etc` contains a large part of the machine",
        "warning[C011]: `@copy` allows `splice(flags only SPLICE_F_MOVE|SPLICE_F_NONBLOCK|SPLICE_F_MORE)`",
        "warning[C010]: aarch64 has no `epoll_wait`",
        "warning[C030]",
        "warning[C031]",
        "warning[C051]",
        "2 mistakes",
    ]);
    assert!(!ran.err().contains("forgotten"), "{}", ran.err());
    // Advice alone is no mistake, unless one asks for that.
    folder.run(&["check", "lax"]).ends(0).says(&["fine"]);
    folder.run(&["check", "lax", "--strict"]).ends(1);
    folder.run(&["check", "thumbnail", "--strict"]).ends(0);
    let json = folder.run(&["check", "--format", "json"]).ends(1).json();
    let findings = json["findings"].as_array().unwrap();
    let memori = findings
        .iter()
        .find(|finding| finding["code"] == "P002")
        .unwrap();
    assert_eq!(memori["file"], "policies/broken.toml");
    assert_eq!(
        (&memori["line"], &memori["column"], &memori["length"]),
        (&3.into(), &1.into(), &6.into())
    );
    let sarif = folder.run(&["check", "--format", "sarif"]).ends(1).json();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let result = run["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|result| result["ruleId"] == "P002")
        .unwrap();
    assert_eq!(result["level"], "error");
    let region = &result["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        (&region["startLine"], &region["endColumn"]),
        (&3.into(), &7.into())
    );
    let rule = &run["tool"]["driver"]["rules"]
        [usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
    assert_eq!(rule["id"], "P002");
}

#[test]
fn a_policy_that_nobody_uses_is_named() {
    let child = "format = 1\ndescription = \"x\"\nextends = [\"thumbnail\"]\n[[expect]]\nsyscall = \"getpid()\"\nis = \"allowed\"\n";
    let source = "#[crossmist::func(sandbox = \"child\")]\nfn a() {}\nfn main() {}\n";
    let folder = package(
        "unused",
        &[
            ("thumbnail", THUMBNAIL),
            ("child", child),
            ("lonely", child),
        ],
        source,
    );
    let ran = folder.run(&["check", "--strict"]);
    ran.ends(1)
        .says(&["warning[C050]: no function names the policy `lonely`"]);
    assert_eq!(ran.err().matches("C050").count(), 1 + 1, "{}", ran.err());
    folder
        .run(&["check", "--strict", "--allow", "c050"])
        .ends(0);
}

#[test]
fn explain_shows_everything_and_where_it_comes_from() {
    let folder = package("explain", &[("thumbnail", THUMBNAIL)], "fn main() {}");
    let ran = folder.run(&["explain", "thumbnail", "--all", "--why"]);
    ran.ends(0).says(&[
        "policy thumbnail  Decode a picture",
        "made of    policies/thumbnail.toml → builtin:parser → builtin:pure",
        "denied  every path  seccomp",
        "when fallocate policies/thumbnail.toml:6",
        "mode == 0",
        "always policies/thumbnail.toml:6, @poll",
        "limits.wall_time              2s             policies/thumbnail.toml:9",
        "NOT PROTECTED",
        "a lie",
    ]);
    let json = folder
        .run(&["explain", "thumbnail", "--format", "json"])
        .ends(0)
        .json();
    let calls = json["calls"].as_array().unwrap();
    let wait = calls
        .iter()
        .find(|call| call["name"] == "epoll_wait")
        .unwrap();
    assert_eq!(
        wait["clauses"][0]["why"],
        "the decoder waits for its threads"
    );
    assert!(
        json["residual"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["what"] == "UDP" && r["open"] == false)
    );
    let call = folder.run(&[
        "explain",
        "thumbnail",
        "--syscall",
        "socket(AF_INET, SOCK_STREAM, 0)",
    ]);
    call.ends(0).says(&[
        "socket(AF_INET, SOCK_STREAM, 0) is a violation",
        "to allow it:",
        "tcp_connect = [443]",
    ]);
    folder
        .run(&["explain", "thumbnail", "--syscall", "fallocate(3, 0, 0, 1)"])
        .ends(0)
        .says(&["is allowed"]);
    folder
        .run(&["explain", "thumbnail", "--syscall", "fallocate(3, 1, 0, 1)"])
        .ends(0)
        .says(&["is a violation"]);
    folder
        .run(&["explain", "thumbnail", "--syscall", "opennat"])
        .ends(3)
        .says(&["no system call `opennat`"]);
    folder
        .run(&["explain", "thumbnail", "--path", "/etc/passwd"])
        .ends(0)
        .says(&["nothing grants it", "EACCES"]);
    folder
        .run(&["explain", "thumbnial"])
        .ends(1)
        .says(&["there is no policy `thumbnial`"]);
}

#[test]
fn explain_leads_with_the_verdict_and_what_the_policy_itself_says() {
    let folder = package("brief", &[("thumbnail", THUMBNAIL)], "fn main() {}");
    let brief = folder.run(&["explain", "thumbnail"]).ends(0).out();
    let all = folder.run(&["explain", "thumbnail", "--all"]).ends(0).out();
    let headings = [
        "policy thumbnail",
        "NOT PROTECTED",
        "FILES",
        "NETWORK",
        "PROCESSES",
        "CLOSED",
        "SYSTEM CALLS",
        "LIMITS AND SETUP",
    ];
    for text in [&brief, &all] {
        let at = headings.map(|heading| text.find(heading).unwrap_or_else(|| panic!("{heading}")));
        assert!(at.is_sorted(), "{text}");
    }
    // The file's own lines, and the limits that its parents set.
    for part in [
        "when fallocate policies/thumbnail.toml:6",
        "always policies/thumbnail.toml:6, @poll",
        "policies/thumbnail.toml:9",
        "builtin:parser",
        "`--all` lists every system call and every setting",
    ] {
        assert!(brief.contains(part), "{part} in\n{brief}");
    }
    for part in ["@clock", "process.dumpable"] {
        assert!(
            !brief.contains(part) && all.contains(part),
            "{part} in\n{brief}"
        );
    }
    let builtin = folder.run(&["explain", "parser"]).ends(0).out();
    assert!(builtin.lines().count() < 60, "{builtin}");
}

#[test]
fn a_call_is_explained_with_its_path_as_reports_write_it() {
    let reader = "format = 1\ndescription = \"x\"\nextends = [\"file-reader\"]\n[filesystem]\nread = [\"/usr/share\"]\n";
    let folder = package("paths", &[("reader", reader)], "fn main() {}");
    let explain = |policy, call| folder.run(&["explain", policy, "--syscall", call]);
    explain("parser", "mkdir(\"/srv/out/a\", 0o755)")
        .ends(0)
        .says(&[
            "mkdir(\"/srv/out/a\", 0o755) is a violation",
            "create = [\"/srv/out\"]",
        ]);
    // The filter lets these pass, which is half of the answer.
    let more = "format = 1\ndescription = \"x\"\nextends = [\"file-reader\"]\n[filesystem]\nread = [\"/srv/in\"]\nwrite = [\"/srv/out\"]\ncreate = [\"/srv/out\"]\n\
                [syscalls]\nallow = [\"openat(flags == O_PATH|O_CLOEXEC)\"]\n[limits]\nfile_size = \"1MiB\"\n";
    folder.write("policies/more.toml", more);
    let allowed = "is allowed (on x86_64)";
    let denied = "is denied by Landlock";
    let unknown = "is allowed by the filter; Landlock decides by the path";
    for (policy, call, is) in [
        ("reader", "openat(AT_FDCWD, \"/etc/a,b\", O_RDONLY)", denied),
        (
            "reader",
            "openat(AT_FDCWD, \"/usr/share/x\", O_RDONLY)",
            allowed,
        ),
        (
            "reader",
            "openat(AT_FDCWD, \"/usr/share/../x\", O_RDONLY)",
            unknown,
        ),
        ("reader", "openat(AT_FDCWD, \"x\", O_RDONLY)", unknown),
        (
            "unconfined",
            "openat(AT_FDCWD, \"/etc/x\", O_RDONLY)",
            allowed,
        ),
        // What is granted for reading is not granted for anything else.
        ("more", "mkdir(\"/srv/in/x\", 0o755)", denied),
        ("more", "openat(AT_FDCWD, \"/srv/in/x\", O_RDWR)", denied),
        (
            "more",
            "openat(AT_FDCWD, \"/srv/out/x\", O_WRONLY|O_CREAT, 0o600)",
            allowed,
        ),
        ("more", "mkdir(\"/srv/out/x\", 0o755)", allowed),
        ("more", "rename(\"/srv/out/x\", \"/etc/x\")", unknown),
        // Landlock has no right for it.
        (
            "more",
            "openat(AT_FDCWD, \"/etc/x\", O_PATH|O_CLOEXEC)",
            allowed,
        ),
    ] {
        let said = explain(policy, call).ends(0).out();
        assert!(said.contains(is), "{policy}: {call}: {said}");
    }
    let json = folder.run(&[
        "explain",
        "more",
        "--format",
        "json",
        "--syscall",
        "mkdir(\"/srv/in/x\", 0)",
    ]);
    assert_eq!(json.ends(0).json()["answers"][0]["landlock"], "denied");
    // By O_PATH and fstat, any path can be inspected.
    let said = folder.run(&["explain", "more"]).ends(0).out();
    let (open, _) = said.split_once("CLOSED").unwrap();
    assert!(open.contains("  !  metadata"), "{said}");
    explain("reader", "renameat(3, \"a\", 3, \"b\")")
        .ends(0)
        .says(&["is a violation"]);
    explain("reader", "openat(\"/etc/x\", 0, O_RDONLY)")
        .ends(3)
        .says(&["`\"/etc/x\"` stands where `openat` takes a number"]);
    explain("reader", "openat(3, \"/etc/x, 0)")
        .ends(3)
        .says(&["nothing closes"]);
}

#[test]
fn explain_knows_what_other_kernels_enforce() {
    let client = "format = 1\ndescription = \"x\"\nextends = [\"network-client\"]\n[network]\ntcp_connect = [443]\n";
    let folder = package("kernels", &[("client", client)], "fn main() {}");
    folder
        .run(&["explain", "client", "--kernel", "6.7"])
        .ends(0)
        .says(&["enforced", "connect", "TCP port 443"]);
    folder
        .run(&["explain", "client", "--kernel", "5.15"])
        .ends(1)
        .says(&[
            "can't be enforced",
            "Landlock ABI 1, but confining TCP connections needs ABI 4",
        ]);
    folder.run(&["kernel", "--kernel", "5.15"]).ends(1).says(&[
        "can't  client",
        "runs   parser",
        "ABI 4, Linux 6.7",
        "lacks  second net `deny_write_execute` (PR_SET_MDWE, Linux 6.3)",
        "without deny_write_execute, landlock-net, landlock-scope",
    ]);
    // No policy runs on a kernel without the wall.
    folder.run(&["kernel", "--kernel", "5.10"]).ends(1).says(&[
        "can't  parser",
        "close_range",
        "Linux 5.11",
    ]);
    folder
        .run(&["explain", "client", "--kernel", "6.1", "--format", "json"])
        .ends(1)
        .says(&["TCP connections"]);
    let parser = folder
        .run(&["explain", "parser", "--kernel", "6.1", "--format", "json"])
        .ends(0)
        .json();
    let there = |net: usize| parser["second_nets"][net]["there"].as_bool();
    assert_eq!(
        [0, 1, 2, 3].map(there),
        [false, true, false, false].map(Some)
    );
    folder
        .run(&["explain", "parser", "--kernel", "6.1"])
        .ends(0)
        .says(&["enforced", "- second net deny_write_execute", "Linux 6.3"]);
    folder
        .run(&["kernel", "--kernel", "old"])
        .ends(3)
        .says(&["isn't a release"]);
    let here = folder.run(&["kernel", "--format", "json"]).json();
    assert_eq!(here["landlock_abi"], crossmist::landlock_abi());
    let steps = here["steps"].as_array().unwrap();
    let mdwe = steps.iter().find(|step| step["asks_for"] == "PR_SET_MDWE");
    assert_eq!(mdwe.unwrap()["there"], crossmist::can_deny_write_execute());
}

#[test]
fn a_page_needs_nothing_but_a_browser() {
    let folder = package("page", &[("thumbnail", THUMBNAIL)], "fn main() {}");
    folder.write(
        "policies/odd.toml",
        THUMBNAIL.replace("Decode a picture", "<script>alert(1)</script> & more"),
    );
    folder
        .run(&["explain", "odd", "--html", "odd.html"])
        .ends(0);
    let page = std::fs::read_to_string(folder.0.join("odd.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for part in [
        "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more",
        "epoll_wait",
        "Not protected",
        "every socket",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // The weak points come first.
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part}"));
    assert!(at("<h2>Not protected</h2>") < at("<h2>Files</h2>"));
    assert!(at("<h2>System calls</h2>") < at("<h2>Closed</h2>"));
    // Nothing is fetched from anywhere.
    for part in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn diff_goes_by_meaning() {
    let base = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[limits]\nwall_time = \"5s\"\nmemory = \"64MiB\"\n\
                [filesystem]\nread = [\"/usr/share/fonts\"]\n";
    // The same in other words: another order, a group in place of its name, comments.
    let same = "# Said otherwise.\nformat = 1\nextends = [\"parser\"]\ndescription = \"y\"\n\
                [filesystem]\nread = [\"/usr/share/fonts\"]\n[limits]\nmemory = \"65536KiB\"\nwall_time = \"5000ms\"\n";
    let changed = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[limits]\nwall_time = \"10s\"\nmemory = \"32MiB\"\n\
                   [filesystem]\nread = [\"/usr/share\"]\n[syscalls]\nallow = [\"flock\"]\ndeny = [\"@threads\"]\n";
    let folder = package(
        "diff",
        &[("base", base), ("same", same), ("changed", changed)],
        "fn main() {}",
    );
    folder
        .run(&["diff", "base", "base", "--fail-on", "any"])
        .ends(0)
        .says(&["no difference"]);
    let same = folder.run(&["diff", "base", "same", "--fail-on", "wider"]);
    same.ends(0).says(&["0 wider, 0 narrower"]);
    let ran = folder.run(&["diff", "base", "changed", "--fail-on", "wider"]);
    ran.ends(1).says(&[
        "+ wider     `limits.wall_time` 5s → 10s  policies/changed.toml:5",
        "+ wider     `flock`  policies/changed.toml:10",
        "+ wider     `/usr/share`  policies/changed.toml:8",
        "- narrower  `limits.memory` 64MiB → 32MiB  policies/changed.toml:6",
        "`clone(flags in {0x3d0f00, 0x7d0f00})`",
    ]);
    folder.run(&["diff", "base", "changed"]).ends(0);
    let json = folder
        .run(&["diff", "changed", "base", "--format", "json"])
        .ends(0)
        .json();
    let changes = json["changes"].as_array().unwrap();
    assert!(
        changes
            .iter()
            .any(|c| c["direction"] == "narrower" && c["what"][0] == "`flock`")
    );
    folder
        .run(&[
            "diff",
            "base",
            "policies/changed.toml",
            "--fail-on",
            "widen",
        ])
        .ends(1);
}

#[test]
fn diff_reads_what_git_remembers() {
    let folder = package("git", &[("thumbnail", THUMBNAIL)], "fn main() {}");
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=x",
                "-c",
                "user.email=x@example.org",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .current_dir(&folder.0)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    folder
        .run(&["diff", "HEAD:thumbnail", "thumbnail", "--fail-on", "any"])
        .ends(0);
    folder.write(
        "policies/thumbnail.toml",
        THUMBNAIL.replace("\"2s\"", "\"3s\""),
    );
    folder
        .run(&["diff", "main:thumbnail", "thumbnail", "--fail-on", "wider"])
        .ends(1)
        .says(&["`limits.wall_time` 2s → 3s  policies/thumbnail.toml:9"]);
    folder
        .run(&["diff", "thumbnail", "HEAD:thumbnail", "--fail-on", "wider"])
        .ends(0)
        .says(&["HEAD:policies/thumbnail.toml:9"]);
    folder
        .run(&["diff", "nowhere:thumbnail", "thumbnail"])
        .ends(3)
        .says(&["no revision `nowhere`"]);
    folder
        .run(&["diff", "HEAD:other", "thumbnail"])
        .ends(1)
        .says(&["there is no policy `other`", "HEAD:policies/other.toml"]);
    // No option of git's comes from here.
    folder
        .run(&["diff", "--output=x:thumbnail", "thumbnail"])
        .ends(2);
    folder
        .run(&["diff", "--", "--output=x:thumbnail", "thumbnail"])
        .ends(3);
    assert!(!folder.0.join("x").exists());
}

#[test]
fn test_holds_policies_against_themselves_by_filter_and_in_children() {
    let folder = package("test", &[("thumbnail", THUMBNAIL)], "fn main() {}");
    let ran = folder.run(&["test", "--live"]);
    ran.ends(0).says(&[
        "in a child: socket(AF_INET, SOCK_STREAM, 0) is violation",
        "0 failed",
    ]);
    let wrong = THUMBNAIL.replace("is = \"violation\"", "is = \"EPERM\"");
    folder.write("policies/wrong.toml", wrong);
    folder.run(&["test", "wrong"]).ends(1).says(&[
        "error[P090]: on x86_64 this is a violation",
        "policies/wrong.toml:16",
    ]);
    // No expectation needs the line about fallocate.
    let redundant = folder.run(&["test", "thumbnail", "--redundant"]);
    redundant.ends(1).says(&[
        "redundant policies/thumbnail.toml:6: no expectation needs `fallocate(mode == 0)`",
    ]);
    assert_eq!(
        redundant.out().matches("redundant policies").count(),
        1,
        "{}",
        redundant.out()
    );
    let probes = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n\
        [[expect]]\nprobe = \"spawn_thread\"\nis = \"allowed\"\n\
        [[expect]]\nprobe = \"spawn_process\"\nis = \"EAGAIN\"\n\
        [[expect]]\nprobe = \"open_socket\"\nis = \"violation\"\n\
        [[expect]]\nprobe = \"allocate\"\nis = \"allowed\"\n\
        [[expect]]\nprobe = \"panic\"\nis = \"allowed\"\n";
    folder.write("policies/probes.toml", probes);
    folder
        .run(&["test", "probes", "--live"])
        .ends(0)
        .says(&["in a child: open_socket is violation"]);
    let lies = probes
        .replace("\"EAGAIN\"", "\"allowed\"")
        .replace("is = \"violation\"", "is = \"allowed\"");
    folder.write("policies/lies.toml", lies);
    let ran = folder.run(&["test", "lies", "--live"]);
    ran.ends(1).says(&[
        "FAILED  lies in a child: open_socket is allowed: it was a violation",
        "1 failed",
    ]);
}

#[test]
fn completions_manual_codes_and_filters_are_written() {
    let folder = Folder::new("texts");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        folder
            .run(&["completions", shell])
            .ends(0)
            .says(&["explain"]);
    }
    folder.run(&["man", "."]).ends(0);
    let page = std::fs::read_to_string(folder.0.join("cargo-crossmist-explain.1")).unwrap();
    assert!(
        page.contains("what it does not protect from") && page.contains("\\-\\-syscall"),
        "{page}"
    );
    folder
        .run(&["bpf", "pure", "--arch", "aarch64"])
        .ends(0)
        .says(&[
            "# pure on aarch64:",
            "load architecture",
            "errno ENOSYS",
            "# futex: op",
        ]);
    folder
        .run(&["bpf", "pure", "--arch", "mips"])
        .ends(3)
        .says(&["x86_64 and aarch64"]);
    folder
        .run(&["help", "p021"])
        .ends(0)
        .says(&["P021 (error)", "replace"]);
    folder.run(&["help", "P999"]).ends(3);
    folder
        .run(&["help", "groups"])
        .ends(0)
        .says(&["@threads  for "]);
    folder
        .run(&["help", "@threads"])
        .ends(0)
        .says(&["## @threads", "| `clone`"]);
    folder
        .run(&["help", "epoll_wait"])
        .ends(0)
        .says(&["@poll allows `epoll_wait`", "--syscall epoll_wait"]);
    for (wrong, near) in [
        ("@thread", "did you mean `@threads`?"),
        ("threads", "did you mean `@threads`?"),
        ("epol_wait", "did you mean `epoll_wait`?"),
        ("expl", "did you mean `explain`?"),
        ("@nothing-near", "`cargo crossmist help groups` lists"),
    ] {
        folder.run(&["help", wrong]).ends(3).says(&[near]);
    }
    folder
        .run(&["explain", "@thread"])
        .ends(3)
        .says(&["did you mean `@threads`?"]);
    folder
        .run(&["explain", "pure", "--syscall", "opennat"])
        .ends(3)
        .says(&["did you mean `openat`?"]);
    let all = folder.run(&["help", "codes"]);
    assert_eq!(
        all.ends(0).out().lines().count(),
        crossmist_policy::Code::ALL.len()
    );
    folder.run(&["help"]).ends(0).says(&["Exit codes:"]);
    folder.run(&["help", "diff"]).ends(0).says(&["--fail-on"]);
    folder
        .run(&["frobnicate"])
        .ends(2)
        .says(&["unrecognized subcommand"]);
    folder
        .run(&["--help"])
        .ends(0)
        .says(&["Exit codes:", "Examples:"]);
    // A reader that goes away is no error.
    let tool = env!("CARGO_BIN_EXE_cargo-crossmist");
    let piped = Command::new("sh")
        .args(["-c", &format!("{tool} explain unconfined | head -n 1")])
        .output()
        .unwrap();
    assert!(
        piped.status.success() && piped.stderr.is_empty(),
        "{piped:?}"
    );
}

#[test]
fn colours_are_for_terminals_only() {
    let folder = package("colours", &[("thumbnail", THUMBNAIL)], "fn main() {}");
    let plain = folder.run(&["explain", "thumbnail"]).ends(0).out();
    assert!(!plain.contains('\x1b'));
    let colourful = folder
        .run(&["explain", "thumbnail", "--color", "always"])
        .ends(0)
        .out();
    assert!(colourful.contains("\x1b[1m"));
}

#[test]
fn fmt_keeps_comments_and_meaning() {
    let messy = "# why\nformat=1\nextends   = [ \"parser\",]\ndescription='x' # said\n\n\n\n\n[limits]\nmemory=\"1MiB\"\n";
    let folder = package("fmt", &[("messy", messy)], "fn main() {}");
    folder
        .run(&["fmt", "--check"])
        .ends(1)
        .says(&["messy.toml would change"]);
    folder.run(&["fmt"]).ends(0);
    folder.run(&["fmt", "--check"]).ends(0);
    let text = std::fs::read_to_string(folder.0.join("policies/messy.toml")).unwrap();
    for line in [
        "# why",
        "format = 1",
        "extends = [\"parser\"]",
        "description = 'x'    # said",
        "memory = \"1MiB\"",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    folder.write("policies/broken.toml", "format = \n");
    folder.run(&["fmt", "broken"]).ends(3).says(&["isn't TOML"]);
}

#[test]
fn editors_are_told_and_what_is_there_is_kept() {
    let folder = package("schema", &[("thumbnail", THUMBNAIL)], "fn main() {}");
    folder.write(".vscode/settings.json", "{}");
    folder.run(&["schema", "--install"]).ends(0).says(&[
        "policy.schema.json written",
        ".taplo.toml written",
        "settings.json is there: add to it",
    ]);
    assert_eq!(
        std::fs::read_to_string(folder.0.join(".vscode/settings.json")).unwrap(),
        "{}"
    );
    folder
        .run(&["schema", "--install"])
        .ends(0)
        .says(&[".taplo.toml knows of it already"]);
    let schema = std::fs::read_to_string(folder.0.join(".crossmist/policy.schema.json")).unwrap();
    assert_eq!(schema, folder.run(&["schema"]).ends(0).out());
}

#[test]
fn bad_input_is_an_error_with_a_cause() {
    let folder = package("bad", &[], "fn main() {}");
    folder.run(&["check"]).ends(0).says(&["no policies found"]);
    folder
        .run(&["check", "--policies", "nowhere"])
        .ends(3)
        .says(&["nowhere is not a folder"]);
    let explains = |name: &str, parts: &[&str]| {
        folder.run(&["explain", name]).ends(1).says(parts);
    };
    folder.write("policies/torn.toml", "format = 1\nextends = [\"parser\"\n");
    explains("torn", &["error[P001]", "policies/torn.toml"]);
    folder.write(
        "policies/latin.toml",
        b"format = 1\ndescription = \"\xe4\"\n",
    );
    explains("latin", &["error[P005]", "utf-8"]);
    folder.write("policies/huge.toml", "# x\n".repeat(10 << 18));
    explains("huge", &["error[P005]", "larger than 256 KiB"]);
    folder.write(
        "policies/deep.toml",
        format!(
            "format = 1\nx = {}1{}\n",
            "[".repeat(5000),
            "]".repeat(5000)
        ),
    );
    explains("deep", &["error[P001]"]);
    folder.write("policies/a.toml", "format = 1\nextends = [\"b\"]\n");
    folder.write("policies/b.toml", "format = 1\nextends = [\"a\"]\n");
    explains("a", &["error[P030]", "a → b → a"]);
    std::fs::create_dir(folder.0.join("policies/folder.toml")).unwrap();
    explains("folder", &["error[P005]", "can't be read"]);
    std::os::unix::fs::symlink("nowhere", folder.0.join("policies/dangling.toml")).unwrap();
    explains("dangling", &["error[P031]"]);
    folder
        .run(&["check"])
        .ends(1)
        .says(&["torn", "latin", "huge", "folder", "dangling"]);
    // By way of a link the folder is the same.
    std::os::unix::fs::symlink("policies", folder.0.join("linked")).unwrap();
    folder
        .run(&["explain", "torn", "--policies", "linked"])
        .ends(1)
        .says(&["linked/torn.toml"]);
    // A manifest that can't be read, and none at all.
    folder.write("Cargo.toml", "[package");
    folder
        .run(&["check"])
        .ends(3)
        .says(&["cargo metadata fails"]);
    let bare = Folder::new("bare");
    bare.write("policies/thumbnail.toml", THUMBNAIL);
    bare.run(&["check"])
        .ends(0)
        .says(&["1 policy and 0 functions"]);
    run_in(std::path::Path::new("/"), &["explain", "parser"]).ends(0);
}
