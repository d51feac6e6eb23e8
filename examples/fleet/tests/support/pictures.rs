//! Good pictures with their thumbnails, and hostile ones with what is to be reported.

use std::io::Cursor;
use std::path::Path;

use crossmist_fleet::thumbnail::{hole, thumbnail};

/// A file, and what is to become of it.
pub struct File {
    pub name: String,
    pub content: Vec<u8>,
    pub expected: Expected,
}

pub enum Expected {
    /// A thumbnail.
    Png(Vec<u8>),
    /// A dead letter whose report contains this.
    Report(&'static str),
}

/// Returns a good picture: one of the five files, or one that was drawn for this number.
pub fn good(number: usize) -> File {
    let content = match ["png", "jpg", "gif", "webp", "tiff"].get(number) {
        Some(format) => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
            std::fs::read(folder.join(format!("hills.{format}"))).unwrap()
        }
        None => drawn(number),
    };
    let pixels = thumbnail.call_unconfined(content.clone()).unwrap();
    File {
        name: format!("good-{number}"),
        content,
        expected: Expected::Png(pixels.into_png().unwrap()),
    }
}

/// Draws a picture unlike those of other numbers.
fn drawn(number: usize) -> Vec<u8> {
    let number = u32::try_from(number).unwrap();
    let picture = image::RgbImage::from_fn(400 + number % 97, 300, |x, y| {
        let [red, green, _, _] = number.wrapping_mul(0x9E37_79B9).to_be_bytes();
        let ring = ((x * x + y * y) / (number + 50)) % 256;
        image::Rgb([red, green, u8::try_from(ring).unwrap()])
    });
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

/// Returns a hostile picture.
pub fn hostile(number: usize) -> File {
    let (attack, report) = hole::ATTACKS[number % hole::ATTACKS.len()];
    let content = match attack {
        "garbage" => good(0).content[..200].to_vec(),
        _ => [hole::MAGIC, attack.as_bytes()].concat(),
    };
    File {
        name: format!("hostile-{attack}-{number}"),
        content,
        expected: Expected::Report(report),
    }
}
