//! What `#[func]` makes of a function, and how a child finds it.

use std::os::fd::RawFd;

use crate::confine::Plan;
use crate::object::{Auto, DecodeError, Decoder, Encoder, Limits, Object, Shape};
use crate::sandbox::Sandbox;
use crate::sys::image::Target;

/// A function that can run in a child process; implemented by `#[func]`.
pub trait Func: Object + Copy {
    /// Its arguments, as a tuple.
    type Args: Object;
    /// Its result.
    type Output: Object;
    /// Its path, for messages.
    const NAME: &'static str;

    /// Whether each call is given a policy.
    const DYNAMIC: bool = false;

    /// What confines the child, if the attribute says so.
    #[must_use]
    fn sandbox() -> Option<&'static Sandbox> {
        None
    }

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
    /// The descriptors that came with them.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.0.descriptors()
    }

    /// How many bytes the message has that they came in, runs included.
    pub(crate) fn bytes(&self) -> usize {
        self.0.message_bytes()
    }

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
    /// The function's path.
    pub(crate) name: &'static str,
    pub(crate) enter: fn(Arguments<'_>, Limits) -> crate::child::Ending,
}

/// The launch message: where to go, how large the answer may be, what the child is to do to itself
/// first, and the arguments.
#[derive(Debug)]
pub(crate) struct Launch<F: Func> {
    pub(crate) limits: Limits,
    pub(crate) plan: Option<Plan>,
    pub(crate) arguments: F::Args,
}

impl<F: Func> Launch<F> {
    const ENTRY: &'static Entry = &Entry::new(EntryPoint {
        name: F::NAME,
        enter: crate::child::enter::<F>,
    });
}

impl<F: Func> Object for Launch<F> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.code(Self::ENTRY.reference(), Auto::NONE, "the function");
        self.limits.encode(encoder);
        encoder.put(&[u8::from(self.plan.is_some())]);
        if let Some(plan) = &self.plan {
            plan.encode(encoder);
            encoder.for_confined();
        }
        self.arguments.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        // A child reads the parts apart, with other things in between: `open`.
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
    pub(crate) plan: Option<Plan>,
    pub(crate) arguments: Arguments<'m>,
}

/// Takes everything but the arguments off a launch message.
pub(crate) fn open(mut decoder: Decoder<'_>) -> Result<Opened<'_>, DecodeError> {
    let (reference, _) = decoder.code()?;
    let Some(entry) = Entry::resolve(reference) else {
        return Err(decoder.error("a reference to a function of this program", reference));
    };
    let limits = Limits::decode(&mut decoder)?;
    let plan = match decoder.byte()? {
        0 => None,
        1 => Some(Plan::decode(&mut decoder)?),
        tag => return Err(decoder.error("whether there is a plan, 0 or 1", tag)),
    };
    decoder.raise(&limits);
    Ok(Opened {
        entry,
        limits,
        plan,
        arguments: Arguments(decoder),
    })
}
