//! Sockets whose lock their sender holds, in the middle of a call that never ends, and sockets that linger:
//! nobody waits for them.

mod support;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crossmist::{ChannelError, Child, Receiver, Sender, channel, func};
use support::fuse::Hanging;
use support::{patience, raw};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_socket_that_is_sent_is_received_and_dropped_in_time needs Fuse,
            a_socket_that_no_type_names_is_refused_in_time needs Fuse,
            a_queue_is_dropped_in_time needs Fuse,
            an_end_that_is_received_is_dropped_in_time needs Fuse,
            a_receive_on_an_end_that_is_received_ends_in_time needs Fuse,
            a_receive_in_a_runtime_holds_up_no_other_task needs Fuse,
            a_receive_without_a_timeout_continues_with_the_one_before needs Fuse,
            what_is_stuck_holds_up_no_other needs Fuse,
        ],
        &[],
    );
}

/// A connected TCP socket that lingers for longer than any test, whose lock another thread holds from here on.
/// The other ends are kept.
fn locked(page: &File) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let peer = listener.accept().unwrap();
    std::mem::forget(peer);
    raw::linger(socket.as_raw_fd(), 1000);
    hold_lock(
        socket.as_fd().try_clone_to_owned().unwrap(),
        page,
        |fd, at| {
            raw::write_from(fd, at, 4096);
        },
    );
    socket
}

/// Has a thread do what waits for memory that never comes, and waits until it does.
fn hold_lock(socket: OwnedFd, page: &File, work: fn(i32, usize)) {
    let page = page.try_clone().unwrap();
    std::thread::spawn(move || work(socket.as_raw_fd(), raw::map_private(&page)));
    std::thread::sleep(Duration::from_millis(300));
}

fn stay() -> ! {
    std::thread::sleep(Duration::from_secs(50));
    raw::exit(0)
}

#[func]
fn sends_sockets(page: File, mut sockets: Sender<TcpStream>, count: u32) {
    for _ in 0..count {
        sockets.send(&locked(&page)).unwrap();
    }
    stay()
}

/// Sends what looks like a number with sockets beside it.
#[func]
fn sends_unnamed(page: File, numbers: Sender<u64>, mut ready: Sender<()>, packets: u32) {
    let channel = OwnedFd::from(numbers);
    for _ in 0..packets {
        let socket = locked(&page);
        let rights = [socket.as_raw_fd()];
        raw::send_with(channel.as_raw_fd(), &[0; 40], &rights, 0).unwrap();
    }
    ready.send(&()).unwrap();
    stay()
}

/// Sends an end of a channel that it receives from itself, into memory that never comes. Another number is in
/// the channel.
#[func]
fn sends_an_end(page: File, mut ends: Sender<Receiver<u64>>) {
    let (mut sender, receiver) = channel::<u64>().unwrap();
    sender.send(&7).unwrap();
    sender.send(&8).unwrap();
    let copy = receiver.as_fd().try_clone_to_owned().unwrap();
    hold_lock(copy, &page, |fd, at| raw::receive_into(fd, at, 4096));
    ends.send(&receiver).unwrap();
    std::mem::forget((sender, receiver));
    stay()
}

#[track_caller]
fn in_time<R>(work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = work();
    let took = begun.elapsed();
    assert!(took < patience(Duration::from_secs(2)), "it took {took:?}");
    result
}

/// Waits until a child has begun to read what never comes, as often as it is to.
fn wait_until_locked(hanging: &Hanging, child: &Child<()>) {
    let reader = hanging
        .readers
        .recv_timeout(patience(Duration::from_secs(20)));
    let thread = format!("/proc/{}/task/{}", child.id().unwrap(), reader.unwrap());
    assert!(std::path::Path::new(&thread).exists(), "{thread}");
}

fn a_socket_that_is_sent_is_received_and_dropped_in_time() {
    let hanging = Hanging::new();
    let (sockets, mut receiver) = channel().unwrap();
    let builder = sends_sockets.builder().kill_on_drop(true);
    let child = builder.spawn(hanging.open(), sockets, 1).unwrap();
    wait_until_locked(&hanging, &child);
    let timeout = patience(Duration::from_secs(10));
    let socket = receiver.recv_timeout(timeout).unwrap().unwrap();
    // The control: what waits for the lock waits. (In a thread that is left behind.)
    let copy = socket.try_clone().unwrap();
    let waits = std::thread::spawn(move || raw::linger(copy.as_raw_fd(), 1000));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waits.is_finished());
    in_time(|| drop(socket));
    in_time(|| drop(child));
}

fn a_socket_that_no_type_names_is_refused_in_time() {
    raw::play_a_kernel_that_passes_descriptors();
    let hanging = Hanging::new();
    let (numbers, mut receiver) = channel().unwrap();
    let (ready, mut is_ready) = channel().unwrap();
    let builder = sends_unnamed.builder().kill_on_drop(true);
    let child = builder.spawn(hanging.open(), numbers, ready, 1).unwrap();
    is_ready.recv().unwrap().unwrap();
    wait_until_locked(&hanging, &child);
    let result = in_time(|| receiver.recv());
    assert!(
        matches!(result, Err(ChannelError::Malformed(_))),
        "{result:?}"
    );
    in_time(|| drop(receiver));
    in_time(|| drop(child));
}

fn a_queue_is_dropped_in_time() {
    raw::play_a_kernel_that_passes_descriptors();
    let hanging = Hanging::new();
    let (numbers, receiver) = channel().unwrap();
    let (ready, mut is_ready) = channel().unwrap();
    let builder = sends_unnamed.builder().kill_on_drop(true);
    let child = builder.spawn(hanging.open(), numbers, ready, 3).unwrap();
    is_ready.recv().unwrap().unwrap();
    wait_until_locked(&hanging, &child);
    in_time(|| drop(receiver));
    in_time(|| drop(child));
}

fn an_end_that_is_received_is_dropped_in_time() {
    let hanging = Hanging::new();
    let (ends, mut receiver) = channel().unwrap();
    let builder = sends_an_end.builder().kill_on_drop(true);
    let child = builder.spawn(hanging.open(), ends).unwrap();
    wait_until_locked(&hanging, &child);
    let end = receiver.recv().unwrap().unwrap();
    in_time(|| drop(end));
    in_time(|| drop(child));
}

/// Has a child send an end whose lock it holds.
fn locked_end() -> (Hanging, Child<()>, Receiver<u64>) {
    let hanging = Hanging::new();
    let (ends, mut receiver) = channel().unwrap();
    let builder = sends_an_end.builder().kill_on_drop(true);
    let child = builder.spawn(hanging.open(), ends).unwrap();
    wait_until_locked(&hanging, &child);
    let end = receiver.recv().unwrap().unwrap();
    // The control: what waits for the lock waits. (In a thread that is left behind.)
    let copy = end.as_fd().try_clone_to_owned().unwrap();
    let waits = std::thread::spawn(move || raw::receive(copy.as_raw_fd()));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waits.is_finished());
    (hanging, child, end)
}

fn a_receive_on_an_end_that_is_received_ends_in_time() {
    let (_hanging, child, mut end) = locked_end();
    let timeout = Duration::from_millis(100);
    for _ in 0..3 {
        let result = in_time(|| end.recv_timeout(timeout));
        assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
        let result = in_time(|| end.try_recv());
        assert!(matches!(result, Ok(None)), "{result:?}");
    }
    // Something may have left the queue, so nobody else gets it.
    let (mut ends, _receiver) = channel().unwrap();
    let result = in_time(|| ends.send(&end));
    assert!(matches!(result, Err(ChannelError::Encode(_))), "{result:?}");
    in_time(|| drop(OwnedFd::from(end)));
    in_time(|| drop(child));
}

fn a_receive_in_a_runtime_holds_up_no_other_task() {
    let (_hanging, _child, end) = locked_end();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut end = crossmist::tokio::Receiver::from(end);
        let timeout = Duration::from_millis(100);
        for _ in 0..3 {
            let begun = Instant::now();
            let result = tokio::time::timeout(timeout, end.recv()).await;
            assert!(result.is_err(), "{result:?}");
            let took = begun.elapsed();
            assert!(took < patience(Duration::from_secs(2)), "it took {took:?}");
        }
    });
}

fn a_receive_without_a_timeout_continues_with_the_one_before() {
    let hanging = Hanging::new();
    let (ends, mut receiver) = channel().unwrap();
    let builder = sends_an_end.builder().kill_on_drop(true);
    let child = builder.spawn(hanging.open(), ends).unwrap();
    wait_until_locked(&hanging, &child);
    let mut end = receiver.recv().unwrap().unwrap();
    let result = in_time(|| end.recv_timeout(Duration::from_millis(100)));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    // The file system goes, and the lock with it.
    drop(hanging);
    assert_eq!(end.recv().unwrap(), Some(8));
    drop(child);
    assert_eq!(end.recv().unwrap(), None);
}

fn what_is_stuck_holds_up_no_other() {
    raw::play_a_kernel_that_passes_descriptors();
    let hanging = Hanging::new();
    let (sockets, mut receiver) = channel().unwrap();
    let builder = sends_sockets.builder().kill_on_drop(true);
    // More than there are threads to close them.
    let child = builder.spawn(hanging.open(), sockets, 6).unwrap();
    for _ in 0..6 {
        let socket = receiver.recv().unwrap().unwrap();
        in_time(|| drop(socket));
    }
    // Descriptors from others are closed all the same.
    let (numbers, mut more) = channel::<u64>().unwrap();
    let (ready, mut is_ready) = channel().unwrap();
    let builder = sends_unnamed.builder().kill_on_drop(true);
    let other = builder.spawn(hanging.open(), numbers, ready, 1).unwrap();
    is_ready.recv().unwrap().unwrap();
    let result = in_time(|| more.recv());
    assert!(
        matches!(result, Err(ChannelError::Malformed(_))),
        "{result:?}"
    );
    in_time(|| drop((more, other, child)));
}
