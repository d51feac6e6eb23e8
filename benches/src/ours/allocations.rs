//! `Sender::send` of 64 bytes, counted by `allocator::count`.

use crate::harness::Group;

pub(crate) fn sending(_: &mut Group) {}
