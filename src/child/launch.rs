//! `Launch`: the message that a child is started with, and how the child finds its function.

use std::marker::PhantomData;

use super::answer::{Ending, enter, rehearse};
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
    /// Prepares a child for that which waits for its arguments.
    pub(crate) rehearse: fn(Limits),
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
        rehearse: rehearse::<F>,
    });
}

/// How a child gets its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// In its launch message.
    Launch,
    /// In a message of their own.
    One,
    /// The same, for any number of calls. Each has a number, and so has its answer.
    Many,
}

/// The launch message of a spare child: everything but the arguments, which follow as a [`Call`].
#[derive(Debug)]
pub(crate) struct Preparation<F: Func> {
    pub(crate) calls: Calls,
    pub(crate) limits: Limits,
    pub(crate) plan: Plan,
    pub(crate) function: PhantomData<fn(F)>,
}

/// The arguments of a call, for a spare child.
#[derive(Debug)]
pub(crate) struct Call<A> {
    /// For a child that answers several calls. Nobody can guess it, so an answer with this number is not older
    /// than the call.
    pub(crate) number: Option<u64>,
    pub(crate) arguments: A,
}

/// The rest of a launch message, after the limits.
const UNCONFINED: u8 = 0;
const CONFINED: u8 = 1;
const PREPARED: u8 = 2;
const REUSED: u8 = 3;

impl<F: Func> Object for Preparation<F> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.code(Launch::<F>::ENTRY.reference(), Auto::NONE, "the function");
        self.limits.encode(encoder);
        encoder.put(&[match self.calls {
            Calls::Many => REUSED,
            Calls::One | Calls::Launch => PREPARED,
        }]);
        self.plan.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Err(decoder.error("nothing: a launch message is opened, not decoded", "one"))
    }

    fn describe(_: &mut Shape) {}
}

impl<A: Object> Object for Call<A> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        if let Some(number) = self.number {
            encoder.put(&number.to_le_bytes());
        }
        encoder.for_confined();
        self.arguments.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Err(decoder.error("nothing: arguments are entered, not decoded", "a call"))
    }

    fn describe(shape: &mut Shape) {
        shape.part::<A>("arguments");
    }
}

impl<F: Func> Object for Launch<F> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.code(Self::ENTRY.reference(), Auto::NONE, "the function");
        self.limits.encode(encoder);
        match &self.plan {
            None => encoder.put(&[UNCONFINED]),
            Some(plan) => {
                encoder.put(&[CONFINED]);
                plan.encode(encoder);
                encoder.for_confined();
            }
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
    pub(crate) calls: Calls,
}

/// Reads everything but the arguments from a launch message.
pub(crate) fn open(mut decoder: Decoder<'_>) -> Result<Opened<'_>, DecodeError> {
    let (reference, _) = decoder.code()?;
    let Some(entry) = Entry::resolve(reference) else {
        return Err(decoder.error("a reference to a function of this program", reference));
    };
    let limits = Limits::decode(&mut decoder)?;
    let tag = decoder.byte()?;
    let plan = match tag {
        UNCONFINED => None,
        CONFINED | PREPARED | REUSED => Some(Plan::decode(&mut decoder)?),
        tag => return Err(decoder.error("how a child is confined, 0 to 3", tag)),
    };
    decoder.raise(&limits);
    Ok(Opened {
        entry,
        limits,
        plan,
        arguments: Arguments::new(decoder),
        calls: match tag {
            PREPARED => Calls::One,
            REUSED => Calls::Many,
            _ => Calls::Launch,
        },
    })
}
