//! The compiled form as bytes, and back.
//!
//! Reading is total: any bytes give a value or an error, no allocation is larger than the bytes
//! are, and a filter that the kernel wouldn't take is refused. Each type says once what it consists
//! of, so that writing and reading can't drift apart.

use std::fmt;
use std::time::Duration;

use super::{
    Ceiling, ChannelLimits, Compiled, Environment, Limits, PathRule, PortRule, PortSet, Process,
    Provenance, Stdio, VariableRule, WantedGroup,
};
use crate::Arch;
use crate::bpf::{self, Program};
use crate::file::OnViolation;
use crate::kernel::Requirement;
use crate::landlock::{FsRights, Need};
use crate::namespaces::{Namespaces, UserWish, Wish};
use crate::policy::Capabilities;
use crate::source::Location;
use crate::steps::SecondNet;

/// The beginning of such bytes. Its last byte is the version of the form.
const MAGIC: [u8; 8] = *b"xm-pol\0\x06";

/// Bytes that aren't a compiled policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// How many bytes were read before it was seen.
    pub offset: usize,
    /// A description of the expected bytes.
    pub expected: &'static str,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a compiled policy: expected {} at byte {}",
            self.expected, self.offset
        )
    }
}

impl std::error::Error for DecodeError {}

impl Compiled {
    /// The policy as bytes, the same for the same policy.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        self.put(&mut out);
        out
    }

    /// Reads such bytes.
    ///
    /// # Errors
    ///
    /// If they are anything else, of another version, or more than that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input {
            rest: bytes,
            length: bytes.len(),
        };
        if input.bytes(MAGIC.len(), "a compiled policy of this version")? != MAGIC {
            return Err(DecodeError {
                offset: 0,
                expected: "a compiled policy of this version",
            });
        }
        let compiled = Self::take(&mut input)?;
        if !input.rest.is_empty() {
            return Err(input.error("the end"));
        }
        Ok(compiled)
    }
}

struct Input<'b> {
    rest: &'b [u8],
    length: usize,
}

impl<'b> Input<'b> {
    fn bytes(&mut self, count: usize, expected: &'static str) -> Result<&'b [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.error(expected)),
        }
    }

    fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError {
            offset: self.length - self.rest.len(),
            expected,
        }
    }
}

trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError>;
}

macro_rules! number {
    ($($type:ident)*) => { $(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                let bytes = input.bytes(size_of::<Self>(), "a number")?;
                Ok(bytes.iter().rev().fold(0, |sum, byte| sum.checked_shl(8).unwrap_or(0) | Self::from(*byte)))
            }
        }
    )* };
}
number!(u8 u16 u32 u64);

macro_rules! fields {
    ($($type:ident { $($field:ident)* })*) => { $(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $( self.$field.put(out); )*
            }
            fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $( $field: Wire::take(input)?, )* })
            }
        }
    )* };
}
fields! {
    Compiled {
        name description programs data_programs on_violation filesystem network scopes needs required relaxed variables
        ceilings limits channel capabilities environment process namespaces provenance sources
    }
    PathRule { path rights optional line }
    PortRule { ports rights line }
    VariableRule { name is_port default from_env }
    Ceiling { name variables filesystem }
    Limits {
        memory reserved address_space stack cpu_time wall_time processes threads open_files file_size core locked_memory control_group
    }
    ChannelLimits { message_bytes message_fds messages nesting total_bytes }
    Environment { inherit set backtrace }
    Process {
        stdin stdout stderr dumpable dies_with_parent deny_write_execute allow_speculation own_user fresh_image trace_denials
    }
    Namespaces { user network ipc mount pid network_can_be_shared }
    Provenance { call said }
    Need { abi what relaxation location }
    Requirement { net line }
    Location { file line column }
}

/// Enums as a number and, for some, a value.
macro_rules! choices {
    ($($type:ident { $($number:literal $variant:ident $(($value:ident))?)* })*) => { $(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self { $( Self::$variant $(($value))? => { out.push($number); $( $value.put(out); )? } )* }
            }
            fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                match u8::take(input)? {
                    $( $number => Ok(Self::$variant $(({ let $value = Wire::take(input)?; $value }))?), )*
                    _ => Err(input.error(stringify!($type))),
                }
            }
        }
    )* };
}
choices! {
    OnViolation { 0 Kill 1 KillSilent 2 Trap 3 Errno(number) }
    WantedGroup { 0 Required 1 IfPossible 2 Never }
    Stdio { 0 Null 1 Pipe 2 Inherit }
    Arch { 0 X86_64 1 Aarch64 }
    Capabilities { 0 Only(kept) 1 All }
    Wish { 0 Own 1 IfPossible 2 Shared }
    UserWish { 0 Own 1 IfPossible 2 IfNeeded 3 Shared }
    SecondNet { 0 DenyWriteExecute 1 LandlockFs 2 LandlockNet 3 LandlockScope }
}

impl Wire for PortSet {
    fn put(&self, out: &mut Vec<u8>) {
        let parts = match self {
            Self::Range(from, to) => (Some((*from, *to)), String::new()),
            Self::Variable(name) => (None, name.clone()),
        };
        parts.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let (range, name): (Option<(u16, u16)>, String) = Wire::take(input)?;
        Ok(match range {
            Some((from, to)) => Self::Range(from, to),
            None => Self::Variable(name),
        })
    }
}

impl Wire for Program {
    fn put(&self, out: &mut Vec<u8>) {
        let code: Vec<u64> = self.code.iter().map(bpf::to_bits).collect();
        self.arch.put(out);
        code.put(out);
        self.own_pid.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let arch = Wire::take(input)?;
        let code: Vec<u64> = Wire::take(input)?;
        let code = code.into_iter().map(bpf::from_bits).collect();
        let program = Self {
            arch,
            code,
            own_pid: Wire::take(input)?,
        };
        if program.is_sound() {
            Ok(program)
        } else {
            Err(input.error("a sound filter"))
        }
    }
}

impl Wire for FsRights {
    fn put(&self, out: &mut Vec<u8>) {
        self.bits().put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Self::from_bits(Wire::take(input)?).ok_or_else(|| input.error("known rights"))
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(input.error("true or false")),
        }
    }
}

impl Wire for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        // Times are read in milliseconds, so none is lost.
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX).put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Wire::take(input).map(Self::from_millis)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        // No text of a policy comes near 4 GiB.
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let length = u32::take(input)? as usize;
        let bytes = input.bytes(length, "a text")?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(input.error("a text of UTF-8")),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        self.iter().for_each(|item| item.put(out));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        // Every item takes at least a byte, so a false count ends with the bytes.
        let count = u32::take(input)?;
        (0..count).map(|_| T::take(input)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        if bool::take(input)? {
            T::take(input).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok((A::take(input)?, B::take(input)?))
    }
}
