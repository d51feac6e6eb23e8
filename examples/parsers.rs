//! Four parsers, each under a policy that is chosen while the program runs:
//! `cargo run --example parsers -- POLICIES POLICY png|zip|xml|webp`
//!
//! POLICIES is a folder, and POLICY a file in it, without `.toml`.
//! `cargo crossmist learn POLICY -- cargo run --example parsers -- …` finds out what a parser
//! needs.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read, Seek};

use crossmist::{SandboxPolicy, func};

/// Decodes a picture, and returns its size.
#[func(sandbox = dynamic)]
fn png(file: File) -> Result<String, String> {
    let reader = image::ImageReader::new(BufReader::new(file)).with_guessed_format();
    let picture = reader.map_err(|error| error.to_string())?.decode();
    let picture = picture.map_err(|error| error.to_string())?;
    Ok(format!("{} × {}", picture.width(), picture.height()))
}

/// Unpacks an archive on a thread for each entry, and counts its bytes.
#[func(sandbox = dynamic)]
fn zip(mut file: File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let count = zip::ZipArchive::new(std::io::Cursor::new(&bytes))
        .map_err(|error| error.to_string())?
        .len();
    let unpacked = std::thread::scope(|scope| {
        let entry = |index| {
            let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&bytes))
                .map_err(|error| error.to_string())?;
            let mut entry = archive.by_index(index).map_err(|error| error.to_string())?;
            std::io::copy(&mut entry, &mut std::io::sink()).map_err(|error| error.to_string())
        };
        let threads: Result<Vec<_>, _> = (0..count)
            .map(|index| std::thread::Builder::new().spawn_scoped(scope, move || entry(index)))
            .collect();
        let threads = threads.map_err(|error| error.to_string())?;
        threads
            .into_iter()
            .try_fold(0, |sum, thread| match thread.join() {
                Ok(Ok(bytes)) => Ok(sum + bytes),
                Ok(Err(error)) => Err(error),
                Err(_) => Err("a thread panicked".to_owned()),
            })
    })?;
    Ok(format!("{count} entries, {unpacked} bytes"))
}

/// Counts the elements of a document, which it reads again from the start for each pass.
#[func(sandbox = dynamic)]
fn xml(mut file: File) -> Result<String, String> {
    let mut elements = 0;
    for _ in 0..2 {
        file.rewind().map_err(|error| error.to_string())?;
        let mut reader = quick_xml::Reader::from_reader(BufReader::new(&file));
        let mut buffer = Vec::new();
        elements = 0;
        loop {
            match reader
                .read_event_into(&mut buffer)
                .map_err(|error| error.to_string())?
            {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(_) => elements += 1,
                _ => {}
            }
        }
    }
    Ok(format!("{elements} elements"))
}

/// Decodes a picture with libwebp, which is written in C.
#[func(sandbox = dynamic)]
fn webp(mut file: File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let picture = webp::Decoder::new(&bytes)
        .decode()
        .ok_or("libwebp refuses it")?;
    Ok(format!("{} × {}", picture.width(), picture.height()))
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policies, policy, parser] = match arguments.as_slice() {
        [] => ["", "parser", "png"],
        [policies, policy, parser] => [policies, policy, parser].map(String::as_str),
        _ => {
            return Err("arguments: the folder of the policies, a policy, png|zip|xml|webp".into());
        }
    };
    let policy = match policies {
        "" => SandboxPolicy::builtin(policy)?,
        folder => SandboxPolicy::load(folder, policy)?,
    };
    let open = |name| File::open(crossmist_examples::data(name));
    let result = match parser {
        "png" => png.sandbox(&policy).run(open("hills.png")?)?,
        "zip" => zip.sandbox(&policy).run(open("things.zip")?)?,
        "xml" => xml.sandbox(&policy).run(open("documents/library.xml")?)?,
        "webp" => webp.sandbox(&policy).run(open("hills.webp")?)?,
        other => return Err(format!("there is no parser `{other}`").into()),
    };
    println!("{parser}: {}", result?);
    Ok(())
}
