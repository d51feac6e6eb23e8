//! `Duplex::request`, blocking and with tokio.

use crate::harness::Group;

pub(crate) fn blocking(_: &mut Group, _size: usize) {}

pub(crate) fn tokio(_: &mut Group, _size: usize) {}
