//! Functions that prepare state, which the children of a keeper share.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::panic;
use crate::object::Auto;
use crate::sys::image::Target;

/// The record of a function that prepares state. Calls refer to it. Its contents are fixed when the program
/// is compiled, and never comes with a request.
pub type Preload = Target<PreloadPoint>;

/// A function that prepares state.
#[derive(Clone, Copy, Debug)]
pub struct PreloadPoint {
    /// Its path, for messages.
    pub name: &'static str,
    /// Runs it.
    pub run: fn() -> Result<(), String>,
}

/// The result of a function that is named by `preload = …`: nothing, or a `Result` whose error says what
/// failed.
pub trait Prepared {
    /// Converts it.
    ///
    /// # Errors
    ///
    /// The text of the error.
    fn result(self) -> Result<(), String>;
}

impl Prepared for () {
    fn result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: std::fmt::Display> Prepared for Result<(), E> {
    fn result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// Runs what a reference leads to, in the keeper.
pub(super) fn run(reference: u64) -> Result<(), String> {
    let (reference, _) = Auto::unmark(reference);
    let Some(PreloadPoint { name, run }) = Preload::resolve(reference) else {
        return Err("the reference leads to no function of this program".to_owned());
    };
    panic::watch(|_| ());
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| format!("`{name}` failed: {error}")),
        Err(payload) => {
            let panic = panic::panic_seen(Some(payload));
            Err(format!("`{name}` panicked: {panic}"))
        }
    }
}
