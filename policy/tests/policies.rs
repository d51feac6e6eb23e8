//! Policies as a whole: a policy narrows and never widens, and it is stored and read back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crossmist_policy::bpf::interpret::{Call, answer};
use crossmist_policy::bpf::{Action, OWN_PID_PLACEHOLDER, TRAP_VIOLATION};
use crossmist_policy::{
    Arch, BuiltinOnly, Compiled, NarrowError, Policy, Report, kernel_tree, syscalls,
};
use proptest::prelude::*;

fn from_text(text: &str) -> Result<Policy, Report> {
    Policy::from_toml(&BuiltinOnly, "text", &format!("format = 1\n{text}"))
}

fn compiled(text: &str) -> Compiled {
    let policy = from_text(text).unwrap_or_else(|report| panic!("{report}"));
    policy.compile().unwrap()
}

fn act(compiled: &Compiled, name: &str, args: [u64; 6]) -> Action {
    let number = syscalls::find(name)
        .and_then(|call| call.number(Arch::X86_64))
        .unwrap();
    let program = compiled.program(Arch::X86_64).unwrap();
    answer(&program.code, &Call::new(Arch::X86_64, number, args))
}

const VIOLATION: Action = Action::Trap(TRAP_VIOLATION);
const THREAD: [u64; 6] = [0x3d_0f00, 0, 0, 0, 0, 0];

#[test]
fn narrowing_takes_effect_and_widening_is_refused_with_both_values() {
    let parser = Policy::builtin("parser").unwrap();
    let narrow = parser.narrow(&[
        ("wall_time", "2s"),
        ("memory", "64MiB"),
        ("message_fds", "0"),
    ]);
    let narrow = narrow.unwrap().compile().unwrap();
    assert_eq!(narrow.limits.wall_time.unwrap().as_secs(), 2);
    assert_eq!(narrow.limits.memory, Some(64 << 20));
    assert_eq!(narrow.channel.message_fds, 0);
    let error = parser.narrow(&[("wall_time", "61s")]).unwrap_err();
    let widens = |policy: &str, asked: &str| NarrowError::Widens {
        key: "wall_time".into(),
        policy: policy.into(),
        asked: asked.into(),
        can_be_raised: true,
    };
    assert_eq!(error, widens("1min", "61s"));
    // What it proposes works, and nothing else is proposed.
    assert!(
        error
            .to_string()
            .ends_with("raise it: `raise(wall_time = \"61s\")`")
    );
    assert!(parser.raise(&[("wall_time", "61s")]).is_ok());
    assert_eq!(
        parser.narrow(&[("wall_time", "none")]).unwrap_err(),
        widens("1min", "none")
    );
    for widening in [
        ("dumpable", "true"),
        ("deny_write_execute", "false"),
        ("user", "same"),
    ] {
        let error = parser.narrow(&[widening]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with("write a policy that extends this one"),
            "{text}"
        );
        assert!(
            matches!(
                error,
                NarrowError::Widens {
                    can_be_raised: false,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn tracing_is_turned_on_and_off_where_a_policy_is_used() {
    let parser = Policy::builtin("parser").unwrap();
    let traces = |policy: &Policy| policy.clone().compile().unwrap().process.trace_denials;
    let traced = parser.narrow(&[("trace_denials", "true")]).unwrap();
    let quiet = traced.narrow(&[("trace_denials", "false")]).unwrap();
    assert_eq!([&parser, &traced, &quiet].map(traces), [false, true, false]);
}

#[test]
fn what_cannot_be_narrowed_is_said() {
    let parser = Policy::builtin("parser").unwrap();
    let error = |key, value| parser.narrow(&[(key, value)]).unwrap_err();
    let unknown = NarrowError::UnknownKey {
        key: "memroy".into(),
        near: Some("memory"),
    };
    assert_eq!(error("memroy", "1MiB"), unknown);
    assert!(matches!(
        error("nested", "false"),
        NarrowError::UnknownKey { .. }
    ));
    assert!(matches!(error("memory", "1"), NarrowError::BadValue { .. }));
    assert_eq!(
        error("deny", "madvize").to_string(),
        "`deny`: unknown system call `madvize`; did you mean `madvise`?"
    );
}

#[test]
fn no_threads_and_denied_calls_are_in_the_filter() {
    let parser = Policy::builtin("parser").unwrap();
    let wide = parser.compile().unwrap();
    let narrow = parser.narrow(&[("threads", "0"), ("deny", "madvise"), ("deny", "@clock")]);
    let narrow = narrow.unwrap().compile().unwrap();
    assert_eq!(act(&wide, "clone", THREAD), Action::Allow);
    assert_eq!(act(&narrow, "clone", THREAD), Action::Errno(11));
    for call in ["madvise", "clock_gettime", "nanosleep"] {
        assert_eq!(act(&wide, call, [0; 6]), Action::Allow, "{call}");
        assert_eq!(act(&narrow, call, [0; 6]), VIOLATION, "{call}");
    }
}

#[test]
fn no_processes_is_in_the_filter_whatever_starts_them() {
    let start =
        "extends = ['parser']\n[syscalls]\nallow = [{ call = 'clone3', why = 'helpers' }]\n";
    let starts = compiled(&format!("{start}[limits]\nprocesses = 2"));
    assert_eq!(act(&starts, "clone3", [0; 6]), Action::Allow);
    let none = from_text(&format!("{start}[limits]\nprocesses = 2")).unwrap();
    let none = none.narrow(&[("processes", "0")]).unwrap();
    let none = none.compile().unwrap();
    // The C library falls back to `clone`, which makes threads.
    assert_eq!(act(&none, "clone3", [0; 6]), Action::Errno(38));
    assert_eq!(act(&none, "clone", THREAD), Action::Allow);

    let may_start = |policy: &Compiled| {
        let starts = Arch::ALL.map(|arch| policy.may_start_processes(Some(arch)));
        assert_eq!(starts[0], starts[1]);
        starts[0]
    };
    assert!(may_start(&starts));
    assert!(!may_start(&none));
    for name in Policy::builtin_names() {
        let policy = Policy::builtin(name).unwrap().compile().unwrap();
        assert_eq!(may_start(&policy), name == "unconfined", "{name}");
    }
    for allowed in [
        "@process",
        "fork(",
        "clone(flags == SIGCHLD)",
        "clone(flags has CLONE_VM)",
    ] {
        let (allowed, arch) = match allowed {
            "fork(" => ("fork", Some(Arch::X86_64)),
            other => (other, Some(Arch::Aarch64)),
        };
        let text = format!(
            "extends = ['parser']\n[syscalls]\nallow = [{{ call = '{allowed}', why = 'helpers' }}]\n\
             [limits]\nprocesses = 1"
        );
        assert!(compiled(&text).may_start_processes(arch), "{allowed}");
    }
    // A limit alone starts nothing.
    assert!(!may_start(&compiled(
        "extends = ['parser']\n[limits]\nprocesses = 4"
    )));
    assert!(
        none.may_start_processes(None),
        "nothing is known of its filter"
    );
}

#[test]
fn denial_is_final_for_its_condition_only() {
    let policy =
        compiled("extends = ['pure']\n[syscalls]\ndeny = ['madvise(advice == MADV_FREE)']");
    assert_eq!(act(&policy, "madvise", [0, 0, 8, 0, 0, 0]), VIOLATION);
    assert_eq!(act(&policy, "madvise", [0, 0, 4, 0, 0, 0]), Action::Allow);
    assert_eq!(
        act(&policy, "madvise", [0, 0, 99, 0, 0, 0]),
        Action::Errno(22)
    );
}

#[test]
fn replacing_drops_inherited_conditions() {
    let replaced = compiled(
        "extends = ['pure']\n[syscalls]\nreplace = ['madvise']\nallow = ['madvise(advice == 4)']",
    );
    let united = compiled("extends = ['pure']\n[syscalls]\nallow = ['madvise(advice == 77)']");
    assert_eq!(act(&replaced, "madvise", [0, 0, 4, 0, 0, 0]), Action::Allow);
    assert_eq!(
        act(&replaced, "madvise", [0, 0, 3, 0, 0, 0]),
        Action::Errno(22)
    );
    assert_eq!(act(&united, "madvise", [0, 0, 77, 0, 0, 0]), Action::Allow);
    assert_eq!(act(&united, "madvise", [0, 0, 3, 0, 0, 0]), Action::Allow);
}

#[test]
fn the_answer_to_violations_can_be_chosen() {
    let answer = |word: &str, call| {
        act(
            &compiled(&format!("[syscalls]\non_violation = '{word}'")),
            call,
            [0; 6],
        )
    };
    assert_eq!(answer("kill", "socket"), VIOLATION);
    assert_eq!(answer("kill", "ptrace"), Action::KillProcess);
    assert_eq!(answer("trap", "socket"), VIOLATION);
    assert_eq!(answer("kill-silent", "socket"), Action::KillProcess);
    assert_eq!(answer("errno:EPERM", "socket"), Action::Errno(1));
    assert_eq!(answer("errno:EPERM", "ptrace"), Action::Errno(1));
}

#[test]
fn a_policy_that_says_nothing_allows_only_life_and_the_channel() {
    let empty = compiled("");
    for call in ["read", "write", "exit_group", "gettid", "rt_sigreturn"] {
        assert_eq!(act(&empty, call, [0; 6]), Action::Allow, "{call}");
    }
    for call in ["brk", "getrandom", "lseek", "mprotect"] {
        assert_eq!(act(&empty, call, [0; 6]), VIOLATION, "{call}");
    }
    assert_eq!(empty.filesystem, Some(Vec::new()));
    assert_eq!(empty.network, Some(Vec::new()));
    assert_eq!(empty.scopes, 3);
}

#[test]
fn an_unpatched_program_lets_nobody_be_signalled() {
    let pure = Policy::builtin("pure").unwrap().compile().unwrap();
    let abort = |tgid| act(&pure, "tgkill", [tgid, 1, 6, 0, 0, 0]);
    for tgid in [0, 1, 4711, u64::MAX, u64::from(u32::MAX)] {
        assert_eq!(abort(tgid), VIOLATION, "{tgid}");
    }
    // No process has this id: the kernel takes it as a negative one and refuses.
    assert!((OWN_PID_PLACEHOLDER as i32) < 0);
    let mut patched = pure.clone();
    patched
        .programs
        .iter_mut()
        .for_each(|program| program.patch(4711));
    assert_eq!(
        act(&patched, "tgkill", [4711, 1, 6, 0, 0, 0]),
        Action::Allow
    );
    assert_eq!(act(&patched, "tgkill", [4711, 1, 31, 0, 0, 0]), VIOLATION);
}

#[test]
fn load_bearing_rights_are_found_and_relaxed_only_by_name() {
    let abi = |text: &str| compiled(text).required_abi();
    let base = "extends = ['parser']\n";
    assert_eq!(abi(&format!("{base}[filesystem]\nread = ['/etc/ssl']")), 1);
    assert_eq!(abi(&format!("{base}[filesystem]\nwrite = ['/var/tmp']")), 3);
    assert_eq!(
        abi(&format!("{base}[filesystem]\ncreate = ['/var/tmp']")),
        3
    );
    assert_eq!(abi(&format!("{base}[network]\ntcp_connect = [443]")), 4);
    assert_eq!(abi(&format!("{base}[network]\nunix = 'path'")), 6);
    assert_eq!(
        abi(&format!("{base}[filesystem]\nconnect_unix = ['/run/x']")),
        9
    );
    assert_eq!(abi(&format!("{base}[kernel]\nlandlock = 5")), 5);
    let kill = "[syscalls]\nallow = [{ call = 'kill', why = 'ends its helpers' }]";
    assert_eq!(abi(&format!("{base}{kill}")), 6);
    assert_eq!(
        abi(&format!(
            "{base}{}",
            kill.replace("'kill'", "'kill(pid == 1234)'")
        )),
        6
    );
    assert_eq!(
        abi(&format!(
            "{base}{}",
            kill.replace("'kill'", "'kill(pid == self.pid)'")
        )),
        0
    );
    let open = "[syscalls]\nallow = ['openat(flags == O_WRONLY|O_TRUNC)']";
    assert_eq!(abi(&format!("{base}{open}")), 3);
    assert_eq!(abi(&format!("{base}{}", open.replace("|O_TRUNC", ""))), 1);
    let relaxed = "[[kernel.relax]]\nwhat = 'landlock-scope'\nreason = 'old kernels'";
    let relaxed = compiled(&format!("{base}{kill}\n{relaxed}"));
    assert_eq!(relaxed.required_abi(), 0);
    assert_eq!(
        relaxed.relaxed,
        [("landlock-scope".to_owned(), "old kernels".to_owned())]
    );
}

#[test]
fn variables_are_bound_to_absolute_paths_only() {
    let policy = compiled(
        "[variables]\nhome = { type = 'dir', from_env = 'HOME' }\nupload = { type = 'file', required = true }\n\
         [filesystem]\nread = ['${home}/$$x', '${upload}']",
    );
    let rules = policy.filesystem.as_ref().unwrap();
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    assert_eq!(policy.bind(&rules[0].path, &[], env).unwrap(), "/home/u/$x");
    let upload = |value| policy.bind(&rules[1].path, &[("upload", value)], env);
    assert_eq!(upload("/tmp/a.png").unwrap(), "/tmp/a.png");
    for bad in [
        "a.png",
        "",
        "/tmp/../etc",
        "/a\0b",
        "//proc",
        "/tmp//a",
        "/tmp/.",
    ] {
        assert!(upload(bad).is_err(), "{bad:?}");
    }
    // A folder may end in a slash, and the text around a value is checked together with it.
    let folder = |value: &'static str| policy.bind(&rules[0].path, &[("home", value)], env);
    assert_eq!(folder("/home/u/").unwrap(), "/home/u/$x");
    assert_eq!(folder("/").unwrap(), "/$x");
    assert_eq!(upload("/tmp/").unwrap(), "/tmp/");
    let parts = |path: &str, value| policy.bind(path, &[("upload", value)], env);
    assert_eq!(parts("/srv/a${upload}", "b/c").unwrap(), "/srv/ab/c");
    for (path, value) in [
        ("/srv/${upload}", "/etc"),
        ("/srv/${upload}/x", ""),
        ("/srv/.${upload}", ""),
        ("/srv/.${upload}${upload}", "."),
        ("/${upload}", "/proc"),
    ] {
        assert!(parts(path, value).is_err(), "{path} {value:?}");
    }
    let unbound = policy.bind(&rules[1].path, &[], env).unwrap_err();
    assert_eq!(
        unbound.to_string(),
        "the policy's variable `upload` has no value: bind it"
    );
}

#[test]
fn trees_of_the_kernels_own_are_known_by_their_paths() {
    for (path, tree) in [
        ("/proc", Some("/proc")),
        ("/proc/", Some("/proc")),
        ("/proc/self/mem", Some("/proc")),
        ("/sys/fs", Some("/sys")),
        ("/dev/mem", Some("/dev")),
        ("/", Some("/proc")),
        ("/dev/null", None),
        ("/dev/shm", None),
        ("/dev/shm/x", None),
        ("/dev/shmem", Some("/dev")),
        ("/process", None),
        ("/srv/proc", None),
    ] {
        assert_eq!(kernel_tree(path), tree, "{path}");
    }
}

#[test]
fn compiled_policies_are_read_back_the_same() {
    for name in Policy::builtin_names() {
        let compiled = Policy::builtin(name).unwrap().compile().unwrap();
        let bytes = compiled.to_bytes();
        assert_eq!(Compiled::from_bytes(&bytes).unwrap(), compiled, "{name}");
        let one = compiled.only(Arch::X86_64);
        assert!(one.program(Arch::Aarch64).is_none());
        assert!(one.to_bytes().len() < bytes.len());
    }
}

#[test]
fn bytes_that_end_early_or_late_are_refused() {
    let bytes = Policy::builtin("pure")
        .unwrap()
        .compile()
        .unwrap()
        .to_bytes();
    for length in 0..bytes.len() {
        assert!(Compiled::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    assert!(Compiled::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_bytes_are_a_policy_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = PARSER.with(Clone::clone);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(policy) = Compiled::from_bytes(&bytes) {
            prop_assert!(policy.programs.iter().all(|program| program.is_sound()));
            prop_assert_eq!(policy.to_bytes(), bytes);
        }
        prop_assert!(Compiled::from_bytes(&noise).is_err());
    }

    #[test]
    fn any_text_is_a_policy_or_a_report(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "\\PC|[\\[\\]{}=\"'().|&\n]"), 1..6),
    ) {
        let mut text: Vec<char> = include_str!("samples/good/thumbnail.toml").chars().collect();
        for (at, piece) in changes {
            let at = at.index(text.len());
            text.splice(at..=at, piece.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(report) = Policy::from_toml(&BuiltinOnly, "mutant", &text) {
            prop_assert!(!report.diagnostics().is_empty());
            prop_assert!(!report.to_string().is_empty());
        }
    }
}

thread_local! {
    static PARSER: Vec<u8> = Policy::builtin("parser").unwrap().compile().unwrap().to_bytes();
}

#[test]
fn what_can_connect_past_landlock_is_not_allowed_whole_without_a_reason() {
    for call in ["sendto", "sendmsg", "sendmmsg"] {
        let with = |entry: &str| {
            from_text(&format!(
                "extends = [\"parser\"]\n[syscalls]\nreplace = [\"{call}\"]\nallow = [{entry}]\n"
            ))
        };
        let report = with(&format!("\"{call}\"")).unwrap_err();
        assert_eq!(report.diagnostics()[0].code.as_str(), "P051", "{report}");
        // The control: with a reason, or without the flag.
        with(&format!("{{ call = \"{call}\", why = \"the test\" }}")).unwrap();
        with(&format!("\"{call}(flags lacks MSG_FASTOPEN)\"")).unwrap();
    }
}
