//! Decodes WebP with libwebp, which is written in C, in a confined process, and compares the result
//! with that of decoding outside.
//!
//! `cargo run --example webp_c [PICTURE.webp]`

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crossmist::{Object, func};

#[derive(Debug, Object, PartialEq)]
struct Picture {
    width: u32,
    height: u32,
    bytes: Vec<u8>,
}

/// The fate of the decoder.
#[derive(Clone, Copy, Debug, Object, PartialEq)]
enum Fate {
    Decode,
    /// C code writes where it may not, as it does when a bug is exploited.
    Crash,
}

#[func(sandbox = "parser", message_bytes = "16MiB")]
fn decode(mut file: File, fate: Fate) -> Result<Picture, String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if fate == Fate::Crash {
        crash();
    }
    let picture = webp::Decoder::new(&bytes)
        .decode()
        .ok_or("libwebp refuses it")?;
    Ok(Picture {
        width: picture.width(),
        height: picture.height(),
        bytes: picture.to_vec(),
    })
}

#[expect(unsafe_code, reason = "a bug, on purpose")]
fn crash() {
    let nowhere = std::hint::black_box(std::ptr::without_provenance_mut(8));
    // SAFETY: none. The process ends in there.
    unsafe { libc::memset(nowhere, 1, 4096) };
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| crossmist_examples::data("hills.webp"), PathBuf::from);
    let confined = decode.run(File::open(&path)?, Fate::Decode)??;
    // The same code in this process, which is safe only for your own input.
    let outside = decode.call_unconfined(File::open(&path)?, Fate::Decode)?;
    println!(
        "{}: {} × {}, the same pixels in and outside of the sandbox: {}",
        path.display(),
        confined.width,
        confined.height,
        confined == outside
    );
    if confined != outside {
        return Err("the decoder works otherwise in the sandbox".into());
    }
    match decode.run(File::open(&path)?, Fate::Crash) {
        Err(error) => println!("the decoder crashed, and this program says so: {error}"),
        Ok(_) => return Err("a write to nowhere did nothing".into()),
    }
    Ok(())
}
