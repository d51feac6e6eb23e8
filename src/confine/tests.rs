//! The steps by themselves: each enforced alone, each failing alone.
//!
//! A process that has confined itself is of no more use, and the runner of tests has two threads. So
//! each of these tests runs this executable again, for the one in `alone` of its name, and that one
//! forks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use crossmist_policy::bpf::{BpfProgram, sock_filter};

use super::apply::apply;
use super::fields::Shared;
use super::inherited::Inherited;
use super::namespaces::Origin;
use super::plan::{Plan, StaticPlan};
use super::privileges::give_up;
use super::status::ConfinementStatus;
use super::step::Failure;
use super::users::{Ids, User};
use crate::error::Step;
use crate::sys::confinement as sys;
use crate::sys::fork;
use crossmist_policy::steps::SecondNet;

/// The variable that tells a process about its test.
const DETAIL: &str = "CROSSMIST_TEST_DETAIL";

/// The variable that names the features that may be missing. Any other missing feature fails its test.
const MAY_SKIP: &str = "CROSSMIST_TEST_MAY_SKIP";

/// Runs the test `alone::name` of a module in a process of its own.
#[track_caller]
fn run(module: &str, name: &str, detail: &str) {
    let module = module.trim_start_matches("crossmist::");
    if !nix::unistd::geteuid().is_root() {
        let may_skip = std::env::var(MAY_SKIP).unwrap_or_default();
        let is_skipped = may_skip
            .split(',')
            .any(|need| need.eq_ignore_ascii_case("Root"));
        assert!(is_skipped, "this needs root; to skip, set {MAY_SKIP}=Root");
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .arg(format!("{module}::alone::{name}"))
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DETAIL, detail)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let is_passed = output.status.success() && text.contains("1 passed");
    assert!(is_passed, "{name} {detail}: {output:#?}");
}

/// Each function once as a test, and once as what it runs in a process of its own.
macro_rules! alone {
    ($(fn $name:ident() $body:block)*) => {
        $(#[test] fn $name() { run(module_path!(), stringify!($name), "") })*

        mod alone {
            use super::*;
            $(
                #[test]
                #[ignore = "confines its process; the test of the same name runs it"]
                fn $name() {
                    assert!(fork::passes_in_a_fork(|| $body));
                }
            )*
        }
    };
}

mod groups;

/// Returns what `code` does.
fn answer(action: u32) -> sock_filter {
    instruction(0x06, 0, 0, action)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// Answers one call, where its first argument is `first` if one is given, by an error, and allows
/// the others.
fn refusing(call: i64, first: Option<i32>, errno: i32) -> BpfProgram {
    let refusal = ERRNO | errno.unsigned_abs();
    let number = instruction(0x15, 0, if first.is_some() { 3 } else { 1 }, call as u32);
    let mut filter = vec![instruction(0x20, 0, 0, 0), number];
    if let Some(first) = first {
        filter.push(instruction(0x20, 0, 0, 16));
        filter.push(instruction(0x15, 0, 1, first.unsigned_abs()));
    }
    filter.extend([answer(refusal), answer(ALLOW)]);
    filter
}

/// A plan that takes nothing away.
fn nothing() -> StaticPlan {
    StaticPlan {
        filter: vec![answer(ALLOW)],
        ..StaticPlan::without_denials()
    }
}

fn plan(fixed: StaticPlan) -> Plan {
    Plan {
        fixed: Shared(Arc::new(fixed)),
        ruleset: None,
        root: None,
        standard: [None, None, None],
        environment: Vec::new(),
        inherited: Inherited::default(),
        control_group: None,
    }
}

fn parent() -> i32 {
    nix::unistd::getppid().as_raw()
}

fn made_by(keeper: i32) -> Origin {
    Origin {
        keeper,
        ..Origin::default()
    }
}

/// Confines this process.
fn confine(plan: Plan) -> Result<ConfinementStatus, Failure> {
    confine_below(plan, parent())
}

fn confine_below(plan: Plan, keeper: i32) -> Result<ConfinementStatus, Failure> {
    let (report, peer) = UnixDatagram::pair().unwrap();
    let status = apply(plan, report.as_fd(), &[], made_by(keeper), 0);
    // The sweep has closed the peer, whoever thinks to own it.
    std::mem::forget((report, peer));
    status.map(|applied| applied.status)
}

/// A user of its own that can be this one only.
fn only(user: u32) -> User {
    User::Own(Box::leak(Box::new(Ids::from(vec![user..=user]))))
}

/// A ruleset that grants nothing of the files.
fn no_files() -> OwnedFd {
    use landlock::{Access, AccessFs, Ruleset, RulesetAttr};
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(landlock::ABI::V1));
    let ruleset = ruleset.unwrap().create().unwrap();
    Option::<OwnedFd>::from(ruleset).expect("this kernel has no Landlock")
}

fn open() -> Option<i32> {
    std::fs::File::open("/etc/passwd").err()?.raw_os_error()
}

fn change_root() -> Option<i32> {
    nix::unistd::chroot("/").err().map(|errno| errno as i32)
}

fn duplicates() -> (usize, Option<i32>) {
    let mut kept = Vec::new();
    let refused = loop {
        match io::stdin().as_fd().try_clone_to_owned() {
            Ok(copy) if kept.len() < 100 => kept.push(copy),
            Ok(_) => break None,
            Err(error) => break error.raw_os_error(),
        }
    };
    (kept.len(), refused)
}

fn prctl_field(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

alone! {
    // The control of all others: what applies no layer denies nothing of what they deny.
    fn nothing_takes_nothing_away() {
        confine(plan(nothing())).unwrap();
        assert_eq!((open(), change_root(), duplicates()), (None, None, (100, None)));
        assert_eq!(nix::unistd::geteuid().as_raw(), 0, "these tests are root's");
        assert_eq!(nix::unistd::getppid().as_raw(), sys_getppid().unwrap());
        assert_ne!(prctl_field("CapEff"), "0000000000000000");
    }

    fn landlock_denies_alone() {
        assert_eq!(open(), None);
        let ruleset = Some(Shared(Arc::new(no_files())));
        confine(Plan { ruleset, ..plan(nothing()) }).unwrap();
        assert_eq!(open(), Some(libc::EACCES));
        assert_eq!((change_root(), duplicates()), (None, (100, None)));
    }

    fn the_filter_denies_alone() {
        assert_eq!(sys_getppid().err(), None);
        let filter = refusing(libc::SYS_getppid, None, libc::ENOTNAM);
        confine(plan(StaticPlan { filter, ..nothing() })).unwrap();
        assert_eq!(sys_getppid(), Err(libc::ENOTNAM));
        assert_eq!((open(), change_root(), duplicates()), (None, None, (100, None)));
    }

    fn capabilities_go_alone() {
        assert_eq!(change_root(), None);
        confine(plan(StaticPlan { capabilities: 0, ..nothing() })).unwrap();
        assert_eq!(change_root(), Some(libc::EPERM));
        assert_eq!((open(), duplicates()), (None, (100, None)));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(prctl_field(set), "0000000000000000", "{set}");
        }
    }

    fn one_capability_stays_alone() {
        // CAP_SYS_CHROOT.
        confine(plan(StaticPlan { capabilities: 1 << 18, ..nothing() })).unwrap();
        assert_eq!(change_root(), None);
        assert_eq!(prctl_field("CapPrm"), "0000000000040000");
        assert_eq!(prctl_field("CapBnd"), "0000000000040000");
    }

    fn limits_hold_alone() {
        assert_eq!(duplicates(), (100, None));
        let limits = vec![(libc::RLIMIT_NOFILE, 8, 8)];
        confine(plan(StaticPlan { limits, ..nothing() })).unwrap();
        assert!(matches!(duplicates(), (1..8, Some(libc::EMFILE))));
        assert_eq!((open(), change_root()), (None, None));
        // Nor is there a way back for root, whose capabilities stay in this plan: it is the limit
        // that was lowered, not the right to raise it.
        assert_eq!(sys::lower_limit(libc::RLIMIT_NOFILE, 100, 100).err().map(|e| e.to_string()), None);
        assert!(matches!(duplicates(), (1..8, Some(libc::EMFILE))));
    }

    fn a_user_of_its_own_is_taken_alone() {
        let kept = StaticPlan { own_user: true, tasks: 10, ..nothing() };
        let user = confine(plan(kept)).unwrap().own_user.unwrap();
        assert!((0x7800_0000..=0x7ffd_ffff).contains(&user), "{user}");
        assert_eq!(nix::unistd::geteuid().as_raw(), user);
        assert_eq!(prctl_field("Groups"), "");
    }

    fn an_id_that_somebody_has_is_not_taken() {
        // Another run of this test has another one.
        let id = 0x7800_0000 + std::process::id();
        // In another PID namespace, where no number of a process tells of it.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).unwrap();
        let mut other = Command::new("sleep").arg("1000").uid(id).spawn().unwrap();
        let taken = give_up(u64::MAX, only(id));
        let (step, error) = taken.unwrap_err();
        assert_eq!((step, error.raw_os_error()), (Step::User, Some(libc::EAGAIN)));
        assert_eq!(nix::unistd::geteuid().as_raw(), 0, "it has become nobody meanwhile");
        // The control: nobody has it.
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(give_up(u64::MAX, only(id)).unwrap(), Some(id));
        assert_eq!(prctl_field("Uid"), [id.to_string().as_str(); 4].join("\t"));
    }

    fn what_is_not_kept_is_closed_and_removed() {
        let file = std::fs::File::open("/etc/passwd").unwrap();
        let kept = std::fs::File::open("/etc/passwd").unwrap();
        let (report, peer) = UnixDatagram::pair().unwrap();
        let environment = vec![("KEPT".into(), "yes".into())];
        let plan = Plan { environment, ..plan(nothing()) };
        apply(plan, report.as_fd(), &[kept.as_raw_fd()], made_by(parent()), 0).unwrap();
        let link = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok();
        assert!(link(kept.as_raw_fd()) && link(report.as_raw_fd()));
        assert!(!link(file.as_raw_fd()) && !link(peer.as_raw_fd()));
        std::mem::forget((file, peer));
        let variables: Vec<_> = std::env::vars().collect();
        assert_eq!(variables, [("KEPT".to_owned(), "yes".to_owned())]);
    }

    fn a_second_thread_stops_it() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (named, is_named) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("of-a-library".to_owned());
        let thread = thread.spawn(move || {
            named.send(()).unwrap();
            stopped.recv()
        });
        is_named.recv().unwrap();
        let failure = confine(plan(nothing())).unwrap_err().to_string();
        let expected = "it could not count on being its only thread: it has 1 thread beside its first \
                        one: `of-a-library`; a library starts";
        assert!(failure.starts_with(expected), "{failure}");
        drop(stop);
        let _ = thread.unwrap().join();
        // The kernel counts a thread for a moment after it was joined.
        while std::fs::read_dir("/proc/self/task").unwrap().count() > 1 {}
        // Nothing has been done yet, so it is a matter of that thread only.
        assert_eq!(confine(plan(nothing())).map(drop), Ok(()));
    }

    fn the_death_of_the_parent_is_noticed() {
        let fixed = || StaticPlan { dies_with_parent: true, ..nothing() };
        let gone = confine_below(plan(fixed()), i32::MAX).unwrap_err();
        assert_eq!(gone, Failure::new(Step::ParentDeath, libc::ESRCH));
        confine(plan(fixed())).unwrap();
    }

    fn a_second_net_that_the_kernel_does_not_know_is_missing_and_nothing_else_is() {
        sys::load_filter(&refusing(libc::SYS_prctl, Some(65), libc::EINVAL), false).unwrap();
        let filter = || refusing(libc::SYS_getppid, None, libc::ENOTNAM);
        let status = confine(plan(StaticPlan { deny_write_execute: true, filter: filter(), ..nothing() })).unwrap();
        assert_eq!(status.missing, [SecondNet::DenyWriteExecute]);
        assert!(!status.denies_write_execute && !status.is_fully_enforced());
        assert_eq!(sys_getppid(), Err(libc::ENOTNAM), "the steps behind it");
    }

    fn a_second_net_that_is_insisted_on_is_as_good_as_the_wall() {
        sys::load_filter(&refusing(libc::SYS_prctl, Some(65), libc::EINVAL), false).unwrap();
        let filter = refusing(libc::SYS_getppid, None, libc::ENOTNAM);
        let insisting = StaticPlan {
            deny_write_execute: true,
            requires_deny_write_execute: true,
            filter,
            ..nothing()
        };
        let failure = confine(plan(insisting)).unwrap_err();
        assert_eq!(failure, Failure::new(Step::DenyWriteExecute, libc::EINVAL));
        assert!(failure.to_string().contains("Linux 6.3"), "{failure}");
        assert_eq!(sys_getppid().err(), None);
    }

    fn nonsense_is_refused_where_it_is_used() {
        let failure = |plan| confine(plan).unwrap_err();
        let wrong = (libc::EINVAL, libc::EBADFD);
        let limits = vec![(999, 1, 1)];
        let limits = failure(plan(StaticPlan { limits, ..nothing() }));
        assert_eq!(limits, Failure::new(Step::Limits, wrong.0));
        let environment = vec![("A=B".into(), "C".into())];
        let environment = failure(Plan { environment, ..plan(nothing()) });
        assert_eq!(environment, Failure::new(Step::Environment, wrong.0));
        let ruleset = Some(Shared(Arc::new(OwnedFd::from(std::fs::File::open("/").unwrap()))));
        let ruleset = failure(Plan { ruleset, ..plan(nothing()) });
        assert_eq!(ruleset, Failure::new(Step::Landlock, wrong.1));
        let seccomp = failure(plan(StaticPlan { filter: Vec::new(), ..nothing() }));
        assert_eq!(seccomp, Failure::new(Step::Seccomp, wrong.0));
    }

    fn one_step_fails() {
        // Asked for by the test `a_step_that_fails_stops_the_rest`.
        let Ok(wanted) = std::env::var(DETAIL) else { return };
        let Some((step, call, first)) = steps().into_iter().find(|(step, ..)| format!("{step:?}") == wanted) else {
            assert_eq!(wanted, "", "no such step");
            return;
        };
        let whole = Plan {
            ruleset: Some(Shared(Arc::new(no_files()))),
            standard: [Some(std::fs::File::open("/dev/null").unwrap().into()), None, None],
            ..plan(StaticPlan {
                limits: vec![(libc::RLIMIT_CORE, 0, 0)],
                capabilities: 0,
                own_user: true,
                tasks: 10,
                dies_with_parent: true,
                deny_write_execute: true,
                dumpable: false,
                reports: true,
                filter: refusing(libc::SYS_getppid, None, libc::ENOTNAM),
                ..nothing()
            })
        };
        sys::load_filter(&refusing(call, first, libc::ENOTNAM), false).unwrap();
        let failure = confine(whole).unwrap_err();
        assert_eq!(failure, Failure::new(step, libc::ENOTNAM));
        // The last step of all has not been made.
        assert_eq!(sys_getppid().err(), None);
    }
}

fn sys_getppid() -> Result<i32, i32> {
    match nix::unistd::getppid().as_raw() {
        // It has no errors of its own, so C libraries hand on what the filter says.
        parent if parent < 0 => Err(-parent),
        parent => Ok(parent),
    }
}

/// The call behind `dup2(3)`.
#[cfg(target_arch = "x86_64")]
const DUPLICATE: i64 = libc::SYS_dup2;
#[cfg(not(target_arch = "x86_64"))]
const DUPLICATE: i64 = libc::SYS_dup3;

/// The steps that are system calls, with a call that each can't do without.
fn steps() -> Vec<(Step, i64, Option<i32>)> {
    let prctl = |step, option| (step, libc::SYS_prctl, Some(option));
    vec![
        (Step::Threads, libc::SYS_unshare, None),
        (Step::Descriptors, libc::SYS_close_range, None),
        (Step::Standard, DUPLICATE, None),
        (Step::Limits, libc::SYS_prlimit64, None),
        prctl(Step::BoundingSet, libc::PR_CAPBSET_DROP),
        prctl(Step::Securebits, libc::PR_SET_SECUREBITS),
        (Step::User, libc::SYS_setresuid, None),
        (Step::Capabilities, libc::SYS_capset, None),
        prctl(Step::ParentDeath, libc::PR_SET_PDEATHSIG),
        prctl(Step::NoNewPrivs, libc::PR_SET_NO_NEW_PRIVS),
        prctl(Step::DenyWriteExecute, 65),
        prctl(Step::Dumpable, libc::PR_SET_DUMPABLE),
        (Step::Handler, libc::SYS_rt_sigaction, None),
        (Step::Landlock, libc::SYS_landlock_restrict_self, None),
        (Step::Seccomp, libc::SYS_seccomp, None),
    ]
}

#[test]
fn a_step_that_fails_stops_the_rest() {
    for (step, ..) in steps() {
        run(module_path!(), "one_step_fails", &format!("{step:?}"));
    }
}
