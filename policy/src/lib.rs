//! The policy language of crossmist: what a confined child may do, written in TOML, checked when
//! the program is built, and enforced by the kernel.
//!
//! A policy allows, and everything that it does not name is denied. A [`Policy`] has been checked.
//! A [`Compiled`] is its compiled form: seccomp filters, Landlock rights, limits. The macro
//! compiles policies when the program is built, the library enforces them at run time, and both
//! share this crate. It needs no kernel and no C library, so a policy means the same wherever it is
//! compiled.
//!
//! ```
//! use crossmist_policy::{Arch, BuiltinOnly, Compiled, Policy};
//!
//! let text = r#"
//!     format = 1
//!     description = "Decode one uploaded image"
//!     extends = ["parser"]
//!     [limits]
//!     wall_time = "2s"
//!     [[expect]]
//!     syscall = "socket(AF_INET, SOCK_STREAM, 0)"
//!     is = "violation"
//! "#;
//! let policy = Policy::from_toml(&BuiltinOnly, "decode", text)?;
//! let compiled = policy.compile()?;
//! assert_eq!(compiled.required_abi(), 0);
//! assert_eq!(Compiled::from_bytes(&compiled.to_bytes())?, compiled);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Stability
//!
//! This crate is a part of `crossmist`, with the same version. Anything in it may change in any
//! release, so depend on exactly one version (`=2.0.0`), or better on `crossmist` alone. What
//! `crossmist` re-exports follows its rules.
//!
//! # What happens to a system call
//!
//! 1. If the call uses the interface of another architecture, x32 included, the process is killed.
//! 2. If its number is newer than the table, it fails with `ENOSYS`.
//! 3. If `deny` denies it, it is a violation, whatever else the policy says.
//! 4. If it is allowed and its condition holds, it happens.
//! 5. If libraries try it on their own account, it is answered softly: it fails with an error
//!    number, or the library's handler does something harmless instead.
//! 6. Anything else is a violation. Calls that honest code never makes kill the process at once.
//!    The others raise SIGSYS, so that the process can report the call before it dies. The kernel
//!    guarantees the denial. The report, and the death after SIGSYS, are up to the process.

#![forbid(unsafe_code)]

mod allowance;
pub mod bpf;
mod compiled;
mod condition;
mod cover;
mod diagnostic;
pub mod diff;
mod expect;
#[cfg(feature = "import")]
mod export;
mod file;
mod help;
pub mod home;
#[cfg(feature = "import")]
pub mod import;
mod kernel;
mod keys;
pub mod landlock;
pub mod learn;
mod library;
mod lint;
mod names;
pub mod namespaces;
mod narrow;
pub mod overview;
mod policy;
mod propose;
mod raise;
mod reader;
mod redundant;
mod resolve;
mod schema;
mod settings;
mod source;
pub mod steps;
pub mod syscalls;
mod template;
mod unprotected;
mod verdict;

pub use allowance::Advice;
pub use compiled::{
    Ceiling, ChannelLimits, Compiled, DecodeError, Environment, Explanation, Limits, PathRule,
    PortRule, PortSet, Process, Provenance, Stdio, Unbound, VariableRule, WantedGroup,
};
pub use diagnostic::{Code, Diagnostic, Report, Severity, nearest};
pub use expect::{Expected, Subject};
#[cfg(feature = "import")]
pub use export::Exported;
pub use file::{OnViolation, is_of_each_process, kernel_tree};
pub use help::Help;
pub use kernel::{Kernel, Requirement, Unenforceable};
pub use library::{BUILTIN, BuiltinOnly, Folder, Library, Missing, Text};
pub use names::{errno, errno_name};
pub use narrow::NarrowError;
pub use policy::{Capabilities, Policy};
pub use propose::ByPath;
pub use raise::{RaiseError, Raised};
pub use redundant::{Redundant, redundant};
pub use schema::{group_page, reference, schema, verdict_page};
pub use source::{Location, MAX_FILE};

pub use template::template;

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
    /// All architectures.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// Returns the architecture that this code runs on, if it is one of them.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Returns seccompiler's name for it.
    pub fn target(self) -> seccompiler::TargetArch {
        match self {
            Self::X86_64 => seccompiler::TargetArch::x86_64,
            Self::Aarch64 => seccompiler::TargetArch::aarch64,
        }
    }

    /// Returns the kernel's number for it, as filters see it.
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
