//! Channels and children on async-io: programs that users of smol write, mixed ends, cancel safety.

use std::os::fd::OwnedFd;
use std::time::Duration;

use async_io::Timer;
use crossmist::smol::{Duplex, Receiver, Sender, channel, duplex, trusted};
use crossmist::{ChannelError, Error, FnOnceObject, func, lambda};
use support::{Case, patience};

mod support;

#[func(smol)]
async fn add(x: i32, y: i32) -> i32 {
    Timer::after(Duration::from_millis(1)).await;
    x + y
}

#[func(smol)]
async fn difference(mut rx: Receiver<i32>) -> i32 {
    let a = rx.recv().await.unwrap().unwrap();
    let b = rx.recv().await.unwrap().unwrap();
    a - b
}

#[func(smol)]
async fn produce(mut tx: Sender<i32>) {
    tx.send(&5).await.unwrap();
    tx.send(&7).await.unwrap();
}

#[func(smol)]
async fn subtract(mut chan: Duplex<i32, (i32, i32)>) {
    while let Some((x, y)) = chan.recv().await.unwrap() {
        chan.send(&(x - y)).await.unwrap();
    }
}

#[func(sandbox = "parser", threads = 2)]
fn longest(words: Vec<String>) -> Option<String> {
    words.into_iter().max_by_key(String::len)
}

#[func]
fn sleeps(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

fn results_and_arguments() {
    async_io::block_on(async {
        assert_eq!(add.run_smol(5, 7).await.unwrap(), 12);
        assert_eq!(
            add.spawn_smol(5, 7).await.unwrap().join().await.unwrap(),
            12
        );
        assert_eq!(add(5, 7).await, 12);
        // Whether a function is `async` has nothing to do with how it is called.
        assert_eq!(sleeps.run_smol(1).await.unwrap(), 1);
    });
    assert_eq!(add.run(5, 7).unwrap(), 12);
}

fn confined_functions_run() {
    let words = ["a", "few", "words"].map(str::to_owned);
    let result = async_io::block_on(longest.run_smol(words.to_vec()));
    assert_eq!(result.unwrap().as_deref(), Some("words"));
}

fn ends_as_arguments() {
    async_io::block_on(async {
        let (mut tx, rx) = channel().unwrap();
        let child = difference.spawn_smol(rx).await.unwrap();
        tx.send(&5).await.unwrap();
        tx.send(&7).await.unwrap();
        assert_eq!(child.join().await.unwrap(), -2);

        let (tx, mut rx) = channel().unwrap();
        let child = produce.spawn_smol(tx).await.unwrap();
        assert_eq!(rx.recv().await.unwrap(), Some(5));
        assert_eq!(rx.recv().await.unwrap(), Some(7));
        assert_eq!(rx.recv().await.unwrap(), None);
        child.join().await.unwrap();

        let (mut ours, theirs) = duplex().unwrap();
        let child = subtract.spawn_smol(theirs).await.unwrap();
        assert_eq!(ours.request(&(5, 7)).await.unwrap(), -2);
        drop(ours);
        child.join().await.unwrap();
    });
}

fn ends_change_from_one_way_of_waiting_to_another() {
    let (tx, rx) = crossmist::channel::<u32>().unwrap();
    let (mut tx, mut rx) = (Sender::from(tx), Receiver::from(rx));
    async_io::block_on(async {
        tx.send(&1).await.unwrap();
        assert_eq!(rx.recv().await.unwrap(), Some(1));
    });
    let (mut tx, mut rx) = (crossmist::Sender::from(tx), crossmist::Receiver::from(rx));
    tx.send(&2).unwrap();
    assert_eq!(rx.recv().unwrap(), Some(2));
    let descriptor = OwnedFd::from(crossmist::Sender::<u32>::from(Sender::from(tx)));
    drop(descriptor);
    assert_eq!(rx.recv().unwrap(), None);
}

/// The arrived part of a message is kept for the next receive.
fn a_receive_that_is_dropped_loses_nothing() {
    async_io::block_on(async {
        let (tx, mut rx) = channel::<Vec<u8>>().unwrap();
        let mut tx = crossmist::Sender::from(tx);
        let big = vec![7; 3_000_000];
        let expected = big.clone();
        let sender = std::thread::spawn(move || tx.send(&big).unwrap());
        loop {
            let soon = async {
                Timer::after(Duration::from_micros(100)).await;
                None
            };
            let received = async { Some(rx.recv().await) };
            // Whichever is first; the other is dropped.
            if let Some(result) = first(received, soon).await {
                assert_eq!(result.unwrap().unwrap(), expected);
                break;
            }
        }
        sender.join().unwrap();
    });
}

fn a_send_that_is_dropped_in_the_middle_says_so_later() {
    async_io::block_on(async {
        let (mut tx, _rx) = channel::<Vec<u8>>().unwrap();
        let big = vec![7; 8_000_000];
        let sent = async { Some(tx.send(&big).await) };
        let late = async {
            Timer::after(Duration::from_millis(100)).await;
            None
        };
        assert!(first(sent, late).await.is_none());
        let later = tx.send(&vec![1]).await;
        assert!(matches!(later, Err(ChannelError::HalfSent)), "{later:?}");
    });
}

async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    std::future::poll_fn(|context| match one.as_mut().poll(context) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(value),
        std::task::Poll::Pending => other.as_mut().poll(context),
    })
    .await
}

fn dropping_the_future_of_run_kills_the_child() {
    async_io::block_on(async {
        let late = async {
            Timer::after(Duration::from_millis(100)).await;
            None
        };
        let run = async { Some(sleeps.run_smol(3_600_000).await) };
        assert!(first(run, late).await.is_none());
    });
    support::wait_until("the child is gone", || support::raw::any_child().is_none());
}

/// A peer that never stops sending keeps no other task waiting.
fn a_busy_channel_leaves_others_their_turn() {
    async_io::block_on(async {
        let (mut tx, mut rx) = channel::<u64>().unwrap();
        let mut others = 0u32;
        let busy = async {
            for number in 0..100_000 {
                tx.send(&number).await.unwrap();
                assert_eq!(rx.recv().await.unwrap(), Some(number));
            }
            true
        };
        let other = async {
            loop {
                others += 1;
                if others > 100 {
                    return false;
                }
                let mut was_given = false;
                std::future::poll_fn(|context| {
                    if std::mem::replace(&mut was_given, true) {
                        return std::task::Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                })
                .await;
            }
        };
        assert!(!first(busy, other).await, "the other task came last");
    });
}

fn two_hundred_calls_at_once() {
    async_io::block_on(async {
        let mut children = Vec::new();
        for number in 0..200 {
            children.push(add.spawn_smol(number, 1).await.unwrap());
        }
        for (number, child) in (0..).zip(children) {
            assert_eq!(child.join().await.unwrap(), number + 1);
        }
    });
}

fn joins_can_time_out_and_go_on() {
    async_io::block_on(async {
        let mut child = sleeps.spawn_smol(3000).await.unwrap();
        assert!(
            child
                .join_timeout(Duration::from_millis(1))
                .await
                .unwrap()
                .is_none()
        );
        let result = child.join_timeout(patience(Duration::from_secs(60))).await;
        assert_eq!(result.unwrap(), Some(3000));
        let late = sleeps.builder().deadline(Duration::from_millis(50));
        assert!(matches!(
            late.run_smol(3_600_000).await,
            Err(Error::Deadline { .. })
        ));
    });
}

type Code = Box<dyn FnOnceObject<(i32,), Output = i32>>;

#[func]
fn apply(mut rx: crossmist::Receiver<Code>) -> i32 {
    rx.recv().unwrap().unwrap().call_object_once((5,))
}

fn callbacks_over_a_trusted_channel() {
    async_io::block_on(async {
        let (mut tx, rx) = trusted::channel::<Code>().unwrap();
        let child = apply.spawn_smol(rx.into()).await.unwrap();
        let seven = 7;
        let code: Code = Box::new(lambda! { move(seven: i32) |x: i32| -> i32 { x + seven } });
        tx.send(&code).await.unwrap();
        assert_eq!(child.join().await.unwrap(), 12);
    });
}

const CASES: &[Case] = cases![
    results_and_arguments,
    confined_functions_run,
    ends_as_arguments,
    ends_change_from_one_way_of_waiting_to_another,
    a_receive_that_is_dropped_loses_nothing,
    a_send_that_is_dropped_in_the_middle_says_so_later,
    dropping_the_future_of_run_kills_the_child,
    a_busy_channel_leaves_others_their_turn,
    two_hundred_calls_at_once,
    joins_can_time_out_and_go_on,
    callbacks_over_a_trusted_channel,
];

#[crossmist::main]
fn main() {
    support::main(CASES, &[]);
}
