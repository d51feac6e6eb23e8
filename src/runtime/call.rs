//! Calls that wait in a runtime.

use super::child::Child;
use super::reactor::Reactor;
use crate::call::Options;
use crate::error::Error;
use crate::func::Func;
#[cfg(feature = "metrics")]
use crate::meters::CallMeter;

/// Calls `F` in a child and waits for its result.
pub(crate) async fn run<F: Func, W: Reactor>(
    arguments: F::Args,
    options: Options,
) -> Result<F::Output, Error> {
    // Once the future is dropped, nobody else can end the child.
    let options = Options {
        kill_on_drop: true,
        ..options
    };
    launch::<F, W>(arguments, &options).await?.join().await
}

/// Starts `F` in a child.
pub(crate) async fn spawn<F: Func, W: Reactor>(
    arguments: F::Args,
    options: Options,
) -> Result<Child<F::Output, W>, Error> {
    let child = launch::<F, W>(arguments, &options).await?;
    child.watch();
    Ok(child)
}

/// Starting an unconfined child blocks the thread as long as `execve` takes, about a millisecond. A
/// confined child is only requested, if there is a keeper already. Arguments that do not fit the
/// socket are sent while other tasks run.
async fn launch<F: Func, W: Reactor>(
    arguments: F::Args,
    options: &Options,
) -> Result<Child<F::Output, W>, Error> {
    #[cfg(feature = "metrics")]
    let meter = CallMeter::begin(F::NAME);
    let child = begin::<F, W>(arguments, options).await;
    #[cfg(feature = "metrics")]
    let child = meter.follow(child, Child::measure_call);
    child
}

async fn begin<F: Func, W: Reactor>(
    arguments: F::Args,
    options: &Options,
) -> Result<Child<F::Output, W>, Error> {
    let (launch, confined) = crate::call::message::<F>(arguments, options)?;
    let (child, mut rest) = crate::call::start_child::<F>(&launch, confined, options)?;
    let mut child = Child::new(child)?;
    child.send(&mut rest).await?;
    Ok(child)
}
