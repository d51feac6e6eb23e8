//! A pool as a `tower::Service`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::Pool;
use super::queue::{Place, Wait};
use crate::error::Error;
use crate::object::Object;
use crate::tokio::Tokio;

/// The place that a pool's handle holds between `poll_ready` and `call`.
#[derive(Debug, Default)]
pub(super) enum Reservation {
    #[default]
    None,
    Waiting(Wait),
    Place(Place),
}

/// Calls the function with each request, and waits in a tokio runtime.
///
/// The service is ready when a worker is free: `poll_ready` takes it, and `call` uses it. So a pool is its own
/// limit of concurrency, and layers such as `load_shed` and `timeout` see when it is busy. A clone has no
/// worker, as the contract of [`Service`] wants it. A service that was ready and is not called keeps the worker
/// until it is dropped.
///
/// ```
/// # async fn shown() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use crossmist::{Pool, func};
/// use tower::{Service, ServiceExt};
///
/// #[func(sandbox = "parser")]
/// fn count_words(text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// let mut pool = Pool::of(count_words).build()?;
/// assert_eq!(pool.ready().await?.call("so few".to_owned()).await?, 2);
/// # Ok(()) }
/// ```
impl<A: Object + Send + Sync, R: Object + Send> Service<A> for Pool<(A,), R> {
    type Response = R;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<R, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match &mut self.reservation {
                Reservation::Place(_) => return Poll::Ready(Ok(())),
                Reservation::None => {
                    self.reservation = Reservation::Waiting(self.inner.queue.wait());
                }
                Reservation::Waiting(wait) => {
                    let result = ready!(Pin::new(wait).poll(context));
                    self.reservation = Reservation::None;
                    self.reservation = Reservation::Place(self.inner.noted(result)?);
                }
            }
        }
    }

    /// # Panics
    ///
    /// If `poll_ready` has not said that the service is ready.
    fn call(&mut self, request: A) -> Self::Future {
        let Reservation::Place(place) = std::mem::take(&mut self.reservation) else {
            panic!("a pool was called before it was ready");
        };
        let inner = std::sync::Arc::clone(&self.inner);
        Box::pin(async move { inner.run_in::<Tokio>(place, (request,)).await })
    }
}
