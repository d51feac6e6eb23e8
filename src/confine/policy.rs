//! The policy of a function, which was compiled in by the macro or is loaded at run time.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crossmist_policy::{
    Arch, BuiltinOnly, Compiled, Explanation, Folder, NarrowError, Policy, RaiseError, Report,
};

use super::{StaticPlans, kernel};
use crate::error::{Error, Unusable, UnusableKind};
use crate::object::debug_as_text;
use crate::wire::DenialReport;

/// The policy that `#[func(sandbox = "…")]` compiled into the program.
#[derive(Debug)]
pub struct Sandbox {
    bytes: &'static [u8],
    policy: OnceLock<Result<SandboxPolicy, String>>,
}

impl Sandbox {
    /// Called by the macro, with the bytes of [`Compiled::to_bytes`].
    #[must_use]
    pub const fn new(bytes: &'static [u8]) -> Self {
        Self {
            bytes,
            policy: OnceLock::new(),
        }
    }

    /// Returns the policy, which is read once.
    pub(crate) fn policy(&self) -> Result<&SandboxPolicy, Error> {
        let policy = self.policy.get_or_init(|| {
            Compiled::from_bytes(self.bytes)
                .map(|compiled| SandboxPolicy::new(compiled, None))
                .map_err(|error| error.to_string())
        });
        policy.as_ref().map_err(|reason| {
            let reason = format!("the program and the library are of different versions: {reason}");
            Unusable::new(UnusableKind::Version, reason).of("compiled in")
        })
    }
}

/// A policy that the program chooses at run time, for a `#[func(sandbox = dynamic)]`.
///
/// The constructors check it as thoroughly as the macro checks a policy that it compiles in.
///
/// ```standalone_crate
/// use crossmist::{SandboxPolicy, func};
///
/// #[func(sandbox = dynamic)]
/// fn count_words(text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let policy = SandboxPolicy::builtin("pure")?.narrow(&[("wall_time", "2s")])?;
///     assert_eq!(count_words.sandbox(&policy).run("one two".to_string())?, 2);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct SandboxPolicy(Arc<Inner>);

struct Inner {
    compiled: Compiled,
    /// The source, so that it can be narrowed. `None` if the policy was compiled in.
    source: Option<Policy>,
    kept: StaticPlans,
}

impl SandboxPolicy {
    fn new(compiled: Compiled, source: Option<Policy>) -> Self {
        Self(Arc::new(Inner {
            compiled,
            source,
            kept: StaticPlans::default(),
        }))
    }

    fn of(policy: Policy) -> Result<Self, PolicyError> {
        let compiled = policy.compile()?;
        Ok(Self::new(compiled, Some(policy)))
    }

    /// Returns a policy that is built in: `pure`, `parser`, `worker`, `file-reader`,
    /// `network-client` or `unconfined`.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`] if there is no built-in policy of that name.
    pub fn builtin(name: &str) -> Result<Self, PolicyError> {
        Self::of(Policy::builtin(name)?)
    }

    /// Creates a policy from its text, which may extend built-in policies. Messages call the policy
    /// `name`.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`] that lists all its mistakes.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, PolicyError> {
        Self::of(Policy::from_toml(&BuiltinOnly, name, text)?)
    }

    /// Loads the policy `NAME.toml` from a folder. It may extend other policies of that folder, and
    /// built-in ones.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`] that lists all its mistakes, and those of the policies that it extends.
    ///
    /// # Security
    ///
    /// Anyone who can write to the folder decides what the function may do.
    pub fn load(folder: impl Into<PathBuf>, name: &str) -> Result<Self, PolicyError> {
        Self::of(Policy::load(&Folder::new(folder), name)?)
    }

    /// Returns a copy with some values made stricter, such as `("wall_time", "2s")`. The names are
    /// those of the arguments of the attribute.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`] if a key is unknown, a value cannot be read, or a value allows more than
    /// the policy does.
    pub fn narrow(&self, changes: &[(&str, &str)]) -> Result<Self, PolicyError> {
        match &self.0.source {
            Some(source) => Self::of(source.narrow(changes)?),
            // Outside this crate, nobody holds a policy that was compiled in.
            None => Ok(self.clone()),
        }
    }

    /// Returns a copy with some sizes and times of its limits raised, such as `("wall_time", "2min")`. The names are
    /// those of the arguments of `raise(…)` in the attribute. Nothing else can be raised, and nothing beyond what the
    /// policies allow that this one stays `within`. A policy that was [narrowed](Self::narrow) can be raised again.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`] if a key can't be raised, a value can't be read or raises nothing, or a ceiling allows less.
    pub fn raise(&self, changes: &[(&str, &str)]) -> Result<Self, PolicyError> {
        match &self.0.source {
            Some(source) => Self::of(source.raise(changes)?.0),
            // Outside this crate, nobody holds a policy that was compiled in.
            None => Ok(self.clone()),
        }
    }

    /// Returns the policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.compiled.name
    }

    /// Explains a call that a child of the policy has reported, on this kernel.
    pub(crate) fn explain(&self, report: &DenialReport) -> Explanation {
        self.compiled().explain_on(
            Some(&kernel()),
            Arch::host().unwrap_or(Arch::X86_64),
            report.denial.number,
            report.denial.arguments,
            report.path.as_deref(),
        )
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.0.compiled
    }

    pub(crate) fn kept(&self) -> &StaticPlans {
        &self.0.kept
    }
}

impl fmt::Debug for SandboxPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SandboxPolicy").field(&self.name()).finish()
    }
}

/// All mistakes in a policy: files, lines, and what to write instead.
#[derive(Clone, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

impl From<Report> for PolicyError {
    fn from(report: Report) -> Self {
        Self(report.to_string())
    }
}

impl From<RaiseError> for PolicyError {
    fn from(error: RaiseError) -> Self {
        Self(error.to_string())
    }
}

impl From<NarrowError> for PolicyError {
    fn from(error: NarrowError) -> Self {
        Self(error.to_string())
    }
}

debug_as_text!(PolicyError);
