//! Properties that a confined child takes over from its caller: those of the calling thread at the call, and
//! never more.
#![allow(unsafe_code, reason = "it asks the system directly")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crossmist::{Error, Object, func};
use support::{Directory, wait_until_ended};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_child_has_what_its_calling_thread_has,
            a_child_is_no_more_favoured_than_its_caller,
            a_child_of_an_ordinary_caller_is_ordinary_whoever_called_first needs Root,
            files_are_made_under_the_umask_of_the_program,
            limits_that_the_program_lowers_bind_its_children,
            the_kernel_ends_a_child_as_readily_as_the_program,
            a_program_in_another_control_group_takes_its_children_along needs Root,
            landlock_restrictions_of_the_program_bind_its_children,
            landlock_restrictions_of_a_plain_user_bind_its_children needs Root,
            a_program_that_may_execute_nothing_is_told_so,
            a_filter_of_the_program_binds_its_children,
            threads_that_restrict_nothing_share_a_keeper,
            a_keeper_is_ended_and_the_next_call_has_another,
            a_keeper_ends_though_a_copy_of_the_program_holds_its_socket,
        ],
        cases![],
    );
}

/// The system's facts about a thread.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
struct Traits {
    processors: Vec<u64>,
    nice: i64,
    scheduling: i64,
    io_priority: i64,
    timer_slack: i64,
    personality: i64,
}

impl Traits {
    fn now() -> Self {
        let mut processors = vec![0u64; 128];
        let system = |number, a: u64, b: u64, c: u64| {
            // SAFETY: none of the calls below writes but to `processors`, which is as long as it says.
            unsafe { libc::syscall(number, a, b, c, 0, 0) }
        };
        let room = processors.as_mut_ptr() as u64;
        let size = system(libc::SYS_sched_getaffinity, 0, 1024, room);
        processors.truncate(usize::try_from(size).unwrap() / 8);
        Self {
            processors,
            nice: 20 - system(libc::SYS_getpriority, 0, 0, 0),
            scheduling: system(libc::SYS_sched_getscheduler, 0, 0, 0),
            io_priority: system(libc::SYS_ioprio_get, 1, 0, 0),
            timer_slack: system(libc::SYS_prctl, libc::PR_GET_TIMERSLACK as u64, 0, 0),
            personality: system(libc::SYS_personality, 0xffff_ffff, 0, 0),
        }
    }

    /// Makes it the calling thread's.
    fn set(&self) {
        let set = |number, a: u64, b: u64, c: u64| {
            // SAFETY: as above; `processors` and the zero are read.
            let result = unsafe { libc::syscall(number, a, b, c, 0, 0) };
            assert!(result >= 0, "{number}: {}", std::io::Error::last_os_error());
        };
        let mask = &self.processors;
        let bytes = mask.len() as u64 * 8;
        let zero = 0i32;
        set(libc::SYS_sched_setaffinity, 0, bytes, mask.as_ptr() as u64);
        let scheduling = self.scheduling as u64;
        set(
            libc::SYS_sched_setscheduler,
            0,
            scheduling,
            &raw const zero as u64,
        );
        set(libc::SYS_setpriority, 0, 0, self.nice as u64);
        set(libc::SYS_ioprio_set, 1, 0, self.io_priority as u64);
        let slack = self.timer_slack as u64;
        set(libc::SYS_prctl, libc::PR_SET_TIMERSLACK as u64, slack, 0);
        set(libc::SYS_personality, self.personality as u64, 0, 0);
    }
}

#[func(sandbox = "unconfined")]
fn traits() -> Traits {
    Traits::now()
}

#[func(sandbox = "unconfined", launch = "exec")]
fn traits_of_executed() -> Traits {
    Traits::now()
}

#[func(sandbox = "pure")]
fn add(x: u32, y: u32) -> u32 {
    x + y
}

#[func(sandbox = "parser")]
fn sleep() {
    std::thread::sleep(std::time::Duration::from_secs(50));
}

/// Something of everything that a thread may take on without privileges.
fn peculiar(ordinary: &Traits) -> Traits {
    let mut first = vec![0; ordinary.processors.len()];
    let (at, bits) = (0..)
        .zip(&ordinary.processors)
        .find(|(_, bits)| **bits != 0)
        .unwrap();
    first[at] = 1 << bits.trailing_zeros();
    Traits {
        processors: first,
        nice: 7,
        scheduling: libc::SCHED_BATCH.into(),
        // Best effort, 6.
        io_priority: 2 << 13 | 6,
        timer_slack: 1_234_567,
        // ADDR_NO_RANDOMIZE
        personality: 0x4_0000,
    }
}

fn a_child_has_what_its_calling_thread_has() {
    let ordinary = Traits::now();
    assert_eq!(traits.run().unwrap(), ordinary);
    let peculiar = peculiar(&ordinary);
    let wanted = peculiar.clone();
    let from_thread = std::thread::spawn(move || {
        wanted.set();
        (traits.run().unwrap(), traits_of_executed.run().unwrap())
    });
    let (forked, executed) = from_thread.join().unwrap();
    assert_eq!(forked, peculiar);
    assert_eq!(executed, peculiar);
    // The keeper is the same, and so is what others have of it.
    assert_eq!(traits.run().unwrap(), ordinary);
    assert_eq!(traits_of_executed.run().unwrap(), ordinary);
}

fn a_child_is_no_more_favoured_than_its_caller() {
    add.run(1, 2).unwrap();
    let idle = Traits {
        scheduling: libc::SCHED_IDLE.into(),
        nice: 19,
        ..Traits::now()
    };
    idle.set();
    let child = traits.run().unwrap();
    assert_eq!(
        (child.scheduling, child.nice),
        (libc::SCHED_IDLE.into(), 19)
    );
}

fn a_child_of_an_ordinary_caller_is_ordinary_whoever_called_first() {
    let ordinary = Traits::now();
    let peculiar = peculiar(&ordinary);
    std::thread::spawn(move || {
        peculiar.set();
        assert_eq!(traits.run().unwrap(), peculiar);
    })
    .join()
    .unwrap();
    assert_eq!(traits.run().unwrap(), ordinary);
}

#[func(sandbox = "unconfined")]
fn make(path: PathBuf) {
    std::fs::write(path, "").unwrap();
}

fn files_are_made_under_the_umask_of_the_program() {
    let directory = Directory::new();
    for (name, mask) in [("first", 0o022), ("second", 0o077), ("third", 0o002)] {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
        let path = directory.path().join(name);
        make.run(path.clone()).unwrap();
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o666 & !mask, "{name}");
    }
}

#[func(sandbox = "unconfined")]
fn limit_of_child(resource: u32) -> (u64, u64) {
    limit_of_this_process(resource)
}

fn limit_of_this_process(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes into the structure.
    assert_eq!(unsafe { libc::getrlimit(resource as _, &raw mut limit) }, 0);
    (limit.rlim_cur, limit.rlim_max)
}

/// RLIMIT_SIGPENDING, whose type depends on the C library, as that of the next.
const PENDING_SIGNALS: u32 = 11;
/// RLIMIT_NOFILE
const OPEN_FILES: u32 = 7;

fn lower(resource: u32, soft: u64, hard: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: reads the structure.
    let result = unsafe { libc::setrlimit(resource as _, &raw const limit) };
    assert_eq!(result, 0);
}

fn limits_that_the_program_lowers_bind_its_children() {
    let own = limit_of_this_process(PENDING_SIGNALS);
    assert_eq!(limit_of_child.run(PENDING_SIGNALS).unwrap(), own);
    lower(PENDING_SIGNALS, 11, 12);
    assert_eq!(limit_of_child.run(PENDING_SIGNALS).unwrap(), (11, 12));
    // A limit that the policy sets is lowered as well.
    assert!(limit_of_child.run(OPEN_FILES).unwrap().1 > 64);
    lower(OPEN_FILES, 64, 64);
    assert_eq!(limit_of_child.run(OPEN_FILES).unwrap(), (64, 64));
}

#[func(sandbox = "unconfined")]
fn oom_score() -> String {
    std::fs::read_to_string("/proc/self/oom_score_adj").unwrap()
}

fn the_kernel_ends_a_child_as_readily_as_the_program() {
    for score in ["0\n", "400\n", "200\n"] {
        std::fs::write("/proc/self/oom_score_adj", score).unwrap();
        assert_eq!(oom_score.run().unwrap(), score);
    }
}

#[func(sandbox = "unconfined")]
fn control_groups() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap()
}

fn a_program_in_another_control_group_takes_its_children_along() {
    let own = || std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(control_groups.run().unwrap(), own());
    // Version 2, or the hierarchies of version 1 beside each other.
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/freezer"];
    let place = places
        .iter()
        .find(|place| PathBuf::from(place).join("cgroup.procs").exists());
    let place = PathBuf::from(place.expect("control groups at /sys/fs/cgroup"));
    let group = place.join(format!("crossmist-test-{}", std::process::id()));
    std::fs::create_dir(&group).unwrap();
    let before = own();
    std::fs::write(group.join("cgroup.procs"), "0").unwrap();
    assert_ne!(own(), before);
    let child = control_groups.run();
    let now = own();
    std::fs::write(place.join("cgroup.procs"), "0").unwrap();
    assert_eq!(child.unwrap(), now);
    assert_eq!(control_groups.run().unwrap(), own());
    // The keeper that was replaced may take a moment.
    support::wait_until("nobody is left in the group", || {
        std::fs::remove_dir(&group).is_ok()
    });
}

#[func(sandbox = "unconfined")]
fn connect(port: u16) -> Result<(), Option<i32>> {
    connect_here(port)
}

fn connect_here(port: u16) -> Result<(), Option<i32>> {
    let connected = TcpStream::connect(("127.0.0.1", port));
    connected.map(drop).map_err(|error| error.raw_os_error())
}

/// Gives up connecting, on this thread and what it starts.
fn give_up_connecting() {
    use landlock::{AccessNet, Ruleset, RulesetAttr};
    let ruleset = Ruleset::default().handle_access(AccessNet::ConnectTcp);
    let ruleset = ruleset.and_then(Ruleset::create).unwrap();
    let status = ruleset.restrict_self().unwrap();
    assert_eq!(status.ruleset, landlock::RulesetStatus::FullyEnforced);
}

fn landlock_restrictions_of_the_program_bind_its_children() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(connect.run(port).unwrap(), Ok(()));
    assert_eq!(connect_here(port), Ok(()));
    give_up_connecting();
    assert_eq!(connect_here(port), Err(Some(libc::EACCES)));
    assert_eq!(connect.run(port).unwrap(), Err(Some(libc::EACCES)));
    // And again, when no_new_privs tells nothing.
    give_up_connecting();
    assert_eq!(connect.run(port).unwrap(), Err(Some(libc::EACCES)));
    assert_eq!(add.run(1, 2).unwrap(), 3);
}

fn landlock_restrictions_of_a_plain_user_bind_its_children() {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let (user, group) = (Uid::from_raw(61_234), Gid::from_raw(61_234));
    setgroups(&[]).unwrap();
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
    // As of a program that a user has started.
    nix::sys::prctl::set_dumpable(true).unwrap();
    landlock_restrictions_of_the_program_bind_its_children();
}

fn a_program_that_may_execute_nothing_is_told_so() {
    use landlock::{AccessFs, Ruleset, RulesetAttr};
    assert_eq!(add.run(1, 2).unwrap(), 3);
    let ruleset = Ruleset::default().handle_access(AccessFs::Execute);
    let ruleset = ruleset.and_then(Ruleset::create).unwrap();
    ruleset.restrict_self().unwrap();
    let Err(Error::Launch { step, source, .. }) = add.run(1, 2) else {
        panic!("it was executed");
    };
    assert_eq!(source.raw_os_error(), Some(libc::EACCES));
    assert!(step.contains("Landlock"), "{step}");
    assert!(step.contains("let it execute its own file"), "{step}");
}

/// `getsid`, or the error of a filter.
#[func(sandbox = "unconfined")]
fn ask() -> Result<(), i32> {
    ask_here()
}

fn ask_here() -> Result<(), i32> {
    // SAFETY: takes a number.
    match unsafe { libc::syscall(libc::SYS_getsid, 0) } {
        -1 => Err(nix::Error::last_raw()),
        _ => Ok(()),
    }
}

/// Answers a system call with an error, on this thread and what it starts.
fn deny(call: libc::c_long, errno: u32) {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let filter = [
        // The number of the call.
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, call as u32),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_ptr().cast_mut(),
    };
    nix::sys::prctl::set_no_new_privs().unwrap();
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: reads the program, which lives.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) };
    assert_eq!(result, 0);
}

fn a_filter_of_the_program_binds_its_children() {
    assert_eq!(ask.run().unwrap(), Ok(()));
    deny(libc::SYS_getsid, 77);
    assert_eq!(ask_here(), Err(77));
    assert_eq!(ask.run().unwrap(), Err(77));
    // Another, beside the first: the lower error counts.
    deny(libc::SYS_getsid, 66);
    let own = ask_here();
    assert_eq!(own, Err(66));
    assert_eq!(ask.run().unwrap(), own);
}

fn keeper_of(child: &crossmist::Child<()>) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id().unwrap())).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

fn sleeping() -> crossmist::Child<()> {
    let mut child = sleep.spawn().unwrap();
    child.confinement().unwrap();
    child
}

fn threads_that_restrict_nothing_share_a_keeper() {
    let first = sleeping();
    let second = std::thread::spawn(|| {
        // It differs in what each child takes for itself.
        let ordinary = Traits::now();
        peculiar(&ordinary).set();
        sleeping()
    });
    let second = second.join().unwrap();
    assert_eq!(keeper_of(&first), keeper_of(&second));
}

fn a_keeper_is_ended_and_the_next_call_has_another() {
    // Without one, nothing happens.
    crossmist::keeper::end();
    let child = sleeping();
    let keeper = keeper_of(&child);
    crossmist::keeper::end();
    let result = child.join();
    assert!(matches!(result, Err(Error::KeeperDied)), "{result:?}");
    wait_until_ended(keeper);
    assert_eq!(add.run(1, 2).unwrap(), 3);
    assert_ne!(keeper_of(&sleeping()), keeper);
}

fn a_keeper_ends_though_a_copy_of_the_program_holds_its_socket() {
    let child = sleeping();
    let keeper = keeper_of(&child);
    // SAFETY: the copy makes system calls only.
    let copy = match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => loop {
            nix::unistd::pause();
        },
        nix::unistd::ForkResult::Parent { child } => child,
    };
    crossmist::keeper::end();
    wait_until_ended(keeper);
    nix::sys::signal::kill(copy, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(copy, None).unwrap();
    let result = child.join();
    assert!(matches!(result, Err(Error::KeeperDied)), "{result:?}");
}
