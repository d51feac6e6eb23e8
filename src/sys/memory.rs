//! Memory that two processes can see: memfds, sealed before they are shared.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::fork;

/// All seals together: the contents can't change any more, nor the size, nor that.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE)
    .union(SealFlag::F_SEAL_SEAL);

/// Memory of this process's own, as a memfd that nobody else has: it can be filled, and then frozen.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Never given away, so that the mapping is the only way to the memory.
    memory: OwnedFd,
    mapping: Mapping,
}

impl Buffer {
    /// Creates `length` zero bytes.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        let memory = create()?;
        let mapping = Self::map(&memory, length)?;
        Ok(Self { memory, mapping })
    }

    /// Makes it `length` bytes long, which must not be less than it is. New bytes are zero.
    pub(crate) fn grow(&mut self, length: usize) -> io::Result<()> {
        if length > self.mapping.length {
            self.mapping = Self::map(&self.memory, length)?;
        }
        Ok(())
    }

    fn map(memory: &OwnedFd, length: usize) -> io::Result<Mapping> {
        if length > 0 {
            nix::unistd::ftruncate(memory, i64::try_from(length).map_err(io::Error::other)?)?;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        Mapping::new(memory.as_fd(), length, protection, libc::MAP_SHARED)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: a memfd's bytes are initialised, and nobody else has this one. They change through a
        // mutable reference to this only.
        unsafe { self.mapping.bytes() }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        let Mapping { start, length } = self.mapping;
        // SAFETY: the mapping has this many bytes, initialised as above. Whoever has the mutable reference
        // to this has the only one to them: there is one mapping, and nobody else has the memory.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) }
    }

    /// Seals the first `length` bytes. Nobody can change them any more, or their number.
    pub(crate) fn freeze(self, length: usize) -> io::Result<Sealed> {
        let memory = match self.cut(length) {
            Ok(memory) => memory,
            // A confined process makes files longer only.
            Err((this, error)) if error.raw_os_error() == Some(libc::EPERM) => {
                let mut exact = Self::new(length)?;
                let filled = this.as_slice().get(..length).unwrap_or_default();
                exact.as_mut_slice().copy_from_slice(filled);
                exact.memory
            }
            Err((_, error)) => return Err(error),
        };
        seal(memory.as_fd())?;
        Sealed::new(memory, length)
    }

    /// Returns the memory without its mapping, since a memfd that is mapped for writing can't be sealed.
    fn cut(self, length: usize) -> Result<OwnedFd, (Self, io::Error)> {
        let wanted = i64::try_from(length).map_err(|_| nix::Error::EFBIG);
        match wanted.and_then(|wanted| nix::unistd::ftruncate(&self.memory, wanted)) {
            Ok(()) => Ok(self.memory),
            Err(error) => Err((self, error.into())),
        }
    }
}

/// Memory that cannot change: a memfd with all seals, mapped for reading.
#[derive(Debug)]
pub(crate) struct Sealed {
    memory: OwnedFd,
    mapping: Mapping,
}

impl Sealed {
    /// Maps a memfd that [`is_sealed`] and [`is_tmpfs`].
    ///
    /// Fails if it isn't, or has another length: a mapping beyond the end would be a SIGBUS.
    pub(crate) fn new(memory: OwnedFd, length: usize) -> io::Result<Self> {
        // The seals first: only a sealed length stays what it is.
        if !is_sealed(memory.as_fd()) || !is_tmpfs(memory.as_fd()) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let status = nix::sys::stat::fstat(&memory)?;
        if usize::try_from(status.st_size).ok() != Some(length) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // As it can't change, private is the same as shared, and allowed to more of those who confine
        // themselves.
        let mapping = Mapping::new(memory.as_fd(), length, libc::PROT_READ, libc::MAP_PRIVATE)?;
        Ok(Self { memory, mapping })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: a memfd's bytes are initialised. All seals are set, so nobody can write to them.
        unsafe { self.mapping.bytes() }
    }
}

impl AsFd for Sealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Makes an empty memfd that can be sealed and never executed.
pub(crate) fn create() -> io::Result<OwnedFd> {
    create_named(NAME)
}

/// Makes one that `/proc` shows by this name.
pub(super) fn create_named(name: &CStr) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let created = match memfd_create(
        name,
        flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL),
    ) {
        // Linux 6.3 knows MFD_NOEXEC_SEAL.
        Err(nix::Error::EINVAL) => memfd_create(name, flags),
        created => created,
    };
    Ok(created?)
}

const NAME: &CStr = c"crossmist-blob";

/// Seals a memfd. It fails with EBUSY while anybody has it mapped for writing.
fn seal(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(())
}

/// Whether a descriptor is memory that can't change: a memfd with all seals.
///
/// It only asks, which takes no lock. To add a seal to a stranger's memfd is to wait for its inode,
/// which a peer that is in a long `write` holds for seconds, past any deadline.
pub(crate) fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    fcntl(fd, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(SEALS))
}

/// Whether the memory has ordinary pages: those of hugetlbfs can be gone when they are touched.
pub(crate) fn is_tmpfs(fd: BorrowedFd<'_>) -> bool {
    nix::sys::statfs::fstatfs(fd)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
}

/// A mapping of a whole memfd.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is an address, like that of a `Box<[u8]>`. `Buffer` decides what may be done with the bytes and
// `Sealed`.
unsafe impl Send for Mapping {}
// SAFETY: as above: a shared reference gives shared access only, and that by `unsafe` code.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, length: usize, protection: c_int, flags: c_int) -> io::Result<Self> {
        if length == 0 {
            let start = NonNull::dangling();
            return Ok(Self { start, length });
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
        Ok(Self { start, length })
    }

    /// Returns the bytes.
    ///
    /// # Safety
    ///
    /// They must be there, up to the end of the mapping, and initialised. Nobody may change them while the
    /// slice lives.
    unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has this many bytes, and the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the mapping made by `new`, to which no reference outlives this.
            unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), self.length) };
        }
    }
}

/// Memory that copies of this process don't get (`madvise(2)`, MADV_DONTFORK).
#[derive(Debug)]
pub(crate) struct Unshared {
    start: NonNull<u8>,
    length: usize,
    /// See [`fork::generation`].
    generation: u32,
}

impl Unshared {
    /// So many zero bytes, at least one.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, placed by the kernel.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
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
        let memory = Self {
            start,
            length,
            generation: fork::generation(),
        };
        // SAFETY: the mapping is this value's own.
        match unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_DONTFORK) } {
            0 => Ok(memory),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Returns the bytes. There are none in a copy of this process.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        if !self.is_mapped() {
            return &mut [];
        }
        // SAFETY: the mapping has this many bytes, all of them initialised, and is this value's own.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// Whether this process has the memory. In a copy, something else may be at its place.
    fn is_mapped(&self) -> bool {
        self.generation == fork::generation()
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        if self.is_mapped() {
            // SAFETY: the mapping is this value's own, and nothing refers to it any more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;

    #[test]
    fn sealed_memory_cannot_be_mapped_for_writing() {
        let mut buffer = Buffer::new(6).unwrap();
        buffer.as_mut_slice().copy_from_slice(b"frozen");
        let map = |memory: BorrowedFd<'_>| {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            Mapping::new(memory, 6, protection, libc::MAP_SHARED)
        };
        // The control: until then it can.
        drop(map(buffer.memory.as_fd()).unwrap());
        let sealed = buffer.freeze(6).unwrap();
        assert_eq!(sealed.as_slice(), b"frozen");
        let refused = map(sealed.as_fd()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn a_buffer_keeps_its_bytes_when_it_grows() {
        let mut buffer = Buffer::new(0).unwrap();
        assert_eq!(buffer.as_slice(), b"");
        buffer.grow(4).unwrap();
        buffer.as_mut_slice().copy_from_slice(b"grow");
        buffer.grow(10_000).unwrap();
        assert_eq!(buffer.as_slice().len(), 10_000);
        assert!(buffer.as_slice().starts_with(b"grow\0"));
        // It never gets shorter: that would take bytes away from under a mapping.
        buffer.grow(1).unwrap();
        assert_eq!(buffer.as_slice().len(), 10_000);
    }

    #[test]
    fn a_copy_of_a_process_has_no_unshared_memory() {
        // In a process of its own, since the forks of this module take no more than one thread.
        assert!(fork::passes_in_a_fork(|| {
            let mut memory = Unshared::new(8).unwrap();
            memory.as_mut_slice()[0] = 7;
            match fork::fork().unwrap() {
                Some(copy) => assert_eq!(copy.wait().unwrap(), process::Ended::Exited(0)),
                None => {
                    let is_gone = memory.as_mut_slice().is_empty();
                    // Dropping it does not affect the new mapping.
                    drop(memory);
                    process::leave(i32::from(!is_gone))
                }
            }
            assert_eq!(memory.as_mut_slice(), [7, 0, 0, 0, 0, 0, 0, 0]);
        }));
    }
}
