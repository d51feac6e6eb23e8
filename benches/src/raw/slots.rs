//! Memory that two processes share, in four slots: both copy at the same time, and wait on futexes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::Result;

const COUNT: usize = 4;
const SLOT: usize = 256 << 10;
const HEAD: usize = 4096;

/// The mapping, which stays as long as the process.
pub(crate) struct Slots {
    file: File,
    at: *mut u8,
}

impl Slots {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::memfd_create(c"slots".as_ptr(), libc::MFD_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: a new descriptor that nobody else owns.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len((HEAD + COUNT * SLOT) as u64)?;
        Self::map(file)
    }

    /// Returns the path at which a child finds them.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    pub(crate) fn open(path: &str) -> Result<Self> {
        Self::map(OpenOptions::new().read(true).write(true).open(path)?)
    }

    fn map(file: File) -> Result<Self> {
        // SAFETY: a new mapping, placed by the kernel.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                HEAD + COUNT * SLOT,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        match at {
            libc::MAP_FAILED => Err(io::Error::last_os_error().into()),
            at => Ok(Self {
                file,
                at: at.cast(),
            }),
        }
    }

    /// How many slots were filled, and how many emptied.
    fn counters(&self) -> [&AtomicU32; 2] {
        // SAFETY: two words of the mapping, on cache lines of their own.
        [0, 128].map(|at| unsafe { &*self.at.add(at).cast() })
    }

    fn slot(&self, number: u32) -> *mut u8 {
        // SAFETY: within the mapping.
        unsafe { self.at.add(HEAD + number as usize % COUNT * SLOT) }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        let [filled, emptied] = self.counters();
        for piece in bytes.chunks(SLOT) {
            let number = filled.load(Ordering::Relaxed);
            wait_while(emptied, |emptied| {
                number.wrapping_sub(emptied) == COUNT as u32
            });
            // SAFETY: the slot is free, so the receiver leaves it alone.
            unsafe {
                self.slot(number)
                    .copy_from_nonoverlapping(piece.as_ptr(), piece.len())
            };
            filled.store(number.wrapping_add(1), Ordering::Release);
            futex(filled, libc::FUTEX_WAKE, 1);
        }
    }

    pub(crate) fn receive(&self, length: usize) -> Vec<u8> {
        let [filled, emptied] = self.counters();
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let number = emptied.load(Ordering::Relaxed);
            wait_while(filled, |filled| filled == number);
            let piece = SLOT.min(length - bytes.len());
            // SAFETY: the slot is full, so the sender leaves it alone.
            bytes
                .extend_from_slice(unsafe { std::slice::from_raw_parts(self.slot(number), piece) });
            emptied.store(number.wrapping_add(1), Ordering::Release);
            futex(emptied, libc::FUTEX_WAKE, 1);
        }
        bytes
    }
}

fn wait_while(word: &AtomicU32, is_early: impl Fn(u32) -> bool) {
    loop {
        let value = word.load(Ordering::Acquire);
        if !is_early(value) {
            return;
        }
        futex(word, libc::FUTEX_WAIT, value);
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let timeout: *const libc::timespec = std::ptr::null();
    // SAFETY: the word is part of a mapping that stays, and there is no timeout.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
}
