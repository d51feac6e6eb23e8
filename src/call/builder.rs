//! `Builder`: the options of a call, and the call itself.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use super::child::Child;
use super::options::{Options, Stdio};
use super::request_timer::RequestTimer;
use crate::confine::SandboxPolicy;
use crate::error::Error;
use crate::func::Func;
use crate::object::Limits;

/// A call that is being prepared. The method `builder` of a function creates it.
///
/// ```
/// use std::time::Duration;
///
/// #[crossmist::func]
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// #[crossmist::main]
/// fn main() {
///     let sum = add.builder().deadline(Duration::from_secs(5)).run(5, 7).unwrap();
///     assert_eq!(sum, 12);
/// }
/// ```
#[must_use = "nothing is started before `run` or `spawn`"]
pub struct Builder<F, Args> {
    options: Options,
    call: PhantomData<fn(F, Args)>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<F, Args> std::fmt::Debug for Builder<F, Args> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<F: Func> Builder<F, F::Args> {
    pub(crate) fn new(policy: Option<SandboxPolicy>) -> Self {
        Self {
            options: Options {
                policy,
                ..Options::of::<F>()
            },
            call: PhantomData,
        }
    }

    /// Bounds the time of the whole call, counted from `run` or `spawn`. If the child has not
    /// finished after `time`, it is killed, and the call fails with [`Error::Deadline`].
    ///
    /// The deadline holds even if the [`Child`] has been dropped. If the policy has a `wall_time`
    /// as well, the shorter of the two applies.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.options.deadline = Some(time);
        self
    }

    /// Has the child killed if a request takes longer than `timer` allows. See [`RequestTimer`].
    ///
    /// Only sandboxed functions have request timers, and a timer works for one child. Otherwise the call fails
    /// with [`Error::Unsupported`].
    pub fn request_timer(mut self, timer: &RequestTimer) -> Self {
        self.options.timer = Some(timer.clone());
        self
    }

    /// Sets the child's standard input. The default is that of this process, or for a confined child, that of
    /// its policy.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.options.standard[0] = Some(stdin.into());
        self
    }

    /// Sets the child's standard output. The default is that of this process, or for a confined child, that
    /// of its policy.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.options.standard[1] = Some(stdout.into());
        self
    }

    /// Sets the child's standard error. The default is that of this process, or for a confined child, that of
    /// its policy.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.options.standard[2] = Some(stderr.into());
        self
    }

    /// Sets a variable of the function's policy: a path, or the number of a port.
    ///
    /// If the policy has no such variable, or the variable cannot have this value, the call fails
    /// with [`Error::Policy`].
    pub fn bind(mut self, variable: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.bound.push((variable.into(), value.into()));
        self
    }

    /// Sets an environment variable for the child.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let entry = (name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self.options.environment.push(entry);
        self
    }

    /// Removes an environment variable for the child.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.options
            .environment
            .push((name.as_ref().to_owned(), None));
        self
    }

    /// Starts the child without this process's environment variables, and drops what earlier calls
    /// of [`env`](Self::env) have set. A confined child only ever gets the variables that its
    /// policy names.
    pub fn env_clear(mut self) -> Self {
        self.options.clear_environment = true;
        self.options.environment.clear();
        self
    }

    /// Sets the child's working directory. By default it is this process's.
    ///
    /// A confined child works in `/`. If a call of a confined function sets another directory, it
    /// fails: pass the function what it is to open instead.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.options.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Sets the limits on the arguments and the answer.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Sets whether the child shares memory with this program. Long values are then copied once less: the
    /// arguments, the answer, and messages on channels between the two.
    ///
    /// By default they share none, and everything goes through sockets. Set this for a child that lives for
    /// many values of a mebibyte or more. Once the memory is in use, such a value arrives in little more than
    /// the time of a copy. The single answer of a short call is not faster, because the new memory has to be
    /// cleared first.
    ///
    /// The memory belongs to this call alone. It has 2 MiB, of which only the used part is allocated. For a
    /// confined child, it is in addition to the policy's `memory`, and counts towards `address_space`; see
    /// [`ConfinementStatus::shared_bytes`](crate::ConfinementStatus::shared_bytes). No policy has to allow
    /// it, because the child maps it before it confines itself. If the memory cannot be created, the sockets
    /// are used.
    ///
    /// # Security
    ///
    /// A child can change the memory at any time. That is why each piece of a value is copied out once, and
    /// only the copy is looked at. See `SECURITY.md`.
    pub fn bulk(mut self, bulk: bool) -> Self {
        self.options.bulk = bulk;
        self
    }

    /// Sets whether dropping the [`Child`] kills the process. By default it keeps running.
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.options.kill_on_drop = kill;
        self
    }

    /// Sets whether the kernel kills the child when this program ends, in whatever way: by a signal
    /// (SIGKILL included), by `exit`, or because it executes another program.
    ///
    /// By default the child keeps running, without its deadline, because this program enforces it. A confined
    /// child always dies with the program.
    ///
    /// A child that is stopped or loops is killed as well. Processes that the child has started are not.
    /// The thread that makes the call may end earlier: the child is started by a thread that the library
    /// creates for it, which has the calling thread's restrictions and lives as long as the child.
    pub fn kill_on_parent_death(mut self, kill: bool) -> Self {
        self.options.kill_on_parent_death = kill;
        self
    }

    /// Puts the child into a process group, as
    /// [`CommandExt::process_group`](std::os::unix::process::CommandExt::process_group) does; 0 makes a
    /// new one.
    ///
    /// By default the child is in this process's group. If a terminal sends that group Ctrl-C (SIGINT) or
    /// a hang-up, the child dies of it, even if this program handles the signal.
    ///
    /// A confined child is in the keeper's session, where no terminal reaches it. If a call of a confined
    /// function asks for a group, it fails with [`Error::Policy`].
    pub fn process_group(mut self, group: i32) -> Self {
        self.options.process_group = Some(group);
        self
    }

    #[cfg(feature = "__runtime")]
    pub(crate) fn into_options(self) -> Options {
        self.options
    }

    /// Allows the call even though this program's file is privileged (set-user-ID or set-group-ID).
    /// A program whose file has capabilities cannot start children.
    ///
    /// # Security
    ///
    /// The child gains the file's privileges through `execve`. It refuses to run if the process
    /// that started it does not have them, or has dropped them: anybody can start such a program,
    /// and could otherwise choose what it does.
    pub fn allow_privileged(mut self) -> Self {
        self.options.privileged = true;
        self
    }
}

/// `run` and `spawn` for each number of arguments.
macro_rules! calls {
    ($($name:ident $type:ident $index:tt),*) => {
        impl<Fun, $($type),*> Builder<Fun, ($($type,)*)>
        where
            Fun: Func<Args = ($($type,)*)>,
        {
            /// Calls the function in a child process and waits for its result.
            ///
            /// # Errors
            ///
            /// See [`Error`].
            pub fn run(self, $($name: $type),*) -> Result<Fun::Output, Error> {
                crate::call::run::<Fun>(($($name,)*), &self.options)
            }

            /// Starts the function in a child process, and returns without waiting for it.
            ///
            /// For a function with a sandbox, `spawn` returns before the child exists. If the child
            /// cannot be started, the methods that wait for it report that, such as
            /// [`Child::join`].
            ///
            /// # Errors
            ///
            /// The variants of [`Error`] up to [`Error::Policy`], and [`Error::Deadline`] if the
            /// deadline passes while large arguments are being sent.
            pub fn spawn(self, $($name: $type),*) -> Result<Child<Fun::Output>, Error> {
                crate::call::spawn::<Fun>(($($name,)*), &self.options)
            }
        }
    };
}

for_each_arity! { calls }
