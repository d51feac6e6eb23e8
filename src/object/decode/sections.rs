//! Parts that are not in the bytes of a message: runs beside it, descriptors, code references.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::Decoder;
use crate::object::{Auto, BULK_BYTES, BULK_RUNS, DecodeError, Trust};
use crate::sys::fd::Received;

impl<'m> Decoder<'m> {
    /// Reads bytes that [`Encoder::bytes`](crate::Encoder::bytes) wrote.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if the message does not hold them, or if they exceed what is left of
    /// [`Limits::memory_bytes`](crate::Limits::memory_bytes).
    pub fn bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let count = self.byte_count()?;
        self.reserve(count)?;
        self.run(count)
    }

    /// Reads the number of bytes in a run that may have been sent beside the message.
    pub(crate) fn byte_count(&mut self) -> Result<usize, DecodeError> {
        Ok(usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    /// Returns whether the next run of `count` bytes was sent beside the message.
    pub(super) fn is_bulk(&self, count: usize) -> bool {
        count >= BULK_BYTES && self.bulk_taken < BULK_RUNS
    }

    /// Reads a run of `count` bytes as an owned buffer; a long one is not copied.
    pub(crate) fn run(&mut self, count: usize) -> Result<Vec<u8>, DecodeError> {
        if self.is_bulk(count) {
            return self.bulk(count);
        }
        // The bytes are there, so this cannot reserve more than the message's length.
        self.take(count).map(<[u8]>::to_vec)
    }

    /// Reads a run of `count` bytes and passes it to `read`, without copying it.
    pub(crate) fn with_run<R>(
        &mut self,
        count: usize,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, DecodeError> {
        if self.is_bulk(count) {
            return self.bulk(count).map(|bytes| read(&bytes));
        }
        self.take(count).map(read)
    }

    pub(super) fn bulk(&mut self, count: usize) -> Result<Vec<u8>, DecodeError> {
        self.bulk_taken = self.bulk_taken.saturating_add(1);
        match self.bulk.next() {
            Some(run) if run.len() == count => {
                self.run_bytes = self.run_bytes.saturating_add(count);
                Ok(std::mem::take(run))
            }
            Some(run) => {
                let found = format!("{} bytes", run.len());
                Err(DecodeError::new(
                    self.position(),
                    format!("a run of {count} bytes"),
                    found,
                ))
            }
            None => Err(DecodeError::new(
                self.position(),
                format!("a run of {count} bytes beside the message"),
                "none",
            )),
        }
    }

    /// Reads a descriptor of any kind.
    pub(crate) fn descriptor(&mut self) -> Result<Received, DecodeError> {
        let index = u16::from_le_bytes(self.array()?);
        match self
            .descriptors
            .get_mut(usize::from(index))
            .and_then(Option::take)
        {
            Some(descriptor) => Ok(descriptor),
            None => Err(DecodeError::new(
                self.position(),
                "the number of a descriptor that came with the message and wasn't named before",
                index,
            )),
        }
    }

    /// Returns the descriptors that came with the message and were not read yet.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let left = self.descriptors.iter().flatten();
        left.map(|fd| fd.as_fd().as_raw_fd()).collect()
    }

    /// Reads a code reference: an offset into the program, which is not checked yet.
    pub(crate) fn code(&mut self) -> Result<(u64, Auto), DecodeError> {
        let index = u32::from_le_bytes(self.array()?);
        let slot = usize::try_from(index)
            .ok()
            .and_then(|index| self.code.get_mut(index));
        match slot.and_then(Option::take) {
            Some(reference) if self.trust == Trust::Code => Ok(Auto::unmark(reference)),
            Some(_) => Err(self.error("data", "code, on a channel that carries none")),
            None => Err(DecodeError::new(
                self.position(),
                "the number of a code reference that came with the message and wasn't named before",
                index,
            )),
        }
    }

    /// Reads a code reference as it came, so that it can be decoded later.
    pub(crate) fn code_as_is(&mut self) -> Result<u64, DecodeError> {
        self.code().map(|(reference, auto)| auto.mark(reference))
    }
}
