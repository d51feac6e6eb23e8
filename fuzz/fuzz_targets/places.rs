//! The registers and the stack that a child reports, by which its calls are traced to the program's code.
#![cfg_attr(fuzzing, no_main)]

use crossmist::fuzzing;

fn run(input: &[u8]) {
    fuzzing::walk(input);
}

crossmist_fuzz::target!("places", run);
