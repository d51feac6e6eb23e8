//! One end of a channel that waits in a runtime.

use std::sync::Arc;

use super::reactor::{Reactor, Woken, wait};
use crate::channel::{ChannelError, Endpoint};
use crate::object::Object;
use crate::sys::readiness::Held;
use crate::transport::Step;

/// An end, and its registration with a runtime.
#[derive(Debug)]
pub(super) struct AsyncEndpoint<R: Reactor> {
    registration: Option<R::Source>,
    endpoint: Endpoint,
    /// How many messages were sent and received since other tasks had a turn.
    busy: u32,
}

/// How many messages are sent and received before other tasks get a turn, even if none has to be waited
/// for: a peer that never stops must not starve them.
const TURN: u32 = 64;

impl<R: Reactor> AsyncEndpoint<R> {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            registration: None,
            endpoint,
            busy: 0,
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
    fn parts(&mut self) -> Result<(&mut Endpoint, &R::Source, &mut u32), ChannelError> {
        let registration = match &mut self.registration {
            Some(registration) => registration,
            none => none.insert(
                R::register(Held::connection(Arc::clone(self.endpoint.shared_socket()))).map_err(
                    |source| ChannelError::Io {
                        operation: "register the channel with the asynchronous runtime",
                        source,
                    },
                )?,
            ),
        };
        Ok((&mut self.endpoint, registration, &mut self.busy))
    }

    pub(super) async fn send<T: Object>(&mut self, value: &T) -> Result<(), ChannelError> {
        self.take_turns().await;
        let mut outbox = self.endpoint.outbox(value)?;
        // Usually there is room, and then the runtime is not needed.
        let first = self.endpoint.next_send(&mut outbox);
        self.drive(first, ChannelError::sending, |endpoint| {
            endpoint.next_send(&mut outbox)
        })
        .await
    }

    pub(super) async fn recv<T: Object>(&mut self) -> Result<Option<T>, ChannelError> {
        self.take_turns().await;
        let first = self.endpoint.next_recv();
        self.drive(first, ChannelError::receiving, Endpoint::next_recv)
            .await
    }

    async fn take_turns(&mut self) {
        self.busy = self.busy.saturating_add(1);
        if self.busy > TURN {
            R::yield_now().await;
            self.busy = 0;
        }
    }

    /// Takes steps until the last one, and waits in between.
    async fn drive<T>(
        &mut self,
        mut step: Step<Result<T, ChannelError>>,
        failed: fn(std::io::Error) -> ChannelError,
        mut next: impl FnMut(&mut Endpoint) -> Step<Result<T, ChannelError>>,
    ) -> Result<T, ChannelError> {
        if let Step::Done(result) = step {
            return result;
        }
        let (endpoint, source, busy) = self.parts()?;
        let mut ready = None;
        loop {
            match step {
                Step::Done(result) => return result,
                Step::Continue => R::yield_now().await,
                Step::Wait(wanted) => {
                    if let Some(ready) = ready.take() {
                        // The step has found nothing, so the runtime has to wait again.
                        R::clear(ready);
                    }
                    *busy = 0;
                    ready = match wait::<R>(source, None, wanted).await.map_err(failed)? {
                        Woken::Socket(ready) => Some(ready),
                        Woken::End(_) | Woken::Time => None,
                    };
                }
            }
            step = next(endpoint);
        }
    }
}
