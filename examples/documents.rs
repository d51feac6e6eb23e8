//! Reads XML and JSON in confined processes: `cargo run --example documents [FOLDER]`
//!
//! It does so in two ways. First, this program opens each file and passes it, so its reader can
//! open nothing. Then a policy grants one folder, and the reader opens files in that folder, and
//! nothing else.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crossmist::{Object, func};

/// A summary of a document.
#[derive(Clone, Debug, Object, PartialEq)]
struct Summary {
    name: String,
    elements: usize,
    depth: usize,
}

/// Reads one document that its caller has opened.
#[func(sandbox = "parser", wall_time = "5s")]
fn read_open(name: String, mut file: File) -> Result<Summary, String> {
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    summarize(name, &text)
}

/// Reads all documents of a folder that the policy grants.
#[func(sandbox = "documents")]
fn read_folder(folder: PathBuf) -> Result<Vec<Result<Summary, String>>, String> {
    let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = file_name(&path);
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        found.push(text.and_then(|text| summarize(name, &text)));
    }
    Ok(found)
}

/// Tries to read a file that nobody granted.
#[func(sandbox = "documents")]
fn read_elsewhere(path: PathBuf) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn summarize(name: String, text: &str) -> Result<Summary, String> {
    let (elements, depth) = if name.ends_with(".xml") {
        measure_xml(text)
    } else {
        serde_json::from_str(text)
            .map(|value| measure_json(&value))
            .map_err(|error| error.to_string())
    }
    .map_err(|error| format!("{name}: {error}"))?;
    Ok(Summary {
        name,
        elements,
        depth,
    })
}

fn measure_xml(text: &str) -> Result<(usize, usize), String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut elements, mut depth, mut deepest) = (0, 0usize, 0);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(_) => {
                elements += 1;
                depth += 1;
                deepest = deepest.max(depth);
            }
            Event::Empty(_) => elements += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof if depth > 0 => return Err("it ends within an element".to_owned()),
            Event::Eof => return Ok((elements, deepest)),
            _ => {}
        }
    }
}

fn measure_json(value: &serde_json::Value) -> (usize, usize) {
    let parts: Vec<&serde_json::Value> = match value {
        serde_json::Value::Array(values) => values.iter().collect(),
        serde_json::Value::Object(values) => values.values().collect(),
        _ => return (1, 1),
    };
    let measured = parts.into_iter().map(measure_json);
    let (elements, depth) = measured.fold((0, 0), |(sum, most), (count, depth)| {
        (sum + count, most.max(depth))
    });
    (elements + 1, depth + 1)
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| crossmist_examples::data("documents"), PathBuf::from);
    let folder = folder.canonicalize()?;

    println!("each file passed as an open descriptor:");
    let mut passed = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let result = read_open.run(file_name(&path), File::open(&path)?)?;
        show(&result);
        passed.push(result);
    }

    println!("the folder granted by a policy:");
    let granted = read_folder
        .builder()
        .bind("documents", folder.to_string_lossy())
        .run(folder.clone())??;
    granted.iter().for_each(show);
    if passed != granted {
        return Err("the two ways differ".into());
    }

    let elsewhere = read_elsewhere
        .builder()
        .bind("documents", folder.to_string_lossy())
        .run("/etc/passwd".into())?;
    println!("a file that nobody granted: {elsewhere:?}");
    match elsewhere {
        Err(_) => Ok(()),
        Ok(_) => Err("it could be read".into()),
    }
}

fn show(result: &Result<Summary, String>) {
    match result {
        Ok(summary) => println!("  {summary:?}"),
        Err(error) => println!("  refused: {}", error.escape_debug()),
    }
}
