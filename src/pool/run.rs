//! `Pool::run` and its relatives, for each number of arguments.

use std::time::Duration;

use super::Pool;
use crate::error::Error;
use crate::object::Object;
use crate::sys::poll::Deadline;

macro_rules! calls {
    ($($name:ident $type:ident $index:tt),*) => {
        impl<$($type: Object,)* Output: Object + Send> Pool<($($type,)*), Output> {
            /// Calls the function in a child that waits for it, and returns its result. If all workers are
            /// busy, it waits for one, in order.
            ///
            /// # Errors
            ///
            /// See [`Error`]. An error concerns this call only. [`Error::PoolClosed`] after
            /// [`close`](Self::close).
            pub fn run(&self, $($name: $type),*) -> Result<Output, Error> {
                let place = self.inner.place(Some(Deadline::NEVER))?;
                self.inner.run(place, ($($name,)*))
            }

            /// Calls the function if a worker is free.
            ///
            /// # Errors
            ///
            /// [`Error::PoolBusy`] if none is. Otherwise those of [`run`](Self::run).
            pub fn try_run(&self, $($name: $type),*) -> Result<Output, Error> {
                let place = self.inner.place(None)?;
                self.inner.run(place, ($($name,)*))
            }

            /// Calls the function, and waits for at most `timeout` for a worker. The time of the call itself
            /// is bounded by its deadline.
            ///
            /// # Errors
            ///
            /// [`Error::PoolBusy`] if no worker was free in time. Otherwise those of [`run`](Self::run).
            pub fn run_timeout(&self, timeout: Duration, $($name: $type),*) -> Result<Output, Error> {
                let place = self.inner.place(Some(Deadline::after(timeout)))?;
                self.inner.run(place, ($($name,)*))
            }

            /// Calls the function, and waits in a tokio runtime. See [`run`](Self::run).
            ///
            /// # Errors
            ///
            /// Those of [`run`](Self::run).
            ///
            /// # Cancel safety
            ///
            /// Dropping the future kills the child, or gives up the place in the queue for a worker.
            #[cfg(feature = "tokio")]
            pub async fn run_tokio(&self, $($name: $type),*) -> Result<Output, Error> {
                self.inner.run_async::<crate::tokio::Tokio>(($($name,)*)).await
            }

            /// Calls the function, and waits on async-io. See [`run`](Self::run).
            ///
            /// # Errors
            ///
            /// Those of [`run`](Self::run).
            ///
            /// # Cancel safety
            ///
            /// Dropping the future kills the child, or gives up the place in the queue for a worker.
            #[cfg(feature = "smol")]
            pub async fn run_smol(&self, $($name: $type),*) -> Result<Output, Error> {
                self.inner.run_async::<crate::smol::Smol>(($($name,)*)).await
            }
        }
    };
}

for_each_arity! { calls }

#[cfg(feature = "__runtime")]
impl<A: Object, R: Object + Send> super::Inner<A, R> {
    /// Runs a call while other tasks run.
    pub(super) async fn run_async<W: crate::runtime::Reactor>(
        &self,
        arguments: A,
    ) -> Result<R, Error> {
        use super::queue::NoPlace;
        use super::stats::count;

        #[cfg(feature = "metrics")]
        let meter = crate::meters::CallMeter::in_line(self.stock.function);
        let place = match self.queue.try_take() {
            Err(NoPlace::Busy) => {
                count(&self.stock.counters.waited);
                self.queue.wait().await
            }
            result => result,
        };
        let place = place.map_err(Error::from);
        #[cfg(feature = "metrics")]
        meter.leave_line(place.as_ref().err());
        self.run_in::<W>(place?, arguments).await
    }

    /// Runs a call that has a place.
    pub(super) async fn run_in<W: crate::runtime::Reactor>(
        &self,
        place: super::Place,
        arguments: A,
    ) -> Result<R, Error> {
        #[cfg(feature = "metrics")]
        let meter = crate::meters::CallMeter::begin(self.stock.function);
        let result = self.try_run_in::<W>(arguments).await;
        #[cfg(feature = "metrics")]
        meter.end(&result);
        drop(place);
        result
    }

    async fn try_run_in<W: crate::runtime::Reactor>(&self, arguments: A) -> Result<R, Error> {
        let begun = std::time::Instant::now();
        let call = self.call(arguments)?;
        let mut tries = super::Tries::default();
        let result = loop {
            let result = self.run_waiting::<W>(&call, &mut tries).await;
            if !tries.is_one_left(&result) {
                break result;
            }
        };
        self.note(begun, &result);
        result
    }

    async fn run_waiting<W: crate::runtime::Reactor>(
        &self,
        call: &crate::child::Call<A>,
        tries: &mut super::Tries,
    ) -> Result<R, Error> {
        let (child, loan, mut outbox) = self.begin(call, tries)?;
        let mut child = crate::runtime::Child::<R, W>::new(child)?;
        let result = match child.send(&mut outbox).await {
            Ok(()) => child.result().await,
            Err(error) => Err(error),
        };
        let child = child.into_child();
        tries.note(&child, &loan, &outbox);
        self.stock.take_back(child, loan, result.is_ok());
        result
    }
}
