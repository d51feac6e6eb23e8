//! One end of a channel that waits in a runtime.

use std::sync::Arc;

use crate::channel::{ChannelError, Endpoint, Tried};
use crate::object::Object;
use crate::sys::readiness::{Held, Readiness};
use crate::sys::socket::Wait;
use crate::transport::Sent;

/// An end, and its registration with a runtime.
#[derive(Debug)]
pub(super) struct AsyncEndpoint {
    registration: Option<Readiness>,
    endpoint: Endpoint,
}

impl AsyncEndpoint {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            registration: None,
            endpoint,
        }
    }

    pub(super) fn get(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn get_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    pub(super) fn into_inner(self) -> Endpoint {
        drop(self.registration);
        self.endpoint
    }

    /// Returns the end and its registration, and registers it if necessary.
    fn parts(&mut self) -> Result<(&mut Endpoint, &Readiness), ChannelError> {
        let registration = match &mut self.registration {
            Some(registration) => registration,
            none => none.insert(
                Readiness::register(Held::Connection(Arc::clone(self.endpoint.shared_socket())))
                    .map_err(|source| ChannelError::Io {
                        operation: "register the channel with a tokio runtime",
                        source,
                    })?,
            ),
        };
        Ok((&mut self.endpoint, registration))
    }

    pub(super) async fn send<T: Object>(&mut self, value: &T) -> Result<(), ChannelError> {
        let mut outbox = self.endpoint.outbox(value)?;
        loop {
            let result = outbox.advance(self.endpoint.socket(), Wait::Never);
            let is_full = match result {
                Ok(Sent::Full) => true,
                Ok(Sent::Partly) => false,
                result => return self.endpoint.sent(&outbox, result.map(drop)),
            };
            let (endpoint, registration) = self.parts()?;
            // If this future is dropped while it waits, the peer is left with a part of the
            // message. The flag says so until the rest has been sent.
            endpoint.half_sent = !outbox.is_untouched();
            if !is_full {
                // Give other tasks a turn, and let a timeout be noticed.
                tokio::task::yield_now().await;
                endpoint.half_sent = false;
                continue;
            }
            let ready = registration.writable().await;
            let mut ready = ready.map_err(ChannelError::sending)?;
            endpoint.half_sent = false;
            // Another attempt shows whether the socket is still full. If it is, the runtime has to
            // wait again.
            match outbox.advance(endpoint.socket(), Wait::Never) {
                Ok(Sent::Full) => ready.clear_ready(),
                Ok(Sent::Partly) => {}
                result => return endpoint.sent(&outbox, result.map(drop)),
            }
        }
    }

    pub(super) async fn recv<T: Object>(&mut self) -> Result<Option<T>, ChannelError> {
        loop {
            let (endpoint, registration) = self.parts()?;
            let mut ready = registration
                .readable()
                .await
                .map_err(ChannelError::receiving)?;
            match endpoint.try_recv() {
                Tried::Received(result) => return result,
                Tried::Nothing => ready.clear_ready(),
                // Give other tasks a turn, and let a timeout be noticed.
                Tried::Partly => tokio::task::yield_now().await,
            }
        }
    }
}
