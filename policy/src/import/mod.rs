//! Converts policies of other programs, as a beginning.
//!
//! A file is read whole, by the rules of whoever it is for, and then translated. The resulting policy
//! allows what the source allows, or less. If a policy can't say something, it becomes a comment with the
//! reason, and never a grant. If the source denies something that every policy has, it is taken away.
//! If a source can be read in two ways, the stricter one counts.

mod cover;
mod groups;
pub(crate) mod logic;
mod minijail;
mod oci;
mod seccompiler;
mod source;
mod systemd;
mod text;
mod words;
mod write;
mod yaml;

use std::fmt;

use self::source::Source;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The options of a systemd unit.
    Systemd,
    /// A seccomp profile of containers in JSON, or a container's `config.json` with one in it.
    Oci,
    /// A seccomp profile of the Kubernetes security-profiles-operator in YAML.
    SecurityProfiles,
    /// Seccomp filters in the JSON of seccompiler and Firecracker.
    Seccompiler,
    /// A policy of minijail.
    Minijail,
}

/// A file to import.
pub struct Input<'a> {
    /// The format of the file.
    pub format: Format,
    /// The name of the file, for people.
    pub name: &'a str,
    /// The contents of the file.
    pub text: &'a str,
    /// The filter to import, if the file has several.
    pub filter: Option<&'a str>,
    /// Reads another file that it names, by the name that stands in it.
    pub include: &'a dyn Fn(&str) -> Result<String, String>,
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("format", &self.format)
            .field("name", &self.name)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

/// The longest file that is read, in bytes.
pub const MOST_BYTES: usize = 1 << 20;

/// A policy that was made of another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The policy's text.
    pub text: String,
    /// How many things of the source were not translated; each is a comment in the text.
    pub notes: usize,
}

/// Translates a file into a policy that allows what the file allows, or less.
///
/// # Errors
///
/// If the file isn't what it is said to be, or denies something that a policy can't deny; in words.
pub fn import(input: &Input<'_>) -> Result<Imported, String> {
    if input.text.len() > MOST_BYTES {
        return Err(format!("longer than {MOST_BYTES} bytes"));
    }
    let mut source = Source::default();
    match input.format {
        Format::Systemd => systemd::read(input.text, &mut source),
        Format::Oci => oci::read(input.text, &mut source)?,
        Format::SecurityProfiles => {
            oci::read_profiles(yaml::read(input.text)?, input.filter, &mut source)?;
        }
        Format::Seccompiler => seccompiler::read(input.text, input.filter, &mut source)?,
        Format::Minijail => minijail::read(input.text, input.include, &mut source)?,
    }
    write::write(source, input.name)
}
