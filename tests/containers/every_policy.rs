//! That every built-in policy runs somewhere, with the status that is expected there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::ExitStatus;
use std::time::Duration;

use crossmist::{ConfinementStatus, Error, SameUser, SandboxPolicy, func};

use crate::cases;
use crate::enter::{self};
use crate::support::{
    self, Case, Holdings, case_arguments, patience, this_program, wait_until_gone,
};

pub(crate) const CASES: &[Case] = cases![
    every_policy_runs_under_plain_root needs Root,
    every_policy_runs_for_a_plain_user needs Root,
    every_policy_runs_on_a_read_only_root needs Root,
];

pub(crate) const HELPERS: &[Case] = cases![helper_every_policy];

#[func(sandbox = dynamic)]
pub(crate) fn adds(numbers: Vec<u32>, in_a_thread: bool) -> u32 {
    let sum = move || numbers.iter().sum();
    match in_a_thread {
        true => std::thread::spawn(sum).join().unwrap(),
        false => sum(),
    }
}

#[func(sandbox = dynamic)]
fn panics() {
    panic!("at the {}", "disco");
}

#[func(sandbox = dynamic)]
pub(crate) fn sleeps() {
    std::thread::sleep(Duration::from_secs(3600));
}

#[func(sandbox = dynamic)]
fn reads(path: String) -> Result<String, i32> {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.map(|_| text)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

#[func(sandbox = dynamic)]
fn connects(port: u16) -> Result<(), i32> {
    let connected = TcpStream::connect(("127.0.0.1", port));
    connected
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// A file that every user may read.
pub(crate) const READABLE: &str = "/etc/passwd";

/// Another one, which no policy grants.
const WITHHELD: &str = "/proc/version";

/// For what is not about the time that a policy gives: emulated machines need more.
pub(crate) const PATIENT: &str = "[limits]\nwall_time = \"10min\"";

pub(crate) fn policy(name: &str, more: &str) -> SandboxPolicy {
    if more.is_empty() {
        return SandboxPolicy::builtin(name).unwrap();
    }
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"{name}\"]\n{more}\n");
    SandboxPolicy::from_toml("extended", &text).unwrap()
}

/// The expected user of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One of its own, from this range.
    Own(u32, u32),
    Same(SameUser),
}

/// The ids that children get where all are mapped.
pub(crate) const HOST: Expected = Expected::Own(0x7800_0000, 0x7ffd_ffff);

pub(crate) const CONTAINER: Expected = Expected::Own(20_000, 60_000);

impl Expected {
    const ALL: [(&str, Expected); 5] = [
        ("host", HOST),
        ("container", CONTAINER),
        ("not-root", Expected::Same(SameUser::NotRoot)),
        ("no-capability", Expected::Same(SameUser::NoCapability)),
        ("no-other-ids", Expected::Same(SameUser::NoOtherIds)),
    ];

    pub(crate) fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, expected)| *expected == self);
        known.unwrap().0
    }

    pub(crate) fn named(name: &str) -> Self {
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.unwrap().1
    }

    #[track_caller]
    pub(crate) fn assert_is(self, status: &ConfinementStatus, child: u32) {
        let ids = proc_ids(child);
        match self {
            Self::Own(first, last) => {
                let user = status.own_user.expect("a user of its own");
                assert!((first..=last).contains(&user), "{user}");
                assert_eq!(status.same_user, None);
                assert_eq!(ids, [[user; 4], [user; 4]]);
            }
            Self::Same(why) => {
                assert_eq!((status.own_user, status.same_user), (None, Some(why)));
                assert_eq!(ids, proc_ids(std::process::id()));
            }
        }
        assert_eq!(status.capabilities, 0);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(proc_status(child, set), "0000000000000000", "{set}");
        }
        assert_eq!(proc_status(child, "NoNewPrivs"), "1");
        assert_eq!(proc_status(child, "Seccomp"), "2");
    }
}

fn proc_status(process: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == field).unwrap();
    value.trim().to_owned()
}

/// The user and group ids of a process.
fn proc_ids(process: u32) -> [[u32; 4]; 2] {
    ["Uid", "Gid"].map(|field| {
        let ids = proc_status(process, field);
        let ids: Vec<u32> = ids.split('\t').map(|id| id.parse().unwrap()).collect();
        ids.try_into().unwrap()
    })
}

/// Runs each built-in policy: what it is for, what it withholds, how it ends, and whose process it is.
pub(crate) fn helper_every_policy() {
    let expected = Expected::named(&case_arguments()[0]);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let all = [
        policy("pure", ""),
        policy("parser", ""),
        policy("worker", ""),
        policy(
            "file-reader",
            &format!("[filesystem]\nread = [\"{READABLE}\"]"),
        ),
        policy(
            "network-client",
            &format!("[network]\ntcp_connect = [{port}]"),
        ),
    ];
    // The controls: unconfined, all of it works.
    assert!(reads.call_unconfined(READABLE.to_owned()).is_ok());
    assert!(reads.call_unconfined(WITHHELD.to_owned()).is_ok());
    assert_eq!(connects.call_unconfined(port), Ok(()));
    let open = policy("unconfined", "");
    assert_eq!(crossmist_policy::BUILTIN.len(), all.len() + 1);
    assert_eq!(adds.sandbox(&open).run(vec![1, 2], true).unwrap(), 3);
    assert!(
        reads
            .sandbox(&open)
            .run(WITHHELD.to_owned())
            .unwrap()
            .is_ok()
    );
    assert_eq!(connects.sandbox(&open).run(port).unwrap(), Ok(()));
    // A policy that needs more than this kernel has is refused, and no other.
    let (granting, refused) = match crossmist::landlock_abi() {
        ..4 => all.split_at(4),
        _ => all.split_at(5),
    };
    for policy in refused {
        let error = adds.sandbox(policy).run(vec![], false).unwrap_err();
        assert!(error.to_string().contains("Landlock ABI"), "{error}");
    }
    for policy in granting {
        let has_threads = policy.name() != "pure";
        let sum = adds.sandbox(policy).run(vec![1, 2, 3], has_threads);
        assert_eq!(sum.unwrap(), 6);
        let Err(Error::Panicked(panic)) = panics.sandbox(policy).run() else {
            panic!("it did not panic");
        };
        assert_eq!(panic.message.as_raw(), "at the disco");
        let read = |path: &str| reads.sandbox(policy).run(path.to_owned()).unwrap();
        assert_eq!(read(WITHHELD), Err(libc::EACCES));
    }
    let [pure, _, worker, files, network] = &all;
    let read = reads.sandbox(files).run(READABLE.to_owned()).unwrap();
    assert_eq!(read, reads.call_unconfined(READABLE.to_owned()));
    if refused.is_empty() {
        assert_eq!(connects.sandbox(network).run(port).unwrap(), Ok(()));
    }

    // By now, the library has everything that it keeps between calls.
    let holdings = Holdings::now();
    // Some at once: whose they are. One is executed, not forked.
    let fresh = self::policy("pure", "[process]\nlaunch = \"exec\"");
    let children = [pure, &fresh, worker].map(|policy| {
        let mut child = sleeps.sandbox(policy).spawn().unwrap();
        let status = child.confinement().unwrap().unwrap();
        expected.assert_is(&status, child.id().unwrap());
        (child, status.own_user)
    });
    let users: BTreeSet<u32> = children.iter().filter_map(|(_, user)| *user).collect();
    let count = match expected {
        Expected::Own(..) => children.len(),
        Expected::Same(_) => 0,
    };
    assert_eq!(users.len(), count, "{users:?}");
    // They can be ended, by order and at their deadline.
    for (child, _) in children {
        let process = child.id().unwrap();
        child.kill().unwrap();
        assert!(matches!(child.join(), Err(Error::Killed)));
        wait_until_gone(process);
    }
    let deadline = patience(Duration::from_secs(2));
    let late = sleeps.sandbox(pure).deadline(deadline).spawn().unwrap();
    let process = late.id().unwrap();
    let late = late.join();
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    wait_until_gone(process);
    // The first process of a namespace has the keeper as its child.
    if std::process::id() != 1 {
        holdings.assert_same();
    }
}

/// Starts a helper, in what a container is made of.
pub(crate) fn inside(enter: impl FnOnce(), helper: &str, arguments: &[&str]) -> ExitStatus {
    let mut program = this_program(helper);
    enter::run_in(enter, program.args(arguments))
}

#[track_caller]
pub(crate) fn every_policy_runs(expected: Expected, enter: impl FnOnce()) {
    let status = inside(enter, "helper_every_policy", &[expected.name()]);
    assert!(status.success(), "{status}");
}

fn every_policy_runs_under_plain_root() {
    every_policy_runs(HOST, || ());
}

fn every_policy_runs_for_a_plain_user() {
    every_policy_runs(Expected::Same(SameUser::NotRoot), || {
        enter::become_user(4242)
    });
}

fn every_policy_runs_on_a_read_only_root() {
    let directory = support::Directory::new();
    let file = directory.path().join("new");
    File::create(&file).unwrap();
    every_policy_runs(HOST, || {
        enter::read_only_root();
        let refused = File::create(&file).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    });
}

/// An error with its source.
pub(crate) fn whole(error: Error) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
