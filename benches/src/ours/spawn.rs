//! Unconfined calls: `run`, `run_tokio`, and many at once.

use crate::harness::Group;

pub(crate) fn one_child(_: &mut Group) {}

pub(crate) fn many_children(_: &mut Group, _count: usize) {}
