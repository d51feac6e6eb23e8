//! Advice about a denied call: the lines of policy that allow it, or a better way.
//!
//! Each proposal is tried before anybody sees it ([`trial`]). A proposal that allows the call in the
//! filter and not in another layer is none.

mod by_path;
pub(crate) mod entry;
mod instead;
mod lines;
mod trial;

pub use by_path::ByPath;

use crate::Arch;
use crate::compiled::Compiled;
use crate::kernel::Kernel;
use crate::syscalls::Syscall;

/// A call that a policy denies, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denied<'d> {
    pub(crate) call: &'static Syscall,
    pub(crate) arch: Arch,
    pub(crate) args: [u64; 6],
    /// The path of the call, if it has one that is known.
    pub(crate) path: Option<&'d [u8]>,
    /// Whether it fails with an error number, or is emulated. Then no error number is proposed.
    pub(crate) is_answered: bool,
}

/// Advice about a denied call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Lines that allow it.
    pub(crate) allow: Option<String>,
    /// The danger of adding them.
    pub(crate) caution: Option<&'static str>,
    /// Lines that have it fail with an error instead.
    pub(crate) answer: Option<String>,
    /// A better way, in words.
    pub(crate) instead: Option<&'static str>,
}

/// Finds out what to do. `kernel` is the one that the policy has to run on, if that is known.
pub(crate) fn advise(policy: &Compiled, denied: &Denied<'_>, kernel: Option<&Kernel>) -> Advice {
    let mut candidates = lines::candidates(policy, denied).into_iter();
    let allow = candidates.find(|lines| trial::allows(policy, denied, lines, kernel));
    let caution = allow
        .as_deref()
        .and_then(|lines| instead::caution(denied.call.name, lines));
    let is_safe = allow.is_some() && caution.is_none();
    Advice {
        answer: match is_safe || denied.is_answered {
            true => None,
            false => lines::answers(denied)
                .into_iter()
                .find(|lines| trial::answers(policy, denied, lines)),
        },
        instead: instead::by_path(denied).or_else(|| match is_safe {
            true => None,
            false => instead::instead(denied),
        }),
        allow,
        caution,
    }
}
