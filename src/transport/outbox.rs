//! `Outbox`: a message that is being sent.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::buffers::{SENT, keep, kept};
use super::cost::{Cost, EXCESS_TIME};
use super::names::name;
use super::slots::{LEAST_BYTES, SLOT_BYTES, Sending, Slots};
use super::{PACKET_BYTES, SLICE};
use crate::object::{EncodeError, Encoded, Encoder, Limits, Link, Object, Trust};
use crate::sys::poll::{self, Deadline};
use crate::sys::socket::{self, Wait};
use crate::wire::{self, Header, Piece};

/// The length of the shortest piece that is tried if the system cannot take a longer packet.
const LEAST_PIECE_BYTES: usize = 4 << 10;

/// A message that is being sent.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    message: Encoded<'a>,
    name: u64,
    /// How much of body and runs has been sent, counted as one sequence.
    next: Next,
    piece: u32,
    /// The longest packet that the system has not refused.
    packet_bytes: usize,
    /// Shared with the peer, if it is who it was.
    slots: Option<Slots>,
    /// Whether they are used for this message.
    sending: Option<Sending>,
    /// The cost of the packets so far.
    cost: Cost,
    /// Until when a packet is tried again that was refused for the descriptors in flight.
    crowded_until: Option<Deadline>,
}

/// How much of a message has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The socket cannot take more now.
    Full,
    /// The socket may take more at once. The caller checks the time first.
    Partly,
    /// Too many descriptors of this user are in flight, perhaps those of other processes (unix(7)).
    /// That passes: try again after [`CROWD_INTERVAL`].
    Crowded,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    First,
    Body { sent: usize },
    Run { index: usize, sent: usize },
    Done,
}

impl<'a> Outbox<'a> {
    /// Encodes `value`.
    pub(crate) fn encode<T: Object>(
        value: &'a T,
        limits: Limits,
        trust: Trust,
    ) -> Result<Self, EncodeError> {
        let mut buffer = kept(&SENT);
        buffer.extend_from_slice(&[0; Header::BYTES]);
        let mut encoder = Encoder::new(buffer, limits, trust);
        value.encode(&mut encoder);
        match encoder.finish() {
            Ok(message) => Ok(Self::new(message)),
            Err((error, buffer)) => {
                keep(&SENT, buffer);
                Err(error)
            }
        }
    }

    fn new(mut message: Encoded<'a>) -> Self {
        let bytes = message.bytes.len() + message.code.len() * size_of::<u64>();
        let one_packet = message.bulk.is_empty() && bytes <= PACKET_BYTES;
        let name = if one_packet { 0 } else { name() };
        wire::seal(&mut message, name);
        Self {
            message,
            name,
            next: Next::First,
            piece: 0,
            packet_bytes: PACKET_BYTES,
            slots: None,
            sending: None,
            cost: Cost::default(),
            crowded_until: None,
        }
    }

    /// Returns whether it fits in one packet, so that sending it is all or nothing.
    pub(crate) fn is_one_packet(&self) -> bool {
        self.name == 0
    }

    /// Sends as much as possible through shared memory, if the receiver has the same and looks there.
    pub(crate) fn use_slots(&mut self, slots: Option<&Slots>) {
        if self.slots.is_none() && !self.is_one_packet() {
            self.slots = slots.cloned();
        }
    }

    /// Returns the ends of channels in it.
    pub(crate) fn links(&self) -> &[Link] {
        &self.message.links
    }

    /// Exchanges what the packets have cost with what those before it have cost, and back.
    pub(crate) fn swap_cost(&mut self, cost: &mut Cost) {
        std::mem::swap(&mut self.cost, cost);
    }

    /// Lets sending cost anything, as is due if the receiver is the program that started this process: the program
    /// is trusted.
    pub(crate) fn let_it_cost(&mut self) {
        self.cost = Cost::unbounded();
    }

    /// Returns whether nothing of it was sent.
    pub(crate) fn is_untouched(&self) -> bool {
        self.next == Next::First
    }

    /// Sends packets until all are sent, the socket cannot take one now, or, with [`Wait::Never`],
    /// time has passed.
    pub(crate) fn advance(&mut self, socket: BorrowedFd<'_>, wait: Wait) -> io::Result<Sent> {
        let mut slice = None;
        while self.next != Next::Done {
            let mut cost = std::mem::take(&mut self.cost);
            let result = cost.watch(|| self.send_next(socket, wait));
            self.cost = cost;
            if self.cost.is_too_high() {
                return Err(io::Error::other(TooCostly));
            }
            match result {
                Ok(()) if self.next == Next::Done || wait == Wait::Block => {}
                Ok(()) => {
                    let slice = slice.get_or_insert_with(|| Deadline::after(SLICE));
                    if slice.has_passed() {
                        return Ok(Sent::Partly);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Full),
                Err(error) if is_crowded(&error) => {
                    // A sender that waits for ever may itself be the one that would receive.
                    let until = || Deadline::after(CROWD_PATIENCE);
                    if self.crowded_until.get_or_insert_with(until).has_passed() {
                        return Err(error);
                    }
                    return Ok(Sent::Crowded);
                }
                // The socket's buffer is smaller than usual, or memory is fragmented.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS))
                        && self.packet_bytes > LEAST_PIECE_BYTES =>
                {
                    self.packet_bytes /= 2;
                    if self.name == 0 {
                        // It was meant to be one packet. If it is several, it needs a name.
                        self.name = name();
                        let at = Header::BYTES - size_of::<u64>();
                        self.message.bytes[at..Header::BYTES]
                            .copy_from_slice(&self.name.to_le_bytes());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }

    fn send_next(&mut self, socket: BorrowedFd<'_>, wait: Wait) -> io::Result<()> {
        let body = &self.message.bytes;
        match self.next {
            Next::First => {
                let length = body.len().min(self.packet_bytes);
                let part = [IoSlice::new(&body[..length])];
                if self.message.descriptors.is_empty() {
                    socket::send(socket, &part, &[], wait)?;
                } else {
                    let lent: Vec<_> = self.message.descriptors.iter().map(AsFd::as_fd).collect();
                    socket::send(socket, &part, &lent, wait)?;
                }
                self.next = Next::Body { sent: length };
            }
            Next::Body { sent } => {
                let length = self.send_piece(socket, sent, None, wait)?;
                self.next = Next::Body {
                    sent: sent + length,
                };
            }
            Next::Run { index, sent } => {
                let length = self.send_piece(socket, sent, Some(index), wait)?;
                self.next = Next::Run {
                    index,
                    sent: sent + length,
                };
            }
            Next::Done => {}
        }
        // If this part is all sent, continue with the next one.
        match self.next {
            Next::Body { sent } if sent == self.message.bytes.len() => {
                self.next = Next::Run { index: 0, sent: 0 };
            }
            Next::Run { index, sent } if sent == self.message.bulk[index].len() => {
                self.next = Next::Run {
                    index: index + 1,
                    sent: 0,
                };
            }
            _ => {}
        }
        if matches!(self.next, Next::Run { index, .. } if index == self.message.bulk.len()) {
            self.next = Next::Done;
            self.sending = None;
        }
        Ok(())
    }

    /// Sends the next piece of a run, or of the body, of which `sent` bytes have been sent. Returns its length.
    fn send_piece(
        &mut self,
        socket: BorrowedFd<'_>,
        sent: usize,
        run: Option<usize>,
        wait: Wait,
    ) -> io::Result<usize> {
        let part: &[u8] = match run {
            Some(index) => &self.message.bulk[index],
            None => &self.message.bytes,
        };
        let rest = &part[sent..];
        let mut piece = Piece {
            number: self.piece,
            name: self.name,
            slot: None,
        };
        let for_slot = &rest[..rest.len().min(SLOT_BYTES)];
        if let Some(slots) = &self.slots
            && for_slot.len() >= LEAST_BYTES
        {
            if self.sending.is_none() {
                self.sending = slots.begin_to_send(self.name);
            }
            piece.slot = self
                .sending
                .as_mut()
                .and_then(|sending| sending.fill(for_slot));
        }
        let for_packet = match piece.slot {
            Some(_) => &[],
            None => &rest[..rest.len().min(self.packet_bytes)],
        };
        let head = piece.to_bytes();
        let parts = [IoSlice::new(&head), IoSlice::new(for_packet)];
        let parts = match piece.slot {
            Some(_) => &parts[..1],
            None => &parts[..],
        };
        let result = socket::send(socket, parts, &[], wait);
        if let (Err(_), Some(slot), Some(sending)) = (&result, piece.slot, &self.sending) {
            sending.take_back(slot);
        }
        result?;
        self.piece = self.piece.wrapping_add(1);
        Ok(match piece.slot {
            Some(_) => for_slot.len(),
            None => for_packet.len(),
        })
    }

    /// Sends all of it. Waits until `deadline` while the socket is full.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
        let wait = if deadline.is_never() {
            Wait::Block
        } else {
            Wait::Never
        };
        loop {
            match self.advance(socket, wait) {
                Ok(Sent::All) => return Ok(()),
                // A peer that keeps reading slowly is no reason to wait longer.
                Ok(_) if deadline.has_passed() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(Sent::Partly) => {}
                Ok(Sent::Full) => poll::writable(socket, deadline)?,
                Ok(Sent::Crowded) => std::thread::sleep(CROWD_INTERVAL),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns whether a packet was refused because too many of this user's descriptors are in flight.
pub(crate) fn is_crowded(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

/// How long sending such a packet is retried.
const CROWD_PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two such attempts.
pub(crate) const CROWD_INTERVAL: Duration = Duration::from_millis(1);

/// Why nothing more is sent: the peer has made that too costly.
#[derive(Debug, thiserror::Error)]
#[error(
    "sending took {EXCESS_TIME:?} more processor time than it should, which a process causes only on purpose"
)]
struct TooCostly;

/// Returns whether sending costs too much.
pub(crate) fn is_too_costly(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|source| source.is::<TooCostly>())
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        keep(&SENT, std::mem::take(&mut self.message.bytes));
    }
}
