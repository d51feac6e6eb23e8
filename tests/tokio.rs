//! Channels and children under tokio: the programs that users of crossmist have written, mixed ends,
//! cancel safety, deadlines, hostile peers.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crossmist::tokio::{Duplex, Receiver, Sender, channel, duplex, trusted};
use crossmist::{ChannelError, Error, FnOnceObject, Limits, Object, ProtocolError, func, lambda};
use libtest_mimic::{Arguments, Trial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[derive(Debug, PartialEq, Object)]
struct Pair {
    x: i32,
    y: i32,
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn number() -> i64 {
    0x0123_4567_89ab_cdef
}

#[func(tokio)]
async fn add(x: i32, y: i32) -> i32 {
    x + y
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn swap(pair: Pair) -> Pair {
    Pair {
        x: pair.y,
        y: pair.x,
    }
}

#[func]
fn add_plainly(x: i32, y: i32) -> i32 {
    x + y
}

async fn results_and_arguments() {
    assert_eq!(number.run_tokio().await.unwrap(), 0x0123_4567_89ab_cdef);
    assert_eq!(
        number.spawn_tokio().await.unwrap().join().await.unwrap(),
        0x0123_4567_89ab_cdef
    );
    assert_eq!(
        add.spawn_tokio(5, 7).await.unwrap().join().await.unwrap(),
        12
    );
    assert_eq!(add(5, 7).await, 12);
    assert_eq!(
        swap.run_tokio(Pair { x: 5, y: 7 }).await.unwrap(),
        Pair { x: 7, y: 5 }
    );
    // Whether a function is `async` has nothing to do with how it is called.
    assert_eq!(add_plainly.run_tokio(5, 7).await.unwrap(), 12);
    assert_eq!(
        tokio::task::spawn_blocking(|| add.run(5, 7))
            .await
            .unwrap()
            .unwrap(),
        12
    );
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn difference(mut rx: Receiver<i32>) -> i32 {
    let a = rx.recv().await.unwrap().unwrap();
    let b = rx.recv().await.unwrap().unwrap();
    a - b
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn produce(mut tx: Sender<i32>) {
    tx.send(&5).await.unwrap();
    tx.send(&7).await.unwrap();
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn subtract(mut chan: Duplex<i32, (i32, i32)>) {
    while let Some((x, y)) = chan.recv().await.unwrap() {
        chan.send(&(x - y)).await.unwrap();
    }
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn nested(mut chan: Receiver<Receiver<i32>>) -> i32 {
    let mut inner = chan.recv().await.unwrap().unwrap();
    inner.recv().await.unwrap().unwrap()
}

async fn ends_as_arguments() {
    let (mut tx, rx) = channel::<i32>().unwrap();
    let child = difference.spawn_tokio(rx).await.unwrap();
    tx.send(&5).await.unwrap();
    tx.send(&7).await.unwrap();
    assert_eq!(child.join().await.unwrap(), -2);

    let (tx, mut rx) = channel::<i32>().unwrap();
    let child = produce.spawn_tokio(tx).await.unwrap();
    assert_eq!(
        rx.recv().await.unwrap().unwrap() - rx.recv().await.unwrap().unwrap(),
        -2
    );
    child.join().await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), None);

    let (mut local, downstream) = duplex::<(i32, i32), i32>().unwrap();
    let child = subtract.spawn_tokio(downstream).await.unwrap();
    for (x, y) in [(5, 7), (100, -1), (53, 2354)] {
        assert_eq!(local.request(&(x, y)).await.unwrap(), x - y);
    }
    drop(local);
    child.join().await.unwrap();

    let (mut tx, rx) = channel::<i32>().unwrap();
    let (mut tx1, rx1) = channel::<Receiver<i32>>().unwrap();
    tx.send(&5).await.unwrap();
    tx1.send(&rx).await.unwrap();
    assert_eq!(nested.run_tokio(rx1).await.unwrap(), 5);
}

#[func]
fn subtract_blocking(mut chan: crossmist::Duplex<i32, (i32, i32)>) {
    while let Some((x, y)) = chan.recv().unwrap() {
        chan.send(&(x - y)).unwrap();
    }
}

async fn one_end_blocks_and_the_other_waits_in_a_runtime() {
    let (ours, theirs) = crossmist::duplex::<(i32, i32), i32>().unwrap();
    let child = subtract_blocking.spawn_tokio(theirs).await.unwrap();
    let mut ours = Duplex::from(ours);
    assert_eq!(ours.request(&(5, 7)).await.unwrap(), -2);
    // Back to the blocking kind, and forth, with a registration in between.
    let mut ours = crossmist::Duplex::from(ours);
    assert_eq!(ours.request(&(7, 5)).unwrap(), 2);
    let mut ours = Duplex::from(ours);
    assert_eq!(ours.request(&(1, 2)).await.unwrap(), -1);
    drop(ours);
    child.join().await.unwrap();
}

#[func]
fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

async fn many_packets_there_and_back() {
    let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut reversed = bytes.clone();
    reversed.reverse();
    assert!(reverse.run_tokio(bytes).await.unwrap() == reversed);
}

async fn two_hundred_calls_at_once() {
    let calls: Vec<_> = (0..200)
        .map(|n| tokio::task::spawn(async move { add_plainly.run_tokio(n, 1).await }))
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), n as i32 + 1);
    }
}

#[func]
fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

/// How long a test waits for what has to come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a process exists, zombies included.
fn exists(id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{id}")).exists()
}

async fn gone(id: u32) {
    let end = Instant::now() + PATIENCE;
    while exists(id) {
        assert!(Instant::now() < end, "process {id} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn deadlines_hold() {
    let start = Instant::now();
    let time = Duration::from_millis(100);
    match sleep_for_ever.builder().deadline(time).run_tokio().await {
        Err(Error::Deadline { after, .. }) => assert_eq!(after, time),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < PATIENCE);
    // Also for one that nobody joins.
    let child = sleep_for_ever
        .builder()
        .deadline(time)
        .spawn_tokio()
        .await
        .unwrap();
    gone_or_zombie(child.id().unwrap()).await;
    assert!(matches!(child.join().await, Err(Error::Deadline { .. })));
}

/// Waits until a process has ended; it may not have been waited for.
async fn gone_or_zombie(id: u32) {
    let end = Instant::now() + PATIENCE;
    while std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z"))
    }) {
        assert!(Instant::now() < end, "process {id} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn joins_can_time_out_and_go_on() {
    let mut child = sleep_for_ever.spawn_tokio().await.unwrap();
    assert_eq!(
        child.join_timeout(Duration::from_millis(20)).await.unwrap(),
        None
    );
    child.kill_handle().kill().unwrap();
    assert!(matches!(child.join().await, Err(Error::Killed)));
}

async fn dropping_the_future_of_run_kills_the_child() {
    let (theirs, rx) = crossmist::channel::<u32>().unwrap();
    let mut rx = Receiver::from(rx);
    let id = {
        let run = tell_and_sleep.run_tokio(theirs);
        tokio::select! {
            result = run => panic!("{result:?}"),
            id = rx.recv() => id.unwrap().unwrap(),
        }
    };
    gone(id).await;
}

#[func]
fn tell_and_sleep(mut tx: crossmist::Sender<u32>) {
    tx.send(&std::process::id()).unwrap();
    loop {
        std::thread::park();
    }
}

async fn dropping_a_child_lets_it_run_on() {
    let (mut ours, theirs) = duplex::<(i32, i32), i32>().unwrap();
    let child = subtract.spawn_tokio(theirs).await.unwrap();
    let id = child.id().unwrap();
    drop(child);
    assert_eq!(ours.request(&(5, 7)).await.unwrap(), -2);
    drop(ours);
    gone(id).await;
}

async fn a_receive_that_is_dropped_loses_nothing() {
    let (mut tx, mut rx) = channel::<Vec<u8>>().unwrap();
    let messages: Vec<Vec<u8>> = [3, 700_000, 0, 250_000, 64]
        .map(|n| vec![n as u8; n])
        .into();
    let sent = messages.clone();
    let sender = tokio::task::spawn(async move {
        for message in &sent {
            // So that the receiver waits, and is dropped, before each.
            tokio::time::sleep(Duration::from_millis(3)).await;
            tx.send(message).await.unwrap();
        }
    });
    let mut received = Vec::new();
    let mut dropped = 0;
    while received.len() < messages.len() {
        tokio::select! {
            biased;
            message = rx.recv() => received.push(message.unwrap().unwrap()),
            // Ready at its second poll: the receive gets one, and is dropped.
            () = tokio::task::yield_now() => dropped += 1,
        }
    }
    assert!(received == messages);
    assert!(dropped > 0, "no receive was ever dropped");
    sender.await.unwrap();
}

async fn a_send_that_is_dropped_in_the_middle_says_so_later() {
    let (mut tx, mut rx) = channel::<Vec<u8>>().unwrap();
    // Nobody receives: it gets stuck behind its first packets.
    let big = vec![1; 5_000_000];
    timeout(Duration::from_millis(50), tx.send(&big))
        .await
        .unwrap_err();
    assert!(matches!(
        tx.send(&vec![2]).await,
        Err(ChannelError::HalfSent)
    ));
    drop(tx);
    match rx.recv().await {
        Err(ChannelError::Malformed(ProtocolError::Unfinished)) => {}
        other => panic!("{other:?}"),
    }
}

async fn a_send_of_one_packet_that_is_dropped_was_sent_or_not() {
    let (mut tx, mut rx) = channel::<Vec<u8>>().unwrap();
    let message = vec![7; 150_000];
    let mut sent = 0;
    while timeout(Duration::from_millis(20), tx.send(&message))
        .await
        .is_ok()
    {
        sent += 1;
    }
    assert!(sent > 0);
    drop(tx);
    for _ in 0..sent {
        assert!(rx.recv().await.unwrap().unwrap() == message);
    }
    assert_eq!(rx.recv().await.unwrap(), None);
}

async fn a_hostile_peer_is_an_error() {
    let (tx, mut rx) = channel::<Vec<u8>>().unwrap();
    let socket = tx.as_fd().as_raw_fd();
    // Positive control: what the library sends is received.
    let mut tx = tx;
    tx.send(&vec![1]).await.unwrap();
    assert_eq!(rx.recv().await.unwrap().unwrap(), [1]);
    nix::sys::socket::send(socket, &[0xff; 64], nix::sys::socket::MsgFlags::empty()).unwrap();
    for _ in 0..2 {
        match rx.recv().await {
            Err(ChannelError::Malformed(ProtocolError::Field {
                field: "kind",
                value: 0xff,
            })) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn limits_hold() {
    let (mut tx, mut rx) = channel::<Vec<u8>>().unwrap();
    rx.set_limits(Limits::new().message_bytes(1000));
    tx.send(&vec![0; 900]).await.unwrap();
    assert_eq!(rx.recv().await.unwrap().unwrap().len(), 900);
    tx.send(&vec![0; 1001]).await.unwrap();
    match rx.recv().await {
        Err(ChannelError::Malformed(ProtocolError::TooLong {
            bytes: 1005,
            limit: 1000,
        })) => {}
        other => panic!("{other:?}"),
    }
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn shout(mut stream: tokio::net::UnixStream, mut file: tokio::fs::File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).await.unwrap();
    stream
        .write_all(text.to_uppercase().as_bytes())
        .await
        .unwrap();
    text
}

async fn sockets_and_files_of_tokio_are_arguments() {
    let (mut ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let path = std::env::temp_dir().join(format!("crossmist-{}", std::process::id()));
    std::fs::write(&path, "quiet").unwrap();
    let file = tokio::fs::File::open(&path).await.unwrap();
    assert_eq!(shout.run_tokio(theirs, file).await.unwrap(), "quiet");
    let mut loud = String::new();
    ours.read_to_string(&mut loud).await.unwrap();
    assert_eq!(loud, "QUIET");
    std::fs::remove_file(path).unwrap();
}

#[func]
fn take_a_tokio_socket(_stream: tokio::net::UnixStream) {}

async fn a_socket_of_tokio_outside_of_a_runtime_is_an_error() {
    let (_ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    match take_a_tokio_socket.run_tokio(theirs).await {
        Err(Error::BadArguments { reason, .. }) => {
            assert!(reason.as_raw().contains("tokio runtime"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

fn outside_of_a_runtime_waiting_is_an_error() {
    let (mut tx, mut rx) = channel::<u32>().unwrap();
    // An operation that doesn't wait needs no runtime.
    assert!(tx.try_send(&5).unwrap());
    assert_eq!(rx.try_recv().unwrap(), Some(5));
    let mut receive = std::pin::pin!(rx.recv());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match receive.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(ChannelError::Io { operation, .. })) => {
            assert_eq!(
                operation,
                "register the channel with the asynchronous runtime"
            );
        }
        other => panic!("{other:?}"),
    }
}

fn an_end_outlives_its_runtime_without_a_panic() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (tx, mut rx) = channel::<u32>().unwrap();
    let first = runtime();
    first.block_on(async {
        timeout(Duration::from_millis(10), rx.recv())
            .await
            .unwrap_err();
    });
    drop(first);
    let result = runtime().block_on(rx.recv());
    assert!(
        matches!(
            &result,
            Err(ChannelError::Io {
                operation: "receive",
                ..
            })
        ),
        "{result:?}"
    );
    // By way of the blocking kind it is free for another runtime.
    let mut rx = Receiver::from(crossmist::Receiver::from(rx));
    crossmist::Sender::from(tx).send(&5).unwrap();
    assert_eq!(runtime().block_on(rx.recv()).unwrap(), Some(5));
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn work(mut tasks: Duplex<i32, Box<dyn FnOnceObject<(), Output = i32> + Send>>) {
    while let Some(task) = tasks.recv().await.unwrap() {
        tasks.send(&task.call_object_once(())).await.unwrap();
    }
}

async fn callbacks_over_a_trusted_channel() {
    type Task = Box<dyn FnOnceObject<(), Output = i32> + Send>;
    let (mut ours, theirs) = trusted::duplex::<Task, i32>().unwrap();
    work.spawn_tokio(theirs).await.unwrap();
    for (x, y) in [(5, 7), (1, 2)] {
        let task: Task = Box::new(lambda! { move(x: i32, y: i32) || -> i32 { x + y } });
        assert_eq!(ours.request(&task).await.unwrap(), x + y);
    }
    assert!(matches!(
        duplex::<Task, i32>(),
        Err(ChannelError::CarriesCode { .. })
    ));
}

async fn descriptors_become_ends_and_back() {
    let (tx, rx) = channel::<u32>().unwrap();
    let fd = OwnedFd::from(crossmist::Sender::from(tx));
    let mut tx = Sender::from(crossmist::Sender::<u32>::try_from(fd).unwrap());
    let mut rx = rx;
    tx.send(&5).await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), Some(5));
}

#[func]
fn panics() -> u8 {
    panic!("as it must")
}

async fn panics_come_back() {
    match panics.run_tokio().await {
        Err(Error::Panicked(panic)) => assert_eq!(panic.message.as_raw(), "as it must"),
        other => panic!("{other:?}"),
    }
}

macro_rules! asynchronous {
    ($($test:ident)*) => {
        [$((
            stringify!($test),
            (|| {
                for workers in [1, 2] {
                    let mut runtime = match workers {
                        1 => tokio::runtime::Builder::new_current_thread(),
                        _ => tokio::runtime::Builder::new_multi_thread(),
                    };
                    let runtime = runtime.enable_all().build().unwrap();
                    let test = async { timeout(4 * PATIENCE, $test()).await.unwrap() };
                    runtime.block_on(test);
                }
            }) as fn(),
        )),*]
    };
}

#[func(sandbox = "parser")]
fn confined_add(x: u32, y: u32) -> u32 {
    x + y
}

#[func(sandbox = "parser")]
fn confined_sleep(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Confined calls wait in the runtime, many at once, and hold to their deadlines.
async fn confined_functions_run_under_tokio() {
    let calls = (0..50u32).map(|call| tokio::spawn(confined_add.run_tokio(call, 1)));
    for (call, result) in (0..).zip(calls.collect::<Vec<_>>()) {
        assert_eq!(result.await.unwrap().unwrap(), call + 1);
    }
    let late = confined_sleep
        .builder()
        .deadline(Duration::from_secs(2))
        .run_tokio(50_000)
        .await;
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    let mut child = confined_sleep.spawn_tokio(50_000).await.unwrap();
    let status = child.confinement().await.unwrap().unwrap();
    assert!(status.relaxed == 0 && status.seccomp_instructions > 100);
    // A keeper that stands still holds nobody up beyond that, nor the runtime.
    let keeper = parent(child.id().unwrap());
    signal(keeper, libc::SIGSTOP);
    let late = confined_add.builder().deadline(Duration::from_secs(1));
    let is_over = std::cell::Cell::new(false);
    let late = async {
        let late = late.run_tokio(1, 2).await;
        is_over.set(true);
        late
    };
    let others_ran = async {
        tokio::task::yield_now().await;
        !is_over.get()
    };
    let (late, others_ran) = tokio::join!(late, others_ran);
    assert!(
        matches!(late, Err(Error::Launch { .. } | Error::Deadline { .. })),
        "{late:?}"
    );
    assert!(others_ran, "the runtime stood still meanwhile");
    signal(keeper, libc::SIGCONT);
    assert_eq!(confined_add.run_tokio(1, 2).await.unwrap(), 3);
    child.kill().unwrap();
    assert!(matches!(child.join().await, Err(Error::Killed)));
}

fn parent(pid: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

fn signal(pid: i32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

#[func(sandbox = "parser")]
fn dropped_soon(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// A caller that drops the future of a run has no other hold on the child.
async fn dropping_a_confined_run_kills_its_child() {
    let alive = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let names = processes.map(|entry| std::fs::read_to_string(entry.path().join("comm")));
        names
            .filter(|name| name.as_deref().is_ok_and(|name| name == "dropped_soon\n"))
            .count()
    };
    let run = dropped_soon.run_tokio(50_000);
    let seen = async {
        while alive() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        result = run => panic!("{result:?}"),
        () = seen => {}
    }
    let begun = Instant::now();
    while alive() > 0 {
        assert!(begun.elapsed() < PATIENCE, "it runs on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[crossmist::main]
fn main() {
    let arguments = Arguments::from_args();
    let asynchronous = asynchronous! {
        results_and_arguments
        confined_functions_run_under_tokio
        dropping_a_confined_run_kills_its_child
        ends_as_arguments
        one_end_blocks_and_the_other_waits_in_a_runtime
        many_packets_there_and_back
        two_hundred_calls_at_once
        deadlines_hold
        joins_can_time_out_and_go_on
        dropping_the_future_of_run_kills_the_child
        dropping_a_child_lets_it_run_on
        a_receive_that_is_dropped_loses_nothing
        a_send_that_is_dropped_in_the_middle_says_so_later
        a_send_of_one_packet_that_is_dropped_was_sent_or_not
        a_hostile_peer_is_an_error
        limits_hold
        sockets_and_files_of_tokio_are_arguments
        a_socket_of_tokio_outside_of_a_runtime_is_an_error
        callbacks_over_a_trusted_channel
        descriptors_become_ends_and_back
        panics_come_back
    };
    let plain = [
        (
            "outside_of_a_runtime_waiting_is_an_error",
            outside_of_a_runtime_waiting_is_an_error as fn(),
        ),
        (
            "an_end_outlives_its_runtime_without_a_panic",
            an_end_outlives_its_runtime_without_a_panic,
        ),
    ];
    let trials = asynchronous.into_iter().chain(plain).map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
