use proptest::prelude::*;

use super::*;
use crate::BuiltinOnly;

fn record(call: &str, arguments: [u64; 6], path: Option<&str>) -> Record {
    Record {
        call: call.to_owned(),
        arguments,
        path: path.map(str::to_owned),
        exists: true,
        result: None,
        port: None,
        is_udp: false,
        count: 2,
        seen_at: Some("src/x.rs:7".to_owned()),
    }
}

/// Learns from records, and reads the result back as a policy.
fn learned(base: &str, records: &[Record]) -> (Learned, Policy) {
    let learned = learn(&BuiltinOnly, base, records, 1).unwrap();
    let policy = Policy::from_toml(&BuiltinOnly, "learned", &learned.toml);
    let policy = policy.unwrap_or_else(|report| panic!("{report}\n{}", learned.toml));
    (learned, policy)
}

#[test]
fn what_is_allowed_is_not_said_again() {
    let seen = [
        record("getpid", [0; 6], None),
        record("clone", [0x3d0f00, 0, 0, 0, 0, 0], None),
    ];
    assert_eq!(learned("parser", &seen).0.granted, 0);
    let (pure, _) = learned("pure", &seen);
    assert!(
        pure.toml
            .contains("\"@threads\", # 2×, first at src/x.rs:7"),
        "{}",
        pure.toml
    );
    assert!(pure.toml.contains("threads = 16"), "{}", pure.toml);
}

#[test]
fn a_call_is_allowed_with_the_arguments_that_were_seen() {
    let seen = [
        record("prctl", [29, 0, 0, 0, 0, 0], None),
        record("fallocate", [0; 6], None),
    ];
    let (learned, policy) = learned("parser", &seen);
    assert!(
        learned
            .toml
            .contains("\"prctl(option == PR_SET_TIMERSLACK)\""),
        "{}",
        learned.toml
    );
    let compiled = policy.compile().unwrap();
    let answer = |option| {
        let number = crate::syscalls::find("prctl")
            .unwrap()
            .number(Arch::X86_64)
            .unwrap();
        let call = crate::bpf::interpret::Call::new(Arch::X86_64, number, [option, 0, 0, 0, 0, 0]);
        crate::bpf::interpret::answer(&compiled.program(Arch::X86_64).unwrap().code, &call)
    };
    assert_eq!(answer(29), Action::Allow);
    assert_ne!(answer(4), Action::Allow);
}

#[test]
fn most_of_a_group_is_the_group() {
    let names = [
        "epoll_create1",
        "epoll_ctl",
        "epoll_wait",
        "eventfd2",
        "timerfd_create",
        "timerfd_settime",
        "pselect6",
        "epoll_pwait",
        "epoll_create",
        "timerfd_gettime",
        "select",
    ];
    let seen: Vec<_> = names
        .iter()
        .map(|name| record(name, [0; 6], None))
        .collect();
    let (learned, _) = learned("parser", &seen);
    assert!(learned.toml.contains("\"@poll\""), "{}", learned.toml);
    assert_eq!(learned.granted, 1, "{}", learned.toml);
    let (few, _) = self::learned("parser", &seen[..2]);
    assert!(
        few.toml.contains("\"epoll_create1(flags == 0)\"") && !few.toml.contains("@poll"),
        "{}",
        few.toml
    );
}

#[test]
fn paths_are_granted_with_care() {
    let open = |path: &str| record("openat", [0, 0, 0o2_000_000, 0, 0, 0], Some(path));
    let mut seen = vec![
        open("/usr/share/zoneinfo/Europe/Vienna"),
        open("/proc/self/cgroup"),
        open("/etc/app.conf"),
        open("/srv/data/1.txt"),
        open("/srv/data/2.txt"),
        open("/srv/data/3.txt"),
        open("/srv/data/4.txt"),
        open("/etc/a"),
        open("/etc/b"),
        open("/etc/c"),
        open("/etc/d"),
        open("/var/cache/app/0123456789abcdef/x"),
        open("/evil\"\nallow = [\"@all\"]"),
    ];
    seen.push(Record {
        exists: false,
        ..open("/home/x/.config")
    });
    seen.push(record(
        "openat",
        [0, 0, 0o1101, 0, 0, 0],
        Some("/proc/self/mem"),
    ));
    seen.push(Record {
        exists: false,
        ..record("openat", [0, 0, 0o101, 0, 0, 0], Some("/srv/out/new"))
    });
    let (learned, policy) = learned("parser", &seen);
    for line in [
        "\"/usr/share/zoneinfo\"",
        "\"/etc/app.conf\"",
        "\"/srv/data\", # 4 things in it",
        "\"/etc/a\"",
        "\"/var/cache/app\"",
        // A file that isn't there yet is in a folder that is.
        "create = [\n    \"/srv/out\"",
        "write = [\n    \"/srv/out\"",
        "file_size = \"16MiB\"",
        "#   read /proc/self/cgroup: 2×",
        "(tried, and not there)",
        "DANGEROUS: writing there",
    ] {
        assert!(learned.toml.contains(line), "{line}:\n{}", learned.toml);
    }
    assert!(!learned.toml.contains("\n    \"/etc\","));
    assert!(
        !learned
            .toml
            .lines()
            .any(|line| line.starts_with("allow = [\"@all"))
    );
    assert!(policy.grants_of_path("/srv/data/5.txt").len() == 1);
    assert!(policy.grants_of_path("/proc/self/mem").is_empty());
}

#[test]
fn what_changed_nothing_gets_the_same_answer_without_a_grant() {
    let with = |call: &str, arguments, path, exists, result| Record {
        exists,
        result: Some(result),
        ..record(call, arguments, Some(path))
    };
    let creates = [0, 0, 0o101, 0, 0, 0];
    let seen = [
        with("mkdir", [0; 6], "/srv/a", true, Outcome::Found),
        with("mkdir", [0; 6], "/srv/b", true, Outcome::Found),
        with("unlink", [0; 6], "/srv/a/x", false, Outcome::NotThere),
        with("openat", creates, "/nowhere/x", false, Outcome::NotThere),
    ];
    let (tried, policy) = learned("parser", &seen);
    for line in [
        "[syscalls.errno]",
        "EEXIST = [\n    \"mkdir\", # 2×, first at src/x.rs:7: it changed nothing",
        "ENOENT = [\n    \"unlink\", #",
        "(tried, and nothing was created)",
    ] {
        assert!(tried.toml.contains(line), "{line}:\n{}", tried.toml);
    }
    assert_eq!(tried.granted, 2, "{}", tried.toml);
    assert!(policy.grants_of_path("/srv/a/x").is_empty());
    // The control: the same calls, and they did change something.
    let changed = [
        with("mkdir", [0; 6], "/srv/a/new", false, Outcome::Created),
        with("unlink", [0; 6], "/srv/b/x", true, Outcome::Removed),
        with("openat", creates, "/srv/c/x", false, Outcome::Created),
        with("unlink", [0; 6], "/srv/a/x", false, Outcome::NotThere),
    ];
    let (made, policy) = learned("parser", &changed);
    let create = made.toml.split("create = [").nth(1).unwrap();
    for folder in ["\"/srv/a\"", "\"/srv/b\"", "\"/srv/c\""] {
        assert!(create.contains(folder), "{folder}: {}", made.toml);
    }
    assert!(!made.toml.contains("syscalls.errno"), "{}", made.toml);
    assert!(!policy.grants_of_path("/srv/c/x").is_empty());
}

#[test]
fn a_file_that_one_run_creates_and_the_next_finds_is_created() {
    let creates = |exists, result| Record {
        exists,
        result: Some(result),
        ..record("openat", [0, 0, 0o101, 0, 0, 0], Some("/srv/out/new"))
    };
    let seen = [
        creates(false, Outcome::Created),
        creates(true, Outcome::Found),
    ];
    let (learned, _) = learned("parser", &seen);
    assert!(
        learned.toml.contains("create = [\n    \"/srv/out\""),
        "{}",
        learned.toml
    );
}

#[test]
fn what_a_run_creates_is_not_granted_by_its_own_name() {
    let with = |call: &str, flags, path, exists, result| Record {
        exists,
        result: Some(result),
        ..record(call, [0, 0, flags, 0, 0, 0], Some(path))
    };
    let seen = [
        with("mkdir", 0, "/srv/out/new", false, Outcome::Created),
        with(
            "openat",
            0o1101,
            "/srv/out/new/text",
            false,
            Outcome::Created,
        ),
        with("openat", 0, "/srv/out/new/text", true, Outcome::Found),
        with("unlink", 0, "/srv/out/new/text", true, Outcome::Removed),
        with("rmdir", 0, "/srv/out/new", true, Outcome::Removed),
    ];
    let (learned, policy) = learned("parser", &seen);
    // It isn't there when the policy is used.
    assert!(!learned.toml.contains("/srv/out/new"), "{}", learned.toml);
    for key in ["read", "write", "create"] {
        let line = format!("{key} = [\n    \"/srv/out\", #");
        assert!(learned.toml.contains(&line), "{key}: {}", learned.toml);
    }
    for record in &seen {
        assert!(happens(&policy, record), "{record:?}");
    }
}

#[test]
fn for_what_is_loaded_as_code_the_notes_say_what_to_do_instead() {
    let open = |path: &str| record("openat", [0, 0, 0o2_000_000, 0, 0, 0], Some(path));
    for (path, says) in [
        ("/usr/lib/x86_64-linux-gnu/gconv/ISO8859-2.so", "preload"),
        (
            "/usr/lib/x86_64-linux-gnu/libnss_dns.so.2",
            "in the program",
        ),
        ("/etc/nsswitch.conf", "in the program"),
        ("/opt/app/plugins/jpeg.so", "preload"),
    ] {
        let (learned, _) = learned("parser", &[open(path), code_from_a_file()]);
        let [note] = learned.notes.as_slice() else {
            panic!("{path}: {:?}", learned.notes);
        };
        assert!(note.contains(says) && note.contains(path), "{note}");
        assert!(
            learned.toml.contains(&format!("# {note}")),
            "{}",
            learned.toml
        );
    }
    assert!(
        learned("parser", &[open("/etc/app.conf"), code_from_a_file()])
            .0
            .notes
            .is_empty()
    );
}

/// A file's contents become executable.
fn code_from_a_file() -> Record {
    record("mmap", [0, 0, 5, 0x812, 0, 0], None)
}

#[test]
fn a_library_that_is_only_looked_at_is_not_called_loaded() {
    const LIBRARY: &str = "/opt/app/plugins/jpeg.so";
    let open = |path: &str| record("openat", [0, 0, 0o2_000_000, 0, 0, 0], Some(path));
    let notes = |seen: &[Record]| learned("parser", seen).0.notes;
    // The control.
    assert_eq!(notes(&[open(LIBRARY), code_from_a_file()]).len(), 1);
    let jit = record("mmap", [0, 0, 5, 0x22, 0, 0], None);
    let stat = record("newfstatat", [0; 6], Some(LIBRARY));
    for seen in [
        // A backtrace reads it.
        vec![open(LIBRARY)],
        vec![open(LIBRARY), jit],
        vec![stat, code_from_a_file()],
        // The loader's cache.
        vec![open("/etc/ld.so.cache"), code_from_a_file()],
    ] {
        assert_eq!(notes(&seen), [""; 0], "{seen:?}");
    }
}

#[test]
fn a_lookup_of_names_is_not_called_a_plugin_as_well() {
    let open = |path: &str| record("openat", [0, 0, 0o2_000_000, 0, 0, 0], Some(path));
    let (learned, _) = learned(
        "parser",
        &[
            open("/etc/nsswitch.conf"),
            open("/etc/ld.so.cache"),
            open("/usr/lib/x86_64-linux-gnu/libnss_dns.so.2"),
            open("/usr/lib/x86_64-linux-gnu/libresolv.so.2"),
            code_from_a_file(),
        ],
    );
    let [note] = learned.notes.as_slice() else {
        panic!("{:?}", learned.notes);
    };
    assert!(note.contains("in the program"), "{note}");
}

#[test]
fn what_is_dangerous_is_for_a_person_to_allow() {
    let seen = [
        record("ptrace", [0; 6], None),
        record("execve", [0; 6], Some("/bin/sh")),
        record("mmap", [0, 0, 5, 0x22, 0, 0], None),
        record("clone", [17, 0, 0, 0, 0, 0], None),
        record("statx", [0; 6], Some("/etc/x")),
    ];
    let (learned, _) = learned("parser", &seen);
    assert_eq!(learned.granted, 0, "{}", learned.toml);
    assert_eq!(learned.left_out.len(), 5, "{:#?}", learned.left_out);
    let connects = [
        Record {
            port: Some(443),
            ..record("connect", [0; 6], None)
        },
        record("socket", [2, 1, 0, 0, 0, 0], None),
    ];
    let (learned, _) = self::learned("parser", &connects);
    assert!(
        learned.toml.contains("tcp_connect = [\n    443, # 2×"),
        "{}",
        learned.toml
    );
}

#[test]
fn ports_of_datagrams_are_ports_of_udp() {
    let with_port = |call: &str, port, is_udp| Record {
        port: Some(port),
        is_udp,
        ..record(call, [0; 6], None)
    };
    let seen = [
        record("socket", [2, 2 | 0x8_0000, 0, 0, 0, 0], None),
        record("bind", [0; 6], None),
        with_port("connect", 53, true),
        with_port("sendto", 123, true),
        with_port("bind", 5353, true),
        with_port("connect", 443, false),
        record("recvfrom", [0; 6], None),
    ];
    let (learned, policy) = learned("parser", &seen);
    for grant in [
        "tcp_connect = [\n    443, #",
        "udp_bind = [\n    5353, #",
        "udp_connect = [\n    53, #",
        "    123, #",
    ] {
        assert!(learned.toml.contains(grant), "{grant}: {}", learned.toml);
    }
    assert!(!learned.toml.contains("allow = ["), "{}", learned.toml);
    assert!(learned.left_out.is_empty(), "{:?}", learned.left_out);
    // What was seen is what it allows, and not the same port of the other protocol.
    for record in &seen {
        assert!(happens(&policy, record), "{record:?}");
    }
    assert!(!happens(&policy, &with_port("connect", 53, false)));
    assert!(!happens(&policy, &with_port("connect", 443, true)));
}

proptest! {
    #[test]
    fn whatever_is_recorded_becomes_a_policy(
        records in proptest::collection::vec(
            (0usize..700, any::<[u64; 6]>(), proptest::option::of(".{0,40}"), any::<bool>(), proptest::option::of(any::<u16>()), any::<bool>(), ".{0,20}", 0usize..4),
            0..12,
        ),
        small: bool,
    ) {
        let all = syscalls::all();
        let records: Vec<_> = records.into_iter().map(|(call, arguments, path, exists, port, is_udp, from, count)| Record {
            call: all.get(call).map_or("nothing", |call| call.name).to_owned(),
            arguments: if small { arguments.map(|value| value % 70) } else { arguments },
            path: path.map(|path| format!("/{path}")),
            exists,
            result: [None, Some(Outcome::NotThere), Some(Outcome::Found), Some(Outcome::Created)][count],
            port,
            is_udp,
            count: 1,
            seen_at: Some(from),
        }).collect();
        for base in ["pure", "parser", "network-client"] {
            learned(base, &records);
        }
    }
}
