//! Pictures, and what passes for them.

use std::path::Path;

pub struct Picture {
    pub name: &'static str,
    pub svg: String,
}

fn svg(content: &str) -> String {
    format!(r#"<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200">{content}</svg>"#)
}

fn picture(name: &'static str, svg: impl Into<String>) -> Picture {
    let svg = svg.into();
    Picture { name, svg }
}

/// A picture of one colour.
pub fn filled(colour: &str) -> String {
    svg(&format!(
        r#"<rect width="200" height="200" fill="{colour}"/>"#
    ))
}

pub fn sized(width: &str, height: &str) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><rect width="100%" height="100%"/></svg>"#
    )
}

/// A blue picture with a file on top.
pub fn embedding(file: &Path) -> String {
    let file = file.display();
    svg(&format!(
        r#"<rect width="200" height="200" fill="blue"/><image href="{file}" width="200" height="200"/>"#
    ))
}

/// Pictures that are drawn.
pub fn good() -> Vec<Picture> {
    let dots: String = (0..200)
        .map(|n| {
            format!(
                r#"<circle cx="{}" cy="{}" r="4" opacity=".5"/>"#,
                n % 20 * 10,
                n / 20 * 20
            )
        })
        .collect();
    vec![
        picture("hills", include_str!("../../samples/hills.svg")),
        picture("dots", svg(&dots)),
        picture(
            "words",
            svg(
                r#"<text x="10" y="50" font-family="serif" font-size="30">Wörter <tspan font-weight="bold">слова</tspan></text>"#,
            ),
        ),
        picture(
            "blur",
            svg(
                r##"<filter id="f"><feGaussianBlur stdDeviation="9"/></filter><circle cx="99" cy="99" r="60" fill="teal" filter="url(#f)"/>"##,
            ),
        ),
        picture("wide", sized("1000000000", "10")),
    ]
}

/// Pictures that are refused, or that end their process.
pub fn hostile() -> Vec<Picture> {
    let whole = include_str!("../../samples/hills.svg");
    vec![
        picture("empty", ""),
        picture("garbage", "\u{0}PNG\u{1} no picture at all"),
        picture("truncated", &whole[..whole.len() / 2]),
        picture("not a picture", "<html><body>hello</body></html>"),
        picture("no size", sized("0", "0")),
        picture("entities", entities()),
        picture("nested", nested(100_000)),
        picture("references", references()),
    ]
}

/// Pictures that take all the time that they may.
pub fn slow() -> Vec<Picture> {
    let filtered = |filter: &str| {
        svg(&format!(
            r##"<filter id="f" x="0" y="0" width="1" height="1">{filter}</filter><rect width="200" height="200" filter="url(#f)"/>"##
        ))
    };
    vec![
        picture(
            "octaves",
            filtered(r#"<feTurbulence baseFrequency="0.01" numOctaves="4000000"/>"#),
        ),
        picture(
            "filters",
            filtered(&r#"<feMorphology operator="dilate" radius="99"/>"#.repeat(5000)),
        ),
    ]
}

/// Ten entities, each ten times the one before.
fn entities() -> String {
    let mut text = r#"<!DOCTYPE svg [<!ENTITY e0 "<circle r='1'/>">"#.to_owned();
    for level in 1..10 {
        let content = format!("&e{};", level - 1).repeat(10);
        text += &format!(r#"<!ENTITY e{level} "{content}">"#);
    }
    format!(r#"{text}]><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">&e9;</svg>"#)
}

fn nested(depth: usize) -> String {
    svg(&format!(
        "{}{}",
        r#"<g opacity=".5">"#.repeat(depth),
        "</g>".repeat(depth)
    ))
}

/// Twelve groups, each of which uses the one before ten times.
fn references() -> String {
    let mut text = r#"<g id="g0"><circle r="9"/></g>"#.to_owned();
    for level in 1..12 {
        let content = format!(r##"<use href="#g{}"/>"##, level - 1).repeat(10);
        text += &format!(r#"<g id="g{level}">{content}</g>"#);
    }
    svg(&text)
}
