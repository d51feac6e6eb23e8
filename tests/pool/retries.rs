//! Calls that are given to another child, because the first one has not read them.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crossmist::{
    DecodeError, Decoder, Encoder, Error, Object, Pool, Receiver, Reuse, Shape, channel, func,
};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::cases;
use crate::support::{Case, in_time, patience, raw};

/// Takes over its child when it is dropped there, if it says for how many milliseconds the child is to sit on its next
/// call.
#[derive(Debug)]
struct TakesOver(Option<u64>);

impl Object for TakesOver {
    fn encode<'a>(&'a self, _: &mut Encoder<'a>) {}

    fn decode(_: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self(None))
    }

    fn describe(_: &mut Shape) {}
}

impl Drop for TakesOver {
    fn drop(&mut self) {
        let Some(time) = self.0 else {
            return;
        };
        let socket = raw::copy_of(raw::launch_socket());
        let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        nix::poll::poll(&mut sockets, PollTimeout::NONE).unwrap();
        std::thread::sleep(Duration::from_millis(time));
        raw::exit(3);
    }
}

#[func(sandbox = dynamic)]
fn works(takes_over: Option<u64>, hangs: bool) -> (u32, TakesOver) {
    if hangs {
        loop {
            std::thread::park();
        }
    }
    (std::process::id(), TakesOver(takes_over))
}

fn children_that_leave_a_call_unread_do_not_prolong_its_deadline() {
    let time = patience(Duration::from_secs(8));
    // The policy gives it more.
    let policy = in_time("parser", 2 * Duration::from_secs(8), "");
    let pool = Pool::of(works).sandbox(&policy);
    let pool = pool.workers(1).spares(1).deadline(time);
    let pool = pool.reuse(Reuse::Always).build().unwrap();
    let millis = u64::try_from(time.as_millis()).unwrap();
    // The next child has to be started in what is left.
    let (part_of_it, most_of_it) = (millis / 4, millis / 4 * 3);

    // The control: the next child gets the call, and its answer counts.
    let (first, _) = pool.run(Some(part_of_it), false).unwrap();
    let (second, _) = pool.run(Some(most_of_it), false).unwrap();
    assert_ne!(first, second);
    // That one has been taken over as well.
    let begun = Instant::now();
    let result = pool.run(None, true);
    let took = begun.elapsed();
    assert!(
        matches!(result, Err(Error::Deadline { after, .. }) if after == time),
        "{result:?}"
    );
    assert!(took >= time, "{took:?}");
    // Each attempt with a time of its own would take 7/4 of it.
    assert!(took < time / 2 * 3, "{took:?}");
}

/// Its child may send descriptors, but no ends of channels, so these end with it.
#[func(sandbox = "worker")]
fn sums(takes_over: Option<u64>, numbers: Option<Receiver<u32>>) -> (u32, Option<File>, TakesOver) {
    let sum = numbers.map_or(0, |mut numbers| {
        (&mut numbers)
            .into_iter()
            .map(|number| number.unwrap())
            .sum()
    });
    (sum, None, TakesOver(takes_over))
}

/// Another child would find the channels closed, since they end with the child that was given the call, and could take
/// that for the end of its input.
fn a_call_that_passes_channels_is_given_to_one_child() {
    let time = patience(Duration::from_secs(30));
    let pool = Pool::of(sums).workers(1).spares(1).deadline(time);
    let pool = pool.reuse(Reuse::Always).build().unwrap();
    // The control.
    let (mut tx, rx) = channel().unwrap();
    tx.send(&1).unwrap();
    tx.send(&2).unwrap();
    drop(tx);
    assert_eq!(pool.run(None, Some(rx)).unwrap().0, 3);

    pool.run(Some(0), None).unwrap();
    let (mut tx, rx) = channel().unwrap();
    tx.send(&1).unwrap();
    let result = pool.run(None, Some(rx));
    assert!(
        matches!(result, Err(Error::Exited { status: 3, .. })),
        "{result:?}"
    );
}

pub(crate) const CASES: &[Case] = cases![
    children_that_leave_a_call_unread_do_not_prolong_its_deadline,
    a_call_that_passes_channels_is_given_to_one_child,
];
