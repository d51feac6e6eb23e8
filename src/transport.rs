//! Messages over a socket: one packet out, one packet in, and more where one isn't enough.
//!
//! [`Outbox`] and [`Inbox`] hold what is under way, so that a caller can wait between two packets
//! as it likes: in `poll(2)`, or in a runtime.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::object::{EncodeError, Encoded, Encoder, Limits, Object, Trust};
use crate::sys::poll::{self, Deadline};
use crate::sys::socket::{self, Wait};
use crate::wire::{self, Assembly, FrameError, Header, Message, Note, Piece};

/// The longest first packet. A socket with default buffers takes one of 212,960 bytes.
const PACKET_BYTES: usize = 200 << 10;

/// The shortest piece that is tried where the system can't take a longer packet.
const LEAST_PIECE_BYTES: usize = 4 << 10;

thread_local! {
    /// The kept buffers of this thread: what is received, and what is sent.
    static RECEIVED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer is kept for the next message unless it is longer than this.
const KEPT_BYTES: usize = 1 << 20;

fn keep(slot: &'static std::thread::LocalKey<Cell<Vec<u8>>>, mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_BYTES {
        buffer.clear();
        // While the thread ends there is nothing to keep it for.
        let _ = slot.try_with(|slot| slot.set(buffer));
    }
}

fn kept(slot: &'static std::thread::LocalKey<Cell<Vec<u8>>>) -> Vec<u8> {
    slot.try_with(Cell::take).unwrap_or_default()
}

/// Sends itself a message: so that copies of this process find what its first message makes, which
/// is buffers, the thread's list of destructors, and symbols bound.
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

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    message: Encoded<'a>,
    name: u64,
    /// How much of body and runs has been sent, as one sequence.
    next: Next,
    piece: u32,
    /// The longest packet that the system has not refused.
    packet_bytes: usize,
}

/// How far a message has gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The socket can't take more now.
    Full,
    /// The socket may take more at once; the caller looks at the time first.
    Partly,
}

/// How long packets are sent or received at a stretch. What one packet costs, the peer decides: by
/// how many wait for the socket, for one. So the clock is looked at after each.
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

    /// Whether it goes out in one packet, so that sending it is all or nothing.
    pub(crate) fn is_one_packet(&self) -> bool {
        self.name == 0
    }

    /// Whether nothing of it was sent.
    pub(crate) fn is_untouched(&self) -> bool {
        self.next == Next::First
    }

    /// Sends packets until all are sent, the socket can't take one now, or, with [`Wait::Never`],
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
                // The socket's buffer is smaller than usual, or memory is in small pieces.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS))
                        && self.packet_bytes > LEAST_PIECE_BYTES =>
                {
                    self.packet_bytes /= 2;
                    if self.name == 0 {
                        // It was to be one packet; as several it needs a name.
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
        // On to the next part where this one is all sent.
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

    /// Sends all of it, waiting until `deadline` where the socket is full.
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
                // A peer that reads slowly, and never stops, is no reason to wait longer.
                Ok(_) if deadline.has_passed() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(Sent::Partly) => {}
                Ok(Sent::Full) => poll::writable(socket, deadline)?,
                Err(error) if is_crowded(&error) => {
                    // Who waits for ever may be the one that would receive.
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

/// Whether a packet with descriptors was refused since too many of this user are in flight, perhaps
/// others' (unix(7)): that passes.
pub(crate) fn is_crowded(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

/// How long such a packet is tried again.
const CROWD_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is.
pub(crate) const CROWD_INTERVAL: Duration = Duration::from_millis(1);

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        keep(&SENT, std::mem::take(&mut self.message.bytes));
    }
}

/// A name for a message of several packets, which no other process that shares the socket uses at
/// the same time. It guards against mixing up, not against malice: a hostile piece is bytes.
fn name() -> u64 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Never 0: a process number is at least 1.
    u64::from(std::process::id()) << 32 | u64::from(count)
}

/// What [`Inbox::advance`] found.
#[derive(Debug)]
pub(crate) enum Arrival<R> {
    /// A message, and what the caller made of it.
    Message(R),
    /// What a child was denied, said by its signal handler at any point of any message.
    Note(Note),
    /// Some pieces of a message that isn't whole yet. There may be more at once; the caller looks at
    /// the time first, since a peer that never stops would keep it here.
    Partly,
    /// The peer, and everybody who holds its socket, has closed it.
    End,
}

/// Why nothing could be received.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Frame(FrameError),
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

/// A message on its way in.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Whether notes may come.
    takes_notes: bool,
    /// What has arrived of a message of several packets.
    assembly: Option<Box<Assembly>>,
}

impl Inbox {
    /// An inbox that takes a child's notes, or doesn't.
    pub(crate) fn new(takes_notes: bool) -> Self {
        Self {
            takes_notes,
            assembly: None,
        }
    }

    /// Whether part of a message has arrived.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.assembly.is_some()
    }

    /// Receives packets until a message is whole, and gives it to `read`. With [`Wait::Never`] it
    /// fails with EAGAIN as soon as no packet is there, and stops once time has passed. It goes on at
    /// the next call.
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
            let packet = match socket::receive(
                socket,
                &mut head,
                Piece::BYTES,
                Some((target, room)),
                wait,
            ) {
                // The peer closed with something of ours unread; what it sent is still there.
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => continue,
                result => result?,
            };
            if packet.bytes == 0 {
                self.assembly = None;
                return Err(FrameError::Unfinished.into());
            }
            if self.takes_notes && head.first() == Some(&Note::KIND) {
                // Who was denied something doesn't finish its message.
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
            match socket::receive(socket, buffer, PACKET_BYTES, None, wait) {
                // The peer closed with something of ours unread; what it sent is still there.
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {}
                result => break result?,
            }
        };
        if packet.truncated {
            return Err(FrameError::Truncated.into());
        }
        if packet.bytes == 0 {
            // An empty packet reads like the end; only the end stays one.
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

    /// Receives a whole message, waiting until `deadline`.
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
