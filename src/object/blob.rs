//! `Blob`: bytes that are shared with another process instead of copied to it.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::memory::{self, Buffer, Sealed};

/// Immutable bytes that can be sent without being copied: a sealed memfd, mapped for reading.
///
/// Sending a `Blob` passes a descriptor. Both sides then see the same pages, which nobody can
/// change any more.
///
/// A `Blob` pays off if a large buffer is read in place, or sent to several processes. To hand
/// bytes over for good, an ordinary `Vec<u8>` is faster at every size that was measured, because
/// the kernel creates the pages of a new memfd one by one.
///
/// ```
/// use crossmist::{Blob, BlobBuf, func};
///
/// #[func]
/// fn count(picture: Blob) -> usize {
///     picture.iter().filter(|byte| **byte == 0xff).count()
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let mut buffer = BlobBuf::with_capacity(1 << 20)?;
///     buffer.extend_from_slice(&[0xff; 1000])?;
///     buffer.extend_from_slice(&[0; 24])?;
///     let blob = buffer.freeze()?;
///     assert_eq!(blob.len(), 1024);
///     assert_eq!(count.run(blob.clone())?, 1000);
///     assert_eq!(count.run(blob)?, 1000);
///     Ok(())
/// }
/// ```
///
/// # Security
///
/// A received `Blob` is checked before it is mapped: it must be sealed against every change, and as
/// long as it claims. So no peer can change the bytes while you read them, or cut them short, which
/// would raise SIGBUS.
///
/// A confined process may not be allowed to create a `Blob`. It can receive one if its policy
/// allows shared memory.
#[derive(Clone)]
pub struct Blob(Arc<Sealed>);

impl Blob {
    /// Copies bytes into a new `Blob`.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if there is no memory or no free descriptor.
    pub fn from_slice(bytes: &[u8]) -> io::Result<Self> {
        let mut buffer = BlobBuf::with_capacity(bytes.len())?;
        buffer.extend_from_slice(bytes)?;
        buffer.freeze()
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

impl Object for Blob {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.descriptor(self.0.as_fd());
        encoder.put(&self.len().to_le_bytes());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let memory = decoder.descriptor()?;
        let length = usize::decode(decoder)?;
        // Its bytes count as received, although they are only mapped.
        decoder.reserve(length)?;
        if !memory::is_sealed(memory.as_fd()) {
            return Err(decoder.error("a memfd with all its seals", "a descriptor without"));
        }
        if !memory::is_tmpfs(memory.as_fd()) {
            return Err(decoder.error("a memfd of ordinary pages", "one of huge pages"));
        }
        match Sealed::new(memory.into_owned(), length) {
            Ok(sealed) => Ok(Self(Arc::new(sealed))),
            Err(error) => Err(decoder.error("a memfd as long as it says", error)),
        }
    }

    fn describe(shape: &mut Shape) {
        shape.descriptor_of_a_kind();
    }

    fn least_bytes() -> usize {
        2 + size_of::<usize>()
    }
}

/// A growable buffer, like a `Vec<u8>`, that becomes a [`Blob`].
pub struct BlobBuf {
    buffer: Buffer,
    length: usize,
}

impl BlobBuf {
    /// Creates an empty buffer.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if there is no free descriptor.
    pub fn new() -> io::Result<Self> {
        Self::with_capacity(0)
    }

    /// Creates an empty buffer that holds `capacity` bytes before it has to grow.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if there is no memory or no free descriptor. In a confined process, EPERM
    /// or EACCES means that the policy does not allow shared memory.
    pub fn with_capacity(capacity: usize) -> io::Result<Self> {
        let buffer = Buffer::new(capacity)?;
        Ok(Self { buffer, length: 0 })
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if there is no memory. The buffer is then unchanged.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = self.length;
        self.resize(
            start
                .checked_add(bytes.len())
                .ok_or(io::ErrorKind::OutOfMemory)?,
        )?;
        if let Some(end) = self.get_mut(start..) {
            end.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Changes the length to `length` bytes. New bytes are zero.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if there is no memory. The buffer is then unchanged.
    pub fn resize(&mut self, length: usize) -> io::Result<()> {
        let capacity = self.buffer.as_slice().len();
        if length > capacity {
            // Doubles, as a `Vec` does.
            self.buffer
                .grow(length.max(capacity.saturating_mul(2)).max(4096))?;
        }
        if length < self.length {
            // These bytes must be zero if they become visible again.
            let end = self.length;
            if let Some(cut) = self.buffer.as_mut_slice().get_mut(length..end) {
                cut.fill(0);
            }
        }
        self.length = length;
        Ok(())
    }

    /// Turns the buffer into a [`Blob`], which nobody can change any more, and which can therefore
    /// be sent.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if the memory cannot be sealed or mapped.
    pub fn freeze(self) -> io::Result<Blob> {
        Ok(Blob(Arc::new(self.buffer.freeze(self.length)?)))
    }
}

impl Deref for BlobBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer
            .as_slice()
            .get(..self.length)
            .unwrap_or_default()
    }
}

impl DerefMut for BlobBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer
            .as_mut_slice()
            .get_mut(..self.length)
            .unwrap_or_default()
    }
}

impl io::Write for BlobBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BlobBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobBuf({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::{AsRawFd, OwnedFd};

    use crate::channel;

    #[test]
    fn grows_shrinks_and_freezes() {
        let mut buffer = BlobBuf::new().unwrap();
        for index in 0..5000u32 {
            buffer.write_all(&index.to_le_bytes()).unwrap();
        }
        assert_eq!(buffer.len(), 20_000);
        buffer[0] = 7;
        buffer.resize(10).unwrap();
        buffer.resize(12).unwrap();
        assert_eq!(buffer[10..], [0, 0]);
        let blob = buffer.freeze().unwrap();
        assert_eq!((blob.len(), blob[0], blob[4]), (12, 7, 1));
        assert_eq!(BlobBuf::new().unwrap().freeze().unwrap().len(), 0);
    }

    #[test]
    fn both_ends_see_the_same_bytes() {
        let (mut tx, mut rx) = channel::<Blob>().unwrap();
        let blob = Blob::from_slice(&[5; 100_000]).unwrap();
        tx.send(&blob).unwrap();
        let received = rx.recv().unwrap().unwrap();
        assert_eq!(*received, [5; 100_000]);
        // Not by copying.
        let inode = |blob: &Blob| nix::sys::stat::fstat(blob.0.as_fd()).unwrap().st_ino;
        assert_eq!(inode(&blob), inode(&received));
    }

    #[test]
    fn nobody_can_write_to_a_frozen_one() {
        let blob = Blob::from_slice(b"frozen").unwrap();
        let file = std::fs::File::from(blob.0.as_fd().try_clone_to_owned().unwrap());
        let error = (&file).write(b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert_eq!(
            file.set_len(0).unwrap_err().raw_os_error(),
            Some(libc::EPERM)
        );
        assert!(blob.0.as_fd().as_raw_fd() > 2);
    }

    /// An object that a peer could send instead of a blob.
    #[derive(Debug)]
    struct Forged(OwnedFd, usize);

    impl Object for Forged {
        fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
            encoder.descriptor(self.0.as_fd());
            encoder.put(&self.1.to_le_bytes());
        }

        fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
            Err(decoder.error("nothing", "something"))
        }

        fn describe(shape: &mut Shape) {
            shape.descriptor();
        }
    }

    fn refusal(forged: Forged) -> String {
        let (tx, rx) = channel::<Forged>().unwrap();
        let mut tx = tx;
        tx.send(&forged).unwrap();
        let mut rx = crate::Receiver::<Blob>::try_from(OwnedFd::from(rx)).unwrap();
        match rx.recv() {
            Err(crate::ChannelError::Decode(error)) => {
                format!("{}, {}", error.expected(), error.found())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_forged_one_is_refused() {
        let sealed = || {
            Blob::from_slice(b"12345678")
                .unwrap()
                .0
                .as_fd()
                .try_clone_to_owned()
                .unwrap()
        };
        let unsealed = std::fs::File::from(memory::create().unwrap());
        unsealed.set_len(8).unwrap();
        assert_eq!(
            refusal(Forged(unsealed.into(), 8)),
            "a memfd with all its seals, a descriptor without"
        );
        assert_eq!(
            refusal(Forged(std::fs::File::open("/dev/null").unwrap().into(), 8)),
            "a memfd with all its seals, a descriptor without"
        );
        // One seal short.
        let file = std::fs::File::from(memory::create().unwrap());
        file.set_len(8).unwrap();
        let some = libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
        nix::fcntl::fcntl(
            &file,
            nix::fcntl::FcntlArg::F_ADD_SEALS(nix::fcntl::SealFlag::from_bits_truncate(some)),
        )
        .unwrap();
        assert_eq!(
            refusal(Forged(file.into(), 8)),
            "a memfd with all its seals, a descriptor without"
        );
        for length in [0, 7, 9, 4096, 1 << 29] {
            assert_eq!(
                refusal(Forged(sealed(), length)),
                "a memfd as long as it says, Invalid argument (os error 22)"
            );
        }
        assert!(refusal(Forged(sealed(), usize::MAX)).contains("memory_bytes"));
    }
}
