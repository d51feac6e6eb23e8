//! Starts children without a copy of this process, and refers to them by pidfd.

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::raw::{c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::signals::{self, Blocked};
use super::system_files;

/// The things that a child is started with. Nothing else reaches it: its `execve` closes every other
/// descriptor.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The executable.
    pub(crate) program: BorrowedFd<'a>,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    /// Stays open in the child under its number here, which is at least 3.
    pub(crate) socket: BorrowedFd<'a>,
    /// As the socket.
    pub(crate) proc: Option<BorrowedFd<'a>>,
    /// The descriptors that become 0, 1 and 2, or `None` if those stay as they are. Each is at least 3.
    pub(crate) standard: [Option<BorrowedFd<'a>>; 3],
    pub(crate) directory: Option<&'a CStr>,
    /// Whether to set no_new_privs first, so that the `execve` of a privileged file grants nothing.
    pub(crate) no_new_privs: bool,
    /// The process group that the child moves to. 0 creates a new one.
    pub(crate) process_group: Option<libc::pid_t>,
    /// Whether the kernel kills the child when the thread that starts it ends.
    pub(crate) dies_with_thread: bool,
}

/// Why a child could not be started.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) step: &'static str,
    pub(crate) source: io::Error,
}

/// A child of this process. A pidfd never refers to another process later.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: libc::pid_t,
    pub(crate) pidfd: Arc<OwnedFd>,
}

/// How a process ended, according to `waitid(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signalled {
        signal: i32,
        core_dumped: bool,
    },
    /// Somebody else in this program waited for it, or SIGCHLD is ignored.
    Unknown,
}

/// The data that the child works with. It is in this process's memory, and the child uses it while its caller
/// waits.
struct Plan {
    program: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    socket: c_int,
    proc: c_int,
    standard: [c_int; 3],
    directory: *const c_char,
    no_new_privs: bool,
    process_group: Option<libc::pid_t>,
    /// The process whose thread it dies with.
    dies_with: Option<libc::pid_t>,
    failed: Option<(Stage, c_int)>,
}

/// The size of the child's stack until its `execve`. The child makes only a dozen system calls.
const STACK_BYTES: usize = 64 << 10;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signalled { signal, .. } => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown status"),
        }
    }
}

impl Process {
    /// Starts a child. This is safe from any thread: the child shares the memory of this process
    /// but runs none of its code, the thread waits for the child's `execve`, and all signals are
    /// blocked until then. They stay blocked in the new program, which has to unblock them.
    pub(crate) fn start(start: &Start<'_>) -> Result<Self, StartError> {
        let failed = |step, source| StartError { step, source };
        let arguments = pointers(start.arguments);
        let environment = pointers(start.environment);
        let mut plan = Plan {
            program: start.program.as_raw_fd(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            socket: start.socket.as_raw_fd(),
            proc: start.proc.map_or(-1, |fd| fd.as_raw_fd()),
            standard: start.standard.map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd())),
            directory: start.directory.map_or(ptr::null(), CStr::as_ptr),
            no_new_privs: start.no_new_privs,
            process_group: start.process_group,
            dies_with: start
                .dies_with_thread
                .then(|| nix::unistd::getpid().as_raw()),
            failed: None,
        };
        let stack = Stack::new().map_err(|e| failed("reserve a stack for the child", e))?;
        let mut pidfd: c_int = -1;
        let blocked = Blocked::all();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the child runs `child` on the memory of `stack`, which lives until the parent
        // continues. CLONE_VFORK holds the parent until the child has executed another program or
        // ended, so `plan` and all that it points to outlive the child's use, and nobody else uses it
        // meanwhile. `child` calls only functions that are async-signal-safe, and no handler can run,
        // not even one of the C library: every signal is blocked.
        let id = unsafe {
            clone(
                child,
                stack.top(),
                flags,
                (&raw mut plan).cast(),
                &raw mut pidfd,
            )
        };
        // Read before the mask is restored, which also sets `errno`.
        let error = io::Error::last_os_error();
        drop(blocked);
        if id == -1 {
            return Err(failed("clone", error));
        }
        // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor, close-on-exec.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let process = Self {
            id,
            pidfd: Arc::new(pidfd),
        };
        match plan.failed {
            None => Ok(process),
            Some((stage, errno)) => {
                // It has already ended.
                let _ = process.wait();
                Err(failed(
                    stage.name(errno),
                    io::Error::from_raw_os_error(errno),
                ))
            }
        }
    }

    /// Waits for it to end, and takes its status.
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        self.wait_with(0, None)
            .map(|ended| ended.unwrap_or(Ended::Unknown))
    }

    /// Takes its status if it has ended, and its processor time.
    pub(crate) fn try_wait_with_time(&self) -> io::Result<Option<(Ended, Duration)>> {
        // SAFETY: all-zero is a valid `rusage`.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let ended = self.wait_with(libc::WNOHANG, Some(&mut usage))?;
        let time = |time: libc::timeval| {
            let micros = time.tv_sec.saturating_mul(1_000_000);
            Duration::from_micros(micros.saturating_add(time.tv_usec).unsigned_abs())
        };
        let time = time(usage.ru_utime) + time(usage.ru_stime);
        Ok(ended.map(|ended| (ended, time)))
    }

    /// Takes its status if it has ended.
    pub(crate) fn try_wait(&self) -> io::Result<Option<Ended>> {
        self.wait_with(libc::WNOHANG, None)
    }

    fn wait_with(
        &self,
        options: c_int,
        usage: Option<&mut libc::rusage>,
    ) -> io::Result<Option<Ended>> {
        // SAFETY: all-zero is a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let usage = usage.map_or(ptr::null_mut(), ptr::from_mut);
        loop {
            // The C library's wrapper has no argument for the usage.
            // SAFETY: `waitid(2)` writes into the structures that it is given, or none.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_waitid,
                    libc::P_PIDFD,
                    self.pidfd.as_raw_fd(),
                    &raw mut info,
                    libc::WEXITED | options,
                    usage,
                )
            };
            if result == 0 {
                break;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ECHILD) => return Ok(Some(Ended::Unknown)),
                _ => return Err(error),
            }
        }
        // SAFETY: `waitid` filled it in for a child, or left it zero; both have a status.
        let (pid, status) = (unsafe { info.si_pid() }, unsafe { info.si_status() });
        Ok((pid != 0).then_some(match info.si_code {
            libc::CLD_EXITED => Ended::Exited(status),
            code => Ended::Signalled {
                signal: status,
                core_dumped: code == libc::CLD_DUMPED,
            },
        }))
    }

    /// Returns the real user that it had, if it has ended and was not waited for. It can still be
    /// waited for.
    pub(crate) fn user_at_end(&self) -> io::Result<Option<libc::uid_t>> {
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: all-zero is a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let pidfd = self.pidfd.as_raw_fd();
        // SAFETY: `waitid(2)` writes into the structure.
        let result =
            unsafe { libc::waitid(libc::P_PIDFD, pidfd.cast_unsigned(), &raw mut info, options) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `waitid` filled it in for a child, or left it zero; both have an id and a user.
        let (pid, user) = (unsafe { info.si_pid() }, unsafe { info.si_uid() });
        Ok((pid != 0).then_some(user))
    }

    /// Sends a signal to it. Has no effect if it has ended.
    pub(crate) fn signal(&self, signal: c_int) -> io::Result<()> {
        signal_by_pidfd(self.pidfd.as_fd(), signal)
    }
}

/// Sends a signal to the process of a pidfd. Has no effect if it has ended.
pub(crate) fn signal_by_pidfd(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    // SAFETY: `pidfd_send_signal(2)` takes no pointer but the null that stands for "as `kill`".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// Returns the array that `execve` takes: pointers, and a null.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect()
}

unsafe extern "C" {
    /// `clone(2)` as the C library has it. The `libc` crate declares that any safe function can be called
    /// in the child, which one that takes a pointer is not.
    fn clone(
        run: unsafe extern "C" fn(*mut c_void) -> c_int,
        stack: *mut c_void,
        flags: c_int,
        argument: *mut c_void,
        ...
    ) -> c_int;
}

/// Runs in the child between `clone` and `execve`. It must not return into another frame, allocate,
/// lock or unwind.
///
/// # Safety
///
/// `plan` must point to a [`Plan`] that nobody else uses until the child has ended or executed another
/// program, and whose pointers are valid or null, as its fields say.
unsafe extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: the caller vouches for the pointer.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    // SAFETY: the caller vouches for what the plan points to.
    let stage = unsafe { prepare_and_execute(plan) };
    // This thread's `errno`, which is also that of the waiting thread.
    plan.failed = Some((stage, nix::Error::last_raw()));
    // SAFETY: ends this process alone.
    unsafe { libc::_exit(127) }
}

/// Runs the steps, and returns the one that failed.
///
/// # Safety
///
/// This process must be a copy with a descriptor table of its own, in which nobody else runs. The plan's
/// directory is a C string or null, and its arrays end with a null and point to C strings.
unsafe fn prepare_and_execute(plan: &Plan) -> Stage {
    // Linux 5.11. The child needs nothing else that this program has open. SAFETY: changes flags of the
    // descriptors of this process, whose table is a copy.
    if unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    } != 0
    {
        return Stage::CloseOnExec;
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(plan.socket, libc::F_SETFD, 0) } == -1 {
        return Stage::KeepSocket;
    }
    // SAFETY: as above.
    if plan.proc != -1 && unsafe { libc::fcntl(plan.proc, libc::F_SETFD, 0) } == -1 {
        return Stage::KeepProc;
    }
    for (fd, number) in plan.standard.into_iter().zip(0..) {
        // SAFETY: as above.
        if fd != -1 && unsafe { libc::dup2(fd, number) } == -1 {
            return Stage::Standard;
        }
    }
    // SAFETY: the path is a C string or not used; the directory of this process is a copy.
    if !plan.directory.is_null() && unsafe { libc::chdir(plan.directory) } == -1 {
        return Stage::Directory;
    }
    // SAFETY: takes numbers only.
    if plan.no_new_privs && unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Stage::NoNewPrivs;
    }
    if let Some(group) = plan.process_group
        // SAFETY: takes numbers only.
        && unsafe { libc::setpgid(0, group) } == -1
    {
        return Stage::ProcessGroup;
    }
    if let Some(parent) = plan.dies_with {
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } != 0 {
            return Stage::BindLife;
        }
        // SAFETY: takes nothing, and can't fail.
        if unsafe { libc::getppid() } != parent {
            // It died before this call: nobody is left to report to.
            return Stage::Orphaned;
        }
    }
    signals::leave_to_program();
    // SAFETY: the arrays end with a null and point to C strings, all alive in the parent.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            plan.program,
            c"".as_ptr(),
            plan.arguments,
            plan.environment,
            libc::AT_EMPTY_PATH,
        )
    };
    Stage::Execute
}

/// The steps of a child between `clone` and `execve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    CloseOnExec,
    KeepSocket,
    KeepProc,
    Standard,
    Directory,
    NoNewPrivs,
    ProcessGroup,
    BindLife,
    Orphaned,
    Execute,
}

impl Stage {
    /// Completes the sentence "can't start the child process: …", for this error number.
    fn name(self, errno: c_int) -> &'static str {
        match (self, errno) {
            (Self::CloseOnExec, _) => {
                "mark all descriptors close-on-exec (close_range, Linux 5.11)"
            }
            (Self::KeepSocket, _) => "keep the launch socket open",
            (Self::KeepProc, _) => "keep /proc open",
            (Self::Standard, _) => "set up the standard descriptors",
            (Self::Directory, _) => "change the working directory",
            (Self::NoNewPrivs, _) => "set no_new_privs",
            (Self::ProcessGroup, _) => "move to its process group",
            (Self::BindLife, _) => "bind its life to this program's (PR_SET_PDEATHSIG)",
            (Self::Orphaned, _) => "start before this program ended",
            // The file itself is open, so it cannot be missing.
            (Self::Execute, libc::ENOENT) => {
                "execute this program again (its dynamic loader is not below this root directory: put it \
                 and the libraries there, or link the program statically)"
            }
            (Self::Execute, libc::EACCES) => {
                "execute this program again (something denies that: Landlock or another security module, a \
                 file system that is mounted `noexec`, or the file's mode; if the program has restricted \
                 itself, let it execute its own file and its dynamic loader, and read its libraries)"
            }
            (Self::Execute, _) => "execute this program again",
        }
    }
}

/// Memory for the child's stack, with inaccessible memory below it.
struct Stack(*mut c_void);

const GUARD_BYTES: usize = 64 << 10;

impl Stack {
    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let length = GUARD_BYTES + STACK_BYTES;
        // SAFETY: a new mapping, placed by the kernel.
        let memory = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self(memory);
        // SAFETY: the upper part of the mapping made above.
        let usable = unsafe { memory.byte_add(GUARD_BYTES) };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: as above.
        if unsafe { libc::mprotect(usable, STACK_BYTES, protection) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Returns the top of the stack. Stacks grow downwards on both supported architectures, and the
    /// end of a page is aligned.
    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.0.byte_add(GUARD_BYTES + STACK_BYTES) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nobody uses any more: the child that ran on it already has
        // its own memory, or has ended.
        unsafe { libc::munmap(self.0, GUARD_BYTES + STACK_BYTES) };
    }
}

/// Opens `/dev/null` for standard descriptors that are closed, so that nothing else gets their
/// numbers and is then printed to. Rust's runtime does it before `main`.
pub(crate) fn fill_standard_descriptors() -> io::Result<()> {
    for number in 0..3 {
        // SAFETY: takes no pointer, and fails if the descriptor is closed.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            let null = system_files::open_null()?;
            // It got the lowest free number, which is this one, and keeps it.
            let _ = null.into_raw_fd();
        }
    }
    Ok(())
}

/// Adopts a descriptor that this process was started with, which nothing in it may have adopted before.
///
/// Fails with EBADF if it is a standard one, or is not open, or is close-on-exec: then it was opened since
/// the start, or adopted.
pub(crate) fn adopt_inherited(number: c_int) -> io::Result<OwnedFd> {
    let refused = || io::Error::from_raw_os_error(libc::EBADF);
    if number <= libc::STDERR_FILENO {
        return Err(refused());
    }
    // SAFETY: takes a number.
    match unsafe { libc::fcntl(number, libc::F_GETFD) } {
        -1 => return Err(io::Error::last_os_error()),
        flags if flags & libc::FD_CLOEXEC != 0 => return Err(refused()),
        _ => {}
    }
    // SAFETY: takes numbers. The descriptor is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open and was not close-on-exec, so it was there before this process's program, which
    // had no owner for it: whatever opens descriptors for an owner, in std and here, has them be
    // close-on-exec. It is now, so that a second adoption fails.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Ends this process without the usual work at the end of a program: handlers of `atexit(3)`,
/// destructors of thread-locals and of the C library's loader. What C code has printed into a
/// buffer is written.
pub(crate) fn leave(status: i32) -> ! {
    // SAFETY: a null pointer stands for all streams.
    unsafe { libc::fflush(ptr::null_mut()) };
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Makes copies of this process be scheduled as ordinary processes, however this one is.
pub(crate) fn reset_scheduling_on_fork() -> io::Result<()> {
    // The raw calls: musl's functions of these names do nothing.
    // SAFETY: takes a number.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    let mut priority: c_int = 0;
    // SAFETY: writes the structure, which is this number (sched_setparam(2)).
    let known = unsafe { libc::syscall(libc::SYS_sched_getparam, 0, &raw mut priority) };
    if policy == -1 || known == -1 {
        return Err(io::Error::last_os_error());
    }
    let policy = policy | c_long::from(libc::SCHED_RESET_ON_FORK);
    // SAFETY: reads the structure.
    let set =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the name of this thread, and on the first thread also that of the process, as shown in `ps`
/// and the like.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: `PR_SET_NAME` reads a C string, of which it takes 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Opens a pidfd of a process.
pub(crate) fn open_pidfd(id: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: `pidfd_open(2)` takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    match c_int::try_from(fd) {
        // SAFETY: a new descriptor, close-on-exec, that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
