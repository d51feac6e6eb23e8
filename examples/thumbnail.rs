//! Makes thumbnails of pictures: PNG, JPEG, GIF, WebP or TIFF.
//!
//! `cargo run --example thumbnail [PICTURE... OUT]`, where OUT is a file or, for several pictures, a folder.
//!
//! The decoders run in processes that can use the memory they have, and read the one file that they were
//! passed. Exploiting a bug in them gains nothing else. A pool has such processes ready, and each of them sees one
//! picture.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crossmist::{Object, Pool, func};

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
    let mut pictures: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let out = match pictures.len() {
        0 | 1 => "thumbnail.png".into(),
        _ => pictures.pop().unwrap_or_default(),
    };
    if pictures.is_empty() {
        pictures.push(crossmist_examples::data("hills.jpg"));
    }
    if pictures.len() > 1 && !out.is_dir() {
        return Err(format!("{}: no folder", out.display()).into());
    }
    let open =
        |path: &PathBuf| File::open(path).map_err(|error| format!("{}: {error}", path.display()));
    let files: Vec<File> = pictures.iter().map(open).collect::<Result<_, _>>()?;

    let pool = Pool::of(thumbnail).build()?;
    let begun = Instant::now();
    for (picture, small) in pictures.iter().zip(pool.map(files)) {
        let out = match (out.is_dir(), picture.file_name()) {
            (true, Some(name)) => out.join(name).with_added_extension("png"),
            _ => out.clone(),
        };
        save(small??, picture, &out)?;
    }
    println!("{} in {:.1?}", pictures.len(), begun.elapsed());
    Ok(())
}

/// Saves two numbers and some bytes from a process that may have lied: `from_raw` compares them.
fn save(small: Thumbnail, picture: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let (width, height) = (small.width, small.height);
    let image = image::RgbaImage::from_raw(width, height, small.pixels)
        .ok_or("the decoder sent too few pixels")?;
    image.save(out)?;
    println!(
        "{} ({} × {}) is now {} ({width} × {height})",
        picture.display(),
        small.original.0,
        small.original.1,
        out.display(),
    );
    Ok(())
}
