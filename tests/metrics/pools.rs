//! What is counted of a pool's calls, however they come and go.

use std::io::Read;
use std::time::Duration;

use crossmist::{Error, Pool};

use crate::support::Case;
use crate::{Figures, add_text, calls, cases, holds, pipe, waits};

pub(crate) const CASES: &[Case] = cases![
    calls_of_a_map_are_counted_and_timed,
    calls_of_a_map_that_fail_or_are_dropped_are_counted,
    a_call_that_was_refused_has_no_time,
    a_future_that_is_dropped_in_line_is_counted_without_a_time,
    a_service_that_is_closed_counts_its_refusal,
];

fn texts() -> Vec<String> {
    ["", "a", "ab", "abc"].map(str::to_owned).to_vec()
}

fn calls_of_a_map_are_counted_and_timed() {
    let mut figures = Figures::install();
    let pool = Pool::of(add_text).workers(2).build().unwrap();
    let lengths: Result<Vec<_>, _> = pool.map(texts()).collect();
    assert_eq!(lengths.unwrap(), [0, 1, 2, 3]);
    assert_eq!(figures.calls(), calls(&[("add_text ok", 4)]));
    assert_eq!(pool.map_unordered(texts()).count(), 4);
    assert_eq!(figures.calls(), calls(&[("add_text ok", 8)]));
    assert_eq!(figures.histogram("call_seconds add_text").len(), 8);
    let time = Duration::from_millis(30);
    let pool = Pool::of(waits).build().unwrap();
    assert_eq!(pool.map([time]).count(), 1);
    let [taken] = figures.histogram("call_seconds waits")[..] else {
        panic!("one call");
    };
    assert!(taken >= time.as_secs_f64(), "{taken}");
}

fn calls_of_a_map_that_fail_or_are_dropped_are_counted() {
    let mut figures = Figures::install();
    let limits = crossmist::Limits::default().message_bytes(1000);
    let pool = Pool::of(add_text).limits(limits).build().unwrap();
    let result = pool.map(["x".repeat(10_000)]).next().unwrap();
    assert!(matches!(result, Err(Error::Encode(_))), "{result:?}");
    assert_eq!(figures.calls(), calls(&[("add_text encode", 1)]));
    let pool = Pool::of(waits)
        .deadline(Duration::from_millis(20))
        .build()
        .unwrap();
    let result = pool.map([Duration::from_secs(50)]).next().unwrap();
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    let pool = Pool::of(waits).workers(2).build().unwrap();
    let mut results = pool.map_unordered([Duration::ZERO, Duration::from_secs(50)]);
    assert!(matches!(results.next(), Some((0, Ok(())))));
    drop(results);
    let expected = [
        ("add_text encode", 1),
        ("waits deadline", 1),
        ("waits dropped", 1),
        ("waits ok", 1),
    ];
    assert_eq!(figures.calls(), calls(&expected));
}

fn a_call_that_was_refused_has_no_time() {
    let mut figures = Figures::install();
    let pool = Pool::of(holds).workers(1).spares(1).build().unwrap();
    let ((mut heard, begun), (until, end)) = (pipe(), pipe());
    let [busy, late, closed] =
        [(); 3].map(|()| (begun.try_clone().unwrap(), until.try_clone().unwrap()));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| pool.run(begun, until));
        heard.read_exact(&mut [0]).unwrap();
        let refused = pool.try_run(busy.0, busy.1);
        assert!(matches!(refused, Err(Error::PoolBusy)), "{refused:?}");
        let refused = pool.run_timeout(Duration::from_millis(5), late.0, late.1);
        assert!(matches!(refused, Err(Error::PoolBusy)), "{refused:?}");
        drop(end);
        assert_eq!(first.join().unwrap().unwrap(), 0);
    });
    pool.close();
    let refused = pool.run(closed.0, closed.1);
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    let expected = [
        ("holds ok", 1),
        ("holds pool_busy", 2),
        ("holds pool_closed", 1),
    ];
    assert_eq!(figures.calls(), calls(&expected));
    // The one that was not refused.
    assert_eq!(figures.histogram("call_seconds holds").len(), 1);
    let pool = Pool::of(waits).build().unwrap();
    pool.close();
    let mut results = pool.map([Duration::ZERO]);
    let refused = results.next().unwrap();
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    assert_eq!(figures.counter("calls_total waits pool_closed"), 1);
    assert_eq!(figures.histogram("call_seconds waits").len(), 0);
}

#[cfg(not(feature = "tokio"))]
fn a_future_that_is_dropped_in_line_is_counted_without_a_time() {}

#[cfg(feature = "tokio")]
fn a_future_that_is_dropped_in_line_is_counted_without_a_time() {
    use std::task::{Context, Waker};

    let mut figures = Figures::install();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let pool = Pool::of(waits).workers(1).build().unwrap();
    let _guard = runtime.enter();
    let mut context = Context::from_waker(Waker::noop());
    let long = Duration::from_secs(50);
    let mut running = Box::pin(pool.run_tokio(long));
    assert!(running.as_mut().poll(&mut context).is_pending());
    let mut waiting = Box::pin(pool.run_tokio(long));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!(figures.gauge("pool_waiting waits"), 1.0);
    drop(waiting);
    assert_eq!(figures.calls(), calls(&[("waits dropped", 1)]));
    assert_eq!(figures.histogram("call_seconds waits").len(), 0);
    // The control: the time of a call that had a worker.
    drop(running);
    assert_eq!(figures.calls(), calls(&[("waits dropped", 2)]));
    assert_eq!(figures.histogram("call_seconds waits").len(), 1);
    // One that is given its place in line is counted once.
    runtime.block_on(async {
        let (first, second) = tokio::join!(
            pool.run_tokio(Duration::ZERO),
            pool.run_tokio(Duration::ZERO)
        );
        (first.unwrap(), second.unwrap())
    });
    let expected = [("waits dropped", 2), ("waits ok", 2)];
    assert_eq!(figures.calls(), calls(&expected));
    assert_eq!(figures.histogram("call_seconds waits").len(), 3);
}

#[cfg(not(feature = "tower"))]
fn a_service_that_is_closed_counts_its_refusal() {}

#[cfg(feature = "tower")]
fn a_service_that_is_closed_counts_its_refusal() {
    use tower::{Service, ServiceExt};

    let mut figures = Figures::install();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let mut pool = Pool::of(waits).build().unwrap();
    runtime.block_on(async {
        let service = pool.ready().await.unwrap();
        service.call(Duration::ZERO).await.unwrap();
        pool.close();
        let Err(refused) = pool.ready().await else {
            panic!("it is closed");
        };
        assert!(matches!(refused, Error::PoolClosed), "{refused:?}");
    });
    let expected = [("waits ok", 1), ("waits pool_closed", 1)];
    assert_eq!(figures.calls(), calls(&expected));
    assert_eq!(figures.histogram("call_seconds waits").len(), 1);
}
