//! `Launch`: the message that a child is started with, and how the child finds its function.

use super::answer::{Ending, enter};
use crate::confine::Plan;
use crate::func::{Arguments, Func};
use crate::object::{Auto, DecodeError, Decoder, Encoder, Limits, Object, Shape};
use crate::sys::image::Target;

/// The record of one function, to which a launch message refers. It says where the child goes.
pub(crate) type Entry = Target<EntryPoint>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryPoint {
    /// The function's path.
    pub(crate) name: &'static str,
    pub(crate) enter: fn(Arguments<'_>, Limits) -> Ending,
}

/// The launch message: which function to run, how large the answer may be, how the child confines
/// itself first, and the arguments.
#[derive(Debug)]
pub(crate) struct Launch<F: Func> {
    pub(crate) limits: Limits,
    pub(crate) plan: Option<Plan>,
    pub(crate) arguments: F::Args,
}

impl<F: Func> Launch<F> {
    const ENTRY: &'static Entry = &Entry::new(EntryPoint {
        name: F::NAME,
        enter: enter::<F>,
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
        // A child reads the parts separately, with other steps in between: see `open`.
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
    /// The limits on the answer.
    pub(crate) limits: Limits,
    pub(crate) plan: Option<Plan>,
    pub(crate) arguments: Arguments<'m>,
}

/// Reads everything but the arguments from a launch message.
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
