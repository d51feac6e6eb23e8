//! Where in the program, or in which library, a child's thread was: its stack is walked by the tables that the
//! unwinder of exceptions uses (`.eh_frame`), in the files that are mapped into the child.
//!
//! The child is another process, and may be hostile or gone: everything that is known of it are a few registers, a
//! part of its stack, and a list of what its keeper had mapped. A walk takes a bounded number of steps, reads
//! nothing but these, and ends where they make no sense.

mod elf;
mod files;
mod layout;
mod machine;
mod prologue;
mod registers;
mod symbols;
mod tables;
mod walk;

#[cfg(feature = "__fuzzing")]
pub(crate) use self::files::read_any;
pub(crate) use self::layout::Layout;
#[cfg(crossmist_learn)]
pub(crate) use self::prologue::PROLOGUE_BYTES;
pub(crate) use self::registers::{Registers, Stack};
#[cfg(feature = "__fuzzing")]
pub(crate) use self::walk::MOST_STEPS;
pub(crate) use self::walk::{Frame, LibraryFrame, walk};
