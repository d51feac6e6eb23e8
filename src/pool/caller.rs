//! `Caller`: what of a thread decides whether it may use a spare.

use crate::error::Error;
use crate::keeper::{self, Credentials};
use crate::sys::inherited;

/// The properties of a thread that decide whether it may use a spare that another one has started: the rights
/// that a child must not exceed, and the processors that it runs on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Of prepared state.
    generation: u64,
    credentials: Credentials,
    processors: Option<Vec<u8>>,
}

impl Caller {
    pub(super) fn now() -> Result<Self, Error> {
        let credentials = Credentials::of_this_thread().map_err(|source| Error::Launch {
            step: "read its own credentials",
            source,
        })?;
        Ok(Self {
            generation: keeper::generation(),
            credentials,
            processors: inherited::processors(),
        })
    }
}
