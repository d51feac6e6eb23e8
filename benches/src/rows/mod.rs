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
///
/// Each inner list is a pass with rounds of its own. Bulk and records are apart because their rows
/// hold hundreds of megabytes, and the price of a `fork` depends on the size of the parent.
pub(crate) fn passes(smoke: bool) -> Vec<Vec<Group>> {
    let light = [
        spawn::groups(smoke),
        fork_server::groups(smoke),
        round_trip::groups(),
        memory::groups(),
        descriptors::groups(),
        many::groups(smoke),
        allocations::groups(),
    ];
    vec![
        light.into_iter().flatten().collect(),
        bulk::groups(smoke),
        records::groups(smoke),
    ]
}
