//! Code that C libraries load at run time: a confined child loads none, and finds what `preload` has loaded.
#![expect(unsafe_code, reason = "it calls the C library")]

use std::ffi::{CStr, CString};

use crossmist::{Error, func};

mod support;

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_converter_of_text_is_loaded_by_preload,
            a_library_is_loaded_by_preload,
        ],
        cases![],
    );
}

/// A converter that is a file of its own, and not part of the C library. Systems that split the converters into
/// packages have this one in the first.
const FROM: &CStr = c"ISO-8859-15";

/// Converts one letter to UTF-8. `None` if there is no converter.
fn convert(letter: u8) -> Option<Vec<u8>> {
    // SAFETY: both are names.
    let converter = unsafe { libc::iconv_open(c"UTF-8".as_ptr(), FROM.as_ptr()) };
    if converter.addr() == usize::MAX {
        return None;
    }
    let mut input = [letter];
    let mut output = [0u8; 8];
    let (mut from, mut left) = (input.as_mut_ptr().cast(), input.len());
    let (mut to, mut room) = (output.as_mut_ptr().cast(), output.len());
    // SAFETY: the pointers lead to buffers of these lengths.
    let result = unsafe {
        libc::iconv(
            converter,
            &raw mut from,
            &raw mut left,
            &raw mut to,
            &raw mut room,
        )
    };
    assert_eq!(result, 0);
    // It stays open, so that the converter stays loaded.
    Some(output[..8 - room].to_vec())
}

fn load_converter() {
    assert_eq!(convert(0xa8).as_deref(), Some("š".as_bytes()));
}

#[func(sandbox = "parser")]
fn converts(letter: u8) -> Option<Vec<u8>> {
    convert(letter)
}

#[func(sandbox = "parser", preload = load_converter)]
fn converts_prepared(letter: u8) -> Option<Vec<u8>> {
    convert(letter)
}

fn a_converter_of_text_is_loaded_by_preload() {
    // The control: the C library has it.
    assert_eq!(convert(0xa4).as_deref(), Some("€".as_bytes()));
    let result = converts.run(0xa4);
    assert!(
        matches!(&result, Ok(None) | Err(Error::Violation(_))),
        "{result:?}"
    );
    let converted = converts_prepared.run(0xa4).unwrap();
    assert_eq!(converted.as_deref(), Some("€".as_bytes()));
}

/// A small library that comes with the C library, and that no program is linked to.
const LIBRARY: &str = "libBrokenLocale.so.1";

/// Whether the library can be loaded.
fn load() -> bool {
    let name = CString::new(LIBRARY).unwrap();
    // SAFETY: a name, and a library without constructors.
    !unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) }.is_null()
}

fn load_library() {
    assert!(load());
}

#[func(sandbox = "parser")]
fn loads() -> bool {
    load()
}

#[func(sandbox = "parser", preload = load_library)]
fn finds() -> bool {
    load()
}

fn a_library_is_loaded_by_preload() {
    let result = loads.run();
    assert!(
        matches!(&result, Ok(false) | Err(Error::Violation(_))),
        "{result:?}"
    );
    assert!(finds.run().unwrap());
    // The control, last: it would be loaded in children that are started later.
    assert!(load());
}
