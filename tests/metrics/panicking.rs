//! Recorders that panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossmist::{Error, Pool, func};
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use crate::support::{self, Case};
use crate::{add, add_unconfined, cases, waits};

pub(crate) const CASES: &[Case] = cases![
    a_recorder_that_panics_fails_no_call,
    a_recorder_that_panics_ends_no_thread_that_enforces_deadlines,
    a_recorder_that_panics_takes_no_worker_from_a_pool,
];

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn fail() -> ! {
    PANICS.fetch_add(1, Ordering::SeqCst);
    panic!("the recorder is broken")
}

/// Panics when it is asked for a counter, and when it is told a figure.
struct Panicking;

impl Panicking {
    fn install() {
        metrics::set_global_recorder(Self).unwrap();
    }
}

impl Recorder for Panicking {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        fail()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        // Some panic at once, and others at the end.
        Gauge::from_arc(Arc::new(PanickingGauge {
            in_increment: key.name() == "crossmist_pool_running",
        }))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(PanickingHistogram))
    }
}

struct PanickingGauge {
    in_increment: bool,
}

impl GaugeFn for PanickingGauge {
    fn increment(&self, _: f64) {
        if self.in_increment {
            fail()
        }
    }

    fn decrement(&self, _: f64) {
        fail()
    }

    fn set(&self, _: f64) {
        fail()
    }
}

struct PanickingHistogram;

impl HistogramFn for PanickingHistogram {
    fn record(&self, _: f64) {
        fail()
    }
}

fn panics() -> usize {
    PANICS.load(Ordering::SeqCst)
}

/// Returns whether a process exists and has not ended.
fn runs(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|status| !status.contains("\nState:\tZ"))
}

#[track_caller]
fn wait_for_end(process: u32) {
    let until = Instant::now() + support::patience(Duration::from_secs(20));
    while runs(process) {
        assert!(Instant::now() < until, "the child still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[func]
fn waits_unconfined(time: Duration) {
    std::thread::sleep(time);
}

#[func]
fn waits_for_the_end(mut until: crossmist::Receiver<()>) {
    let _ = until.recv();
}

fn a_recorder_that_panics_fails_no_call() {
    Panicking::install();
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(add_unconfined.run(5, 7).unwrap(), 12);
    let late = waits
        .builder()
        .deadline(support::patience(Duration::from_secs(1)))
        .run(Duration::from_secs(50));
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    drop(add.spawn(5, 7).unwrap());
    // The control: it was told of each call.
    assert!(panics() >= 4, "{}", panics());
}

fn a_recorder_that_panics_ends_no_thread_that_enforces_deadlines() {
    Panicking::install();
    // Its end is recorded by the thread, some time after that of the call.
    let (go, goes) = crossmist::channel().unwrap();
    let child = waits_for_the_end.spawn(goes).unwrap();
    let process = child.id().unwrap();
    drop(child);
    let before = panics();
    drop(go);
    let until = Instant::now() + support::patience(Duration::from_secs(20));
    while panics() == before {
        assert!(Instant::now() < until, "the thread has recorded nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_for_end(process);
    // Time for a thread that panics to end.
    std::thread::sleep(Duration::from_millis(50));
    // Nobody waits for this one: the thread ends it.
    let child = waits_unconfined
        .builder()
        .deadline(Duration::from_millis(50))
        .spawn(Duration::from_secs(1000))
        .unwrap();
    wait_for_end(child.id().unwrap());
}

fn a_recorder_that_panics_takes_no_worker_from_a_pool() {
    Panicking::install();
    let pool = Pool::of(add).workers(1).spares(1).build().unwrap();
    for number in 0..3 {
        assert_eq!(pool.try_run(number, 1).unwrap(), number + 1);
    }
    // Two that wait for each other, so that one is given its place in line.
    std::thread::scope(|scope| {
        let calls = [0; 8].map(|_| scope.spawn(|| pool.run(5, 7)));
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap(), 12);
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.running, stats.waiting), (0, 0));
    assert!(panics() >= 11, "{}", panics());
}
