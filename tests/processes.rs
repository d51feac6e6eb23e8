//! The surroundings of a call: the executable, `/proc`, signals, descriptors, privileges, forks.

mod support;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crossmist::{Error, Stdio, channel, duplex, func};
use support::{Directory, Holdings, LOADER, raw, state, this_program, wait_until, within};

/// Closes descriptors before the library is entered.
const CLOSE_FIRST: &str = "CROSSMIST_TEST_CLOSE_FIRST";

/// Passes the start of a child on to another program.
const INTERCEPT: &str = "CROSSMIST_TEST_INTERCEPT";

/// A file to wait for before a call; another one is written when the wait begins.
const WAIT_FOR: &str = "CROSSMIST_TEST_WAIT_FOR";

/// Before everything else of the program, wherever it enters the library.
#[used]
#[unsafe(link_section = ".init_array.00100")]
#[expect(unsafe_code, reason = "a constructor")]
static PASS_ON: extern "C" fn() = {
    extern "C" fn pass_on() {
        let mut arguments = std::env::args_os().skip(1);
        if let Some(target) = std::env::var_os(INTERCEPT)
            && arguments
                .next()
                .is_some_and(|first| first == "--crossmist-child")
        {
            let _ = Command::new(target)
                .arg("--crossmist-child")
                .args(arguments)
                .env_remove(INTERCEPT)
                .exec();
            raw::exit(1);
        }
    }
    pass_on
};

/// Written by hand, as some cases have to do something before `init`.
fn main() {
    if let Ok(numbers) = std::env::var(CLOSE_FIRST) {
        for number in numbers.split(',') {
            raw::close(number.parse().unwrap());
        }
    }
    crossmist::init();
    support::main(
        cases![
            a_child_inherits_only_what_it_was_passed,
            a_child_starts_with_its_signals_as_a_program_expects_them,
            a_child_is_named_after_its_function,
            a_child_has_the_name_and_file_of_its_program,
            a_program_calls_without_proc needs Root,
            a_root_without_the_loader_is_an_error_that_says_so needs Root,
            a_program_without_proc_from_the_beginning_says_so needs Root,
            a_program_that_was_deleted_calls,
            a_program_that_was_replaced_calls_itself,
            a_program_calls_with_its_standard_descriptors_closed,
            a_program_calls_with_them_closed_before_the_entry,
            a_program_started_by_the_loader_says_so needs Loader,
            a_program_without_leave_to_read_itself_says_so needs Root,
            a_set_user_id_program_calls_nothing_unasked needs Root,
            a_set_user_id_program_is_nobodys_child needs Root,
            a_program_with_capabilities_is_nobodys_child needs Root,
            a_forged_start_is_refused,
            a_forked_copy_calls,
            a_prefork_server_calls,
            a_forked_copy_leaves_the_children_of_the_original_alone,
            ignored_sigchld_costs_the_status_and_not_the_value,
            a_stolen_status_costs_the_status_and_not_the_value,
            handlers_of_the_program_do_not_disturb,
            a_full_descriptor_table_is_an_error_that_says_so,
            a_full_descriptor_table_does_not_forget_a_deadline,
            a_full_descriptor_table_in_the_child_is_an_error,
            more_descriptors_than_a_packet_takes_are_refused_by_the_sender,
            descriptors_in_flight_have_a_limit_that_the_error_names needs Root,
            a_thread_that_ends_takes_no_child_with_it,
            a_process_limit_is_an_error_that_says_so needs Root,
        ],
        cases![helper_call],
    );
}

#[func]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[func]
fn sleep_for(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Returns once it may.
#[func]
fn waits_for_word(mut word: crossmist::Receiver<u64>) -> u64 {
    word.recv().unwrap().unwrap()
}

/// The user that a child runs as.
#[func]
fn read_user() -> u32 {
    raw::effective_user()
}

/// A program that makes one call and prints what came of it.
fn helper_call() {
    if let Ok(path) = std::env::var(WAIT_FOR) {
        std::fs::write(format!("{path}.begun"), "").unwrap();
        wait_until("it may go on", || std::path::Path::new(&path).exists());
    }
    match support::case_arguments().first().map(String::as_str) {
        Some("privileged") => println!("{:?}", add.builder().allow_privileged().run(5, 7)),
        Some("dropped") => {
            raw::drop_privileges();
            println!("{:?}", add.builder().allow_privileged().run(5, 7));
        }
        Some("stdin") => println!("{:?}", add.builder().stdin(Stdio::Null).run(5, 7)),
        Some("user") => println!("{:?}", read_user.run()),
        Some("in flight") => println!("{}", fill_the_flight()),
        Some("process limit") => {
            use nix::sys::resource::{Resource, setrlimit};
            setrlimit(Resource::RLIMIT_NPROC, 0, 0).unwrap();
            println!("{:?}", add.run(5, 7));
        }
        _ => println!("{:?}", add.run(5, 7)),
    }
}

#[track_caller]
fn assert_calls(output: &Output) {
    assert_prints(output, "Ok(12)\n");
    assert_eq!(output.status.code(), Some(0));
}

#[track_caller]
fn assert_prints(output: &Output, beginning: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with(beginning), "{output:?}");
}

/// This program under its own name.
fn own_path() -> std::path::PathBuf {
    std::fs::read_link("/proc/self/exe").unwrap()
}

#[func]
fn open_descriptors() -> BTreeMap<i32, String> {
    support::descriptors()
}

fn a_child_inherits_only_what_it_was_passed() {
    let (reader, writer) = std::io::pipe().unwrap();
    // Any other program that is started here would have them.
    raw::keep_open(reader.as_raw_fd());
    raw::keep_open(writer.as_raw_fd());
    let _also = std::fs::File::open("/dev/zero").unwrap();
    let found = open_descriptors.run().unwrap();
    let numbers: Vec<i32> = found.keys().copied().collect();
    assert_eq!(numbers[..3], [0, 1, 2], "{found:?}");
    assert_eq!(found.len(), 4, "the launch socket beside them: {found:?}");
    let (_, socket) = found.iter().nth(3).unwrap();
    assert!(socket.starts_with("socket:"), "{found:?}");
}

#[func]
fn read_status() -> String {
    std::fs::read_to_string("/proc/thread-self/status").unwrap()
}

fn mask(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
}

fn a_child_starts_with_its_signals_as_a_program_expects_them() {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    let pipe = 1 << (libc::SIGPIPE - 1);
    let own = std::thread::spawn(|| {
        for signal in [libc::SIGUSR1, libc::SIGINT, libc::SIGTERM] {
            raw::handle(signal);
        }
        for signal in [
            libc::SIGUSR2,
            libc::SIGHUP,
            libc::SIGCHLD,
            libc::SIGPIPE,
            34,
            64,
        ] {
            raw::ignore(signal);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).unwrap();
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let child = read_status.run().unwrap();
        let after = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_eq!(mask(&own, "SigBlk:"), mask(&after, "SigBlk:"));
        (own, child)
    });
    let (own, child) = own.join().unwrap();
    // A control.
    assert_ne!(mask(&own, "SigBlk:"), 0);
    assert_ne!(mask(&own, "SigIgn:"), pipe);
    // Those two are the C library's own, and it doesn't let them be changed.
    let internal = (1 << 31) | (1 << 32);
    assert_eq!(mask(&child, "SigBlk:"), 0);
    assert_eq!(mask(&child, "SigIgn:") & !internal, pipe);
    assert_eq!(mask(&child, "ShdPnd:"), 0);
    // Rust's own: a guard page's signals.
    let caught = (1 << (libc::SIGSEGV - 1)) | (1 << (libc::SIGBUS - 1));
    assert_eq!(mask(&child, "SigCgt:") & !caught, 0);
}

#[func]
fn read_name() -> String {
    std::fs::read_to_string("/proc/self/comm").unwrap()
}

fn a_child_is_named_after_its_function() {
    assert_eq!(read_name.run().unwrap(), "read_name\n");
}

#[func]
fn read_program() -> (String, String) {
    let arguments = std::env::args().next().unwrap();
    let file = std::fs::read_link("/proc/self/exe").unwrap();
    (arguments, file.display().to_string())
}

fn a_child_has_the_name_and_file_of_its_program() {
    let (name, file) = read_program.run().unwrap();
    assert_eq!(name, std::env::args().next().unwrap());
    let own = std::fs::read_link("/proc/self/exe").unwrap();
    assert_eq!(file, own.display().to_string());
}

fn a_program_calls_without_proc() {
    raw::lose_proc().unwrap();
    assert!(std::fs::metadata("/proc/self/exe").is_err());
    for _ in 0..3 {
        assert_eq!(add.run(5, 7).unwrap(), 12);
    }
    drop(add.spawn(1, 2).unwrap());
    wait_until("it is gone", || raw::any_child().is_none());
}

fn a_root_without_the_loader_is_an_error_that_says_so() {
    let directory = Directory::new();
    nix::unistd::chroot(directory.path()).unwrap();
    nix::unistd::chdir("/").unwrap();
    // The kernel looks the loader up by its name.
    let result = add.run(5, 7);
    let Err(Error::Launch { step, source, .. }) = result else {
        panic!("{result:?}");
    };
    let said = "its dynamic loader is not below this root directory";
    assert!(step.contains(said), "{step}");
    assert_eq!(source.raw_os_error(), Some(libc::ENOENT));
}

fn a_program_without_proc_from_the_beginning_says_so() {
    let mut command = Command::new(own_path());
    command.args(["--case", "helper_call"]);
    raw::without_proc(&mut command);
    assert_prints(
        &command.output().unwrap(),
        "Err(this program can't start itself as a child process: the executable can't be opened by /proc/self/exe: No such",
    );
}

/// Starts a copy of this program, changes its file while it waits, and lets it call.
fn call_after(change: impl FnOnce(&std::path::Path)) -> Output {
    let directory = Directory::new();
    let copy = directory.copy_of_this_program();
    let go = directory.path().join("go");
    let child = Command::new(&copy)
        .args(["--case", "helper_call"])
        .env(WAIT_FOR, &go)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it has begun", || {
        directory.path().join("go.begun").exists()
    });
    change(&copy);
    std::fs::write(go, "").unwrap();
    child.wait_with_output().unwrap()
}

fn a_program_that_was_deleted_calls() {
    assert_calls(&call_after(|copy| std::fs::remove_file(copy).unwrap()));
}

fn a_program_that_was_replaced_calls_itself() {
    assert_calls(&call_after(|copy| {
        std::fs::remove_file(copy).unwrap();
        std::fs::copy("/bin/false", copy).unwrap();
    }));
}

fn a_program_calls_with_its_standard_descriptors_closed() {
    for fd in 0..3 {
        raw::close(fd);
    }
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(add.builder().stdin(Stdio::Null).run(5, 7).unwrap(), 12);
    let found = open_descriptors.run().unwrap();
    assert_eq!(found.len(), 4, "{found:?}");
    for (_, link) in found.iter().take(3) {
        assert_eq!(link, "/dev/null", "what Rust puts there");
    }
    drop(add.spawn(1, 2).unwrap());
    wait_until("it is gone", || raw::any_child().is_none());
    let (ours, theirs) = duplex::<u64, u64>().unwrap();
    assert!(ours.as_fd().as_raw_fd() > 2 && theirs.as_fd().as_raw_fd() > 2);
}

fn a_program_calls_with_them_closed_before_the_entry() {
    for closed in ["0", "0,2"] {
        for way in ["plain", "stdin"] {
            let output = this_program("helper_call")
                .arg(way)
                .env(CLOSE_FIRST, closed)
                .output()
                .unwrap();
            assert_calls(&output);
        }
    }
}

fn a_program_started_by_the_loader_says_so() {
    let output = Command::new(LOADER)
        .arg(own_path())
        .args(["--case", "helper_call"])
        .output()
        .unwrap();
    assert_prints(
        &output,
        "Err(this program can't start itself as a child process: /proc/self/exe is not the running program but",
    );
    // The cause, by its name, and the cure.
    let text = String::from_utf8_lossy(&output.stdout);
    let loader = std::fs::canonicalize(LOADER).unwrap();
    for part in [&*format!("{loader:?}"), "run the program directly"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A user that owns nothing here.
const NOBODY: u32 = 65534;

/// A directory that anybody can enter, with a copy of this program in it.
fn public_copy(directory: &Directory, mode: u32) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = std::fs::metadata(directory.path()).unwrap().permissions();
    permissions.set_mode(0o755);
    std::fs::set_permissions(directory.path(), permissions).unwrap();
    let copy = directory.copy_of_this_program();
    let mut permissions = std::fs::metadata(&copy).unwrap().permissions();
    permissions.set_mode(mode);
    std::fs::set_permissions(&copy, permissions).unwrap();
    copy
}

fn a_program_without_leave_to_read_itself_says_so() {
    let directory = Directory::new();
    let output = Command::new(public_copy(&directory, 0o711))
        .args(["--case", "helper_call"])
        .uid(NOBODY)
        .output()
        .unwrap();
    assert_prints(
        &output,
        "Err(this program can't start itself as a child process: the executable can't be opened by /proc/self/exe: Permission",
    );
}

fn a_set_user_id_program_calls_nothing_unasked() {
    let directory = Directory::new();
    let copy = public_copy(&directory, 0o4755);
    let call = |way: &str, user| {
        Command::new(&copy)
            .args(["--case", "helper_call", way])
            .uid(user)
            .output()
            .unwrap()
    };
    // Controls: its file gives root nothing, and it may be asked for.
    assert_calls(&call("plain", 0));
    assert_calls(&call("privileged", NOBODY));
    // Once it has dropped them, it is a caller like any other.
    assert_prints(
        &call("dropped", NOBODY),
        "Err(this program can't start itself as a child process: its file has capabilities, or gave it privileges that it has",
    );
    assert_prints(
        &call("plain", NOBODY),
        "Err(this program can't start itself as a child process: its file has privileges",
    );
}

/// A call made by a user without privileges, whose child is another program: `target`.
fn call_into(target: &std::path::Path, directory: &Directory) -> Output {
    // A copy without privileges beside the target: what the attacker runs.
    let own = directory.path().join("own");
    std::fs::copy("/proc/self/exe", &own).unwrap();
    Command::new(own)
        .args(["--case", "helper_call", "user"])
        .env(INTERCEPT, target)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap()
}

fn a_set_user_id_program_is_nobodys_child() {
    let directory = Directory::new();
    // A control: without privileges to gain, the call goes through.
    let output = call_into(&public_copy(&directory, 0o755), &directory);
    assert_prints(&output, "Ok(65534)");
    for mode in [0o4755, 0o2755, 0o6755] {
        let output = call_into(&public_copy(&directory, mode), &directory);
        assert_prints(
            &output,
            "Err(the child process exited with status 102 and gave no result)",
        );
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("without its privileges"), "{text}");
    }
}

fn a_program_with_capabilities_is_nobodys_child() {
    let directory = Directory::new();
    let copy = public_copy(&directory, 0o755);
    raw::give_file_capability(&copy);
    let output = call_into(&copy, &directory);
    assert_prints(
        &output,
        "Err(the child process exited with status 102 and gave no result)",
    );
    // Nor of itself: nothing tells it from the caller above.
    for way in ["plain", "privileged"] {
        let output = Command::new(&copy)
            .args(["--case", "helper_call", way])
            .uid(NOBODY)
            .output()
            .unwrap();
        assert_prints(
            &output,
            "Err(this program can't start itself as a child process: its file has",
        );
    }
}

fn a_forged_start_is_refused() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let start = |arguments: &[&str]| {
        let output = Command::new(own_path())
            .arg("--crossmist-child")
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(102), "{arguments:?}: {output:?}");
        assert_eq!(output.stdout, b"", "no second `main`");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(start(&[]).contains("is started by the program itself"));
    assert!(start(&["3"]).contains("is started by the program itself"));
    for number in ["0", "2", "-1", "900", "x", "", "99999999999"] {
        let text = start(&[number, "add"]);
        assert!(text.contains("got no socket"), "{number}: {text}");
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    raw::keep_open(file.as_raw_fd());
    let text = start(&[&file.as_raw_fd().to_string(), "add"]);
    assert!(text.contains("could not receive"), "{text}");
    for kind in [SockType::SeqPacket, SockType::Stream] {
        for packet in [
            &b"garbage"[..],
            &[0xC1; 32],
            // A launch message whose function lies at 0.
            &[
                0xC1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        ] {
            let (ours, theirs) =
                socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
            raw::keep_open(theirs.as_raw_fd());
            raw::send(ours.as_raw_fd(), packet).unwrap();
            let text = start(&[&theirs.as_raw_fd().to_string(), "add"]);
            assert!(
                text.contains("could not receive") || text.contains("malformed launch message"),
                "{text}"
            );
        }
    }
}

fn a_forked_copy_calls() {
    let call = || assert_eq!(add.run(5, 7).unwrap(), 12);
    // Before the first call, and after it.
    assert_eq!(raw::in_fork(call), 0);
    call();
    assert_eq!(raw::in_fork(call), 0);
    // With the thread that takes care of dropped children, which the copy doesn't have.
    let drop_one = || {
        drop(add.spawn(1, 2).unwrap());
        wait_until("it is gone", || raw::any_child().is_none());
    };
    drop_one();
    assert_eq!(raw::in_fork(drop_one), 0);
    assert_eq!(raw::in_fork(|| assert_eq!(raw::in_fork(drop_one), 0)), 0);
    drop_one();
}

fn a_prefork_server_calls() {
    let children: Vec<_> = (0..4)
        .map(|worker| {
            raw::fork(move || {
                for number in 0..25 {
                    assert_eq!(add.run(worker, number).unwrap(), worker + number);
                    drop(add.spawn(worker, number).unwrap());
                }
                wait_until("all are gone", || raw::any_child().is_none());
            })
        })
        .collect();
    for child in children {
        assert_eq!(raw::exit_status(child), 0);
    }
}

fn a_forked_copy_leaves_the_children_of_the_original_alone() {
    let (mut word, hears) = channel().unwrap();
    let call = waits_for_word.builder().kill_on_drop(true);
    let child = call.spawn(hears).unwrap();
    let id = child.id().unwrap();
    let copy = raw::fork(|| drop(unsafe_copy(&child)));
    assert_eq!(raw::exit_status(copy), 0);
    assert!(state(id).is_some_and(|state| state != 'Z'));
    word.send(&700).unwrap();
    assert_eq!(child.join().unwrap(), 700);
}

/// The copy of a value in a forked process is another value.
fn unsafe_copy<T>(value: &T) -> T {
    raw::copy_in_fork(value)
}

#[func]
fn exit_with(status: i32) -> u64 {
    raw::exit(status)
}

fn ignored_sigchld_costs_the_status_and_not_the_value() {
    raw::ignore(libc::SIGCHLD);
    let before = Holdings::now();
    for _ in 0..20 {
        assert_eq!(add.run(5, 7).unwrap(), 12);
        let result = exit_with.run(3);
        assert!(matches!(result, Err(Error::StatusTaken)), "{result:?}");
    }
    before.assert_same();
    drop(add.spawn(1, 2).unwrap());
    wait_until("it is gone", || raw::any_child().is_none());
}

fn a_stolen_status_costs_the_status_and_not_the_value() {
    use nix::sys::wait::{WaitStatus, wait};
    let steal = || matches!(wait(), Ok(WaitStatus::Exited(..)));
    let child = add.spawn(5, 7).unwrap();
    assert!(steal());
    assert_eq!(child.join().unwrap(), 12);
    let child = exit_with.spawn(3).unwrap();
    assert!(steal());
    let result = child.join();
    assert!(matches!(result, Err(Error::StatusTaken)), "{result:?}");
    // A handle never kills the process that has the number now.
    let child = exit_with.spawn(3).unwrap();
    let handle = child.kill_handle();
    assert!(steal());
    child.kill().unwrap();
    handle.kill().unwrap();
    drop(child);
    let child = exit_with.builder().kill_on_drop(true).spawn(3).unwrap();
    assert!(steal());
    drop(child);
    assert_eq!(raw::any_child(), None);
}

#[func]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn handlers_of_the_program_do_not_disturb() {
    raw::handle_interrupting(libc::SIGUSR1);
    let own = nix::unistd::Pid::this();
    let (going_on, is_over) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // As often as a machine of this speed can bear.
        let pause = support::patience(Duration::from_micros(50));
        scope.spawn(move || {
            while is_over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGUSR1).unwrap();
            }
        });
        // Dropped at the end, and by a panic, which would wait for that thread otherwise.
        let _going_on = going_on;
        for _ in 0..30 {
            assert_eq!(add.run(5, 7).unwrap(), 12);
            let bytes = vec![1; 3 << 20];
            assert!(echo.run(bytes.clone()).unwrap() == bytes);
        }
        let (mut ours, theirs) = duplex::<Vec<u8>, u64>().unwrap();
        let child = measure.spawn(theirs).unwrap();
        for _ in 0..30 {
            assert_eq!(ours.request(&vec![1; 1 << 20]).unwrap(), 1 << 20);
        }
        drop(ours);
        child.join().unwrap();
    });
}

#[func]
fn measure(mut chan: crossmist::Duplex<u64, Vec<u8>>) {
    while let Some(bytes) = chan.recv().unwrap() {
        chan.send(&(bytes.len() as u64)).unwrap();
    }
}

/// Opens descriptors until there is no room for more.
fn fill_the_table() -> Vec<std::fs::File> {
    raw::limit_descriptors(40);
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

fn a_full_descriptor_table_is_an_error_that_says_so() {
    let before = Holdings::now();
    let mut table = fill_the_table();
    let result = channel::<u64>();
    let Err(error) = result else {
        panic!("a channel");
    };
    assert!(error.to_string().contains("no free descriptor"), "{error}");
    // A call needs two sockets, of which one goes to the child, and a pidfd.
    let steps = ["make a pair of sockets", "make a pair of sockets", "clone"];
    for expected in steps {
        let result = add.run(5, 7);
        let Err(Error::Launch { step, source, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(step, expected);
        assert_eq!(source.raw_os_error(), Some(libc::EMFILE));
        table.pop();
    }
    assert_eq!(add.run(5, 7).unwrap(), 12);
    drop(table);
    before.assert_same();
}

fn a_full_descriptor_table_does_not_forget_a_deadline() {
    let deadline = support::patience(Duration::from_millis(300));
    let long = support::stays().as_millis().try_into().unwrap();
    let child = sleep_for.builder().deadline(deadline).spawn(long).unwrap();
    let other = sleep_for.spawn(100).unwrap();
    let table = fill_the_table();
    let id = child.id().unwrap();
    drop(child);
    drop(other);
    within(Duration::from_secs(3), || {
        wait_until("both are gone", || raw::any_child().is_none());
    });
    assert_eq!(state(id), None);
    drop(table);
}

#[func]
fn count_all(descriptors: Vec<std::os::fd::OwnedFd>) -> usize {
    descriptors.len()
}

fn nulls(count: usize) -> Vec<std::os::fd::OwnedFd> {
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    std::iter::repeat_with(null).take(count).collect()
}

fn a_full_descriptor_table_in_the_child_is_an_error() {
    let mut descriptors = nulls(40);
    drop(descriptors.drain(..10));
    raw::limit_descriptors(20);
    let result = count_all.builder().stderr(Stdio::Null).run(descriptors);
    assert!(
        matches!(result, Err(Error::Exited { status: 102, .. })),
        "{result:?}"
    );
}

fn more_descriptors_than_a_packet_takes_are_refused_by_the_sender() {
    let before = Holdings::now();
    assert_eq!(count_all.run(nulls(253)).unwrap(), 253);
    let result = count_all.run(nulls(254));
    let Err(Error::Encode(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(
        error.kind(),
        &crossmist::EncodeErrorKind::TooManyDescriptors {
            descriptors: 254,
            limit: 253
        }
    );
    before.assert_same();
}

/// Sends descriptors that nobody receives, as long as the system lets it.
fn fill_the_flight() -> String {
    raw::limit_descriptors(64);
    let (mut tx, _rx) = channel::<Vec<std::os::fd::OwnedFd>>().unwrap();
    let descriptors = nulls(40);
    for _ in 0..10 {
        if let Err(error) = tx.send(&descriptors) {
            return format!("{error}");
        }
    }
    "there is no limit".to_owned()
}

fn descriptors_in_flight_have_a_limit_that_the_error_names() {
    let directory = Directory::new();
    let output = Command::new(public_copy(&directory, 0o755))
        .args(["--case", "helper_call", "in flight"])
        .uid(NOBODY)
        .output()
        .unwrap();
    assert_prints(
        &output,
        "can't send: too many descriptors of this user are in flight",
    );
}

fn a_thread_that_ends_takes_no_child_with_it() {
    let thread = std::thread::spawn(|| sleep_for.spawn(300).unwrap());
    assert_eq!(thread.join().unwrap().join().unwrap(), 300);
}

fn a_process_limit_is_an_error_that_says_so() {
    let directory = Directory::new();
    let output = Command::new(public_copy(&directory, 0o755))
        .args(["--case", "helper_call", "process limit"])
        .uid(NOBODY)
        .output()
        .unwrap();
    assert_prints(
        &output,
        "Err(can't start the child process: clone: Resource temporarily unavailable (os error 11)",
    );
}
