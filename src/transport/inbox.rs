//! `Inbox`: a message that is being received.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::buffers::{RECEIVED, keep, kept};
use super::busy_poll::BusyPoll;
use super::cost::Cost;
use super::slots::{self, LEAST_BYTES, Receiving, Slots};
use super::{PACKET_BYTES, SLICE};
use crate::object::{Limits, Trust};
use crate::sys::contested::{Arrived, Contested};
use crate::sys::fd::Received;
use crate::sys::poll::{self, Deadline};
use crate::sys::socket::{self, Packet, Wait};
use crate::wire::{Assembly, DenialReport, Header, Message, OFFER, Piece, ProtocolError};

/// The result of [`Inbox::advance`].
#[derive(Debug)]
pub(crate) enum Arrival<R> {
    /// A message, and what the caller's function returned for it.
    Message(R),
    /// A child's report of a denied call. Its signal handler can send it at any point of any
    /// message.
    DenialReport(Box<DenialReport>),
    /// Some pieces of a message that is not complete yet, or a receive that a peer holds up. More may
    /// be there already. The caller checks the time first, since a peer that never stops would keep it
    /// here.
    Partly,
    /// The peer, and everybody else who holds its socket, has closed it.
    End,
}

/// Why nothing could be received.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Frame(ProtocolError),
    /// Receiving costs too much.
    Cost,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self::Frame(error)
    }
}

impl Fault {
    pub(crate) fn would_block(&self) -> bool {
        matches!(self, Fault::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// A message that is being received.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Whether notes may come.
    takes_notes: bool,
    /// Whether shared memory may be offered.
    takes_offer: bool,
    /// Shared with the peer, if it is who it was.
    slots: Option<Slots>,
    /// The part of a message of several packets that has arrived.
    under_way: Option<Box<UnderWay>>,
    /// The cost of the packets so far.
    cost: Cost,
    /// The peer has closed its end and left something unread.
    was_reset: bool,
    /// For a socket that a stranger may hold.
    contested: Option<Contested>,
    busy_poll: BusyPoll,
}

/// A message of several packets, some of which have arrived.
#[derive(Debug)]
struct UnderWay {
    assembly: Assembly,
    /// The slots into which the sender may put the pieces to come.
    slots: Option<Receiving>,
}

impl UnderWay {
    /// Takes the next piece, of whose packet `bytes` bytes went to the assembly's target.
    fn take_piece(
        &mut self,
        head: &[u8],
        bytes: usize,
        cost: &mut Cost,
    ) -> Result<(), ProtocolError> {
        if let Some(slot) = self.assembly.slot_of(head, bytes)? {
            let (target, length) = self.assembly.target();
            // To touch memory can cost something as well, for example if the peer has given its pages back.
            let copied = cost.watch(|| {
                let slots = self.slots.as_ref();
                Ok(slots.is_some_and(|slots| slots.empty(slot, length, target)))
            });
            if !copied.unwrap_or(false) {
                return Err(ProtocolError::Slot { slot });
            }
        }
        self.assembly.took_piece()
    }
}

impl Inbox {
    /// Creates an inbox for the launch socket of a child, over which shared memory may be offered first.
    pub(crate) fn for_launch() -> Self {
        Self {
            takes_offer: true,
            ..Self::of_the_program()
        }
    }

    /// Creates an inbox, which does or does not accept a child's notes.
    pub(crate) fn new(takes_notes: bool) -> Self {
        Self {
            takes_notes,
            ..Self::default()
        }
    }

    /// Creates an inbox for what the program sends that started this process. The cost does not matter: the
    /// program is trusted.
    pub(crate) fn of_the_program() -> Self {
        Self {
            cost: Cost::unbounded(),
            ..Self::default()
        }
    }

    /// Creates an inbox for a socket that a stranger has sent, and may still hold.
    pub(crate) fn contested() -> Self {
        Self {
            contested: Some(Contested::default()),
            ..Self::default()
        }
    }

    /// Returns whether the peer has closed its end and left something unread, as the kernel says once.
    pub(crate) fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// Lets the peer put long messages into shared memory, if it has the same.
    pub(crate) fn use_slots(&mut self, slots: Option<Slots>) {
        self.slots = slots;
    }

    /// Has [`receive`](Self::receive) look for a packet for this long before it waits.
    pub(crate) fn busy_poll(&mut self, time: Duration) {
        self.busy_poll = BusyPoll::lasting(time);
    }

    /// Counts what messages cost from now on.
    pub(crate) fn forget_costs(&mut self) {
        self.cost = Cost::default();
    }

    /// Returns whether part of a message has arrived.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.under_way.is_some() || self.contested.as_ref().is_some_and(Contested::is_under_way)
    }

    /// Receives packets until a message is complete, and passes it to `read`. With [`Wait::Never`],
    /// it fails with EAGAIN as soon as no packet is there, and stops once time has passed. The next
    /// call continues.
    pub(crate) fn advance<R>(
        &mut self,
        socket: BorrowedFd<'_>,
        limits: &Limits,
        trust: Trust,
        wait: Wait,
        read: impl FnOnce(Message<'_>) -> R,
    ) -> Result<Arrival<R>, Fault> {
        let mut slice = None;
        loop {
            let Some(under_way) = &mut self.under_way else {
                let mut buffer = kept(&RECEIVED);
                let result = self.first(socket, limits, trust, wait, &mut buffer);
                match result {
                    Ok(First::Whole(header, mut descriptors)) => {
                        let message = Message {
                            header,
                            body: &buffer[Header::BYTES..],
                            runs: &mut [],
                            descriptors: &mut descriptors,
                        };
                        let result = read(message);
                        keep(&RECEIVED, buffer);
                        return Ok(Arrival::Message(result));
                    }
                    Ok(First::End) => {
                        keep(&RECEIVED, buffer);
                        return Ok(Arrival::End);
                    }
                    Ok(First::DenialReport) => {
                        let note = DenialReport::parse(&buffer);
                        keep(&RECEIVED, buffer);
                        return Ok(Arrival::DenialReport(Box::new(note?)));
                    }
                    Ok(First::Late) => {
                        keep(&RECEIVED, buffer);
                        return Ok(Arrival::Partly);
                    }
                    Ok(First::Begun | First::Offer) => keep(&RECEIVED, buffer),
                    Err(fault) => {
                        keep(&RECEIVED, buffer);
                        return Err(fault);
                    }
                }
                continue;
            };
            if under_way.assembly.is_complete() {
                // Before it is read, since that may take as long as a call.
                under_way.slots = None;
                let result = read(under_way.assembly.message());
                self.under_way = None;
                return Ok(Arrival::Message(result));
            }
            // At least one piece is received each time.
            match &slice {
                Some(slice) if Deadline::has_passed(*slice) => return Ok(Arrival::Partly),
                Some(_) => {}
                None => slice = (wait == Wait::Never).then(|| Deadline::after(SLICE)),
            }
            let mut head = Vec::with_capacity(Piece::BYTES);
            let (target, missing) = under_way.assembly.target();
            // A report can come between the pieces, however few bytes are missing.
            let room = match self.takes_notes {
                true => missing.max(DenialReport::MOST_BYTES),
                false => missing,
            };
            let packet = self.cost.watch(|| {
                let tail = Some((&mut *target, room));
                receive(
                    &mut self.contested,
                    socket,
                    &mut head,
                    Piece::BYTES,
                    tail,
                    wait,
                )
            });
            if self.cost.is_too_high() {
                return Err(Fault::Cost);
            }
            let packet = match packet {
                // Packets that it has sent are still there.
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                    self.was_reset = true;
                    continue;
                }
                result => result?,
            };
            let Some(packet) = packet else {
                return Ok(Arrival::Partly);
            };
            if packet.bytes == 0 {
                self.under_way = None;
                return Err(ProtocolError::Unfinished.into());
            }
            if self.takes_notes && head.first() == Some(&DenialReport::KIND) {
                let mut bytes = std::mem::take(&mut head);
                let more = packet.bytes.saturating_sub(bytes.len());
                let end = target.len().saturating_sub(more);
                bytes.extend(target.drain(end..));
                let report = DenialReport::parse(&bytes);
                // A child that was denied something does not finish its message. One whose call has failed with an
                // error number does.
                if !report.as_ref().is_ok_and(|report| report.denial.errno != 0) {
                    self.under_way = None;
                }
                return Ok(Arrival::DenialReport(Box::new(report?)));
            }
            let bytes = packet.bytes.saturating_sub(Piece::BYTES);
            // There can be more room than that, for a report.
            let result = if packet.truncated || bytes > missing {
                Err(ProtocolError::Truncated)
            } else if !packet.descriptors.is_empty() {
                Err(ProtocolError::Descriptors {
                    expected: 0,
                    found: packet.descriptors.len(),
                })
            } else {
                under_way.take_piece(&head, bytes, &mut self.cost)
            };
            if let Err(error) = result {
                self.under_way = None;
                return Err(error.into());
            }
        }
    }

    fn first(
        &mut self,
        socket: BorrowedFd<'_>,
        limits: &Limits,
        trust: Trust,
        wait: Wait,
        buffer: &mut Vec<u8>,
    ) -> Result<First, Fault> {
        let packet = loop {
            let packet = self.cost.watch(|| {
                let contested = &mut self.contested;
                receive(contested, socket, buffer, PACKET_BYTES, None, wait)
            });
            if self.cost.is_too_high() {
                return Err(Fault::Cost);
            }
            match packet {
                // Packets that it has sent are still there.
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                    self.was_reset = true;
                }
                result => break result?,
            }
        };
        let Some(packet) = packet else {
            return Ok(First::Late);
        };
        if packet.truncated {
            return Err(ProtocolError::Truncated.into());
        }
        if packet.bytes == 0 {
            // An empty packet looks like the end, but only the real end remains one.
            return if poll::has_hung_up(socket)? && packet.descriptors.is_empty() {
                Ok(First::End)
            } else {
                Err(ProtocolError::Empty.into())
            };
        }
        if self.takes_notes
            && buffer.first() == Some(&DenialReport::KIND)
            && packet.descriptors.is_empty()
        {
            return Ok(First::DenialReport);
        }
        if self.takes_offer && **buffer == OFFER {
            // Once, and first.
            self.takes_offer = false;
            if let [Some(memory)] = &packet.descriptors[..] {
                self.slots = slots::take_offer(memory.as_fd());
            }
            return Ok(First::Offer);
        }
        let header = Header::parse(buffer, packet.descriptors.len(), limits, trust)?;
        let body = &buffer[Header::BYTES..];
        if header.runs == 0 && header.body_bytes() == body.len() as u64 {
            return Ok(First::Whole(header, packet.descriptors));
        }
        let assembly = Assembly::new(header, body, packet.descriptors)?;
        let slots = match assembly.missing_bytes() >= LEAST_BYTES as u64 {
            true => self.slots.as_ref(),
            false => None,
        };
        let slots = slots.and_then(|slots| slots.begin_to_receive(assembly.name()));
        self.under_way = Some(Box::new(UnderWay { assembly, slots }));
        Ok(First::Begun)
    }

    /// Receives a whole message, and waits for it until `deadline`.
    pub(crate) fn receive<R>(
        &mut self,
        socket: BorrowedFd<'_>,
        limits: &Limits,
        trust: Trust,
        deadline: Deadline,
        mut read: impl FnMut(Message<'_>) -> R,
    ) -> Result<Arrival<R>, Fault> {
        let wait = if deadline.is_never() {
            Wait::Block
        } else {
            Wait::Never
        };
        // Packets after the first follow at once.
        self.busy_poll.look(socket, deadline);
        loop {
            match self.advance(socket, limits, trust, wait, &mut read) {
                Err(fault) if fault.would_block() => poll::readable(socket, deadline)?,
                Ok(Arrival::Partly) if deadline.has_passed() => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Ok(Arrival::Partly | Arrival::DenialReport(_)) => {}
                result => return result,
            }
        }
    }
}

enum First {
    DenialReport,
    /// Memory that is shared with the program.
    Offer,
    Whole(Header, Vec<Option<Received>>),
    Begun,
    /// The packet is still being received.
    Late,
    End,
}

/// Receives one packet, as [`socket::receive`] does. Returns `None` if that takes long: the next call
/// continues.
fn receive(
    contested: &mut Option<Contested>,
    socket: BorrowedFd<'_>,
    head: &mut Vec<u8>,
    head_room: usize,
    tail: Option<(&mut Vec<u8>, usize)>,
    wait: Wait,
) -> io::Result<Option<Packet>> {
    let Some(contested) = contested else {
        return socket::receive(socket, head, head_room, tail, wait).map(Some);
    };
    let room = head_room.saturating_add(tail.as_ref().map_or(0, |(_, room)| *room));
    let Some(Arrived { packet, bytes }) = contested.receive(socket, room, wait)? else {
        return Ok(None);
    };
    let (for_head, for_tail) = bytes.split_at(bytes.len().min(head_room));
    head.extend_from_slice(for_head);
    if let Some((tail, _)) = tail {
        tail.extend_from_slice(for_tail);
    }
    Ok(Some(packet))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    const NAME: u64 = 7;

    /// The first packet of a message whose body has `body` bytes, with the part of it that comes in this packet. A
    /// run of `run` bytes follows, if that is not 0.
    fn head(body: u32, run: u32, part: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xC1, 0, 0, 0];
        for field in [body, 0, u32::from(run > 0), run, 0] {
            packet.extend(field.to_le_bytes());
        }
        packet.extend(NAME.to_le_bytes());
        packet.extend(part);
        packet
    }

    fn piece(number: u32, bytes: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xC2, 0, 0, 0];
        packet.extend(number.to_le_bytes());
        packet.extend(NAME.to_le_bytes());
        packet.extend(bytes);
        packet
    }

    /// Sends packets, and returns how much of a message arrived in an inbox that accepts reports.
    fn received(packets: &[Vec<u8>]) -> Result<usize, ProtocolError> {
        let (ours, theirs) = socket::pair().unwrap();
        for packet in packets {
            let parts = [IoSlice::new(packet)];
            socket::send(theirs.as_fd(), &parts, &[], Wait::Block).unwrap();
        }
        let mut inbox = Inbox::new(true);
        loop {
            let length = |message: Message<'_>| {
                message.body.len() + message.runs.iter().map(Vec::len).sum::<usize>()
            };
            let limits = Limits::default();
            match inbox.advance(ours.as_fd(), &limits, Trust::Data, Wait::Never, length) {
                Ok(Arrival::Message(length)) => return Ok(length),
                Ok(Arrival::Partly) => {}
                Err(Fault::Frame(error)) => return Err(error),
                other => panic!("{other:?}"),
            }
        }
    }

    /// There is room for a report after each piece. A peer that fills it would send pieces without end, which nothing
    /// counts.
    #[test]
    fn a_piece_has_no_more_bytes_than_are_missing_where_reports_may_come() {
        let body = |missing: usize| [head(100, 0, &[0; 4]), piece(0, &vec![0; missing])];
        assert_eq!(received(&body(96)), Ok(100));
        for surplus in [1, 1_000, DenialReport::MOST_BYTES - Piece::BYTES - 96] {
            assert_eq!(
                received(&body(96 + surplus)),
                Err(ProtocolError::Truncated),
                "{surplus}"
            );
        }
        let run = |last: usize| {
            let table = 70_000u32.to_le_bytes();
            [
                head(0, 70_000, &table),
                piece(0, &[0; 69_999]),
                piece(1, &vec![0; last]),
            ]
        };
        assert_eq!(received(&run(1)), Ok(70_004));
        assert_eq!(received(&run(2)), Err(ProtocolError::Truncated));
    }
}
