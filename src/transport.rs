//! Sends and receives messages over a socket: one packet each, or more if one is not enough.
//!
//! [`Outbox`] and [`Inbox`] hold a message in progress, so that a caller can wait between two
//! packets as it likes: in `poll(2)`, or in a runtime.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cost::Cost;
use crate::object::{EncodeError, Encoded, Encoder, Limits, Link, Object, Trust};
use crate::sys::poll::{self, Deadline};
use crate::sys::socket::{self, Wait};
use crate::wire::{self, Assembly, FrameError, Header, Message, Note, Piece};

/// The length of the longest first packet. A socket with default buffers takes one of 212,960
/// bytes.
const PACKET_BYTES: usize = 200 << 10;

/// The length of the shortest piece that is tried if the system cannot take a longer packet.
const LEAST_PIECE_BYTES: usize = 4 << 10;

thread_local! {
    /// The reusable buffers of this thread, for receiving and for sending.
    static RECEIVED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A longer buffer than this is not kept for the next message.
const KEPT_BYTES: usize = 1 << 20;

fn keep(slot: &'static std::thread::LocalKey<Cell<Vec<u8>>>, mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_BYTES {
        buffer.clear();
        // If the thread is ending, the buffer is not needed any more.
        let _ = slot.try_with(|slot| slot.set(buffer));
    }
}

fn kept(slot: &'static std::thread::LocalKey<Cell<Vec<u8>>>) -> Vec<u8> {
    slot.try_with(Cell::take).unwrap_or_default()
}

/// Sends a message to itself, so that copies of this process already have what the first message
/// creates: buffers, the thread's list of destructors, and bound symbols.
pub(crate) fn rehearse() -> io::Result<()> {
    let (ours, theirs) = socket::pair()?;
    let limits = Limits::default();
    if let Ok(mut outbox) = Outbox::encode(&(), limits, Trust::Data) {
        outbox.send(ours.as_fd(), Deadline::NEVER)?;
        let (theirs, read) = (theirs.as_fd(), |_: Message<'_>| ());
        let _ = Inbox::default().receive(theirs, &limits, Trust::Data, Deadline::NEVER, read);
    }
    Ok(())
}

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
}

/// How much of a message has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The socket cannot take more now.
    Full,
    /// The socket may take more at once. The caller checks the time first.
    Partly,
}

/// How long packets are sent or received without a pause. The peer decides what one packet costs,
/// such as by how many processes wait for the socket. So the clock is checked after each packet.
const SLICE: Duration = Duration::from_millis(20);

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
        }
    }

    /// Returns whether it fits in one packet, so that sending it is all or nothing.
    pub(crate) fn is_one_packet(&self) -> bool {
        self.name == 0
    }

    /// Returns the ends of channels in it.
    pub(crate) fn links(&self) -> &[Link] {
        &self.message.links
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
            match self.send_next(socket, wait) {
                Ok(()) if self.next == Next::Done || wait == Wait::Block => {}
                Ok(()) => {
                    let slice = slice.get_or_insert_with(|| Deadline::after(SLICE));
                    if slice.has_passed() {
                        return Ok(Sent::Partly);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Full),
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
                let length = (body.len() - sent).min(self.packet_bytes);
                self.send_piece(socket, &body[sent..sent + length], wait)?;
                self.piece = self.piece.wrapping_add(1);
                self.next = Next::Body {
                    sent: sent + length,
                };
            }
            Next::Run { index, sent } => {
                let run = &self.message.bulk[index];
                let length = (run.len() - sent).min(self.packet_bytes);
                self.send_piece(socket, &run[sent..sent + length], wait)?;
                self.piece = self.piece.wrapping_add(1);
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
        }
        Ok(())
    }

    fn send_piece(&self, socket: BorrowedFd<'_>, bytes: &[u8], wait: Wait) -> io::Result<()> {
        let head = Piece {
            number: self.piece,
            name: self.name,
        }
        .to_bytes();
        socket::send(
            socket,
            &[IoSlice::new(&head), IoSlice::new(bytes)],
            &[],
            wait,
        )?;
        Ok(())
    }

    /// Sends all of it. Waits until `deadline` while the socket is full.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
        let wait = if deadline.is_never() {
            Wait::Block
        } else {
            Wait::Never
        };
        let mut crowded = None;
        loop {
            match self.advance(socket, wait) {
                Ok(Sent::All) => return Ok(()),
                // A peer that keeps reading slowly is no reason to wait longer.
                Ok(_) if deadline.has_passed() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(Sent::Partly) => {}
                Ok(Sent::Full) => poll::writable(socket, deadline)?,
                Err(error) if is_crowded(&error) => {
                    // A sender that waits for ever may itself be the one that would receive.
                    let patience = || deadline.min(Deadline::after(CROWD_PATIENCE));
                    if crowded.get_or_insert_with(patience).has_passed() {
                        return Err(error);
                    }
                    std::thread::sleep(CROWD_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns whether a packet with descriptors was refused because too many of this user's
/// descriptors are in flight, perhaps those of other processes (unix(7)). That passes.
pub(crate) fn is_crowded(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

/// How long sending such a packet is retried.
const CROWD_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two such attempts.
pub(crate) const CROWD_INTERVAL: Duration = Duration::from_millis(1);

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        keep(&SENT, std::mem::take(&mut self.message.bytes));
    }
}

/// Returns a name for a message of several packets, which no other process that shares the socket
/// uses at the same time. It guards against confusion, not against malice: a hostile piece is only
/// bytes.
fn name() -> u64 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Never 0: a process number is at least 1.
    u64::from(std::process::id()) << 32 | u64::from(count)
}

/// What [`Inbox::advance`] found.
#[derive(Debug)]
pub(crate) enum Arrival<R> {
    /// A message, and what the caller's function returned for it.
    Message(R),
    /// A child's report of a denied call. Its signal handler can send it at any point of any
    /// message.
    Note(Note),
    /// Some pieces of a message that is not complete yet. More may be there already. The caller
    /// checks the time first, since a peer that never stops would keep it here.
    Partly,
    /// The peer, and everybody else who holds its socket, has closed it.
    End,
}

/// Why nothing could be received.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Frame(FrameError),
    /// Receiving costs too much.
    Cost,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
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
    /// What has arrived of a message of several packets.
    assembly: Option<Box<Assembly>>,
    /// What the packets have cost.
    cost: Cost,
}

impl Inbox {
    /// Creates an inbox, which does or does not accept a child's notes.
    pub(crate) fn new(takes_notes: bool) -> Self {
        Self {
            takes_notes,
            assembly: None,
            cost: Cost::default(),
        }
    }

    /// Returns whether part of a message has arrived.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.assembly.is_some()
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
            let Some(assembly) = &mut self.assembly else {
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
                    Ok(First::Note) => {
                        let note = Note::parse(&buffer);
                        keep(&RECEIVED, buffer);
                        return Ok(Arrival::Note(note?));
                    }
                    Ok(First::Begun) => keep(&RECEIVED, buffer),
                    Err(fault) => {
                        keep(&RECEIVED, buffer);
                        return Err(fault);
                    }
                }
                continue;
            };
            if assembly.is_complete() {
                let result = read(assembly.message());
                self.assembly = None;
                return Ok(Arrival::Message(result));
            }
            // At least one piece is received each time.
            match &slice {
                Some(slice) if Deadline::has_passed(*slice) => return Ok(Arrival::Partly),
                Some(_) => {}
                None => slice = (wait == Wait::Never).then(|| Deadline::after(SLICE)),
            }
            let mut head = Vec::with_capacity(Piece::BYTES);
            let (target, room) = assembly.target();
            let packet = self.cost.watch(|| {
                let tail = Some((&mut *target, room));
                socket::receive(socket, &mut head, Piece::BYTES, tail, wait)
            });
            if self.cost.is_too_high() {
                return Err(Fault::Cost);
            }
            let packet = match packet {
                // The peer closed with something of ours unread; what it sent is still there.
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => continue,
                result => result?,
            };
            if packet.bytes == 0 {
                self.assembly = None;
                return Err(FrameError::Unfinished.into());
            }
            if self.takes_notes && head.first() == Some(&Note::KIND) {
                // A child that was denied something does not finish its message.
                let mut bytes = std::mem::take(&mut head);
                let end = target.len();
                let more = packet.bytes.saturating_sub(bytes.len());
                bytes.extend_from_slice(target.get(end.saturating_sub(more)..).unwrap_or_default());
                self.assembly = None;
                return Ok(Arrival::Note(Note::parse(&bytes)?));
            }
            let result = if packet.truncated {
                Err(FrameError::Truncated)
            } else if !packet.descriptors.is_empty() {
                Err(FrameError::Descriptors {
                    expected: 0,
                    found: packet.descriptors.len(),
                })
            } else {
                assembly.piece(&head, packet.bytes.saturating_sub(Piece::BYTES))
            };
            if let Err(error) = result {
                self.assembly = None;
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
            let packet = self
                .cost
                .watch(|| socket::receive(socket, buffer, PACKET_BYTES, None, wait));
            if self.cost.is_too_high() {
                return Err(Fault::Cost);
            }
            match packet {
                // The peer closed with something of ours unread; what it sent is still there.
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {}
                result => break result?,
            }
        };
        if packet.truncated {
            return Err(FrameError::Truncated.into());
        }
        if packet.bytes == 0 {
            // An empty packet looks like the end, but only the real end remains one.
            return if poll::has_hung_up(socket)? && packet.descriptors.is_empty() {
                Ok(First::End)
            } else {
                Err(FrameError::Empty.into())
            };
        }
        if self.takes_notes && buffer.first() == Some(&Note::KIND) && packet.descriptors.is_empty()
        {
            return Ok(First::Note);
        }
        let header = Header::parse(buffer, packet.descriptors.len(), limits, trust)?;
        let body = &buffer[Header::BYTES..];
        if header.runs == 0 && header.body_bytes() == body.len() as u64 {
            return Ok(First::Whole(header, packet.descriptors));
        }
        self.assembly = Some(Box::new(Assembly::new(header, body, packet.descriptors)?));
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
        loop {
            match self.advance(socket, limits, trust, wait, &mut read) {
                Err(fault) if fault.would_block() => poll::readable(socket, deadline)?,
                Ok(Arrival::Partly) if deadline.has_passed() => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Ok(Arrival::Partly | Arrival::Note(_)) => {}
                result => return result,
            }
        }
    }
}

enum First {
    Note,
    Whole(Header, Vec<Option<crate::sys::fd::Received>>),
    Begun,
    End,
}
