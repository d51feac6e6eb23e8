//! What receiving from a child, or sending to it, may cost the program.

mod support;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crossmist::{ChannelError, Error, Receiver, SandboxPolicy, Sender, Traffic, channel, func};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use support::{patience, raw, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_child_that_makes_its_messages_costly_is_ended,
            a_child_that_makes_sending_to_it_costly_is_ended,
            a_child_that_makes_its_answer_costly_is_ended,
            messages_that_are_slow_to_come_cost_nothing,
            an_unconfined_child_bounds_costs_once_it_has_a_child,
        ],
        &[],
    );
}

/// Has as many wait for a socket as its limit of descriptors allows.
fn watch(socket: RawFd) -> (Vec<Epoll>, Vec<OwnedFd>) {
    let socket = raw::copy_of(socket);
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
    let mut epolls = Vec::new();
    while let Ok(epoll) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) {
        epolls.push(epoll);
    }
    epolls.truncate(epolls.len() / 2);
    let mut copies = Vec::new();
    while let Ok(copy) = socket.try_clone() {
        copies.push(copy);
    }
    for epoll in &epolls {
        for copy in &copies {
            epoll.add(copy.as_fd(), EpollEvent::new(flags, 0)).unwrap();
        }
    }
    (epolls, copies)
}

/// The kernel tells of room only if three quarters of a queue are free.
fn leave_room(number: u64) {
    if number > 50 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A policy under which a process can have many wait.
fn crowded() -> SandboxPolicy {
    let text = "format = 1\nextends = [\"worker\"]\n[limits]\nopen_files = 800\n";
    SandboxPolicy::from_toml("crowded", text).unwrap()
}

#[func(sandbox = dynamic)]
fn sends_at_a_price(mut numbers: Sender<u64>, is_costly: bool) {
    let _watched = is_costly.then(|| watch(numbers.as_fd().as_raw_fd()));
    // On a busy machine, the other side takes long for as many as are to come.
    let end = Instant::now() + 4 * support::stays();
    for number in 0.. {
        if is_costly {
            leave_room(number);
        }
        if numbers.send(&number).is_err() || !is_costly && number == 1000 || Instant::now() > end {
            break;
        }
    }
}

fn a_child_that_makes_its_messages_costly_is_ended() {
    let policy = crowded();
    // The control: the same program without the watches.
    let (end, mut numbers) = channel().unwrap();
    let child = sends_at_a_price.sandbox(&policy).spawn(end, false).unwrap();
    assert_eq!(numbers.iter().map(Result::unwrap).count(), 1001);
    child.join().unwrap();

    for timeout in [None, Some(patience(Duration::from_secs(30)))] {
        let (end, mut numbers) = channel().unwrap();
        let child = sends_at_a_price.sandbox(&policy).spawn(end, true).unwrap();
        let error = within(Duration::from_secs(60), || {
            loop {
                let received = match timeout {
                    None => numbers.recv(),
                    Some(timeout) => numbers.recv_timeout(timeout),
                };
                match received {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            }
        });
        let Some(error) = error else {
            panic!("it has ended otherwise: {:?}", child.join());
        };
        assert!(matches!(error, ChannelError::TooCostly), "{error:?}");
        assert!(matches!(numbers.recv(), Err(ChannelError::TooCostly)));
        let result = within(Duration::from_secs(20), || child.join());
        let expected = Traffic::Channel;
        assert!(
            matches!(&result, Err(Error::TooCostly { traffic, .. }) if *traffic == expected),
            "{result:?}"
        );
    }
}

#[func(sandbox = dynamic)]
fn reads_at_a_price(mut numbers: Receiver<u64>, mut ready: Sender<()>, is_costly: bool) {
    let _watched = is_costly.then(|| watch(numbers.as_fd().as_raw_fd()));
    ready.send(&()).unwrap();
    numbers.into_iter().for_each(drop);
}

fn a_child_that_makes_sending_to_it_costly_is_ended() {
    let policy = crowded();
    for timeout in [None, Some(patience(Duration::from_secs(30)))] {
        let send_all = |is_costly| {
            let (mut numbers, end) = channel().unwrap();
            let (ready, mut is_ready) = channel().unwrap();
            let reads = reads_at_a_price.sandbox(&policy);
            let child = reads.spawn(end, ready, is_costly).unwrap();
            is_ready.recv().unwrap().unwrap();
            let mut send = |number: u64| match timeout {
                None => numbers.send(&number),
                Some(timeout) => numbers.send_timeout(&number, timeout),
            };
            let result = (0..1000).try_for_each(&mut send);
            let again = send(1000);
            drop(numbers);
            (result, again, child.join())
        };
        // The control: the same program without the watches.
        let (result, again, joined) = send_all(false);
        assert!(result.is_ok() && again.is_ok() && joined.is_ok());

        let (result, again, joined) = within(Duration::from_secs(60), || send_all(true));
        assert!(matches!(result, Err(ChannelError::TooCostly)), "{result:?}");
        assert!(matches!(again, Err(ChannelError::TooCostly)), "{again:?}");
        let expected = Traffic::Channel;
        assert!(
            matches!(&joined, Err(Error::TooCostly { traffic, .. }) if *traffic == expected),
            "{joined:?}"
        );
    }
}

const LENGTH: u32 = 8 << 20;

/// Answers in pieces of one byte.
#[func(sandbox = dynamic)]
fn answers_at_a_price(is_costly: bool) -> Vec<u8> {
    let socket = raw::launch_socket();
    if !is_costly {
        return vec![1];
    }
    let _watched = watch(socket);
    let name = 5u64.to_le_bytes();
    let mut first = vec![0xC1, 0, 0, 0];
    first.extend(LENGTH.to_le_bytes());
    first.extend([0; 16]);
    first.extend(name);
    first.push(0);
    first.extend((LENGTH - 5).to_le_bytes());
    raw::send(socket, &first).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    for number in 0u32.. {
        if Instant::now() > end {
            break;
        }
        leave_room(number.into());
        let mut piece = vec![0xC2, 0, 0, 0];
        piece.extend(number.to_le_bytes());
        piece.extend(name);
        piece.push(1);
        if raw::send(socket, &piece).is_err() {
            break;
        }
    }
    raw::exit(0)
}

fn a_child_that_makes_its_answer_costly_is_ended() {
    let policy = crowded();
    assert_eq!(answers_at_a_price.sandbox(&policy).run(false).unwrap(), [1]);
    let result = within(Duration::from_secs(60), || {
        answers_at_a_price.sandbox(&policy).run(true)
    });
    let expected = Traffic::Answer;
    assert!(
        matches!(&result, Err(Error::TooCostly { traffic, .. }) if *traffic == expected),
        "{result:?}"
    );
}

#[func(sandbox = "pure")]
fn sends_now_and_then(mut numbers: Sender<u64>, mut texts: Sender<Vec<u8>>) {
    for number in 0..50 {
        std::thread::sleep(Duration::from_millis(5));
        numbers.send(&number).unwrap();
    }
    for _ in 0..5 {
        texts.send(&vec![7; 1 << 20]).unwrap();
    }
}

fn messages_that_are_slow_to_come_cost_nothing() {
    let (number, mut numbers) = channel().unwrap();
    let (text, mut texts) = channel().unwrap();
    let child = sends_now_and_then.spawn(number, text).unwrap();
    assert_eq!(numbers.iter().take(50).map(Result::unwrap).count(), 50);
    assert_eq!(texts.iter().map(Result::unwrap).count(), 5);
    child.join().unwrap();
}

#[func(sandbox = "pure")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

/// Receives so many numbers, unless something else comes. Returns how many came, and what else.
#[func]
fn receives(mut numbers: Receiver<u64>, most: usize, has_a_child: bool) -> (usize, String) {
    if has_a_child {
        assert_eq!(add.run(5, 7).unwrap(), 12);
    }
    for received in 0..most {
        match numbers.recv() {
            Ok(Some(_)) => {}
            other => return (received, format!("{other:?}")),
        }
    }
    (most, String::new())
}

/// On an emulated machine, the time that the host takes counts as the peer's. A child that its own program talks to is
/// not to end for it.
fn an_unconfined_child_bounds_costs_once_it_has_a_child() {
    let receive = |most, has_a_child| {
        let (end, numbers) = channel().unwrap();
        let sends = sends_at_a_price.sandbox(&crowded()).spawn(end, true);
        let sends = sends.unwrap();
        let result = within(Duration::from_secs(60), || {
            receives.run(numbers, most, has_a_child).unwrap()
        });
        sends.kill().unwrap();
        result
    };
    let (count, error) = receive(usize::MAX, true);
    let expected = Err::<Option<u64>, _>(ChannelError::TooCostly);
    assert_eq!(error, format!("{expected:?}"));
    let most = 2 * count + 100;
    assert_eq!(receive(most, false), (most, String::new()));
}
