//! Sockets that a child passes: those that linger, that have other options, its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crossmist::{ChannelError, Duplex, Error, Receiver, Sender, channel, duplex, func};

use crate::cases;
use crate::peer::{HEAD, Head, Unharmed, answer, linger, message, say_with, wait_until_dead};
use crate::support::{self, Case, raw, within};

pub(crate) const CASES: &[Case] = cases![
    a_lingering_socket_holds_nothing_up,
    a_lingering_socket_that_is_not_received_holds_nothing_up,
    options_set_on_a_passed_end_leak_nothing,
    a_child_that_hands_out_its_own_socket_still_ends,
    a_channel_end_of_the_child_comes_back,
];

fn a_lingering_socket_holds_nothing_up() {
    raw::play_a_kernel_that_passes_descriptors();
    let unharmed = Unharmed::so_far();
    // A control: closing it takes its time.
    let (socket, peer) = raw::lingering_socket(3);
    let begun = Instant::now();
    drop(socket);
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "it doesn't linger"
    );
    drop(peer);

    let head = |descriptors| Head {
        descriptors,
        value: 9,
        ..HEAD
    };
    for packet in [
        (head(0).with(&[0; 9]), 253),
        (head(253).with(&[0; 9]), 253),
        (vec![], 1),
        (vec![1], 1),
    ] {
        let (socket, peer) = raw::lingering_socket(linger());
        let child = say_with.spawn(vec![packet], socket, None).unwrap();
        wait_until_dead(child.id().unwrap());
        let result = within(Duration::from_secs(1), || child.join());
        assert!(
            matches!(result, Err(Error::Malformed(_) | Error::Decode(_))),
            "{result:?}"
        );
        drop(peer);
    }
    unharmed.check();
}

fn a_lingering_socket_that_is_not_received_holds_nothing_up() {
    raw::play_a_kernel_that_passes_descriptors();
    let unharmed = Unharmed::so_far();
    // Behind what ends the call.
    let (socket, peer) = raw::lingering_socket(linger());
    let packets = vec![(vec![1], 0), (answer(5), 1)];
    let child = say_with.spawn(packets, socket, None).unwrap();
    wait_until_dead(child.id().unwrap());
    let result = within(Duration::from_secs(1), || child.join());
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    drop(peer);

    // In a call that nobody waits for.
    let (socket, peer) = raw::lingering_socket(linger());
    let child = say_with.spawn(vec![(answer(5), 1)], socket, None).unwrap();
    wait_until_dead(child.id().unwrap());
    within(Duration::from_secs(1), || drop(child));
    drop(peer);

    // In a channel that is given up, either end, and by either kind of drop.
    for receives in [true, false] {
        let (socket, peer) = raw::lingering_socket(linger());
        let (ours, theirs) = duplex::<u64, u64>().unwrap();
        let packets = vec![(answer(5), 0), (vec![], 0), (answer(5), 1), (vec![1], 0)];
        let child = say_with
            .spawn(packets, socket, Some(theirs.into()))
            .unwrap();
        let result = child.join();
        assert!(matches!(result, Err(Error::Exited { .. })), "{result:?}");
        within(Duration::from_secs(1), || {
            if receives {
                drop(ours.into_receiver());
            } else {
                drop(ours.into_sender());
            }
        });
        drop(peer);
    }
    unharmed.check();
}

/// Gives an end away, keeps it, and sets options that put more into each message.
#[func]
fn give_an_end_and_spoil_it(mut give: Sender<Receiver<u64>>, mut go: Receiver<()>) {
    let (mut tx, rx) = channel::<u64>().unwrap();
    give.send(&rx).unwrap();
    go.recv().unwrap();
    const SO_PASSPIDFD: i32 = 76;
    for option in [libc::SO_PASSCRED, libc::SO_PASSSEC, SO_PASSPIDFD] {
        let _ = raw::set_option(rx.as_fd().as_raw_fd(), libc::SOL_SOCKET, option, &1i32);
    }
    for number in 0..100 {
        tx.send(&number).unwrap();
    }
}

fn options_set_on_a_passed_end_leak_nothing() {
    let unharmed = Unharmed::so_far();
    let (give, mut given) = channel().unwrap();
    let (mut go, gone) = channel().unwrap();
    let child = give_an_end_and_spoil_it.spawn(give, gone).unwrap();
    let mut rx = given.recv().unwrap().unwrap();
    go.send(&()).unwrap();
    let before = support::descriptors().len();
    for number in 0..100 {
        assert_eq!(rx.recv().unwrap(), Some(number));
    }
    assert_eq!(support::descriptors().len(), before);
    child.join().unwrap();
    drop((rx, given, go));
    unharmed.check();
}

#[func]
fn give_own_socket() -> OwnedFd {
    let socket = std::mem::ManuallyDrop::new(raw::adopt(raw::launch_socket()));
    socket.try_clone().unwrap()
}

/// Sends its own end of the socket through that socket, and leaves.
#[func]
fn send_own_socket(times: u32) -> u64 {
    let socket = raw::launch_socket();
    for _ in 0..times {
        let _ = raw::send_with(socket, &[1], &[socket], 0);
    }
    raw::exit(3)
}

#[func]
fn send_end_into_itself(channel: OwnedFd) {
    let socket = channel.as_raw_fd();
    raw::send_with(socket, &message(&[0; 8]), &[socket], 0).unwrap();
}

fn a_child_that_hands_out_its_own_socket_still_ends() {
    raw::play_a_kernel_that_passes_descriptors();
    let unharmed = Unharmed::so_far();
    drop(within(Duration::from_secs(1), || give_own_socket.run()).unwrap());
    for times in [1, 100] {
        let child = send_own_socket.spawn(times).unwrap();
        wait_until_dead(child.id().unwrap());
        let result = within(Duration::from_secs(1), || child.join());
        assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    }
    // Over a channel there is no end to wait for; the message is refused, and that is one.
    let (ours, theirs) = duplex::<u64, u64>().unwrap();
    let mut ours = ours.into_receiver();
    send_end_into_itself.run(theirs.into()).unwrap();
    let result = within(Duration::from_secs(1), || ours.recv());
    assert!(
        matches!(result, Err(ChannelError::Malformed(_))),
        "{result:?}"
    );
    drop(ours);
    unharmed.check();
}

#[func]
fn give_back(end: Duplex<u64, u64>) -> Duplex<u64, u64> {
    end
}

fn a_channel_end_of_the_child_comes_back() {
    let unharmed = Unharmed::so_far();
    let (mut ours, theirs) = duplex::<u64, u64>().unwrap();
    ours.send(&5).unwrap();
    let mut theirs = give_back.run(theirs).unwrap();
    assert_eq!(theirs.recv().unwrap(), Some(5));
    theirs.send(&6).unwrap();
    assert_eq!(ours.recv().unwrap(), Some(6));
    drop((ours, theirs));
    unharmed.check();
}
