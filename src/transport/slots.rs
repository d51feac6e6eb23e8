//! `Slots`: memory that a program shares with one child, through which large messages take one copy less.
//!
//! The program creates the memory, and the child maps it before it confines itself. It has a few slots for each
//! direction. A sender copies a piece of a message into a free slot, and sends a packet that says in which; the
//! receiver copies it out and frees the slot. Both copy at the same time. The packets are in the order of the
//! message, whether their bytes are in slots or follow them.
//!
//! A sender uses slots only for a message whose name the receiver has written beside them, and a receiver only
//! those that the sender has marked with that name. Names are secret: who holds neither the memory nor the other end
//! of the channel knows none. So it doesn't matter where the ends of a channel have gone.
//!
//! If no slot is free, the piece goes through the socket, where the sender has to wait for room, and is woken up.
//! So nobody waits for the other one's word.
//!
//! # Security
//!
//! Whatever a peer writes here decides only about its own messages: which of its slots the sender uses, and what
//! is in them. The receiver copies each piece once, into memory of its own, and looks only at that.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::names;
use crate::sys::poll::Deadline;
use crate::sys::shared::{self, Shared};
use crate::sys::socket::{self, Wait};
use crate::wire::{OFFER, PIECE_BYTES};

/// How many slots there are for each direction.
const COUNT: usize = 4;

/// The length of a slot. The receiver expects a piece to be as long as a slot, or all that is missing.
pub(super) const SLOT_BYTES: usize = PIECE_BYTES;

/// The words of a slot.
const SLOT_WORDS: usize = SLOT_BYTES / size_of::<u64>();

/// The distance between two words that different processors write.
const APART: usize = 16;

/// The words in front of the slots of one direction: the name of the message that is being received, whether
/// there is a sender, and for each slot whether it is full.
const CONTROL_WORDS: usize = (2 + COUNT) * APART;

/// All control words, rounded up to a page.
const HEAD_WORDS: usize = 4096 / size_of::<u64>();

/// The length of the memory.
const BYTES: usize = HEAD_WORDS * size_of::<u64>() + 2 * COUNT * SLOT_BYTES;

const _: () = assert!(2 * CONTROL_WORDS <= HEAD_WORDS);

/// Shorter pieces are sent through the socket.
pub(super) const LEAST_BYTES: usize = 32 << 10;

/// How long a sender waits for a free slot before it takes the socket: about as long as the receiver needs to
/// copy one, if it runs on another processor.
const PATIENCE: Duration = Duration::from_micros(30);

/// How often it waits in vain in one message. The receiver may be on the same processor.
const TRIES: u32 = 2;

/// Memory that this process shares with its child, or with the program that started it.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    memory: Arc<Shared>,
    is_program: bool,
}

/// The slots of one direction.
#[derive(Clone, Copy, Debug)]
struct Lane<'m> {
    control: &'m [AtomicU64],
    slots: &'m [AtomicU64],
}

impl Lane<'_> {
    fn control(&self, index: usize) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.control.get(index * APART).unwrap_or(&NONE)
    }

    /// The name of the message that is being received, or 0.
    fn receives(&self) -> &AtomicU64 {
        self.control(0)
    }

    /// 1 if somebody is sending.
    fn is_sent_to(&self) -> &AtomicU64 {
        self.control(1)
    }

    /// The name of the message of which the slot holds a piece that has not been copied out, or 0.
    fn is_full(&self, slot: usize) -> &AtomicU64 {
        self.control(2 + slot)
    }

    fn slot(&self, slot: usize) -> &[AtomicU64] {
        let slots = self.slots.as_chunks::<SLOT_WORDS>().0;
        slots.get(slot).map_or(&[], |slot| slot.as_slice())
    }
}

impl Slots {
    /// Creates memory for a child that is about to start, and gives it over the child's launch socket.
    pub(crate) fn offer(socket: BorrowedFd<'_>) -> io::Result<Self> {
        names::make_secret()?;
        let (memory, fd) = Shared::create(BYTES)?;
        socket::send(socket, &[IoSlice::new(&OFFER)], &[fd.as_fd()], Wait::Never)?;
        Ok(Self::of_program(Arc::new(memory)))
    }

    /// Those of the program whose child has this memory.
    pub(crate) fn of_program(memory: Arc<Shared>) -> Self {
        Self {
            memory,
            is_program: true,
        }
    }

    /// Takes what the program gives.
    pub(super) fn accept(fd: BorrowedFd<'_>) -> io::Result<Self> {
        names::make_secret()?;
        Ok(Self {
            memory: Arc::new(Shared::open(fd, BYTES)?),
            is_program: false,
        })
    }

    /// Both ends, in one process.
    #[cfg(any(test, feature = "__fuzzing"))]
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (memory, fd) = Shared::create(BYTES)?;
        let theirs = Self::accept(fd.as_fd())?;
        Ok((Self::of_program(Arc::new(memory)), theirs))
    }

    /// Returns the memory, for the ends of channels that the child is passed.
    pub(crate) fn memory(&self) -> &Arc<Shared> {
        &self.memory
    }

    fn lane(&self, is_downward: bool) -> Lane<'_> {
        let (head, slots) = self.memory.words().split_at(HEAD_WORDS);
        let (down, up) = head.split_at(HEAD_WORDS / 2);
        let (slots_down, slots_up) = slots.split_at(slots.len() / 2);
        match is_downward {
            true => Lane {
                control: down,
                slots: slots_down,
            },
            false => Lane {
                control: up,
                slots: slots_up,
            },
        }
    }

    /// Begins to send a message through slots, if its receiver looks for it there.
    pub(super) fn begin_to_send(&self, name: u64) -> Option<Sending> {
        let lane = self.lane(self.is_program);
        if lane.receives().load(Ordering::Acquire) != name || !take(lane.is_sent_to(), 1) {
            return None;
        }
        // Nothing of this message is in a slot yet, and its receiver takes nothing else.
        (0..COUNT).for_each(|slot| lane.is_full(slot).store(0, Ordering::Relaxed));
        Some(Sending {
            slots: self.clone(),
            name,
            tries: TRIES,
        })
    }

    /// Looks for the pieces of a message in slots from now on, unless another message is being received there.
    pub(super) fn begin_to_receive(&self, name: u64) -> Option<Receiving> {
        let lane = self.lane(!self.is_program);
        take(lane.receives(), name).then(|| Receiving {
            slots: self.clone(),
            name,
        })
    }
}

/// Sets a word that is 0. Between threads and honest copies of this process, only one succeeds.
fn take(word: &AtomicU64, value: u64) -> bool {
    word.compare_exchange(0, value, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

/// The right to fill slots.
#[derive(Debug)]
pub(super) struct Sending {
    slots: Slots,
    /// The message's.
    name: u64,
    /// How often it may still wait in vain.
    tries: u32,
}

impl Sending {
    fn lane(&self) -> Lane<'_> {
        self.slots.lane(self.slots.is_program)
    }

    /// Copies bytes into a free slot and returns its number. Returns `None` if there is none.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> Option<u8> {
        let slot = self.free()?;
        let lane = self.lane();
        shared::write(lane.slot(slot), bytes);
        // Before the packet is sent: the receiver may be faster than this returns from that.
        lane.is_full(slot).store(self.name, Ordering::Release);
        u8::try_from(slot).ok()
    }

    /// Takes back a slot of which the receiver was not told.
    pub(super) fn take_back(&self, slot: u8) {
        self.lane().is_full(slot.into()).store(0, Ordering::Relaxed);
    }

    fn free(&mut self) -> Option<usize> {
        let lane = self.lane();
        // The first one, whose pages exist and are in the processor's cache, if any are.
        let find = || (0..COUNT).find(|slot| lane.is_full(*slot).load(Ordering::Acquire) == 0);
        if let Some(slot) = find() {
            return Some(slot);
        }
        let until = Deadline::after(PATIENCE);
        while self.tries > 0 && !until.has_passed() {
            std::hint::spin_loop();
            if let Some(slot) = find() {
                return Some(slot);
            }
        }
        self.tries = self.tries.saturating_sub(1);
        None
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.lane().is_sent_to().store(0, Ordering::Release);
    }
}

/// The right to empty slots, of one message.
#[derive(Debug)]
pub(super) struct Receiving {
    slots: Slots,
    /// The message's.
    name: u64,
}

impl Receiving {
    fn lane(&self) -> Lane<'_> {
        self.slots.lane(!self.slots.is_program)
    }

    /// Appends a copy of what is in a slot, and frees it. Returns whether it holds a piece of the message.
    pub(super) fn empty(&self, slot: u8, length: usize, target: &mut Vec<u8>) -> bool {
        let (lane, slot) = (self.lane(), usize::from(slot));
        if slot >= COUNT || length > SLOT_BYTES {
            return false;
        }
        // A process without this memory may send a packet that names the slot, and must not receive what
        // another process has put there. The load also makes what the sender wrote before visible.
        if lane.is_full(slot).load(Ordering::Acquire) != self.name {
            return false;
        }
        shared::read(lane.slot(slot), length, target);
        lane.is_full(slot).store(0, Ordering::Release);
        true
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.lane().receives().store(0, Ordering::Release);
    }
}

/// The slots that the program that started this process has given it.
static OF_PROGRAM: OnceLock<Slots> = OnceLock::new();

/// Returns the slots that the program has given this process, if it has.
pub(crate) fn given() -> Option<&'static Slots> {
    OF_PROGRAM.get()
}

/// Returns how much of this process's memory that is.
pub(crate) fn given_bytes() -> u64 {
    given().map_or(0, |_| u64::try_from(BYTES).unwrap_or(u64::MAX))
}

/// Takes what the program gives. If it can't be mapped, everything goes through the socket.
pub(super) fn take_offer(fd: BorrowedFd<'_>) -> Option<Slots> {
    let slots = Slots::accept(fd).ok()?;
    Some(OF_PROGRAM.get_or_init(|| slots).clone())
}

#[cfg(test)]
mod tests;
