//! The events of the feature `tracing`. The crate's documentation has the list. All events come
//! from the program, none from a child.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, warn};

use crate::confine::ConfinementStatus;
use crate::error::Error;

const TARGET: &str = "crossmist";

/// A child was started for a call. Its process id, for which one may have to wait, is computed only
/// if somebody listens.
pub(crate) fn started(function: &str, policy: Option<&str>, pid: impl Fn() -> Option<u32>) {
    debug!(
        target: TARGET,
        function,
        policy,
        pid = pid(),
        "a child process was started"
    );
}

/// A child has reported that it is confined.
pub(crate) fn confined(pid: Option<u32>, status: &ConfinementStatus) {
    let ConfinementStatus {
        seccomp_instructions,
        allows_speculation,
        landlock_abi,
        landlock_files,
        landlock_ports,
        landlock_scopes,
        capabilities,
        own_user,
        same_user,
        control_group,
        limits,
        shared_bytes,
        denies_write_execute,
        dumpable,
        relaxed,
        ref missing,
        ref namespaces,
        ref missing_namespaces,
    } = *status;
    let missing: Vec<_> = missing.iter().map(|net| net.name()).collect();
    let missing = missing.join(", ");
    let [namespaces, missing_namespaces] = [namespaces, missing_namespaces].map(|list| {
        let names: Vec<_> = list.iter().map(|namespace| namespace.name()).collect();
        names.join(", ")
    });
    debug!(
        target: TARGET,
        pid,
        seccomp_instructions,
        allows_speculation,
        landlock_abi,
        landlock_files,
        landlock_ports,
        landlock_scopes,
        capabilities,
        own_user,
        same_user = same_user.map(tracing::field::debug),
        control_group = control_group.map(tracing::field::debug),
        limits,
        shared_bytes,
        denies_write_execute,
        dumpable,
        relaxed,
        missing,
        namespaces,
        missing_namespaces,
        "a child process has confined itself"
    );
}

/// A child's call has failed with an error number, as its policy says, once or more often.
pub(crate) fn answered(function: &str, policy: &str, count: u32, call: &str) {
    debug!(
        target: TARGET,
        function,
        policy,
        count,
        call,
        "the policy answered a child's call with an error number"
    );
}

/// A pool could not start a spare child. It tries again.
pub(crate) fn no_spare(error: &Error) {
    warn!(
        target: TARGET,
        error = error as &dyn std::error::Error,
        "a pool could not start a child in reserve"
    );
}

/// A call has failed in a way that the program's operator wants to know about.
pub(crate) fn failed(pid: Option<u32>, error: &Error) {
    match error {
        Error::Violation(violation) => {
            let claim = violation.claim.as_ref();
            warn!(
                target: TARGET,
                pid,
                function = violation.function,
                policy = violation.policy,
                call = claim.map(|claim| claim.call.as_str()),
                denied_by = claim.map(|claim| claim.denied_by.as_str()),
                // The call fails on a thread that has better to do than to read debug information.
                at = claim
                    .and_then(|claim| claim.place.frame_as_known())
                    .map(tracing::field::display),
                "a child process was ended for a system call that its policy denies"
            );
        }
        Error::Limit {
            function,
            policy,
            resource,
        } => warn!(
            target: TARGET,
            pid,
            function,
            policy,
            resource = tracing::field::display(resource),
            "a child process was ended: it used up what its policy gives it"
        ),
        Error::Deadline { after } => warn!(
            target: TARGET,
            pid,
            after_seconds = after.as_secs_f64(),
            "a child process was ended: the call was not done in time"
        ),
        Error::Confine {
            function,
            policy,
            step,
            errno,
            reason,
        } => warn!(
            target: TARGET,
            pid,
            function,
            policy,
            step = tracing::field::display(step),
            errno,
            reason,
            "a child process could not be confined"
        ),
        Error::KeeperDied => warn!(
            target: TARGET,
            pid,
            "the process that watches over confined children was killed, and the child process with it"
        ),
        _ => {}
    }
}

/// A keeper was started: the first of this process, or another one.
pub(crate) fn keeper_started() {
    static BEFORE: AtomicBool = AtomicBool::new(false);
    match BEFORE.swap(true, Ordering::Relaxed) {
        false => debug!(target: TARGET, "the keeper was started"),
        true => warn!(target: TARGET, "the keeper was started again"),
    }
}
