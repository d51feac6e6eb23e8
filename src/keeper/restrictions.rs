//! Finds restrictions that the calling thread has gained since the keeper was started: Landlock domains and
//! seccomp filters.
//!
//! No call tells which Landlock domain a thread is in. But a thread may inspect only processes in its own
//! domain, or in one within it. So the keeper leaves a zombie, the *witness*, as a process to inspect: it
//! costs nothing, and it has no memory that could be read.

use super::identity::Credentials;
use crate::sys::{inherited, system_files};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restrictions {
    /// How many filters the thread had that started the keeper, if that is known.
    filters: Option<u32>,
    /// The witness; `None` if the thread that started the keeper couldn't inspect it either.
    witness: Option<i32>,
}

impl Restrictions {
    /// Returns those of the calling thread, which has just started the keeper.
    pub(super) fn of_this_thread(witness: i32) -> Self {
        let is_known =
            witness > 0 && is_in_namespace_of_children() && inherited::may_look_at(witness).is_ok();
        Self {
            filters: filters(),
            witness: is_known.then_some(witness),
        }
    }

    /// Returns whether the calling thread has no restrictions beyond these.
    pub(super) fn cover_this_thread(&self, credentials: &Credentials) -> bool {
        let is_outside = |witness| inherited::may_look_at(witness).is_err();
        !self.witness.is_some_and(is_outside) && !self.has_more_filters(credentials)
    }

    fn has_more_filters(&self, credentials: &Credentials) -> bool {
        match self.filters {
            _ if !inherited::has_filters() => false,
            Some(0) => true,
            // Then it cannot have added one, and need not be counted.
            _ if !inherited::has_no_new_privs() && !credentials.may_administer() => false,
            Some(before) => filters().is_some_and(|now| now > before),
            None => false,
        }
    }
}

/// Returns how many filters the calling thread has, or `None` if there is no `/proc` that tells.
fn filters() -> Option<u32> {
    if !inherited::has_filters() {
        return Some(0);
    }
    let status = system_files::read("thread-self/status").ok()?;
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("Seccomp_filters:"))?;
    count.trim().parse().ok()
}

/// Returns whether this thread's children are in its own PID namespace, so that ids mean the same to both.
fn is_in_namespace_of_children() -> bool {
    let own = system_files::read_link("thread-self/ns/pid");
    let of_children = system_files::read_link("thread-self/ns/pid_for_children");
    own.is_ok_and(|own| of_children.is_ok_and(|of_children| own == of_children))
}
