//! Call a function in a child process, over typed channels that trust nobody.

mod bytes;
mod channel;
mod object;
mod sys;
mod transport;
mod wire;

pub use crate::bytes::{BytesError, from_bytes, to_bytes};
pub use crate::channel::{
    ChannelError, Duplex, Incoming, Receiver, Sender, channel, duplex, wait_any,
};
pub use crate::object::{
    DecodeError, Decoder, EncodeError, EncodeErrorKind, Encoder, Limits, Object, Serde, Shape,
    TrustedHasher,
};
pub use crate::wire::FrameError;
