//! Strings and paths.

use super::{DecodeError, Decoder, Encoder, Object, Shape};

impl Object for String {
    #[inline]
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.bytes(self.as_bytes());
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let bytes = decoder.bytes()?;
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            decoder.error(
                "UTF-8",
                format_args!("an invalid sequence after {valid} bytes"),
            )
        })
    }

    fn describe(_: &mut Shape) {}

    #[inline]
    fn least_bytes() -> usize {
        4
    }
}
