//! `Pool`: confined children that wait for calls of a function.

mod caller;
mod clearing;
mod leaving;
mod lending;
mod loan;
mod map;
mod queue;
mod refill;
mod reuse;
mod run;
#[cfg(feature = "tower")]
mod service;
mod spares;
mod stats;
mod stock;
mod tries;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::loan::Loan;
pub use self::map::{Map, MapUnordered};
use self::queue::{NoPlace, Place, Queue};
pub use self::reuse::Reuse;
pub use self::spares::Spares;
use self::stats::count;
pub use self::stats::{Latency, PoolStats};
use self::stock::{Start, Stock};
use self::tries::Tries;
use crate::call::{Child, Options, Spare, Stdio};
use crate::child::Call;
use crate::confine::SandboxPolicy;
use crate::error::Error;
use crate::func::Func;
#[cfg(feature = "metrics")]
use crate::meters::CallMeter;
use crate::object::{Limits, Object, Trust};
use crate::sys::poll::Deadline;
use crate::sys::random;
use crate::transport::Outbox;

/// A pool of confined children that have already started, and wait for calls of one function.
///
/// Starting a confined child takes a few tenths of a millisecond. A child that waits answers in a few tens of
/// microseconds. By default, each child answers one call and is then replaced in the background, so no
/// process ever sees two inputs. [`PoolBuilder::reuse`] changes that.
///
/// `A` are the function's arguments as a tuple, `R` is its result. Clones share one pool. When the last one is
/// dropped, its children end.
///
/// ```standalone_crate
/// use crossmist::{Pool, func};
///
/// #[func(sandbox = "parser")]
/// fn count_words(text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), crossmist::Error> {
///     let pool = Pool::of(count_words).workers(4).spares(2).build()?;
///     assert_eq!(pool.run("no one has seen this before".to_owned())?, 6);
///     let texts = ["a", "b c", "d e f"].map(str::to_owned);
///     let counts: Result<Vec<_>, _> = pool.map(texts).collect();
///     assert_eq!(counts?, [1, 2, 3]);
///     Ok(())
/// }
/// ```
///
/// The [essay](crate#calls-pools-and-workers) compares pools with single calls and long-lived workers.
///
/// # What is fixed
///
/// The policy, the values of its variables, the environment and the standard descriptors are those that the
/// pool was built with. Paths that the policy grants are opened when a child is started. A child inherits its
/// priorities, umask and other settings from the thread that built the pool. If the calling thread has other
/// credentials than the spares were started with, or may run on other processors, the spares are given up,
/// and the call starts a child.
///
/// # Time
///
/// The deadline of a call starts when a child gets the call. The keeper enforces it, even while all threads
/// of the program are busy. To bound the wait for a worker, use [`run_timeout`](Self::run_timeout).
///
/// # After the answer
///
/// A call returns when the answer has arrived. The child exits after that, so the end of its output may
/// arrive later. It is killed if it has not exited after two seconds, or if more children linger than there
/// are workers and than there are spares (or more than four, if there are fewer of both).
///
/// # Memory
///
/// Arguments arrive after the child has confined itself, so they count towards the `memory` of its policy.
/// Those of an ordinary call do not.
#[derive(Debug)]
pub struct Pool<A: Object, R: Object + Send> {
    inner: Arc<Inner<A, R>>,
    #[cfg(feature = "tower")]
    reservation: service::Reservation,
}

impl<A: Object, R: Object + Send> Clone for Pool<A, R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            #[cfg(feature = "tower")]
            reservation: service::Reservation::default(),
        }
    }
}

#[derive(Debug)]
struct Inner<A: Object, R: Object + Send> {
    stock: Arc<Stock<R>>,
    queue: Arc<Queue>,
    workers: usize,
    arguments: std::marker::PhantomData<fn(A)>,
}

impl<A: Object, R: Object + Send> Drop for Inner<A, R> {
    fn drop(&mut self) {
        self.stock.end();
    }
}

/// The options of a pool. Created by [`Pool::of`].
#[must_use = "nothing is started before `build`"]
#[derive(Debug)]
pub struct PoolBuilder<A: Object, R: Object + Send> {
    start: Start<R>,
    #[cfg(feature = "metrics")]
    function: &'static str,
    options: Options,
    workers: usize,
    spares: usize,
    reuse: Reuse,
    idle_time: Duration,
    arguments: std::marker::PhantomData<fn(A)>,
}

/// How long spares stay when nobody calls.
const IDLE_TIME: Duration = Duration::from_secs(60);

impl<A: Object, R: Object + Send> Pool<A, R> {
    /// Returns a builder for a pool of children that run `function`.
    pub fn of<F: Func<Args = A, Output = R>>(_: F) -> PoolBuilder<A, R> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        PoolBuilder {
            start: Spare::start::<F>,
            #[cfg(feature = "metrics")]
            function: F::NAME,
            options: Options {
                kill_on_drop: true,
                ..Options::of::<F>()
            },
            workers: processors,
            spares: processors,
            reuse: Reuse::Never,
            idle_time: IDLE_TIME,
            arguments: std::marker::PhantomData,
        }
    }

    /// Returns the pool's counts: its calls so far, and its children now.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let (running, waiting) = self.inner.queue.counts();
        // First, so that a spare that is counted as dead is none of those that wait.
        let counts = self.inner.stock.counters.stats();
        PoolStats {
            running,
            waiting,
            spares: self.inner.stock.len(),
            ..counts
        }
    }

    /// Closes the pool to further calls, and ends the spares. Calls that wait for a worker fail with
    /// [`Error::PoolClosed`]. Running calls continue.
    pub fn close(&self) {
        self.inner.queue.close();
        self.inner.stock.close();
    }

    /// Closes the pool to further calls, ends the spares, and waits until the running calls have ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the wait. The pool stays closed.
    pub async fn shutdown(&self) {
        self.close();
        self.inner.queue.idle().await;
    }
}

/// Why a call got no place, as an error.
impl From<NoPlace> for Error {
    fn from(reason: NoPlace) -> Self {
        match reason {
            NoPlace::Busy => Self::PoolBusy,
            NoPlace::Closed => Self::PoolClosed,
        }
    }
}

impl<A: Object, R: Object + Send> Inner<A, R> {
    /// Takes a place, at once or, if it may wait, as soon as one is free.
    fn place(&self, until: Option<Deadline>) -> Result<Place, Error> {
        let counters = &self.stock.counters;
        let result = match (self.queue.try_take(), until) {
            (Err(NoPlace::Busy), Some(until)) => {
                count(&counters.waited);
                self.queue.take(until)
            }
            (result, _) => result,
        };
        if result
            .as_ref()
            .is_err_and(|reason| *reason == NoPlace::Busy)
        {
            count(&counters.busy);
        }
        self.noted(result)
    }

    /// Returns the place, or the error of a call that got none.
    fn noted(&self, place: Result<Place, NoPlace>) -> Result<Place, Error> {
        let place = place.map_err(Error::from);
        #[cfg(feature = "metrics")]
        if let Err(error) = &place {
            CallMeter::in_line(self.stock.function).fail(error);
        }
        place
    }

    /// Gives a call to a child.
    fn begin<'a>(
        &self,
        call: &'a Call<A>,
        tries: &mut Tries,
    ) -> Result<(Child<R>, Loan, Outbox<'a>), Error> {
        let mut outbox = Outbox::encode(call, self.stock.options.limits, Trust::Code)?;
        let (child, loan) = self
            .stock
            .lend(&mut outbox, call.number, tries.deadline())?;
        Ok((child, loan, outbox))
    }

    /// Makes a call of arguments.
    fn call(&self, arguments: A) -> Result<Call<A>, Error> {
        let number = match self.stock.options.calls {
            0 => None,
            // It is never 0.
            _ => Some(random::number().map_err(no_number)?.max(1)),
        };
        Ok(Call { number, arguments })
    }

    /// Runs a call in the thread.
    fn run(&self, place: Place, arguments: A) -> Result<R, Error> {
        #[cfg(feature = "metrics")]
        let meter = CallMeter::begin(self.stock.function);
        let result = self.try_run(arguments);
        #[cfg(feature = "metrics")]
        meter.end(&result);
        drop(place);
        result
    }

    fn try_run(&self, arguments: A) -> Result<R, Error> {
        let begun = Instant::now();
        let call = self.call(arguments)?;
        let mut tries = Tries::default();
        let result = loop {
            let begun = self.begin(&call, &mut tries);
            let result = begun.and_then(|(mut child, loan, mut outbox)| {
                let result = child.send(&mut outbox).and_then(|()| child.result());
                tries.note(&child, &loan, &outbox);
                self.stock.take_back(child, loan, result.is_ok());
                result
            });
            if !tries.is_one_left(&result) {
                break result;
            }
        };
        self.note(begun, &result);
        result
    }

    fn note(&self, begun: Instant, result: &Result<R, Error>) {
        count(&self.stock.counters.calls);
        self.stock.counters.latency.add(begun.elapsed());
        if result.is_err() {
            count(&self.stock.counters.failed);
        }
    }
}

fn no_number(source: std::io::Error) -> Error {
    Error::Launch {
        step: "draw a number for the call (getrandom)",
        source,
    }
}

impl<A: Object, R: Object + Send> PoolBuilder<A, R> {
    /// Sets how many calls run at once. The default is the number of processors. Further calls wait, in
    /// order.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Sets how many children wait, beside those that are running calls. The default is the number of
    /// processors. With 0, each call starts its child.
    ///
    /// Choose enough for the calls that come at the same moment. [`PoolStats::misses`] counts the calls that
    /// found no spare. Each spare takes some memory of its own (`benches/` measures how much), a process id,
    /// and four descriptors of the program.
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    /// Sets how many calls a child answers before it is replaced. The default is one: see [`Reuse`] for what more
    /// of them cost in safety. Only as many children are reused as there are [`spares`](Self::spares).
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.reuse = reuse;
        self
    }

    /// Sets whether each child shares memory with this program, for long arguments, answers and messages. See
    /// [`Builder::bulk`](crate::Builder::bulk). The memory of a child is new with it, so this pays if a call sends
    /// many long values over channels, or if children are [reused](Self::reuse).
    pub fn bulk(mut self, bulk: bool) -> Self {
        self.options.bulk = bulk;
        self
    }

    /// Sets the time without a call after which the spares are ended. The default is 60 seconds. The next
    /// call starts its own child, and brings back the spares.
    pub fn idle_time(mut self, time: Duration) -> Self {
        self.idle_time = time;
        self
    }

    /// Sets the policy of a function with `sandbox = dynamic`.
    pub fn sandbox(mut self, policy: &SandboxPolicy) -> Self {
        self.options.policy = Some(policy.clone());
        self
    }

    /// Bounds the time of each call. See [`Builder::deadline`](crate::Builder::deadline).
    pub fn deadline(mut self, time: Duration) -> Self {
        self.options.deadline = Some(time);
        self
    }

    /// Sets the limits on arguments and answers. See [`Builder::limits`](crate::Builder::limits).
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Sets a variable of the policy. See [`Builder::bind`](crate::Builder::bind).
    pub fn bind(mut self, variable: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.bound.push((variable.into(), value.into()));
        self
    }

    /// Sets an environment variable. See [`Builder::env`](crate::Builder::env).
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let entry = (name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self.options.environment.push(entry);
        self
    }

    /// Sets the standard error of all children. See [`Builder::stderr`](crate::Builder::stderr).
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.options.standard[2] = Some(stderr.into());
        self
    }

    /// Sets the standard output of all children. See [`Builder::stdout`](crate::Builder::stdout).
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.options.standard[1] = Some(stdout.into());
        self
    }

    /// Builds the pool: starts the first spare, and a thread that keeps the others.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the function has no sandbox. [`Error::Policy`], [`Error::Confine`] or
    /// [`Error::Launch`] if a child cannot be started or confined.
    pub fn build(mut self) -> Result<Pool<A, R>, Error> {
        self.options.calls = self.reuse.budget();
        let stock = Stock::new(
            self.start,
            self.options,
            self.spares,
            self.reuse.answers(),
            self.workers,
            self.idle_time,
            #[cfg(feature = "metrics")]
            self.function,
        )?;
        let queue = Queue::new(self.workers);
        #[cfg(feature = "metrics")]
        let queue = queue.measured_for(self.function);
        Ok(Pool {
            inner: Arc::new(Inner {
                stock,
                queue: Arc::new(queue),
                workers: self.workers,
                arguments: std::marker::PhantomData,
            }),
            #[cfg(feature = "tower")]
            reservation: service::Reservation::default(),
        })
    }
}
