//! The process that makes and watches confined children: its life, its death, its load.

mod support;

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crossmist::{Child, Error, SandboxPolicy, func};
use support::{
    Holdings, patience, raw, state, stays, this_program, wait_until, wait_until_gone, within,
};

fn main() {
    if start_is_slow() {
        std::thread::sleep(Duration::from_secs(20));
    }
    crossmist::init();
    support::main(
        cases![
            a_killed_program_takes_every_child_with_it,
            a_program_that_ends_takes_every_child_with_it,
            a_killed_keeper_takes_its_children_and_the_next_call_works,
            many_threads_call_at_once,
            two_hundred_children_live_at_once,
            thousands_of_calls_leave_nothing,
            deadlines_hold_while_all_threads_are_busy,
            a_dropped_child_runs_on_until_its_deadline,
            a_child_that_is_killed_on_drop_is_gone,
            a_kill_handle_kills,
            the_program_has_no_children,
            a_forked_copy_has_a_keeper_of_its_own,
            a_prefork_server_of_four_calls,
            what_a_terminal_sends_leaves_the_keeper_alone,
            a_fresh_image_has_a_layout_of_its_own,
            large_arguments_and_answers_go_both_ways,
            a_flood_of_standard_error_holds_nobody_up,
            what_one_child_prints_no_other_has,
            a_flood_holds_up_no_deadline,
            what_children_leave_behind_is_gone_with_them,
            nothing_is_started_whose_children_would_not_be_found,
            a_traced_child_holds_up_no_other,
            a_kept_handle_costs_the_keeper_nothing,
            a_reader_of_standard_error_that_stays_away_holds_nobody_up,
            what_was_given_up_is_not_run,
            a_stopped_keeper_holds_a_call_no_longer_than_its_deadline,
            a_keeper_that_starts_slowly_holds_a_call_no_longer_than_its_deadline,
            who_gives_up_privileges_does_not_get_them_back needs Root,
            who_moves_to_another_network_takes_the_keeper_along needs Root,
            children_are_scheduled_behind_the_keeper needs Root,
            processes_of_another_namespace_are_nobodys_children needs Root,
        ],
        cases![
            helper_holds_children,
            helper_calls_on_interrupt,
            helper_floods,
            helper_forks,
            helper_starts_slowly,
            helper_hides_its_children,
            helper_shouts
        ],
    );
}

#[func(sandbox = "worker")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = "worker")]
fn add(x: u64, y: u64) -> u64 {
    x + y
}

/// The parent of a process.
fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

#[func(sandbox = "worker")]
fn stays_until(mut gone: crossmist::Receiver<()>) {
    gone.recv().unwrap();
}

fn long_sleep() -> Child<()> {
    let mut child = sleep.spawn(stays()).unwrap();
    child.confinement().unwrap();
    child
}

fn kill(pid: u32, signal: i32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(signal).unwrap()).unwrap();
}

/// Starts children and says which they are, the keeper first; then waits.
fn helper_holds_children() {
    let children: Vec<_> = (0..5).map(|_| long_sleep()).collect();
    let keeper = parent(children[0].id());
    let ids: Vec<String> = children
        .iter()
        .map(|child| child.id().to_string())
        .collect();
    println!("{keeper} {}", ids.join(" "));
    if support::case_arguments() == ["end"] {
        return;
    }
    std::thread::sleep(stays());
}

fn helper(argument: &str) -> (std::process::Child, Vec<u32>) {
    let mut program = this_program("helper_holds_children")
        .arg(argument)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = support::first_line(&mut program);
    let ids = line
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect();
    (program, ids)
}

fn a_killed_program_takes_every_child_with_it() {
    let (mut program, ids) = helper("wait");
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().all(|id| state(*id).is_some()));
    within(Duration::from_secs(1), || {
        program.kill().unwrap();
        program.wait().unwrap();
        all_gone(&ids);
    });
}

/// Waits for the end of a keeper and its children. It waits for those; for the keeper init does, when
/// it likes.
fn all_gone(ids: &[u32]) {
    ids[1..].iter().for_each(|id| wait_until_gone(*id));
    wait_until("the keeper has ended", || {
        state(ids[0]).is_none_or(|state| state == 'Z')
    });
}

fn a_program_that_ends_takes_every_child_with_it() {
    let (mut program, ids) = helper("end");
    within(Duration::from_secs(1), || {
        assert!(program.wait().unwrap().success());
        all_gone(&ids);
    });
}

fn a_killed_keeper_takes_its_children_and_the_next_call_works() {
    let children: Vec<_> = (0..3).map(|_| long_sleep()).collect();
    let ids: Vec<u32> = children.iter().map(Child::id).collect();
    let keeper = parent(ids[0]);
    assert!(ids.iter().all(|id| parent(*id) == keeper));
    assert_ne!(keeper, std::process::id());
    kill(keeper, libc::SIGKILL);
    for child in children {
        let result = within(Duration::from_secs(1), || child.join());
        assert!(matches!(result, Err(Error::KeeperDied)), "{result:?}");
    }
    ids.iter().for_each(|id| wait_until_gone(*id));
    assert_eq!(add.run(5, 7).unwrap(), 12);
    let next = long_sleep();
    assert_ne!(parent(next.id()), keeper);
    next.kill().unwrap();
}

fn many_threads_call_at_once() {
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || {
                for call in 0..25 {
                    assert_eq!(add.run(thread, call).unwrap(), thread + call);
                }
            });
        }
    });
}

fn two_hundred_children_live_at_once() {
    add.run(1, 1).unwrap();
    let holdings = Holdings::now();
    let children: Vec<_> = (0..200)
        .map(|_| {
            let (go, gone) = crossmist::channel().unwrap();
            (go, stays_until.spawn(gone).unwrap())
        })
        .collect();
    let alive = |child: &Child<()>| state(child.id()).is_some_and(|state| state != 'Z');
    assert!(children.iter().all(|(_, child)| alive(child)));
    for (go, child) in children {
        drop(go);
        child.join().unwrap();
    }
    holdings.assert_same();
}

fn thousands_of_calls_leave_nothing() {
    let keeper = {
        let child = long_sleep();
        let keeper = parent(child.id());
        child.kill().unwrap();
        keeper
    };
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/{keeper}/{what}"))
            .unwrap()
            .count()
    };
    let memory = || -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{keeper}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    for call in 0..support::repetitions(500).into() {
        assert_eq!(add.run(call, 1).unwrap(), call + 1);
    }
    let children = || {
        let list = format!("/proc/{keeper}/task/{keeper}/children");
        std::fs::read_to_string(list).unwrap()
    };
    // The process that it leaves to be looked at has ended, and is the only one.
    wait_until("the keeper has no other", || {
        children().split_whitespace().count() == 1
    });
    let witness = children();
    assert_eq!(state(witness.trim().parse().unwrap()), Some('Z'));
    let (holdings, descriptors, resident) = (Holdings::now(), count("fd"), memory());
    for call in 0..support::repetitions(10_000).into() {
        assert_eq!(add.run(call, 1).unwrap(), call + 1);
    }
    holdings.assert_same();
    holdings.assert_memory(2 << 20);
    // When it was counted first, it may not have let go of the last child.
    wait_until("the keeper has let go", || count("fd") <= descriptors);
    assert!(
        memory() <= resident + (1 << 20),
        "{} then {}",
        resident,
        memory()
    );
    assert_eq!(children(), witness);
}

fn deadlines_hold_while_all_threads_are_busy() {
    let child = sleep
        .builder()
        .deadline(patience(Duration::from_millis(300)))
        .spawn(stays())
        .unwrap();
    let id = child.id();
    // Nobody waits for it, and every processor has more to do than it can.
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        wait_until("its deadline ended it", || {
            state(id).is_none_or(|state| state == 'Z')
        });
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(matches!(child.join(), Err(Error::Deadline { .. })));
}

fn a_dropped_child_runs_on_until_its_deadline() {
    let child = sleep
        .builder()
        .deadline(patience(Duration::from_secs(4)))
        .spawn(stays())
        .unwrap();
    let id = child.id();
    drop(child);
    std::thread::sleep(Duration::from_millis(100));
    assert!(state(id).is_some());
    within(Duration::from_secs(4), || wait_until_gone(id));
}

fn a_child_that_is_killed_on_drop_is_gone() {
    let child = sleep.builder().kill_on_drop(true).spawn(stays()).unwrap();
    let id = child.id();
    drop(child);
    within(Duration::from_secs(1), || wait_until_gone(id));
}

fn a_kill_handle_kills() {
    let child = long_sleep();
    let handle = child.kill_handle();
    let killer = std::thread::spawn(move || handle.kill());
    let result = within(Duration::from_secs(1), || child.join());
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");
    killer.join().unwrap().unwrap();
}

fn the_program_has_no_children() {
    raw::handle(libc::SIGCHLD);
    let child = long_sleep();
    // Neither the keeper nor its child: `wait` of the program finds none, and no signal came.
    assert_eq!(raw::any_child(), None);
    child.kill().unwrap();
    drop(child);
    // A program that ignores SIGCHLD loses nothing.
    raw::ignore(libc::SIGCHLD);
    assert_eq!(add.run(5, 7).unwrap(), 12);
    let result = sleep
        .builder()
        .deadline(patience(Duration::from_millis(100)))
        .run(stays());
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

fn a_forked_copy_has_a_keeper_of_its_own() {
    let before = raw::in_fork(|| assert_eq!(add.run(1, 2).unwrap(), 3));
    assert_eq!(before, 0);
    let child = long_sleep();
    let keeper = parent(child.id());
    let copy = raw::in_fork(|| {
        let own = long_sleep();
        assert_ne!(parent(own.id()), keeper);
        own.kill().unwrap();
    });
    assert_eq!(copy, 0);
    // The end of the copy is not the end of the original, nor of its children.
    std::thread::sleep(Duration::from_millis(100));
    assert!(state(child.id()).is_some());
    assert_eq!(add.run(5, 7).unwrap(), 12);
    child.kill().unwrap();
}

fn a_prefork_server_of_four_calls() {
    add.run(0, 0).unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            raw::fork(|| {
                for call in 0..20 {
                    assert_eq!(add.run(call, call).unwrap(), 2 * call);
                }
            })
        })
        .collect();
    for worker in workers {
        assert_eq!(raw::exit_status(worker), 0);
    }
    assert_eq!(add.run(5, 7).unwrap(), 12);
}

/// Survives Ctrl-C, and finishes its call.
fn helper_calls_on_interrupt() {
    raw::ignore(libc::SIGINT);
    raw::ignore(libc::SIGTSTP);
    let child = sleep.spawn(Duration::from_millis(700)).unwrap();
    println!("ready");
    child.join().unwrap();
    assert_eq!(add.run(5, 7).unwrap(), 12);
}

fn what_a_terminal_sends_leaves_the_keeper_alone() {
    let mut program: std::process::Child = {
        let mut command: Command = this_program("helper_calls_on_interrupt");
        command
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    support::first_line(&mut program);
    let group = nix::unistd::Pid::from_raw(program.id().try_into().unwrap());
    for signal in [libc::SIGINT, libc::SIGTSTP] {
        let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
        nix::sys::signal::killpg(group, signal).unwrap();
    }
    assert!(program.wait().unwrap().success());
}

#[func(sandbox = "pure")]
fn place() -> usize {
    here as *const () as usize
}

fn here() {}

#[func(sandbox = "pure", launch = "exec")]
fn fresh_place() -> usize {
    here as *const () as usize
}

fn a_fresh_image_has_a_layout_of_its_own() {
    let forked: Vec<usize> = (0..4).map(|_| place.run().unwrap()).collect();
    assert!(forked.iter().all(|at| *at == forked[0]), "{forked:x?}");
    assert_ne!(forked[0], here as *const () as usize);
    let mut fresh: Vec<usize> = (0..4).map(|_| fresh_place.run().unwrap()).collect();
    fresh.push(forked[0]);
    fresh.sort_unstable();
    fresh.dedup();
    assert_eq!(fresh.len(), 5, "{fresh:x?}");
}

#[func(sandbox = "pure")]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn large_arguments_and_answers_go_both_ways() {
    for length in [0, 1, 100_000, 300_000, 5 << 20] {
        let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        assert_eq!(echo.run(bytes.clone()).unwrap(), bytes, "{length}");
    }
}

#[func(sandbox = "parser")]
fn shouts(lines: u32) -> u32 {
    for line in 0..lines {
        eprintln!("{line} {}", "x".repeat(500));
    }
    lines
}

fn a_flood_of_standard_error_holds_nobody_up() {
    let mut quiet = this_program("a_flood_of_standard_error_holds_nobody_up");
    if std::env::var_os("SHOUT").is_some() {
        assert_eq!(shouts.run(5000).unwrap(), 5000);
        return;
    }
    let output = quiet.env("SHOUT", "1").output().unwrap();
    assert!(output.status.success());
    // The end of it is kept.
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.len() < 80 << 10, "{}", text.len());
    assert!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("]: 4999 x")
    );
}

fn a_stopped_keeper_holds_a_call_no_longer_than_its_deadline() {
    let child = long_sleep();
    let keeper = parent(child.id());
    child.kill().unwrap();
    drop(child);
    kill(keeper, libc::SIGSTOP);
    let result = within(Duration::from_millis(300), || {
        add.builder().deadline(Duration::from_millis(300)).run(5, 7)
    });
    assert!(
        matches!(result, Err(Error::Launch { .. } | Error::Deadline { .. })),
        "{result:?}"
    );
    kill(keeper, libc::SIGCONT);
    assert_eq!(add.run(5, 7).unwrap(), 12);
}

/// Whether this is the keeper of a copy of this program that was told so by a file.
fn start_is_slow() -> bool {
    let is_keeper = std::env::args().nth(1).as_deref() == Some("--crossmist-keeper");
    let program = std::env::current_exe().unwrap();
    is_keeper && program.with_file_name("slow").exists()
}

fn a_keeper_that_starts_slowly_holds_a_call_no_longer_than_its_deadline() {
    let directory = support::Directory::new();
    let program = directory.path().join("program");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    std::fs::write(directory.path().join("slow"), "").unwrap();
    let mut command = this_program("helper_starts_slowly");
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut copy = Command::new(&program);
    copy.args(arguments);
    for (name, value) in command.get_envs() {
        copy.env(name, value.unwrap_or_default());
    }
    assert!(copy.status().unwrap().success());
    // The control: this one isn't slow.
    assert!(command.arg("quickly").status().unwrap().success());
}

fn helper_starts_slowly() {
    // With that feature nothing comes before the entry, and nothing is slow.
    let quickly = support::case_arguments() == ["quickly"] || cfg!(feature = "early-entry");
    // The second waits for the first, and no longer, either.
    let time = Duration::from_millis(if quickly { 60_000 } else { 300 });
    let call = || add.builder().deadline(time).run(5, 7);
    within(Duration::from_secs(2), || {
        std::thread::scope(|scope| {
            let calls = [scope.spawn(call), scope.spawn(call)];
            for result in calls.map(|call| call.join().unwrap()) {
                assert_eq!(result.is_ok(), quickly, "{result:?}");
            }
        });
    });
}

#[func(sandbox = "unconfined")]
fn reads(file: String) -> (u32, Option<String>) {
    let user = nix::unistd::geteuid().as_raw();
    (user, std::fs::read_to_string(file).ok())
}

fn who_gives_up_privileges_does_not_get_them_back() {
    use std::os::unix::fs::PermissionsExt;
    let directory = support::Directory::new();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.to_str().unwrap().to_owned();
    // In a copy, so that this one can remove what it has made.
    let status = raw::in_fork(|| {
        let text = "format = 1\nextends = [\"unconfined\"]\n[process]\nuser = \"same\"\n";
        let policy = SandboxPolicy::from_toml("same", text).unwrap();
        // The control.
        let read = || same.sandbox(&policy).run(secret.clone()).unwrap();
        assert_eq!(read(), (0, Some("secret".to_owned())));
        let before = long_sleep();
        let (user, group) = (
            nix::unistd::Uid::from_raw(65534),
            nix::unistd::Gid::from_raw(65534),
        );
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setresgid(group, group, group).unwrap();
        nix::unistd::setresuid(user, user, user).unwrap();
        assert_eq!(read(), (65534, None));
        // Children of the keeper that there was are gone with it.
        within(Duration::from_secs(1), || {
            assert!(matches!(before.join(), Err(Error::KeeperDied)));
        });
    });
    assert_eq!(status, 0);
}

#[func(sandbox = dynamic)]
fn same(file: String) -> (u32, Option<String>) {
    reads.call_unconfined(file)
}

#[func(sandbox = "unconfined")]
fn network() -> std::path::PathBuf {
    std::fs::read_link("/proc/self/ns/net").unwrap()
}

fn who_moves_to_another_network_takes_the_keeper_along() {
    let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = own();
    assert_eq!(network.run().unwrap(), before);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert_ne!(own(), before);
    assert_eq!(network.run().unwrap(), own());
}

/// Nice value and policy of a process.
fn scheduling(pid: u32) -> [String; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = rest.split(' ').collect();
    [fields[16].to_owned(), fields[38].to_owned()]
}

fn children_are_scheduled_behind_the_keeper() {
    raw::be_important();
    let child = long_sleep();
    // SCHED_FIFO is 1, SCHED_OTHER 0.
    assert_eq!(scheduling(parent(child.id()))[1], "1");
    // The nice value is the caller's.
    let nice = scheduling(std::process::id())[0].clone();
    let ordinary = [nice, "0".to_owned()];
    assert_eq!(scheduling(child.id()), ordinary);
    let mut fresh = fresh_sleep.spawn(stays()).unwrap();
    fresh.confinement().unwrap();
    assert_eq!(scheduling(fresh.id()), ordinary);
}

#[func(sandbox = "worker", launch = "exec")]
fn fresh_sleep(time: Duration) {
    std::thread::sleep(time);
}

fn processes_of_another_namespace_are_nobodys_children() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).unwrap();
    // This `/proc` has the numbers of the namespace outside.
    let status = raw::in_fork(|| {
        assert_eq!(std::process::id(), 1);
        assert_eq!(add.run(1, 2).unwrap(), 3);
        let (sender, _receiver) = crossmist::channel().unwrap();
        let error = forks.sandbox(&forking()).run(sender, stays()).unwrap_err();
        assert!(
            error.to_string().contains("list the keeper's children"),
            "{error}"
        );
    });
    assert_eq!(status, 0);
}

/// What a secret is hidden by, so that nobody has it who isn't meant to.
const MASK: u8 = 0x55;

#[func(sandbox = "parser")]
fn prints(hidden: Vec<u8>) {
    let secret: String = hidden.iter().map(|byte| char::from(byte ^ MASK)).collect();
    eprintln!("{secret}");
}

/// How often a secret is in this process's memory; with `plants` it is, at least once.
#[func(sandbox = dynamic)]
fn finds(hidden: Vec<u8>, plants: bool) -> usize {
    use std::os::unix::fs::FileExt;
    let planted: Vec<u8> = match plants {
        true => hidden.iter().map(|byte| byte ^ MASK).collect(),
        false => Vec::new(),
    };
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; (number(end) - number(start)) as usize];
        // The kernel's own pages can't be read.
        if memory.read_exact_at(&mut bytes, number(start)).is_ok() {
            let is_it = |window: &[u8]| window.iter().zip(&hidden).all(|(a, b)| *a == b ^ MASK);
            found += bytes
                .windows(hidden.len())
                .filter(|window| is_it(window))
                .count();
        }
    }
    std::hint::black_box(planted);
    found
}

fn what_one_child_prints_no_other_has() {
    let secret = format!("the password is {}", std::process::id());
    let hidden: Vec<u8> = secret.bytes().map(|byte| byte ^ MASK).collect();
    let text = "format = 1\nextends = [\"unconfined\"]\n";
    let open = SandboxPolicy::from_toml("open", text).unwrap();
    // The control: where it is, it is found.
    assert!(finds.sandbox(&open).run(hidden.clone(), true).unwrap() > 0);
    for _ in 0..3 {
        prints.run(hidden.clone()).unwrap();
        assert_eq!(finds.sandbox(&open).run(hidden.clone(), false).unwrap(), 0);
    }
}

/// Writes to standard error without end, on two threads.
#[func(sandbox = "parser")]
fn floods() {
    use std::io::Write;
    let flood = || while std::io::stderr().write_all(&[b'x'; 60_000]).is_ok() {};
    std::thread::scope(|scope| {
        scope.spawn(flood);
        flood();
    });
}

fn a_flood_holds_up_no_deadline() {
    let output = this_program("helper_floods").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn helper_floods() {
    // More of them than there are processors to stop at the same time.
    let children: Vec<_> = (0..4)
        .map(|_| {
            let deadline = patience(Duration::from_millis(500));
            floods.builder().deadline(deadline).spawn().unwrap()
        })
        .collect();
    let quiet = sleep
        .builder()
        .deadline(patience(Duration::from_millis(500)))
        .spawn(stays())
        .unwrap();
    let ids: Vec<_> = children.iter().map(Child::id).chain([quiet.id()]).collect();
    // Nobody but the keeper looks after them.
    children.into_iter().for_each(std::mem::forget);
    std::mem::forget(quiet);
    within(Duration::from_secs(5), || {
        ids.into_iter().for_each(wait_until_gone)
    });
}

/// Becomes three processes, each the last one's child, which stay.
#[func(sandbox = dynamic)]
fn forks(mut ids: crossmist::Sender<u32>, time: Duration) {
    fn stay(ids: &mut crossmist::Sender<u32>, time: Duration, more: u32) {
        if more > 0 {
            raw::fork(|| stay(ids, time, more - 1));
        }
        ids.send(&std::process::id()).unwrap();
        std::thread::sleep(time);
    }
    stay(&mut ids, time, 2);
}

fn forking() -> SandboxPolicy {
    let text = "format = 1\nextends = [\"parser\"]\n[limits]\nprocesses = 8\nwall_time = \"none\"\n[syscalls]\n\
                allow = [{ call = \"@process\", why = \"the test\" }]\n";
    SandboxPolicy::from_toml("forking", text).unwrap()
}

/// Starts them, and gives their ids once all of them run.
fn forked(deadline: Duration) -> (Child<()>, Vec<u32>) {
    let (sender, mut ids) = crossmist::channel().unwrap();
    let builder = forks.sandbox(&forking()).deadline(deadline);
    let child = builder.spawn(sender, stays()).unwrap();
    let ids: Vec<u32> = (0..3).map(|_| ids.recv().unwrap().unwrap()).collect();
    // The control: they are there.
    assert!(ids.iter().all(|id| state(*id).is_some()));
    (child, ids)
}

fn what_children_leave_behind_is_gone_with_them() {
    let (child, ids) = forked(patience(Duration::from_secs(1)));
    assert!(matches!(child.join(), Err(Error::Deadline { .. })));
    within(Duration::from_secs(1), || {
        ids.into_iter().for_each(wait_until_gone)
    });
    // And when the program ends, by SIGKILL.
    let mut program = this_program("helper_forks")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = support::first_line(&mut program);
    let ids: Vec<u32> = line
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect();
    assert_eq!(ids.len(), 3);
    program.kill().unwrap();
    program.wait().unwrap();
    within(Duration::from_secs(1), || {
        ids.into_iter().for_each(wait_until_gone)
    });
}

fn helper_forks() {
    let (child, ids) = forked(stays());
    let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
    println!("{}", ids.join(" "));
    child.join().unwrap();
}

fn nothing_is_started_whose_children_would_not_be_found() {
    // The library opens `/proc` at its start: the mounts have to be the program's own by then.
    let mut program = this_program("helper_hides_its_children");
    let begin = || {
        use nix::mount::{MsFlags, mount};
        let none = None::<&str>;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        Ok(())
    };
    raw::before_exec(&mut program, begin);
    let output = program.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn helper_hides_its_children() {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    // The control: there it is found.
    let (child, _) = forked(stays());
    let keeper = parent(child.id());
    drop(child);
    // Reading this at its beginning fails with EIO.
    let list = format!("/proc/{keeper}/task/{keeper}/children");
    mount(
        Some("/proc/self/mem"),
        list.as_str(),
        none,
        MsFlags::MS_BIND,
        none,
    )
    .unwrap();
    let (sender, _receiver) = crossmist::channel().unwrap();
    let error = forks.sandbox(&forking()).run(sender, stays()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("list the keeper's children") && text.contains("CONFIG_PROC_CHILDREN"),
        "{text}"
    );
    // It is the matter of those policies only.
    assert_eq!(add.run(1, 2).unwrap(), 3);
}

fn a_traced_child_holds_up_no_other() {
    use nix::sys::ptrace;
    let deadline = patience(Duration::from_millis(300));
    let builder = sleep.builder().deadline(deadline);
    let child = builder.spawn(stays()).unwrap();
    let traced = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    ptrace::seize(traced, ptrace::Options::empty()).expect("needs root");
    wait_until("it has been killed", || state(child.id()) == Some('Z'));
    // Its status is the tracer's to take first, and it does not. The keeper would wait for that.
    within(Duration::from_secs(2), || {
        assert_eq!(add.run(1, 2).unwrap(), 3);
        let overdue = sleep.builder().deadline(deadline);
        let overdue = overdue.run(stays());
        assert!(
            matches!(overdue, Err(Error::Deadline { .. })),
            "{overdue:?}"
        );
    });
    assert_eq!(state(child.id()), Some('Z'));
    // Once it has, the keeper takes it, too.
    nix::sys::wait::waitpid(traced, None).unwrap();
    within(Duration::from_secs(2), || {
        assert!(matches!(child.join(), Err(Error::Deadline { .. })));
        wait_until_gone(traced.as_raw().unsigned_abs());
    });
}

/// How long a process has run on a processor, in ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = rest.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn a_kept_handle_costs_the_keeper_nothing() {
    let keeper = parent(long_sleep().id());
    let child = sleep.spawn(Duration::ZERO).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let before = ticks(keeper);
    std::thread::sleep(Duration::from_secs(1));
    // A hundred, where it spins.
    assert!(ticks(keeper) - before < 10);
    child.join().unwrap();
}

#[func(sandbox = "parser")]
fn newlines() {
    use std::io::Write;
    std::io::stderr().write_all(&[b'\n'; 64 << 10]).unwrap();
}

fn a_reader_of_standard_error_that_stays_away_holds_nobody_up() {
    let (reader, writer) = std::io::pipe().unwrap();
    let begun = Instant::now();
    let status = this_program("helper_shouts")
        .stderr(writer)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(
        begun.elapsed() < support::patience(Duration::from_secs(20)),
        "{:?}",
        begun.elapsed()
    );
    drop(reader);
    // A terminal says that it can be written to, and then waits.
    let terminal = nix::pty::openpty(None, None).unwrap();
    within(Duration::from_secs(5), || {
        let status = this_program("helper_shouts")
            .stderr(terminal.slave)
            .status();
        assert!(status.unwrap().success());
    });
    // And a pipe for many at once, of which all but one find it full.
    let (reader, writer) = std::io::pipe().unwrap();
    within(Duration::from_secs(5), || {
        let status = this_program("helper_shouts")
            .arg("together")
            .stderr(writer)
            .status();
        assert!(status.unwrap().success());
    });
    drop(reader);
}

fn helper_shouts() {
    if support::case_arguments() == ["together"] {
        let calls: Vec<_> = (0..16)
            .map(|_| std::thread::spawn(|| newlines.run().unwrap()))
            .collect();
        calls.into_iter().for_each(|call| call.join().unwrap());
    }
    for _ in 0..3 {
        newlines.run().unwrap();
    }
}

#[func(sandbox = "worker")]
fn marks(file: std::fs::File) {
    use std::io::Write;
    (&file).write_all(b"it ran").unwrap();
}

fn what_was_given_up_is_not_run() {
    let child = long_sleep();
    let keeper = parent(child.id());
    let path = std::env::temp_dir().join(format!("crossmist-late-{}", std::process::id()));
    let marked = || std::fs::read(&path).unwrap();
    let open = || std::fs::File::create(&path).unwrap();
    // The control: it marks the file.
    marks.run(open()).unwrap();
    assert_eq!(marked(), b"it ran");
    kill(keeper, libc::SIGSTOP);
    // Without a deadline, which would end it late, too: what counts is that nobody waits any more.
    let late = marks.run(open());
    kill(keeper, libc::SIGCONT);
    assert!(matches!(late, Err(Error::Launch { .. })), "{late:?}");
    // The keeper serves in order: whatever was asked before has been looked at by now.
    assert_eq!(add.run(1, 2).unwrap(), 3);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(marked(), b"");
    // One that was killed isn't made later, either.
    kill(keeper, libc::SIGSTOP);
    let child = marks.spawn(open()).unwrap();
    child.kill().unwrap();
    kill(keeper, libc::SIGCONT);
    within(Duration::from_secs(1), || {
        assert!(matches!(child.join(), Err(Error::Killed)));
    });
    assert_eq!(add.run(1, 2).unwrap(), 3);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(marked(), b"");
    std::fs::remove_file(path).unwrap();
}
