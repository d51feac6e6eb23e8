//! A place with its names.

use std::sync::{Arc, OnceLock};

#[cfg(any(feature = "tracing", feature = "__fuzzing"))]
use super::backtrace::BacktraceFrame;
use super::place::{NamedFrame, Place};

/// A place whose names are looked up once, however many copies of it there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedPlace(Arc<(Place, OnceLock<NamedFrame>)>);

impl NamedPlace {
    pub(crate) fn new(place: Place) -> Self {
        Self(Arc::new((place, OnceLock::new())))
    }

    /// Returns what it means. The first lookup in a program reads its debug information, which takes as long
    /// as that is large.
    pub(crate) fn named(&self) -> &NamedFrame {
        let (place, named) = &*self.0;
        named.get_or_init(|| place.look_up())
    }
}

#[cfg(feature = "__fuzzing")]
impl NamedPlace {
    /// Returns what is found if the stack isn't unwound.
    pub(crate) fn found_by_search(&self) -> Option<BacktraceFrame> {
        self.0.0.found_by_search()
    }
}

#[cfg(feature = "tracing")]
impl NamedPlace {
    /// Returns the frame with the names that were looked up, or without any.
    pub(crate) fn frame_as_known(&self) -> Option<BacktraceFrame> {
        let (place, named) = &*self.0;
        if let Some(named) = named.get() {
            return named.frame.clone();
        }
        place.without_names()
    }
}

// Equality ignores the names, because they follow from the place.
impl PartialEq for NamedPlace {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl Eq for NamedPlace {}
