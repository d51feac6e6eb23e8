//! Parts that the tests with real children share: a process for each case, bounded in time, and counts of the
//! things that a case may leave behind.
#![allow(
    dead_code,
    unused_macros,
    unsafe_code,
    reason = "each binary uses some of it, and it asks the system directly"
)]

pub(crate) mod fuse;
pub(crate) mod groups;
pub(crate) mod memory;
pub(crate) mod raw;

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossmist::SandboxPolicy;
use libtest_mimic::{Arguments, Failed, Trial};

/// One promise, and the code that holds it to the test.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) test: fn(),
}

/// Cases by the names of their functions; `helper` ones are started by others only.
#[macro_export]
macro_rules! cases {
    ($($name:ident $(needs $($need:ident)+)?),* $(,)?) => {
        &[$($crate::support::Case {
            name: stringify!($name),
            needs: &[$($($crate::support::Need::$need),+)?],
            test: $name,
        }),*]
    };
}

/// A feature that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To be root: other users, set-user-ID files, `chroot`.
    Root,
    /// The dynamic loader under its usual name.
    Loader,
    /// User namespaces, for anybody: a setting of the kernel, or of a security module, may forbid them.
    UserNamespaces,
    /// File systems in user space, and to be root, who mounts them.
    Fuse,
    /// A kernel that denies memory which is written and executed (Linux 6.3).
    WriteExecute,
    /// Landlock that denies cutting files short (ABI 3, Linux 6.2).
    Truncation,
    /// Landlock that denies TCP ports (ABI 4, Linux 6.7).
    Ports,
    /// Sockets that refuse descriptors (Linux 6.16).
    Refusal,
    /// Landlock that denies UDP ports (ABI 10, Linux 7.2).
    Datagrams,
    /// Control groups of version 2 that end all at once (Linux 5.14), to be mounted by root.
    ControlGroups,
    /// The controllers for memory and processes in them: version 1 may have taken those.
    Controllers,
}

impl Need {
    fn is_there(self) -> bool {
        match self {
            Need::Root => raw::effective_user() == 0,
            Need::Loader => std::path::Path::new(LOADER).exists(),
            Need::UserNamespaces => raw::has_user_namespaces(),
            Need::Fuse => raw::effective_user() == 0 && std::path::Path::new("/dev/fuse").exists(),
            Need::WriteExecute => crossmist::can_deny_write_execute(),
            Need::Truncation => crossmist::landlock_abi() >= 3,
            Need::Ports => crossmist::landlock_abi() >= 4,
            Need::Refusal => raw::refuses_descriptors(),
            Need::Datagrams => crossmist::landlock_abi() >= 10,
            Need::ControlGroups => raw::control_groups() >= 1,
            Need::Controllers => raw::control_groups() >= 2,
        }
    }
}

impl Need {
    /// Whether the environment names it as what may be missing.
    fn may_be_missing(self) -> bool {
        let named = std::env::var(MAY_SKIP).unwrap_or_default();
        let own = format!("{self:?}");
        named.split(',').any(|name| name.eq_ignore_ascii_case(&own))
    }

    /// Whether a part of a case is to be left out. A part whose feature is missing and may not be is left in,
    /// to fail.
    pub(crate) fn is_excused(self) -> bool {
        !self.is_there() && self.may_be_missing()
    }
}

pub(crate) const LOADER: &str = if cfg!(target_arch = "x86_64") {
    "/lib64/ld-linux-x86-64.so.2"
} else {
    "/lib/ld-linux-aarch64.so.1"
};

/// Whether a case runs. A missing feature makes it fail, unless this variable names it.
const MAY_SKIP: &str = "CROSSMIST_TEST_MAY_SKIP";

/// Makes each case fail, for the test of the runner.
pub(crate) const FAIL_ALL: &str = "CROSSMIST_TEST_FAIL_ALL";

/// How long a case may take before its process is killed, on a machine with a load of ten.
const CASE_TIME: Duration = Duration::from_secs(600);

/// By how much everything that bounds a wait is stretched, for machines that are slow: emulated ones,
/// say. A whole number; 1 unless it is set.
const PATIENCE: &str = "CROSSMIST_TEST_PATIENCE";

/// A bound on a wait, as long as this machine needs it to be.
///
/// For the time after which a test gives up, never for one that the test is about.
pub(crate) fn patience(time: Duration) -> Duration {
    time * factor()
}

fn factor() -> u32 {
    let factor = std::env::var(PATIENCE).unwrap_or_default();
    factor.parse().unwrap_or(1).max(1)
}

/// A built-in policy that gives its children this time, stretched as waits are, and all of it on a
/// processor. `limits` are more lines of that section.
pub(crate) fn in_time(builtin: &str, time: Duration, limits: &str) -> SandboxPolicy {
    let time = patience(time).as_millis();
    let text = format!(
        "format = 1\ndescription = \"x\"\nextends = [\"{builtin}\"]\n\
         [limits]\nwall_time = \"{time}ms\"\ncpu_time = \"{time}ms\"\n{limits}\n"
    );
    SandboxPolicy::from_toml("in_time", &text).expect("a policy")
}

/// A built-in policy as it is; on a slow machine, with more time for its children.
pub(crate) fn builtin(name: &str) -> SandboxPolicy {
    match factor() {
        1 => SandboxPolicy::builtin(name).expect("a policy"),
        _ => in_time(name, Duration::from_secs(60), ""),
    }
}

/// How often to repeat what a test counts the remains of: fewer times on a slow machine, by the factor
/// that waits are stretched by.
pub(crate) fn repetitions(count: u32) -> u32 {
    count.div_ceil(factor())
}

/// The cases of several modules, for [`main`].
pub(crate) fn all(modules: &[&[Case]]) -> &'static [Case] {
    modules.concat().leak()
}

static SHOWS_OUTPUT: AtomicBool = AtomicBool::new(false);

/// Shows what cases print, whether or not they succeed, and runs one after the other. For tables of measurements.
pub(crate) fn show_output() {
    SHOWS_OUTPUT.store(true, Ordering::Relaxed);
}

const CASE: &str = "--case";

/// Runs a case each in a process of its own, `main`'s part after `crossmist::init`.
pub(crate) fn main(cases: &'static [Case], helpers: &'static [Case]) {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CASE) {
        let name = arguments.next().unwrap_or_default();
        let case = cases.iter().chain(helpers).find(|case| case.name == name);
        let Some(case) = case else {
            eprintln!("no case `{name}`");
            std::process::exit(2);
        };
        // A case that waits for something that doesn't come ends by this signal.
        let seconds = patience(CASE_TIME).as_secs();
        nix::unistd::alarm::set(seconds.try_into().unwrap_or(u32::MAX));
        // A SIGPIPE that reaches the program is to be noticed.
        raw::default_action(libc::SIGPIPE);
        assert!(std::env::var_os(FAIL_ALL).is_none(), "told to fail");
        return (case.test)();
    }
    let trials = cases.iter().map(|case| {
        let missing = case.needs.iter().find(|need| !need.is_there());
        let skipped = missing.is_some_and(|need| need.may_be_missing());
        Trial::test(case.name, move || match missing {
            Some(need) => Err(Failed::from(format!(
                "this machine has no {need:?}; to skip, set {MAY_SKIP}={need:?}"
            ))),
            None => run(case),
        })
        .with_ignored_flag(skipped)
    });
    let mut arguments = Arguments::from_args();
    if SHOWS_OUTPUT.load(Ordering::Relaxed) {
        arguments.test_threads = Some(1);
    }
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Starts the case and judges its end.
fn run(case: &Case) -> Result<(), Failed> {
    let output = this_program(case.name)
        .stdin(Stdio::null())
        .env("RUST_BACKTRACE", "0")
        .process_group(0)
        .output()
        .map_err(|error| Failed::from(format!("can't start the case: {error}")))?;
    if SHOWS_OUTPUT.load(Ordering::Relaxed) {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
    if output.status.success() {
        return Ok(());
    }
    let ended = match output.status.signal() {
        Some(libc::SIGALRM) => format!("not done after {:?}", patience(CASE_TIME)),
        _ => output.status.to_string(),
    };
    Err(Failed::from(format!(
        "{ended}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// This program, to run one case or helper.
pub(crate) fn this_program(case: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("case").args([CASE, case]);
    command
}

/// The arguments behind the name of the case.
pub(crate) fn case_arguments() -> Vec<String> {
    std::env::args().skip(3).collect()
}

/// Reads the first line that a program prints. Its standard output is a pipe, which is closed then.
pub(crate) fn first_line(program: &mut std::process::Child) -> String {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    let mut output = BufReader::new(program.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("a line of text");
    line
}

/// The possessions of this process: descriptors by what they are open on, children, memory.
#[derive(Debug)]
pub(crate) struct Holdings {
    descriptors: BTreeMap<i32, String>,
    resident: usize,
}

impl Holdings {
    /// Counts, with the helpers of the library started, so that they don't count as leaks later.
    pub(crate) fn now() -> Self {
        Self {
            descriptors: descriptors(),
            resident: own_bytes(),
        }
    }

    /// Counts once threads of the library have closed what they had to.
    pub(crate) fn settled() -> Self {
        let end = Instant::now() + patience(Duration::from_secs(20));
        let mut before = descriptors();
        loop {
            std::thread::sleep(patience(Duration::from_millis(200)));
            let now = descriptors();
            if now == before || Instant::now() > end {
                return Self::now();
            }
            before = now;
        }
    }

    /// Fails where there are other descriptors than then, or any child, zombies included.
    #[track_caller]
    pub(crate) fn assert_same(&self) {
        // The thread that keeps deadlines forgets a child a moment after its end.
        let end = Instant::now() + patience(Duration::from_secs(20));
        let mut now = self.descriptors_now();
        while now != self.descriptors && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
            now = self.descriptors_now();
        }
        assert_eq!(self.descriptors, now, "descriptors before and after");
        assert_eq!(raw::any_child(), None, "a child is left");
    }

    /// The descriptors, without that by which the thread is woken that keeps deadlines, if there was no such
    /// thread then. On a busy machine, a child that was killed takes long to end, and that thread waits for it.
    fn descriptors_now(&self) -> BTreeMap<i32, String> {
        let mut now = descriptors();
        let is_event = |link: &String| link.contains("eventfd");
        if !self.descriptors.values().any(is_event)
            && let Some(first) = now.iter().find(|(_, link)| is_event(link))
        {
            let number = *first.0;
            now.remove(&number);
        }
        now
    }

    /// Fails where much more memory is resident than then.
    #[track_caller]
    pub(crate) fn assert_memory(&self, bound: usize) {
        let now = own_bytes();
        let more = now.saturating_sub(self.resident);
        assert!(
            more <= bound,
            "{more} bytes more than before, {bound} allowed"
        );
    }
}

/// The open descriptors of this process, without the one that lists them.
pub(crate) fn descriptors() -> BTreeMap<i32, String> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd");
    let found: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            Some((number, std::fs::read_link(path).ok()?))
        })
        .collect();
    found
        .into_iter()
        .map(|(number, link)| (number, link.to_string_lossy().into_owned()))
        .filter(|(_, link)| !(link.contains("/fd") && link.starts_with("/proc/")))
        .collect()
}

fn own_bytes() -> usize {
    resident_bytes("/proc/self/smaps_rollup").expect("smaps_rollup")
}

/// Returns how much memory a process has, from its `smaps_rollup`. Some kernels only estimate what `statm` says, by a
/// number for each processor.
pub(crate) fn resident_bytes(path: &str) -> Option<usize> {
    let rollup = std::fs::read_to_string(path).ok()?;
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib: usize = kib?.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The state letter of a process; `None` where it is gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until a condition holds, for at most half a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < patience(Duration::from_secs(30)),
            "never: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the library has let go of every child.
#[track_caller]
pub(crate) fn wait_until_none_is_left() {
    wait_until("no child is left", || {
        let is_pidfd = |link: &String| link.contains("pidfd");
        raw::any_child().is_none() && !descriptors().values().any(is_pidfd)
    });
}

/// Waits until a process is gone, its zombie too.
#[track_caller]
pub(crate) fn wait_until_gone(pid: u32) {
    wait_until("the process is gone", || state(pid).is_none());
}

/// Waits for the end of a keeper. It is init that reaps those, when it likes.
pub(crate) fn wait_until_ended(pid: u32) {
    wait_until("the process has ended", || {
        state(pid).is_none_or(|state| state == 'Z')
    });
}

/// The time that a busy machine may add. Whatever is tested waits for longer if it is wrong: let a hostile
/// peer stay for as long as [`stays`] says.
const BUSY: Duration = Duration::from_secs(10);

/// How long a hostile peer does what nobody may wait for, and a child lives that is to be ended: longer
/// than [`within`] allows for any time below half a minute.
pub(crate) fn stays() -> Duration {
    patience(Duration::from_secs(50))
}

/// Runs something that has to be done within a time, give or take what a busy machine needs.
#[track_caller]
pub(crate) fn within<R>(time: Duration, work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = work();
    let took = begun.elapsed();
    let most = patience(time + BUSY);
    assert!(took < most, "took {took:?}, {most:?} allowed");
    result
}

/// A directory that is removed with everything in it.
pub(crate) struct Directory(std::path::PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        // A test that was killed may have left one behind, and its process id may be this one's now.
        let names = (0..).map(|number| format!("crossmist-test-{}-{number}", std::process::id()));
        for path in names.map(|name| std::env::temp_dir().join(name)) {
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => {
                    result.expect("a directory");
                    return Self(path);
                }
            }
        }
        unreachable!("there is no end of names")
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// A copy of this program.
    pub(crate) fn copy_of_this_program(&self) -> std::path::PathBuf {
        let copy = self.0.join("program");
        std::fs::copy("/proc/self/exe", &copy).expect("copied the program");
        copy
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
