//! Violations name the place in the program from which a denied call was made.
#![expect(unsafe_code, reason = "it calls a library in C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crossmist::{BacktraceFrame, DeniedCall, Error, func};

mod support;

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_call_that_std_makes_is_at_the_line_that_calls_std,
            a_call_that_a_crate_makes_is_at_the_line_that_calls_the_crate,
            a_call_that_a_library_in_c_makes_is_at_the_line_that_calls_the_library,
        ],
        cases![],
    );
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> DeniedCall {
    match result {
        Err(Error::Violation(violation)) => violation.claim.expect("a report"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_is_at(frame: &BacktraceFrame, function: &str, line: u32) {
    if !cfg!(feature = "backtrace") {
        assert!(frame.offset.is_some() && frame.function.is_none());
        return;
    }
    let name = frame.function.as_deref().unwrap_or_default();
    let file = frame.file.as_deref().unwrap_or_default();
    assert!(name.split("::").any(|part| part == function), "{frame:?}");
    assert!(file.ends_with("tests/places.rs"), "{frame:?}");
    assert_eq!(frame.line, Some(line), "{frame:?}");
}

const IN_STD: u32 = line!() + 4;

#[func(sandbox = "parser")]
fn makes_a_folder(path: String) -> bool {
    std::fs::create_dir(path).is_ok()
}

fn a_call_that_std_makes_is_at_the_line_that_calls_std() {
    // The control: it is no violation to ask for what is answered.
    assert!(asks.run("/nothing".to_owned()).is_ok());
    let claim = denied(makes_a_folder.run("/nothing".to_owned()));
    assert!(claim.call.starts_with("mkdir"), "{}", claim.call);
    let frame = claim.at().expect("a place");
    assert_is_at(&frame, "makes_a_folder", IN_STD);
}

const IN_A_CRATE: u32 = line!() + 5;

#[func(sandbox = "parser")]
fn makes_a_folder_by_a_crate(path: String) -> bool {
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkdir(path.as_str(), mode).is_ok()
}

fn a_call_that_a_crate_makes_is_at_the_line_that_calls_the_crate() {
    let claim = denied(makes_a_folder_by_a_crate.run("/nothing".to_owned()));
    assert!(claim.call.starts_with("mkdir"), "{}", claim.call);
    let frame = claim.at().expect("a place");
    assert_is_at(&frame, "makes_a_folder_by_a_crate", IN_A_CRATE);
}

#[func(sandbox = "parser")]
fn asks(path: String) -> bool {
    std::fs::File::open(path).is_ok()
}

/// The function of the library, once it is loaded.
static MAKE: OnceLock<usize> = OnceLock::new();

/// The library. A child finds it by its name alone.
fn library() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("places.so")
}

/// Compiles the library under a name of this process's own, and moves it to its place: another run may be using it.
fn compile() {
    let compiled_to = library().with_extension(format!("{}.so", std::process::id()));
    let source = compiled_to.with_extension("c");
    std::fs::write(
        &source,
        "#include <sys/stat.h>\nint make(const char *path) { return mkdir(path, 0755) == 0; }\n",
    )
    .unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&compiled_to, &source])
        .status();
    assert!(compiled.is_ok_and(|status| status.success()));
    std::fs::rename(compiled_to, library()).unwrap();
    std::fs::remove_file(source).unwrap();
}

fn load() {
    let name = CString::new(library().into_os_string().into_encoded_bytes()).unwrap();
    let symbol: &CStr = c"make";
    // SAFETY: a name, of a library without constructors.
    let library: *mut c_void = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null());
    // SAFETY: a library that is open, and a name.
    let found = unsafe { libc::dlsym(library, symbol.as_ptr()) };
    MAKE.set(found.expose_provenance()).unwrap();
}

const IN_C: u32 = line!() + 9;

#[func(sandbox = "parser", preload = load)]
fn makes_a_folder_in_c(path: String) -> c_int {
    let path = CString::new(path).unwrap();
    let make = std::ptr::with_exposed_provenance::<c_void>(*MAKE.get().unwrap());
    // SAFETY: the function of the library has this type.
    let make: extern "C" fn(*const c_char) -> c_int = unsafe { std::mem::transmute(make) };
    let path = path.as_ptr();
    std::hint::black_box(make(path))
}

fn a_call_that_a_library_in_c_makes_is_at_the_line_that_calls_the_library() {
    compile();
    let claim = denied(makes_a_folder_in_c.run("/nothing".to_owned()));
    assert!(claim.call.starts_with("mkdir"), "{}", claim.call);
    let frame = claim.at().expect("a place");
    assert_is_at(&frame, "makes_a_folder_in_c", IN_C);
}
