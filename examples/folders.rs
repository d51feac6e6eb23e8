//! Functions that work in a folder, under a policy that is chosen while the program runs:
//! `cargo run --example folders -- POLICIES POLICY makes|tries FOLDER`
//!
//! `cargo crossmist learn POLICY -- cargo run --example folders -- …` finds out what they need.

use std::fs;
use std::io;

use crossmist::{SandboxPolicy, func};

/// Makes a folder with a file, reads the file, and removes both.
#[func(sandbox = dynamic)]
fn makes(folder: String) -> Result<String, String> {
    let work = || -> io::Result<String> {
        let inner = format!("{folder}/inner");
        fs::create_dir(&inner)?;
        fs::write(format!("{inner}/text"), "some text")?;
        let text = fs::read_to_string(format!("{inner}/text"))?;
        fs::remove_file(format!("{inner}/text"))?;
        fs::remove_dir(&inner)?;
        Ok(text)
    };
    work().map_err(|error| error.to_string())
}

/// Makes a folder that is there, and removes a file that is not.
#[func(sandbox = dynamic)]
fn tries(folder: String) -> Result<String, String> {
    let made = fs::create_dir(&folder).map_err(|error| error.kind());
    let removed = fs::remove_file(format!("{folder}/nothing")).map_err(|error| error.kind());
    Ok(format!("{made:?}, {removed:?}"))
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policies, policy, what, folder] = arguments.as_slice() else {
        return Err(
            "arguments: the folder of the policies, a policy, makes|tries, a folder".into(),
        );
    };
    let policy = SandboxPolicy::load(policies, policy)?;
    let folder = folder.clone();
    let result = match what.as_str() {
        "makes" => makes.sandbox(&policy).run(folder)?,
        "tries" => tries.sandbox(&policy).run(folder)?,
        other => return Err(format!("there is nothing such as `{other}`").into()),
    };
    println!("{what}: {}", result?);
    Ok(())
}
