use proptest::prelude::*;

use super::*;
use crate::BuiltinOnly;

mod surroundings;

fn record(call: &str, arguments: [u64; 6], path: Option<&str>) -> Record {
    Record {
        call: call.to_owned(),
        arguments,
        path: path.map(str::to_owned),
        other: None,
        exists: true,
        replaces: false,
        was_loaded: false,
        result: None,
        is_partial: false,
        port: None,
        is_udp: false,
        threads: 0,
        count: 2,
        seen_at: Some("src/x.rs:7".to_owned()),
    }
}

/// Learns from records, and reads the result back as a policy.
fn learned(base: &str, records: &[Record]) -> (Learned, Policy) {
    let learned = learn(&BuiltinOnly, base, records, 1, &[]).unwrap();
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
        "EEXIST = [\n    \"mkdir\", # 4×, first at src/x.rs:7: it changed nothing",
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

/// A call on a path, and what came of it.
fn with(call: &str, arguments: [u64; 6], path: &str, result: Outcome) -> Record {
    Record {
        exists: [Outcome::Found, Outcome::Removed].contains(&result),
        result: Some(result),
        ..record(call, arguments, Some(path))
    }
}

#[test]
fn a_call_that_changed_something_once_is_not_answered_as_if_it_never_did() {
    let found = with("mkdir", [0; 6], "/srv/a", Outcome::Found);
    // The control.
    let (tried, _) = learned("parser", std::slice::from_ref(&found));
    assert!(tried.toml.contains("EEXIST = ["), "{}", tried.toml);
    // No folder of this kind is granted, so that there is no `create`.
    for other in [
        with("mkdir", [0; 6], "/srv/new", Outcome::Created),
        Record {
            result: None,
            ..with("mkdir", [0; 6], "/srv/new", Outcome::NotThere)
        },
        // It got another error number.
        with("mkdir", [0; 6], "/srv/b/c", Outcome::NotThere),
    ] {
        let (made, _) = learned("parser", &[found.clone(), other]);
        assert!(!made.toml.contains("EEXIST = ["), "{}", made.toml);
        assert!(!made.toml.contains("create = ["), "{}", made.toml);
        assert!(made.toml.contains("it changed nothing"), "{}", made.toml);
    }
}

#[test]
fn a_folder_that_was_there_is_not_created_although_the_result_is_not_known() {
    let unknown = |path| Record {
        result: None,
        ..with("mkdir", [0; 6], path, Outcome::Found)
    };
    let (tried, _) = learned("parser", &[unknown("/srv/a/b"), unknown("/srv/c")]);
    assert!(!tried.toml.contains("create = ["), "{}", tried.toml);
    assert!(tried.toml.contains("EEXIST = ["), "{}", tried.toml);
    // Something may have been removed first, so that no answer is certain. Still, nothing was seen to be created.
    let removes = with("rmdir", [0; 6], "/srv/a", Outcome::Removed);
    let (removed, _) = learned("parser", &[unknown("/srv/a/b"), removes.clone()]);
    assert!(!removed.toml.contains("EEXIST = ["), "{}", removed.toml);
    assert!(!removed.toml.contains("\"/srv/a\""), "{}", removed.toml);
    // The controls: what was removed is elsewhere, and nothing was there.
    let (elsewhere, _) = learned("parser", &[unknown("/srv/c"), removes]);
    assert!(elsewhere.toml.contains("EEXIST = ["), "{}", elsewhere.toml);
    let new = Record {
        exists: false,
        ..unknown("/srv/c/new")
    };
    let (made, _) = learned("parser", &[new]);
    let granted = "create = [\n    \"/srv/c\", #";
    assert!(made.toml.contains(granted), "{}", made.toml);
}

#[test]
fn a_folder_that_was_there_in_one_run_only_is_created() {
    let makes = |exists, result| Record {
        exists,
        result,
        ..record("mkdir", [0; 6], Some("/srv/a/new"))
    };
    let first = makes(false, None);
    for second in [makes(true, None), makes(true, Some(Outcome::Found))] {
        for seen in [
            [first.clone(), second.clone()],
            [second.clone(), first.clone()],
        ] {
            let (made, _) = learned("parser", &seen);
            let granted = "create = [\n    \"/srv/a\", #";
            assert!(made.toml.contains(granted), "{seen:?}: {}", made.toml);
            assert!(!made.toml.contains("EEXIST = ["), "{}", made.toml);
        }
        // The control.
        let (found, _) = learned("parser", &[second.clone(), second]);
        assert!(found.toml.contains("EEXIST = ["), "{}", found.toml);
    }
}

#[test]
fn a_link_of_each_process_is_left_out_by_its_own_name() {
    let reads = |path| record("readlink", [0; 6], Some(path));
    let (own, _) = learned("parser", &[reads("/proc/self/exe")]);
    let [left] = own.left_out.as_slice() else {
        panic!("{:?}", own.left_out);
    };
    let says = "readlink /proc/self/exe: 2×, first at src/x.rs:7 (each process finds its own there";
    assert!(left.starts_with(says), "{left}");
    assert_eq!(own.granted, 0, "{}", own.toml);
    let told = denied_now(&BuiltinOnly, "parser", &[reads("/proc/self/exe")], None).unwrap();
    assert!(
        matches!(&told[..], [told] if told.contains("each process finds its own there")),
        "{told:?}"
    );
    // The control: a link that is the same to all.
    let (other, _) = learned("parser", &[reads("/srv/link")]);
    assert!(
        other.left_out[0].starts_with("[filesystem] metadata"),
        "{:?}",
        other.left_out
    );
}

#[test]
fn a_link_is_judged_by_its_own_name_and_a_move_by_both() {
    let between = |call: &str, path, other: &str, result| Record {
        other: Some(other.to_owned()),
        ..with(call, [0; 6], path, result)
    };
    for (record, folders) in [
        (
            between("link", "/srv/new/x", "/srv/old/x", Outcome::Created),
            &["/srv/new", "/srv/old"][..],
        ),
        (
            between("rename", "/srv/old/x", "/srv/new/x", Outcome::Removed),
            &["/srv/new", "/srv/old"],
        ),
        (
            between("rename", "/srv/old/x", "/srv/old/y", Outcome::Removed),
            &["/srv/old"],
        ),
    ] {
        let (learned, policy) = learned("parser", std::slice::from_ref(&record));
        let create = learned.toml.split("create = [").nth(1).unwrap();
        let create = create.split(']').next().unwrap();
        assert_eq!(create.matches("/srv").count(), folders.len(), "{create}");
        for folder in folders {
            assert!(create.contains(&format!("\"{folder}\"")), "{create}");
        }
        assert!(happens(&policy, &record));
        // One of them alone is not enough.
        if let [one, _] = folders {
            let text =
                format!("format = 1\nextends = [\"parser\"]\n[filesystem]\ncreate = [\"{one}\"]\n");
            let policy = Policy::from_toml(&BuiltinOnly, "one", &text).unwrap();
            assert!(!happens(&policy, &record));
        }
    }
    // There is something at its own name already.
    let (tried, _) = learned(
        "parser",
        &[between("link", "/srv/new/x", "/srv/old/x", Outcome::Found)],
    );
    assert!(
        tried.toml.contains("EEXIST = [\n    \"link\""),
        "{}",
        tried.toml
    );
}

#[test]
fn an_exchange_of_two_names_is_not_taken_for_nothing() {
    const RENAME_EXCHANGE: u64 = 2;
    let renames = |flags| Record {
        other: Some("/srv/b/y".to_owned()),
        ..with(
            "renameat2",
            [0, 0, 0, 0, flags, 0],
            "/srv/a/x",
            Outcome::Found,
        )
    };
    let (exchanged, _) = learned("parser", &[renames(RENAME_EXCHANGE)]);
    for folder in ["    \"/srv/a\"", "    \"/srv/b\""] {
        assert!(exchanged.toml.contains(folder), "{}", exchanged.toml);
    }
    // The control: what is still there after a move was not moved.
    let (failed, _) = learned("parser", &[renames(0)]);
    assert!(!failed.toml.contains("/srv"), "{}", failed.toml);
}

#[test]
fn what_succeeded_and_is_denied_now_is_told_of_and_what_failed_is_not() {
    const O_CREAT: u64 = 0o101;
    const O_EXCL: u64 = 0o200;
    let opens = |flags, result| with("openat", [0, 0, flags, 0, 0, 0], "/srv/out/x", result);
    let told = |record: Record| {
        denied_now(&BuiltinOnly, "parser", &[record], None)
            .unwrap()
            .len()
    };
    // An open that may create what it finds opens it.
    assert_eq!(told(opens(O_CREAT, Outcome::Found)), 1);
    assert_eq!(told(opens(O_CREAT, Outcome::Created)), 1);
    assert_eq!(told(opens(O_CREAT | O_EXCL, Outcome::Created)), 1);
    assert_eq!(told(opens(O_CREAT | O_EXCL, Outcome::Found)), 0);
    assert_eq!(told(opens(O_CREAT, Outcome::NotThere)), 0);
    let calls = |call, result| with(call, [0; 6], "/srv/out/x", result);
    assert_eq!(told(calls("mkdir", Outcome::Created)), 1);
    assert_eq!(told(calls("mkdir", Outcome::Found)), 0);
    assert_eq!(told(calls("unlink", Outcome::Removed)), 1);
    assert_eq!(told(calls("unlink", Outcome::NotThere)), 0);
    // It may have.
    let unknown = Record {
        result: None,
        ..calls("mkdir", Outcome::NotThere)
    };
    assert_eq!(told(unknown), 1);
    // The control: a policy that grants it.
    let policy = "format = 1\nextends = [\"parser\"]\n[filesystem]\nwrite = [\"/srv/out\"]\ncreate = [\"/srv/out\"]\n";
    let policy = Policy::from_toml(&BuiltinOnly, "granted", policy).unwrap();
    assert!(happens(&policy, &opens(O_CREAT, Outcome::Created)));
    assert!(happens(&policy, &calls("mkdir", Outcome::Created)));
}

#[test]
fn an_open_by_o_path_is_not_granted_and_the_notes_say_what_to_do() {
    const O_PATH: u64 = 0o10_000_000;
    let open = |flags| record("openat", [0, 0, flags, 0, 0, 0], Some("/srv/data"));
    let (named, _) = learned("parser", &[open(O_PATH)]);
    assert_eq!(named.granted, 0, "{}", named.toml);
    let [note] = named.notes.as_slice() else {
        panic!("{:?}", named.notes);
    };
    assert!(
        note.contains("O_PATH") && note.contains("/srv/data"),
        "{note}"
    );
    // The line that a person may add.
    let line = "\"openat(flags == O_RDONLY|O_PATH)\"";
    assert!(named.left_out[0].starts_with(line), "{:?}", named.left_out);
    let text = format!("format = 1\nextends = [\"parser\"]\n[syscalls]\nallow = [{line}]\n");
    let policy = Policy::from_toml(&BuiltinOnly, "allowed", &text).unwrap();
    assert!(happens(&policy, &open(O_PATH)) && !happens(&policy, &open(0)));
    assert_eq!(
        denied_now(&BuiltinOnly, "parser", &[open(O_PATH)], None)
            .unwrap()
            .len(),
        1
    );
    // The control.
    assert_eq!(learned("parser", &[open(0)]).0.granted, 1);
}

#[test]
fn what_takes_a_reason_is_left_out_as_the_line_that_a_person_completes() {
    let (learned, _) = learned("parser", &[record("fchmod", [0; 6], None)]);
    let line = "{ call = \"fchmod(mode lacks S_ISUID|S_ISGID)\", why = \"…\" }";
    assert!(
        learned.left_out[0].starts_with(line),
        "{:?}",
        learned.left_out
    );
    // It ends the function, whatever it is about.
    let told = denied_now(
        &BuiltinOnly,
        "parser",
        &[record("fchmod", [0; 6], None)],
        None,
    )
    .unwrap();
    assert!(
        matches!(&told[..], [told] if told.starts_with("fchmod: ")),
        "{told:?}"
    );
    // The control: what is answered does not.
    let answered = record("sched_getaffinity", [0; 6], None);
    assert_eq!(
        denied_now(&BuiltinOnly, "parser", &[answered], None).unwrap(),
        [""; 0]
    );
}

#[test]
fn an_answer_in_place_of_what_nothing_else_can_do_is_told_of() {
    for call in calls::NO_SUBSTITUTE {
        let record = record(call, [0; 6], None);
        let filter = calls::Filter::of(&Policy::load(&BuiltinOnly, "parser").unwrap()).unwrap();
        let told = denied_now(&BuiltinOnly, "parser", std::slice::from_ref(&record), None).unwrap();
        // Not every architecture has all of them, and some may be allowed.
        let is_denied = !matches!(filter.answer(&record), None | Some(Action::Allow));
        assert_eq!(told.len(), usize::from(is_denied), "{call}: {told:?}");
    }
    let process = record("clone", [17, 0, 0, 0, 0, 0], None);
    let told = denied_now(&BuiltinOnly, "parser", &[process], None).unwrap();
    assert!(
        matches!(&told[..], [told] if told.starts_with("clone: ")),
        "{told:?}"
    );
    // The control: a thread, which the policy allows.
    let thread = record("clone", [0x3d_0f00, 0, 0, 0, 0, 0], None);
    assert_eq!(
        denied_now(&BuiltinOnly, "parser", &[thread], None).unwrap(),
        [""; 0]
    );
}

#[test]
fn a_result_that_is_not_known_is_not_made_up_for_by_another() {
    use Outcome::{Created, Found, NotThere, Removed};
    for (first, second, together) in [
        (None, Some(Found), None),
        (None, None, None),
        (None, Some(Created), Some(Created)),
        (Some(Removed), None, Some(Removed)),
        (Some(Found), Some(Created), Some(Created)),
        (Some(NotThere), Some(NotThere), Some(NotThere)),
    ] {
        assert_eq!(Outcome::together(first, second), together);
        assert_eq!(Outcome::together(second, first), together);
    }
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
fn what_something_else_has_done_meanwhile_is_not_taken_for_the_calls_own() {
    let unlinks = with("unlink", [0; 6], "/srv/out/x", Outcome::Created);
    let makes = with("mkdir", [0; 6], "/srv/out/y", Outcome::Removed);
    assert_eq!(created(&[unlinks.clone(), makes.clone()]), [""; 0]);
    for record in [&unlinks, &makes] {
        assert_eq!(record.has_changed(), None, "{record:?}");
    }
    // The control.
    let own = with("mkdir", [0; 6], "/srv/out/y", Outcome::Created);
    assert_eq!(created(std::slice::from_ref(&own)), ["/srv/out/y"]);
    assert_eq!(own.has_changed(), Some(true));
}

#[test]
fn a_file_that_another_takes_the_place_of_is_granted_by_its_own_name() {
    let open = record("openat", [0; 6], Some("/srv/app/state"));
    let moves = |replaces| Record {
        other: Some("/srv/app/state".to_owned()),
        replaces,
        ..with("rename", [0; 6], "/srv/app/.state", Outcome::Removed)
    };
    let read = |seen: &[Record]| {
        let (learned, _) = learned("parser", seen);
        let read = learned.toml.split("read = [").nth(1).unwrap();
        read.split(']').next().unwrap().to_owned()
    };
    assert!(read(&[open.clone(), moves(true)]).contains("\"/srv/app/state\""));
    // The control: it was made by the move.
    assert!(read(&[open.clone(), moves(false)]).contains("\"/srv/app\""));
    // It was made in one of the runs.
    assert!(read(&[open, moves(true), moves(false)]).contains("\"/srv/app\""));
}

#[test]
fn no_home_is_opened_as_a_whole() {
    let creates = |path| with("openat", [0, 0, 0o101, 0, 0, 0], path, Outcome::Created);
    let (home, policy) = learned("parser", &[creates("/home/ada/out.txt")]);
    assert_eq!(home.granted, 0, "{}", home.toml);
    assert!(
        home.toml.contains("too much of the machine"),
        "{}",
        home.toml
    );
    assert!(policy.grants_of_path("/home/ada/.ssh/id").is_empty());
    let files = ["/home/ada/1", "/home/ada/2", "/home/ada/3", "/home/ada/4"];
    let opens = files.map(|path| record("openat", [0; 6], Some(path)));
    let (_, policy) = learned("parser", &opens);
    assert!(policy.grants_of_path("/home/ada/.ssh/id").is_empty());
    assert_eq!(policy.grants_of_path("/home/ada/1").len(), 1);
    // The control.
    let (inside, _) = learned("parser", &[creates("/home/ada/out/text")]);
    assert!(inside.toml.contains("create = [\n    \"/home/ada/out\""));
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

#[test]
fn a_library_is_code_if_it_is_mapped_as_code_and_else_a_file_like_any_other() {
    const ELF: &str = "/usr/lib/x86_64-linux-gnu/libz.so.1.3";
    const CONVERTER: &str = "/usr/lib/x86_64-linux-gnu/gconv/EBCDIC-US.so";
    let open = |path: &str| record("openat", [0, 0, 0o2_000_000, 0, 0, 0], Some(path));
    let maps = |path: &str| Record {
        path: Some(path.to_owned()),
        ..code_from_a_file()
    };
    let was_loaded = |path: &str| Record {
        was_loaded: true,
        ..open(path)
    };
    for path in [ELF, CONVERTER] {
        for (seen, is_data) in [
            (vec![open(path)], true),
            (vec![open(path), maps("/opt/app/jpeg.so")], true),
            (vec![open(path), maps(path)], false),
            // Which file is not known.
            (vec![open(path), code_from_a_file()], false),
        ] {
            let (learned, policy) = learned("parser", &seen);
            let granted = policy.grants_of_path(path).len();
            assert_eq!(granted, usize::from(is_data), "{seen:?}: {}", learned.toml);
            let note = learned.notes.iter().find(|note| note.contains(path));
            assert_eq!(note.is_none(), is_data, "{seen:?}: {:?}", learned.notes);
            let told = denied_now(&BuiltinOnly, "parser", &seen, None).unwrap();
            let is_told = told.iter().any(|told| told.contains(path));
            assert_eq!(is_told, is_data, "{seen:?}: {told:?}");
        }
    }
    // What isn't recorded may be that it was loaded.
    let partial = Record {
        is_partial: true,
        ..open(ELF)
    };
    assert_eq!(learned("parser", &[partial]).0.granted, 0);
    // Who writes it decides what other processes do.
    let for_both = record("openat", [0, 0, 0o2_000_002, 0, 0, 0], Some(ELF));
    let (both, policy) = learned("parser", &[for_both]);
    let granted = policy.grants_of_path(ELF);
    let granted: Vec<_> = granted.iter().map(|grant| grant.what.as_str()).collect();
    assert_eq!(granted, ["read"], "{}", both.toml);
    let left = format!("write {ELF}: ");
    let is_left = both.left_out.iter().any(|line| line.starts_with(&left));
    assert!(is_left, "{:?}", both.left_out);
    // A backtrace reads what the process has loaded.
    assert_eq!(learned("parser", &[was_loaded(ELF)]).0.granted, 0);
    let told = |record| denied_now(&BuiltinOnly, "parser", &[record], None).unwrap();
    assert_eq!(told(was_loaded(ELF)), [""; 0]);
    assert_eq!(told(open(ELF)).len(), 1);
    // What the loader opens besides, and where debuggers look, is left out as ever.
    for path in ["/etc/ld.so.cache", "/usr/lib/debug/libz.so.1.debug"] {
        for seen in [vec![open(path)], vec![open(path), maps(ELF)]] {
            assert_eq!(learned("parser", &seen).0.granted, 0, "{path}");
        }
    }
    // One run has read it before it was loaded.
    assert_eq!(
        learned("parser", &[was_loaded(ELF), open(ELF)]).0.granted,
        1
    );
}

#[test]
fn a_few_libraries_that_are_read_as_data_do_not_stand_for_all() {
    let open = |path: String| record("openat", [0, 0, 0o2_000_000, 0, 0, 0], Some(&path));
    for (folder, is_whole) in [
        ("/lib64", false),
        ("/usr/lib64", false),
        ("/usr/lib/x86_64-linux-gnu", false),
        ("/usr/lib/app", false),
        // The control: what lies elsewhere.
        ("/srv/app", true),
    ] {
        let read: Vec<_> = (1..=5)
            .map(|at| open(format!("{folder}/lib{at}.so.1")))
            .collect();
        let (learned, policy) = learned("parser", &read);
        let granted = |path: &str| policy.grants_of_path(&format!("{folder}/{path}")).len();
        assert_eq!(granted("lib1.so.1"), 1, "{}", learned.toml);
        let other = granted("lib6.so.1");
        assert_eq!(other, usize::from(is_whole), "{}", learned.toml);
    }
    // Nor does what lies beside them.
    let tables: Vec<_> = (1..=5)
        .map(|at| open(format!("/usr/lib/x86_64-linux-gnu/{at}.bin")))
        .collect();
    let (_, policy) = learned("parser", &tables);
    let granted = |path| policy.grants_of_path(path).len();
    assert_eq!(granted("/usr/lib/x86_64-linux-gnu/1.bin"), 1);
    assert_eq!(granted("/usr/lib/x86_64-linux-gnu/libc.so.6"), 0);
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
            other: exists.then(|| format!("/other/{port:?}")),
            exists,
            replaces: is_udp,
            was_loaded: small,
            is_partial: exists,
            result: [None, Some(Outcome::NotThere), Some(Outcome::Found), Some(Outcome::Created)][count],
            port,
            is_udp,
            threads: 0,
            count: 1,
            seen_at: Some(from),
        }).collect();
        for base in ["pure", "parser", "network-client"] {
            learned(base, &records);
        }
    }
}

#[test]
fn what_a_file_was_moved_to_counts_as_created() {
    let moved = Record {
        other: Some("/srv/out/x".to_owned()),
        ..with("rename", [0; 6], "/srv/out/x.new", Outcome::Removed)
    };
    let linked = Record {
        other: Some("/srv/out/x".to_owned()),
        ..with("link", [0; 6], "/srv/out/y", Outcome::Created)
    };
    let created_by = |records: &[Record]| created(records).join(" ");
    assert_eq!(
        created_by(&[moved.clone(), linked]),
        "/srv/out/x /srv/out/y"
    );
    // The control: it took the place of a file that was there.
    let replaced = Record {
        replaces: true,
        ..moved
    };
    assert_eq!(created_by(&[replaced]), "");
}

#[test]
fn an_expectation_names_its_constants() {
    let (learned, _) = learned("pure", &[record("mmap", [0, 0, 1, 2, 0, 0], None)]);
    assert!(
        learned.expected[0].contains("mmap(NULL, 0, PROT_READ, MAP_PRIVATE)"),
        "{:?}",
        learned.expected
    );
}
