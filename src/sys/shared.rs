//! Memory that another process can change at any time.
//!
//! No reference to its bytes ever exists. Single words are atomics, and bytes are copied in a way that stays
//! defined whatever the other process does meanwhile. Only the copy is examined.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use super::memory;

/// The name that `/proc` shows.
const NAME: &CStr = c"crossmist-slots";

/// The size can't change any more, nor that. The contents can.
const SIZE_SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

const WORD: usize = size_of::<u64>();

/// A shared mapping of a memfd whose size is sealed, as words.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is this value's own until it is dropped, whichever thread that is in.
unsafe impl Send for Shared {}
// SAFETY: a shared reference gives access to atomics only.
unsafe impl Sync for Shared {}

impl Shared {
    /// Creates a memfd of `length` bytes, seals its size, and maps it. Any process that gets the descriptor
    /// can map the same memory. It must be a multiple of 8.
    pub(crate) fn create(length: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = memory::create_named(NAME)?;
        cut(fd.as_fd(), length)?;
        fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(SIZE_SEALS))?;
        Ok((map(fd.as_fd(), length)?, fd))
    }

    /// Maps such a memfd.
    ///
    /// Fails if its size is not sealed, or is another one: a mapping beyond the end would be a SIGBUS.
    pub(crate) fn open(fd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        // The seals first: only a sealed length stays what it is.
        let seals = SealFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GET_SEALS)?);
        if !seals.contains(SIZE_SEALS) || !memory::is_tmpfs(fd) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let status = nix::sys::stat::fstat(fd)?;
        if usize::try_from(status.st_size).ok() != Some(length) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        map(fd, length)
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this many words, aligned to a page, as long as this value exists. Each bit
        // pattern is a number. Another process may change them, which is what atomics allow.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

fn cut(fd: BorrowedFd<'_>, length: usize) -> io::Result<()> {
    let length = i64::try_from(length).map_err(io::Error::other)?;
    Ok(nix::unistd::ftruncate(fd, length)?)
}

fn map(fd: BorrowedFd<'_>, length: usize) -> io::Result<Shared> {
    if length == 0 || !length.is_multiple_of(WORD) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a new mapping, placed by the kernel.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        )
    };
    match NonNull::new(start.cast()) {
        Some(address) if start != libc::MAP_FAILED => Ok(Shared {
            start: address,
            words: length / WORD,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`, to which no reference outlives this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * WORD) };
    }
}

/// Copies bytes into shared memory. Bytes for which there is no room are left out.
pub(crate) fn write(words: &[AtomicU64], bytes: &[u8]) {
    let length = bytes.len().min(size_of_val(words));
    // SAFETY: as many bytes as both have. That of `words` is behind an `UnsafeCell`, and the two don't overlap.
    unsafe { copy(bytes.as_ptr(), words.as_ptr().cast_mut().cast(), length) };
}

/// Appends a copy of the first `length` bytes of shared memory, or of all if there are fewer.
pub(crate) fn read(words: &[AtomicU64], length: usize, target: &mut Vec<u8>) {
    let length = length.min(size_of_val(words));
    target.reserve(length);
    let room = target.spare_capacity_mut().as_mut_ptr().cast();
    // SAFETY: `words` has as many bytes, the room was reserved, and the two don't overlap.
    unsafe { copy(words.as_ptr().cast(), room, length) };
    // SAFETY: so many bytes behind the end were reserved and written.
    unsafe { target.set_len(target.len() + length) };
}

/// Copies bytes, of which another process may change those on either side meanwhile. Each one that arrives is one
/// that was there at some time during the call.
///
/// It is assembly because a data race is undefined for the compiler and not for the processor: the compiler knows
/// nothing of this access but its outcome. It is also as fast in a program that was compiled without optimization.
///
/// # Safety
///
/// `from` can be read and `to` be written for `length` bytes, and they don't overlap. No reference says that the
/// bytes behind `to` stay the same.
#[cfg(target_arch = "x86_64")]
unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller vouches for the memory. The direction flag is clear, as the ABI has it.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rsi") from => _,
            inout("rdi") to => _,
            inout("rcx") length => _,
            options(nostack, preserves_flags),
        );
    }
}

/// See above.
///
/// # Safety
///
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller vouches for the memory: 32 bytes at a time while as many are left, then one by one.
    unsafe {
        std::arch::asm!(
            "2: subs {left}, {left}, #32",
            "b.lo 3f",
            "ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "stp {c}, {d}, [{to}], #16",
            "b 2b",
            "3: adds {left}, {left}, #32",
            "b.eq 5f",
            "4: ldrb {a:w}, [{from}], #1",
            "strb {a:w}, [{to}], #1",
            "subs {left}, {left}, #1",
            "b.ne 4b",
            "5:",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            left = inout(reg) length => _,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const PAGE: usize = 4096;

    #[test]
    fn bytes_of_every_length_arrive_in_the_other_mapping() {
        let (ours, fd) = Shared::create(PAGE).unwrap();
        let theirs = Shared::open(fd.as_fd(), PAGE).unwrap();
        for length in [0, 1, 7, 8, 9, 63, 64, 1000, PAGE - 1, PAGE] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            write(ours.words(), &bytes);
            let mut read_back = vec![0xee; 3];
            read(theirs.words(), length, &mut read_back);
            assert_eq!(read_back[..3], [0xee; 3]);
            assert_eq!(read_back[3..], bytes, "{length}");
        }
    }

    #[test]
    fn no_more_is_copied_than_there_is() {
        let (memory, _fd) = Shared::create(PAGE).unwrap();
        write(memory.words(), &vec![1; 3 * PAGE]);
        let mut all = Vec::new();
        read(memory.words(), usize::MAX, &mut all);
        assert_eq!(all, vec![1; PAGE]);
        let mut part = Vec::new();
        read(&memory.words()[..2], 100, &mut part);
        assert_eq!(part, [1; 16]);
        let mut none = Vec::new();
        read(&[], 100, &mut none);
        write(&[], &all);
        assert!(none.is_empty());
    }

    #[test]
    fn the_size_cannot_change_after_it_is_shared() {
        let (_memory, fd) = Shared::create(PAGE).unwrap();
        for length in [0, PAGE - 1, PAGE + 1, 2 * PAGE] {
            let error = cut(fd.as_fd(), length).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{length}");
        }
        // Nor may anybody take back that it can be written, which would be a fault in the writer.
        let sealed = fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE));
        assert_eq!(sealed, Err(nix::Error::EPERM));
        // The control: before it is sealed, it can.
        let free = memory::create_named(NAME).unwrap();
        cut(free.as_fd(), PAGE).unwrap();
        cut(free.as_fd(), 0).unwrap();
    }

    #[test]
    fn memory_that_could_shrink_or_has_another_size_is_refused() {
        let errno = |result: io::Result<Shared>| result.unwrap_err().raw_os_error();
        let (_memory, fd) = Shared::create(PAGE).unwrap();
        assert_eq!(
            errno(Shared::open(fd.as_fd(), 2 * PAGE)),
            Some(libc::EINVAL)
        );
        assert_eq!(
            errno(Shared::open(fd.as_fd(), PAGE / 2)),
            Some(libc::EINVAL)
        );
        let unsealed = memory::create_named(NAME).unwrap();
        cut(unsealed.as_fd(), PAGE).unwrap();
        assert_eq!(
            errno(Shared::open(unsealed.as_fd(), PAGE)),
            Some(libc::EPERM)
        );
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(errno(Shared::open(file.as_fd(), PAGE)), Some(libc::EINVAL));
    }

    #[test]
    fn what_is_copied_stays_the_same_while_another_thread_changes_the_memory() {
        let (ours, fd) = Shared::create(16 * PAGE).unwrap();
        let theirs = Shared::open(fd.as_fd(), 16 * PAGE).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for value in [0, u64::MAX] {
                        theirs
                            .words()
                            .iter()
                            .for_each(|word| word.store(value, Ordering::Relaxed));
                    }
                }
            });
            for _ in 0..200 {
                let mut copy = Vec::new();
                read(ours.words(), 16 * PAGE, &mut copy);
                let again = copy.clone();
                // Any mixture of the two, and the copy is the reader's alone.
                assert!(copy.iter().all(|byte| [0, 255].contains(byte)));
                assert_eq!(copy, again);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
