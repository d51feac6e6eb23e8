//! Groups and calls by the names that a person types, and what was probably meant by unknown names.

use crossmist_policy::nearest;
use crossmist_policy::syscalls::groups::{self, Group};
use crossmist_policy::syscalls::{self, Syscall};

/// Returns the group of a name.
///
/// # Errors
///
/// If there is none, with the nearest one.
pub(crate) fn group(name: &str) -> Result<&'static Group, String> {
    groups::find(name).ok_or_else(|| {
        let near = nearest(name, groups::all().iter().map(|group| group.name));
        let help = near.map_or_else(
            || "`cargo crossmist help groups` lists them".to_owned(),
            |near| format!("did you mean `{near}`? `cargo crossmist help groups` lists all"),
        );
        format!("there is no group `{name}`: {help}")
    })
}

/// Returns the system call of a name.
///
/// # Errors
///
/// If there is none, with the nearest one.
pub(crate) fn call(name: &str) -> Result<&'static Syscall, String> {
    syscalls::find(name).ok_or_else(|| {
        let near = nearest(name, syscalls::all().iter().map(|call| call.name));
        match near {
            Some(near) => format!("there is no system call `{name}`: did you mean `{near}`?"),
            None => format!("neither x86_64 nor aarch64 has a system call `{name}`"),
        }
    })
}
