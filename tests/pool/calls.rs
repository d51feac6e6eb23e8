//! Calls through a pool.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossmist::{Error, Pool, Receiver, Sender, UnsupportedKind, channel, func};

use crate::cases;
use crate::support::{Case, patience, wait_until};

#[func(sandbox = "parser")]
fn own_id() -> u32 {
    std::process::id()
}

#[func(sandbox = "parser")]
fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[func(sandbox = "parser")]
pub(crate) fn add(x: u64, y: u64) -> u64 {
    x + y
}

#[func(sandbox = "parser")]
fn length(mut file: File) -> u64 {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap() as u64
}

#[func(sandbox = "parser")]
fn echo(mut rx: Receiver<String>, mut tx: Sender<String>) {
    while let Some(text) = rx.recv().unwrap() {
        tx.send(&text).unwrap();
    }
}

#[func(sandbox = "parser")]
pub(crate) fn waits_for_go(mut go: Receiver<()>) -> u32 {
    go.recv().unwrap();
    std::process::id()
}

#[func]
fn unconfined() {}

pub(crate) fn until_full<A: crossmist::Object, R: crossmist::Object + Send>(
    pool: &Pool<A, R>,
    spares: usize,
) {
    wait_until("the spares are there", || pool.stats().spares == spares);
}

fn every_call_meets_a_process_of_its_own() {
    let pool = Pool::of(own_id).workers(2).spares(3).build().unwrap();
    let ids: BTreeSet<u32> = (0..20).map(|_| pool.run().unwrap()).collect();
    assert_eq!(ids.len(), 20);
    let stats = pool.stats();
    assert_eq!((stats.calls, stats.failed, stats.running), (20, 0, 0));
    assert_eq!(stats.hits + stats.misses, 20);
    assert!(stats.latency.p50 <= stats.latency.max && !stats.latency.max.is_zero());
}

fn calls_use_the_spares_that_wait() {
    let pool = Pool::of(add).workers(4).spares(4).build().unwrap();
    for round in 1..=5 {
        until_full(&pool, 4);
        assert_eq!(pool.run(round, 1).unwrap(), round + 1);
        assert_eq!(pool.stats().hits, round);
    }
    assert_eq!(pool.stats().misses, 0);
}

fn without_spares_each_call_starts_its_child() {
    let pool = Pool::of(add).spares(0).build().unwrap();
    assert_eq!(pool.run(1, 2).unwrap(), 3);
    let stats = pool.stats();
    assert_eq!((stats.hits, stats.misses, stats.spares), (0, 1, 0));
}

fn large_arguments_and_answers_arrive() {
    let pool = Pool::of(reverse).spares(1).build().unwrap();
    let bytes: Vec<u8> = (0..12_000_000u32).map(|number| number as u8).collect();
    let expected: Vec<u8> = bytes.iter().rev().copied().collect();
    until_full(&pool, 1);
    assert_eq!(pool.run(bytes).unwrap(), expected);
}

fn files_and_channels_are_arguments() {
    let pool = Pool::of(length).spares(1).build().unwrap();
    let file = File::open("/proc/self/exe").unwrap();
    let expected = file.metadata().unwrap().len();
    assert_eq!(pool.run(file).unwrap(), expected);

    let pool = Pool::of(echo).spares(1).build().unwrap();
    let (mut to, rx) = channel().unwrap();
    let (tx, mut from) = channel().unwrap();
    let clone = pool.clone();
    let call = std::thread::spawn(move || clone.run(rx, tx));
    to.send(&"hello".to_owned()).unwrap();
    assert_eq!(from.recv().unwrap().as_deref(), Some("hello"));
    drop(to);
    call.join().unwrap().unwrap();
    assert_eq!(from.recv().unwrap(), None);
}

fn a_function_without_a_sandbox_has_no_pool() {
    match Pool::of(unconfined).build() {
        Err(Error::Unsupported { kind, reason, .. }) => {
            assert_eq!(kind, UnsupportedKind::NoSandbox);
            assert!(reason.contains("sandbox"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

fn no_more_calls_run_at_once_than_there_are_workers() {
    let pool = Pool::of(waits_for_go).workers(2).spares(2).build().unwrap();
    let mut gos = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..2 {
        let (go, rx) = channel().unwrap();
        gos.push(go);
        let pool = pool.clone();
        calls.push(std::thread::spawn(move || pool.run(rx)));
    }
    wait_until("both run", || pool.stats().running == 2);
    let (_, rx) = channel().unwrap();
    assert!(matches!(pool.try_run(rx), Err(Error::PoolBusy)));
    let (_, rx) = channel().unwrap();
    let late = pool.run_timeout(Duration::from_millis(20), rx);
    assert!(matches!(late, Err(Error::PoolBusy)), "{late:?}");
    assert_eq!(pool.stats().busy, 2);

    // The third waits in line, and gets the place of the first that ends.
    let (mut go, rx) = channel().unwrap();
    let third = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.run_timeout(patience(Duration::from_secs(60)), rx))
    };
    wait_until("the third waits", || pool.stats().waiting == 1);
    go.send(&()).unwrap();
    for mut go in gos {
        go.send(&()).unwrap();
    }
    for call in calls {
        call.join().unwrap().unwrap();
    }
    third.join().unwrap().unwrap();
    assert!(pool.stats().waited >= 1);
}

fn many_threads_lose_no_call() {
    let pool = Pool::of(add).workers(3).spares(3).build().unwrap();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (pool, done) = (&pool, &done);
            scope.spawn(move || {
                for number in 0..40 {
                    assert_eq!(pool.run(thread, number).unwrap(), thread + number);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.into_inner(), 320);
    let stats = pool.stats();
    assert_eq!(
        (stats.calls, stats.failed, stats.running, stats.waiting),
        (320, 0, 0, 0)
    );
}

#[func(sandbox = "pure")]
fn odd_ones_panic(number: u64) -> u64 {
    assert!(number.is_multiple_of(2), "{number} is odd");
    number * 10
}

fn a_map_keeps_the_order_and_each_error_to_itself() {
    let pool = Pool::of(odd_ones_panic)
        .workers(3)
        .spares(3)
        .build()
        .unwrap();
    let mut taken = 0;
    let items = (0..30u64).inspect(|_| taken += 1);
    let results: Vec<_> = pool.map(items).collect();
    assert_eq!(taken, 30);
    assert_eq!(results.len(), 30);
    for (number, result) in (0..).zip(results) {
        match (number % 2, result) {
            (0, Ok(value)) => assert_eq!(value, number * 10),
            (1, Err(Error::Panicked(panic))) => {
                assert!(panic.message.as_raw().starts_with(&number.to_string()));
            }
            (_, other) => panic!("{number}: {other:?}"),
        }
    }
    let mut seen = BTreeSet::new();
    for (position, result) in pool.map_unordered(0..30u64) {
        assert_eq!(result.is_ok(), position % 2 == 0);
        seen.insert(position);
    }
    assert_eq!(seen.len(), 30);
}

/// It takes items only as there are workers, and ends what runs when it is dropped.
fn a_map_may_be_without_end() {
    let pool = Pool::of(odd_ones_panic)
        .workers(2)
        .spares(2)
        .build()
        .unwrap();
    let taken = std::cell::Cell::new(0u64);
    let items = (0..).map(|number: u64| {
        taken.set(taken.get() + 1);
        number * 2
    });
    let first: Result<Vec<u64>, _> = pool.map(items).take(5).collect();
    assert_eq!(first.unwrap(), [0, 20, 40, 60, 80]);
    assert!(taken.get() <= 7, "{}", taken.get());
    assert_eq!(pool.stats().running, 0);
}

#[cfg(feature = "tokio")]
fn calls_wait_in_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = Pool::of(add).workers(2).spares(2).build().unwrap();
        let calls = (0..50).map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run_tokio(number, 1).await })
        });
        for (number, call) in (0..).zip(calls.collect::<Vec<_>>()) {
            assert_eq!(call.await.unwrap().unwrap(), number + 1);
        }
        // A call that is dropped while it waits leaves the line, and one that is dropped while it runs ends
        // its child.
        let pool = Pool::of(waits_for_go).workers(1).spares(1).build().unwrap();
        let (_go, rx) = channel().unwrap();
        let running = {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run_tokio(rx).await })
        };
        while pool.stats().running == 0 {
            tokio::task::yield_now().await;
        }
        let (_other_go, rx) = channel().unwrap();
        let waiting = {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run_tokio(rx).await })
        };
        while pool.stats().waiting == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(pool.stats().waiting, 0);
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert_eq!(pool.stats().running, 0);
        // Running calls end before the shutdown does.
        let (mut go, rx) = channel().unwrap();
        let last = {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run_tokio(rx).await })
        };
        while pool.stats().running == 0 {
            tokio::task::yield_now().await;
        }
        let shutdown = {
            let pool = pool.clone();
            tokio::spawn(async move { pool.shutdown().await })
        };
        tokio::task::yield_now().await;
        let (_, rx) = channel().unwrap();
        assert!(matches!(pool.run_tokio(rx).await, Err(Error::PoolClosed)));
        assert!(!shutdown.is_finished());
        go.send(&()).unwrap();
        last.await.unwrap().unwrap();
        shutdown.await.unwrap();
    });
}

#[cfg(feature = "tower")]
fn a_pool_is_a_service() {
    use tower::{Service, ServiceExt};
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let mut pool = Pool::of(odd_ones_panic)
            .workers(1)
            .spares(1)
            .build()
            .unwrap();
        assert_eq!(pool.ready().await.unwrap().call(4).await.unwrap(), 40);
        assert!(matches!(
            pool.ready().await.unwrap().call(5).await,
            Err(Error::Panicked(_))
        ));
        // One that is ready holds the worker; others are not, until it has been called or dropped.
        let ready = pool.ready().await.unwrap();
        let mut other = ready.clone();
        let is_pending = |service: &mut Pool<(u64,), u64>| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            Service::<u64>::poll_ready(service, &mut context).is_pending()
        };
        assert!(is_pending(&mut other));
        let call = ready.call(2);
        assert!(is_pending(&mut other));
        assert_eq!(call.await.unwrap(), 20);
        assert!(!is_pending(&mut other));
        drop(other);
        // A layer that sheds load sees that it is busy.
        let held = {
            let mut held = pool.clone();
            held.ready().await.unwrap();
            held
        };
        let mut shedding = tower::load_shed::LoadShed::new(pool.clone());
        let shed = shedding.ready().await.unwrap().call(2).await;
        assert!(
            shed.unwrap_err()
                .is::<tower::load_shed::error::Overloaded>()
        );
        drop((held, shedding));
        let mut shedding = tower::load_shed::LoadShed::new(pool.clone());
        assert_eq!(shedding.ready().await.unwrap().call(2).await.unwrap(), 20);
        pool.close();
        assert!(matches!(pool.ready().await, Err(Error::PoolClosed)));
    });
}

#[cfg(not(feature = "tower"))]
fn a_pool_is_a_service() {}

#[cfg(feature = "smol")]
fn calls_wait_on_async_io() {
    async_io::block_on(async {
        let pool = Pool::of(add).workers(2).spares(2).build().unwrap();
        for number in 0..10 {
            assert_eq!(pool.run_smol(number, 1).await.unwrap(), number + 1);
        }
        pool.shutdown().await;
        assert!(matches!(pool.run_smol(1, 1).await, Err(Error::PoolClosed)));
    });
}

#[cfg(not(feature = "tokio"))]
fn calls_wait_in_a_runtime() {}

#[cfg(not(feature = "smol"))]
fn calls_wait_on_async_io() {}

#[func(sandbox = "parser", spares = 2)]
fn own_id_of_a_spare() -> u32 {
    std::process::id()
}

#[func(sandbox = "pure", spares = 1)]
fn sum_of_a_spare(numbers: Vec<u64>, more: u64) -> Result<u64, String> {
    match numbers.is_empty() {
        true => Err("there are none".to_owned()),
        false => Ok(numbers.iter().sum::<u64>() + more),
    }
}

/// Nothing changes for the caller of a function with spares.
fn plain_calls_use_spares() {
    let keeper = crate::hostile::keeper();
    let spares = || crate::hostile::named(keeper, "own_id_of_a_spa");
    assert!(spares().is_empty());
    let (mut ids, mut calls) = (BTreeSet::new(), 0);
    for _ in 0..5 {
        // A call that comes before a spare is ready starts its own child.
        wait_until("a call finds a spare", || {
            let before = spares();
            let id = own_id_of_a_spare.run().unwrap();
            ids.insert(id);
            calls += 1;
            before.contains(&id)
        });
    }
    assert_eq!(ids.len(), calls);
    // A call that is set up takes the ordinary road.
    wait_until("two spares wait", || spares().len() == 2);
    let before = spares();
    assert!(!before.contains(&own_id_of_a_spare.builder().run().unwrap()));
    assert!(!before.contains(&own_id_of_a_spare.spawn().unwrap().join().unwrap()));
    assert_eq!(sum_of_a_spare.run(vec![1, 2], 3).unwrap(), Ok(6));
    assert!(sum_of_a_spare.run(vec![], 3).unwrap().is_err());
    assert_eq!(sum_of_a_spare.call_unconfined(vec![1], 3), Ok(4));
}

pub(crate) const CASES: &[Case] = cases![
    every_call_meets_a_process_of_its_own,
    calls_use_the_spares_that_wait,
    without_spares_each_call_starts_its_child,
    large_arguments_and_answers_arrive,
    files_and_channels_are_arguments,
    a_function_without_a_sandbox_has_no_pool,
    no_more_calls_run_at_once_than_there_are_workers,
    many_threads_lose_no_call,
    a_map_keeps_the_order_and_each_error_to_itself,
    a_map_may_be_without_end,
    calls_wait_in_a_runtime,
    calls_wait_on_async_io,
    a_pool_is_a_service,
    plain_calls_use_spares,
];
