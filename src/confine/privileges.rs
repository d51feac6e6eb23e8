//! Who a confined process is, and what that entitles it to.

use std::io;

use caps::{CapSet, CapsHashSet};

use super::status::Step;
use crate::sys::confinement as sys;

/// No root by user id, no capabilities kept or fixed up over a change of it, none ambient; all of it
/// for good.
const SECUREBITS: i32 = 0xef;

/// The first of the user ids that confined processes take; theirs is this and their process id, which
/// no other live process has.
pub(super) const FIRST_USER: u32 = 0x5000_0000;

/// Gives up what the process may do by privilege, and, where it is root's, its user. Returns the
/// user that it became.
///
/// Everything is read back: a set that isn't empty is a failure, whoever let it be so.
pub(super) fn give_up(kept: u64, own_user: bool) -> Result<Option<u32>, (Step, io::Error)> {
    let has_setpcap =
        caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(failed)?;
    let permitted = read(CapSet::Permitted)?;
    if has_setpcap {
        empty_bounding_set(kept).map_err(|error| (Step::BoundingSet, error))?;
        let locked = sys::set_securebits(SECUREBITS).and_then(|()| sys::securebits());
        match locked {
            Ok(SECUREBITS) => {}
            Ok(_) => return Err((Step::Securebits, io::Error::from_raw_os_error(libc::EPERM))),
            Err(error) => return Err((Step::Securebits, error)),
        }
    } else if permitted & !kept != 0 {
        // It has some, and couldn't lock the door behind itself.
        return Err((Step::BoundingSet, io::Error::from_raw_os_error(libc::EPERM)));
    }
    let user = match own_user && nix::unistd::geteuid().is_root() {
        true => Some(become_nobody_else()?),
        false => None,
    };
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    let remaining = set_of(permitted & kept);
    // The effective ones first: they have to be among the permitted.
    caps::set(None, CapSet::Effective, &remaining).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &remaining).map_err(failed)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(failed)?;
    let surplus = |set| Ok(read(set)? & !kept != 0);
    // The ambient ones are always among the inheritable (capabilities(7)).
    if surplus(CapSet::Effective)? || surplus(CapSet::Permitted)? || read(CapSet::Inheritable)? != 0
    {
        return Err((
            Step::Capabilities,
            io::Error::from_raw_os_error(libc::EPERM),
        ));
    }
    Ok(user)
}

/// The crate's errors have the system's reason in words only; its number is still where the call, the
/// last one of this thread, has left it.
fn failed(_: caps::errors::CapsError) -> (Step, io::Error) {
    (Step::Capabilities, io::Error::last_os_error())
}

fn read(set: CapSet) -> Result<u64, (Step, io::Error)> {
    let set = caps::read(None, set).map_err(failed)?;
    Ok(set
        .iter()
        .fold(0, |mask, capability| mask | capability.bitmask()))
}

fn set_of(mask: u64) -> CapsHashSet {
    let all = caps::all().into_iter();
    all.filter(|capability| mask & capability.bitmask() != 0)
        .collect()
}

/// Empties the bounding set of all that the kernel knows, which may be more than we do.
fn empty_bounding_set(kept: u64) -> io::Result<()> {
    for capability in 0..64 {
        let is_kept = kept >> capability & 1 == 1;
        match sys::in_bounding_set(capability)? {
            None => return Ok(()),
            Some(true) if !is_kept => sys::drop_from_bounding_set(capability)?,
            Some(_) => {}
        }
    }
    Ok(())
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
