//! Confinement: what a child does to itself, before it looks at its arguments.
//!
//! [`Plan::prepare`] runs in the parent and does everything that needs a lookup, a file or a
//! decision; [`apply`] runs in the child and makes system calls. The plan travels in the launch
//! message; how it went comes back as a [`Status`] or a [`Failure`].

mod apply;
mod fields;
mod landlock;
mod plan;
mod privileges;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use self::apply::apply;
pub(crate) use self::plan::{Kept, Plan};
pub(crate) use self::status::Failure;
pub use self::status::Status;
