//! The policy language of crossmist.

#![forbid(unsafe_code)]

pub mod bpf;
mod condition;
mod diagnostic;
mod names;
pub mod syscalls;

pub use diagnostic::{Code, Diagnostic, Report};

use std::fmt;

/// An architecture that policies are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// x86_64, without x32.
    X86_64,
    /// aarch64, little-endian.
    Aarch64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The one that this code runs on, if it is one of them.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The kernel's word for it, as filters see it.
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::Aarch64 => 1,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}
