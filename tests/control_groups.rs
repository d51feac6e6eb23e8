//! Control groups of children: what they bound, and that nothing is left of them.
//!
//! A case makes the place for them: a group that was delegated to it, as a service manager would.

#![expect(unsafe_code, reason = "native code of an attacker")]

#[path = "support/starts.rs"]
mod starts;
mod support;

use std::path::PathBuf;
use std::time::Duration;

use crossmist::{Error, SandboxPolicy, func};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use starts::{STAY, fork, start};
use support::groups::{clean_up, delegate, groups, members};
use support::{raw, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_group_ends_all_that_a_child_has_started needs Root ControlGroups,
            a_group_ends_with_its_program needs Root ControlGroups,
            a_child_that_cannot_begin_in_its_group_joins_it needs Root ControlGroups,
            a_child_begins_in_its_group_however_it_is_started needs Root Controllers,
            nothing_is_left_of_groups needs Root ControlGroups,
            a_group_that_cannot_be_is_missing_from_the_status_or_an_error needs Root,
            a_group_bounds_memory_that_no_limit_counts needs Root Controllers,
            a_group_bounds_watches_of_sockets needs Root Controllers,
            a_group_bounds_copies_of_what_was_prepared needs Root Controllers,
            a_group_bounds_threads_and_processes_together needs Root Controllers,
        ],
        cases![helper_leaves_processes],
    );
}

fn policy(rest: &str) -> SandboxPolicy {
    let text = format!("format = 1\nextends = [\"worker\"]\n{rest}");
    SandboxPolicy::from_toml("grouped", &text).unwrap()
}

/// Starts processes of the program's user, which only a group can end all at once.
fn forker(group: &str) -> SandboxPolicy {
    policy(&format!(
        "[process]\nuser = \"same\"\n[syscalls]\nallow = [{{ call = \"@process\", why = \"a storm\" }}]\n\
         [limits]\nprocesses = 64\ncontrol_group = \"{group}\"\n"
    ))
}

fn a_group_ends_all_that_a_child_has_started() {
    let unit = delegate("ends");
    let mut child = start(&forker("if-possible"), 20);
    assert!(
        child
            .confinement()
            .unwrap()
            .unwrap()
            .control_group
            .is_some()
    );
    let group = groups(&unit).pop().unwrap();
    let inside = members(&group);
    assert_eq!(inside.len(), 21);
    assert!(inside.contains(&child.id().unwrap()));
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
    within(Duration::from_secs(3), || {
        support::wait_until("the group is gone", || groups(&unit).is_empty());
        inside.iter().for_each(|pid| support::wait_until_gone(*pid));
    });
    clean_up(&unit);
}

fn helper_leaves_processes() {
    let unit = PathBuf::from(support::case_arguments().remove(0));
    let child = start(&forker("if-possible"), 20);
    println!("{}", groups(&unit).pop().unwrap().display());
    std::thread::sleep(STAY);
    drop(child);
}

fn a_group_ends_with_its_program() {
    let unit = delegate("program");
    let mut program = support::this_program("helper_leaves_processes");
    let mut program = program
        .arg(&unit)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let group = PathBuf::from(support::first_line(&mut program).trim());
    assert_eq!(members(&group).len(), 21);
    program.kill().unwrap();
    program.wait().unwrap();
    within(Duration::from_secs(3), || {
        support::wait_until("the group is gone", || !group.exists());
    });
    clean_up(&unit);
}

#[func(sandbox = dynamic)]
fn adds(x: u64, y: u64) -> u64 {
    x + y
}

fn nothing_is_left_of_groups() {
    let unit = delegate("nothing");
    let policy = policy("[limits]\ncontrol_group = \"if-possible\"\n");
    let begun = std::time::Instant::now();
    for x in 0..50 {
        assert_eq!(adds.sandbox(&policy).run(x, 1).unwrap(), x + 1);
    }
    println!("{:?} a call", begun.elapsed() / 50);
    support::wait_until("no group is left", || groups(&unit).is_empty());
    // By an address space of its own as well.
    let own = SandboxPolicy::from_toml(
        "own",
        "format = 1\nextends = [\"worker\"]\n[process]\nlaunch = \"exec\"\n[limits]\ncontrol_group = \"if-possible\"\n",
    );
    let mut child = adds.sandbox(&own.unwrap()).spawn(1, 2).unwrap();
    assert!(
        child
            .confinement()
            .unwrap()
            .unwrap()
            .control_group
            .is_some()
    );
    assert_eq!(child.join().unwrap(), 3);
    clean_up(&unit);
}

fn a_child_that_cannot_begin_in_its_group_joins_it() {
    let unit = delegate("joins");
    // As filters of containers answer it.
    raw::play_a_kernel_without(&[raw::Refused::call(libc::SYS_clone3, libc::ENOSYS)]);
    let child = start(&forker("if-possible"), 3);
    let inside = members(&groups(&unit).pop().unwrap());
    assert_eq!(inside.len(), 4);
    assert!(inside.contains(&child.id().unwrap()));
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
    clean_up(&unit);
}

fn a_child_begins_in_its_group_however_it_is_started() {
    let unit = delegate("begins");
    // The most that there were at once: what starts a child in its group begins there as well. Before Linux 6.10 the
    // kernel does not tell.
    let most = |launch: &str| {
        let more =
            format!("[process]\nlaunch = \"{launch}\"\n[limits]\ncontrol_group = \"required\"\n");
        let child = start(&policy(&more), 0);
        let peak = std::fs::read_to_string(groups(&unit).pop().unwrap().join("pids.peak"));
        child.kill().unwrap();
        assert!(matches!(child.join(), Err(Error::Killed)));
        support::wait_until("the group is gone", || groups(&unit).is_empty());
        peak.map(|peak| peak.trim().to_owned()).ok()
    };
    if most("fork").is_some() {
        for launch in ["fork", "exec"] {
            // On a machine that is busy, one of them may join it instead.
            let begins = (0..20).any(|_| most(launch).as_deref() == Some("2"));
            assert!(begins, "{launch}");
        }
        // The control: these join it.
        crossmist::keeper::end();
        raw::play_a_kernel_without(&[raw::Refused::call(libc::SYS_clone3, libc::ENOSYS)]);
        for launch in ["fork", "exec"] {
            assert_eq!(most(launch).as_deref(), Some("1"), "{launch}");
        }
    }
    clean_up(&unit);
}

fn a_group_that_cannot_be_is_missing_from_the_status_or_an_error() {
    // Control groups that nobody has mounted.
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points: Vec<&str> = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    for point in points.iter().rev() {
        let detach = nix::mount::MntFlags::MNT_DETACH;
        nix::mount::umount2(*point, detach).unwrap();
    }
    let with = |group: &str| policy(&format!("[limits]\ncontrol_group = \"{group}\"\n"));
    for group in ["if-possible", "none"] {
        let mut child = adds.sandbox(&with(group)).spawn(1, 2).unwrap();
        assert_eq!(child.confinement().unwrap().unwrap().control_group, None);
        assert_eq!(child.join().unwrap(), 3);
    }
    let refused = adds.sandbox(&with("required")).run(1, 2);
    let Err(Error::Policy { reason, .. }) = &refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("it requires a control group"), "{reason}");
    assert!(reason.contains("Delegate="), "{reason}");
}

/// Fills memory objects of 16 MiB, one after the other.
#[func(sandbox = dynamic)]
fn hoards(count: usize) -> usize {
    let mut filled = 0;
    let bytes = vec![1; 16 << 20];
    for _ in 0..count {
        // SAFETY: a name and flags; the descriptor stays open.
        let fd = unsafe { libc::memfd_create(c"hoard".as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: writes the bytes.
        if unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } != bytes.len() as isize {
            break;
        }
        filled += 1;
    }
    filled
}

fn a_group_bounds_memory_that_no_limit_counts() {
    let unit = delegate("memory");
    let with = |group: &str| {
        policy(&format!(
            "[limits]\nmemory = \"128MiB\"\ncontrol_group = \"{group}\"\n"
        ))
    };
    // The control: 320 MiB. Huge pages make what a child has of private memory more than it writes.
    assert_eq!(hoards.sandbox(&with("none")).run(20).unwrap(), 20);
    let mut child = hoards.sandbox(&with("required")).spawn(2).unwrap();
    let group = child.confinement().unwrap().unwrap().control_group.unwrap();
    assert!(group.memory && group.tasks);
    assert_eq!(child.join().unwrap(), 2);
    let ended = hoards.sandbox(&with("required")).run(20);
    let Err(Error::Limit { resource, .. }) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(resource, crossmist::Resource::Memory);
    clean_up(&unit);
}

/// Waits for each of many sockets by each of many epolls: 300,000 watches, which take some 60 MB of the kernel's
/// memory.
#[func(sandbox = dynamic)]
fn watches_sockets() -> usize {
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let sockets: Vec<_> = (0..600).map(|_| socket.try_clone().unwrap()).collect();
    let mut count = 0;
    let mut kept = Vec::new();
    for _ in 0..500 {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        for socket in &sockets {
            let event = EpollEvent::new(EpollFlags::EPOLLPRI, 0);
            count += usize::from(epoll.add(socket, event).is_ok());
        }
        kept.push(epoll);
    }
    count
}

fn a_group_bounds_watches_of_sockets() {
    let unit = delegate("watches");
    let with = |group: &str| {
        policy(&format!(
            "[limits]\nmemory = \"16MiB\"\nopen_files = 1200\ncontrol_group = \"{group}\"\n"
        ))
    };
    // The control: `memory` doesn't count them.
    assert_eq!(
        watches_sockets.sandbox(&with("none")).run().unwrap(),
        300_000
    );
    let ended = watches_sockets.sandbox(&with("required")).run();
    let Err(Error::Limit { resource, .. }) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(resource, crossmist::Resource::Memory);
    clean_up(&unit);
}

static PREPARED: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());

fn prepare_much() {
    *PREPARED.lock().unwrap() = vec![1; 200 << 20];
}

/// Writes to its copy of every page.
#[func(sandbox = dynamic, preload = prepare_much)]
fn copies() -> usize {
    let mut prepared = PREPARED.lock().unwrap();
    prepared
        .iter_mut()
        .step_by(4096)
        .for_each(|byte| *byte += 1);
    prepared.iter().filter(|byte| **byte == 2).count()
}

fn a_group_bounds_copies_of_what_was_prepared() {
    let unit = delegate("copies");
    let with = |group: &str| {
        policy(&format!(
            "[limits]\nmemory = \"64MiB\"\ncontrol_group = \"{group}\"\n"
        ))
    };
    // The control: `memory` doesn't count them.
    assert_eq!(copies.sandbox(&with("none")).run().unwrap(), 200 << 8);
    let ended = copies.sandbox(&with("required")).run();
    let Err(Error::Limit { resource, .. }) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(resource, crossmist::Resource::Memory);
    clean_up(&unit);
}

/// How many processes it can start.
#[func(sandbox = dynamic)]
fn counts(most: usize) -> usize {
    let mut started = 0;
    for _ in 0..most {
        match fork() {
            0 => {
                std::thread::sleep(STAY);
                raw::exit(0)
            }
            -1 => break,
            _ => started += 1,
        }
    }
    started
}

fn a_group_bounds_threads_and_processes_together() {
    let unit = delegate("tasks");
    // Of the program's user, so that nothing else bounds them.
    assert_eq!(counts.sandbox(&forker("none")).run(100).unwrap(), 100);
    assert_eq!(counts.sandbox(&forker("required")).run(100).unwrap(), 63);
    clean_up(&unit);
}
