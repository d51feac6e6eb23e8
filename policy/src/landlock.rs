//! Landlock's rights, the kernels that know them, and the rights that a policy depends on.
//!
//! A right is *load-bearing* if nothing else denies what it denies. If a policy's filter lets no
//! path be opened, the policy is complete without Landlock, and runs on a kernel that has none.

use std::fmt;

use crate::source::Location;
use crate::steps::Release;

/// A set of filesystem rights, with the kernel's own bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsRights(u64);

impl FsRights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    pub(crate) const EXECUTE: Self = Self(1);
    pub(crate) const WRITE_FILE: Self = Self(1 << 1);
    pub(crate) const READ: Self = Self(1 << 2 | 1 << 3);
    pub(crate) const WRITE: Self = Self(1 << 1 | 1 << 14);
    /// Files, directories and symbolic links made, moved and removed; no devices, sockets, pipes.
    pub(crate) const CREATE: Self = Self(1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13);
    const SPECIAL: Self = Self(1 << 9 | 1 << 10);
    pub(crate) const IOCTL_DEV: Self = Self(1 << 15);
    pub(crate) const RESOLVE_UNIX: Self = Self(1 << 16);

    /// The kernel's bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Returns the rights of a bit mask, unless it has an unknown bit.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits >> NAMES.len() == 0).then_some(Self(bits))
    }

    /// Returns the rights that a kernel with this ABI knows. All of them must be handled.
    pub fn of_abi(abi: u32) -> Self {
        let known = NAMES.iter().filter(|(_, since)| *since <= abi).count();
        Self((1 << known) - 1)
    }

    /// Returns whether any of them lets files be changed.
    pub fn writes(self) -> bool {
        self.0 & (Self::WRITE.0 | Self::CREATE.0 | Self::SPECIAL.0) != 0
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns those that a kernel with this ABI knows.
    pub fn known_to(self, abi: u32) -> Self {
        Self(self.0 & Self::of_abi(abi).0)
    }

    /// Returns whether it contains all rights of `other`.
    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Returns whether it is for sockets and pipes, which are created only if a rule names the
    /// right.
    pub(crate) fn is_special(self) -> bool {
        Self::SPECIAL.contains(self)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .position(|(known, _)| *known == name)
            .map(|at| Self(1 << at))
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for FsRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 >> bit & 1 == 1);
        let names: Vec<_> = set.map(|(_, (name, _))| *name).collect();
        f.write_str(&names.join("+"))
    }
}

/// Every right in the order of its bit, with the ABI that brought it.
const NAMES: &[(&str, u32)] = &[
    ("execute", 1),
    ("write_file", 1),
    ("read_file", 1),
    ("read_dir", 1),
    ("remove_dir", 1),
    ("remove_file", 1),
    ("make_char", 1),
    ("make_dir", 1),
    ("make_reg", 1),
    ("make_sock", 1),
    ("make_fifo", 1),
    ("make_block", 1),
    ("make_sym", 1),
    ("refer", 2),
    ("truncate", 3),
    ("ioctl_dev", 5),
    ("resolve_unix", 9),
];

/// The bit of `bind_tcp` in a network rule.
pub const NET_BIND_TCP: u64 = 1;
/// The bit of `connect_tcp` in a network rule.
pub const NET_CONNECT_TCP: u64 = 2;
/// The bit of `bind_udp` in a network rule.
pub const NET_BIND_UDP: u64 = 4;
/// The bit of `connect_send_udp` in a network rule.
pub const NET_CONNECT_SEND_UDP: u64 = 8;
/// The ABI that brought the rights on UDP ports.
pub(crate) const UDP_ABI: u32 = 10;
/// The bit of the scope that keeps abstract Unix sockets out of reach.
pub const SCOPE_ABSTRACT_UNIX: u64 = 1;
/// The bit of the scope that keeps signals in.
pub const SCOPE_SIGNAL: u64 = 2;

/// The network rights that a kernel of this ABI knows and that are handled for a policy.
///
/// Those on UDP are left alone unless the policy grants UDP ports. Without such a grant, the filter lets no
/// child make a UDP socket, and one that it was passed is granted by that.
pub fn net_rights(abi: u32, grants_udp: bool) -> u64 {
    let tcp = if abi >= 4 {
        NET_BIND_TCP | NET_CONNECT_TCP
    } else {
        0
    };
    let udp = if grants_udp && abi >= UDP_ABI {
        NET_BIND_UDP | NET_CONNECT_SEND_UDP
    } else {
        0
    };
    tcp | udp
}

/// The scopes that a kernel of this ABI knows.
pub fn scopes(abi: u32) -> u64 {
    if abi >= 6 {
        SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL
    } else {
        0
    }
}

/// The kernels that brought the ABIs, from the first on.
const KERNELS: [Release; 10] = [
    Release::new(5, 13),
    Release::new(5, 19),
    Release::new(6, 2),
    Release::new(6, 7),
    Release::new(6, 10),
    Release::new(6, 12),
    Release::new(6, 15),
    Release::new(7, 0),
    Release::new(7, 1),
    Release::new(7, 2),
];

/// The newest ABI that there are words for here. A kernel's may be newer, and is used like this one.
pub const NEWEST_ABI: u32 = KERNELS.len() as u32;

/// The kernel that brought an ABI: that of the newest known one for those beyond.
pub(crate) fn release_of_abi(abi: u32) -> Release {
    let at = abi.clamp(1, NEWEST_ABI) as usize - 1;
    KERNELS[at]
}

/// The kernel that brought an ABI, in words.
pub fn kernel_of_abi(abi: u32) -> String {
    match abi {
        0 => "any kernel".to_owned(),
        abi => release_of_abi(abi).to_string(),
    }
}

/// The Landlock ABI of a kernel release such as `6.7` or `6.18.3-custom`, as it comes from kernel.org
/// and where Landlock is built in and started.
pub fn abi_of_kernel(release: &str) -> Option<u32> {
    let release = Release::parse(release)?;
    let known = KERNELS.iter().filter(|since| **since <= release);
    u32::try_from(known.count()).ok()
}

/// One thing that only Landlock denies in a policy, and the line that makes it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The least ABI that can deny it.
    pub abi: u32,
    /// The subject, such as "opening paths".
    pub what: String,
    /// The relaxation that would give it up; empty if there is none.
    pub relaxation: String,
    /// The line that makes it necessary.
    pub location: Location,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abi_knows_exactly_the_rights_that_came_with_it_or_before() {
        assert_eq!(FsRights::of_abi(0), FsRights::NONE);
        assert_eq!(FsRights::of_abi(1).bits(), 0x1fff);
        assert_eq!(FsRights::of_abi(2).bits(), 0x3fff);
        assert_eq!(FsRights::of_abi(3).bits(), 0x7fff);
        assert_eq!(FsRights::of_abi(4).bits(), 0x7fff);
        assert_eq!(FsRights::of_abi(5).bits(), 0xffff);
        assert_eq!(FsRights::of_abi(9).bits(), 0x1ffff);
    }

    #[test]
    fn a_release_has_the_abi_of_the_last_one_that_brought_some() {
        for (release, abi) in [
            ("5.12", 0),
            ("5.13.0-rc1", 1),
            ("5.19", 2),
            ("6.1.55-amd64", 2),
            ("6.7", 4),
            ("6.18.3", 7),
            ("7.2", 10),
            ("9.0", 10),
        ] {
            assert_eq!(abi_of_kernel(release), Some(abi), "{release}");
        }
        assert_eq!(abi_of_kernel("six"), None);
        assert_eq!(abi_of_kernel("6"), None);
    }

    #[test]
    fn names_lead_to_the_kernels_bits() {
        assert_eq!(FsRights::from_name("refer").unwrap().bits(), 1 << 13);
        assert_eq!(FsRights::from_name("truncate").unwrap().bits(), 1 << 14);
        assert_eq!(FsRights::from_name("make_sock").unwrap().bits(), 1 << 9);
        assert_eq!(FsRights::READ.to_string(), "read_file+read_dir");
    }
}
