//! SVG to PNG, in a confined process.

use std::sync::{Arc, OnceLock};

use crossmist::func;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// The longer side of the largest picture. A larger one is scaled down to it.
const MOST_PIXELS: f32 = 1600.0;

static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();

/// Prepares the fonts, once for all processes.
///
/// They are the DejaVu fonts, whose licence (that of Bitstream Vera) lets programs contain them. So a picture is
/// the same on every machine. To add a font of the machine, read its bytes here: a confined process opens no
/// file.
pub fn load_fonts() {
    FONTS.get_or_init(|| {
        use dejavu::{sans, sans_mono, serif};

        let mut fonts = fontdb::Database::new();
        for font in [
            sans::regular(),
            sans::bold(),
            sans::oblique(),
            serif::regular(),
            serif::bold(),
            serif::italic(),
            sans_mono::regular(),
            sans_mono::bold(),
        ] {
            fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
        }
        fonts.set_sans_serif_family("DejaVu Sans");
        fonts.set_serif_family("DejaVu Serif");
        fonts.set_monospace_family("DejaVu Sans Mono");
        Arc::new(fonts)
    });
}

/// Renders a picture, and returns it as PNG.
#[func(
    sandbox = "parser",
    preload = load_fonts,
    memory = "256MiB",
    cpu_time = "3s",
    wall_time = "10s",
    threads = 0
)]
pub fn render(svg: Vec<u8>) -> Result<Vec<u8>, String> {
    let options = Options {
        fontdb: FONTS.get().cloned().unwrap_or_default(),
        font_family: "DejaVu Sans".to_owned(),
        ..Options::default()
    };
    let tree = Tree::from_data(&svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size();
    let scale = (MOST_PIXELS / size.width().max(size.height())).min(1.0);
    let pixels = |length: f32| (length * scale).ceil().max(1.0) as u32;
    let mut picture = Pixmap::new(pixels(size.width()), pixels(size.height()))
        .ok_or("the picture has no size")?;
    let transform = Transform::from_scale(scale, scale);
    resvg::render(&tree, transform, &mut picture.as_mut());
    picture.encode_png().map_err(|error| error.to_string())
}
