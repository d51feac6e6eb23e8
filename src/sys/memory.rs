//! Memory that two processes can see: memfds, sealed before they are shared.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};

/// All seals together: the contents can't change any more, nor the size, nor that.
const SEALS: c_int =
    libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;

/// Makes an empty memfd that can be sealed and never executed.
pub(crate) fn create() -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string.
    let mut fd =
        unsafe { libc::memfd_create(c"crossmist-blob".as_ptr(), flags | libc::MFD_NOEXEC_SEAL) };
    if fd == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        // Linux 6.3 knows MFD_NOEXEC_SEAL.
        // SAFETY: as above.
        fd = unsafe { libc::memfd_create(c"crossmist-blob".as_ptr(), flags) };
    }
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the length of a memfd.
pub(crate) fn cut(fd: BorrowedFd<'_>, length: usize) -> io::Result<()> {
    let length = i64::try_from(length).map_err(io::Error::other)?;
    Ok(nix::unistd::ftruncate(fd, length)?)
}

/// Seals a memfd. It fails with EBUSY while anybody has it mapped for writing.
pub(crate) fn seal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, SEALS) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Whether a descriptor is memory that can't change: a memfd with all seals.
///
/// It only asks, which takes no lock. To add a seal to a stranger's memfd is to wait for its inode,
/// which a peer that is in a long `write` holds for seconds, past any deadline of ours.
pub(crate) fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: takes a number only.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    seals != -1 && seals & SEALS == SEALS
}

/// Whether the memory has ordinary pages: those of hugetlbfs can be gone when they are touched.
pub(crate) fn is_tmpfs(fd: BorrowedFd<'_>) -> bool {
    nix::sys::statfs::fstatfs(fd)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
}

/// A mapping of a whole memfd.
#[derive(Debug)]
pub(crate) struct Mapping<A> {
    start: NonNull<u8>,
    length: usize,
    access: std::marker::PhantomData<A>,
}

/// Access to memory that is sealed: nobody can write to it.
#[derive(Debug)]
pub(crate) enum Sealed {}

/// Access to memory of one's own, which nobody else has mapped.
#[derive(Debug)]
pub(crate) enum Exclusive {}

// SAFETY: the memory doesn't change; it is like a `Box<[u8]>` that is only read.
unsafe impl Send for Mapping<Sealed> {}
// SAFETY: as above.
unsafe impl Sync for Mapping<Sealed> {}
// SAFETY: the mapping is the only way to the memory, like a `Box<[u8]>`.
unsafe impl Send for Mapping<Exclusive> {}
// SAFETY: as above: a shared reference gives shared access only.
unsafe impl Sync for Mapping<Exclusive> {}

impl Mapping<Sealed> {
    /// Maps a memfd that [`is_sealed`] and [`is_tmpfs`].
    ///
    /// Fails where it isn't, or has another length: a mapping beyond the end would be a SIGBUS.
    pub(crate) fn sealed(fd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        // The seals first: only a sealed length stays what it is.
        if !is_sealed(fd) || !is_tmpfs(fd) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        if size(fd)? != u64::try_from(length).unwrap_or(u64::MAX) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // As it can't change, private is the same as shared, and allowed to more of those who confine
        // themselves.
        map(fd, length, libc::PROT_READ, libc::MAP_PRIVATE)
    }
}

impl Mapping<Exclusive> {
    /// Maps `length` bytes of a memfd of our own, and makes it at least so long.
    pub(crate) fn exclusive(fd: &OwnedFd, length: usize) -> io::Result<Self> {
        let file = File::from(fd.try_clone()?);
        if size(fd.as_fd())? < u64::try_from(length).unwrap_or(u64::MAX) {
            file.set_len(u64::try_from(length).unwrap_or(u64::MAX))?;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        map(fd.as_fd(), length, protection, libc::MAP_SHARED)
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has this many bytes, all of them initialised (a memfd's are zero
        // first), and the descriptor behind it is not given away while it exists.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<A> Mapping<A> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping has this many bytes. Sealed ones can't change, exclusive ones only
        // through a mutable reference to this.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

/// Memory that copies of this process don't get (`madvise(2)`, MADV_DONTFORK).
#[derive(Debug)]
pub(crate) struct Unshared {
    start: NonNull<u8>,
    length: usize,
}

impl Unshared {
    /// So many zero bytes, at least one.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, placed by the kernel.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let start = match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => start,
            _ => return Err(io::Error::last_os_error()),
        };
        // From here on it is unmapped when it is dropped.
        let memory = Self { start, length };
        // SAFETY: the mapping is this value's own.
        match unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_DONTFORK) } {
            0 => Ok(memory),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The bytes. Not to be touched in a copy of this process, where they are not.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has this many bytes, all of them initialised, and is this value's own.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let status = nix::sys::stat::fstat(fd)?;
    Ok(u64::try_from(status.st_size).unwrap_or(0))
}

fn map<A>(
    fd: BorrowedFd<'_>,
    length: usize,
    protection: c_int,
    flags: c_int,
) -> io::Result<Mapping<A>> {
    let access = std::marker::PhantomData;
    if length == 0 {
        return Ok(Mapping {
            start: NonNull::dangling(),
            length,
            access,
        });
    }
    // SAFETY: a new mapping, placed by the kernel.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            protection,
            flags,
            fd.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::Other)?;
    Ok(Mapping {
        start,
        length,
        access,
    })
}

impl<A> Drop for Mapping<A> {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the mapping made by `map`, to which no reference outlives this.
            unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), self.length) };
        }
    }
}
