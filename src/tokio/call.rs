//! Calls that wait in the runtime.

use super::child::Child;
use crate::builder::{Builder, Options};
use crate::error::Error;
use crate::func::Func;

/// Calls `F` in a child and waits for its result.
pub(crate) async fn run<F: Func>(arguments: F::Args, options: Options) -> Result<F::Output, Error> {
    // Whoever drops the future has no other hold on the child.
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

/// The launch of an unconfined child blocks the thread, for as long as `execve` takes: about a
/// millisecond; a confined one is only asked for, once there is a keeper. What
/// doesn't fit the socket of the arguments is sent while others run.
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

            /// Starts the function in a child process.
            ///
            /// # Errors
            ///
            /// Those of [`Error`] up to [`Error::Launch`]. Of a function with a sandbox, that the child
            /// could not be made is said by whoever waits for it: it has only been asked for by now.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future, which waits only to send large arguments, leaves a child
            /// without them, which then ends.
            pub async fn spawn_tokio(self, $($name: $type),*) -> Result<Child<Fun::Output>, Error> {
                spawn::<Fun>(($($name,)*), self.into_options()).await
            }
        }
    };
}

for_each_arity! { calls }
