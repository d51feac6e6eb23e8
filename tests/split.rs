//! The two halves of a duplex: they work at the same time, and end one direction each.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use crossmist::{
    ChannelError, Duplex, Limits, Receiver, SandboxPolicy, Sender, channel, duplex, func,
};
use support::memory::shared_resident;
use support::{Case, Holdings, patience, raw, wait_until_gone};

mod support;

const CASES: &[Case] = cases![
    a_confined_child_answers_while_it_is_asked_in_every_front,
    long_values_go_through_shared_memory_in_both_directions_at_once,
    dropping_the_sender_ends_the_requests_and_no_answer,
    dropping_the_receiver_ends_the_answers_and_no_request,
    a_message_that_has_arrived_in_part_is_continued,
    a_message_that_was_sent_in_part_is_not_followed_by_another,
    halves_keep_their_limits,
    an_end_that_has_arrived_over_a_channel_can_be_split,
    half_of_a_channel_cannot_be_sent,
    a_half_that_has_become_a_descriptor_outlives_the_other,
    both_halves_end_with_their_child_wherever_that_put_its_end,
    halves_leave_no_descriptor_behind,
    a_channel_that_cannot_be_split_is_closed,
];

fn main() {
    crossmist::init();
    support::main(CASES, &[]);
}

fn policy() -> SandboxPolicy {
    let text = "format = 1\nextends = [\"parser\"]\n[limits]\nmemory = \"1GiB\"\nthreads = 2\n\
                wall_time = \"600s\"\ncpu_time = \"600s\"\n";
    SandboxPolicy::from_toml("ample", text).unwrap()
}

/// Reverses each value, on halves of its own and with a thread for the requests.
#[func(sandbox = dynamic)]
fn reverses(requests: Duplex<Vec<u8>, Vec<u8>>) -> usize {
    let (mut answers, mut requests) = requests.into_split().unwrap();
    let (to_answer, questions) = mpsc::channel();
    let receiving = std::thread::spawn(move || {
        while let Some(question) = requests.recv().unwrap() {
            to_answer.send(question).unwrap();
        }
    });
    let mut count = 0;
    for mut bytes in questions {
        bytes.reverse();
        answers.send(&bytes).unwrap();
        count += 1;
    }
    receiving.join().unwrap();
    count
}

const COUNT: usize = 50;

/// Values of one packet and of several, none like another.
fn value(number: usize) -> Vec<u8> {
    let length = if number.is_multiple_of(5) {
        1 << 20
    } else {
        100
    };
    (0..length).map(|at| (at * 31 + number) as u8).collect()
}

fn reversed(number: usize) -> Vec<u8> {
    let mut bytes = value(number);
    bytes.reverse();
    bytes
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn exchange(bulk: bool) {
    let (ours, theirs) = duplex().unwrap();
    let call = reverses.sandbox(&policy()).bulk(bulk);
    let child = call.spawn(theirs).unwrap();
    let (mut questions, mut answers) = ours.into_split().unwrap();
    let asking = std::thread::spawn(move || {
        (0..COUNT).for_each(|number| questions.send(&value(number)).unwrap());
    });
    for number in 0..COUNT {
        let Some(answer) = answers.recv().unwrap() else {
            panic!("{number}: {}", child.explain(ChannelError::Closed));
        };
        assert!(answer == reversed(number), "{number}");
    }
    assert_eq!(shared_resident() > 0, bulk);
    assert!(answers.recv().unwrap().is_none());
    asking.join().unwrap();
    assert_eq!(child.join().unwrap(), COUNT);
}

/// The same in a runtime, with a task for each half. `$both` runs two futures at once.
macro_rules! exchange_in {
    ($runtime:ident, $spawn:ident, $bulk:expr, $both:path) => {
        async {
            let (ours, theirs) = crossmist::$runtime::duplex::<Vec<u8>, Vec<u8>>().unwrap();
            let call = reverses.sandbox(&policy()).bulk($bulk);
            let child = call.$spawn(theirs.into()).await.unwrap();
            let (mut questions, mut answers) = ours.into_split().unwrap();
            let asking = async move {
                for number in 0..COUNT {
                    questions.send(&value(number)).await.unwrap();
                }
            };
            let hearing = async move {
                for number in 0..COUNT {
                    assert!(
                        answers.recv().await.unwrap() == Some(reversed(number)),
                        "{number}"
                    );
                }
                assert!(answers.recv().await.unwrap().is_none());
            };
            $both(asking, hearing).await;
            assert_eq!(child.join().await.unwrap(), COUNT);
        }
    };
}

/// Runs two futures as tasks of the runtime.
async fn both_in_tokio(
    one: impl Future<Output = ()> + Send + 'static,
    other: impl Future<Output = ()> + Send + 'static,
) {
    let (one, other) = (::tokio::spawn(one), ::tokio::spawn(other));
    one.await.unwrap();
    other.await.unwrap();
}

/// Runs two futures on a thread each.
async fn both_on_threads(
    one: impl Future<Output = ()> + Send + 'static,
    other: impl Future<Output = ()> + Send + 'static,
) {
    let one = std::thread::spawn(|| async_io::block_on(one));
    other.await;
    one.join().unwrap();
}

fn exchange_everywhere(bulk: bool) {
    exchange(bulk);
    tokio_runtime().block_on(exchange_in!(tokio, spawn_tokio, bulk, both_in_tokio));
    async_io::block_on(exchange_in!(smol, spawn_smol, bulk, both_on_threads));
}

fn a_confined_child_answers_while_it_is_asked_in_every_front() {
    exchange_everywhere(false);
}

fn long_values_go_through_shared_memory_in_both_directions_at_once() {
    exchange_everywhere(true);
}

fn dropping_the_sender_ends_the_requests_and_no_answer() {
    let (ours, mut theirs) = duplex::<u64, u64>().unwrap();
    let (mut questions, mut answers) = ours.into_split().unwrap();
    questions.send(&1).unwrap();
    // The control: the end is there.
    assert_eq!(theirs.recv().unwrap(), Some(1));
    assert!(theirs.try_recv().unwrap().is_none());
    questions.send(&2).unwrap();
    drop(questions);
    assert_eq!(theirs.recv().unwrap(), Some(2));
    assert_eq!(theirs.recv().unwrap(), None);
    theirs.send(&3).unwrap();
    assert_eq!(answers.recv().unwrap(), Some(3));
    drop(theirs);
    assert_eq!(answers.recv().unwrap(), None);
}

fn dropping_the_receiver_ends_the_answers_and_no_request() {
    let (ours, mut theirs) = duplex::<u64, u64>().unwrap();
    let (mut questions, answers) = ours.into_split().unwrap();
    // The control: there is room for it.
    theirs.send(&1).unwrap();
    drop(answers);
    assert!(matches!(theirs.send(&2), Err(ChannelError::Closed)));
    questions.send(&3).unwrap();
    assert_eq!(theirs.recv().unwrap(), Some(3));
    drop(questions);
    assert_eq!(theirs.recv().unwrap(), None);
}

fn a_message_that_has_arrived_in_part_is_continued() {
    let (mut ours, mut theirs) = duplex::<u64, Vec<u8>>().unwrap();
    let sending = std::thread::spawn(move || {
        theirs.send(&vec![7; 4 << 20]).unwrap();
        theirs.recv().unwrap()
    });
    let result = ours.recv_timeout(Duration::ZERO);
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    // Until a part has arrived, an end can be sent. It is then dropped again, and nothing is read from it.
    let (mut through, _far) = channel::<Duplex<u64, Vec<u8>>>().unwrap();
    support::wait_until("a part has arrived", || {
        let received = ours.recv_timeout(Duration::from_micros(100));
        assert!(matches!(received, Err(ChannelError::TimedOut)));
        matches!(through.try_send(&ours), Err(ChannelError::Encode(_)))
    });
    let (mut questions, mut answers) = ours.into_split().unwrap();
    assert!(answers.recv().unwrap() == Some(vec![7; 4 << 20]));
    questions.send(&5).unwrap();
    assert_eq!(sending.join().unwrap(), Some(5));
}

fn a_message_that_was_sent_in_part_is_not_followed_by_another() {
    let (mut ours, mut theirs) = duplex::<Vec<u8>, u64>().unwrap();
    let result = ours.send_timeout(&vec![7; 4 << 20], Duration::from_millis(100));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
    let (mut questions, mut answers) = ours.into_split().unwrap();
    let result = questions.send(&vec![7]);
    assert!(matches!(result, Err(ChannelError::HalfSent)), "{result:?}");
    theirs.send(&5).unwrap();
    assert_eq!(answers.recv().unwrap(), Some(5));
}

fn halves_keep_their_limits() {
    let (mut ours, mut theirs) = duplex::<Vec<u8>, Vec<u8>>().unwrap();
    theirs.send(&vec![1; 2000]).unwrap();
    assert_eq!(ours.recv().unwrap(), Some(vec![1; 2000]));
    ours.set_limits(Limits::new().message_bytes(1000));
    let (mut questions, mut answers) = ours.into_split().unwrap();
    let result = questions.send(&vec![1; 2000]);
    assert!(matches!(result, Err(ChannelError::Encode(_))), "{result:?}");
    theirs.send(&vec![1; 2000]).unwrap();
    let result = answers.recv();
    assert!(
        matches!(result, Err(ChannelError::Malformed(_))),
        "{result:?}"
    );
}

fn an_end_that_has_arrived_over_a_channel_can_be_split() {
    let (mut to, mut from) = channel::<Duplex<u64, u64>>().unwrap();
    let (ours, mut theirs) = duplex::<u64, u64>().unwrap();
    to.send(&ours).unwrap();
    drop(ours);
    let (mut questions, mut answers) = from.recv().unwrap().unwrap().into_split().unwrap();
    theirs.send(&1).unwrap();
    assert_eq!(answers.recv().unwrap(), Some(1));
    questions.send(&2).unwrap();
    drop((questions, answers));
    assert_eq!(theirs.recv().unwrap(), Some(2));
    assert_eq!(theirs.recv().unwrap(), None);
}

fn half_of_a_channel_cannot_be_sent() {
    let (mut to, _from) = channel::<Sender<u64>>().unwrap();
    let (mut back, _from) = channel::<Receiver<u64>>().unwrap();
    let (ours, _theirs) = duplex::<u64, u64>().unwrap();
    let (sender, receiver) = ours.into_split().unwrap();
    for result in [to.send(&sender), back.send(&receiver)] {
        let Err(ChannelError::Encode(error)) = result else {
            panic!("{result:?}");
        };
        assert!(error.to_string().contains("split"), "{error}");
    }
    // The control: an end that was made to send only.
    let (ours, _theirs) = duplex::<u64, u64>().unwrap();
    to.send(&ours.into_sender()).unwrap();
}

fn a_half_that_has_become_a_descriptor_outlives_the_other() {
    for receiver_first in [false, true] {
        let (ours, mut theirs) = duplex::<u64, u64>().unwrap();
        let (sender, receiver) = ours.into_split().unwrap();
        let mut duplex: Duplex<u64, u64> = match receiver_first {
            true => {
                let descriptor = OwnedFd::from(sender);
                drop(receiver);
                descriptor.try_into().unwrap()
            }
            false => {
                let descriptor = OwnedFd::from(receiver);
                drop(sender);
                descriptor.try_into().unwrap()
            }
        };
        match receiver_first {
            true => {
                duplex.send(&1).unwrap();
                assert_eq!(theirs.recv().unwrap(), Some(1));
            }
            false => {
                theirs.send(&2).unwrap();
                assert_eq!(duplex.recv().unwrap(), Some(2));
            }
        }
        drop(duplex);
        assert!(matches!(theirs.send(&3), Err(ChannelError::Closed)));
    }
}

/// Leaves its end in the queue that its answer would go through, where it stays until the program joins.
#[func(sandbox = "pure")]
fn parks(end: Duplex<u64, u64>) -> Option<File> {
    let end = OwnedFd::from(end);
    raw::send_with(raw::launch_socket(), b"x", &[end.as_raw_fd()], 0).unwrap();
    raw::exit(0)
}

/// `call_channels` has the control.
fn both_halves_end_with_their_child_wherever_that_put_its_end() {
    let (ours, theirs) = duplex::<u64, u64>().unwrap();
    let (mut questions, mut answers) = ours.into_split().unwrap();
    let child = parks.spawn(theirs).unwrap();
    wait_until_gone(child.id().unwrap());
    let result = answers.recv_timeout(patience(Duration::from_secs(30)));
    assert!(matches!(result, Ok(None)), "{result:?}");
    let result = questions.send(&1);
    assert!(matches!(result, Err(ChannelError::Closed)), "{result:?}");
}

fn halves_leave_no_descriptor_behind() {
    exchange(true);
    let before = Holdings::settled();
    for _ in 0..3 {
        let (ours, mut theirs) = duplex::<u64, u64>().unwrap();
        // One remains in the queue of the receiver.
        theirs.send(&1).unwrap();
        let (sender, receiver) = ours.into_split().unwrap();
        let dropping = std::thread::spawn(move || drop(receiver));
        drop(sender);
        dropping.join().unwrap();
        drop(theirs);
    }
    exchange(true);
    before.assert_same();
}

fn a_channel_that_cannot_be_split_is_closed() {
    let (ours, mut theirs) = duplex::<u64, u64>().unwrap();
    raw::limit_descriptors(64);
    let others: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!others.is_empty());
    let result = ours.into_split();
    assert!(
        matches!(&result, Err(ChannelError::Io { source, .. })
            if source.raw_os_error() == Some(libc::EMFILE)),
        "{result:?}"
    );
    assert_eq!(theirs.recv().unwrap(), None);
}
