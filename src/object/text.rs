//! Strings, C strings, and the strings and paths of the system.

use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{DecodeError, Decoder, Encoder, Object, Shape};

/// Text: a type, how to get its bytes, and how to create it from received ones.
macro_rules! text {
    ($($text:ty, $bytes:expr, $decode:expr;)*) => {$(
        impl Object for $text {
            #[inline]
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let bytes: fn(&'a $text) -> &'a [u8] = $bytes;
                encoder.bytes(bytes(self));
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                $decode(decoder)
            }

            fn describe(_: &mut Shape) {}

            #[inline]
            fn least_bytes() -> usize {
                4
            }
        }
    )*};
}

text! {
    String, |text| text.as_bytes(), string;
    Box<str>, |text| text.as_bytes(), |decoder| string(decoder).map(String::into_boxed_str);
    Cow<'static, str>, |text| text.as_bytes(), |decoder| string(decoder).map(Cow::Owned);

    CString, |text| text.as_bytes(), c_string;
    Box<CStr>, |text| text.to_bytes(), |decoder| c_string(decoder).map(CString::into_boxed_c_str);
    Cow<'static, CStr>, |text| text.to_bytes(), |decoder| c_string(decoder).map(Cow::Owned);

    OsString, |text| text.as_bytes(), os_string;
    Box<OsStr>, |text| text.as_bytes(),
        |decoder| os_string(decoder).map(OsString::into_boxed_os_str);
    Cow<'static, OsStr>, |text| text.as_bytes(), |decoder| os_string(decoder).map(Cow::Owned);

    PathBuf, |path| path.as_os_str().as_bytes(), path;
    Box<Path>, |path| path.as_os_str().as_bytes(),
        |decoder| path(decoder).map(PathBuf::into_boxed_path);
    Cow<'static, Path>, |path| path.as_os_str().as_bytes(),
        |decoder| path(decoder).map(Cow::Owned);
}

pub(super) fn string(decoder: &mut Decoder<'_>) -> Result<String, DecodeError> {
    let bytes = decoder.bytes()?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        decoder.error(
            "UTF-8",
            format_args!("an invalid sequence after {valid} bytes"),
        )
    })
}

fn c_string(decoder: &mut Decoder<'_>) -> Result<CString, DecodeError> {
    let mut bytes = decoder.bytes()?;
    // `CString::new` would reserve for the terminator by doubling.
    bytes.reserve_exact(1);
    CString::new(bytes).map_err(|error| {
        let valid = error.nul_position();
        decoder.error(
            "a C string without a zero byte",
            format_args!("one after {valid} bytes"),
        )
    })
}

// The system's strings may be any bytes, including a zero byte, which a system call refuses.
fn os_string(decoder: &mut Decoder<'_>) -> Result<OsString, DecodeError> {
    decoder.bytes().map(OsString::from_vec)
}

fn path(decoder: &mut Decoder<'_>) -> Result<PathBuf, DecodeError> {
    os_string(decoder).map(PathBuf::from)
}
