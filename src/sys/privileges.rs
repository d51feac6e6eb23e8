//! The privileges of this process by its ids and capabilities and those of its file, and the identity of its
//! peer.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use caps::Capability;

/// Returns whether this program was started with more privileges than its caller had (AT_SECURE):
/// set-user-ID, or file capabilities.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: reads a number that the kernel gave the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Returns whether this program's file grants the ids of a user or a group, and no capabilities.
/// The capabilities of a process whose real or effective user is root come with the id.
pub(crate) fn is_privileged_by_ids() -> bool {
    let (user, group) = effective_ids();
    // SAFETY: both calls can't fail and take nothing.
    let real = (unsafe { libc::getuid() }, unsafe { libc::getgid() });
    real != (user, group) && (user == 0 || real.0 == 0 || !has_capabilities())
}

/// Returns whether the process that started this program already had its privileges: it was root,
/// or it created `socket` with the ids that the file grants.
///
/// Some kernels, such as Linux 6.1, make the effective id of a process with two user ids the real
/// one when it executes a program under no_new_privs. The socket then shows whether the process was
/// root. A file grants nothing in that case.
pub(crate) fn starter_had_them(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: the call can't fail and takes nothing.
    if unsafe { libc::getuid() } == 0 {
        return true;
    }
    let maker = maker_of(socket);
    let file_gives_nothing = nix::sys::prctl::get_no_new_privs().unwrap_or(false);
    let was_root = maker.is_some_and(|(user, _)| user == 0);
    (file_gives_nothing && was_root) || (is_privileged_by_ids() && maker == Some(effective_ids()))
}

/// Returns the supplementary groups of this thread.
///
/// nix's `getgroups` reads a file of `/proc` each time, to find the greatest possible number.
pub(crate) fn groups() -> io::Result<Vec<libc::gid_t>> {
    // SAFETY: asks for the number only, and writes nothing.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let length = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let mut groups = vec![0; length];
    // SAFETY: writes at most `count` numbers, for which there is room.
    let written = unsafe { libc::getgroups(count, groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(written).map_err(|_| io::Error::last_os_error())?);
    Ok(groups)
}

fn effective_ids() -> (libc::uid_t, libc::gid_t) {
    // SAFETY: both calls can't fail and take nothing.
    (unsafe { libc::geteuid() }, unsafe { libc::getegid() })
}

/// Returns whether this thread has any capability, effective or not. If that cannot be told,
/// returns true.
fn has_capabilities() -> bool {
    Capabilities::of_this_thread().map_or(true, |held| held.permitted != 0)
}

/// The sets of a thread's capabilities that `capset(2)` changes in one call. The crate caps changes
/// them one by one, which is too slow for a confined call. Each bit is the number of a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
}

/// Returns the bit of a capability.
pub(crate) const fn bit(capability: Capability) -> u64 {
    1 << capability as u8
}

/// `_LINUX_CAPABILITY_VERSION_3`, and 0 for this thread.
const HEADER: [u32; 2] = [0x2008_0522, 0];

impl Capabilities {
    pub(crate) fn of_this_thread() -> io::Result<Self> {
        let mut header = HEADER;
        // Effective, permitted, inheritable: the lower halves, then the upper ones.
        let mut halves = [0u32; 6];
        // SAFETY: `capget(2)` reads and writes the header, and writes two structures of three numbers.
        let result =
            unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), halves.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let [a, b, c, d, e, f] = halves.map(u64::from);
        Ok(Self {
            effective: a | d << 32,
            permitted: b | e << 32,
            inheritable: c | f << 32,
        })
    }

    /// Sets them for the calling thread.
    pub(crate) fn set(self) -> io::Result<()> {
        let mut header = HEADER;
        let sets = [self.effective, self.permitted, self.inheritable];
        let half = |shift| sets.map(|set| (set >> shift) as u32);
        let halves = [half(0), half(32)];
        // SAFETY: `capset(2)` reads the header and two structures of three numbers, and writes the
        // header if it doesn't know its version.
        let result =
            unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), halves.as_ptr()) };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Empties the ambient set.
    pub(crate) fn clear_ambient() -> io::Result<()> {
        let option = libc::PR_CAP_AMBIENT;
        // SAFETY: takes numbers only.
        let result = unsafe { libc::prctl(option, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Returns the effective user and group of the creator of `socket`, at that time.
fn maker_of(socket: BorrowedFd<'_>) -> Option<(libc::uid_t, libc::gid_t)> {
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
    (result == 0).then_some((maker.uid, maker.gid))
}

/// The capabilities that may be in the bounding set of this process: all, until it has been checked. Nothing
/// can be added to a bounding set (capabilities(7)), or to that of a copy of this process.
static IN_BOUNDING_SET: AtomicU64 = AtomicU64::new(u64::MAX);

/// Empties the capability bounding set for good, except for `kept`, and checks the result. Needs
/// CAP_SETPCAP.
///
/// The kernel may have capabilities that this library does not know. Those that are known to be
/// gone are not checked again, here or in copies of this process.
pub(crate) fn empty_bounding_set(kept: u64) -> io::Result<()> {
    let mut present = IN_BOUNDING_SET.load(Ordering::Relaxed);
    for capability in 0..64 {
        let bit = 1 << capability;
        if present & bit == 0 || kept & bit != 0 {
            continue;
        }
        match in_bounding_set(capability)? {
            Some(true) => {
                drop_from_bounding_set(capability)?;
                if in_bounding_set(capability)? != Some(false) {
                    return Err(io::Error::from_raw_os_error(libc::EPERM));
                }
            }
            Some(false) => {}
            // The kernel has none beyond it either.
            None => {
                present &= kept | (bit - 1);
                break;
            }
        }
        present &= !bit;
    }
    IN_BOUNDING_SET.store(present, Ordering::Relaxed);
    Ok(())
}

/// Returns whether a capability is in the bounding set, or `None` if the kernel has no such
/// capability.
fn in_bounding_set(capability: libc::c_ulong) -> io::Result<Option<bool>> {
    // SAFETY: takes numbers only.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            error => Err(error),
        },
        present => Ok(Some(present == 1)),
    }
}

fn drop_from_bounding_set(capability: libc::c_ulong) -> io::Result<()> {
    // SAFETY: takes numbers only.
    match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Called in the keeper: makes all its capabilities effective, so that it can end processes of
/// other users, and empties the bounding set as far as that is allowed, so that its copies do not
/// have to.
///
/// A program that it executes gets its capabilities as inheritable ones instead. Each child checks
/// what is left; this only saves it work.
pub(crate) fn pass_on_by_inheritance() -> io::Result<()> {
    let held = Capabilities::of_this_thread()?;
    let used = Capabilities {
        effective: held.permitted,
        ..held
    };
    used.set()?;
    let inheriting = Capabilities {
        inheritable: held.permitted,
        ..used
    };
    if inheriting.set().is_ok() {
        let _ = empty_bounding_set(0);
    }
    Ok(())
}

/// Has what this process executes keep its inheritable capabilities, whatever its user: for a user
/// namespace in which root isn't mapped.
pub(crate) fn keep_over_execve() -> io::Result<()> {
    let held = Capabilities::of_this_thread()?;
    for capability in (0..64u8).filter(|number| held.inheritable >> number & 1 == 1) {
        let (option, raise) = (libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE);
        // SAFETY: takes numbers only.
        let result = unsafe { libc::prctl(option, raise, libc::c_ulong::from(capability), 0, 0) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
