//! What `#[func]` makes of a function, and how a child finds it.

use crate::object::{Auto, DecodeError, Decoder, Encoder, Limits, Object, Shape};
use crate::sys::image::Target;

/// A function that can run in a child process; implemented by `#[func]`.
pub trait Func: Object + Copy {
    /// Its arguments, as a tuple.
    type Args: Object;
    /// Its result.
    type Output: Object;
    /// Its path, for messages.
    const NAME: &'static str;

    /// Decodes the arguments and runs the body. In the child, after everything else.
    ///
    /// # Errors
    ///
    /// That of the arguments.
    fn enter(arguments: Arguments<'_>) -> Result<Self::Output, DecodeError>;
}

/// The arguments of a call, still encoded.
#[derive(Debug)]
pub struct Arguments<'m>(Decoder<'m>);

impl<'m> Arguments<'m> {
    /// Decodes them.
    ///
    /// # Errors
    ///
    /// Where they are no `T`.
    pub fn decode<T: Object>(self) -> Result<T, DecodeError> {
        self.0.message()
    }
}

/// Where a child goes for one function: a record that the launch message refers to.
pub(crate) type Entry = Target<EntryPoint>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryPoint {
    pub(crate) enter: fn(Arguments<'_>, Limits) -> crate::child::Ending,
}

/// The launch message: where to go, how large the answer may be, and the arguments.
#[derive(Debug)]
pub(crate) struct Launch<F: Func> {
    pub(crate) limits: Limits,
    pub(crate) arguments: F::Args,
}

impl<F: Func> Launch<F> {
    const ENTRY: &'static Entry = &Entry::new(EntryPoint {
        enter: crate::child::enter::<F>,
    });
}

impl<F: Func> Object for Launch<F> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.code(Self::ENTRY.reference(), Auto::NONE, "the function");
        self.limits.encode(encoder);
        self.arguments.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        // A child reads the two parts apart, with other things in between: `open`.
        Err(decoder.error("nothing: a launch message is opened, not decoded", "one"))
    }

    fn describe(shape: &mut Shape) {
        shape.part::<F::Args>("arguments");
    }
}

/// A launch message whose arguments are still encoded.
#[derive(Debug)]
pub(crate) struct Opened<'m> {
    pub(crate) entry: EntryPoint,
    /// What the answer is held to.
    pub(crate) limits: Limits,
    pub(crate) arguments: Arguments<'m>,
}

/// Takes everything but the arguments off a launch message.
pub(crate) fn open(mut decoder: Decoder<'_>) -> Result<Opened<'_>, DecodeError> {
    let (reference, _) = decoder.code()?;
    let Some(entry) = Entry::resolve(reference) else {
        return Err(decoder.error("a reference to a function of this program", reference));
    };
    let limits = Limits::decode(&mut decoder)?;
    decoder.raise(&limits);
    Ok(Opened {
        entry,
        limits,
        arguments: Arguments(decoder),
    })
}
