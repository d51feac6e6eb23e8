//! Mounts, as objects that have no place yet (Linux 5.2), and a process's root directory.
//!
//! Moving to another root is about the calling process, which must have one thread.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::system_files;

// From the kernel's uapi/linux/mount.h, which `libc` has only for some C libraries.
const OPEN_TREE_CLONE: libc::c_int = 1;
const AT_RECURSIVE: libc::c_int = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_int = 4;
const FSOPEN_CLOEXEC: libc::c_int = 1;
const FSCONFIG_CMD_CREATE: libc::c_int = 6;
const FSMOUNT_CLOEXEC: libc::c_int = 1;

/// Restrictions on a mount, as bits of `mount_setattr(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restrictions(u64);

impl Restrictions {
    pub(crate) const READ_ONLY: Self = Self(1);
    pub(crate) const NO_SETUID: Self = Self(2);
    pub(crate) const NO_DEVICES: Self = Self(4);
    pub(crate) const NO_EXECUTION: Self = Self(8);

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A mount, or several with one above the others, that has a descriptor and perhaps a place.
#[derive(Debug)]
pub(crate) struct Tree(OwnedFd);

/// Moves this process into a mount namespace of its own. A file system that is mounted there is seen nowhere
/// else, nor the other way round.
///
/// Fails with EINVAL if the root directory is not that of a mount, as in a program that has called `chroot(2)`.
pub(crate) fn begin_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        private,
        None::<&str>,
    )?)
}

impl Tree {
    /// An empty folder, in memory.
    pub(crate) fn empty() -> io::Result<Self> {
        // SAFETY: reads the name, which ends with a zero byte.
        let context = unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), FSOPEN_CLOEXEC) };
        let context = owned(context)?;
        // SAFETY: takes numbers; this command takes no key and no value.
        let created = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                FSCONFIG_CMD_CREATE,
                std::ptr::null::<libc::c_char>(),
                std::ptr::null::<libc::c_char>(),
                0,
            )
        };
        check(created)?;
        // SAFETY: takes numbers.
        let mount =
            unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) };
        owned(mount).map(Self)
    }

    /// A copy of what is mounted at a path and beneath it, without a place. The path is not followed if it
    /// is a link.
    pub(crate) fn copy(path: &CStr) -> io::Result<Self> {
        let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: reads the path, which ends with a zero byte.
        let tree = unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                path.as_ptr(),
                flags | libc::AT_NO_AUTOMOUNT,
            )
        };
        owned(tree).map(Self)
    }

    /// Restricts it, with what is mounted beneath it.
    pub(crate) fn restrict_all(&self, restrictions: Restrictions) -> io::Result<()> {
        self.restrict_with(restrictions, AT_RECURSIVE)
    }

    /// Restricts it, and nothing that is mounted beneath it.
    pub(crate) fn restrict(&self, restrictions: Restrictions) -> io::Result<()> {
        self.restrict_with(restrictions, 0)
    }

    fn restrict_with(&self, restrictions: Restrictions, flags: libc::c_int) -> io::Result<()> {
        let attributes = libc::mount_attr {
            attr_set: restrictions.0,
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        };
        // SAFETY: reads the path and the structure, whose size it is told.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH | flags,
                std::ptr::from_ref(&attributes),
                size_of_val(&attributes),
            )
        };
        check(result)
    }

    /// Puts it at a path beneath a folder.
    pub(crate) fn place(&self, folder: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
        self.put(folder.as_raw_fd(), path)
    }

    /// Puts it over the root directory, where only [`enter`](Self::enter) finds it.
    pub(crate) fn place_over_root(&self) -> io::Result<()> {
        self.put(libc::AT_FDCWD, c"/")
    }

    fn put(&self, folder: libc::c_int, path: &CStr) -> io::Result<()> {
        // SAFETY: reads the paths, which end with a zero byte.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                folder,
                path.as_ptr(),
                MOVE_MOUNT_F_EMPTY_PATH,
            )
        };
        check(result)
    }

    /// Makes it, which lies over the root directory, the root directory, and lets go of the one before.
    ///
    /// The first mount of all, an initramfs as a rule, can neither be moved nor let go of. It stays beneath this
    /// one. No path leads to it: whoever goes up from a root directory that lies over the first mount stays there,
    /// even with CAP_SYS_CHROOT.
    pub(crate) fn enter(&self) -> io::Result<()> {
        fchdir(&self.0)?;
        // The old root is put over the new one (pivot_root(2)).
        match pivot_root(".", ".") {
            Ok(()) => nix::mount::umount2(".", MntFlags::MNT_DETACH)?,
            Err(nix::Error::EINVAL) if root_is_first_mount() => chroot(".")?,
            Err(error) => return Err(error.into()),
        }
        Ok(chdir("/")?)
    }
}

/// Whether this process's root directory is that of the first mount in its namespace. If `/proc` doesn't tell, it
/// is taken for another one.
fn root_is_first_mount() -> bool {
    let mounts = system_files::read_bytes("thread-self/mountinfo");
    mounts.is_ok_and(|mounts| shows_first_mount(&mounts))
}

/// Whether a list of mounts (proc_pid_mountinfo(5)) begins at the first one, which has itself as its parent.
/// What the process's root directory does not lead to is not on its list.
fn shows_first_mount(mounts: &[u8]) -> bool {
    mounts.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (id, parent) = (fields.next(), fields.next());
        let point = fields.nth(2);
        id == parent && point == Some(b"/")
    })
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    check(result)?;
    let number = libc::c_int::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the call that returned it has opened it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mount_is_its_own_parent() {
        let first = b"1 1 0:1 / / rw - rootfs rootfs rw\n22 1 0:20 / /proc rw - proc proc rw\n";
        assert!(shows_first_mount(first));
        // With another one over it.
        let covered = b"70 70 0:1 / / rw - rootfs rootfs rw\n84 70 0:33 / / ro - tmpfs tmpfs ro\n";
        assert!(shows_first_mount(covered));
        let other = b"29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            30 29 0:20 / /proc rw - proc proc rw\n";
        assert!(!shows_first_mount(other));
        // A program that has called chroot(2) sees none at `/`.
        assert!(!shows_first_mount(
            b"30 29 0:20 / /proc rw - proc proc rw\n"
        ));
        for nothing in [
            &b""[..],
            b"\n",
            b" ",
            b"1 1\n",
            b"1 1 0:1 / /proc rw - proc proc rw\n",
        ] {
            assert!(!shows_first_mount(nothing));
        }
    }
}
