//! The row families: floors and peers here, our rows under `ours`, added by each family.

pub(crate) mod allocations;
pub(crate) mod bulk;
pub(crate) mod descriptors;
pub(crate) mod fork_server;
pub(crate) mod many;
pub(crate) mod memory;
pub(crate) mod records;
pub(crate) mod round_trip;
pub(crate) mod spawn;

use crate::harness::Group;

/// All groups, in the order of the report. `smoke` shrinks what would take long.
pub(crate) fn all(smoke: bool) -> Vec<Group> {
    let mut groups = Vec::new();
    groups.extend(spawn::groups(smoke));
    groups.extend(fork_server::groups(smoke));
    groups.extend(round_trip::groups());
    groups.extend(bulk::groups(smoke));
    groups.extend(records::groups(smoke));
    groups.extend(memory::groups());
    groups.extend(descriptors::groups());
    groups.extend(many::groups(smoke));
    groups.extend(allocations::groups());
    groups
}
