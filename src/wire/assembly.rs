//! Assembles a message from its packets.

use super::{Header, Piece, ProtocolError};
use crate::object::{BULK_BYTES, DecodeError, Decoder, Limits, Object, Parts, Trust};
use crate::sys::fd::Received;

/// A message of several packets, some of which have arrived.
///
/// Its buffers grow with what arrives. They are at most twice as long as that, or one piece ahead
/// of it.
#[derive(Debug)]
pub(crate) struct Assembly {
    header: Header,
    body: Vec<u8>,
    body_bytes: usize,
    runs: Vec<Vec<u8>>,
    /// The lengths of the runs, once the body is there.
    lengths: Vec<usize>,
    descriptors: Vec<Option<Received>>,
    next: u32,
}

/// A whole message, not yet decoded.
#[derive(Debug)]
pub(crate) struct Message<'m> {
    pub(crate) header: Header,
    /// The value, the code references, the lengths of the runs.
    pub(crate) body: &'m [u8],
    pub(crate) runs: &'m mut [Vec<u8>],
    pub(crate) descriptors: &'m mut [Option<Received>],
}

/// How many bytes of a message one packet may hold.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

impl Assembly {
    /// Starts with the part of the body that came in the first packet.
    pub(crate) fn new(
        header: Header,
        body: &[u8],
        descriptors: Vec<Option<Received>>,
    ) -> Result<Self, ProtocolError> {
        let body_bytes = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
        if body.len() > body_bytes {
            return Err(ProtocolError::Field {
                field: "length",
                value: u64::try_from(body.len()).unwrap_or(u64::MAX),
            });
        }
        let mut this = Self {
            header,
            body: body.to_vec(),
            body_bytes,
            runs: Vec::new(),
            lengths: Vec::new(),
            descriptors,
            next: 0,
        };
        this.read_lengths()?;
        Ok(this)
    }

    /// Returns the buffer for the next piece, and how many bytes of it may come.
    pub(crate) fn target(&mut self) -> (&mut Vec<u8>, usize) {
        let missing = self.body_bytes.saturating_sub(self.body.len());
        if missing > 0 {
            return (&mut self.body, missing.min(PIECE_BYTES));
        }
        let begun = self
            .runs
            .last()
            .zip(self.lengths.get(self.runs.len().saturating_sub(1)));
        if begun.is_none_or(|(run, length)| run.len() == *length) {
            self.runs.push(Vec::new());
        }
        let length = self
            .lengths
            .get(self.runs.len().saturating_sub(1))
            .copied()
            .unwrap_or(0);
        match self.runs.last_mut() {
            Some(run) => {
                let missing = length.saturating_sub(run.len());
                (run, missing.min(PIECE_BYTES))
            }
            // There is one: it was pushed above.
            None => (&mut self.body, 0),
        }
    }

    /// Returns the slot that holds the next piece, or `None` if its bytes are in the packet that begins with
    /// `head`, after which `bytes` bytes went to the [`target`](Self::target).
    pub(crate) fn slot_of(&self, head: &[u8], bytes: usize) -> Result<Option<u8>, ProtocolError> {
        let piece = Piece::parse(head)?;
        if (piece.name, piece.number) != (self.header.name, self.next) {
            return Err(ProtocolError::Piece {
                message: piece.name,
                piece: piece.number,
                expected_message: self.header.name,
                expected_piece: self.next,
            });
        }
        match piece.slot {
            None if bytes == 0 => Err(ProtocolError::Short {
                bytes: Piece::BYTES,
                header: Piece::BYTES,
            }),
            Some(_) if bytes > 0 => Err(ProtocolError::Truncated),
            slot => Ok(slot),
        }
    }

    /// Accounts for a piece that is at the [`target`](Self::target).
    pub(crate) fn took_piece(&mut self) -> Result<(), ProtocolError> {
        self.next = self.next.wrapping_add(1);
        self.read_lengths()
    }

    /// Returns the name of the message.
    pub(crate) fn name(&self) -> u64 {
        self.header.name
    }

    /// Returns how much is still to come.
    pub(crate) fn missing_bytes(&self) -> u64 {
        let arrived = self
            .runs
            .iter()
            .map(Vec::len)
            .fold(self.body.len(), usize::saturating_add);
        let arrived = u64::try_from(arrived).unwrap_or(u64::MAX);
        self.header.message_bytes().saturating_sub(arrived)
    }

    /// Takes all runs at once.
    pub(crate) fn fill(&mut self, mut bytes: &[u8]) -> Result<(), ProtocolError> {
        for length in &self.lengths {
            let (run, rest) = bytes
                .split_at_checked(*length)
                .ok_or(ProtocolError::Unfinished)?;
            self.runs.push(run.to_vec());
            bytes = rest;
        }
        if bytes.is_empty() && self.is_complete() {
            Ok(())
        } else {
            Err(ProtocolError::Runs)
        }
    }

    /// Reads the table of lengths as soon as the body is whole, and checks it.
    fn read_lengths(&mut self) -> Result<(), ProtocolError> {
        if self.body.len() < self.body_bytes || !self.lengths.is_empty() || self.header.runs == 0 {
            return Ok(());
        }
        let runs = usize::try_from(self.header.runs).unwrap_or(usize::MAX);
        let table = self.body.len().saturating_sub(runs.saturating_mul(4));
        let (_, table) = self
            .body
            .split_at_checked(table)
            .ok_or(ProtocolError::Runs)?;
        let mut total = 0u64;
        for length in table.as_chunks::<4>().0 {
            let length = u32::from_le_bytes(*length);
            total = total.saturating_add(length.into());
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length < BULK_BYTES {
                return Err(ProtocolError::Runs);
            }
            self.lengths.push(length);
        }
        if total != u64::from(self.header.run_bytes) {
            return Err(ProtocolError::Runs);
        }
        Ok(())
    }

    /// Returns whether everything has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.body.len() == self.body_bytes
            && self.runs.len() == self.lengths.len()
            && self.runs.last().map(Vec::len) == self.lengths.last().copied()
    }

    pub(crate) fn message(&mut self) -> Message<'_> {
        Message {
            header: self.header,
            body: &self.body,
            runs: &mut self.runs,
            descriptors: &mut self.descriptors,
        }
    }
}

impl<'m> Message<'m> {
    /// Returns the sections of the message, and puts its code references into `code`.
    pub(crate) fn parts<'p>(self, code: &'p mut Vec<Option<u64>>) -> Result<Parts<'p>, DecodeError>
    where
        'm: 'p,
    {
        let value_bytes = usize::try_from(self.header.value_bytes).unwrap_or(usize::MAX);
        let Some((bytes, rest)) = self.body.split_at_checked(value_bytes) else {
            return Err(DecodeError::new(
                0,
                format!("{value_bytes} bytes"),
                self.body.len(),
            ));
        };
        let references = usize::try_from(self.header.code).unwrap_or(usize::MAX);
        let references = rest.as_chunks::<8>().0.iter().take(references);
        code.extend(references.map(|reference| Some(u64::from_le_bytes(*reference))));
        Ok(Parts {
            bytes,
            bulk: self.runs,
            descriptors: self.descriptors,
            code,
        })
    }

    /// Decodes the value of the message.
    pub(crate) fn decode<T: Object>(self, limits: Limits, trust: Trust) -> Result<T, DecodeError> {
        let mut code = Vec::new();
        Decoder::new(self.parts(&mut code)?, limits, trust).message()
    }
}
