//! Files as people have them, and their conversion line by line.

use std::collections::BTreeMap;

use crossmist_policy::import::{Format, Input, import};
use crossmist_policy::{Arch, BuiltinOnly, Policy};

use super::reach::{Reach, call, imported, try_import};

fn allows(reach: &Reach, name: &str, args: [u64; 6]) -> bool {
    reach.allows(Arch::X86_64, call(name), args)
}

fn has(reach: &Reach, parts: &[&str]) {
    for part in parts {
        assert!(
            reach.text.contains(part),
            "{part} is missing:\n{}",
            reach.text
        );
    }
}

/// Returns the access to a path.
fn access(reach: &Reach, path: &str) -> Vec<String> {
    let mut found: Vec<_> = reach
        .policy
        .grants_of_path(path)
        .into_iter()
        .map(|grant| grant.what)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn unit(lines: &str) -> Reach {
    imported(
        Format::Systemd,
        &format!("[Unit]\nDescription=x\nMemoryMax=1\n[Service]\nExecStart=/bin/x\n{lines}"),
    )
}

const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] }],
    "syscalls": [
        { "names": ["read", "write", "mmap", "munmap", "brk", "epoll_create1", "fallocate", "getsid", "oldstat", "io_uring_setup", "execve"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
        { "names": ["madvise"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 2, "value": 4, "op": "SCMP_CMP_EQ" }, { "index": 2, "value": 8, "op": "SCMP_CMP_EQ" }] },
        { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }], "excludes": { "caps": ["CAP_SYS_ADMIN"] } },
        { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }] },
        { "names": ["sync_file_range"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 3, "value": 7, "op": "SCMP_CMP_LE" }] },
        { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
        { "names": ["flock"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["amd64"] } },
        { "names": ["fsync"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "6.1" } },
        { "names": ["fdatasync"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
        { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
        { "names": ["arm_fadvise64_64"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm"] } }
    ]
}"#;

#[test]
fn a_profile_of_containers_becomes_a_policy() {
    let reach = imported(Format::Oci, PROFILE);
    assert!(allows(&reach, "getsid", [0; 6]) && allows(&reach, "epoll_create1", [0; 6]));
    // By the form that a group has, not whole.
    assert!(allows(&reach, "mmap", [0, 4096, 3, 0x22, u64::MAX, 0]));
    assert!(!allows(&reach, "mmap", [0, 4096, 7, 0x22, u64::MAX, 0]));
    assert!(allows(&reach, "sync_file_range", [3, 0, 0, 7, 0, 0]));
    assert!(!allows(&reach, "sync_file_range", [3, 0, 0, 8, 0, 0]));
    // Two tests of one argument are alternatives.
    for (advice, may) in [(4, true), (8, true), (9, false), (12, false)] {
        assert_eq!(
            allows(&reach, "madvise", [0, 0, advice, 0, 0, 0]),
            may,
            "{advice}"
        );
    }
    assert!(allows(&reach, "fdatasync", [0; 6]) && !allows(&reach, "fsync", [0; 6]));
    has(
        &reach,
        &[
            "# Imported from a file: review before use.",
            "# not translated: oldstat (no such call",
            "# not translated: mount on x86_64 (only for those who have a capability)",
            "# not translated: io_uring_setup (",
            "# not translated: execve (",
            "# not translated: personality(",
            "# not translated: clone(",
            "# not translated: flock on aarch64 (only for other architectures)",
            "# not translated: fsync on x86_64 (only for newer kernels)",
            "ENOSYS = [\"clone3\"]",
            "on_violation = \"errno:EPERM\"",
        ],
    );
    for forbidden in [
        "execve",
        "io_uring_setup",
        "mount",
        "ptrace",
        "kexec_load",
        "flock",
        "clone",
    ] {
        assert!(!allows(&reach, forbidden, [0; 6]), "{forbidden}");
    }
}

#[test]
fn a_container_has_its_profile_and_its_limits() {
    let config = format!(
        r#"{{"ociVersion": "1.2.0", "process": {{"rlimits": [{{"type": "RLIMIT_NOFILE", "hard": 64, "soft": 64}}]}},
            "mounts": [], "linux": {{"seccomp": {PROFILE}, "resources": {{"memory": {{"limit": 67108864}}}}}}}}"#
    );
    let reach = imported(Format::Oci, &config);
    assert!(allows(&reach, "fallocate", [0; 6]));
    has(
        &reach,
        &[
            "open_files = 64",
            "memory = \"67108864B\"",
            "not translated: mounts (",
        ],
    );
    let error = try_import(Format::Oci, r#"{"ociVersion": "1.2.0"}"#).unwrap_err();
    assert!(error.contains("no seccomp profile"), "{error}");
}

#[test]
fn what_is_no_profile_is_an_error() {
    for (text, part) in [
        ("{", "not JSON"),
        ("{}", "defaultAction"),
        (
            r#"{"defaultAction": "SCMP_ACT_KILL", "DefaultAction": "SCMP_ACT_ALLOW"}"#,
            "stands twice",
        ),
    ] {
        let error = try_import(Format::Oci, text).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_key_in_another_case_still_denies() {
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"Names": ["madvise"], "Action": "SCMP_ACT_KILL"}]}"#;
    assert!(!allows(
        &imported(Format::Oci, text),
        "madvise",
        [0, 0, 4, 0, 0, 0]
    ));
}

#[test]
fn one_of_several_profiles_is_named() {
    let profile = |name: &str, call: &str| {
        format!(
            "apiVersion: v1\nkind: SeccompProfile\nmetadata:\n  name: {name}\nspec:\n  defaultAction: SCMP_ACT_KILL\n  \
             baseProfileName: runc\n  syscalls:\n  - names: [{call}]\n    action: SCMP_ACT_ALLOW\n"
        )
    };
    let text = format!(
        "{}---\nkind: SelinuxProfile\n---\n{}",
        profile("one", "flock"),
        profile("two", "fsync")
    );
    let input = |filter| Input {
        format: Format::SecurityProfiles,
        name: "profiles.yaml",
        text: &text,
        filter,
        include: &|_| Err(String::new()),
    };
    let error = import(&input(None)).unwrap_err();
    assert!(error.contains("one, two"), "{error}");
    let reach = Reach::of(&import(&input(Some("two"))).unwrap().text);
    assert!(allows(&reach, "fsync", [0; 6]) && !allows(&reach, "flock", [0; 6]));
    has(
        &reach,
        &[
            "not translated: baseProfileName: runc",
            "not translated: SelinuxProfile",
        ],
    );
}

#[test]
fn a_policy_of_minijails_becomes_one_of_ours() {
    let text = "# comment\nread: 1\nfallocate: allow\nmadvise: arg2 == MADV_DONTNEED || arg2 == MADV_MERGEABLE\n\
                mprotect: arg2 in ~PROT_EXEC\nmmap: arg2 in PROT_READ|PROT_WRITE && arg3 == MAP_SHARED\nsocket: arg0 == AF_UNIX; return EACCES\n\
                setpriority: return EPERM\nptrace: 1\nfoo: 1\n{getsid, getpgid}: 1\nopen: return ENOENT\nbroken\nprctl: arg0 & PR_SET_NAME\n\
                clone: arg0 & CLONE_THREAD\ngetdents64: { arg2 == 4; return EINVAL, arg2 < 16; allow }\nflock[arch=arm]: 1\n{fsync[arch=arm], fdatasync[arch=x86_64,arm64]}: 1\n";
    let reach = imported(Format::Minijail, text);
    assert!(
        allows(&reach, "madvise", [0, 0, 12, 0, 0, 0])
            && !allows(&reach, "madvise", [0, 0, 100, 0, 0, 0])
    );
    assert!(
        allows(&reach, "mmap", [0, 4096, 3, 1, 3, 0])
            && !allows(&reach, "mmap", [0, 4096, 5, 1, 3, 0])
    );
    assert!(
        allows(&reach, "getsid", [0; 6])
            && allows(&reach, "getpgid", [0; 6])
            && allows(&reach, "fallocate", [0; 6])
    );
    // The first that is met counts.
    assert!(
        allows(&reach, "getdents64", [0, 0, 3, 0, 0, 0])
            && !allows(&reach, "getdents64", [0, 0, 4, 0, 0, 0])
    );
    assert!(
        allows(&reach, "fdatasync", [0; 6])
            && !allows(&reach, "fsync", [0; 6])
            && !allows(&reach, "flock", [0; 6])
    );
    assert!(!allows(&reach, "ptrace", [0; 6]) && !allows(&reach, "socket", [1, 1, 0, 0, 0, 0]));
    has(
        &reach,
        &[
            "EPERM = [\"setpriority\"",
            "not translated: foo (",
            "not translated: ptrace (",
            "not translated: broken",
            "not translated: socket: arg0 == AF_UNIX; return EACCES",
            "not translated: flock (only for other architectures)",
        ],
    );
}

#[test]
fn minijail_includes_one_level_of_files() {
    let files = BTreeMap::from([("./base", "flock: 1\n"), ("./loop", "@include ./base\n")]);
    let run = |text: &str| {
        import(&Input {
            format: Format::Minijail,
            name: "main",
            text,
            filter: None,
            include: &|path| {
                files
                    .get(path)
                    .map(|text| (*text).to_owned())
                    .ok_or_else(|| "no such file".to_owned())
            },
        })
    };
    let reach = Reach::of(&run("@include ./base\nfsync: 1\n").unwrap().text);
    assert!(allows(&reach, "flock", [0; 6]) && allows(&reach, "fsync", [0; 6]));
    // A line of an included file that denies counts as well.
    let reach = Reach::of(&run("@include ./base\nflock: arg1 == 2\n").unwrap().text);
    assert!(
        allows(&reach, "flock", [0, 2, 0, 0, 0, 0]) && !allows(&reach, "flock", [0, 4, 0, 0, 0, 0])
    );
    assert!(
        run("@include ./other\n")
            .unwrap_err()
            .contains("no such file")
    );
    assert!(
        run("@include ./loop\n")
            .unwrap_err()
            .contains("includes others")
    );
    assert!(
        run("@unheard of\n")
            .unwrap_err()
            .contains("no such directive")
    );
}

#[test]
fn a_list_of_what_is_denied_takes_it_away_from_pure() {
    let reach = imported(
        Format::Minijail,
        "@denylist\nmadvise: kill\nuname: return EPERM\nlseek: arg2 == 4; kill\ngetuid: return EACCES\n",
    );
    assert!(!allows(&reach, "madvise", [0, 0, 4, 0, 0, 0]) && !allows(&reach, "getuid", [0; 6]));
    assert!(allows(&reach, "pread64", [0; 6]) && !allows(&reach, "socket", [2, 1, 0, 0, 0, 0]));
    has(&reach, &["extends = [\"pure\"]", "EACCES = [\"getuid\"]"]);
}

#[test]
fn the_options_of_a_unit_become_a_policy() {
    let reach = unit(
        "SystemCallFilter=@basic-io @io-event @file-system @network-io \\\n  getsid fallocate\n\
         SystemCallFilter=~@debug kill:EPERM getpgid\nReadOnlyPaths=/usr/share/fonts -/etc/fonts\nReadWritePaths=/srv/spool %h/x\n\
         MemoryMax=256M\nLimitNOFILE=64:128\nRuntimeMaxSec=1min 30s\nPassEnvironment=LANG TZ\nSocketBindAllow=ipv4:tcp:8080\n\
         CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nInaccessiblePaths=/etc/shadow\nSystemCallFilter=@nonsense\nLimitCPU=soon\nNice=5\n",
    );
    assert!(
        allows(&reach, "getsid", [0; 6])
            && allows(&reach, "epoll_wait", [0; 6])
            && !allows(&reach, "getpgid", [0; 6])
    );
    assert_eq!(access(&reach, "/etc/fonts/x"), ["read"]);
    assert_eq!(access(&reach, "/srv/spool"), ["create", "read", "write"]);
    has(
        &reach,
        &[
            "memory = \"256MiB\"",
            "open_files = 128",
            "wall_time = \"90s\"",
            "inherit = [\"LANG\", \"TZ\"]",
            "tcp_bind = [8080]",
            "{ path = \"/etc/fonts\", optional = true }",
            "EPERM = [\"kill\"]",
            "not translated: ReadWritePaths=%h/x",
            "not translated: InaccessiblePaths=/etc/shadow",
            "not translated: @nonsense",
            "not translated: CapabilityBoundingSet",
            "not translated: LimitCPU=soon",
            "not translated: Nice=5",
        ],
    );
    // The port is granted for the one family.
    assert!(
        allows(&reach, "socket", [2, 1, 0, 0, 0, 0])
            && !allows(&reach, "socket", [10, 1, 0, 0, 0, 0])
    );
}

#[test]
fn an_empty_assignment_begins_anew() {
    let reach = unit(
        "ReadWritePaths=/srv/everything\nPassEnvironment=SECRET_TOKEN\nSystemCallFilter=socketpair sched_setaffinity fallocate\n\
         SocketBindAllow=tcp:22\nReadWritePaths=\nReadWritePaths=/srv/one\nPassEnvironment=\nPassEnvironment=LANG\n\
         SystemCallFilter=\nSystemCallFilter=fallocate @file-system\nSocketBindAllow=\n",
    );
    assert!(access(&reach, "/srv/everything").is_empty() && !access(&reach, "/srv/one").is_empty());
    assert!(!allows(&reach, "sched_setaffinity", [0; 6]) && allows(&reach, "fallocate", [0; 6]));
    assert!(!reach.text.contains("SECRET_TOKEN") && !reach.text.contains("tcp_bind"));
}

#[test]
fn a_hole_in_a_path_closes_what_holds_it() {
    let reach = unit(
        "ReadOnlyPaths=/\nInaccessiblePaths=/srv/secret\nProtectHome=yes\nSystemCallFilter=@system-service\n",
    );
    assert!(access(&reach, "/srv/secret").is_empty() && access(&reach, "/").is_empty());
    let reach = unit(
        "ReadWritePaths=/srv/data\nReadOnlyPaths=/srv/data/keys\nSystemCallFilter=@system-service\n",
    );
    assert_eq!(access(&reach, "/srv/data/keys"), ["read"]);
    let reach =
        unit("ReadOnlyPaths=/srv\nReadWritePaths=/srv/data\nSystemCallFilter=@system-service\n");
    assert_eq!(access(&reach, "/srv/data/x"), ["create", "read", "write"]);
    assert_eq!(access(&reach, "/srv/other"), ["read"]);
    // A place that can't be named in full could be anywhere beneath its beginning.
    let reach = unit("ReadOnlyPaths=/srv /etc/app\nInaccessiblePaths=/srv/%i/keys\n");
    assert!(access(&reach, "/srv/x").is_empty() && !access(&reach, "/etc/app").is_empty());
    let reach = unit("ReadOnlyPaths=/srv/x\nInaccessiblePaths=\"/srv\n");
    assert!(access(&reach, "/srv/x").is_empty());
}

#[test]
fn paths_that_are_not_the_machines_are_not_granted() {
    for (lines, path) in [
        ("PrivateTmp=yes\nReadWritePaths=/tmp\n", "/tmp"),
        (
            "PrivateTmp=disconnected\nReadWritePaths=/var/tmp/x\n",
            "/var/tmp/x",
        ),
        ("DynamicUser=yes\nReadWritePaths=/\n", "/tmp/x"),
        ("RootDirectory=/srv/root\nReadWritePaths=/data\n", "/data"),
        (
            "TemporaryFileSystem=/var:ro\nReadWritePaths=/var/x\n",
            "/var/x",
        ),
        ("ProtectHome=tmpfs\nReadOnlyPaths=/home/u\n", "/home/u"),
        ("BindPaths=/srv/a:/srv/b\nReadOnlyPaths=/srv\n", "/srv/b"),
        (
            "InaccessiblePaths=/run/secrets\nReadOnlyPaths=/var/run\n",
            "/run/secrets",
        ),
    ] {
        let reach = unit(lines);
        assert!(access(&reach, path).is_empty(), "{lines}{}", reach.text);
        has(&reach, &["not translated: "]);
    }
    let reach = unit("ProtectHome=tmpfs\nBindReadOnlyPaths=/home/u\n");
    assert_eq!(access(&reach, "/home/u/x"), ["read"]);
    let reach = unit(
        "DynamicUser=yes\nProtectSystem=full\nStateDirectory=app\nReadOnlyPaths=/usr/share\nConfigurationDirectory=app\n",
    );
    assert_eq!(access(&reach, "/var/lib/app"), ["create", "read", "write"]);
    assert_eq!(access(&reach, "/etc/app"), ["read"]);
}

#[test]
fn a_path_brings_no_call_that_the_filter_denies() {
    let reach = unit("ReadOnlyPaths=/srv\nSystemCallFilter=read write\n");
    assert!(!allows(&reach, "openat", [0; 6]) && !allows(&reach, "open", [0; 6]));
    let reach =
        unit("ReadWritePaths=/srv\nSystemCallFilter=@system-service\nRestrictSUIDSGID=yes\n");
    assert!(allows(&reach, "openat", [0, 1, 0o101, 0o644, 0, 0]));
    assert!(!allows(&reach, "openat", [0, 1, 0o101, 0o4755, 0, 0]));
    assert!(!allows(&reach, "mkdirat", [0, 1, 0o2755, 0, 0, 0]));
}

#[test]
fn predefined_sets_have_their_members_and_lose_them() {
    let reach = unit(
        "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\nSystemCallErrorNumber=EPERM\n",
    );
    for (name, may) in [
        ("flock", true),
        ("fsync", true),
        ("chown", false),
        ("setpriority", false),
        ("getrandom", true),
    ] {
        assert_eq!(allows(&reach, name, [0; 6]), may, "{name}\n{}", reach.text);
    }
    has(&reach, &["on_violation = \"errno:EPERM\"", "systemd 250"]);
    // An unknown set could have removed anything.
    let reach = unit("SystemCallFilter=flock fsync\nSystemCallFilter=~@of-the-future\n");
    assert!(!allows(&reach, "flock", [0; 6]));
    // An error number in a list of what is allowed denies.
    let reach = unit("SystemCallFilter=@basic-io flock fsync\nSystemCallFilter=~flock:EPERM\n");
    assert!(!allows(&reach, "flock", [0; 6]) && allows(&reach, "fsync", [0; 6]));
    let reach = unit("SystemCallFilter=@basic-io flock:EPERM\n");
    assert!(!allows(&reach, "flock", [0; 6]));
    // A unit without a filter denies nothing, so it gets what every computation needs.
    let reach = unit("LockPersonality=yes\nRestrictRealtime=yes\n");
    assert!(
        allows(&reach, "brk", [0; 6])
            && !allows(&reach, "personality", [0xffff_ffff, 0, 0, 0, 0, 0])
    );
}

#[test]
fn a_list_goes_on_across_comments_and_carriage_returns() {
    let reach =
        unit("SystemCallFilter=read write \\\n# no flock here, see ticket 12\n  fallocate\n");
    assert!(allows(&reach, "fallocate", [0; 6]) && !allows(&reach, "flock", [0; 6]));
    let reach = imported(
        Format::Systemd,
        "[Service]\r\nSystemCallFilter=read write \\\r\n  fallocate\r\nMemoryMax=64M\r\n",
    );
    assert!(allows(&reach, "fallocate", [0; 6]) && reach.text.contains("memory = \"64MiB\""));
}

#[test]
fn nothing_between_a_unit_and_the_network_is_passed_over() {
    for lines in [
        "IPAddressDeny=any\n",
        "PrivateNetwork=yes\n",
        "RestrictAddressFamilies=AF_UNIX\n",
    ] {
        let reach = unit(&format!("SocketBindAllow=tcp:8080\n{lines}"));
        assert!(
            !allows(&reach, "socket", [2, 1, 0, 0, 0, 0]),
            "{lines}{}",
            reach.text
        );
    }
    let reach = unit(
        "SocketBindAllow=tcp:8080\nSystemCallFilter=@system-service\nRestrictAddressFamilies=AF_INET\n",
    );
    assert!(
        allows(&reach, "socket", [2, 1, 0, 0, 0, 0])
            && !allows(&reach, "socket", [10, 1, 0, 0, 0, 0])
    );
}

#[test]
fn one_of_several_filters_of_firecrackers_is_named() {
    let text = r#"{
        "vmm": {"default_action": "trap", "filter_action": "allow", "filter": [{"syscall": "flock"}]},
        "vcpu": {"mismatch_action": {"errno": 1}, "match_action": "allow", "filter": [
            {"syscall": "fsync", "comment": "x"},
            {"syscall": "ioctl", "args": [{"index": 1, "type": "dword", "op": "eq", "val": 21505, "comment": "TCGETS"}]},
            {"syscall": "lseek"}, {"syscall": "lseek", "args": [{"index": 2, "type": "dword", "op": "le", "val": 1}]}]}
    }"#;
    let run = |filter| {
        import(&Input {
            format: Format::Seccompiler,
            name: "x",
            text,
            filter,
            include: &|_| Err(String::new()),
        })
    };
    assert!(run(None).unwrap_err().contains("vcpu, vmm"));
    assert!(run(Some("api")).unwrap_err().contains("no filter `api`"));
    let reach = Reach::of(&run(Some("vcpu")).unwrap().text);
    assert!(allows(&reach, "fsync", [0; 6]) && !allows(&reach, "flock", [0; 6]));
    assert!(
        allows(&reach, "ioctl", [0, 21505, 0, 0, 0, 0])
            && !allows(&reach, "ioctl", [0, 21506, 0, 0, 0, 0])
    );
    assert!(
        allows(&reach, "lseek", [0, 0, 1, 0, 0, 0]) && !allows(&reach, "lseek", [0, 0, 2, 0, 0, 0])
    );
    has(&reach, &["on_violation = \"errno:EPERM\""]);
}

#[test]
fn every_built_in_policy_is_exported_and_comes_back_no_wider() {
    for name in ["pure", "parser", "worker", "file-reader"] {
        let policy = Policy::builtin(name).unwrap();
        let own = Reach::of(&format!("format = 1\nextends = [\"{name}\"]\n"));
        for (arch, target) in [
            (Arch::X86_64, seccompiler::TargetArch::x86_64),
            (Arch::Aarch64, seccompiler::TargetArch::aarch64),
        ] {
            let exported = policy.seccompiler_json(arch);
            seccompiler::compile_from_json(exported.text.as_bytes(), target)
                .unwrap_or_else(|error| panic!("{name}: {error}\n{}", exported.text));
            assert!(
                exported.notes.iter().all(|note| note.contains("own id")),
                "{:?}",
                exported.notes
            );
            let back = imported(Format::Seccompiler, &exported.text);
            for (name, args, may) in [
                ("brk", [0; 6], true),
                ("mmap", [0, 4096, 3, 0x22, 0, 0], true),
                ("mmap", [0, 4096, 7, 0x22, 0, 0], false),
                ("madvise", [0, 0, 4, 0, 0, 0], true),
                ("madvise", [0, 0, 100, 0, 0, 0], false),
                ("ptrace", [0; 6], false),
            ] {
                assert_eq!(back.allows(arch, call(name), args), may, "{name} {args:?}");
                assert_eq!(own.allows(arch, call(name), args), may, "{name} {args:?}");
            }
        }
    }
}

#[test]
fn whatever_is_imported_is_a_policy_and_stays_in_its_comments() {
    let hostile = "read: 1\nx\u{2028}\u{202e}[capabilities]: 1\nwrite\r[capabilities]\rkeep = [\"*\"]: 1\nopen: arg0 == \"]\nallow = [\"@all\"]\n";
    let text = try_import(Format::Minijail, hostile).unwrap().text;
    assert!(
        !text.contains('\u{2028}') && !text.contains('\r') && !text.contains('\u{202e}'),
        "{text:?}"
    );
    // A cheap generator: what is wrong with it is at least the same every time.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % most as u64) as usize
    };
    let seeds = [
        (Format::Oci, PROFILE),
        (
            Format::Minijail,
            "mmap: { arg2 in PROT_READ|PROT_WRITE && arg3 == 0x22; return EPERM, 1 }\nread[arch=arm]: 1\n",
        ),
        (
            Format::Systemd,
            "[Service]\nSystemCallFilter=~@debug read:EPERM\nReadOnlyPaths=/a \"/b\"\nMemoryMax=1G\nRuntimeMaxSec=1min\n",
        ),
        (
            Format::SecurityProfiles,
            "kind: SeccompProfile\nspec:\n  defaultAction: SCMP_ACT_KILL\n  syscalls:\n  - names: [flock]\n    action: SCMP_ACT_ALLOW\n",
        ),
        (
            Format::Seccompiler,
            r#"{"x": {"mismatch_action": "trap", "match_action": "allow", "filter": [{"syscall": "ioctl", "args": [{"index": 1, "type": "dword", "op": {"masked_eq": 7}, "val": 5}]}]}}"#,
        ),
    ];
    let mut read = 0;
    for _ in 0..300 {
        let (format, seed) = seeds[next(seeds.len())];
        let mut bytes = seed.as_bytes().to_vec();
        for _ in 0..=next(6) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = next(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => {
                    let piece: Vec<u8> = bytes[at..(at + 12).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        if let Ok(imported) = try_import(format, &String::from_utf8_lossy(&bytes)) {
            read += 1;
            Policy::from_toml(&BuiltinOnly, "imported", &imported.text)
                .unwrap_or_else(|report| panic!("{report}\n{}", imported.text));
        }
    }
    assert!(read > 50, "{read}");
}
