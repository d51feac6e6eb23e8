//! A system call as an attacker makes it, and how it ends under each policy.

use Outcome::{Denied, Done, Fails, Killed};
use crossmist::{Error, Object, Violation, func};

use crate::support::raw;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The call did what was asked.
    Done,
    /// It failed with this error number.
    Fails(i32),
    /// The child said that this call was denied, and died.
    Denied(&'static str),
    /// The child was killed by the filter without a word.
    Killed,
}

/// A system call by number and arguments, with memory that some of them need.
#[derive(Clone, Copy, Debug, Object)]
pub(crate) struct Attempt {
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
}

pub(crate) fn attempt(number: i64, arguments: &[u64]) -> Attempt {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Attempt {
        number,
        arguments: all,
    }
}

/// Stands for an address of this many zero bytes, in an attempt.
pub(crate) const MEMORY: u64 = 0xdead_0000_0000_0000;

/// Stands for the address of the path of a file that may be destroyed.
pub(crate) const VICTIM: u64 = MEMORY + 1;

/// Stands for the address of the name of a new file.
pub(crate) const NEW: u64 = MEMORY + 3;

/// Makes an attempt, as an attacker would: without any library between.
#[expect(unsafe_code, reason = "native code of an attacker")]
pub(crate) fn make(attempt: Attempt, victim: &str) -> Result<u64, i32> {
    let memory = vec![0u64; 512];
    let victim = std::ffi::CString::new(victim).unwrap();
    let new = std::ffi::CString::new([victim.as_bytes(), b".new"].concat()).unwrap();
    let [a, b, c, d, e, f] = attempt.arguments.map(|argument| match argument {
        MEMORY => memory.as_ptr() as u64,
        VICTIM => victim.as_ptr() as u64,
        NEW => new.as_ptr() as u64,
        plain => plain,
    });
    // SAFETY: whatever it does, it does to a process that is there for it.
    let result = unsafe { libc::syscall(attempt.number, a, b, c, d, e, f) };
    if result == 0 && attempt.number == libc::SYS_clone {
        // A copy of this process, which has nothing to say.
        raw::exit(0);
    }
    match result {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        result => Ok(result as u64),
    }
}

#[func]
pub(crate) fn unconfined(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}

#[func(sandbox = "parser")]
pub(crate) fn parser(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}

#[func(sandbox = "pure")]
pub(crate) fn pure(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}

pub(crate) fn outcome(result: Result<Result<u64, i32>, Error>) -> Outcome {
    match result {
        Ok(Ok(_)) => Done,
        Ok(Err(errno)) => Fails(errno),
        Err(Error::Violation(violation)) => match &violation.claim {
            Some(claim) => {
                let name = claim.call.split('(').next().unwrap();
                Denied(Box::leak(name.to_owned().into_boxed_str()))
            }
            None => Killed,
        },
        Err(error) => panic!("{error:?}"),
    }
}

pub(crate) const PRIVATE: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;

pub(crate) const HERE: u64 = libc::AT_FDCWD as u64;

pub(crate) const NO_FD: u64 = u64::MAX;

pub(crate) fn violation<T: std::fmt::Debug>(result: Result<T, Error>) -> Violation {
    match result {
        Err(Error::Violation(violation)) => *violation,
        other => panic!("{other:?}"),
    }
}

#[func(sandbox = dynamic)]
pub(crate) fn chosen(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}
