//! Imports the policies of other tools, as a starting point.
//!
//! What comes out can always be read: what has no counterpart becomes a comment with its reason. It
//! never allows a call that the source doesn't, beyond what every policy has; where the source allows a
//! call whatever its arguments and a group has the form that does the work, it takes that form.

mod draft;
mod minijail;
mod oci;
mod systemd;

use clap::ValueEnum;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The options of a unit of systemd's
    Systemd,
    /// A seccomp profile in JSON, as Docker, Podman and Kubernetes take it
    Oci,
    /// A policy of minijail's
    Minijail,
}

/// The longest file that is read.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The policy's text, and how many things of the source have no counterpart.
///
/// # Errors
///
/// Where the file isn't what it is said to be, in words.
pub(crate) fn import(format: Format, source: &str, text: &str) -> Result<(String, usize), String> {
    let mut draft = draft::Draft::default();
    match format {
        Format::Systemd => systemd::read(text, &mut draft),
        Format::Oci => oci::read(text, &mut draft)?,
        Format::Minijail => minijail::read(text, &mut draft),
    }
    Ok(draft.finish(source))
}

#[cfg(test)]
mod tests;
