//! What the two ends of a channel know of each other, and of the call that one of them is passed to.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::Limits;
use crate::sys::shared::Shared;
use crate::sys::socket::Connection;

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
    /// What the call that has the other end is held to.
    terms: OnceLock<Arc<Terms>>,
    /// What memory is shared with that call.
    memory: OnceLock<Arc<Shared>>,
}

impl Link {
    pub(crate) fn pair(sockets: [&Arc<Connection>; 2]) -> [Self; 2] {
        let pair = Arc::new(sockets.map(|socket| End {
            socket: Arc::downgrade(socket),
            terms: OnceLock::new(),
            memory: OnceLock::new(),
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

    /// What this end holds its peer to, if that was passed to a confined call.
    pub(crate) fn terms(&self) -> Option<&Arc<Terms>> {
        self.end(self.is_second).terms.get()
    }

    /// Says that this end is passed to a call: whoever receives from the other end holds it to its terms.
    pub(crate) fn pass(&self, terms: &Arc<Terms>) {
        // An end is passed once; one that comes back is none of a pair.
        let _ = self.end(!self.is_second).terms.set(Arc::clone(terms));
    }

    /// What memory is shared with the call that the other end was passed to.
    pub(crate) fn memory(&self) -> Option<&Arc<Shared>> {
        self.end(self.is_second).memory.get()
    }

    /// Says that this end is passed to a call that shares memory with this process.
    pub(crate) fn share(&self, memory: &Arc<Shared>) {
        let _ = self.end(!self.is_second).memory.set(Arc::clone(memory));
    }

    /// The other end's socket, as long as it is there.
    pub(crate) fn other(&self) -> &Weak<Connection> {
        &self.end(!self.is_second).socket
    }
}

/// What a confined call is held to on its channels: `[limits.channel]` of its policy.
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

/// Which line of a policy a channel has reached.
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
