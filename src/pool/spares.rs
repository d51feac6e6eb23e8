//! `Spares`: the pool behind `#[func(sandbox = "…", spares = number)]`.

use std::sync::{Mutex, PoisonError};

use super::{Pool, Reuse};
use crate::error::Error;
use crate::func::Func;
use crate::object::Object;

/// A pool that the first call builds. It has as many workers as there are calls.
#[derive(Debug)]
pub struct Spares<A: Object, R: Object + Send> {
    spares: usize,
    reuse: Reuse,
    pool: Mutex<Option<Pool<A, R>>>,
}

impl<A: Object, R: Object + Send> Spares<A, R> {
    /// Creates it without a pool.
    #[must_use]
    pub const fn new(spares: usize, reuse: Reuse) -> Self {
        Self {
            spares,
            reuse,
            pool: Mutex::new(None),
        }
    }

    fn pool<F: Func<Args = A, Output = R>>(&self, function: F) -> Result<Pool<A, R>, Error> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*pool {
            return Ok(pool.clone());
        }
        let new = Pool::of(function)
            .workers(usize::MAX)
            .spares(self.spares)
            .reuse(self.reuse)
            .build()?;
        Ok(pool.insert(new).clone())
    }

    /// Calls the function in a spare child.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::run`], and of [`PoolBuilder::build`](super::PoolBuilder::build).
    pub fn run<F: Func<Args = A, Output = R>>(
        &self,
        function: F,
        arguments: A,
    ) -> Result<R, Error> {
        let inner = self.pool(function)?.inner;
        let place = inner.place(None)?;
        inner.run(place, arguments)
    }

    /// Does the same in a tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    #[cfg(feature = "tokio")]
    pub async fn run_tokio<F: Func<Args = A, Output = R>>(
        &self,
        function: F,
        arguments: A,
    ) -> Result<R, Error> {
        let inner = self.pool(function)?.inner;
        inner.run_async::<crate::tokio::Tokio>(arguments).await
    }

    /// Does the same on async-io.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    #[cfg(feature = "smol")]
    pub async fn run_smol<F: Func<Args = A, Output = R>>(
        &self,
        function: F,
        arguments: A,
    ) -> Result<R, Error> {
        let inner = self.pool(function)?.inner;
        inner.run_async::<crate::smol::Smol>(arguments).await
    }
}
