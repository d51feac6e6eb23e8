//! A picture to a thumbnail: the decoder, in a confined process, and the encoder, which gets pixels only.

use std::io::Cursor;

use crossmist::{Limits, Object, Pool, func};

use crate::Failure;

/// The longest picture.
pub const PICTURE_BYTES: usize = 8 << 20;

/// The longest message to and from a process: a picture, and what is around it. A thumbnail is shorter.
const MESSAGE_BYTES: usize = PICTURE_BYTES + (1 << 20);

/// The longer side of a thumbnail.
const MOST_PIXELS: u32 = 256;

/// A small picture: its size and its pixels, four bytes each, as a process says that may lie.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub bytes: Vec<u8>,
}

/// Decodes a picture, and makes it small.
#[func(
    sandbox = "parser",
    memory = "256MiB",
    cpu_time = "3s",
    wall_time = "20s",
    threads = 0
)]
pub fn thumbnail(picture: Vec<u8>) -> Result<Pixels, String> {
    #[cfg(feature = "hole")]
    if let Some(payload) = picture.strip_prefix(crate::thumbnail::hole::MAGIC) {
        return hole::run(payload);
    }
    let mut reader = image::ImageReader::new(Cursor::new(picture))
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(128 << 20);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| error.to_string())?;
    let small = match picture.width().max(picture.height()) {
        0..=MOST_PIXELS => picture.into_rgba8(),
        _ => picture.thumbnail(MOST_PIXELS, MOST_PIXELS).into_rgba8(),
    };
    Ok(Pixels {
        width: small.width(),
        height: small.height(),
        bytes: small.into_raw(),
    })
}

/// Makes thumbnails in confined processes, each of which sees one picture.
pub type Thumbnails = Pool<(Vec<u8>,), Result<Pixels, String>>;

/// Starts processes that wait for pictures.
///
/// # Errors
///
/// If they cannot be started or confined on this machine.
pub fn pool(workers: usize) -> Result<Thumbnails, crossmist::Error> {
    // What an answer takes is the memory of this program, which holds one for each call.
    let limits = Limits::new()
        .message_bytes(MESSAGE_BYTES)
        .memory_bytes(MESSAGE_BYTES);
    Pool::of(thumbnail)
        .workers(workers)
        .spares(workers)
        .limits(limits)
        .build()
}

impl Pixels {
    /// Encodes the pixels as PNG. Browsers get what this process has encoded, not what the confined one has.
    ///
    /// # Errors
    ///
    /// If the size is none of a thumbnail, or there are not as many pixels as it says.
    pub fn into_png(self) -> Result<Vec<u8>, Failure> {
        let (width, height) = (self.width, self.height);
        if width.max(height) > MOST_PIXELS {
            return Err("the decoder returned more than a thumbnail".into());
        }
        let image = image::RgbaImage::from_raw(width, height, self.bytes)
            .ok_or("the decoder returned another number of pixels than it says")?;
        let mut png = Vec::new();
        image.write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png)?;
        Ok(png)
    }
}

/// A decoder with a hole, for the tests: a picture can have it do anything.
#[cfg(feature = "hole")]
pub mod hole;
