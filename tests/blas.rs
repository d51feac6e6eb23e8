//! A program with OpenBLAS, which starts threads when it is loaded: confined functions calculate with it.
//!
//! `tests/linked/run` installs OpenBLAS and links this program with it.
#![allow(unsafe_code, reason = "a library in C is called")]

mod support;

use std::process::Stdio;

use crossmist::{Error, SandboxPolicy, func};
use support::this_program;

fn main() {
    crossmist::init();
    support::main(
        cases![
            confined_functions_calculate_as_others_do,
            a_keeper_with_threads_is_told_which,
        ],
        cases![
            helper_calculates_everywhere,
            helper_lets_the_keeper_have_threads,
        ],
    );
}

const ROW_MAJOR: i32 = 101;
const NOT_TRANSPOSED: i32 = 111;

unsafe extern "C" {
    /// Multiplies two matrices of CBLAS: `c = alpha * a * b + beta * c`.
    fn cblas_dgemm(
        order: i32,
        transpose_a: i32,
        transpose_b: i32,
        m: i32,
        n: i32,
        k: i32,
        alpha: f64,
        a: *const f64,
        lda: i32,
        b: *const f64,
        ldb: i32,
        beta: f64,
        c: *mut f64,
        ldc: i32,
    );
}

/// Large enough that OpenBLAS uses its threads and a buffer, if it has any.
const SIDE: i32 = 400;

/// The sum of the elements of a product of two matrices. All numbers are small and whole, so that the sum
/// is exact, in whatever order threads add.
fn multiply() -> f64 {
    let length = usize::try_from(SIDE * SIDE).expect("a length");
    let a: Vec<f64> = (0..7).cycle().take(length).map(f64::from).collect();
    let b: Vec<f64> = (0..5).cycle().take(length).map(f64::from).collect();
    let mut c = vec![0.0; length];
    // SAFETY: each matrix has as many elements as its sides say, and only `c` is written to.
    unsafe {
        cblas_dgemm(
            ROW_MAJOR,
            NOT_TRANSPOSED,
            NOT_TRANSPOSED,
            SIDE,
            SIDE,
            SIDE,
            1.0,
            a.as_ptr(),
            SIDE,
            b.as_ptr(),
            SIDE,
            0.0,
            c.as_mut_ptr(),
            SIDE,
        );
    }
    c.iter().sum()
}

#[func(sandbox = dynamic)]
fn product() -> f64 {
    multiply()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("threads")
        .count()
}

/// Runs a helper whose OpenBLAS starts a thread for each processor, whatever this program's variables say.
fn run_with_threads(helper: &str) {
    let mut helper = this_program(helper);
    let output = helper
        .env("OPENBLAS_NUM_THREADS", "64")
        .stdin(Stdio::null())
        .output();
    let output = output.expect("a helper");
    assert!(output.status.success(), "{output:?}");
}

fn confined_functions_calculate_as_others_do() {
    run_with_threads("helper_calculates_everywhere");
}

fn helper_calculates_everywhere() {
    // The control. With one processor, there is nothing to test.
    assert!(
        threads() > 1,
        "OpenBLAS has started no thread before `main`"
    );
    let expected = multiply();
    assert_eq!(product.call_unconfined(), expected);
    for name in ["unconfined", "pure", "parser", "worker", "file-reader"] {
        for launch in ["fork", "exec"] {
            let policy = SandboxPolicy::builtin(name).unwrap();
            let policy = policy.narrow(&[("launch", launch)]).unwrap();
            let found = product.sandbox(&policy).run();
            let found = found.unwrap_or_else(|error| panic!("{name}, {launch}: {error:?}"));
            assert_eq!(found, expected, "{name}, {launch}");
        }
    }
}

fn a_keeper_with_threads_is_told_which() {
    run_with_threads("helper_lets_the_keeper_have_threads");
}

fn helper_lets_the_keeper_have_threads() {
    crossmist::keeper::env("OPENBLAS_NUM_THREADS", "64");
    let pure = SandboxPolicy::builtin("pure").unwrap();
    let error = product.sandbox(&pure).run().unwrap_err();
    assert!(matches!(error, Error::Launch { .. }), "{error:?}");
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
        error.source()
    });
    let text: Vec<_> = causes.map(ToString::to_string).collect();
    assert!(
        text.join(": ").contains("beside its first one: `"),
        "{text:?}"
    );
}
