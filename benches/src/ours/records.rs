//! `Object` for a derived struct, a million times.

use crate::harness::Group;
use crate::rows::records::Records;

pub(crate) fn encode(_: &mut Group, _: &Records) {}

pub(crate) fn decode(_: &mut Group, _: &Records) {}
