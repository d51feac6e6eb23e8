//! Bounds the processor time that receiving from a peer, or sending to it, may cost.
//!
//! A receive wakes up the processes that wait for room, and a send those that wait for a packet. A peer can make tens of thousands of them
//! wait, so that each packet costs milliseconds instead of microseconds. No honest peer does that.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::sys::clock;
use crate::sys::socket::{self, Wait};

/// The time that one receive may take: many times the usual cost, even for a packet of 200 KiB.
const RECEIVE_TIME: Duration = Duration::from_millis(1);

/// A machine is slow if it takes this long to receive a packet of 200 KiB that nobody makes costly: one that is
/// emulated, for example. Another took 75 µs at a load of eleven, and 125 in the worst of 1,500 measurements.
const SLOW_PACKET: Duration = Duration::from_micros(200);

/// How many times as much a receive may cost there.
const TIMES: u32 = 16;

/// The length of the packets by which that is measured: about that of the longest that are received.
const PACKET_BYTES: usize = 200 << 10;

/// How many packets that takes. The least counts: whatever else happens can only make them dearer, and a peer
/// must not gain from that.
const PACKETS: usize = 5;

/// Whether this process bounds what its peers cost it. A program does. A child does so once it has started a child
/// of its own: until then, it has no other peers than those that its program gave it, and on a virtual machine whose
/// host is busy it would take the host's time for theirs.
static BOUNDS: AtomicBool = AtomicBool::new(true);

/// Whether that may still change.
static MAY_CHANGE: AtomicBool = AtomicBool::new(true);

/// Lets receives and sends cost this process anything until it starts a child.
pub(crate) fn trust_peers_until_a_child_starts() {
    BOUNDS.store(false, Ordering::Relaxed);
}

/// Lets receives and sends cost this process anything, and has it measure nothing any more, which takes calls that a
/// policy may deny. For a child that confines itself: its policy bounds its time.
pub(crate) fn trust_peers() {
    BOUNDS.store(false, Ordering::Relaxed);
    MAY_CHANGE.store(false, Ordering::Relaxed);
}

/// Measures how fast the machine is, unless that is known. Before the first child is started, as a hostile one
/// could choose a moment at which the machine is slow. From then on, this process bounds what its peers cost it.
pub(crate) fn measure_ahead() {
    if MAY_CHANGE.load(Ordering::Relaxed) {
        BOUNDS.store(true, Ordering::Relaxed);
        allowance();
    }
}

/// Returns what one receive may cost this process on this machine, or `None` if that is not bounded.
fn allowance() -> Option<Duration> {
    static MEASURED: OnceLock<Duration> = OnceLock::new();
    BOUNDS
        .load(Ordering::Relaxed)
        .then(|| *MEASURED.get_or_init(|| allow(measure().unwrap_or_default())))
}

/// Returns what one receive may cost if these are the costs of ordinary ones.
fn allow(ordinary: [Duration; PACKETS]) -> Duration {
    match ordinary.into_iter().min() {
        Some(least) if least >= SLOW_PACKET => least.saturating_mul(TIMES),
        _ => RECEIVE_TIME,
    }
}

/// Receives packets that this thread sends to itself, and returns what each costs.
fn measure() -> io::Result<[Duration; PACKETS]> {
    let (ours, theirs) = socket::pair()?;
    let (packet, mut received) = (vec![0; PACKET_BYTES], Vec::new());
    let mut costs = [Duration::ZERO; PACKETS];
    for cost in &mut costs {
        socket::send(theirs.as_fd(), &[IoSlice::new(&packet)], &[], Wait::Never)?;
        received.clear();
        let before = clock::thread_time();
        socket::receive(ours.as_fd(), &mut received, PACKET_BYTES, None, Wait::Never)?;
        *cost = clock::thread_time().saturating_sub(before);
    }
    Ok(costs)
}

/// How many receives are measured after one that took long. Some of them find nothing, and cost nothing.
const MEASURED: u32 = 64;

/// By how much all receives from one peer together may exceed that. A slow machine has as many times as much
/// time for it as for one receive: whatever a peer makes it do takes longer there, and so does what has nothing
/// to do with the peer.
pub(crate) const EXCESS_TIME: Duration = Duration::from_millis(100);

/// How much one receive adds to that at most. A virtual machine that is halted for a second, to be moved
/// say, counts the second as processor time, and no peer has anything to do with it.
const ADDED_TIME: Duration = Duration::from_millis(25);

/// The rate at which the excess is forgotten, as a fraction of the time that passes. So a machine
/// that is slow for a moment does no harm to a peer that lives for days.
const FORGOTTEN_PART: u32 = 100;

/// Returns how many times as much time a receive may take as on an ordinary machine, if it may take
/// `allowance`.
fn slowness(allowance: Duration) -> u32 {
    let times = allowance.as_micros() / RECEIVE_TIME.as_micros();
    u32::try_from(times).unwrap_or(u32::MAX).max(1)
}

/// How much more than usual the receives from one peer have cost.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// In the time of an ordinary machine.
    excess: Duration,
    /// How many of the next receives are measured, since one took long. It may have been waiting.
    to_be_measured: u32,
    /// When `excess` was last updated.
    at: Option<Instant>,
    is_unbounded: bool,
}

impl Cost {
    /// Lets receives cost anything.
    pub(crate) fn unbounded() -> Self {
        Self {
            is_unbounded: true,
            ..Self::default()
        }
    }

    /// Receives, and counts what that costs this thread if one of the receives before it took long.
    ///
    /// The kernel is not asked for the time unless it matters. To wait for something to receive costs nothing.
    pub(crate) fn watch<R>(&mut self, receive: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        if self.is_unbounded {
            return receive();
        }
        let begun = Instant::now();
        let result = match self.to_be_measured {
            0 => receive(),
            _ => self.of(receive),
        };
        self.to_be_measured = match begun.elapsed() > RECEIVE_TIME {
            true => MEASURED,
            false => self.to_be_measured.saturating_sub(1),
        };
        result
    }

    /// Receives, and counts what that costs this thread.
    pub(crate) fn of<R>(&mut self, receive: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let before = clock::thread_time();
        let result = receive();
        let cost = clock::thread_time().saturating_sub(before);
        let is_cheap = cost <= RECEIVE_TIME;
        if is_cheap && (result.is_err() || self.excess.is_zero()) {
            return result;
        }
        let allowance = allowance();
        // A peer doesn't make up for a costly packet with one that it doesn't send.
        if result.is_err() && allowance.is_some_and(|allowance| cost <= allowance) {
            return result;
        }
        // Only on a slow machine do ordinary packets cost so different times that one has to make up for
        // another.
        if !is_cheap || allowance.is_some_and(|allowance| allowance > RECEIVE_TIME) {
            self.add(cost, allowance);
        }
        result
    }

    /// Counts a receive. One that costs less than it may makes up for one that cost more, such as when this
    /// process was interrupted by the host of its virtual machine, which nobody tells it.
    fn add(&mut self, cost: Duration, allowance: Option<Duration>) {
        let Some(allowance) = allowance else { return };
        let slowness = slowness(allowance);
        let now = Instant::now();
        let passed = self.at.replace(now).map(|at| now.duration_since(at));
        let forgotten = passed.unwrap_or_default() / FORGOTTEN_PART / slowness;
        let before = self.excess.saturating_sub(forgotten);
        let added = cost.min(allowance.saturating_add(ADDED_TIME)) / slowness;
        self.excess = before
            .saturating_add(added)
            .saturating_sub(allowance / slowness);
    }

    /// Returns whether the peer must be ended.
    pub(crate) fn is_too_high(&self) -> bool {
        self.excess > EXCESS_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a machine on which the least is allowed.
    const LEAST: Option<Duration> = Some(RECEIVE_TIME);

    #[test]
    fn ordinary_receives_never_add_up() {
        let mut cost = Cost::default();
        for _ in 0..1_000_000 {
            cost.add(RECEIVE_TIME, LEAST);
        }
        assert!(!cost.is_too_high());
        assert_eq!(cost.of(|| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_slow_machine_is_not_taken_for_a_costly_peer() {
        let micros = Duration::from_micros;
        // A fast one allows what it always does, and so does one that can't be measured.
        assert_eq!(allow([micros(20); PACKETS]), RECEIVE_TIME);
        assert_eq!(allow([Duration::ZERO; PACKETS]), RECEIVE_TIME);
        // So does one that was busy with other things for most of it.
        let mut busy = [micros(900); PACKETS];
        busy[3] = micros(190);
        assert_eq!(allow(busy), RECEIVE_TIME);
        // An emulated one, which was interrupted once meanwhile.
        let slow = allow([
            micros(710),
            micros(740),
            micros(700),
            micros(27_000),
            micros(720),
        ]);
        assert_eq!(slow, micros(700) * TIMES);
        // Measured there: the median was 4 ms, and one of ten was above 7.
        let mut cost = Cost::default();
        for _ in 0..10_000 {
            for millis in [3, 4, 5, 4, 3, 7, 4, 27, 4, 6] {
                cost.add(micros(millis * 1000), Some(slow));
            }
            assert!(!cost.is_too_high());
        }
        // Measured on one whose host was too busy for it: each step of its time may be the host's.
        let mut cost = Cost::default();
        for _ in 0..10_000 {
            for millis in [38, 28, 16, 28, 24, 2, 5, 2, 9, 67, 27, 38] {
                cost.add(micros(millis * 1000), Some(slow));
            }
            assert!(!cost.is_too_high());
            for millis in [1, 2, 1, 3, 1, 4, 2, 1, 8, 1, 2, 6, 1, 1, 2, 5] {
                cost.add(micros(millis * 1000), Some(slow));
            }
        }
        // The control.
        for _ in 0..100 {
            cost.add(micros(27_000), Some(slow));
        }
        assert!(cost.is_too_high());
    }

    #[test]
    fn what_a_receive_costs_this_machine_is_measured() {
        let measured = measure().unwrap();
        println!("{measured:?}");
        assert!(measured.iter().all(|cost| !cost.is_zero()), "{measured:?}");
    }

    #[test]
    fn expensive_receives_do_add_up() {
        let mut cost = Cost::default();
        let mut count = 0;
        while !cost.is_too_high() {
            cost.add(RECEIVE_TIME * 4, LEAST);
            count += 1;
        }
        assert!((20..60).contains(&count), "{count}");
        // The processor time of this thread counts, not the time that passes.
        let mut patient = Cost::default();
        let slept = patient.of(|| {
            std::thread::sleep(EXCESS_TIME * 2);
            Ok(())
        });
        assert!(slept.is_ok() && !patient.is_too_high());
        let mut busy = Cost::default();
        for _ in 0..10 * slowness(allowance().unwrap()) {
            let until = clock::thread_time() + allowance().unwrap() + ADDED_TIME;
            let worked = busy.of(|| {
                while clock::thread_time() < until {}
                Ok(())
            });
            worked.unwrap();
        }
        assert!(busy.is_too_high());
    }

    #[test]
    fn what_a_trusted_peer_costs_does_not_matter() {
        let work = || {
            let until = clock::thread_time() + allowance().unwrap() + ADDED_TIME;
            while clock::thread_time() < until {}
            Ok(())
        };
        let mut bounded = Cost::default();
        let mut unbounded = Cost::unbounded();
        for _ in 0..10 * slowness(allowance().unwrap()) {
            bounded.watch(work).unwrap();
            unbounded.watch(work).unwrap();
        }
        assert!(bounded.is_too_high());
        assert!(!unbounded.is_too_high());
    }

    #[test]
    fn a_receive_that_found_nothing_makes_up_for_none() {
        let mut cost = Cost::default();
        cost.add(RECEIVE_TIME * 20, LEAST);
        let before = cost.excess;
        for _ in 0..1000 {
            let nothing: io::Result<()> = cost.of(|| Err(io::ErrorKind::WouldBlock.into()));
            nothing.unwrap_err();
        }
        // The time that a machine's host takes may be added.
        assert!(cost.excess >= before);
        let before = cost.excess;
        // The control: one that counts as received does, if machines are slow.
        cost.add(Duration::ZERO, LEAST);
        assert!(cost.excess < before);
    }

    #[test]
    fn one_long_receive_is_forgiven() {
        let mut halted = Cost::default();
        for _ in 0..4 {
            halted.add(EXCESS_TIME * 100, LEAST);
        }
        assert!(!halted.is_too_high());
        halted.add(EXCESS_TIME * 100, LEAST);
        assert!(halted.is_too_high());
    }
}
