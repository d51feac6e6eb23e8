//! Decides which user a confined process becomes: whether it can have one of its own, and from which ids.
//!
//! Children of root take a random id. An id derived from a process id would repeat in other PID namespaces
//! and over time, and files that a child leaves behind belong to its id.
//! [`privileges`](super::privileges) makes sure that no live process has the id.

use std::io;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use crate::sys::privileges::{Capabilities, Capability, bit};
use crate::sys::random;
use crate::sys::system_files::{read_plainly, read_proc};

/// The first two are needed to become another user, and the third for the keeper to end a process
/// of another user. Without it there would be no deadline, and children would not die with the
/// keeper.
const NEEDED: u64 = bit(Capability::CAP_SETGID) | SETUID | bit(Capability::CAP_KILL);
const SETUID: u64 = bit(Capability::CAP_SETUID);

/// The ranges of ids, the best first. The first range with enough usable ids is taken.
///
/// The first range has 134,086,656 ids that no known scheme assigns. It is above systemd's ranges
/// for containers (up to 0x6fff_ffff), the subordinate ids of shadow-utils (up to 600,100,000) and
/// the ids of FreeIPA and SSSD (up to 2,000,200,000), and below systemd's range for foreign images
/// (from 0x7ffe_0000) and the ids that are negative as signed numbers.
///
/// A container with 65,536 ids has none of those. Of its own ids, those from 60,001 on are
/// systemd's, those below 1,000 belong to services, and images number their users from 1,000 or
/// 10,000 on.
const RANGES: [RangeInclusive<u32>; 3] =
    [0x7800_0000..=0x7ffd_ffff, 20_000..=60_000, 1_000..=60_000];

/// With fewer ids than this, many children would not find one each.
const FEWEST: u64 = 1024;

/// The user that a child becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum User {
    /// A user of its own, with one of these ids.
    Own(&'static Ids),
    /// The user of its parent.
    Same(SameUser),
}

impl User {
    /// Decides from the ids and capabilities of this process. `is_wanted` says whether the policy
    /// wants a user of its own for the child.
    ///
    /// The usable ids are read once. Copies of this process have them, and read no files.
    pub(crate) fn choose(is_wanted: bool) -> io::Result<Self> {
        if !is_wanted {
            return Ok(Self::Same(SameUser::Policy));
        }
        let ids = nix::unistd::getresuid()?;
        let ids = [ids.real, ids.effective, ids.saved];
        let held = Capabilities::of_this_thread()?.permitted;
        // A process that may become root counts as root.
        if !ids.iter().any(|id| id.is_root()) && held & SETUID == 0 {
            return Ok(Self::Same(SameUser::NotRoot));
        }
        if held & NEEDED != NEEDED {
            return Ok(Self::Same(SameUser::NoCapability));
        }
        static FREE: OnceLock<Ids> = OnceLock::new();
        let free = FREE.get_or_init(|| Ids::free(ids.map(|id| id.as_raw())));
        Ok(match free.count() {
            0 => Self::Same(SameUser::NoOtherIds),
            _ => Self::Own(free),
        })
    }
}

/// User ids that are group ids as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids(Vec<RangeInclusive<u32>>);

impl Ids {
    /// Finds the ids that this process's user namespace maps and that nobody is known to use.
    fn free(own: [u32; 3]) -> Self {
        // Without `/proc`, all ids are assumed to be mapped, as they are outside user namespaces.
        // If they are not, changing the user fails.
        let map = |path| read_proc(path).map_or_else(|_| Self::all(), |map| Self::mapped(&map));
        let mapped = map("/proc/self/uid_map").common(&map("/proc/self/gid_map"));
        let names =
            ["/etc/passwd", "/etc/group"].map(|path| read_plainly(path).unwrap_or_default());
        let names = names.map(|list| String::from_utf8_lossy(&list).into_owned());
        let names = names.iter().flat_map(|list| named(list));
        let mut used: Vec<u32> = own.into_iter().chain(names).collect();
        used.sort_unstable();
        mapped.best(&used)
    }

    fn all() -> Self {
        Self(vec![0..=u32::MAX - 1])
    }

    /// Reads a map of a user namespace (user_namespaces(7)): first id inside, first id outside, count.
    fn mapped(map: &str) -> Self {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            let (first, count) = (numbers.next()?.ok()?, numbers.nth(1)?.ok()?);
            Some(first..=first.checked_add(count.checked_sub(1)?)?)
        };
        Self(map.lines().filter_map(range).collect())
    }

    fn common(&self, other: &Self) -> Self {
        let pairs = self
            .0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| (a, b)));
        let common = pairs.map(|(a, b)| *a.start().max(b.start())..=*a.end().min(b.end()));
        Self(common.filter(|range| !range.is_empty()).collect())
    }

    /// Returns the best of these, without those in `used`, which is sorted. `None` if there are too
    /// few.
    fn best(&self, used: &[u32]) -> Self {
        let best = RANGES.map(|range| self.common(&Self(vec![range])).without(used));
        let enough = best.into_iter().find(|ids| ids.count() >= FEWEST);
        enough.unwrap_or_default()
    }

    fn without(self, used: &[u32]) -> Self {
        let mut left = Vec::new();
        for range in self.0 {
            let mut next = *range.start();
            for used in used.iter().filter(|id| range.contains(id)) {
                if next < *used {
                    left.push(next..=used.saturating_sub(1));
                }
                next = used.saturating_add(1);
            }
            if next <= *range.end() {
                left.push(next..=*range.end());
            }
        }
        Self(left)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(length).sum()
    }

    /// Draws a random id. Nobody can predict it, and copies of a process draw different ones.
    pub(super) fn draw(&self) -> io::Result<u32> {
        let mut index = random::number()?
            .checked_rem(self.count())
            .ok_or(io::ErrorKind::NotFound)?;
        for range in &self.0 {
            match index.checked_sub(length(range)) {
                Some(rest) => index = rest,
                None => {
                    return Ok(range
                        .start()
                        .saturating_add(u32::try_from(index).unwrap_or(0)));
                }
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Why a confined child keeps its parent's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, crate::Object)]
#[non_exhaustive]
pub enum SameUser {
    /// The policy says so: `[process] user = "same"`.
    Policy,
    /// The program is not root: none of its user ids is 0, and it has no CAP_SETUID.
    NotRoot,
    /// The program is root, but lacks CAP_SETUID or CAP_SETGID to change users, or CAP_KILL to end a
    /// process of another user.
    NoCapability,
    /// The program is root of a user namespace that maps too few other ids.
    NoOtherIds,
}

#[cfg(test)]
impl From<Vec<RangeInclusive<u32>>> for Ids {
    fn from(ranges: Vec<RangeInclusive<u32>>) -> Self {
        Self(ranges)
    }
}

fn length(range: &RangeInclusive<u32>) -> u64 {
    match range.is_empty() {
        true => 0,
        false => u64::from(range.end().saturating_sub(*range.start())).saturating_add(1),
    }
}

/// Returns the ids in a list of users or groups (passwd(5), group(5)).
fn named(list: &str) -> impl Iterator<Item = u32> {
    let ids = list.lines().map(|line| line.split(':').nth(2));
    ids.filter_map(|id| id?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(map: &str, used: &[u32]) -> Ids {
        Ids::mapped(map).best(used)
    }

    #[test]
    fn ids_that_nobody_hands_out_come_first() {
        let everything = "         0          0 4294967295\n";
        assert_eq!(best(everything, &[]), Ids(vec![0x7800_0000..=0x7ffd_ffff]));
    }

    #[test]
    fn a_container_takes_what_its_map_has() {
        let rootless = "0 1000 1\n1 100000 65536\n";
        assert_eq!(best(rootless, &[]), Ids(vec![20_000..=60_000]));
        assert_eq!(best("0 100000 10000\n", &[]), Ids(vec![1_000..=9_999]));
        // Nothing but system users, or nobody at all.
        assert_eq!(best("0 100000 2000\n", &[]), Ids::default());
        assert_eq!(best("0 1000 1\n", &[]), Ids::default());
        assert_eq!(best("", &[]), Ids::default());
    }

    #[test]
    fn named_users_keep_their_ids() {
        let list =
            "root:x:0:0::/:\nodd line\napp:x:20000:1::/:\nlast:x:60000:1::/:\nmid:x:30000:1::/:";
        let mut used: Vec<u32> = named(list).collect();
        used.sort_unstable();
        assert_eq!(used, [0, 20_000, 30_000, 60_000]);
        let free = best("0 100000 65536\n", &used);
        assert_eq!(free, Ids(vec![20_001..=29_999, 30_001..=59_999]));
    }

    #[test]
    fn a_user_id_has_to_be_a_group_id_too() {
        let users = Ids::mapped("0 0 30000\n");
        let groups = Ids::mapped("5 100000 10\n25000 200000 100000\n");
        assert_eq!(users.common(&groups), Ids(vec![5..=14, 25_000..=29_999]));
    }

    #[test]
    fn every_id_is_drawn_and_no_other() {
        let ids = Ids(vec![5..=6, 9..=9, 20..=22]);
        let mut drawn: Vec<u32> = (0..2_000).map(|_| ids.draw().unwrap()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [5, 6, 9, 20, 21, 22]);
        assert_eq!(
            Ids::default().draw().unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn nonsense_in_a_map_maps_nothing() {
        for map in ["x 0 1", "0 0", "0 0 0", "4294967295 0 2", "-1 0 9"] {
            assert_eq!(Ids::mapped(map), Ids::default(), "{map}");
        }
    }
}
