//! Seccomp's filters: instructions of classic BPF, and what a filter can answer.
//!
//! [`Policy::compile`](crate::Policy::compile) makes the programs, [`interpret`] runs them,
//! [`disassemble`] shows them.

pub(crate) mod build;
pub(crate) mod compile;
pub mod disassemble;
mod group;
pub mod interpret;
mod starts;
mod trace;

pub use self::trace::TRAP_TRACED;

/// A filter as [`seccompiler::apply_filter`] takes it, and one of its instructions.
pub use seccompiler::{BpfProgram, sock_filter};

/// An instruction in one number, for storing.
pub(crate) fn to_bits(instruction: &sock_filter) -> u64 {
    u64::from(instruction.code) << 48
        | u64::from(instruction.jt) << 40
        | u64::from(instruction.jf) << 32
        | u64::from(instruction.k)
}

/// The instruction of such a number.
pub(crate) fn from_bits(bits: u64) -> sock_filter {
    let [c1, c0, jt, jf, k3, k2, k1, k0] = bits.to_be_bytes();
    sock_filter {
        code: u16::from_be_bytes([c1, c0]),
        jt,
        jf,
        k: u32::from_be_bytes([k3, k2, k1, k0]),
    }
}

/// The operations that these filters are made of.
pub(crate) mod op {
    /// Load a word of the call's description.
    pub(crate) const LOAD: u16 = 0x20;
    pub(crate) const AND: u16 = 0x54;
    pub(crate) const JUMP: u16 = 0x05;
    pub(crate) const EQUAL: u16 = 0x15;
    pub(crate) const GREATER: u16 = 0x25;
    pub(crate) const AT_LEAST: u16 = 0x35;
    pub(crate) const ANY_BIT: u16 = 0x45;
    pub(crate) const RETURN: u16 = 0x06;
}

/// Offsets in `seccomp_data`.
pub(crate) const NUMBER: u32 = 0;
pub(crate) const ARCHITECTURE: u32 = 4;
pub(crate) const ARGUMENTS: u32 = 16;

/// The most instructions that the kernel takes.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The bit that marks the calls of the x32 interface.
pub(crate) const X32: u32 = 0x4000_0000;

/// A system call number that doesn't exist and that every filter answers by killing the process:
/// how the SIGSYS handler ends after its report, without needing any right to do so.
pub const DEATH: u32 = 0x1ffe;

/// A placeholder in a program for the process's own id, which replaces it before the program is loaded. It is
/// no process's id, so a program that was never patched allows less, not more.
pub const OWN_PID_PLACEHOLDER: u32 = u32::MAX - 1;

/// The process id that `self.pid` means in expectations.
pub const SAMPLE_PID: u32 = 4711;

/// The answer of a filter. If several filters are stacked, the first of these in order wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The kernel kills the process.
    KillProcess,
    /// SIGSYS is raised; the number reaches the handler as `si_errno`.
    Trap(u16),
    /// The call fails with this error number.
    Errno(u16),
    /// A supervisor is asked. Only in filters for learning.
    Notify,
    /// The call happens.
    Allow,
}

/// As one says it of a call: "this call is …".
impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Allow => f.write_str("allowed"),
            Self::Notify => f.write_str("up to a supervisor"),
            Self::KillProcess => f.write_str("killed"),
            Self::Trap(TRAP_EMULATE) => f.write_str("emulated"),
            Self::Trap(data) if data & TRAP_TRACED != 0 => Self::Errno(data & !TRAP_TRACED).fmt(f),
            Self::Trap(_) => f.write_str("a violation"),
            Self::Errno(number) => match crate::names::errno_name(number) {
                Some(name) => write!(f, "answered {name}"),
                None => write!(f, "answered by error {number}"),
            },
        }
    }
}

/// The value that [`Action::Trap`] carries for a violation.
pub const TRAP_VIOLATION: u16 = 0;
/// The value that [`Action::Trap`] carries for a call that the handler serves harmlessly.
pub const TRAP_EMULATE: u16 = 1;

impl Action {
    /// The kernel's return value for it.
    pub fn to_return(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::Trap(data) => 0x0003_0000 | u32::from(data),
            Self::Errno(number) => 0x0005_0000 | u32::from(number),
            Self::Notify => 0x7fc0_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// The action of a return value, if a filter of this crate can return it.
    pub fn from_return(value: u32) -> Option<Self> {
        let data = (value & 0xffff) as u16;
        match value & 0xffff_0000 {
            0x8000_0000 if data == 0 => Some(Self::KillProcess),
            0x0003_0000 => Some(Self::Trap(data)),
            0x0005_0000 => Some(Self::Errno(data)),
            0x7fc0_0000 if data == 0 => Some(Self::Notify),
            0x7fff_0000 if data == 0 => Some(Self::Allow),
            _ => None,
        }
    }
}

/// A filter for one architecture.
///
/// Any process can load it, sandboxed function or not, once its id is [patched](Program::patch) in. The process
/// then dies by SIGSYS if the filter answers [`Action::Trap`], unless it handles that signal.
///
/// ```
/// use crossmist_policy::{Arch, Policy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let compiled = Policy::builtin("parser")?.compile()?;
/// let host = Arch::host().ok_or("an architecture without filters")?;
/// let mut program = compiled.program(host).ok_or("no filter")?.clone();
/// program.patch(std::process::id());
/// std::thread::spawn(move || {
///     seccompiler::apply_filter(&program.code).unwrap();
///     // The filter answers EACCES: the policy grants no path.
///     let error = std::fs::File::open("/etc/hostname").unwrap_err();
///     assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
/// })
/// .join()
/// .unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The architecture that it is for; every other is killed.
    pub arch: crate::Arch,
    /// The instructions.
    pub code: BpfProgram,
    /// The instructions whose operand is [`OWN_PID_PLACEHOLDER`] until [`Program::patch`].
    pub own_pid: Vec<u16>,
}

impl Program {
    /// Puts the id of the process that will load it into the program.
    ///
    /// The id is the one that the process sees itself, in its own pid namespace.
    pub fn patch(&mut self, pid: u32) {
        for at in &self.own_pid {
            if let Some(instruction) = self.code.get_mut(usize::from(*at)) {
                instruction.k = pid;
            }
        }
    }

    /// Whether the kernel would take it: known operations, jumps forward and inside, an end.
    pub fn is_sound(&self) -> bool {
        let length = self.code.len();
        let sound = |(at, i): (usize, &sock_filter)| match i.code {
            op::LOAD => i.k.is_multiple_of(4) && i.k < 64 && at + 1 < length,
            op::AND => at + 1 < length,
            op::JUMP => (at + 1).saturating_add(i.k as usize) < length,
            op::EQUAL | op::GREATER | op::AT_LEAST | op::ANY_BIT => {
                at + 1 + usize::from(i.jt.max(i.jf)) < length
            }
            op::RETURN => Action::from_return(i.k).is_some(),
            _ => false,
        };
        length > 0
            && length <= MAX_INSTRUCTIONS
            && self.code.iter().enumerate().all(sound)
            && self.own_pid.iter().all(|at| usize::from(*at) < length)
    }
}
