//! One table of events, driven through every way to wait: blocking, tokio, async-io. All of them see the
//! same.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crossmist::{ChannelError, Error, Limits, Object, ProtocolError, Receiver, channel, func};
use nix::sys::socket::{MsgFlags, send};
use support::{Case, patience};

mod support;

#[func]
fn double(number: u64) -> u64 {
    number * 2
}

#[func]
fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[func]
fn panics(text: String) {
    panic!("{text}");
}

#[func]
fn exits(status: i32) {
    std::process::exit(status);
}

#[func]
fn aborts() {
    std::process::abort();
}

#[func]
fn never_answers() {
    loop {
        std::thread::park();
    }
}

#[func]
fn closes_its_channel() {
    support::raw::close(support::raw::launch_socket());
    never_answers();
}

/// Sends these packets in place of an answer, and ends.
#[func]
fn says(packets: Vec<Vec<u8>>) {
    for packet in packets {
        support::raw::send(support::raw::launch_socket(), &packet).unwrap();
    }
    std::process::exit(0);
}

#[func]
fn answers_late(mut go: Receiver<()>) -> u64 {
    go.recv().unwrap();
    7
}

#[func(sandbox = dynamic)]
fn reads_a_file(path: String) -> bool {
    std::fs::read(path).is_ok()
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// The results of one call through every front.
macro_rules! everywhere {
    ($builder:expr, ($($argument:expr),*)) => {
        [
            ("blocking", $builder.run($($argument),*)),
            ("tokio", tokio_runtime().block_on($builder.run_tokio($($argument),*))),
            ("smol", async_io::block_on($builder.run_smol($($argument),*))),
        ]
    };
}

macro_rules! all_are {
    ($results:expr, $pattern:pat $(if $guard:expr)?) => {
        for (front, result) in $results {
            assert!(matches!(result, $pattern $(if $guard)?), "{front}: {result:?}");
        }
    };
}

fn every_end_of_a_call_looks_the_same() {
    all_are!(everywhere!(double.builder(), (21)), Ok(42));
    // Arguments and answers of many packets, for which both sides have to wait.
    let bytes: Vec<u8> = (0..9_000_000u32).map(|number| number as u8).collect();
    let expected: Vec<u8> = bytes.iter().rev().copied().collect();
    all_are!(
        everywhere!(reverse.builder(), (bytes.clone())),
        Ok(ref answer) if *answer == expected
    );
    all_are!(
        everywhere!(panics.builder(), ("so it goes".to_owned())),
        Err(Error::Panicked(ref panic)) if panic.message.as_raw() == "so it goes"
    );
    all_are!(
        everywhere!(exits.builder(), (9)),
        Err(Error::Exited { status: 9, .. })
    );
    all_are!(
        everywhere!(aborts.builder(), ()),
        Err(Error::Signalled {
            signal: libc::SIGABRT,
            ..
        })
    );
    all_are!(
        everywhere!(closes_its_channel.builder(), ()),
        Err(Error::Silent)
    );
    let time = Duration::from_millis(300);
    all_are!(
        everywhere!(never_answers.builder().deadline(time), ()),
        Err(Error::Deadline { after, .. }) if after == time
    );
}

fn every_malformed_answer_looks_the_same() {
    let said = |packets: &[&[u8]]| -> Vec<Vec<u8>> {
        packets.iter().map(|packet| packet.to_vec()).collect()
    };
    let announced = |bytes: u32| {
        let mut header = vec![0xC1, 0, 0, 0];
        header.extend_from_slice(&bytes.to_le_bytes());
        header.extend_from_slice(&[0; 16]);
        header.extend_from_slice(&5u64.to_le_bytes());
        header
    };
    all_are!(
        everywhere!(says.builder(), (said(&[b"no header"]))),
        Err(Error::Malformed(ProtocolError::Short { .. }))
    );
    all_are!(
        everywhere!(says.builder(), (said(&[b""]))),
        Err(Error::Malformed(ProtocolError::Empty) | Error::Exited { status: 0, .. })
    );
    all_are!(
        everywhere!(says.builder(), (said(&[&announced(100)]))),
        Err(Error::Malformed(ProtocolError::Unfinished))
    );
    let limits = Limits::new().message_bytes(64);
    all_are!(
        everywhere!(says.builder().limits(limits), (said(&[]))),
        Err(Error::Exited { status: 0, .. })
    );
}

fn every_policy_looks_the_same() {
    let policy = support::builtin("pure");
    for (front, result) in everywhere!(
        reads_a_file.sandbox(&policy),
        ("/proc/self/status".to_owned())
    ) {
        assert!(
            matches!(result, Ok(false) | Err(Error::Violation(_))),
            "{front}: {result:?}"
        );
    }
    // The child's report on its confinement, before it ends.
    let path = || "/".to_owned();
    let mut blocking = reads_a_file.sandbox(&policy).spawn(path()).unwrap();
    let seen = blocking.confinement().unwrap().unwrap();
    let under_tokio = tokio_runtime().block_on(async {
        let mut child = reads_a_file
            .sandbox(&policy)
            .spawn_tokio(path())
            .await
            .unwrap();
        child.confinement().await.unwrap().unwrap()
    });
    let under_smol = async_io::block_on(async {
        let mut child = reads_a_file
            .sandbox(&policy)
            .spawn_smol(path())
            .await
            .unwrap();
        child.confinement().await.unwrap().unwrap()
    });
    for status in [under_tokio, under_smol] {
        assert_eq!(status.namespaces, seen.namespaces);
        assert_eq!(status.missing, seen.missing);
        assert_eq!(status.own_user.is_some(), seen.own_user.is_some());
    }
}

/// The same steps on a `Child`, with or without `.await`.
macro_rules! handle_is_consistent {
    ($spawn:ident, $($wait:tt)*) => {{
        let soon = Duration::from_millis(20);
        let (mut tx, rx) = channel::<()>().unwrap();
        let mut child = answers_late.builder().$spawn(rx)$($wait)*.unwrap();
        assert!(matches!(child.join_timeout(soon)$($wait)*, Ok(None)));
        assert!(matches!(child.join_timeout(Duration::ZERO)$($wait)*, Ok(None)));
        tx.send(&()).unwrap();
        let result = child.join_timeout(patience(Duration::from_secs(60)))$($wait)*;
        assert!(matches!(result, Ok(Some(7))), "{result:?}");
        // It was joined.
        assert!(matches!(child.join_timeout(soon)$($wait)*, Err(Error::AlreadyJoined)));

        let child = never_answers.builder().$spawn()$($wait)*.unwrap();
        child.kill_handle().kill().unwrap();
        assert!(matches!(child.join()$($wait)*, Err(Error::Killed)));

        // A child that has ended without an answer is seen by a wait that has no time.
        let mut child = exits.builder().$spawn(3)$($wait)*.unwrap();
        let id = child.id().unwrap();
        support::wait_until("it has ended", || support::state(id) == Some('Z'));
        let result = child.join_timeout(Duration::ZERO)$($wait)*;
        assert!(matches!(result, Err(Error::Exited { status: 3, .. })), "{result:?}");
    }};
}

fn every_handle_does_the_same() {
    handle_is_consistent!(spawn,);
    tokio_runtime().block_on(async { handle_is_consistent!(spawn_tokio, .await) });
    async_io::block_on(async { handle_is_consistent!(spawn_smol, .await) });
}

/// Sends packets as a peer that is not this library, and lets each front receive what it makes of them.
fn received<T: Object + std::fmt::Debug>(
    packets: &[&[u8]],
    limits: Limits,
) -> [(&'static str, String); 3] {
    let receiver = || {
        let (sender, mut receiver) = channel::<T>().unwrap();
        let sender = OwnedFd::from(sender);
        for packet in packets {
            send(sender.as_raw_fd(), packet, MsgFlags::empty()).unwrap();
        }
        receiver.set_limits(limits);
        receiver
    };
    let under_tokio = tokio_runtime()
        .block_on(async { crossmist::tokio::Receiver::from(receiver()).recv().await });
    let under_smol =
        async_io::block_on(async { crossmist::smol::Receiver::from(receiver()).recv().await });
    [
        ("blocking", format!("{:?}", receiver().recv())),
        ("tokio", format!("{under_tokio:?}")),
        ("smol", format!("{under_smol:?}")),
    ]
}

fn every_channel_receives_the_same() {
    let good = crossmist::to_bytes(&vec![1u8, 2, 3]).unwrap();
    let small = Limits::new().message_bytes(2);
    let table: [(&[&[u8]], Limits, &str); 7] = [
        (&[&good], Limits::default(), "Ok(Some([1, 2, 3]))"),
        (
            &[&good, b"garbage"],
            Limits::default(),
            "Ok(Some([1, 2, 3]))",
        ),
        (&[], Limits::default(), "Ok(None)"),
        (&[b"garbage"], Limits::default(), "Err("),
        // As the end does, since the peer has gone.
        (&[b""], Limits::default(), "Ok(None)"),
        (&[&good[..32]], Limits::default(), "Err("),
        (&[&good], small, "Err("),
    ];
    for (packets, limits, expected) in table {
        let seen = received::<Vec<u8>>(packets, limits);
        let [(_, first), ..] = &seen;
        for (front, result) in &seen {
            assert!(result.starts_with(expected), "{front}: {result}");
            assert_eq!(result, first, "{front}");
        }
    }
}

/// The same steps on the two ends of a channel.
macro_rules! ends_are_consistent {
    ($front:ident $(:: $module:ident)*, [$($wait:tt)*]) => {{
        use $front $(:: $module)*::{channel, duplex};
        let (mut tx, mut rx) = channel::<Vec<u8>>().unwrap();
        assert!(rx.try_recv().unwrap().is_none());
        tx.send(&vec![1])$($wait)*.unwrap();
        assert_eq!(rx.recv()$($wait)*.unwrap(), Some(vec![1]));
        // A peer that has gone.
        drop(rx);
        let gone = tx.send(&vec![2])$($wait)*;
        assert!(matches!(gone, Err(ChannelError::Closed)), "{gone:?}");

        let (mut ours, theirs) = duplex::<u8, u8>().unwrap();
        assert!(ours.try_send(&1).unwrap());
        drop(theirs);
        let unanswered = ours.request(&2)$($wait)*;
        assert!(
            matches!(unanswered, Err(ChannelError::Closed | ChannelError::NoAnswer)),
            "{unanswered:?}"
        );
    }};
}

fn every_channel_end_does_the_same() {
    ends_are_consistent!(crossmist, []);
    tokio_runtime().block_on(async { ends_are_consistent!(crossmist::tokio, [.await]) });
    async_io::block_on(async { ends_are_consistent!(crossmist::smol, [.await]) });
}

/// A packet is refused while too many of this user's descriptors are in flight. Each front tries again.
fn every_front_waits_for_descriptors_in_flight() {
    use std::fs::File;
    let file = || File::open("/etc/passwd").unwrap();
    // Descriptors in flight are counted by user, and bounded by RLIMIT_NOFILE for those who are not root.
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    nix::unistd::setuid(nix::unistd::Uid::from_raw(54_321)).unwrap();
    let (mut full, mut emptied) = channel::<Vec<File>>().unwrap();
    let crowd = |full: &mut crossmist::Sender<Vec<File>>| {
        let files: Vec<File> = (0..40).map(|_| file()).collect();
        full.send(&files).unwrap();
        full.send(&files).unwrap();
    };
    let emptier = |mut rx: crossmist::Receiver<Vec<File>>| {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            for _ in 0..2 {
                drop(rx.recv().unwrap());
            }
            rx
        })
    };

    crowd(&mut full);
    let (mut tx, mut rx) = channel::<File>().unwrap();
    assert!(!tx.try_send(&file()).unwrap(), "there is room for one more");
    let empty = emptier(emptied);
    tx.send(&file()).unwrap();
    rx.recv().unwrap().unwrap();
    emptied = empty.join().unwrap();

    crowd(&mut full);
    let empty = emptier(emptied);
    tokio_runtime().block_on(async {
        let (mut tx, mut rx) = crossmist::tokio::channel::<File>().unwrap();
        tx.send(&file()).await.unwrap();
        rx.recv().await.unwrap().unwrap();
    });
    emptied = empty.join().unwrap();

    crowd(&mut full);
    let empty = emptier(emptied);
    async_io::block_on(async {
        let (mut tx, mut rx) = crossmist::smol::channel::<File>().unwrap();
        tx.send(&file()).await.unwrap();
        rx.recv().await.unwrap().unwrap();
    });
    empty.join().unwrap();
    drop(full);
}

const CASES: &[Case] = cases![
    every_end_of_a_call_looks_the_same,
    every_malformed_answer_looks_the_same,
    every_policy_looks_the_same,
    every_handle_does_the_same,
    every_channel_receives_the_same,
    every_channel_end_does_the_same,
    every_front_waits_for_descriptors_in_flight needs Root,
];

#[crossmist::main]
fn main() {
    support::main(CASES, &[]);
}
