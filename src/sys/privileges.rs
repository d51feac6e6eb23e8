//! What this process may do by the ids and capabilities of its file, and who is on the other side.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether this program was started with more privilege than its caller had (AT_SECURE): set-user-
/// ID, or file capabilities.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: reads a number that the kernel gave the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether what this program's file gives are the ids of a user or a group, not capabilities.
pub(crate) fn is_privileged_by_ids() -> bool {
    let (user, group) = effective_ids();
    // SAFETY: both calls can't fail and take nothing.
    let real = (unsafe { libc::getuid() }, unsafe { libc::getgid() });
    real != (user, group) && (user == 0 || !has_capabilities())
}

fn effective_ids() -> (libc::uid_t, libc::gid_t) {
    // SAFETY: both calls can't fail and take nothing.
    (unsafe { libc::geteuid() }, unsafe { libc::getegid() })
}

/// Whether this thread has any capability, used or not. Where that can't be told, it has.
fn has_capabilities() -> bool {
    // `_LINUX_CAPABILITY_VERSION_3`, and 0 for this thread; nix has no wrapper.
    let mut header = [0x2008_0522u32, 0];
    // Effective, permitted, inheritable, twice.
    let mut sets = [0u32; 6];
    // SAFETY: `capget(2)` reads and writes the header, and writes two structures of three numbers.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    result != 0 || sets[1] != 0 || sets[4] != 0
}

/// Whether who made `socket` had the ids that this program's file gives it, at that time.
pub(crate) fn was_made_with_our_ids(socket: BorrowedFd<'_>) -> bool {
    let mut maker = libc::ucred {
        pid: 0,
        uid: libc::uid_t::MAX,
        gid: libc::gid_t::MAX,
    };
    let mut length = size_of_val(&maker) as libc::socklen_t;
    // SAFETY: `getsockopt(2)` writes at most `length` bytes, which is the size of the structure.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut maker).cast(),
            &raw mut length,
        )
    };
    result == 0 && (maker.uid, maker.gid) == effective_ids()
}

/// Drops from the capability bounding set what no child of this process will need, while that is
/// allowed. Each child drops the rest, and looks whether all are gone: this only saves it the work.
pub(crate) fn thin_bounding_set() {
    // Those by which a child becomes another user and drops the rest.
    const NEEDED: [libc::c_ulong; 4] = [6, 7, 8, 24];
    for capability in (0..64).filter(|capability| !NEEDED.contains(capability)) {
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return;
        }
    }
}
