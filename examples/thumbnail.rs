//! Makes a thumbnail of a picture: PNG, JPEG, GIF, WebP or TIFF.
//!
//! `cargo run --example thumbnail [PICTURE] [OUT.png]`
//!
//! The decoders run in a process that can use the memory it has, and read the one file that it was
//! passed. Exploiting a bug in them gains nothing else.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

use crossmist::{Object, func};

/// A small picture: its size and its pixels, four bytes each.
#[derive(Object)]
struct Thumbnail {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    original: (u32, u32),
}

#[func(sandbox = "parser", wall_time = "10s")]
fn thumbnail(file: File) -> Result<Thumbnail, String> {
    let reader = image::ImageReader::new(BufReader::new(file));
    let mut reader = reader
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(256 << 20);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| error.to_string())?;
    let small = match picture.width().max(picture.height()) {
        0..=256 => picture.to_rgba8(),
        _ => picture.thumbnail(256, 256).into_rgba8(),
    };
    Ok(Thumbnail {
        width: small.width(),
        height: small.height(),
        pixels: small.into_raw(),
        original: (picture.width(), picture.height()),
    })
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let picture = arguments
        .next()
        .unwrap_or_else(|| crossmist_examples::data("hills.jpg"));
    let out = arguments.next().unwrap_or_else(|| "thumbnail.png".into());
    let file = File::open(&picture).map_err(|error| format!("{}: {error}", picture.display()))?;

    let begun = Instant::now();
    let small = thumbnail.run(file)??;
    let took = begun.elapsed();

    // Two numbers and some bytes from a process that may have lied: `from_raw` compares them.
    let (width, height) = (small.width, small.height);
    let image = image::RgbaImage::from_raw(width, height, small.pixels)
        .ok_or("the decoder sent too few pixels")?;
    image.save(&out)?;
    println!(
        "{} ({} × {}) is now {} ({width} × {height}), decoded by a confined process in {took:.1?}",
        picture.display(),
        small.original.0,
        small.original.1,
        out.display(),
    );
    Ok(())
}
