//! A child's output, in content and manner: it holds up neither the keeper nor any other call.

mod support;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use crossmist::{Error, ProtocolError, SandboxPolicy, Sender, Traffic, channel, func};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use support::fuse::Hanging;
use support::{patience, raw, wait_until_gone, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            memory_that_never_comes_holds_up_no_other needs Fuse,
            a_child_that_makes_its_output_costly_is_ended_and_holds_up_no_other,
            a_child_that_prints_much_is_not_ended,
            no_descriptor_is_taken_from_a_childs_output,
            standard_error_is_a_stream_in_one_direction,
        ],
        &[],
    );
}

/// Writes to standard error from a page that never comes, while another thread keeps it full.
#[func(sandbox = "parser")]
fn writes_what_never_comes(file: File) {
    let at = raw::map_private(&file);
    std::thread::spawn(|| while std::io::stderr().write_all(&[b'\n'; 1024]).is_ok() {});
    std::thread::sleep(Duration::from_millis(200));
    raw::write_from(2, at, 1);
}

#[func(sandbox = "pure")]
fn spins() {
    loop {
        std::hint::spin_loop();
    }
}

#[func(sandbox = "pure")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Calls work, and deadlines are kept, without much delay. Returns the greatest one.
#[track_caller]
fn assert_not_held_up() -> Duration {
    const DEADLINE: Duration = Duration::from_millis(100);
    let delays = (0..10).map(|_| {
        let begun = Instant::now();
        assert_eq!(add.run(1, 2).unwrap(), 3);
        let call = begun.elapsed();
        let mut worst = call;
        loop {
            let begun = Instant::now();
            let result = spins.builder().deadline(DEADLINE).run();
            worst = worst.max(begun.elapsed().saturating_sub(DEADLINE));
            match result {
                Err(Error::Deadline { .. }) => break worst,
                // On a busy machine, the time may be over before the keeper has started the child.
                Err(Error::Launch { source, .. }) if source.kind() == ErrorKind::TimedOut => (),
                other => panic!("{other:?}"),
            }
        }
    });
    let worst = delays.max().unwrap();
    println!("the greatest delay: {worst:?}");
    // A busy machine may take more than a second to start one of ten children. What holds them up does so for three.
    assert!(worst < patience(Duration::from_millis(2500)), "{worst:?}");
    worst
}

fn memory_that_never_comes_holds_up_no_other() {
    // A deadline counts from before the first child's keeper has been started.
    assert_eq!(add.run(1, 2).unwrap(), 3);
    let hanging = Hanging::new();
    let other = spins.builder().deadline(patience(Duration::from_secs(1)));
    let other = other.spawn().unwrap();
    let builder = writes_what_never_comes.builder();
    let builder = builder.deadline(patience(Duration::from_secs(3)));
    let child = builder.spawn(hanging.open()).unwrap();
    // The control: it waits for its page.
    let reader = hanging
        .readers
        .recv_timeout(patience(Duration::from_secs(10)));
    assert_eq!(reader.unwrap(), child.id().unwrap());
    std::thread::sleep(Duration::from_millis(100));
    assert_not_held_up();
    let result = within(Duration::from_secs(20), || other.join());
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    let result = within(Duration::from_secs(20), || child.join());
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

/// Has as many wait for a descriptor as a process of `worker` can.
fn watch(socket: RawFd) -> (u32, Vec<Epoll>) {
    let socket = raw::copy_of(socket);
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
    let (mut epolls, mut count) = (Vec::new(), 0);
    // Half of the descriptors, so that there are numbers left to be watched by.
    while let Ok(epoll) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) {
        epolls.push(epoll);
    }
    epolls.truncate(epolls.len() * 2 / 3);
    // A watch goes by the number that it was made for, and stays when that is closed.
    let mut copies = Vec::new();
    while let Ok(copy) = socket.try_clone() {
        copies.push(copy);
    }
    for epoll in &epolls {
        for copy in &copies {
            epoll.add(copy.as_fd(), EpollEvent::new(flags, 0)).unwrap();
            count += 1;
        }
    }
    (count, epolls)
}

/// A policy under which a process can have many wait.
fn crowded() -> SandboxPolicy {
    let text = "format = 1\nextends = [\"worker\"]\n[limits]\nopen_files = 256\n";
    SandboxPolicy::from_toml("crowded", text).unwrap()
}

#[func(sandbox = dynamic)]
fn prints_at_a_price(mut ready: Sender<u32>, is_costly: bool) {
    let watched = is_costly.then(|| watch(2));
    ready
        .send(&watched.as_ref().map_or(0, |(count, _)| *count))
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        std::io::stderr().write_all(b"x").unwrap();
        if !is_costly {
            break;
        }
    }
}

fn a_child_that_makes_its_output_costly_is_ended_and_holds_up_no_other() {
    let (ready, mut is_ready) = channel().unwrap();
    // The control: the same program without the watches.
    let policy = crowded();
    prints_at_a_price
        .sandbox(&policy)
        .run(ready, false)
        .unwrap();
    assert_eq!(is_ready.recv().unwrap(), Some(0));

    let (ready, mut is_ready) = channel().unwrap();
    let child = prints_at_a_price
        .sandbox(&policy)
        .spawn(ready, true)
        .unwrap();
    let count = is_ready.recv().unwrap().unwrap();
    assert!(count > 5_000, "{count}");
    assert_not_held_up();
    let result = within(Duration::from_secs(60), || child.join());
    let expected = Traffic::Output;
    assert!(
        matches!(&result, Err(Error::TooCostly { traffic, .. }) if *traffic == expected),
        "{result:?}"
    );
    let text = result.unwrap_err().to_string();
    assert!(text.contains("receiving its output took"), "{text}");
}

#[func(sandbox = "worker")]
fn prints(bytes: usize, at_a_time: usize) {
    let line = vec![b'x'; at_a_time];
    for _ in 0..bytes / at_a_time {
        std::io::stderr().write_all(&line).unwrap();
    }
}

fn a_child_that_prints_much_is_not_ended() {
    for (bytes, at_a_time) in [(20_000, 1), (4 << 20, 80), (64 << 20, 3 << 20)] {
        prints.run(bytes, at_a_time).unwrap();
    }
}

/// Sends a descriptor where it should print; EPERM if the kernel sees to it.
#[func(sandbox = "pure")]
fn sends_by_standard_error(file: File) -> Result<File, i32> {
    let sent = raw::send_with(2, b"beside", &[file.as_raw_fd()], 0);
    match sent {
        Err(error) => Err(error.raw_os_error().unwrap_or(0)),
        Ok(()) => {
            // Until the keeper has seen it.
            std::thread::sleep(Duration::from_secs(60));
            Ok(file)
        }
    }
}

#[func]
fn sends_unconfined(file: File) -> bool {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    raw::send_with(ours.as_raw_fd(), b"beside", &[file.as_raw_fd()], 0).is_ok()
}

fn no_descriptor_is_taken_from_a_childs_output() {
    let open = || File::open("/proc/self/exe").unwrap();
    // The control: such a function sends descriptors.
    assert!(sends_unconfined.run(open()).unwrap());
    match raw::refuses_descriptors() {
        true => {
            let result = sends_by_standard_error.run(open());
            assert_eq!(result.unwrap().unwrap_err(), libc::EPERM);
        }
        false => {
            let child = sends_by_standard_error.spawn(open()).unwrap();
            let id = child.id().unwrap();
            let result = within(Duration::from_secs(30), || child.join());
            assert!(
                matches!(result, Err(Error::Malformed(ProtocolError::Output))),
                "{result:?}"
            );
            wait_until_gone(id);
        }
    }
    assert_not_held_up();
}

/// Opens standard error anew, reads from it, and returns the results.
#[func(sandbox = dynamic)]
fn looks_at_standard_error() -> (i32, usize) {
    let opened = File::options().read(true).open("/proc/self/fd/2");
    let mut stderr = File::from(raw::copy_of(2));
    let read = std::io::Read::read(&mut stderr, &mut [0; 8]);
    let errno = opened.map_or_else(|error| error.raw_os_error().unwrap_or(0), |_| 0);
    (errno, read.unwrap())
}

fn standard_error_is_a_stream_in_one_direction() {
    let text = "format = 1\nextends = [\"unconfined\"]\n[process]\nstderr = \"pipe\"\n";
    let policy = SandboxPolicy::from_toml("open", text).unwrap();
    let (errno, read) = looks_at_standard_error.sandbox(&policy).run().unwrap();
    // No process opens again, for reading, what another has printed.
    assert_eq!((errno, read), (libc::ENXIO, 0));
}
