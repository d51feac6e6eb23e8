//! Gives up the privileges of a confined process, and sets its user.

use std::io;

use super::users::{Ids, User};
use crate::error::Step;
use crate::sys::confinement as sys;
use crate::sys::privileges::{self, Capabilities, Capability, bit};

/// The user id gives no root rights, and no capabilities are kept or adjusted when it changes, nor
/// ambient; all of this locked.
const SECUREBITS: i32 = 0xef;

/// The capability that is needed to change the bounding set and the securebits.
const SETPCAP: u64 = bit(Capability::CAP_SETPCAP);

/// How many ids a process draws before it gives up, if each belongs to a live process.
const DRAWS: usize = 32;

/// Gives up the privileges of the process, and takes the user that was chosen for it. Returns the
/// id of a user of its own.
///
/// Everything is read back: a set that is not empty is a failure, whatever the reason.
///
/// A process without CAP_SETPCAP keeps its bounding set and securebits, as every ordinary user's
/// process does. They affect only programs that it executes, and these get no capabilities from
/// their file or their user, since no_new_privs is set next.
pub(super) fn give_up(kept: u64, user: User) -> Result<Option<u32>, (Step, io::Error)> {
    let failed = |error| (Step::Capabilities, error);
    let held = Capabilities::of_this_thread().map_err(failed)?;
    if held.effective != held.permitted {
        // For a program that has temporarily given up root's effective id.
        let all = Capabilities {
            effective: held.permitted,
            ..held
        };
        all.set().map_err(failed)?;
    }
    if held.permitted & SETPCAP != 0 {
        privileges::empty_bounding_set(kept).map_err(|error| (Step::BoundingSet, error))?;
        let locked = sys::set_securebits(SECUREBITS).and_then(|()| sys::securebits());
        match locked {
            Ok(SECUREBITS) => {}
            Ok(_) => return Err((Step::Securebits, denied())),
            Err(error) => return Err((Step::Securebits, error)),
        }
    }
    let user = match user {
        User::Own(ids) => Some(become_nobody_else(ids).map_err(|error| (Step::User, error))?),
        User::Same(_) => None,
    };
    Capabilities::clear_ambient().map_err(failed)?;
    let remaining = Capabilities {
        effective: held.permitted & kept,
        permitted: held.permitted & kept,
        inheritable: 0,
    };
    remaining.set().map_err(failed)?;
    // The ambient ones are always among the inheritable (capabilities(7)).
    match Capabilities::of_this_thread().map_err(failed)? == remaining {
        true => Ok(user),
        false => Err(failed(denied())),
    }
}

/// Takes one of the ids as user and group. No other live process has it as its real user.
fn become_nobody_else(ids: &Ids) -> io::Result<u32> {
    let mut draws = DRAWS;
    let user = loop {
        let user = ids.draw()?;
        if is_free(user)? {
            break user;
        }
        draws = draws.saturating_sub(1);
        if draws == 0 {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
    };
    sys::become_group(user)?;
    sys::become_user(user)?;
    let (users, groups) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    let users = [users.real, users.effective, users.saved].map(|id| id.as_raw());
    let groups = [groups.real, groups.effective, groups.saved].map(|id| id.as_raw());
    match (users, groups) == ([user; 3], [user; 3]) {
        true => Ok(user),
        false => Err(denied()),
    }
}

/// Makes an id the real one of this process, and returns whether no other process has it.
///
/// With a limit of 0, the kernel records whether there is any other process when the id is taken.
/// With a limit of 1, it reports that.
fn is_free(user: u32) -> io::Result<bool> {
    sys::set_soft_limit(libc::RLIMIT_NPROC, 0)?;
    sys::set_real_user(user)?;
    sys::set_soft_limit(libc::RLIMIT_NPROC, 1)?;
    Ok(!sys::user_exceeds_process_limit()?)
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(libc::EPERM)
}
