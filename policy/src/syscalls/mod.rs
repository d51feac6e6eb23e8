//! System calls: numbers, arguments, constants, and the groups that name many.

mod about;
pub(crate) mod constants;
pub mod groups;
mod table;
pub mod verdicts;

pub use about::about;

use crate::Arch;

/// How much of an argument's register the kernel looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The low 16 bits (`umode_t`).
    Short,
    /// The low 32 bits, signed: descriptors, process ids, clock ids.
    Int,
    /// The low 32 bits, unsigned.
    Unsigned,
    /// All 64 bits.
    Long,
    /// All 64 bits, an address. The memory there can change after the filter has looked.
    Pointer,
}

impl Width {
    /// The bits that the kernel looks at.
    pub(crate) fn mask(self) -> u64 {
        match self {
            Self::Short => 0xffff,
            Self::Int | Self::Unsigned => 0xffff_ffff,
            Self::Long | Self::Pointer => u64::MAX,
        }
    }
}

/// One system call.
#[derive(Debug)]
pub struct Syscall {
    /// The kernel's name for it.
    pub name: &'static str,
    numbers: [i32; 2],
    /// Its arguments: name and width, in order.
    pub args: &'static [(&'static str, Width)],
}

impl Syscall {
    /// The call's number on an architecture that has it.
    pub fn number(&self, arch: Arch) -> Option<u32> {
        u32::try_from(self.numbers[arch.index()]).ok()
    }
}

/// All known system calls, sorted by name.
pub fn all() -> &'static [Syscall] {
    table::SYSCALLS
}

/// The system call of a name.
pub fn find(name: &str) -> Option<&'static Syscall> {
    let at = all().binary_search_by(|call| call.name.cmp(name));
    at.ok().map(|at| &all()[at])
}

/// The system call of a number.
pub fn by_number(arch: Arch, number: u32) -> Option<&'static Syscall> {
    all().iter().find(|call| call.number(arch) == Some(number))
}

/// Names that systemd's `SystemCallFilter=` has and this crate deliberately has not: their sets are
/// wider than their names sound.
pub(crate) const SYSTEMD_GROUPS: &[(&str, &str)] = &[
    (
        "@default",
        "`@runtime` and `@memory`; systemd's also allows execve and executable memory",
    ),
    ("@basic-io", "`@io`"),
    (
        "@file-system",
        "`[filesystem]` with the paths that are needed",
    ),
    ("@io-event", "`@poll` or `@async`"),
    ("@network-io", "`[network]` with the ports that are needed"),
    (
        "@system-service",
        "`extends = [\"worker\"]`; systemd's also allows keyctl, userfaultfd and splice",
    ),
    ("@signal", "`@runtime`"),
    ("@timer", "`@clock` or `@poll`"),
    ("@sync", "`@file-sync`"),
    ("@ipc", "`@shared-memory`"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_the_search_finds_every_call() {
        assert!(all().is_sorted_by(|a, b| a.name < b.name));
        assert!(all().iter().all(|call| find(call.name).is_some()));
    }

    #[test]
    fn no_number_is_given_out_twice() {
        for arch in Arch::ALL {
            let mut numbers: Vec<_> = all().iter().filter_map(|call| call.number(arch)).collect();
            numbers.sort_unstable();
            assert!(numbers.is_sorted_by(|a, b| a < b));
        }
    }
}
