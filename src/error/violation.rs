//! `Violation`: a denied system call, and the other reasons for which a policy ends a child.

use super::{BacktraceFrame, NamedPlace};

/// A resource that a policy limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// Processor time of all threads together: `limits.cpu_time`.
    CpuTime,
    /// Memory: `limits.memory`. This is the child's own claim: it printed that an allocation
    /// failed, and aborted.
    Memory,
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CpuTime => "processor time (`limits.cpu_time`)",
            Self::Memory => "memory (`limits.memory`)",
        })
    }
}

/// Data that a program receives from a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic {
    /// The function's result.
    Answer,
    /// Messages on a channel that the call passed to the child.
    Channel,
    /// Standard output or standard error.
    Output,
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Answer => "its answer",
            Self::Channel => "its messages on a channel",
            Self::Output => "its output",
        })
    }
}

/// A system call that was denied.
///
/// The signal that ended the child, which the kernel reports, proves that a call was denied. Only the child
/// reports which call it was, and a child that an attacker controls can lie.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The function.
    pub function: &'static str,
    /// The policy's name.
    pub policy: String,
    /// The id of the child process.
    pub process: u32,
    /// The call, as the child reported it. `None` if it said nothing: it was killed at once, because honest
    /// code never makes such a call, or the call was made while signals were blocked.
    pub claim: Option<DeniedCall>,
}

/// A denied system call as the child reports it, explained by its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeniedCall {
    /// The number of the system call.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// The call in words, such as `socket(AF_INET, SOCK_STREAM, 0)`.
    pub call: String,
    /// The line of the policy that denies it.
    pub denied_by: String,
    /// Lines that allow the call, to be added to a policy. They were tried: the filter, Landlock, the limits
    /// and this kernel then let the call happen. `None` if no policy may allow it, if a line denies it, or if
    /// no line helps. A path in these lines comes from the child: do not grant a path that you do not know.
    pub allow_with: Option<String>,
    /// Why adding these lines is dangerous, if it is.
    pub caution: Option<&'static str>,
    /// Lines that make the call fail with an error number, to be added to a policy, for code that can do
    /// without the call.
    pub answer_with: Option<String>,
    /// A better way, such as doing it in the program and passing the result.
    pub instead: Option<&'static str>,
    /// The id of the thread that made the call.
    pub thread: u32,
    pub(crate) place: NamedPlace,
}

impl DeniedCall {
    /// Returns the place in this program from which the call was made: the innermost function that is neither in a
    /// crate that was fetched nor in the standard library. If there is none, it is one of those. Returns `None` if
    /// the place is not known, for example because the policy says `backtrace = "off"`.
    ///
    /// With the feature `backtrace`, the child's stack is unwound by the tables of the program and its libraries,
    /// and the first lookup opens their files. If that ends before it comes to the program's own code, or without
    /// the feature, the rest of the stack is searched for return addresses. What that finds may have returned
    /// already, and is marked ([`BacktraceFrame::is_guess`]).
    #[must_use]
    pub fn at(&self) -> Option<BacktraceFrame> {
        self.place.named().frame.clone()
    }

    /// Returns the shared library that made the call for [`at`](Self::at), and its function, such as
    /// `inflate of libz.so.1`. The C library and what compilers add count as nothing, since everything goes through
    /// them. Functions in C++ are named as the linker knows them. Returns `None` if the program's own code made the
    /// call, or if it is not known.
    ///
    /// Libraries that the program is linked to, or that `preload` has loaded, are known with the feature
    /// `backtrace`. Those that the child has loaded itself are not.
    #[must_use]
    pub fn by(&self) -> Option<String> {
        self.place.named().library.clone()
    }

    /// Writes what to do about it.
    fn advise(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut say = |what: &str, lines: &str| {
            write!(f, "\n  {what}:")?;
            let mut lines = lines.lines();
            lines.try_for_each(|line| write!(f, "\n      {line}"))
        };
        if let Some(lines) = &self.allow_with {
            say("to allow it", lines)?;
        }
        if let Some(lines) = &self.answer_with {
            say("to have it fail with an error instead", lines)?;
        }
        if let Some(caution) = self.caution {
            write!(f, "\n  careful: {caution}")?;
        }
        match self.instead {
            Some(instead) => write!(f, "\n  instead: {instead}"),
            None if self.allow_with.is_none() && self.answer_with.is_none() => f.write_str(
                "\n  there is nothing to add: a line denies it, or code that tries it does without",
            ),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            function,
            policy,
            process,
            claim,
        } = self;
        write!(
            f,
            "`{function}` (policy `{policy}`, process {process}) was ended for a system call that \
             its policy denies"
        )?;
        let Some(claim) = claim else {
            return f.write_str(
                "; it could not say which: calls that honest code never makes kill at once, and so \
                 does one where signals are blocked, as in the middle of starting a thread",
            );
        };
        write!(f, ":\n  {}", claim.call)?;
        if claim.thread != *process {
            write!(f, " on thread {}", claim.thread)?;
        }
        write!(f, "\n  denied by: {}", claim.denied_by)?;
        let at = claim.at().filter(|frame| frame.function.is_some());
        match (at, claim.by()) {
            (Some(frame), Some(library)) => write!(f, "\n  at: {frame}, by {library}")?,
            (Some(frame), None) => write!(f, "\n  at: {frame}")?,
            (None, Some(library)) => write!(f, "\n  by: {library}")?,
            (None, None) => {}
        }
        claim.advise(f)?;
        // The name alone, which is the table's: the arguments are the child's word, and no text for
        // a shell.
        match claim.call.split_once('(') {
            Some((name, _)) => {
                write!(
                    f,
                    "\n  more: cargo crossmist explain {policy} --syscall {name}"
                )
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Violation {}
