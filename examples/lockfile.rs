//! Parses a `Cargo.lock` in a child process, and prints what it locks. Without an argument it reads
//! the one of this project.
//!
//! This program opens the file, and the child gets the open file and returns plain data. Whatever a
//! hostile file does to the parser, this program gets an error: for a panic, an endless loop, or an
//! abort.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use crossmist::{Object, func};

/// A package as the file names it.
#[derive(Debug, Object)]
struct Package {
    name: String,
    version: String,
    dependencies: Vec<String>,
}

#[func(sandbox = "parser", wall_time = "5s")]
fn parse(mut file: File) -> Result<Vec<Package>, String> {
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let lock: toml::Table = toml::from_str(&text).map_err(|error| error.to_string())?;
    let packages = lock
        .get("package")
        .and_then(toml::Value::as_array)
        .ok_or("it locks nothing")?;
    Ok(packages.iter().map(package).collect())
}

fn package(value: &toml::Value) -> Package {
    let text = |key| {
        value
            .get(key)
            .and_then(toml::Value::as_str)
            .unwrap_or("?")
            .to_string()
    };
    let dependencies = value.get("dependencies").and_then(toml::Value::as_array);
    Package {
        name: text("name"),
        version: text("version"),
        dependencies: dependencies
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str()?.split(' ').next().map(str::to_string))
            .collect(),
    }
}

#[crossmist::main]
fn main() -> ExitCode {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let path = std::env::args().nth(1).unwrap_or_else(|| ours.to_string());
    match run(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = File::open(path)?;
    let packages = parse
        .builder()
        .deadline(Duration::from_secs(10))
        .run(file)??;

    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for name in packages.iter().flat_map(|package| &package.dependencies) {
        *users.entry(name).or_default() += 1;
    }
    println!("{:<32} {:<20} {:>5}", "package", "version", "users");
    for Package { name, version, .. } in &packages {
        let users = users.get(name.as_str()).copied().unwrap_or_default();
        println!("{name:<32} {version:<20} {users:>5}");
    }
    println!("{} packages", packages.len());
    Ok(())
}
