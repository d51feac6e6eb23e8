//! `io::Error` and its kinds.

use std::io::{Error, ErrorKind};

use super::{DecodeError, Decoder, Encoder, Object, Shape};

/// How many bytes of an error's text are kept.
const TEXT_BYTES: usize = 1024;

/// The error numbers of the kernel, which are all in this range.
const CODES: std::ops::RangeInclusive<i32> = 1..=4095;

/// An error of the operating system keeps its number. Any other error keeps its kind and up to 1024
/// bytes of the text that it displays, because its source can be of any type.
///
/// # Security
///
/// The text comes from the peer. Escape it before you print or log it.
impl Object for Error {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        match self.raw_os_error() {
            Some(code) if CODES.contains(&code) => {
                encoder.put(&[0]);
                encoder.put(&code.to_le_bytes());
            }
            _ if self.get_ref().is_none() => {
                encoder.put(&[1]);
                encode_kind(self.kind(), encoder);
            }
            _ => {
                encoder.put(&[2]);
                encode_kind(self.kind(), encoder);
                let text = self.to_string();
                let text = &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES)];
                encoder.count(text.len(), 1);
                encoder.put(text);
            }
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            0 => {
                let code = i32::decode(decoder)?;
                if !CODES.contains(&code) {
                    return Err(decoder.error("an error number from 1 to 4095", code));
                }
                Ok(Error::from_raw_os_error(code))
            }
            1 => ErrorKind::decode(decoder).map(Error::from),
            2 => {
                let kind = ErrorKind::decode(decoder)?;
                let text = String::decode(decoder)?;
                if text.len() > TEXT_BYTES {
                    return Err(decoder.error("at most 1024 bytes of text", text.len()));
                }
                Ok(Error::new(kind, text))
            }
            tag => Err(decoder.error("0, 1 or 2, for what an error is made of", tag)),
        }
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        2
    }
}

/// The kinds by number. A kind that the standard library does not name yet is sent as `Other`.
macro_rules! error_kinds {
    ($($number:literal $kind:ident)*) => {
        fn encode_kind(kind: ErrorKind, encoder: &mut Encoder<'_>) {
            let number: u8 = match kind {
                $(ErrorKind::$kind => $number,)*
                _ => OTHER,
            };
            encoder.put(&[number]);
        }

        impl Object for ErrorKind {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                encode_kind(*self, encoder);
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                match decoder.byte()? {
                    OTHER => Ok(ErrorKind::Other),
                    $($number => Ok(ErrorKind::$kind),)*
                    number => Err(decoder.error("the number of an error kind", number)),
                }
            }

            fn describe(_: &mut Shape) {}

            fn least_bytes() -> usize {
                1
            }
        }
    };
}

const OTHER: u8 = 0;

error_kinds! {
    1 NotFound
    2 PermissionDenied
    3 ConnectionRefused
    4 ConnectionReset
    5 HostUnreachable
    6 NetworkUnreachable
    7 ConnectionAborted
    8 NotConnected
    9 AddrInUse
    10 AddrNotAvailable
    11 NetworkDown
    12 BrokenPipe
    13 AlreadyExists
    14 WouldBlock
    15 NotADirectory
    16 IsADirectory
    17 DirectoryNotEmpty
    18 ReadOnlyFilesystem
    19 StaleNetworkFileHandle
    20 InvalidInput
    21 InvalidData
    22 TimedOut
    23 WriteZero
    24 StorageFull
    25 NotSeekable
    26 QuotaExceeded
    27 FileTooLarge
    28 ResourceBusy
    29 ExecutableFileBusy
    30 Deadlock
    31 CrossesDevices
    32 TooManyLinks
    33 InvalidFilename
    34 ArgumentListTooLong
    35 Interrupted
    36 Unsupported
    37 UnexpectedEof
    38 OutOfMemory
}
