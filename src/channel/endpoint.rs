//! One end of a channel, whatever it carries: a socket, its limits, and a message in progress.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::ChannelError;
use crate::object::{Limits, Object, Trust};
use crate::sys::poll::Deadline;
use crate::sys::socket::{Connection, Wait};
use crate::transport::{Arrival, Fault, Inbox, Outbox, Sent};
use crate::wire::FrameError;

#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Shared only with a runtime's registration, if there is one.
    socket: Arc<Connection>,
    pub(crate) limits: Limits,
    pub(crate) trust: Trust,
    inbox: Inbox,
    /// Why this end is unusable: the peer broke the protocol.
    fault: Option<FrameError>,
    /// Whether part of a message was sent, so that the peer waits for the rest of it.
    pub(crate) half_sent: bool,
}

impl Endpoint {
    pub(crate) fn new(socket: OwnedFd, trust: Trust) -> Self {
        Self {
            socket: Arc::new(Connection::new(socket)),
            limits: Limits::default(),
            trust,
            inbox: Inbox::default(),
            fault: None,
            half_sent: false,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn into_socket(self) -> OwnedFd {
        #[expect(clippy::expect_used, reason = "proved below")]
        // A registration is dropped before its end is taken apart.
        let socket = Arc::into_inner(self.socket).expect("nobody else holds the end's socket");
        socket.into_owned()
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn shared_socket(&self) -> &Arc<Connection> {
        &self.socket
    }

    /// Why this end cannot be sent to another process, if it cannot: the message in progress would
    /// be lost.
    pub(crate) fn unsendable(&self) -> Option<&'static str> {
        if self.half_sent {
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
        if self.half_sent {
            return Err(ChannelError::HalfSent);
        }
        Ok(Outbox::encode(value, self.limits, self.trust)?)
    }

    /// Converts the outcome of the last step of a send.
    pub(crate) fn sent(
        &mut self,
        outbox: &Outbox<'_>,
        result: std::io::Result<()>,
    ) -> Result<(), ChannelError> {
        result.map_err(|error| {
            self.half_sent |= !outbox.is_untouched();
            ChannelError::sending(error)
        })
    }

    pub(crate) fn send<T: Object>(
        &mut self,
        value: &T,
        deadline: Deadline,
    ) -> Result<(), ChannelError> {
        let mut outbox = self.outbox(value)?;
        let result = outbox.send(self.socket.as_fd(), deadline);
        self.sent(&outbox, result)
    }

    pub(crate) fn try_send<T: Object>(&mut self, value: &T) -> Result<bool, ChannelError> {
        let mut outbox = self.outbox(value)?;
        if !outbox.is_one_packet() {
            return Err(ChannelError::TooLongToTry);
        }
        let result = match outbox.advance(self.socket.as_fd(), Wait::Never) {
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
        if let Some(fault) = &self.fault {
            return Err(ChannelError::Malformed(fault.clone()));
        }
        let (limits, trust) = (self.limits, self.trust);
        let arrival =
            self.inbox
                .receive(self.socket.as_fd(), &limits, trust, deadline, |message| {
                    message.decode(limits, trust)
                });
        self.received(arrival)
    }

    /// Receives a message if it is there.
    pub(crate) fn try_recv<T: Object>(&mut self) -> Tried<T> {
        if let Some(fault) = &self.fault {
            return Tried::Received(Err(ChannelError::Malformed(fault.clone())));
        }
        let (limits, trust) = (self.limits, self.trust);
        let arrival = self.inbox.advance(
            self.socket.as_fd(),
            &limits,
            trust,
            Wait::Never,
            |message| message.decode(limits, trust),
        );
        match arrival {
            Err(fault) if fault.would_block() => Tried::Nothing,
            Ok(Arrival::Partly | Arrival::Note(_)) => Tried::Partly,
            arrival => Tried::Received(self.received(arrival)),
        }
    }

    fn received<T>(
        &mut self,
        arrival: Result<Arrival<Result<T, crate::DecodeError>>, Fault>,
    ) -> Result<Option<T>, ChannelError> {
        match arrival {
            Ok(Arrival::Message(value)) => Ok(Some(value?)),
            // `Inbox::receive` continues with it.
            Ok(Arrival::Partly | Arrival::Note(_)) => Err(ChannelError::TimedOut),
            Ok(Arrival::End) => Ok(None),
            Err(Fault::Io(error)) => Err(ChannelError::receiving(error)),
            Err(Fault::Frame(fault)) => {
                // It can no longer be known where the next message begins.
                self.fault = Some(fault.clone());
                Err(ChannelError::Malformed(fault))
            }
        }
    }
}

/// The outcome of a receive that does not wait.
#[derive(Debug)]
pub(crate) enum Tried<T> {
    Received(Result<Option<T>, ChannelError>),
    /// Part of a message, and more of it may be there already.
    Partly,
    /// No whole message yet.
    Nothing,
}

impl<T> Tried<T> {
    /// The result for the public methods: a value, nothing yet, or an error, which includes the end
    /// of the channel.
    pub(crate) fn into_result(self) -> Result<Option<T>, ChannelError> {
        match self {
            Self::Received(Ok(None)) => Err(ChannelError::Closed),
            Self::Received(result) => result,
            Self::Partly | Self::Nothing => Ok(None),
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
