//! Whether children tell of the calls that their policy answers with an error number.
//!
//! Such an answer is meant for code that can do without the call. When that code then does less than it should,
//! such as a renderer that finds no font, somebody wants to know why.

use std::sync::OnceLock;

use crossmist_policy::Compiled;
use crossmist_policy::bpf::Action;

use crate::sys::privileges;

/// The environment variable that turns it on for every policy.
const VARIABLE: &str = "CROSSMIST_TRACE_DENIALS";

/// Returns whether a policy asks for it, or the environment does.
pub(crate) fn is_on_for(policy: &Compiled) -> bool {
    policy.process.trace_denials || is_on()
}

/// Returns whether the variable is set to something other than `0`. Its value is the one at the first call of a
/// confined function.
///
/// In a program that has more rights than its user, it is off.
fn is_on() -> bool {
    static IS_ON: OnceLock<bool> = OnceLock::new();
    *IS_ON.get_or_init(|| {
        let value = std::env::var_os(VARIABLE).filter(|_| !privileges::is_privileged());
        value.is_some_and(|value| !value.is_empty() && value != "0")
    })
}

/// Returns what is said of a call that fails with an error number: "answered EACCES".
pub(crate) fn answer(errno: u8) -> impl std::fmt::Display {
    Action::Errno(errno.into())
}
