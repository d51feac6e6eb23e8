//! Starts a child without a copy of this process, with the semantics of `vfork`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use super::process::Process;
use super::signals::{self, Blocked};

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

/// Starts a child. This is safe from any thread: the child shares the memory of this process
/// but runs none of its code, the thread waits for the child's `execve`, and all signals are
/// blocked until then. They stay blocked in the new program, which has to unblock them.
pub(crate) fn start(start: &Start<'_>) -> Result<Process, StartError> {
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
    let process = Process {
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
