//! The shared knowledge of the two ends of a channel: about each other, and about the call that one of them
//! is passed to.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::Limits;
use crate::sys::connection::Connection;
use crate::sys::shared::Shared;

/// One end of a channel that was made in this process.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pair: Arc<[End; 2]>,
    /// Whether it is the second one.
    is_second: bool,
}

#[derive(Debug)]
struct End {
    socket: Weak<Connection>,
    /// The limits of the call that has the other end.
    terms: OnceLock<Arc<Terms>>,
    /// The memory that is shared with that call.
    memory: Mutex<Memory>,
}

/// The memory that an end shares with the call that the other end was passed to.
#[derive(Clone, Debug, Default)]
enum Memory {
    #[default]
    None,
    Of(Arc<Shared>),
    /// It was to be passed to several calls, and which of them has got it isn't known.
    Unknown,
}

impl Link {
    pub(crate) fn pair(sockets: [&Arc<Connection>; 2]) -> [Self; 2] {
        let pair = Arc::new(sockets.map(|socket| End {
            socket: Arc::downgrade(socket),
            terms: OnceLock::new(),
            memory: Mutex::default(),
        }));
        [false, true].map(|is_second| Self {
            pair: Arc::clone(&pair),
            is_second,
        })
    }

    fn end(&self, is_second: bool) -> &End {
        let [first, second] = &*self.pair;
        if is_second { second } else { first }
    }

    /// Returns the limits of the peer, if the other end was passed to a confined call.
    pub(crate) fn terms(&self) -> Option<&Arc<Terms>> {
        self.end(self.is_second).terms.get()
    }

    /// Says that this end is passed to a call: whoever receives from the other end holds it to its terms.
    pub(crate) fn pass(&self, terms: &Arc<Terms>) {
        // An end is passed once; one that comes back is none of a pair.
        let _ = self.end(!self.is_second).terms.set(Arc::clone(terms));
    }

    /// Returns the memory that is shared with the call that the other end was passed to.
    pub(crate) fn memory(&self) -> Option<Arc<Shared>> {
        match &*lock(&self.end(self.is_second).memory) {
            Memory::Of(memory) => Some(Arc::clone(memory)),
            Memory::None | Memory::Unknown => None,
        }
    }

    /// Says that this end is passed to a call that shares memory with this process. Sending it may still fail.
    pub(crate) fn share(&self, memory: &Arc<Shared>) {
        let mut known = lock(&self.end(!self.is_second).memory);
        *known = match std::mem::take(&mut *known) {
            Memory::None => Memory::Of(Arc::clone(memory)),
            Memory::Of(same) if Arc::ptr_eq(&same, memory) => Memory::Of(same),
            Memory::Of(_) | Memory::Unknown => Memory::Unknown,
        };
    }

    /// The other end's socket, as long as it is there.
    pub(crate) fn other(&self) -> &Weak<Connection> {
        &self.end(!self.is_second).socket
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The limits of a confined call on its channels: `[limits.channel]` of its policy.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) function: &'static str,
    pub(crate) policy: String,
    /// For each message.
    pub(crate) limits: Limits,
    messages_left: AtomicU64,
    bytes_left: AtomicU64,
    /// The child, once there is one.
    owner: OnceLock<Weak<dyn Owner>>,
}

/// A child, as its channels know it.
pub(crate) trait Owner: Debug + Send + Sync {
    /// Ends a child whose messages cost too much to receive.
    fn end_for_cost(&self);
}

/// The line of a policy that a channel has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded(pub(crate) &'static str);

impl Exceeded {
    pub(crate) const MESSAGE_BYTES: Self = Self("limits.channel.message_bytes");
    pub(crate) const MESSAGE_FDS: Self = Self("limits.channel.message_fds");
    pub(crate) const NESTING: Self = Self("limits.channel.nesting");
    const MESSAGES: Self = Self("limits.channel.messages");
    const TOTAL_BYTES: Self = Self("limits.channel.total_bytes");
}

impl Terms {
    pub(crate) fn new(
        function: &'static str,
        policy: String,
        limits: Limits,
        messages: u64,
        bytes: u64,
    ) -> Self {
        Self {
            function,
            policy,
            limits,
            messages_left: messages.into(),
            bytes_left: bytes.into(),
            owner: OnceLock::new(),
        }
    }

    /// Says whose channels they are about.
    pub(crate) fn belong_to(&self, owner: Weak<dyn Owner>) {
        // There is one child.
        let _ = self.owner.set(owner);
    }

    /// Ends the child, if somebody still has a handle of it. Otherwise its deadline does.
    pub(crate) fn end_for_cost(&self) {
        if let Some(owner) = self.owner.get().and_then(Weak::upgrade) {
            owner.end_for_cost();
        }
    }

    /// Counts a message, unless it is one too many or has too many bytes.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), Exceeded> {
        let take = |left: &AtomicU64, count: u64| {
            let less = |left: u64| left.checked_sub(count);
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .is_ok()
        };
        match (take(&self.messages_left, 1), take(&self.bytes_left, bytes)) {
            (false, _) => Err(Exceeded::MESSAGES),
            (true, false) => Err(Exceeded::TOTAL_BYTES),
            (true, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket;

    fn link() -> Link {
        let (ours, theirs) = socket::pair().unwrap();
        let [ours, theirs] = [ours, theirs].map(|socket| Arc::new(Connection::new(socket)));
        let [ours, _] = Link::pair([&ours, &theirs]);
        ours
    }

    fn memory() -> Arc<Shared> {
        Arc::new(Shared::create(4096).unwrap().0)
    }

    /// Sending an end to the first call may have failed.
    #[test]
    fn an_end_that_was_meant_for_two_calls_shares_memory_with_neither() {
        let (first, second) = (memory(), memory());
        let end = link();
        let other = Link {
            is_second: true,
            ..end.clone()
        };
        end.share(&first);
        end.share(&first);
        assert!(Arc::ptr_eq(&other.memory().unwrap(), &first));
        end.share(&second);
        assert!(other.memory().is_none());
        end.share(&first);
        assert!(other.memory().is_none());
    }
}
