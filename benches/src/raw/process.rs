//! Starting this executable again, in the ways that the kernel and libc offer, and ending it.

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use libc::{c_char, pid_t};

use super::socket;
use crate::harness::Result;

/// The first argument of every child that the harness itself starts.
pub(crate) const CHILD: &str = "bench-child";
/// The descriptor at which such a child finds its socket.
pub(crate) const CHILD_SOCKET: RawFd = 3;

/// A child that is killed and reaped when this goes out of scope, by a panic too.
///
/// Nobody else reaps it, so its pid cannot have become another process.
#[derive(Debug)]
pub(crate) struct Running(pid_t);

impl Running {
    /// Adopts a child that another crate started and will not wait for.
    pub(crate) fn adopt(pid: u32) -> Self {
        Self(pid as pid_t)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0 as u32
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn wait(self) -> Result<()> {
        let status = self.reap()?;
        mem::forget(self);
        match status {
            0 => Ok(()),
            _ => Err(format!("the child ended with wait status {status:#x}").into()),
        }
    }

    fn reap(&self) -> io::Result<c_int> {
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        match unsafe { libc::waitpid(self.0, &mut status, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(status),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: sends a signal to our own unreaped child.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        if let Err(error) = self.reap() {
            eprintln!("could not reap {}: {error}", self.0);
        }
    }
}

/// The ways to a fresh address space.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Launch {
    PosixSpawn,
    /// `clone(CLONE_VM | CLONE_VFORK)` on a stack of its own, then `execve`.
    CloneExec,
    ForkExec,
}

/// The command line of a child, laid out once and used for many.
pub(crate) struct Command {
    path: CString,
    arguments: Vec<CString>,
}

impl Command {
    /// This executable in the named role. Roles of `raw::early` start before the runtime does, all
    /// others in `main`.
    pub(crate) fn role(role: &str, parameters: &[String]) -> Result<Self> {
        let path = CString::new(std::env::current_exe()?.into_os_string().into_vec())?;
        let mut arguments = vec![path.clone(), CString::new(CHILD)?, CString::new(role)?];
        for parameter in parameters {
            arguments.push(CString::new(parameter.as_str())?);
        }
        Ok(Self { path, arguments })
    }

    /// Starts it with a new socket, and returns our end.
    pub(crate) fn start(&self, launch: Launch, kind: socket::Kind) -> Result<(Running, OwnedFd)> {
        let (ours, theirs) = socket::pair(kind)?;
        Ok((self.launch(launch, theirs.as_fd())?, ours))
    }

    /// Starts it with the given socket.
    pub(crate) fn launch(&self, launch: Launch, socket: BorrowedFd<'_>) -> io::Result<Running> {
        let arguments = self.pointers();
        let mut plan = Plan {
            path: self.path.as_ptr(),
            arguments: arguments.as_ptr(),
            socket: socket.as_raw_fd(),
            mask: None,
        };
        match launch {
            Launch::PosixSpawn => plan.posix_spawn(),
            Launch::CloneExec => plan.clone_exec(),
            Launch::ForkExec => plan.fork_exec(),
        }
        .map(Running)
    }

    fn pointers(&self) -> Vec<*const c_char> {
        let arguments = self.arguments.iter().map(|argument| argument.as_ptr());
        arguments.chain([ptr::null()]).collect()
    }
}

/// The data that a child needs on its way to `execve`, without anything that allocates.
///
/// `path` and `arguments` point to terminated strings and a terminated list of them, both of which
/// outlive the plan.
struct Plan {
    path: *const c_char,
    arguments: *const *const c_char,
    socket: RawFd,
    /// The signal mask that the program starts with, if not the one that its starter has.
    mask: Option<libc::sigset_t>,
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

impl Plan {
    fn posix_spawn(&self) -> io::Result<pid_t> {
        let mut actions = mem::MaybeUninit::uninit();
        let mut pid = 0;
        // SAFETY: `actions` is initialised before it is used, and destroyed after; the strings and
        // lists are as `Plan` promises. `environ` is read, and nothing here changes it.
        let error = unsafe {
            libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
            libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), self.socket, CHILD_SOCKET);
            let error = libc::posix_spawn(
                &mut pid,
                self.path,
                actions.as_ptr(),
                ptr::null(),
                self.arguments.cast(),
                environ.cast(),
            );
            libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
            error
        };
        match error {
            0 => Ok(pid),
            _ => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn fork_exec(&self) -> io::Result<pid_t> {
        // SAFETY: the child calls async-signal-safe functions only, see `exec`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => self.exec(),
            pid => Ok(pid),
        }
    }

    fn clone_exec(&mut self) -> io::Result<pid_t> {
        #[repr(align(16))]
        struct Stack([mem::MaybeUninit<u8>; 16 << 10]);
        let mut stack = Stack([mem::MaybeUninit::uninit(); 16 << 10]);

        extern "C" fn child(plan: *mut c_void) -> c_int {
            // SAFETY: `clone_exec` passes a plan, and is suspended until this process has
            // executed or ended.
            let plan: &Plan = unsafe { &*plan.cast::<Plan>() };
            plan.exec()
        }

        // No handler may interrupt the child on its way, on our memory; `exec` opens the mask
        // again as its last step, when the one handler of this program (the watchdog's, which ends
        // the process at once) could do no harm.
        let mut all = mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigfillset` initialises `all`, `pthread_sigmask` initialises `old`.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        }
        // SAFETY: the call above has filled `old`.
        let old = unsafe { old.assume_init() };
        self.mask = Some(old);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let plan: *const Self = self;
        // SAFETY: the stack is aligned, unused and lives until the child has left it, which
        // CLONE_VFORK waits for; it grows down from its end. `child` calls async-signal-safe
        // functions only and never returns.
        let pid = unsafe {
            let top = stack.0.as_mut_ptr().add(stack.0.len());
            libc::clone(child, top.cast(), flags, plan.cast_mut().cast())
        };
        let error = io::Error::last_os_error();
        // SAFETY: `old` is a mask; no old one is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, ptr::null_mut()) };
        match pid {
            -1 => Err(error),
            _ => Ok(pid),
        }
    }

    /// In the child: puts the socket where it belongs and becomes the program.
    fn exec(&self) -> ! {
        // SAFETY: `dup2`, `fcntl`, `pthread_sigmask`, `execve` and `_exit` are async-signal-safe and
        // touch no memory but what `Plan` promises.
        unsafe {
            match self.socket {
                // `dup2` would leave it close-on-exec.
                CHILD_SOCKET => libc::fcntl(CHILD_SOCKET, libc::F_SETFD, 0),
                socket => libc::dup2(socket, CHILD_SOCKET),
            };
            if let Some(mask) = &self.mask {
                libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut());
            }
            libc::execve(self.path, self.arguments, environ);
            libc::_exit(127)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_panic_ends_and_reaps_the_children_of_its_row() {
        let command = Command {
            path: c"/bin/sleep".into(),
            arguments: vec![c"sleep".into(), c"100".into()],
        };
        for launch in [Launch::PosixSpawn, Launch::CloneExec, Launch::ForkExec] {
            let (child, _socket) = command.start(launch, socket::Kind::Packets).unwrap();
            let process = format!("/proc/{}", child.id());
            assert!(Path::new(&process).exists());
            std::panic::catch_unwind(|| {
                let _child = child;
                panic!("meant to be seen in this test's output");
            })
            .unwrap_err();
            assert!(!Path::new(&process).exists());
        }
    }
}
