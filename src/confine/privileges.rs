//! Who a confined process is, and what that entitles it to.

use std::io;

use super::status::Step;
use super::users::{Ids, User};
use crate::sys::confinement as sys;
use crate::sys::privileges::{self, Capabilities, Capability, bit};

/// No root by user id, no capabilities kept or fixed up over a change of it, none ambient; all of it
/// for good.
const SECUREBITS: i32 = 0xef;

/// What changes the bounding set and the securebits.
const SETPCAP: u64 = bit(Capability::CAP_SETPCAP);

/// How many ids a process draws before it gives up, each of which somebody alive has.
const DRAWS: usize = 32;

/// Gives up what the process may do by privilege, and takes the user that was chosen for it. Returns
/// the id of a user of its own.
///
/// Everything is read back: a set that isn't empty is a failure, whoever let it be so.
///
/// A process without CAP_SETPCAP keeps its bounding set and securebits, as every ordinary user's does.
/// They matter to what it executes only, which gets no capabilities from its file or its user, since
/// no_new_privs is set next.
pub(super) fn give_up(kept: u64, user: User) -> Result<Option<u32>, (Step, io::Error)> {
    let failed = |error| (Step::Capabilities, error);
    let held = Capabilities::of_this_thread().map_err(failed)?;
    if held.effective != held.permitted {
        // Of a program that has given up root's effective id for the time being.
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

/// Takes one of the ids as user and group. No other process that is alive has it as its real user.
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

/// Makes an id this process's real one, and says whether it is no other process's.
///
/// With a limit of 0, the kernel notes whether there is any other when the id is taken; with a limit of 1,
/// it says so.
fn is_free(user: u32) -> io::Result<bool> {
    sys::lower_limit(libc::RLIMIT_NPROC, 0, u64::MAX)?;
    sys::set_real_user(user)?;
    sys::lower_limit(libc::RLIMIT_NPROC, 1, u64::MAX)?;
    Ok(!sys::user_exceeds_process_limit()?)
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(libc::EPERM)
}
