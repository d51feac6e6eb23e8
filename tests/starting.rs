//! How the keeper and its children come into being: in programs that start threads before `main`, and
//! where files of the system are missing.
#![allow(
    unsafe_code,
    reason = "a constructor has to be placed in a section of its own"
)]

mod support;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crossmist::{Error, func};
use support::{Directory, patience, raw, stays, this_program};

/// Does what libraries do when they are loaded, if the program is called so: one starts two threads, unless a
/// variable says otherwise, and one maps shared memory.
#[used]
#[unsafe(link_section = ".init_array")]
static LOAD: extern "C" fn() = load;

extern "C" fn load() {
    if let Ok(seconds) = std::env::var("MYLIB_LOADS_FOR") {
        std::thread::sleep(Duration::from_secs(seconds.parse().unwrap_or(0)));
    }
    if std::env::args().next().as_deref() == Some(WITH_MEMORY) {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, both, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
    }
    let is_wanted = std::env::args().next().as_deref() == Some(WITH_THREADS);
    if is_wanted && std::env::var("MYLIB_THREADS").as_deref() != Ok("0") {
        for _ in 0..2 {
            let thread = std::thread::Builder::new().name("mylib-worker".to_owned());
            let (ready, is_ready) = std::sync::mpsc::channel();
            let started = thread.spawn(move || {
                // It has its name now.
                let _ = ready.send(());
                loop {
                    std::thread::park();
                }
            });
            drop(started.expect("a thread"));
            let _ = is_ready.recv();
        }
    }
}

const WITH_THREADS: &str = "with-threads";
const WITH_MEMORY: &str = "with-memory";

fn main() {
    crossmist::init();
    support::main(
        cases![
            threads_before_main_are_named_with_their_cure,
            shared_memory_before_main_is_named_with_its_cure,
            a_variable_of_the_keepers_stops_threads_before_main,
            the_keepers_variables_are_in_no_function,
            threads_that_wait_for_the_keepers_start_use_no_processor,
            a_root_without_dev_null_and_proc_is_enough needs Root,
            a_program_starts_without_dev_null needs Root,
            a_missing_proc_is_named_with_its_cure needs Root,
            a_root_without_libraries_is_named needs Root,
            descriptors_that_the_program_closes_are_not_used,
        ],
        cases![
            helper_calls_beside_threads,
            helper_calls_beside_shared_memory,
            helper_calls_with_a_variable,
            helper_calls_behind_another_root,
            helper_calls,
        ],
    );
}

#[func]
fn plain(x: u32) -> u32 {
    println!("a line for nobody");
    x + 1
}

#[func(sandbox = "pure")]
fn forked(x: u32) -> u32 {
    println!("a line for nobody");
    x + 1
}

#[func(sandbox = "pure", launch = "exec")]
fn executed(x: u32) -> u32 {
    x + 1
}

#[func(sandbox = "unconfined")]
fn variables() -> Vec<(String, String)> {
    std::env::vars().collect()
}

#[func(sandbox = "unconfined", launch = "exec")]
fn variables_of_executed() -> Vec<(String, String)> {
    std::env::vars().collect()
}

/// An error's text, and those of its sources.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn output_of(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("a helper")
}

#[track_caller]
fn assert_succeeded(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

fn threads_before_main_are_named_with_their_cure() {
    let mut command = this_program("helper_calls_beside_threads");
    command.arg0(WITH_THREADS);
    assert_succeeded(&output_of(command));
}

fn helper_calls_beside_threads() {
    // The program itself may have threads, and so may a child without a sandbox.
    assert_eq!(plain.run(1).unwrap(), 2);
    // Each time: the keeper has ended when its reason is read.
    for _ in 0..20 {
        for error in [forked.run(1).unwrap_err(), executed.run(1).unwrap_err()] {
            let text = with_causes(&error);
            assert!(matches!(error, Error::Launch { .. }), "{error:?}");
            for part in [
                "start the keeper",
                "2 threads beside its first one: `mylib-worker`, `mylib-worker`",
                "crossmist::keeper::env",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}

fn shared_memory_before_main_is_named_with_its_cure() {
    let mut command = this_program("helper_calls_beside_shared_memory");
    command.arg0(WITH_MEMORY);
    assert_succeeded(&output_of(command));
}

fn helper_calls_beside_shared_memory() {
    // The control: a child without a sandbox may have what it likes.
    assert_eq!(plain.run(1).unwrap(), 2);
    for error in [forked.run(1).unwrap_err(), executed.run(1).unwrap_err()] {
        let text = with_causes(&error);
        assert!(matches!(error, Error::Launch { .. }), "{error:?}");
        for part in ["start the keeper", "as shared", "MADV_DONTFORK"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

fn a_variable_of_the_keepers_stops_threads_before_main() {
    let mut command = this_program("helper_calls_with_a_variable");
    command.arg0(WITH_THREADS);
    assert_succeeded(&output_of(command));
}

fn helper_calls_with_a_variable() {
    let error = with_causes(&forked.run(1).unwrap_err());
    assert!(error.contains("2 threads beside its first one"), "{error}");
    crossmist::keeper::env("MYLIB_THREADS", "0");
    assert_eq!(forked.run(1).unwrap(), 2);
    assert_eq!(executed.run(1).unwrap(), 2);
    assert_eq!(variables.run().unwrap(), []);
}

fn the_keepers_variables_are_in_no_function() {
    crossmist::keeper::env("MYLIB_THREADS", "0");
    assert_eq!(variables.run().unwrap(), []);
    assert_eq!(variables_of_executed.run().unwrap(), []);
    // The keeper itself has them.
    let mut child = sleep.spawn().unwrap();
    child.confinement().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/stat", child.id().unwrap())).unwrap();
    let (_, rest) = status.rsplit_once(") ").unwrap();
    let keeper = rest.split(' ').nth(1).unwrap();
    let own = std::fs::read_to_string(format!("/proc/{keeper}/environ"));
    // Only root may look at it.
    if let Ok(own) = own {
        assert!(own.contains("MYLIB_THREADS=0\0") && own.contains("MKL_NUM_THREADS=1\0"));
    }
    child.kill().unwrap();
}

#[func(sandbox = "parser")]
fn sleep() {
    std::thread::sleep(Duration::from_secs(50));
}

fn threads_that_wait_for_the_keepers_start_use_no_processor() {
    crossmist::keeper::env("MYLIB_LOADS_FOR", stays().as_secs().to_string());
    let time = patience(Duration::from_secs(4));
    let before = raw::processor_time();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let result = forked.builder().deadline(time).run(1);
                assert!(
                    matches!(result, Err(Error::Launch { .. } | Error::Deadline { .. })),
                    "{result:?}"
                );
            });
        }
    });
    let used = raw::processor_time() - before;
    assert!(used < patience(Duration::from_secs(1)), "{used:?}");
    // The control: it was for that variable that none was started.
    crossmist::keeper::env("MYLIB_LOADS_FOR", "0");
    assert_eq!(forked.run(1).unwrap(), 2);
}

fn a_root_without_dev_null_and_proc_is_enough() {
    for when in ["cold", "warm"] {
        let mut command = this_program("helper_calls_behind_another_root");
        command.arg(when);
        assert_succeeded(&output_of(command));
    }
}

fn helper_calls_behind_another_root() {
    let directory = Directory::new();
    copy_libraries(directory.path());
    if support::case_arguments() == ["warm"] {
        assert_eq!(forked.run(1).unwrap(), 2);
    }
    nix::unistd::chroot(directory.path()).unwrap();
    std::env::set_current_dir("/").unwrap();
    assert!(!Path::new("/proc").exists() && !Path::new("/dev").exists());
    calls();
    // Its name is from before.
    std::mem::forget(directory);
}

/// Copies the loader and the libraries of this program below another root directory.
fn copy_libraries(root: &Path) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let loader = support::LOADER.to_owned();
    let mapped = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5));
    let libraries = mapped
        .filter(|path| path.contains(".so"))
        .map(str::to_owned);
    for path in libraries.chain([loader]) {
        let copy = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&path, copy).unwrap();
    }
}

/// Calls in every way that there is.
fn calls() {
    use crossmist::Stdio::Null;
    let quiet = plain.builder().stdin(Null).stdout(Null).stderr(Null);
    assert_eq!(quiet.run(1).unwrap(), 2);
    assert_eq!(forked.run(1).unwrap(), 2);
    assert_eq!(executed.run(1).unwrap(), 2);
    assert_eq!(variables.run().unwrap(), []);
}

fn helper_calls() {
    calls();
}

/// This program's helper, in a mount namespace in which a folder is empty.
fn without(folder: &'static std::ffi::CStr, helper: &str) -> Command {
    // `/proc/self/exe` would be looked up behind the mount.
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg0("case").args(["--case", helper]);
    let hide = move || {
        use nix::mount::{MsFlags, mount};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none)?;
        mount(Some("none"), folder, Some("tmpfs"), MsFlags::empty(), none)?;
        Ok(())
    };
    // SAFETY: makes system calls only.
    unsafe { command.pre_exec(hide) };
    command
}

fn a_program_starts_without_dev_null() {
    assert_succeeded(&output_of(without(c"/dev", "helper_calls")));
}

fn a_missing_proc_is_named_with_its_cure() {
    let output = output_of(without(c"/proc", "helper_calls"));
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    for part in ["/proc/self/exe", "mount /proc", "crossmist::init"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn a_root_without_libraries_is_named() {
    let directory = Directory::new();
    let copy = directory
        .path()
        .join(support::LOADER.trim_start_matches('/'));
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    std::fs::copy(support::LOADER, copy).unwrap();
    nix::unistd::chroot(directory.path()).unwrap();
    let text = with_causes(&forked.run(1).unwrap_err());
    for part in ["exit status 127", "a library is missing"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    std::mem::forget(directory);
}

/// Daemons close what they don't know, and open something else by its numbers.
fn descriptors_that_the_program_closes_are_not_used() {
    let kept: Vec<i32> = support::descriptors()
        .into_iter()
        .filter(|(number, link)| *number > 2 && (link == "/dev/null" || link == "/proc"))
        .map(|(number, _)| number)
        .collect();
    // And what the test's own parent may have left open.
    assert!(kept.len() >= 2);
    let directory = Directory::new();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let secret = std::fs::File::open(&secret).unwrap();
    for number in kept {
        use std::os::fd::AsRawFd;
        // SAFETY: what the library does about this is the test.
        assert_eq!(unsafe { libc::dup2(secret.as_raw_fd(), number) }, number);
    }
    calls();
    let reader = read_standard_input.builder().stdin(crossmist::Stdio::Null);
    assert_eq!(reader.run().unwrap(), "");
    let confined = read_standard_input_confined.run().unwrap();
    assert_eq!(confined, "");
}

#[func]
fn read_standard_input() -> String {
    std::io::read_to_string(std::io::stdin()).unwrap()
}

#[func(sandbox = "parser")]
fn read_standard_input_confined() -> String {
    std::io::read_to_string(std::io::stdin()).unwrap()
}
