//! Metrics, as a recorder of the crate `metrics` receives them.

#[path = "../support/mod.rs"]
mod support;

mod copies;
mod panicking;
mod pools;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use crossmist::{Child, Error, Pool, func};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

fn main() {
    crossmist::init();
    let cases = cases![
        a_call_is_counted_and_timed,
        each_kind_of_failure_is_counted_once,
        a_call_that_nobody_waits_for_is_dropped,
        a_call_that_could_not_start_is_counted,
        children_are_counted_until_they_have_ended,
        a_child_is_counted_while_its_handle_is_gone,
        a_child_tells_what_it_has_used,
        a_child_that_was_killed_tells_what_it_has_used,
        a_child_in_a_pid_namespace_tells_what_it_has_used needs Root,
        a_pool_counts_its_calls_once,
        a_pool_tells_who_waits_and_how_long,
        a_call_that_waits_in_a_runtime_is_counted,
        a_busy_pool_counts_those_that_it_refuses,
        a_pool_without_spares_starts_children,
        a_keeper_that_was_killed_is_counted_when_there_is_another,
        each_metric_has_a_description,
    ];
    let cases = support::all(&[cases, copies::CASES, panicking::CASES, pools::CASES]);
    support::main(cases, cases![]);
}

/// What a recorder was told until now.
struct Figures {
    snapshotter: Snapshotter,
    /// A snapshot sets all of them back.
    counters: BTreeMap<String, u64>,
    histograms: BTreeMap<String, Vec<f64>>,
    gauges: BTreeMap<String, f64>,
}

impl Figures {
    fn install() -> Self {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().unwrap();
        Self {
            snapshotter,
            counters: BTreeMap::new(),
            histograms: BTreeMap::new(),
            gauges: BTreeMap::new(),
        }
    }

    fn read(&mut self) {
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let key = key.key();
            let labels = key.labels().map(|label| {
                let value = label.value().rsplit("::").next().unwrap_or_default();
                format!(" {value}")
            });
            let name = key.name().strip_prefix("crossmist_").unwrap();
            let name = format!("{name}{}", labels.collect::<String>());
            match value {
                DebugValue::Counter(more) => *self.counters.entry(name).or_default() += more,
                DebugValue::Gauge(more) => {
                    *self.gauges.entry(name).or_default() += more.into_inner();
                }
                DebugValue::Histogram(values) => {
                    let values = values.into_iter().map(|value| value.into_inner());
                    self.histograms.entry(name).or_default().extend(values);
                }
            }
        }
    }

    /// The counts of calls by outcome.
    fn calls(&mut self) -> Vec<(String, u64)> {
        self.read();
        let calls = |(name, count): (&String, &u64)| {
            Some((name.strip_prefix("calls_total ")?.to_owned(), *count))
        };
        self.counters.iter().filter_map(calls).collect()
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.read();
        self.counters.get(name).copied().unwrap_or_default()
    }

    fn gauge(&mut self, name: &str) -> f64 {
        self.read();
        self.gauges.get(name).copied().unwrap_or_default()
    }

    fn histogram(&mut self, name: &str) -> Vec<f64> {
        self.read();
        self.histograms.get(name).cloned().unwrap_or_default()
    }

    /// Waits until there is a value, which a thread of the library reports.
    #[track_caller]
    fn wait_for<T: PartialEq + std::fmt::Debug>(&mut self, value: T, of: impl Fn(&mut Self) -> T) {
        let until = std::time::Instant::now() + support::patience(Duration::from_secs(20));
        while of(self) != value {
            assert!(std::time::Instant::now() < until, "{:?}", of(self));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn calls(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    let calls = expected.iter();
    calls
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[func(sandbox = "pure")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[func]
fn add_unconfined(a: u32, b: u32) -> u32 {
    a + b
}

#[func(sandbox = "pure")]
fn waits(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = "pure")]
fn listens() -> bool {
    std::net::TcpListener::bind("127.0.0.1:0").is_ok()
}

#[func(sandbox = "pure")]
fn panics() {
    panic!("as it should");
}

/// Says when it begins, and ends when it is told to.
#[func(sandbox = "parser")]
fn holds(mut begun: File, mut until: File) -> usize {
    begun.write_all(b"x").unwrap();
    until.read(&mut [0]).unwrap()
}

/// Uses so much memory, and so much processor time.
#[func(sandbox = "parser", memory = "512MiB")]
fn uses(bytes: usize, time: Duration) -> usize {
    consume(bytes, time)
}

#[func(sandbox = dynamic)]
fn uses_in_namespace(bytes: usize, time: Duration) -> usize {
    consume(bytes, time)
}

fn consume(bytes: usize, time: Duration) -> usize {
    let memory = std::hint::black_box(vec![1u8; bytes]);
    let clock = || {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
        Duration::from(now.unwrap())
    };
    let begun = clock();
    while clock() - begun < time {
        std::hint::black_box(&memory);
    }
    memory.len()
}

/// A pipe.
fn pipe() -> (File, File) {
    let (read, write) = nix::unistd::pipe().unwrap();
    (read.into(), write.into())
}

fn kill(process: u32) {
    let process = nix::unistd::Pid::from_raw(process.try_into().unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn a_call_is_counted_and_timed() {
    let mut figures = Figures::install();
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(add.run(1, 2).unwrap(), 3);
    assert_eq!(add_unconfined.run(1, 2).unwrap(), 3);
    assert_eq!(
        figures.calls(),
        calls(&[("add ok", 2), ("add_unconfined ok", 1)])
    );
    let time = Duration::from_millis(30);
    waits.run(time).unwrap();
    let [taken] = figures.histogram("call_seconds waits")[..] else {
        panic!("one call");
    };
    assert!(taken >= time.as_secs_f64(), "{taken}");
    assert_eq!(figures.histogram("call_seconds add").len(), 2);
}

fn each_kind_of_failure_is_counted_once() {
    let mut figures = Figures::install();
    assert!(matches!(listens.run(), Err(Error::Violation(_))));
    assert!(matches!(panics.run(), Err(Error::Panicked(_))));
    let late = waits
        .builder()
        .deadline(support::patience(Duration::from_secs(1)))
        .run(Duration::from_secs(50));
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    let child = waits.spawn(Duration::from_secs(50)).unwrap();
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
    let expected = [
        ("listens violation", 1),
        ("panics panicked", 1),
        ("waits deadline", 1),
        ("waits killed", 1),
    ];
    assert_eq!(figures.calls(), calls(&expected));
}

fn a_call_that_nobody_waits_for_is_dropped() {
    let mut figures = Figures::install();
    drop(add.spawn(5, 7).unwrap());
    assert_eq!(figures.calls(), calls(&[("add dropped", 1)]));
}

fn a_call_that_could_not_start_is_counted() {
    let mut figures = Figures::install();
    let limits = crossmist::Limits::default().message_bytes(16);
    let result = add_text.builder().limits(limits).run("x".repeat(1000));
    assert!(matches!(result, Err(Error::Encode(_))), "{result:?}");
    assert_eq!(figures.calls(), calls(&[("add_text encode", 1)]));
    assert_eq!(figures.gauge("children add_text"), 0.0);
}

#[func(sandbox = "pure")]
fn add_text(text: String) -> usize {
    text.len()
}

fn children_are_counted_until_they_have_ended() {
    let mut figures = Figures::install();
    let children: Vec<Child<()>> = (0..3)
        .map(|_| waits.spawn(Duration::from_secs(50)).unwrap())
        .collect();
    assert_eq!(figures.gauge("children waits"), 3.0);
    for child in children {
        child.kill().unwrap();
        assert!(matches!(child.join(), Err(Error::Killed)));
    }
    assert_eq!(figures.gauge("children waits"), 0.0);
}

fn a_child_is_counted_while_its_handle_is_gone() {
    let mut figures = Figures::install();
    let ((mut heard, begun), (until, end)) = (pipe(), pipe());
    drop(holds.spawn(begun, until).unwrap());
    heard.read_exact(&mut [0]).unwrap();
    assert_eq!(figures.gauge("children holds"), 1.0);
    assert_eq!(figures.histogram("child_cpu_seconds holds").len(), 0);
    drop(end);
    figures.wait_for(0.0, |figures| figures.gauge("children holds"));
    assert_eq!(figures.histogram("child_cpu_seconds holds").len(), 1);
}

const BYTES: usize = 64 << 20;
const TIME: Duration = Duration::from_millis(200);

/// Checks what a child is said to have used, beside one that has used little.
#[track_caller]
fn assert_used(figures: &mut Figures, name: &str) {
    // The last figure of a child that is recorded.
    figures.wait_for(2, |figures| {
        figures
            .histogram(&format!("child_memory_bytes {name}"))
            .len()
    });
    let cpu = figures.histogram(&format!("child_cpu_seconds {name}"));
    let memory = figures.histogram(&format!("child_memory_bytes {name}"));
    assert!(cpu[0] < cpu[1] && cpu[1] >= TIME.as_secs_f64(), "{cpu:?}");
    let more = memory[1] - memory[0];
    let bytes = BYTES as f64;
    // Other pages come and go.
    assert!((bytes * 0.9..bytes * 1.5).contains(&more), "{memory:?}");
}

fn a_child_tells_what_it_has_used() {
    let mut figures = Figures::install();
    assert_eq!(uses.run(1, Duration::ZERO).unwrap(), 1);
    assert_eq!(uses.run(BYTES, TIME).unwrap(), BYTES);
    assert_used(&mut figures, "uses");
}

fn a_child_that_was_killed_tells_what_it_has_used() {
    let mut figures = Figures::install();
    assert_eq!(uses.run(1, Duration::ZERO).unwrap(), 1);
    figures.wait_for(1, |figures| {
        figures.histogram("child_memory_bytes uses").len()
    });
    let child = uses.spawn(BYTES, Duration::from_secs(1000)).unwrap();
    let process = nix::unistd::Pid::from_raw(child.id().unwrap().try_into().unwrap());
    let clock = nix::time::ClockId::pid_cpu_clock_id(process).unwrap();
    // Memory comes first.
    support::wait_until("it has used its time", || {
        Duration::from(clock.now().unwrap()) > 2 * TIME
    });
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
    assert_used(&mut figures, "uses");
}

fn a_child_in_a_pid_namespace_tells_what_it_has_used() {
    let mut figures = Figures::install();
    let text = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[limits]\nmemory = \"512MiB\"\n\
                [namespaces]\npid = \"own\"\n";
    let policy = crossmist::SandboxPolicy::from_toml("namespaces", text).unwrap();
    let call = || uses_in_namespace.sandbox(&policy);
    assert_eq!(call().run(1, Duration::ZERO).unwrap(), 1);
    assert_eq!(call().run(BYTES, TIME).unwrap(), BYTES);
    assert_used(&mut figures, "uses_in_namespace");
}

fn a_pool_counts_its_calls_once() {
    let mut figures = Figures::install();
    let pool = Pool::of(add).workers(2).spares(2).build().unwrap();
    for number in 0..10 {
        assert_eq!(pool.run(number, 1).unwrap(), number + 1);
    }
    assert_eq!(figures.calls(), calls(&[("add ok", 10)]));
    assert_eq!(figures.histogram("call_seconds add").len(), 10);
    let children = ["spare", "new", "reused"]
        .map(|child| figures.counter(&format!("pool_children_total add {child}")));
    assert_eq!(children.iter().sum::<u64>(), 10, "{children:?}");
    assert_eq!(children[2], 0);
    figures.wait_for(2.0, |figures| figures.gauge("pool_spares add"));
    drop(pool);
    figures.wait_for((0.0, 0.0), |figures| {
        (
            figures.gauge("pool_spares add"),
            figures.gauge("children add"),
        )
    });
}

fn a_pool_tells_who_waits_and_how_long() {
    let mut figures = Figures::install();
    let pool = Pool::of(holds).workers(1).spares(1).build().unwrap();
    let ((mut heard, begun), (until, end)) = (pipe(), pipe());
    let begun_again = begun.try_clone().unwrap();
    let until_again = until.try_clone().unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| pool.run(begun, until));
        heard.read_exact(&mut [0]).unwrap();
        let second = scope.spawn(|| pool.run(begun_again, until_again));
        figures.wait_for((1.0, 1.0), |figures| {
            (
                figures.gauge("pool_running holds"),
                figures.gauge("pool_waiting holds"),
            )
        });
        assert_eq!(figures.histogram("pool_wait_seconds holds").len(), 0);
        drop(end);
        assert_eq!(first.join().unwrap().unwrap(), 0);
        assert_eq!(second.join().unwrap().unwrap(), 0);
    });
    assert_eq!(figures.histogram("pool_wait_seconds holds").len(), 1);
    assert_eq!(figures.gauge("pool_running holds"), 0.0);
    assert_eq!(figures.gauge("pool_waiting holds"), 0.0);
}

#[cfg(not(feature = "tokio"))]
fn a_call_that_waits_in_a_runtime_is_counted() {}

/// The same calls, and futures that are dropped.
#[cfg(feature = "tokio")]
fn a_call_that_waits_in_a_runtime_is_counted() {
    let mut figures = Figures::install();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let pool = Pool::of(waits).build().unwrap();
    runtime.block_on(async {
        assert_eq!(add.run_tokio(5, 7).await.unwrap(), 12);
        let listened = listens.run_tokio().await;
        assert!(matches!(listened, Err(Error::Violation(_))));
        pool.run_tokio(Duration::ZERO).await.unwrap();
        let (short, long) = (Duration::from_millis(50), Duration::from_secs(50));
        let dropped = tokio::time::timeout(short, waits.run_tokio(long)).await;
        assert!(dropped.is_err());
        let dropped = tokio::time::timeout(short, pool.run_tokio(long)).await;
        assert!(dropped.is_err());
    });
    let expected = [
        ("add ok", 1),
        ("listens violation", 1),
        ("waits dropped", 2),
        ("waits ok", 1),
    ];
    assert_eq!(figures.calls(), calls(&expected));
}

fn a_busy_pool_counts_those_that_it_refuses() {
    let mut figures = Figures::install();
    let pool = Pool::of(holds).workers(1).spares(1).build().unwrap();
    let ((mut heard, begun), (until, end)) = (pipe(), pipe());
    let (begun_again, until_again) = (begun.try_clone().unwrap(), until.try_clone().unwrap());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| pool.run(begun, until));
        heard.read_exact(&mut [0]).unwrap();
        let refused = pool.try_run(begun_again, until_again);
        assert!(matches!(refused, Err(Error::PoolBusy)), "{refused:?}");
        drop(end);
        assert_eq!(first.join().unwrap().unwrap(), 0);
    });
    let expected = [("holds ok", 1), ("holds pool_busy", 1)];
    assert_eq!(figures.calls(), calls(&expected));
}

fn a_pool_without_spares_starts_children() {
    let mut figures = Figures::install();
    let pool = Pool::of(add).spares(0).build().unwrap();
    assert_eq!(pool.run(5, 7).unwrap(), 12);
    assert_eq!(figures.counter("pool_children_total add new"), 1);
    assert_eq!(figures.gauge("pool_spares add"), 0.0);
}

fn a_keeper_that_was_killed_is_counted_when_there_is_another() {
    let mut figures = Figures::install();
    let mut child: Child<()> = waits.spawn(Duration::from_secs(50)).unwrap();
    child.confinement().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let keeper = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    let keeper = keeper.unwrap().parse().unwrap();
    kill(keeper);
    assert!(matches!(child.join(), Err(Error::KeeperDied)));
    // Until then, it may still take a request, which ends with it.
    support::wait_until_ended(keeper);
    assert_eq!(figures.counter("keeper_restarts_total"), 0);
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(figures.counter("keeper_restarts_total"), 1);
    let expected = [("add ok", 2), ("waits keeper_died", 1)];
    assert_eq!(figures.calls(), calls(&expected));
    assert_eq!(figures.gauge("children waits"), 0.0);
}

fn each_metric_has_a_description() {
    let figures = Figures::install();
    crossmist::describe_metrics();
    let pool = Pool::of(holds).workers(1).spares(1).build().unwrap();
    let ((mut heard, begun), (until, end)) = (pipe(), pipe());
    let (begun_again, until_again) = (begun.try_clone().unwrap(), until.try_clone().unwrap());
    std::thread::scope(|scope| {
        let calls = [(begun, until), (begun_again, until_again)]
            .map(|(begun, until)| scope.spawn(|| pool.run(begun, until)));
        heard.read_exact(&mut [0]).unwrap();
        while pool.stats().waiting == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(end);
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap(), 0);
        }
    });
    crossmist::keeper::end();
    assert_eq!(add.run(5, 7).unwrap(), 12);
    let mut names = std::collections::BTreeSet::new();
    for (key, _, description, _) in figures.snapshotter.snapshot().into_vec() {
        let name = key.key().name().to_owned();
        assert!(description.is_some(), "{name}");
        names.insert(name);
    }
    // Those that are documented, and no others.
    let documentation = include_str!("../../src/lib.rs");
    let documented = documentation
        .split('`')
        .filter(|text| text.starts_with("crossmist_"));
    let documented: std::collections::BTreeSet<String> = documented
        .filter(|text| *text != "crossmist_learn")
        .map(str::to_owned)
        .collect();
    assert_eq!(names, documented);
}
