//! Calls that wait in the runtime.

use super::child::Child;
use crate::call::{Builder, Options};
use crate::error::Error;
use crate::func::Func;

/// Calls `F` in a child and waits for its result.
pub(crate) async fn run<F: Func>(arguments: F::Args, options: Options) -> Result<F::Output, Error> {
    // Once the future is dropped, nobody else can end the child.
    let options = Options {
        kill_on_drop: true,
        ..options
    };
    launch::<F>(arguments, &options).await?.join().await
}

/// Starts `F` in a child.
pub(crate) async fn spawn<F: Func>(
    arguments: F::Args,
    options: Options,
) -> Result<Child<F::Output>, Error> {
    let child = launch::<F>(arguments, &options).await?;
    child.watch();
    Ok(child)
}

/// Starting an unconfined child blocks the thread as long as `execve` takes, about a millisecond. A
/// confined child is only requested, if there is a keeper already. Arguments that do not fit the
/// socket are sent while other tasks run.
async fn launch<F: Func>(arguments: F::Args, options: &Options) -> Result<Child<F::Output>, Error> {
    let (launch, confined) = crate::call::message::<F>(arguments, options)?;
    let (child, mut rest) = crate::call::start_child::<F>(&launch, confined, options)?;
    let mut child = Child::new(child)?;
    child.send(&mut rest).await?;
    Ok(child)
}

/// `run_tokio` and `spawn_tokio` for each number of arguments.
macro_rules! calls {
    ($($name:ident $type:ident $index:tt),*) => {
        impl<Fun, $($type),*> Builder<Fun, ($($type,)*)>
        where
            Fun: Func<Args = ($($type,)*)>,
        {
            /// Calls the function in a child process and waits for its result in the runtime.
            ///
            /// # Errors
            ///
            /// See [`Error`].
            ///
            /// # Cancel safety
            ///
            /// Dropping the future kills the child.
            pub async fn run_tokio(self, $($name: $type),*) -> Result<Fun::Output, Error> {
                run::<Fun>(($($name,)*), self.into_options()).await
            }

            /// Starts the function in a child process, and returns without waiting for it.
            ///
            /// For a function with a sandbox, this returns before the child exists. If the child
            /// cannot be started, the methods that wait for it report that, such as
            /// [`Child::join`].
            ///
            /// # Errors
            ///
            /// The variants of [`Error`] up to [`Error::Policy`], and [`Error::Deadline`] if the
            /// deadline passes while large arguments are being sent.
            ///
            /// # Cancel safety
            ///
            /// The future waits only to send large arguments. If it is dropped before they are
            /// sent, the child gets none, and ends.
            pub async fn spawn_tokio(self, $($name: $type),*) -> Result<Child<Fun::Output>, Error> {
                spawn::<Fun>(($($name,)*), self.into_options()).await
            }
        }
    };
}

for_each_arity! { calls }
