//! Proposals about denied calls: tried here again, independently, for every call of the table.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use crossmist_policy::bpf::{Action, SAMPLE_PID, TRAP_EMULATE, interpret};
use crossmist_policy::overview::parse_call;
use crossmist_policy::syscalls::{self, Syscall};
use crossmist_policy::{Arch, BuiltinOnly, Compiled, Kernel, Policy};
use proptest::prelude::*;

static PARENTS: LazyLock<Vec<(&str, Policy, Compiled)>> = LazyLock::new(|| {
    let loaded = Policy::builtin_names().map(|name| {
        let policy = Policy::builtin(name).unwrap();
        let compiled = policy.compile().unwrap();
        (name, policy, compiled)
    });
    loaded.collect()
});

type Extended = Result<(Policy, Compiled), String>;

/// The parent with these lines besides. Proposals are few, so each is made once.
fn with(parent: &str, lines: &str) -> &'static Extended {
    static MADE: Mutex<BTreeMap<(String, String), &'static Extended>> = Mutex::new(BTreeMap::new());
    let key = (parent.to_owned(), lines.to_owned());
    if let Some(known) = MADE.lock().unwrap().get(&key) {
        return known;
    }
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"{parent}\"]\n{lines}\n");
    let policy = Policy::from_toml(&BuiltinOnly, "more", &text).map_err(|error| error.to_string());
    let made = policy.and_then(|policy| {
        let compiled = policy.compile().map_err(|error| error.to_string())?;
        Ok((policy, compiled))
    });
    let made: &'static Extended = Box::leak(Box::new(made));
    MADE.lock().unwrap().insert(key, made);
    made
}

/// Returns the answer of a filter to a call.
fn answer(policy: &Compiled, arch: Arch, number: u32, args: [u64; 6]) -> Action {
    let mut program = policy.program(arch).unwrap().clone();
    program.patch(SAMPLE_PID);
    interpret::answer(&program.code, &interpret::Call::new(arch, number, args))
}

const O_PATH: u64 = 0o10_000_000;

/// Calls that Landlock looks at by their path.
const BY_PATH: &[&str] = &[
    "creat",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "open",
    "openat",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "symlink",
    "symlinkat",
    "truncate",
    "unlink",
    "unlinkat",
];

/// Calls whose effects no other layer bounds, so that a line for one never comes without a word.
const WITH_CAUTION: &[&str] = &[
    "bind",
    "chmod",
    "clone",
    "connect",
    "execve",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fork",
    "fsetxattr",
    "kill",
    "lsetxattr",
    "mkdir",
    "rename",
    "sendto",
    "setxattr",
    "socket",
    "stat",
    "unlink",
    "utimensat",
    "vfork",
];

/// Checks what is said of one call, and returns whether lines were proposed.
fn check(
    (parent, policy, compiled): &(&str, Policy, Compiled),
    kernel: Option<&Kernel>,
    arch: Arch,
    call: &Syscall,
    args: [u64; 6],
    path: Option<&[u8]>,
) -> Result<bool, String> {
    let Some(number) = call.number(arch) else {
        return Ok(false);
    };
    let before = answer(compiled, arch, number, args);
    if before == Action::Allow {
        return Ok(false);
    }
    let said = compiled.explain_on(kernel, arch, number, args, path);
    let fail = |why: &str| {
        Err(format!(
            "{parent} on {arch}, {kernel:?}: {} ({args:x?}): {why}\n{said:#?}",
            call.name
        ))
    };
    if let Some(lines) = &said.answer_with {
        match with(parent, lines) {
            Ok((_, more)) if matches!(answer(more, arch, number, args), Action::Errno(_)) => {}
            Ok(_) => return fail("the answer isn't given"),
            Err(report) => return fail(report),
        }
    }
    let is_soft = matches!(before, Action::Errno(_) | Action::Trap(TRAP_EMULATE));
    let Some(lines) = &said.allow_with else {
        return match is_soft || said.instead.is_some() || said.answer_with.is_some() {
            true => Ok(false),
            false => fail("nothing is said of what to do"),
        };
    };
    let (extended, more) = match with(parent, lines) {
        Ok(made) => made,
        Err(report) => return fail(report),
    };
    if answer(more, arch, number, args) != Action::Allow {
        return fail("the lines don't allow it");
    }
    if lines.contains("0x") {
        return fail("a constant stands there in hex");
    }
    if let Some(kernel) = kernel
        && policy.check_kernel(kernel).is_ok()
        && let Err(reason) = extended.check_kernel(kernel)
    {
        return fail(&format!("not on this kernel: {reason}"));
    }
    // O_PATH names a place, which needs no right on it.
    let names = call.name == "open" && args[1] & O_PATH != 0
        || call.name == "openat" && args[2] & O_PATH != 0;
    if names && said.caution.is_none() {
        return fail("nothing speaks against it");
    }
    if BY_PATH.contains(&call.name) && !names && more.filesystem.as_ref().is_some_and(Vec::is_empty)
    {
        return fail("the filter lets it pass, and Landlock grants no path");
    }
    let creates = call.name == "open" && args[1] & 0o103 != 0 && !names
        || call.name == "openat" && args[2] & 0o103 != 0 && !names
        || ["creat", "truncate"].contains(&call.name);
    if creates && more.limits.file_size == Some(0) {
        return fail("no file may be written, since the limit on files is nothing");
    }
    let is_inet = call.name == "socket" && [2, 10].contains(&args[0]);
    if (is_inet || call.name == "bind") && more.network.as_ref().is_some_and(Vec::is_empty) {
        return fail("the filter lets it pass, and Landlock grants no port");
    }
    let becomes_code = args[2] & 4 != 0 && ["mprotect", "pkey_mprotect"].contains(&call.name)
        || args[2] & 6 == 6 && call.name == "mmap";
    if becomes_code && more.process.deny_write_execute {
        return fail("the filter lets it pass, and PR_SET_MDWE doesn't");
    }
    if call.name == "mmap" && args[2] & 2 != 0 && args[3] & 0xf != 2 {
        return fail("a lent file can be written by it");
    }
    // A thread (CLONE_THREAD) can do no more than the one that starts it.
    let is_thread = call.name == "clone" && args[0] & 0x10000 != 0;
    if WITH_CAUTION.contains(&call.name) && !is_thread && said.caution.is_none() {
        return fail("nothing speaks against it");
    }
    if !is_soft && said.caution.is_some() && said.instead.is_none() && said.answer_with.is_none() {
        return fail("nothing is offered in its place");
    }
    Ok(true)
}

/// Returns values that programs pass in an argument of this name.
fn plausible(name: &str) -> BoxedStrategy<u64> {
    let of = |values: &'static [u64]| proptest::sample::select(values).boxed();
    let small = || (0u64..40).boxed();
    match name {
        "prot" => (0u64..8).boxed(),
        "domain" => of(&[0, 1, 2, 10, 16, 17, 40]),
        "type" => of(&[1, 2, 3, 5, 0x80001, 0x80801, 0x80002, 0x80003]),
        "protocol" => of(&[0, 6, 17, 1, 0x106]),
        "level" => of(&[0, 1, 6, 17, 41, 255]),
        "dirfd" | "olddirfd" | "newdirfd" => of(&[0xffff_ff9c, 3]),
        "mode" => of(&[
            0, 0o600, 0o644, 0o755, 0o4755, 0o100_644, 0o10_600, 0o20_600,
        ]),
        "addr_len" => of(&[0, 16, 28, 110, 40]),
        "pid" | "tgid" | "pid1" => of(&[0, 1, SAMPLE_PID as u64, 77]),
        "sig" => (0u64..32).boxed(),
        "flags" => prop_oneof![
            Just(0u64),
            proptest::collection::vec(0u32..26, 1..4)
                .prop_map(|bits| bits.into_iter().fold(0, |sum, bit| sum | 1 << bit)),
            // Those of threads, of `fork`, of mappings, of files that are opened.
            of(&[
                0x3d_0f00, 17, 0x22, 0x8001, 0x1, 0x2, 0x241, 0x242, 0x8_0000, 0x9_0800, 0x21_0000
            ]),
        ]
        .boxed(),
        "request" => prop_oneof![
            of(&[0x5401, 0x5421, 0x541b, 0x5413, 0x8020_5403]),
            any::<u32>().prop_map(u64::from)
        ]
        .boxed(),
        "option" => {
            prop_oneof![(0u64..70).boxed(), of(&[0x5961_6d61, 0x5356_4d41, 0x1002])].boxed()
        }
        "op" | "cmd" | "which" | "who" | "advice" | "clockid" | "resource" | "optname" => {
            prop_oneof![small(), of(&[0x80, 0x81, 0x189, 1024, 1030, 0xffff_fffe])].boxed()
        }
        _ => of(&[0, 3, 4096, 0x7fff_1000]),
    }
}

prop_compose! {
    fn made_call()(index in 0..syscalls::all().len())(
        call in Just(&syscalls::all()[index]),
        args in syscalls::all()[index].args.iter().map(|(name, _)| plausible(name)).collect::<Vec<_>>(),
    ) -> (&'static Syscall, [u64; 6]) {
        let mut all = [0; 6];
        all.iter_mut().zip(args).for_each(|(slot, value)| *slot = value);
        (call, all)
    }
}

fn kernels() -> impl Strategy<Value = Option<Kernel>> {
    let releases = ["5.11", "5.13", "5.19", "6.1", "6.7", "6.12", "6.18", "7.1"];
    let kernels = releases.map(|release| Kernel::of_release(release).unwrap());
    proptest::option::of(proptest::sample::select(kernels.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4000)
    ))]

    #[test]
    fn what_is_proposed_allows_the_call_in_every_layer(
        parent in 0..PARENTS.len(),
        kernel in kernels(),
        arch in proptest::sample::select(Arch::ALL.to_vec()),
        (call, args) in made_call(),
        path in proptest::option::of(proptest::sample::select(vec![
            "/srv/data/x", "/etc/passwd", "/proc/self/mem", "/proc/self/status", "/dev/stdin", "/x", "/", "relative", "/a b", "/tmp/new",
        ])),
    ) {
        let path = path.map(str::as_bytes);
        if let Err(why) = check(&PARENTS[parent], kernel.as_ref(), arch, call, args, path) {
            prop_assert!(false, "{}", why);
        }
    }
}

#[test]
fn every_call_has_advice() {
    let mut wrong = Vec::new();
    let mut proposals = 0;
    // The property is about the other policies as well.
    let some = |(name, ..): &&(&str, Policy, Compiled)| ["pure", "network-client"].contains(name);
    for parent in PARENTS.iter().filter(some) {
        for call in syscalls::all() {
            for arch in Arch::ALL {
                for args in [[0; 6], [1; 6], [2, 1, 6, 0x1000, 0, 0]] {
                    match check(parent, None, arch, call, args, None) {
                        Ok(made) => proposals += usize::from(made),
                        Err(why) => wrong.push(why),
                    }
                }
            }
        }
    }
    assert!(proposals > 1000, "only {proposals}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn said(parent: &str, kernel: Option<&str>, call: &str, path: Option<&str>) -> (String, String) {
    let compiled = Policy::builtin(parent).unwrap().compile().unwrap();
    let kernel = kernel.map(|release| Kernel::of_release(release).unwrap());
    let (call, args) = parse_call(call, Arch::X86_64).unwrap();
    let number = call.number(Arch::X86_64).unwrap();
    let said = compiled.explain_on(
        kernel.as_ref(),
        Arch::X86_64,
        number,
        args,
        path.map(str::as_bytes),
    );
    let lines = |lines: Option<String>| lines.unwrap_or_else(|| "nothing".to_owned());
    let mut other = lines(said.answer_with);
    for words in [said.caution, said.instead].into_iter().flatten() {
        other.push('\n');
        other.push_str(words);
    }
    (lines(said.allow_with), other)
}

#[test]
fn what_was_proposed_wrongly_is_proposed_rightly() {
    for (parent, kernel, call, path, lines, other) in [
        // A call that makes something needs its folder.
        (
            "parser",
            None,
            "mkdir(0x1000, 0o755)",
            Some("/srv/out/a"),
            "[filesystem]\ncreate = [\"/srv/out\"]",
            "return what to create",
        ),
        (
            "file-reader",
            None,
            "openat(3, 0x1000, O_PATH|O_DIRECTORY|O_CLOEXEC)",
            Some("/srv/out"),
            "[syscalls]\nallow = [\"openat(flags == O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_PATH)\"]",
            "whether it exists",
        ),
        (
            "parser",
            None,
            "unlink(0x1000)",
            None,
            "[filesystem]\ncreate = [\"/the/folder\"]",
            "EACCES = [\"unlink\"]",
        ),
        // Memory that was written becomes code: two layers deny that.
        (
            "parser",
            None,
            "mprotect(0x1000, 4096, PROT_READ|PROT_EXEC)",
            None,
            "[process]\ndeny_write_execute = false\n[syscalls]\nallow = [{ call = \"mprotect(prot == \
             PROT_READ|PROT_EXEC)\", why = \"…\" }]",
            "can run code",
        ),
        // The language refuses netlink.
        (
            "network-client",
            None,
            "socket(AF_NETLINK, SOCK_RAW, 0)",
            None,
            "nothing",
            "resolve the name",
        ),
        (
            "network-client",
            None,
            "socket(AF_INET, SOCK_DGRAM, 0)",
            None,
            "[network]\nudp_connect = [53] # or whichever port it is",
            "resolve names",
        ),
        // A Unix socket is no port; the kernel has no right for it before 7.1, so an answer is what helps.
        (
            "worker",
            Some("6.18"),
            "connect(3, 0x1000, 110)",
            None,
            "nothing",
            "EPERM = [\"connect\"]",
        ),
        (
            "worker",
            Some("7.1"),
            "connect(3, 0x1000, 110)",
            None,
            "[filesystem]\nconnect_unix = [\"/the/socket\"]",
            "send away",
        ),
        (
            "worker",
            Some("7.1"),
            "connect(3, 0x1000, 0)",
            Some("/run/app/socket"),
            "[filesystem]\nconnect_unix = [\"/run/app/socket\"]",
            "send away",
        ),
        // The program would grant its own.
        (
            "parser",
            None,
            "openat(AT_FDCWD, 0x1000, O_RDONLY|O_CLOEXEC)",
            Some("/proc/self/status"),
            "nothing",
            "each process finds its own there",
        ),
        // What is read there leads to code, which is denied then.
        (
            "parser",
            None,
            "openat(AT_FDCWD, 0x1000, O_RDONLY)",
            Some("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache"),
            "nothing",
            "`preload`",
        ),
        (
            "parser",
            None,
            "openat(AT_FDCWD, 0x1000, O_RDONLY|O_CLOEXEC)",
            Some("/etc/nsswitch.conf"),
            "[filesystem]\nread = [\"/etc/nsswitch.conf\"]",
            "Look them up in the program",
        ),
        (
            "parser",
            Some("6.18"),
            "connect(3, 0x1000, 16)",
            None,
            "[network]\ntcp_connect = [443] # or whichever port it is",
            "pass the connected socket",
        ),
        (
            "parser",
            Some("6.1"),
            "connect(3, 0x1000, 16)",
            None,
            "nothing",
            "pass the connected socket",
        ),
        // It would let a lent file be written.
        (
            "parser",
            None,
            "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_POPULATE, 3, 0)",
            None,
            "nothing",
            "MAP_PRIVATE",
        ),
        // Nothing else bounds what they reach, so they come with words.
        (
            "parser",
            None,
            "chmod(0x1000, 0o644)",
            Some("/x"),
            "[syscalls]\nallow = [{ call = \"chmod(mode lacks S_ISUID|S_ISGID)\", why = \"…\" }]",
            "Landlock doesn't restrict it",
        ),
        (
            "parser",
            None,
            "setxattr(0x1000, 0x2000, 0x3000, 4, 0)",
            None,
            "[syscalls]\nallow = [{ call = \"setxattr(flags == 0)\", why = \"…\" }]",
            "Landlock doesn't restrict it",
        ),
        (
            "parser",
            None,
            "setuid(0)",
            None,
            "nothing",
            "no capability",
        ),
        (
            "parser",
            None,
            "chown(0x1000, 0, 0)",
            None,
            "nothing",
            "no capability",
        ),
        // By name.
        (
            "parser",
            None,
            "epoll_ctl(3, EPOLL_CTL_ADD, 4, 0x1000)",
            None,
            "[syscalls]\nallow = [\"@poll\"]",
            "nothing",
        ),
        (
            "parser",
            None,
            "setsockopt(3, IPPROTO_IP, IP_TOS, 0x1000, 4)",
            None,
            "[syscalls]\nallow = [\"setsockopt(level == IPPROTO_IP && optname == IP_TOS)\"]",
            "for everybody who has it",
        ),
        (
            "parser",
            None,
            "setsockopt(3, IPPROTO_TCP, TCP_MAXSEG, 0x1000, 4)",
            None,
            "[syscalls]\nallow = [\"setsockopt(level == IPPROTO_TCP && optname == TCP_MAXSEG)\"]",
            "for everybody who has it",
        ),
        (
            "parser",
            None,
            "ioctl(3, 0x80205403, 0)",
            None,
            "nothing",
            "kernel's headers",
        ),
        (
            "parser",
            None,
            "ptrace(0, 0, 0, 0)",
            None,
            "nothing",
            "no policy may allow it",
        ),
        (
            "parser",
            None,
            "execve(0x1000, NULL, NULL)",
            Some("/usr/bin/true"),
            "[filesystem]\nexecute = [\"/usr/bin/true\"]\n[syscalls]\nallow = [{ call = \"@exec\", why = \
             \"…\" }]",
            "start it in the program",
        ),
    ] {
        let (found, besides) = said(parent, kernel, call, path);
        assert_eq!(found, lines, "{call}");
        assert!(besides.contains(other), "{call}: {besides}");
    }
}

#[test]
fn a_call_about_paths_leads_to_the_table_of_paths() {
    let text = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[syscalls]\nallow = [\"openat\"]\n";
    let policy = Policy::from_toml(&BuiltinOnly, "opens", text).unwrap();
    let advice = policy.lint(|_| None).given;
    let advice: Vec<_> = advice
        .iter()
        .map(|advice| advice.message.as_str())
        .collect();
    assert!(
        advice
            .iter()
            .any(|advice| advice.contains("`[filesystem] read` grants one")),
        "{advice:?}"
    );
}
