//! Values that can be sent: the trait [`Object`], its codec, and its implementations by family.

mod blob;
mod decode;
mod encode;
mod error;
mod limits;
mod link;
mod shape;

mod cells;
mod collections;
mod descriptors;
mod io;
mod net;
mod pointers;
mod primitives;
mod ranges;
mod sequences;
mod serde;
mod text;
mod time;
mod tuples;

pub use self::blob::{Blob, BlobBuf};
pub use self::collections::TrustedHasher;
pub use self::decode::Decoder;
pub use self::encode::Encoder;
pub(crate) use self::error::debug_as_text;
pub use self::error::{DecodeError, EncodeError, EncodeErrorKind};
pub use self::limits::Limits;
pub use self::serde::Serde;
pub use self::shape::Shape;

pub(crate) use self::decode::Parts;
pub(crate) use self::encode::Encoded;

pub(crate) use self::link::{Exceeded, Link, Owner, Terms};
pub(crate) use self::shape::{Sends, brings_descriptors, carries, in_part, sends};

/// Whether a message may hold code references.
///
/// Every ordinary channel has [`Trust::Data`]. [`Trust::Code`] needs a constructor that says so,
/// and a peer that is this very program and unconfined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Data,
    Code,
}

/// The auto traits of the type behind a trait object, as named by the type of its box.
///
/// This is sent in the upper bits of the code reference, not in the bytes of the message. An
/// implementation of [`Object`] can write any bytes, and they must not decide whether something may
/// cross threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auto(u64);

impl Auto {
    /// Neither `Send` nor `Sync`.
    pub const NONE: Self = Self(0);
    /// `Send`.
    pub const SEND: Self = Self(1 << 62);
    /// `Sync`.
    pub const SYNC: Self = Self(1 << 63);
    /// `Send` and `Sync`.
    pub const BOTH: Self = Self(0b11 << 62);

    /// Returns whether a type with these traits has all of `wanted`.
    pub(crate) fn includes(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Marks a reference, which is an offset into the program, with these traits.
    pub(crate) fn mark(self, reference: u64) -> u64 {
        reference & !Self::BOTH.0 | self.0
    }

    /// Splits a marked reference.
    pub(crate) fn unmark(marked: u64) -> (u64, Self) {
        (marked & !Self::BOTH.0, Self(marked & Self::BOTH.0))
    }
}

/// The least length of a run of plain bytes that is sent beside the message instead of in it.
///
/// Below it, a copy is cheaper than a separate allocation. Both ends derive the place of the bytes
/// from the length alone, so nothing in the message can contradict it.
pub(crate) const BULK_BYTES: usize = 64 << 10;

/// How many runs of bytes may be sent beside one message. Further ones are sent in it.
pub(crate) const BULK_RUNS: usize = 1024;

/// A value that can be sent to another process.
///
/// Numbers, strings, containers, files, sockets and channels implement this trait. For your own
/// structs and enums, use `#[derive(Object)]`. Implement it by hand for a type that the derive
/// cannot see into, that promises more than its fields do, or that needs another encoding.
///
/// A wrong implementation in safe code can at worst produce wrong values. The decoder hands out
/// bytes, never memory, and checks what a peer sent wherever it becomes a value.
///
/// # Implementing it by hand
///
/// `encode` writes the parts in some order, and `decode` reads the same parts in the same order.
/// `describe` names the types of the parts. From that, a channel knows when it is created whether
/// values can carry code or descriptors.
///
/// ```
/// use crossmist::{DecodeError, Decoder, Encoder, Object, Shape};
///
/// /// A fraction in lowest terms, with a denominator that isn't 0.
/// #[derive(Debug, PartialEq)]
/// struct Ratio {
///     numerator: u64,
///     denominator: u64,
/// }
///
/// impl Object for Ratio {
///     fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
///         self.numerator.encode(encoder);
///         self.denominator.encode(encoder);
///     }
///
///     fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
///         let numerator = u64::decode(decoder)?;
///         let denominator = u64::decode(decoder)?;
///         // The bytes may come from anybody: check what the type promises.
///         if denominator == 0 {
///             return Err(decoder.error("a denominator that isn't 0", "0"));
///         }
///         Ok(Ratio { numerator, denominator })
///     }
///
///     fn describe(shape: &mut Shape) {
///         shape.part::<u64>("numerator");
///         shape.part::<u64>("denominator");
///     }
/// }
///
/// let bytes = crossmist::to_bytes(&Ratio { numerator: 2, denominator: 3 }).unwrap();
/// let ratio: Ratio = crossmist::from_bytes(&bytes).unwrap();
/// assert_eq!(ratio, Ratio { numerator: 2, denominator: 3 });
///
/// // The same bytes as of a pair, but this pair is no fraction.
/// let zero = crossmist::to_bytes(&(2u64, 0u64)).unwrap();
/// assert!(crossmist::from_bytes::<Ratio>(&zero).unwrap_err().to_string().contains("isn't 0"));
/// ```
///
/// # Security
///
/// `decode` runs on bytes that an attacker may have chosen. It must not panic, and it should not do
/// more work than the bytes justify. Read counts with [`Decoder::count`], recurse through
/// [`Decoder::nested`], and use only what the decoder returns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be sent to another process",
    label = "this type is not an `Object`",
    note = "for a struct or an enum of yours: `#[derive(crossmist::Object)]`; for a type that serde knows: `crossmist::Serde<{Self}>`"
)]
pub trait Object: 'static {
    /// Writes the value to `encoder`.
    ///
    /// If the value cannot be sent, call [`Encoder::fail`]. The send then fails with that error.
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>);

    /// Reads a value from `decoder`.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if the bytes are not a valid value of this type. It holds the position,
    /// what was expected and what was found.
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>
    where
        Self: Sized;

    /// Describes the types that the value consists of.
    fn describe(shape: &mut Shape)
    where
        Self: Sized;

    /// Returns the least number of bytes that a value takes in a message. 0 is always correct.
    ///
    /// A count of elements is refused if not even the smallest elements would fit in the bytes that
    /// are left. Pointers and containers count only their own bytes, so that a recursive type does
    /// not ask itself.
    fn least_bytes() -> usize
    where
        Self: Sized,
    {
        0
    }

    /// Writes every element of a slice. Only plain numbers have a reason to override this.
    #[doc(hidden)]
    fn encode_slice<'a>(slice: &'a [Self], encoder: &mut Encoder<'a>)
    where
        Self: Sized,
    {
        encoder.nested(|encoder| {
            for element in slice {
                element.encode(encoder);
            }
        });
    }

    /// Reads `count` elements. Only plain numbers have a reason to override this.
    #[doc(hidden)]
    fn decode_vec(decoder: &mut Decoder<'_>, count: usize) -> Result<Vec<Self>, DecodeError>
    where
        Self: Sized,
    {
        decoder.nested(|decoder| {
            let mut elements = Vec::with_capacity(decoder.reservation::<Self>(count));
            for _ in 0..count {
                elements.push(Self::decode(decoder)?);
            }
            Ok(elements)
        })
    }
}
