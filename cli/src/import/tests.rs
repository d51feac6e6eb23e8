use crossmist_policy::bpf::{Action, interpret};
use crossmist_policy::{Arch, BuiltinOnly, Policy, syscalls};

use super::{Format, import};

/// What comes out, which can always be read.
fn imported(format: Format, text: &str) -> (String, Policy) {
    let (toml, _) = import(format, "a file", text).unwrap();
    let policy = Policy::from_toml(&BuiltinOnly, "imported", &toml);
    (
        toml.clone(),
        policy.unwrap_or_else(|report| panic!("{report}\n{toml}")),
    )
}

fn allows(policy: &Policy, name: &str, args: [u64; 6]) -> bool {
    let compiled = policy.compile().unwrap();
    let number = syscalls::find(name).unwrap().number(Arch::X86_64).unwrap();
    let call = interpret::Call::new(Arch::X86_64, number, args);
    interpret::answer(&compiled.program(Arch::X86_64).unwrap().code, &call) == Action::Allow
}

const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] }],
    "syscalls": [
        { "names": ["read", "write", "mmap", "epoll_create1", "fallocate", "getsid", "oldstat", "io_uring_setup", "execve"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
        { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }], "excludes": { "caps": ["CAP_SYS_ADMIN"] } },
        { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }] },
        { "names": ["sync_file_range"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 3, "value": 7, "op": "SCMP_CMP_LE" }] },
        { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
        { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
        { "names": ["arm_fadvise64_64"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm"] } }
    ]
}"#;

#[test]
fn a_profile_of_containers_becomes_a_policy() {
    let (toml, policy) = imported(Format::Oci, PROFILE);
    assert!(allows(&policy, "getsid", [0; 6]) && allows(&policy, "epoll_create1", [0; 6]));
    // By the form that a group has, not whole.
    assert!(allows(&policy, "mmap", [0, 4096, 3, 0x22, u64::MAX, 0]));
    assert!(!allows(&policy, "mmap", [0, 4096, 7, 0x22, u64::MAX, 0]));
    assert!(
        allows(&policy, "sync_file_range", [3, 0, 0, 7, 0, 0])
            && !allows(&policy, "sync_file_range", [3, 0, 0, 8, 0, 0])
    );
    for part in [
        "# Imported from a file: review before use.",
        "# not translated: oldstat (no such call",
        "# not translated: mount (only for those who have a capability)",
        "# not translated: io_uring_setup (",
        "# not translated: execve (",
        "# not translated: personality(",
        "# not translated: arm_fadvise64_64 (only for other architectures)",
        "defaultAction SCMP_ACT_ERRNO",
    ] {
        assert!(toml.contains(part), "{part}:\n{toml}");
    }
    for forbidden in ["execve", "io_uring_setup", "mount", "ptrace", "kexec_load"] {
        assert!(!allows(&policy, forbidden, [0; 6]), "{forbidden}");
    }
    assert!(
        import(Format::Oci, "x", "{")
            .unwrap_err()
            .contains("not JSON")
    );
    assert!(
        import(Format::Oci, "x", "{}")
            .unwrap_err()
            .contains("defaultAction")
    );
}

#[test]
fn a_policy_of_minijails_becomes_one_of_ours() {
    let text = "# comment\n@include ./base.policy\nread: 1\nfallocate: allow\nmadvise: arg2 == MADV_DONTNEED || arg2 == MADV_MERGEABLE\n\
                mprotect: arg2 in ~PROT_EXEC\nmmap: arg2 in PROT_READ|PROT_WRITE && arg3 == MAP_SHARED\nsocket: arg0 == AF_UNIX; return EACCES\n\
                setpriority: return EPERM\nptrace: 1\nfoo: 1\n{getsid, getpgid}: 1\nopen: return ENOENT\nbroken\nprctl: arg0 & PR_SET_NAME\n";
    let (toml, policy) = imported(Format::Minijail, text);
    assert!(
        allows(&policy, "madvise", [0, 0, 12, 0, 0, 0])
            && !allows(&policy, "madvise", [0, 0, 100, 0, 0, 0])
    );
    assert!(
        allows(&policy, "mmap", [0, 4096, 3, 1, 3, 0])
            && !allows(&policy, "mmap", [0, 4096, 5, 1, 3, 0])
    );
    assert!(
        allows(&policy, "getsid", [0; 6])
            && allows(&policy, "getpgid", [0; 6])
            && allows(&policy, "fallocate", [0; 6])
    );
    assert!(!allows(&policy, "ptrace", [0; 6]));
    for part in [
        "EPERM = [\"setpriority\"",
        "not translated: foo (",
        "not translated: ptrace (",
        "not translated: broken",
        "@include",
    ] {
        assert!(toml.contains(part), "{part}:\n{toml}");
    }
}

#[test]
fn the_options_of_a_unit_become_a_policy() {
    let text = "[Unit]\nDescription=x\nMemoryMax=1\n[Service]\nExecStart=/bin/x\nSystemCallFilter=@basic-io @io-event \\\n  getsid fallocate\n\
                SystemCallFilter=~@debug kill:EPERM getpgid\nReadOnlyPaths=/usr/share/fonts -/etc/fonts %h/x\nReadWritePaths=/srv/spool\n\
                MemoryMax=256M\nLimitNOFILE=64:128\nRuntimeMaxSec=30s\nPassEnvironment=LANG TZ\nSocketBindAllow=ipv4:tcp:8080\n\
                CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nInaccessiblePaths=/etc/shadow\nSystemCallFilter=@nonsense\nLimitCPU=soon\n";
    let (toml, policy) = imported(Format::Systemd, text);
    assert!(
        allows(&policy, "getsid", [0; 6])
            && allows(&policy, "epoll_wait", [0; 6])
            && !allows(&policy, "getpgid", [0; 6])
    );
    assert_eq!(policy.grants_of_path("/etc/fonts/x").len(), 1);
    assert_eq!(policy.grants_of_path("/srv/spool").len(), 2);
    for part in [
        "memory = \"256MiB\"",
        "open_files = 128",
        "wall_time = \"30s\"",
        "inherit = [\"LANG\", \"TZ\"]",
        "tcp_bind = [8080]",
        "not translated: ReadOnlyPaths=%h/x",
        "not translated: InaccessiblePaths=/etc/shadow",
        "not translated: @nonsense",
        "not translated: CapabilityBoundingSet",
        "not translated: LimitCPU=soon",
    ] {
        assert!(toml.contains(part), "{part}:\n{toml}");
    }
}

#[test]
fn whatever_is_imported_is_a_policy_and_stays_in_its_comments() {
    let hostile = "read: 1\nx\u{2028}[capabilities]: 1\nwrite\r[capabilities]\rkeep = [\"*\"]: 1\nopen: arg0 == \"]\nallow = [\"@all\"]\n";
    let (toml, _) = imported(Format::Minijail, hostile);
    assert!(
        !toml.contains('\u{2028}') && !toml.contains('\r'),
        "{toml:?}"
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
        (Format::Oci, PROFILE.to_owned()),
        (
            Format::Minijail,
            "mmap: arg2 in PROT_READ|PROT_WRITE && arg3 == 0x22; return EPERM\nread: 1\n"
                .to_owned(),
        ),
        (
            Format::Systemd,
            "[Service]\nSystemCallFilter=~@debug read:EPERM\nReadOnlyPaths=/a /b\nMemoryMax=1G\n"
                .to_owned(),
        ),
    ];
    for _ in 0..300 {
        let (format, seed) = &seeds[next(seeds.len())];
        let mut bytes = seed.clone().into_bytes();
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
        let text = String::from_utf8_lossy(&bytes);
        if let Ok((toml, _)) = import(*format, "x", &text) {
            Policy::from_toml(&BuiltinOnly, "imported", &toml)
                .unwrap_or_else(|report| panic!("{report}\n{toml}"));
        }
    }
}
