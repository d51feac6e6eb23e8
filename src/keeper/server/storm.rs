//! Ends all processes of a child that has ended, at once, if the child had a user of its own.
//!
//! A helper process does it: it becomes that user, and reaches nobody else. The processes that it is about to kill
//! can stop it first, if their policy lets them. So the keeper does not wait for it, but looks again.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::sys::fork;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{self, Process};
use crate::sys::user_end;

/// The end of the processes of a child's user.
#[derive(Debug)]
pub(super) struct StormEnd {
    /// `None` once it has ended.
    helper: Option<Process>,
    /// When the helper is given up.
    until: Deadline,
}

/// How long the helper may take: less than the time that a call waits for the keeper's report.
const HELPER_TIME: Duration = Duration::from_millis(1500);

impl StormEnd {
    /// Begins it, for a child that has ended and that nobody has waited for: nobody else can take its user.
    pub(super) fn begin(child: &Process) -> Self {
        Self::by(start_helper(child))
    }

    fn by(helper: Option<Process>) -> Self {
        Self {
            helper,
            until: Deadline::after(HELPER_TIME),
        }
    }

    /// Returns whether a process is its helper.
    pub(super) fn has(&self, process: libc::pid_t) -> bool {
        self.helper
            .as_ref()
            .is_some_and(|helper| helper.id == process)
    }

    /// Waits for a while, and returns whether it is over. One that takes too long is given up.
    pub(super) fn is_over(&mut self, patience: Deadline) -> bool {
        let Some(helper) = &self.helper else {
            return true;
        };
        let patience = patience.min(self.until);
        if poll::readable(helper.pidfd.as_fd(), patience).is_err() {
            if !self.until.has_passed() {
                return false;
            }
            let _ = helper.signal(libc::SIGKILL);
        }
        let _ = helper.wait();
        self.helper = None;
        true
    }
}

/// Starts the helper. `None` if the child had no user of its own.
fn start_helper(child: &Process) -> Option<Process> {
    let user = child.user_at_end().ok()??;
    let is_own = nix::unistd::getresuid().is_ok_and(|own| {
        [own.real, own.effective, own.saved]
            .iter()
            .all(|id| id.as_raw() != user)
    });
    if !is_own || user == 0 {
        return None;
    }
    let Some(helper) = fork::fork().ok()? else {
        let killed = user_end::become_user_and_kill_all(user);
        process::leave(i32::from(killed.is_err()))
    };
    Some(helper)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::sync::Arc;

    use super::*;

    /// A process that is there for a while.
    fn sleeper(seconds: &str) -> (Child, Process) {
        let child = Command::new("sleep").arg(seconds).spawn().unwrap();
        let id = libc::pid_t::try_from(child.id()).unwrap();
        let pidfd = Arc::new(process::open_pidfd(id).unwrap());
        (child, Process { id, pidfd })
    }

    #[test]
    fn a_helper_that_was_stopped_is_not_waited_for_and_is_given_up() {
        let (_child, helper) = sleeper("600");
        helper.signal(libc::SIGSTOP).unwrap();
        let id = helper.id;
        let mut end = StormEnd::by(Some(helper));
        assert!(end.has(id));
        end.until = Deadline::NEVER;
        // Without waiting.
        assert!(!end.is_over(Deadline::after(Duration::ZERO)));
        end.until = Deadline::after(Duration::ZERO);
        assert!(end.is_over(Deadline::NEVER));
        assert!(!end.has(id) && end.is_over(Deadline::NEVER));
    }

    #[test]
    fn a_helper_that_ends_is_waited_for() {
        let (_child, helper) = sleeper("0");
        let mut end = StormEnd::by(Some(helper));
        end.until = Deadline::NEVER;
        assert!(end.is_over(Deadline::NEVER));
        assert!(StormEnd::by(None).is_over(Deadline::NEVER));
    }
}
