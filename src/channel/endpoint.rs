//! One end of a channel, whatever it carries: a socket, its limits, and a message in progress.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::ChannelError;
use crate::object::{DecodeError, Exceeded, Limits, Link, Object, Terms, Trust};
use crate::sys::connection::Connection;
use crate::sys::poll::Deadline;
use crate::sys::socket::Wait;
use crate::transport;
#[cfg(feature = "__runtime")]
use crate::transport::CROWD_INTERVAL;
use crate::transport::{
    Arrival, Cost, Fault, Inbox, Interest, Outbox, Sent, Slots, Step, is_too_costly,
};
use crate::wire::{Message, ProtocolError};

#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Shared with a runtime's registration, if there is one, and for a moment with whoever ends it.
    socket: Arc<Connection>,
    /// The connection to the other end, if both were created here.
    link: Option<Link>,
    /// Shared with the program that this end comes from.
    slots: Option<Slots>,
    pub(crate) limits: Limits,
    pub(crate) trust: Trust,
    inbox: Inbox,
    /// The cost of sending so far.
    send_cost: Cost,
    /// Why this end is unusable, if it is.
    fault: Option<Broken>,
    /// Whether part of a message was sent, so that the peer waits for the rest of it.
    pub(crate) half_sent: bool,
}

/// A fault of the peer, after which nothing more is received from it, and nothing sent if sending costs too
/// much.
#[derive(Clone, Debug)]
enum Broken {
    Protocol(ProtocolError),
    Limit(Exceeded),
    Cost,
}

impl Endpoint {
    /// The two ends of a channel.
    pub(super) fn pair(sockets: (OwnedFd, OwnedFd), trust: Trust) -> (Self, Self) {
        let mut first = Self::new(sockets.0, trust);
        let mut second = Self::new(sockets.1, trust);
        let [link, other] = Link::pair([&first.socket, &second.socket]);
        (first.link, second.link) = (Some(link), Some(other));
        (first, second)
    }

    pub(crate) fn new(socket: OwnedFd, trust: Trust) -> Self {
        Self::of(Connection::new(socket), trust)
    }

    /// An end that a stranger has sent.
    pub(super) fn foreign(socket: OwnedFd, trust: Trust) -> Self {
        Self {
            inbox: Inbox::contested(),
            ..Self::of(Connection::foreign(socket), trust)
        }
    }

    /// An end that the program has given its child.
    pub(super) fn given(socket: OwnedFd, trust: Trust) -> Self {
        let mut endpoint = Self::new(socket, trust);
        endpoint.slots = transport::given_slots().cloned();
        endpoint.inbox.use_slots(endpoint.slots.clone());
        endpoint
    }

    fn of(socket: Connection, trust: Trust) -> Self {
        Self {
            socket: Arc::new(socket),
            link: None,
            slots: None,
            limits: Limits::default(),
            trust,
            inbox: Inbox::default(),
            fault: None,
            send_cost: Cost::default(),
            half_sent: false,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn into_socket(self) -> OwnedFd {
        let mut shared = self.socket;
        loop {
            match Arc::try_unwrap(shared) {
                Ok(socket) => return socket.into_owned(),
                // A registration is dropped before its end is taken apart. The thread that ends it is about
                // to let go.
                Err(socket) => shared = socket,
            }
            std::thread::yield_now();
        }
    }

    /// Splits it into one end that sends and one that receives. The connection is closed with the last of them.
    pub(crate) fn split(self) -> Result<(Self, Self), ChannelError> {
        let halves = Connection::split(&self.socket).map_err(|source| ChannelError::Io {
            operation: "split the channel",
            source,
        })?;
        let (receives, sends) = halves;
        let sender = Self {
            socket: Arc::new(sends),
            link: self.link.clone(),
            slots: self.slots.clone(),
            limits: self.limits,
            trust: self.trust,
            inbox: Inbox::default(),
            send_cost: self.send_cost,
            fault: self.fault.clone(),
            half_sent: self.half_sent,
        };
        let receiver = Self {
            socket: Arc::new(receives),
            send_cost: Cost::default(),
            half_sent: false,
            ..self
        };
        Ok((sender, receiver))
    }

    /// Has receives that block look for a message for this long before they wait.
    pub(super) fn busy_poll(&mut self, time: Duration) {
        self.inbox.busy_poll(time);
    }

    pub(super) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Returns the limits of the peer, if it is a confined call.
    fn terms(&self) -> Option<Arc<Terms>> {
        self.link.as_ref().and_then(Link::terms).cloned()
    }

    #[cfg(feature = "__runtime")]
    pub(crate) fn shared_socket(&self) -> &Arc<Connection> {
        &self.socket
    }

    /// Why this end cannot be sent to another process, if it cannot: the message in progress would
    /// be lost.
    pub(crate) fn unsendable(&self) -> Option<&'static str> {
        if self.socket.is_half() {
            Some("half of a channel end that was split")
        } else if self.half_sent {
            Some("a channel end that has sent part of a message")
        } else if self.inbox.is_mid_message() {
            Some("a channel end that has received part of a message")
        } else if self.fault.is_some() {
            Some("a channel end whose peer broke the protocol")
        } else {
            None
        }
    }

    pub(crate) fn outbox<'a, T: Object>(&self, value: &'a T) -> Result<Outbox<'a>, ChannelError> {
        if matches!(self.fault, Some(Broken::Cost)) {
            return Err(ChannelError::TooCostly);
        }
        if self.half_sent {
            return Err(ChannelError::HalfSent);
        }
        let mut outbox = Outbox::encode(value, self.limits, self.trust)?;
        if let Some(terms) = self.terms() {
            // Ends that are passed to the call later get the same limits as those that it began with.
            outbox.links().iter().for_each(|link| link.pass(&terms));
        }
        if let Some(memory) = self.link.as_ref().and_then(Link::memory) {
            outbox.links().iter().for_each(|link| link.share(&memory));
            if !outbox.is_one_packet() {
                outbox.use_slots(Some(&Slots::of_program(memory)));
            }
        }
        outbox.use_slots(self.slots.as_ref());
        Ok(outbox)
    }

    /// Finds the slots that are shared with the call that has the other end.
    fn find_slots(&mut self) {
        if self.slots.is_none()
            && let Some(memory) = self.link.as_ref().and_then(Link::memory)
        {
            self.slots = Some(Slots::of_program(memory));
            self.inbox.use_slots(self.slots.clone());
        }
    }

    /// Converts the outcome of the last step of a send.
    fn sent(
        &mut self,
        outbox: &Outbox<'_>,
        result: std::io::Result<()>,
    ) -> Result<(), ChannelError> {
        result.map_err(|error| {
            self.half_sent |= !outbox.is_untouched();
            if is_too_costly(&error) {
                self.terms().inspect(|terms| terms.end_for_cost());
                self.fault = Some(Broken::Cost);
                return ChannelError::TooCostly;
            }
            ChannelError::sending(error)
        })
    }

    /// Sends more of a message. Until all of it is sent, the peer has a part of it, and nothing else
    /// can be sent.
    #[cfg(feature = "__runtime")]
    pub(crate) fn next_send(&mut self, outbox: &mut Outbox<'_>) -> Step<Result<(), ChannelError>> {
        outbox.swap_cost(&mut self.send_cost);
        let result = outbox.advance(self.socket.as_fd(), Wait::Never);
        outbox.swap_cost(&mut self.send_cost);
        self.half_sent = !outbox.is_untouched();
        match result {
            Ok(Sent::All) => {
                self.half_sent = false;
                Step::Done(Ok(()))
            }
            Ok(Sent::Full) => Step::wait(Interest::Writable),
            Ok(Sent::Partly) => Step::Continue,
            Ok(Sent::Crowded) => Step::pause(Deadline::after(CROWD_INTERVAL)),
            Err(error) => Step::Done(self.sent(outbox, Err(error))),
        }
    }

    pub(crate) fn send<T: Object>(
        &mut self,
        value: &T,
        deadline: Deadline,
    ) -> Result<(), ChannelError> {
        let mut outbox = self.outbox(value)?;
        outbox.swap_cost(&mut self.send_cost);
        let result = outbox.send(self.socket.as_fd(), deadline);
        outbox.swap_cost(&mut self.send_cost);
        self.sent(&outbox, result)
    }

    pub(crate) fn try_send<T: Object>(&mut self, value: &T) -> Result<bool, ChannelError> {
        let mut outbox = self.outbox(value)?;
        if !outbox.is_one_packet() {
            return Err(ChannelError::TooLongToTry);
        }
        outbox.swap_cost(&mut self.send_cost);
        let result = outbox.advance(self.socket.as_fd(), Wait::Never);
        outbox.swap_cost(&mut self.send_cost);
        let result = match result {
            Ok(Sent::All) => Ok(()),
            Ok(_) if outbox.is_untouched() => return Ok(false),
            // The kernel took only a part of it.
            Ok(_) => Err(std::io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        };
        self.sent(&outbox, result).map(|()| true)
    }

    pub(crate) fn recv<T: Object>(
        &mut self,
        deadline: Deadline,
    ) -> Result<Option<T>, ChannelError> {
        if let Some(error) = self.unusable() {
            return Err(error);
        }
        self.find_slots();
        let (terms, trust) = (self.terms(), self.trust);
        let limits = limits(self.limits, terms.as_deref());
        let read = |message: Message<'_>| read(message, terms.as_deref(), limits, trust);
        let socket = self.socket.as_fd();
        let arrival = self.inbox.receive(socket, &limits, trust, deadline, read);
        self.received(arrival, terms.as_deref())
    }

    /// Receives a message if it is there. Returns `None` if not.
    pub(crate) fn try_recv<T: Object>(&mut self) -> Result<Option<T>, ChannelError> {
        match self.next_recv() {
            Step::Done(Ok(None)) => Err(ChannelError::Closed),
            Step::Done(result) => result,
            Step::Continue | Step::Wait(_) => Ok(None),
        }
    }

    /// Receives what has arrived of a message. Returns `None` at the end of the channel.
    pub(crate) fn next_recv<T: Object>(&mut self) -> Step<Result<Option<T>, ChannelError>> {
        if let Some(error) = self.unusable() {
            return Step::Done(Err(error));
        }
        self.find_slots();
        let (terms, trust) = (self.terms(), self.trust);
        let limits = limits(self.limits, terms.as_deref());
        let read = |message: Message<'_>| read(message, terms.as_deref(), limits, trust);
        let socket = self.socket.as_fd();
        let arrival = self
            .inbox
            .advance(socket, &limits, trust, Wait::Never, read);
        match arrival {
            Err(fault) if fault.would_block() => Step::wait(Interest::Readable),
            Ok(Arrival::Partly | Arrival::DenialReport(_)) => Step::Continue,
            arrival => Step::Done(self.received(arrival, terms.as_deref())),
        }
    }

    fn received<T>(
        &mut self,
        arrival: Result<Arrival<Result<Result<T, DecodeError>, Exceeded>>, Fault>,
        terms: Option<&Terms>,
    ) -> Result<Option<T>, ChannelError> {
        let broken = match arrival {
            Ok(Arrival::Message(Ok(Ok(value)))) => return Ok(Some(value)),
            Ok(Arrival::Message(Ok(Err(error)))) => {
                let nesting = terms.filter(|terms| terms.limits.nesting < self.limits.nesting);
                return Err(match nesting {
                    Some(terms) if error.is_too_deep() => {
                        ChannelError::limit(terms, Exceeded::NESTING)
                    }
                    _ => error.into(),
                });
            }
            // `Inbox::receive` continues with it.
            Ok(Arrival::Partly | Arrival::DenialReport(_)) => return Err(ChannelError::TimedOut),
            Ok(Arrival::End) => return Ok(None),
            Err(Fault::Io(error)) => return Err(ChannelError::receiving(error)),
            Ok(Arrival::Message(Err(exceeded))) => Broken::Limit(exceeded),
            Err(Fault::Cost) => {
                terms.inspect(|terms| terms.end_for_cost());
                Broken::Cost
            }
            Err(Fault::Frame(fault)) => {
                let exceeded = terms.and_then(|terms| exceeded(&fault, terms, &self.limits));
                exceeded.map_or(Broken::Protocol(fault), Broken::Limit)
            }
        };
        self.fault = Some(broken);
        self.unusable().map_or(Ok(None), Err)
    }

    /// Returns why nothing more is received, if that is so.
    fn unusable(&self) -> Option<ChannelError> {
        Some(match self.fault.clone()? {
            Broken::Protocol(fault) => ChannelError::Malformed(fault),
            Broken::Cost => ChannelError::TooCostly,
            Broken::Limit(exceeded) => ChannelError::limit(&*self.terms()?, exceeded),
        })
    }
}

/// Returns the limits of a message: the smaller ones of the end and of the policy.
fn limits(own: Limits, terms: Option<&Terms>) -> Limits {
    terms.map_or(own, |terms| own.min(terms.limits))
}

/// Decodes a message, if there may be one more.
fn read<T: Object>(
    message: Message<'_>,
    terms: Option<&Terms>,
    limits: Limits,
    trust: Trust,
) -> Result<Result<T, DecodeError>, Exceeded> {
    if let Some(terms) = terms {
        terms.admit(message.header.message_bytes())?;
    }
    Ok(message.decode(limits, trust))
}

/// Returns the line of the policy that a message exceeds, if the end's own limit would let it through.
fn exceeded(fault: &ProtocolError, terms: &Terms, own: &Limits) -> Option<Exceeded> {
    match fault {
        ProtocolError::TooLong { .. } if terms.limits.message_bytes < own.message_bytes => {
            Some(Exceeded::MESSAGE_BYTES)
        }
        ProtocolError::TooManyDescriptors { .. } if terms.limits.descriptors < own.descriptors => {
            Some(Exceeded::MESSAGE_FDS)
        }
        _ => None,
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
