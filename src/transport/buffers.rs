//! Buffers that a thread uses for one message after the other.

use std::cell::Cell;

thread_local! {
    /// The reusable buffers of this thread, for receiving and for sending.
    pub(super) static RECEIVED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    pub(super) static SENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A longer buffer than this is not kept for the next message.
const KEPT_BYTES: usize = 1 << 20;

pub(super) fn keep(slot: &'static std::thread::LocalKey<Cell<Vec<u8>>>, mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_BYTES {
        buffer.clear();
        // If the thread is ending, the buffer is not needed any more.
        let _ = slot.try_with(|slot| slot.set(buffer));
    }
}

pub(super) fn kept(slot: &'static std::thread::LocalKey<Cell<Vec<u8>>>) -> Vec<u8> {
    slot.try_with(Cell::take).unwrap_or_default()
}
