//! Behaviour of the kernel's sockets that packets depend on.

use std::hint::spin_loop;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::sys::poll::{self, Deadline};

/// How many packets race the end, and for how long at most. Without the second look of `receive`, one of
/// some thousands is lost if there are two processors.
const RACES: u32 = 60_000;
const TIME: Duration = Duration::from_secs(15);

/// A packet is sent and the end follows at once, while the receiver asks again and again.
#[test]
fn a_packet_that_arrives_just_before_the_end_is_received() {
    let (slot, is_over) = (Mutex::<Option<OwnedFd>>::default(), AtomicBool::new(false));
    let send_each = || {
        while !is_over.load(Ordering::Relaxed) {
            let Some(end) = slot.lock().unwrap().take() else {
                std::thread::yield_now();
                continue;
            };
            // At another moment of the receiver's loop each time.
            (0..end.as_raw_fd() * 37 % 101).for_each(|_| spin_loop());
            send(end.as_fd(), &[IoSlice::new(b"answer")], &[], Wait::Never).unwrap();
        }
    };
    let mut lost = 0u32;
    std::thread::scope(|scope| {
        scope.spawn(send_each);
        let until = Instant::now() + TIME;
        for _ in 0..RACES {
            if Instant::now() > until {
                break;
            }
            let (ours, theirs) = pair().unwrap();
            *slot.lock().unwrap() = Some(theirs);
            let mut bytes = Vec::with_capacity(16);
            while let Err(error) = receive(ours.as_fd(), &mut bytes, 16, None, Wait::Never) {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            }
            lost += u32::from(bytes != b"answer");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(lost, 0);
}

#[test]
fn the_end_is_an_empty_packet() {
    for wait in [Wait::Never, Wait::Block] {
        let (ours, theirs) = pair().unwrap();
        let part = [IoSlice::new(b"last")];
        send(theirs.as_fd(), &part, &[], Wait::Never).unwrap();
        drop(theirs);
        // A process that another test starts has a copy for a moment.
        let until = Deadline::after(Duration::from_secs(30));
        while !poll::has_hung_up(ours.as_fd()).unwrap() {
            assert!(!until.has_passed(), "somebody has the other end");
            std::thread::yield_now();
        }
        let mut bytes = Vec::new();
        let counts = [0; 3].map(|_| {
            let packet = receive(ours.as_fd(), &mut bytes, 16, None, wait).unwrap();
            packet.bytes
        });
        assert_eq!((counts, bytes.as_slice()), ([4, 0, 0], b"last".as_slice()));
    }
}
