//! The environment in which a child starts: standard descriptors, variables, working directory.

use std::io::{Read, Write};

use crossmist::{Error, Stdio, func};

use crate::cases;
use crate::functions::{Lingers, add};
use crate::support::{Case, Directory, Holdings};

pub(crate) const CASES: &[Case] = cases![
    standard_descriptors_are_null_a_pipe_or_a_file,
    output_is_there_before_the_answer,
    the_environment_is_set_removed_and_cleared,
    the_working_directory_is_set_or_the_error_names_the_step,
    what_cannot_be_passed_to_a_program_is_an_error,
];

#[func]
fn echo_input() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    println!("in: {input}");
    eprintln!("error: {input}");
}

fn standard_descriptors_are_null_a_pipe_or_a_file() {
    let before = Holdings::now();
    let directory = Directory::new();
    let (input, mut to_input) = std::io::pipe().unwrap();
    let (mut output, to_output) = std::io::pipe().unwrap();
    let errors = directory.path().join("errors");
    to_input.write_all(b"hello").unwrap();
    drop(to_input);
    let child = echo_input
        .builder()
        .stdin(input)
        .stdout(to_output)
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "in: hello\n");
    child.join().unwrap();
    assert_eq!(std::fs::read_to_string(errors).unwrap(), "error: hello\n");

    drop(output);
    let (mut output, to_output) = std::io::pipe().unwrap();
    echo_input
        .builder()
        .stdin(Stdio::Null)
        .stdout(to_output)
        .stderr(Stdio::Null)
        .run()
        .unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "in: \n");
    drop(output);
    before.assert_same();
}

#[func]
fn print_and_linger() -> Lingers {
    print!("without a line's end");
    Lingers(7)
}

fn output_is_there_before_the_answer() {
    let (mut output, to_output) = std::io::pipe().unwrap();
    // It is killed while it lingers, so nothing is printed on the way out.
    let result = print_and_linger.builder().stdout(to_output).run().unwrap();
    assert_eq!(result.0, 7);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "without a line's end");
}

#[func]
fn environment() -> Vec<(String, String)> {
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    variables
}

fn the_environment_is_set_removed_and_cleared() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut all: Vec<_> = std::env::vars().collect();
    all.sort();
    assert_eq!(environment.run().unwrap(), all);
    let changed = environment
        .builder()
        .env("CROSSMIST_A", "1")
        .env("CROSSMIST_A", "2")
        .env("CROSSMIST_B", "1")
        .env_remove("CROSSMIST_B")
        .env_remove("PATH")
        .run()
        .unwrap();
    assert!(changed.contains(&pair("CROSSMIST_A", "2")));
    assert!(
        !changed
            .iter()
            .any(|(name, _)| name == "PATH" || name == "CROSSMIST_B")
    );
    assert!(all.iter().any(|(name, _)| name == "PATH"), "a control");
    let cleared = environment
        .builder()
        .env("CROSSMIST_A", "1")
        .env_clear()
        .env("CROSSMIST_C", "3")
        .run()
        .unwrap();
    assert_eq!(cleared, [pair("CROSSMIST_C", "3")]);
}

#[func]
fn working_directory() -> String {
    std::env::current_dir().unwrap().display().to_string()
}

fn the_working_directory_is_set_or_the_error_names_the_step() {
    let before = Holdings::now();
    let own = std::env::current_dir().unwrap().display().to_string();
    assert_eq!(working_directory.run().unwrap(), own);
    let there = working_directory.builder().current_dir("/usr").run();
    assert_eq!(there.unwrap(), "/usr");
    let nowhere = working_directory.builder().current_dir("/nowhere").run();
    let Err(Error::Launch { step, source, .. }) = nowhere else {
        panic!("{nowhere:?}");
    };
    assert_eq!(step, "change the working directory");
    assert_eq!(source.raw_os_error(), Some(libc::ENOENT));
    before.assert_same();
}

pub(crate) fn what_cannot_be_passed_to_a_program_is_an_error() {
    let before = Holdings::now();
    for result in [
        add.builder().env("A", "zero \0 byte").run(1, 2),
        add.builder().current_dir("/zero\0byte").run(1, 2),
    ] {
        assert!(matches!(result, Err(Error::Encode(_))), "{result:?}");
    }
    let long = "x".repeat(4 << 20);
    let result = add.builder().env("A", long).run(1, 2);
    let Err(Error::Launch { step, source, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(step, "execute this program again");
    assert_eq!(source.raw_os_error(), Some(libc::E2BIG));
    before.assert_same();
}
