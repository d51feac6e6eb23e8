//! Lists a zip or a tar.gz, or extracts it: `cargo run --example archive [FILE [FOLDER]]`
//!
//! A confined process reads the archive, and streams what it finds over a channel. This program
//! writes the files, and checks every name: an archive cannot choose where its files go.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, IsTerminal, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use crossmist::{Object, Sender, channel, func};

/// A message from the reader: an entry, then its bytes.
#[derive(Debug, Object)]
enum Piece {
    Entry {
        name: String,
        is_file: bool,
    },
    Bytes(Vec<u8>),
    /// How much of the archive has been read, in the unit of its reader.
    Progress {
        done: u64,
        of: u64,
    },
}

/// How many bytes one message holds.
const STRETCH: usize = 64 << 10;

/// How much an archive may unpack to.
const BUDGET: u64 = 256 << 20;

/// How many entries an archive may have. Each may become a file.
const ENTRIES: usize = 10_000;

#[func(sandbox = "parser")]
fn read(mut file: File, mut pieces: Sender<Piece>) -> Result<(), String> {
    let mut magic = [0; 2];
    file.read_exact(&mut magic)
        .map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| error.to_string())?;
    match &magic {
        b"PK" => read_zip(file, &mut pieces),
        [0x1f, 0x8b] => read_tar(file, &mut pieces),
        _ => return Err("neither a zip nor a tar.gz".to_owned()),
    }
    .map_err(|error| error.to_string())
}

fn read_zip(file: File, pieces: &mut Sender<Piece>) -> Result<(), Box<dyn Error>> {
    let mut archive = zip::ZipArchive::new(BufReader::new(file))?;
    let count = archive.len();
    for index in 0..count {
        let mut entry = archive.by_index(index)?;
        let (name, is_file) = (entry.name()?.into_owned(), entry.is_file());
        stream(name, is_file, &mut entry, pieces)?;
        let done = index as u64 + 1;
        let of = count as u64;
        pieces.send(&Piece::Progress { done, of })?;
    }
    Ok(())
}

fn read_tar(file: File, pieces: &mut Sender<Piece>) -> Result<(), Box<dyn Error>> {
    let of = file.metadata()?.len();
    // The same open file, so that its position shows how far the reader has come.
    let mut position = file.try_clone()?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(BufReader::new(file)));
    for entry in archive.entries()? {
        let done = position.stream_position()?;
        pieces.send(&Piece::Progress { done, of })?;
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let is_file = entry.header().entry_type().is_file();
        stream(name, is_file, &mut entry, pieces)?;
    }
    Ok(())
}

fn stream(
    name: String,
    is_file: bool,
    entry: &mut impl Read,
    pieces: &mut Sender<Piece>,
) -> Result<(), Box<dyn Error>> {
    pieces.send(&Piece::Entry { name, is_file })?;
    loop {
        let mut bytes = Vec::with_capacity(STRETCH);
        entry.take(STRETCH as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(());
        }
        pieces.send(&Piece::Bytes(bytes))?;
    }
}

/// Returns the place of an entry. `None` if its name leads out of the folder.
fn place(folder: &Path, name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let is_inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (is_inside && path.file_name().is_some()).then(|| folder.join(path))
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let archive = arguments
        .next()
        .unwrap_or_else(|| crossmist_examples::data("things.tar.gz"));
    let folder = arguments.next();

    let (sender, mut pieces) = channel::<Piece>()?;
    let reader = read.spawn(File::open(&archive)?, sender)?;

    let mut out: Option<File> = None;
    let (mut entries, mut refused, mut bytes, mut farthest) = (0, 0, 0, 0);
    while let Some(piece) = pieces.recv()? {
        match piece {
            Piece::Entry { name, is_file } => {
                entries += 1;
                if entries > ENTRIES {
                    return Err("the archive has more entries than it may".into());
                }
                out = None;
                let place = place(folder.as_deref().unwrap_or(Path::new("")), &name);
                match place {
                    Some(place) if is_file => {
                        println!("{}", name.escape_debug());
                        if folder.is_some() {
                            if let Some(parent) = place.parent() {
                                fs::create_dir_all(parent)?;
                            }
                            // Existing files and links are neither followed nor replaced.
                            out = Some(File::create_new(place)?);
                        }
                    }
                    // A folder is created with the files in it.
                    Some(_) if name.ends_with('/') => {}
                    _ => {
                        refused += 1;
                        println!("refused: {}", name.escape_debug());
                    }
                }
            }
            Piece::Progress { done, of } => {
                // The child's claim, good only for showing.
                let percent = done.min(of).saturating_mul(100) / of.max(1);
                if std::io::stderr().is_terminal() {
                    eprint!("\r{percent:3} %\r");
                }
                farthest = farthest.max(percent);
            }
            Piece::Bytes(stretch) => {
                bytes += stretch.len() as u64;
                if bytes > BUDGET {
                    return Err("the archive unpacks to more than it may".into());
                }
                if let Some(out) = &mut out {
                    out.write_all(&stretch)?;
                }
            }
        }
    }
    reader.join()??;
    println!("{entries} entries, {bytes} bytes, {refused} refused, read to {farthest} %");
    Ok(())
}
