//! The channels that a confined call is passed: they keep to its policy, and end with its child.

mod support;

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use crossmist::{
    ChannelError, Child, Duplex, Error, Receiver, SandboxPolicy, Sender, channel, duplex, func,
};
use support::{in_time, patience, raw, wait_until_gone};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_channel_ends_with_its_child_wherever_that_put_its_end,
            messages_sent_before_the_end_are_received,
            an_end_that_is_passed_on_by_its_type_lives_on,
            each_message_is_held_to_the_policy,
            all_messages_together_are_held_to_the_policy,
            an_end_that_is_passed_later_is_held_to_the_policy,
            both_ends_can_look_for_messages_before_they_wait,
        ],
        &[],
    );
}

// The end of a channel.

/// Leaves a descriptor in the queue that its answer would go through, where the program finds it when it joins.
fn park(end: &OwnedFd) -> ! {
    raw::send_with(raw::launch_socket(), b"x", &[end.as_raw_fd()], 0).unwrap();
    raw::exit(0)
}

#[func(sandbox = "pure")]
fn parks(end: Sender<u64>) -> Option<File> {
    park(&end.into())
}

#[func(sandbox = "pure")]
fn parks_a_receiver(end: Receiver<Vec<u8>>) -> Option<File> {
    park(&end.into())
}

#[func(sandbox = "pure")]
fn parks_what_it_may_send(end: Sender<u64>) -> Option<Sender<u64>> {
    park(&end.into())
}

/// Waits for something on a thread, and says whether it has come to an end.
fn on_a_thread<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> mpsc::Receiver<R> {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result
}

fn a_channel_ends_with_its_child_wherever_that_put_its_end() {
    let patient = patience(Duration::from_secs(30));
    // The control: the end is kept open by where it lies. A type names it, so it might be on its way.
    let (end, mut receiver) = channel::<u64>().unwrap();
    let child = parks_what_it_may_send.spawn(end).unwrap();
    wait_until_gone(child.id().unwrap());
    let result = receiver.recv_timeout(Duration::from_millis(500));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    drop(child);
    assert_eq!(receiver.recv().unwrap(), None);

    // Nobody joins it, and the wait began before it ran.
    let (end, mut receiver) = channel::<u64>().unwrap();
    let received = on_a_thread(move || receiver.recv());
    let child: Child<Option<File>> = parks.spawn(end).unwrap();
    assert_eq!(received.recv_timeout(patient).unwrap().unwrap(), None);
    let result = child.join();
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");

    let (mut sender, end) = channel::<Vec<u8>>().unwrap();
    let sent = on_a_thread(move || sender.send(&vec![0; 10 << 20]));
    let _child = parks_a_receiver.spawn(end).unwrap();
    let result = sent.recv_timeout(patient).unwrap();
    assert!(matches!(result, Err(ChannelError::Closed)), "{result:?}");
}

#[func(sandbox = "pure")]
fn sends_and_parks(mut end: Sender<u64>, count: u64) -> Option<File> {
    (0..count).for_each(|number| end.send(&number).unwrap());
    park(&end.into())
}

fn messages_sent_before_the_end_are_received() {
    let (end, mut receiver) = channel::<u64>().unwrap();
    let child = sends_and_parks.spawn(end, 100).unwrap();
    wait_until_gone(child.id().unwrap());
    std::thread::sleep(Duration::from_millis(200));
    let received: Vec<u64> = receiver.iter().map(Result::unwrap).collect();
    assert_eq!(received, (0..100).collect::<Vec<_>>());
}

#[func(sandbox = "pure")]
fn passes_on(end: Sender<u64>, mut to: Sender<Sender<u64>>) {
    to.send(&end).unwrap();
}

#[func(sandbox = "pure")]
fn gives_back(end: Sender<u64>) -> Sender<u64> {
    end
}

fn an_end_that_is_passed_on_by_its_type_lives_on() {
    let (end, mut receiver) = channel::<u64>().unwrap();
    let (to, mut ends) = channel().unwrap();
    passes_on.run(end, to).unwrap();
    let end = ends.recv().unwrap().unwrap();
    // The child is gone for a while.
    std::thread::sleep(Duration::from_millis(300));
    let mut end = gives_back.run(end).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    end.send(&7).unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(7));
}

// The limits of a policy.

fn policy(line: &str) -> SandboxPolicy {
    let text = format!("format = 1\nextends = [\"pure\"]\n[limits.channel]\n{line}\n");
    SandboxPolicy::from_toml("narrow", &text).unwrap()
}

#[func(sandbox = dynamic)]
fn sends(mut texts: Sender<String>, lengths: Vec<usize>) {
    for length in lengths {
        let _ = texts.send(&"x".repeat(length));
    }
}

#[func(sandbox = dynamic)]
fn sends_nested(mut values: Sender<Nested>, depth: usize) {
    let nest = |inner, _| Nested(Some(Box::new(inner)));
    values.send(&(0..depth).fold(Nested(None), nest)).unwrap();
    values.send(&Nested(None)).unwrap();
}

#[derive(crossmist::Object, Debug, PartialEq)]
struct Nested(Option<Box<Nested>>);

#[func(sandbox = dynamic)]
fn sends_files(mut files: Sender<Vec<File>>, file: File, count: usize) {
    let copies = (0..count).map(|_| file.try_clone().unwrap()).collect();
    files.send(&copies).unwrap();
}

/// That a channel has reached a line of the policy.
#[track_caller]
fn assert_limit<T: std::fmt::Debug>(result: Result<T, ChannelError>, name: &str, line: &str) {
    let error = result.unwrap_err();
    let ChannelError::Limit {
        function,
        policy,
        key,
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((policy.as_str(), *key), ("narrow", line));
    assert!(function.ends_with(name), "{function}");
    let text = error.to_string();
    assert!(
        text.contains(line) && text.contains(name) && text.contains("`narrow`"),
        "{text}"
    );
}

fn each_message_is_held_to_the_policy() {
    let wide = policy("message_bytes = \"2MiB\"\nnesting = 100\nmessage_fds = 20");
    let lengths = vec![100, 1 << 20];

    let (end, mut texts) = channel().unwrap();
    let child = sends.sandbox(&wide).spawn(end, lengths.clone()).unwrap();
    assert!(
        texts
            .iter()
            .map(|text| text.unwrap().len())
            .eq(lengths.clone())
    );
    child.join().unwrap();
    let narrow = policy("message_bytes = \"64KiB\"");
    let (end, mut texts) = channel().unwrap();
    let child = sends.sandbox(&narrow).spawn(end, lengths).unwrap();
    assert_eq!(texts.recv().unwrap().unwrap().len(), 100);
    for _ in 0..2 {
        assert_limit(texts.recv(), "sends", "limits.channel.message_bytes");
    }
    drop(texts);
    child.join().unwrap();
    // The end's own limit is told as such.
    let (end, mut texts) = channel().unwrap();
    texts.set_limits(crossmist::Limits::new().message_bytes(10));
    sends.sandbox(&narrow).run(end, vec![100]).unwrap();
    let result = texts.recv();
    assert!(
        matches!(result, Err(ChannelError::Malformed(_))),
        "{result:?}"
    );

    let (end, mut values) = channel().unwrap();
    sends_nested.sandbox(&wide).run(end, 80).unwrap();
    assert!(values.recv().unwrap().unwrap().0.is_some());
    let (end, mut values) = channel().unwrap();
    let narrow = policy("nesting = 20");
    sends_nested.sandbox(&narrow).run(end, 80).unwrap();
    assert_limit(values.recv(), "sends_nested", "limits.channel.nesting");
    // The next message is received.
    assert_eq!(values.recv().unwrap(), Some(Nested(None)));

    let file = || File::open("/proc/self/exe").unwrap();
    let (end, mut files) = channel().unwrap();
    sends_files.sandbox(&wide).run(end, file(), 10).unwrap();
    assert_eq!(files.recv().unwrap().unwrap().len(), 10);
    let (end, mut files) = channel().unwrap();
    let narrow = policy("message_fds = 9");
    sends_files.sandbox(&narrow).run(end, file(), 10).unwrap();
    assert_limit(files.recv(), "sends_files", "limits.channel.message_fds");
}

#[func(sandbox = dynamic)]
fn sends_by_two(mut one: Sender<String>, mut other: Duplex<String, ()>, count: usize) {
    for _ in 0..count {
        let _ = one.send(&"x".repeat(1000));
        let _ = other.send(&"x".repeat(1000));
    }
}

fn all_messages_together_are_held_to_the_policy() {
    let count = |line: &str| {
        let (one, mut first) = channel::<String>().unwrap();
        let (mut second, other) = duplex::<(), String>().unwrap();
        sends_by_two
            .sandbox(&policy(line))
            .run(one, other, 50)
            .unwrap();
        let mut received = 0;
        loop {
            for result in [first.recv(), second.recv()] {
                match result {
                    Ok(Some(_)) => received += 1,
                    Ok(None) => return (received, None),
                    Err(ChannelError::Limit { key, .. }) => return (received, Some(key)),
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    };
    // By default there are as many as one likes.
    assert_eq!(count(""), (100, None));
    assert_eq!(
        count("messages = 40"),
        (40, Some("limits.channel.messages"))
    );
    let total = Some("limits.channel.total_bytes");
    assert_eq!(count("total_bytes = \"20000B\""), (19, total));
}

#[func(sandbox = dynamic)]
fn answers_busily(mut channel: Duplex<u64, u64>, time: Duration) {
    channel.set_busy_poll(time);
    while let Some(number) = channel.recv().unwrap() {
        // The first of all messages waits until the program has given up.
        if number > 0 {
            channel.send(&(number + 1)).unwrap();
        }
    }
}

fn both_ends_can_look_for_messages_before_they_wait() {
    // For a moment, or for as long as it takes.
    for (time, requests) in [
        (Duration::from_micros(30), 50),
        (Duration::from_secs(3600), 10),
    ] {
        for name in ["pure", "parser", "worker"] {
            let (mut channel, theirs) = duplex().unwrap();
            let policy = in_time(name, Duration::from_secs(60), "");
            let child = answers_busily.sandbox(&policy).spawn(theirs, time).unwrap();
            channel.set_busy_poll(time);
            let result = channel.request_timeout(&0, Duration::from_millis(1));
            assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
            for number in 1..=requests {
                assert_eq!(channel.request(&number).unwrap(), number + 1);
            }
            drop(channel);
            child.join().unwrap();
        }
    }
}

#[func(sandbox = dynamic)]
fn sends_over_what_arrives(mut ends: Receiver<Sender<String>>, length: usize) {
    let mut end = ends.recv().unwrap().unwrap();
    end.send(&"x".repeat(length)).unwrap();
}

fn an_end_that_is_passed_later_is_held_to_the_policy() {
    let policy = policy("message_bytes = \"64KiB\"");
    for (length, is_allowed) in [(1000, true), (100_000, false)] {
        let (mut ends, theirs) = channel().unwrap();
        let child = sends_over_what_arrives.sandbox(&policy);
        let child = child.spawn(theirs, length).unwrap();
        let (end, mut texts) = channel().unwrap();
        ends.send(&end).unwrap();
        drop(end);
        match is_allowed {
            true => assert_eq!(texts.recv().unwrap().unwrap().len(), length),
            false => assert_limit(
                texts.recv(),
                "sends_over_what_arrives",
                "limits.channel.message_bytes",
            ),
        }
        child.join().unwrap();
    }
}
