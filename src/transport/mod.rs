//! Sends and receives messages over a socket: one packet each, or more if one is not enough.
//!
//! [`Outbox`] and [`Inbox`] hold a message in progress, so that a caller can wait between two
//! packets as it likes: in `poll(2)`, or in a runtime.

mod buffers;
mod busy_poll;
mod cost;
mod inbox;
mod names;
mod outbox;
mod slots;
mod step;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

pub(crate) use self::cost::{
    Cost, EXCESS_TIME, measure_ahead, trust_peers, trust_peers_until_a_child_starts,
};
pub(crate) use self::inbox::{Arrival, Fault, Inbox};
pub(crate) use self::outbox::{CROWD_INTERVAL, Outbox, Sent, is_crowded, is_too_costly};
pub(crate) use self::slots::{Slots, given as given_slots, given_bytes as given_slot_bytes};
pub(crate) use self::step::{Interest, Step, WaitFor};
use crate::object::{Limits, Trust};
use crate::sys::poll::Deadline;
use crate::sys::socket;
use crate::wire::Message;

/// The length of the longest first packet. A socket with default buffers takes one of 212,960
/// bytes.
const PACKET_BYTES: usize = 200 << 10;

/// How long packets are sent or received without a pause. The peer decides what one packet costs,
/// such as by how many processes wait for the socket. So the clock is checked after each packet.
const SLICE: Duration = Duration::from_millis(20);

/// Sends a message to itself, so that this process, or copies of it, already have what the first message
/// creates: buffers, the thread's list of destructors, bound symbols, and pages of the program that are mapped.
pub(crate) fn rehearse() -> io::Result<()> {
    let (ours, theirs) = socket::pair()?;
    let limits = Limits::default();
    if let Ok(mut outbox) = Outbox::encode(&(), limits, Trust::Data) {
        outbox.send(ours.as_fd(), Deadline::NEVER)?;
        let theirs = theirs.as_fd();
        let read = |message: Message<'_>| message.decode::<()>(limits, Trust::Data);
        let _ = Inbox::default().receive(theirs, &limits, Trust::Data, Deadline::NEVER, read);
    }
    Ok(())
}
