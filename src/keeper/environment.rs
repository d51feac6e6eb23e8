//! The variables of the keeper, which decide whether libraries start threads in it, and what
//! allocators map ahead.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Mutex, PoisonError};

use crate::sys::privileges;

/// Variables that tell the known libraries to start no thread when they are loaded, and few later.
const ONE_THREAD: [(&str, &str); 7] = [
    // jemalloc, under the prefixes that it is usually built with.
    ("MALLOC_CONF", "background_thread:false"),
    ("_RJEM_MALLOC_CONF", "background_thread:false"),
    // OpenBLAS starts its threads in a constructor; the others when they are first used.
    ("OPENBLAS_NUM_THREADS", "1"),
    ("GOTO_NUM_THREADS", "1"),
    ("BLIS_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("OMP_NUM_THREADS", "1"),
];

/// Variables that tell allocators to map no writable memory before they need it. A child could fill
/// such memory, and it counts towards `limits.memory`.
const NO_RESERVE: [(&str, &str); 1] = [
    // mimalloc would map a gigabyte.
    ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
];

/// The variables that the program has set.
static SET: Mutex<Vec<(OsString, OsString)>> = Mutex::new(Vec::new());

/// Sets an environment variable of the [keeper](crate::keeper).
///
/// The variable is set while the keeper loads its libraries and runs constructors, up to
/// [`init`](crate::init). A confined function does not see it, because the policy decides its
/// environment.
///
/// Call this before the first call of a confined function. Otherwise it takes effect when the next keeper
/// starts.
///
/// # Panics
///
/// Panics if the name is empty or contains `=`, or if either contains a zero byte.
///
/// # Security
///
/// The bytes of the variable stay in the memory of every confined child, like those of
/// `LD_LIBRARY_PATH`. Do not put a secret there.
///
/// # Examples
///
/// ```
/// #[crossmist::main]
/// fn main() {
///     // By default, this library starts threads when it is loaded.
///     crossmist::keeper::env("MYLIB_THREADS", "0");
/// }
/// ```
pub fn env(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
    let (name, value) = (name.as_ref(), value.as_ref());
    let is_sound = !name.is_empty()
        && !name.as_bytes().contains(&b'=')
        && !name.as_bytes().contains(&0)
        && !value.as_bytes().contains(&0);
    assert!(
        is_sound,
        "not a valid environment variable: {name:?}={value:?}"
    );
    let mut set = SET.lock().unwrap_or_else(PoisonError::into_inner);
    set.retain(|(known, _)| known != name);
    set.push((name.to_owned(), value.to_owned()));
}

/// Returns the variables with which the program starts the keeper: where its libraries are, what
/// keeps known libraries from starting threads and reserving memory, and what the program has set.
pub(super) fn for_keeper() -> Vec<CString> {
    // The loader ignored it if the program has more privileges than the process that started it.
    let libraries = match privileges::is_privileged() {
        true => None,
        false => std::env::var_os("LD_LIBRARY_PATH"),
    };
    let libraries = libraries.map(|path| ("LD_LIBRARY_PATH".into(), path));
    let known = ONE_THREAD.into_iter().chain(NO_RESERVE);
    let known = known.map(|(name, value)| (name.into(), value.into()));
    let set = SET.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut variables: Vec<(OsString, OsString)> = libraries.into_iter().chain(known).collect();
    variables.retain(|(name, _)| !set.iter().any(|(other, _)| other == name));
    variables.extend(set);
    joined(variables)
}

/// Returns the variables with which the keeper was started, for what it executes.
pub(super) fn of_keeper() -> Vec<CString> {
    joined(std::env::vars_os())
}

fn joined(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<CString> {
    let variables = variables.into_iter().filter_map(|(name, value)| {
        let mut bytes = name.into_vec();
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        // No variable holds a zero byte.
        CString::new(bytes).ok()
    });
    variables.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_the_program_sets_replaces_a_known_one() {
        env("OMP_NUM_THREADS", "3");
        env("OMP_NUM_THREADS", "4");
        env("MYLIB_THREADS", "");
        let variables = for_keeper();
        let named = |name: &[u8]| {
            let found = variables.iter().filter(|v| v.as_bytes().starts_with(name));
            found.map(|v| v.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(named(b"OMP_NUM_THREADS="), ["OMP_NUM_THREADS=4"]);
        assert_eq!(named(b"MYLIB_THREADS="), ["MYLIB_THREADS="]);
        assert_eq!(named(b"MKL_NUM_THREADS="), ["MKL_NUM_THREADS=1"]);
        assert_eq!(named(b"PATH="), [""; 0]);
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for (name, value) in [("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "\0")] {
            assert!(std::panic::catch_unwind(|| env(name, value)).is_err());
        }
    }
}
