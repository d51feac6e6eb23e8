//! Peers that take time and memory: those that send slowly, too much or for ever, or do not read.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crossmist::{ChannelError, Error, Limits, ProtocolError, duplex, func};

use crate::cases;
use crate::peer::{After, HEAD, Head, LIMIT, Unharmed, add, linger, message, piece, say, say_over};
use crate::support::{Case, raw, within};

pub(crate) const CASES: &[Case] = cases![
    a_drip_does_not_outlast_a_deadline,
    a_flood_of_pieces_does_not_outlast_a_deadline,
    a_flood_of_pieces_does_not_outlast_a_wait,
    a_flood_of_pieces_does_not_outlast_the_child,
    memory_is_taken_for_what_arrives,
    what_is_announced_above_the_limit_is_refused_at_once,
    a_peer_that_does_not_read_does_not_hold_up_a_send,
    a_peer_that_leaves_is_an_error_and_no_signal,
    many_attackers_at_once_do_not_disturb_an_honest_call,
];

/// Announces a long message and sends it in pieces of one byte.
#[func]
fn drip(channel: Option<OwnedFd>, bytes: u32, pause: Duration) -> u64 {
    let socket = match &channel {
        Some(channel) => channel.as_raw_fd(),
        None => raw::launch_socket(),
    };
    let head = Head {
        value: bytes,
        name: 7,
        ..HEAD
    };
    if pause.is_zero() {
        // If it may, it puts far more into the socket than a socket usually takes.
        let bytes = 200i32 << 20;
        let _ = raw::set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes);
    }
    let mut result = raw::send(socket, &head.with(&[0]));
    let mut number = 0;
    while result.is_ok() {
        if pause.is_zero() {
            // Many in one system call, so as to be faster than who receives them one by one.
            let pieces = (number..number + 64).map(|number| piece(number, 7, &[0]));
            result = raw::send_many(socket, &pieces.collect::<Vec<_>>());
            number += 64;
        } else {
            result = raw::send(socket, &piece(number, 7, &[0]));
            number += 1;
            std::thread::sleep(pause);
        }
    }
    1
}

fn a_drip_does_not_outlast_a_deadline() {
    let unharmed = Unharmed::so_far();
    let call = drip.builder().deadline(Duration::from_millis(300));
    let result = within(Duration::from_millis(600), || {
        call.run(None, 100 << 20, Duration::from_millis(10))
    });
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    unharmed.check();
}

fn a_flood_of_pieces_does_not_outlast_a_deadline() {
    let unharmed = Unharmed::so_far();
    let call = drip.builder().deadline(Duration::from_millis(300));
    let result = within(Duration::from_millis(900), || {
        call.run(None, 200 << 20, Duration::ZERO)
    });
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    unharmed.check();
}

fn a_flood_of_pieces_does_not_outlast_a_wait() {
    let unharmed = Unharmed::so_far();
    let mut child = drip.spawn(None, 200 << 20, Duration::ZERO).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        within(Duration::from_millis(100), || child.try_join()).unwrap(),
        None
    );
    let result = within(Duration::from_millis(500), || {
        child.join_timeout(Duration::from_millis(100))
    });
    assert_eq!(result.unwrap(), None);
    assert_eq!(
        within(Duration::from_millis(300), || child.try_join()).unwrap(),
        None
    );
    child.kill().unwrap();
    let result = child.join();
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");

    let (_tx, rx) = duplex::<u64, u64>().unwrap();
    let mut rx = rx.into_receiver();
    let child = drip
        .spawn(Some(_tx.into()), 200 << 20, Duration::ZERO)
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let result = within(Duration::from_millis(100), || rx.try_recv());
    assert_eq!(result.unwrap(), None);
    let result = within(Duration::from_millis(500), || {
        rx.recv_timeout(Duration::from_millis(100))
    });
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    let result = within(Duration::from_millis(300), || rx.try_recv());
    assert_eq!(result.unwrap(), None);
    child.kill().unwrap();
    let result = child.join();
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");
    drop(rx);
    unharmed.check();
}

/// Leaves another process behind that floods in its place.
#[func]
fn leave_a_flood(seconds: u32) -> u64 {
    // SAFETY: this child has one thread.
    #[expect(unsafe_code, reason = "a fork")]
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => {
            nix::unistd::alarm::set(seconds);
            drip(None, 200 << 20, Duration::ZERO);
            raw::exit(0)
        }
        _ => {
            std::thread::sleep(Duration::from_millis(50));
            raw::exit(3)
        }
    }
}

fn a_flood_of_pieces_does_not_outlast_the_child() {
    let unharmed = Unharmed::so_far();
    let child = leave_a_flood.spawn(linger().unsigned_abs()).unwrap();
    // Meanwhile the socket fills, as far as its buffer goes.
    std::thread::sleep(Duration::from_millis(600));
    let result = within(Duration::from_millis(500), || child.join());
    assert!(
        matches!(result, Err(Error::Exited { status: 3, .. })),
        "{result:?}"
    );
    unharmed.check();
}

fn memory_is_taken_for_what_arrives() {
    let unharmed = Unharmed::so_far();
    // Announced: as much as the limit allows.
    let head = Head {
        value: LIMIT as u32,
        name: 7,
        ..HEAD
    };
    let runs = Head {
        value: 9,
        runs: 1,
        run_bytes: LIMIT as u32 - 9,
        name: 7,
        ..HEAD
    };
    let mut with_runs = runs.with(&[0; 9]);
    with_runs.extend((LIMIT as u32 - 9).to_le_bytes());
    for packet in [head.with(&[0; 9]), with_runs] {
        let packets = vec![packet, piece(0, 7, &[0; 1000])];
        let call = say.builder().deadline(Duration::from_millis(200));
        let result = call.run(packets, After::Stay);
        assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
        unharmed.0.assert_memory(4 << 20);
    }
    // Sent: many messages that nobody receives.
    let (ours, theirs) = duplex::<u64, Vec<u8>>().unwrap();
    let child = flood.spawn(theirs.into()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    unharmed.0.assert_memory(4 << 20);
    drop(ours);
    let error = child.join().unwrap();
    assert!([libc::EPIPE, libc::ECONNRESET].contains(&error), "{error}");
    unharmed.check();
}

/// Sends messages until it can't.
#[func]
fn flood(channel: OwnedFd) -> i32 {
    let packet = message(&[0; 100_000]);
    loop {
        if let Err(error) = raw::send(channel.as_raw_fd(), &packet) {
            return error.raw_os_error().unwrap();
        }
    }
}

fn what_is_announced_above_the_limit_is_refused_at_once() {
    let unharmed = Unharmed::so_far();
    let limits = Limits::new().message_bytes(1 << 20);
    let call = drip.builder().limits(limits);
    let result = within(Duration::from_secs(1), || {
        call.run(None, 200 << 20, Duration::ZERO)
    });
    let Err(Error::Malformed(error)) = result else {
        panic!("{result:?}");
    };
    let expected = ProtocolError::TooLong {
        bytes: 200 << 20,
        limit: 1 << 20,
    };
    assert_eq!(error, expected);
    unharmed.check();
}

#[func]
fn hold(_channel: OwnedFd) {
    After::Stay.act()
}

fn a_peer_that_does_not_read_does_not_hold_up_a_send() {
    let unharmed = Unharmed::so_far();
    let (ours, theirs) = duplex::<Vec<u8>, ()>().unwrap();
    let mut ours = ours.into_sender();
    let child = hold
        .builder()
        .kill_on_drop(true)
        .spawn(theirs.into())
        .unwrap();
    let time = Duration::from_millis(100);
    // A message that can't be sent half: the channel works after it.
    let result = loop {
        let result = within(time * 4, || ours.send_timeout(&vec![1; 10_000], time));
        if result.is_err() {
            break result;
        }
    };
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    assert!(!ours.try_send(&vec![1; 10_000]).unwrap());
    let result = within(time * 4, || ours.send_timeout(&vec![1; 10_000_000], time));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    drop(ours);
    drop(child);

    let (ours, theirs) = duplex::<Vec<u8>, ()>().unwrap();
    let mut ours = ours.into_sender();
    let child = hold
        .builder()
        .kill_on_drop(true)
        .spawn(theirs.into())
        .unwrap();
    let result = within(time * 4, || ours.send_timeout(&vec![1; 10_000_000], time));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    // Part of it has gone.
    let result = ours.send(&vec![]);
    assert!(matches!(result, Err(ChannelError::HalfSent)), "{result:?}");
    drop(ours);
    drop(child);
    unharmed.check();
}

fn a_peer_that_leaves_is_an_error_and_no_signal() {
    let unharmed = Unharmed::so_far();
    let (ours, theirs) = duplex::<Vec<u8>, ()>().unwrap();
    let mut ours = ours.into_sender();
    let child = say_over.spawn(theirs.into(), vec![]).unwrap();
    child.join().unwrap();
    for length in [1, 10_000_000] {
        let result = ours.send(&vec![1; length]);
        assert!(matches!(result, Err(ChannelError::Closed)), "{result:?}");
    }
    drop(ours);
    unharmed.check();
}

fn many_attackers_at_once_do_not_disturb_an_honest_call() {
    let unharmed = Unharmed::so_far();
    let attackers: Vec<_> = (0..10)
        .map(|_| {
            let call = drip.builder().kill_on_drop(true);
            call.spawn(None, 200 << 20, Duration::from_millis(1))
                .unwrap()
        })
        .collect();
    for number in 0..20 {
        let result = within(Duration::from_secs(5), || add.run(number, 1));
        assert_eq!(result.unwrap(), number + 1);
    }
    drop(attackers);
    unharmed.check();
}
