//! The errors of encoding and decoding.

use std::borrow::Cow;
use std::fmt;

/// Makes `Debug` of error types show the text of the error and of its sources, in one line.
///
/// It is what `unwrap` and `main` show to people, so it has to include the cure. Kinds of errors are data,
/// and derive theirs.
macro_rules! debug_as_text {
    ($($error:ty),*) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")?;
                let mut source = std::error::Error::source(self);
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
        }
    )*};
}

pub(crate) use debug_as_text;

/// Why a message is not a value of the expected type.
///
/// Its text may quote the message, but the quotation is bounded and escaped, so the error can be
/// logged.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Detail>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    at: usize,
    expected: Cow<'static, str>,
    found: String,
    is_too_deep: bool,
    /// The innermost step first, as the steps are added on the way out.
    path: Vec<&'static str>,
}

/// How many steps of the path are kept. The innermost ones tell most.
const PATH_STEPS: usize = 16;

impl DecodeError {
    #[cold]
    pub(crate) fn new(
        at: usize,
        expected: impl Into<Cow<'static, str>>,
        found: impl fmt::Display,
    ) -> Self {
        let mut text = String::new();
        // This text may quote what a peer sent, so it is bounded and has no control characters.
        for character in found.to_string().chars().take(120) {
            match character {
                '\'' | '"' | '`' => text.push(character),
                // This also escapes characters that reverse the direction of text.
                _ => text.extend(character.escape_debug()),
            }
        }
        Self(Box::new(Detail {
            at,
            expected: expected.into(),
            found: text,
            is_too_deep: false,
            path: Vec::new(),
        }))
    }

    /// Says that the value nests too deeply.
    pub(super) fn too_deep(mut self) -> Self {
        self.0.is_too_deep = true;
        self
    }

    pub(crate) fn is_too_deep(&self) -> bool {
        self.0.is_too_deep
    }

    /// Returns the position in the message, in bytes from its start.
    #[must_use]
    pub fn at(&self) -> usize {
        self.0.at
    }

    /// Returns what was expected there.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// Returns what was found instead.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.0.found
    }

    /// Returns the fields that lead to the position, the outermost first. If there are more than
    /// 16, only the innermost 16 are kept.
    pub fn path(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.path.iter().rev().copied()
    }

    /// Records that the error arose within `step`: a field, a variant, a type.
    #[must_use]
    #[cold]
    pub fn within(mut self, step: &'static str) -> Self {
        if self.0.path.len() < PATH_STEPS {
            self.0.path.push(step);
        }
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of the message", self.0.at)?;
        for (index, step) in self.path().enumerate() {
            write!(f, "{}{step}", if index == 0 { ", in " } else { "." })?;
        }
        write!(f, ": expected {}, found {}", self.0.expected, self.0.found)
    }
}

debug_as_text!(DecodeError, EncodeError);

impl std::error::Error for DecodeError {}

/// Why a value cannot be sent. Nothing of it has left the process.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct EncodeError {
    kind: EncodeErrorKind,
}

impl EncodeError {
    pub(crate) fn new(kind: EncodeErrorKind) -> Self {
        Self { kind }
    }

    pub(crate) fn into_kind(self) -> EncodeErrorKind {
        self.kind
    }

    /// Returns the reason.
    #[must_use]
    pub fn kind(&self) -> &EncodeErrorKind {
        &self.kind
    }
}

/// The reasons why a value cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// The message is longer than [`Limits::message_bytes`](crate::Limits::message_bytes).
    #[error(
        "the message has {bytes} bytes, {limit} are allowed; raise `Limits::message_bytes` at both ends"
    )]
    TooLong {
        /// The length of the message.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The value nests deeper than [`Limits::nesting`](crate::Limits::nesting).
    #[error(
        "the value nests deeper than {limit} pointers and containers; raise `Limits::nesting` at both ends, or flatten it (a long list is a `Vec`)"
    )]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The value nests so deep that the stack is used up, whatever
    /// [`Limits::nesting`](crate::Limits::nesting) allows.
    #[error("the value nests deeper than the stack allows; flatten it (a long list is a `Vec`)")]
    NoStack,
    /// The value holds more descriptors than [`Limits::descriptors`](crate::Limits::descriptors).
    #[error(
        "the value holds {descriptors} descriptors, {limit} are allowed in one message; send it in several"
    )]
    TooManyDescriptors {
        /// How many descriptors it holds.
        descriptors: usize,
        /// The limit. The kernel's own is 253.
        limit: usize,
    },
    /// The value holds more elements that take no bytes than
    /// [`Limits::empty_elements`](crate::Limits::empty_elements).
    #[error("the containers hold {elements} elements that take no bytes, {limit} are allowed")]
    TooManyEmptyElements {
        /// How many such elements there are.
        elements: usize,
        /// The limit.
        limit: usize,
    },
    /// An `Rc` or `Arc` leads back to itself.
    #[error(
        "the value refers to itself through a reference-counted pointer; a cycle can't be rebuilt safely"
    )]
    Cycle,
    /// Keys of maps and sets refer to the same `Rc` or `Arc` again and again. See
    /// [`Decoder::key`](crate::Decoder::key).
    #[error(
        "the keys refer to {weight} bytes of shared values, {limit} are allowed; send them as values, or without `Rc`"
    )]
    KeysShareTooMuch {
        /// The total length of what the references in keys refer to.
        weight: usize,
        /// The limit, which grows with the message.
        limit: usize,
    },
    /// The message holds code, and its channel may not carry any.
    #[error(
        "{what} can only be sent over a channel made by `crossmist::trusted`, or as an argument of a function"
    )]
    CodeOnDataChannel {
        /// The kind of code: a callback, a trait object, a trusted channel end.
        what: &'static str,
    },
    /// The code is in an object that the child will not have loaded, such as one that was loaded by
    /// `dlopen`.
    #[error(
        "{what} is in a shared object, not in the program itself, so a child would not find it"
    )]
    CodeElsewhere {
        /// The kind of code.
        what: &'static str,
    },
    /// A descriptor could not be duplicated.
    #[error("a descriptor could not be duplicated: {reason}")]
    Descriptor {
        /// The operating system's error.
        reason: String,
    },
    /// An implementation of [`Object`](crate::Object) called
    /// [`Encoder::fail`](crate::Encoder::fail).
    #[error("{reason}")]
    Refused {
        /// The reason that it gave.
        reason: String,
    },
}
