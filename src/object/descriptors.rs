//! Files, sockets, pipes and other open descriptors.

use std::os::fd::{AsFd, OwnedFd};

use super::{DecodeError, Decoder, Encoder, Object, Shape};

impl Object for OwnedFd {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.descriptor(self.as_fd());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder
            .descriptor()
            .map(|descriptor| descriptor.into_owned())
    }

    fn describe(shape: &mut Shape) {
        shape.descriptor();
    }

    fn least_bytes() -> usize {
        2
    }
}
