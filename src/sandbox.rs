//! The policy of a function: what the macro compiled in, or what the program loads while it runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crossmist_policy::{BuiltinOnly, Compiled, Folder, NarrowError, Policy, Report};

use crate::confine::Kept;
use crate::error::Error;

/// What `#[func(sandbox = "…")]` left in the program: a policy, compiled when the program was.
#[derive(Debug)]
pub struct Sandbox {
    bytes: &'static [u8],
    policy: OnceLock<Result<SandboxPolicy, String>>,
}

impl Sandbox {
    /// For the macro, which has the bytes of [`Compiled::to_bytes`].
    #[must_use]
    pub const fn new(bytes: &'static [u8]) -> Self {
        Self {
            bytes,
            policy: OnceLock::new(),
        }
    }

    /// The policy; read once.
    pub(crate) fn policy(&self) -> Result<&SandboxPolicy, Error> {
        let policy = self.policy.get_or_init(|| {
            Compiled::from_bytes(self.bytes)
                .map(|compiled| SandboxPolicy::new(compiled, None))
                .map_err(|error| error.to_string())
        });
        policy.as_ref().map_err(|reason| Error::Policy {
            policy: "compiled in".to_owned(),
            reason: format!("the program and the library are of different versions: {reason}"),
        })
    }
}

/// A policy that the program chooses while it runs, for a `#[func(sandbox = dynamic)]`.
///
/// Checked when it is made, as the macro checks those that it compiles in.
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
    /// What it was made of, to be narrowed; not where it was compiled in.
    source: Option<Policy>,
    kept: Kept,
}

impl SandboxPolicy {
    fn new(compiled: Compiled, source: Option<Policy>) -> Self {
        Self(Arc::new(Inner {
            compiled,
            source,
            kept: Kept::default(),
        }))
    }

    fn of(policy: Policy) -> Result<Self, PolicyError> {
        let compiled = policy.compile()?;
        Ok(Self::new(compiled, Some(policy)))
    }

    /// A policy that comes with this library: `pure`, `parser`, `worker`, `file-reader`,
    /// `network-client`, `unconfined`.
    ///
    /// # Errors
    ///
    /// Where there is none of that name.
    pub fn builtin(name: &str) -> Result<Self, PolicyError> {
        Self::of(Policy::builtin(name)?)
    }

    /// A policy from its text, which may extend those that come with this library. `name` is what
    /// messages call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, PolicyError> {
        Self::of(Policy::from_toml(&BuiltinOnly, name, text)?)
    }

    /// The policy `NAME.toml` of a folder, which may extend others of that folder.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it and with those that it extends, at once.
    ///
    /// # Security
    ///
    /// Who can write to the folder decides what the function may do.
    pub fn load(folder: impl Into<PathBuf>, name: &str) -> Result<Self, PolicyError> {
        Self::of(Policy::load(&Folder::new(folder), name)?)
    }

    /// The same with some values made stricter, such as `("wall_time", "2s")`; the attribute's
    /// arguments have the same names.
    ///
    /// # Errors
    ///
    /// Where a key is unknown, a value can't be read, or allows more than the policy does.
    pub fn narrow(&self, changes: &[(&str, &str)]) -> Result<Self, PolicyError> {
        match &self.0.source {
            Some(source) => Self::of(source.narrow(changes)?),
            // Those are nobody's to hold outside of this crate.
            None => Ok(self.clone()),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.compiled.name
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.0.compiled
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.0.kept
    }
}

impl fmt::Debug for SandboxPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SandboxPolicy").field(&self.name()).finish()
    }
}

/// What is wrong with a policy, in full: files, lines, and what to write instead.
#[derive(Clone, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

impl From<Report> for PolicyError {
    fn from(report: Report) -> Self {
        Self(report.to_string())
    }
}

impl From<NarrowError> for PolicyError {
    fn from(error: NarrowError) -> Self {
        Self(error.to_string())
    }
}

// What `unwrap` and `main` show is for people.
impl fmt::Debug for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
