//! Finds policies by name: the built-in ones, and those in a folder of files.

use std::io::Read;
use std::path::PathBuf;

use crate::source::MAX_FILE;

/// The built-in policies: name and text.
///
/// They are kept in the repository's `policies/`. A package can hold nothing from outside its
/// folder, so `builtin/` has links to them, and cargo packs the files that the links lead to.
pub const BUILTIN: &[(&str, &str)] = &[
    ("pure", include_str!("../builtin/pure.toml")),
    ("parser", include_str!("../builtin/parser.toml")),
    ("worker", include_str!("../builtin/worker.toml")),
    ("file-reader", include_str!("../builtin/file-reader.toml")),
    (
        "network-client",
        include_str!("../builtin/network-client.toml"),
    ),
    ("unconfined", include_str!("../builtin/unconfined.toml")),
];

/// Returns the text of a built-in policy.
pub(crate) fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// A policy file's text and what to call it in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Such as `policies/thumbnail.toml`.
    pub label: String,
    /// The file itself, if it is one. Whatever uses the policy must be rebuilt when it changes.
    pub path: Option<PathBuf>,
    /// Its contents.
    pub text: String,
}

/// Why a policy can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no policy of that name. Holds the place where it was searched.
    NotFound(String),
    /// There is one, but it cannot be used. Holds the reason.
    Unreadable(String),
}

/// Something that knows policies by name.
pub trait Library {
    /// Fetches a policy that isn't built in.
    ///
    /// # Errors
    ///
    /// A [`Missing`] if there is none, or it cannot be read.
    fn fetch(&self, name: &str) -> Result<Text, Missing>;
}

/// A library with only the built-in policies.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinOnly;

impl Library for BuiltinOnly {
    fn fetch(&self, _: &str) -> Result<Text, Missing> {
        Err(Missing::NotFound("the built-in policies".to_owned()))
    }
}

/// A folder of `NAME.toml` files.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    label: String,
}

impl Folder {
    /// Uses the folder at `path`. Messages call it by its last component, so that they are the same
    /// on every machine.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let label = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Self {
            path,
            label: label.unwrap_or_default(),
        }
    }

    /// Uses the folder at `path`. Messages call it `label`.
    pub fn labelled(path: impl Into<PathBuf>, label: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            label: label.into(),
        }
    }
}

impl Library for Folder {
    fn fetch(&self, name: &str) -> Result<Text, Missing> {
        let path = self.path.join(format!("{name}.toml"));
        let label = format!("{}/{name}.toml", self.label);
        let unreadable = |error: &dyn std::fmt::Display| {
            Missing::Unreadable(format!("{label} can't be read: {error}"))
        };
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Missing::NotFound(label));
            }
            Err(error) => return Err(unreadable(&error)),
        };
        // Reads one byte more than is allowed, so that a longer file is recognized.
        let mut bytes = Vec::new();
        if let Err(error) = file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes) {
            return Err(unreadable(&error));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Text {
                label,
                path: Some(path),
                text,
            }),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

/// Returns whether a policy can have this name. It becomes the name of a file, and must not leave
/// the folder.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 64 && name.chars().all(good)
}
