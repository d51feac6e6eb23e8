//! A file that is mapped into a child as code: the tables by which its functions are unwound, and their names.
#![cfg_attr(fuzzing, no_main)]

use std::fs::File;
use std::io::Write;

use crossmist::fuzzing;
use nix::sys::memfd::{MFdFlags, memfd_create};

fn run(input: &[u8]) {
    let file = memfd_create(c"tables", MFdFlags::MFD_CLOEXEC);
    let mut file: File = file.expect("memory").into();
    file.write_all(input).expect("memory");
    fuzzing::code_file(file);
}

crossmist_fuzz::target!("tables", run);
