//! `run_tokio` and `spawn_tokio`, on a builder.

use super::{Child, Tokio};
use crate::call::Builder;
use crate::error::Error;
use crate::func::Func;
use crate::runtime::{run, spawn};

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
                run::<Fun, Tokio>(($($name,)*), self.into_options()).await
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
                spawn::<Fun, Tokio>(($($name,)*), self.into_options()).await
            }
        }
    };
}

for_each_arity! { calls }
