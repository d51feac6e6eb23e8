//! Who a confined process is, and what that entitles it to.

use std::io;

use super::status::Step;
use crate::sys::confinement as sys;
use crate::sys::privileges::{self, Capabilities};

/// No root by user id, no capabilities kept or fixed up over a change of it, none ambient; all of it
/// for good.
const SECUREBITS: i32 = 0xef;

/// CAP_SETPCAP, by which the bounding set and the securebits are changed.
const SETPCAP: u64 = 1 << 8;

/// The first of the user ids that confined processes take; theirs is this and their process id, which
/// no other live process has.
pub(super) const FIRST_USER: u32 = 0x5000_0000;

/// Gives up what the process may do by privilege, and, where it is root's, its user. Returns the
/// user that it became.
///
/// Everything is read back: a set that isn't empty is a failure, whoever let it be so.
pub(super) fn give_up(kept: u64, own_user: bool) -> Result<Option<u32>, (Step, io::Error)> {
    let failed = |error| (Step::Capabilities, error);
    let held = Capabilities::of_this_thread().map_err(failed)?;
    if held.effective & SETPCAP != 0 {
        privileges::empty_bounding_set(kept).map_err(|error| (Step::BoundingSet, error))?;
        let locked = sys::set_securebits(SECUREBITS).and_then(|()| sys::securebits());
        match locked {
            Ok(SECUREBITS) => {}
            Ok(_) => return Err((Step::Securebits, io::Error::from_raw_os_error(libc::EPERM))),
            Err(error) => return Err((Step::Securebits, error)),
        }
    } else if held.permitted & !kept != 0 {
        // It has some, and couldn't lock the door behind itself.
        return Err((Step::BoundingSet, io::Error::from_raw_os_error(libc::EPERM)));
    }
    let user = match own_user && nix::unistd::geteuid().is_root() {
        true => Some(become_nobody_else()?),
        false => None,
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
        false => Err(failed(io::Error::from_raw_os_error(libc::EPERM))),
    }
}

fn become_nobody_else() -> Result<u32, (Step, io::Error)> {
    let user = FIRST_USER.saturating_add(std::process::id());
    sys::become_user(user).map_err(|error| (Step::User, error))?;
    let ids = nix::unistd::getresuid().map_err(|error| (Step::User, error.into()))?;
    let groups = nix::unistd::getresgid().map_err(|error| (Step::User, error.into()))?;
    let all = [
        ids.real.as_raw(),
        ids.effective.as_raw(),
        ids.saved.as_raw(),
        groups.real.as_raw(),
        groups.effective.as_raw(),
        groups.saved.as_raw(),
    ];
    if all != [user; 6] {
        return Err((Step::User, io::Error::from_raw_os_error(libc::EPERM)));
    }
    Ok(user)
}
