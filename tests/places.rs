//! Violations name the place in the program from which a denied call was made.
#![expect(unsafe_code, reason = "it calls a library in C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::hint::black_box;
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
            a_call_on_another_thread_is_at_the_line_that_the_thread_runs,
            a_call_that_a_library_in_c_makes_is_at_the_line_that_calls_the_library,
            a_line_that_was_left_is_not_taken_for_the_one_that_calls,
            what_is_found_without_tables_is_a_guess,
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

/// Whether the C library, through which every call goes, has tables to be unwound by. Usually only glibc has.
const HAS_TABLES: bool = cfg!(all(feature = "backtrace", target_env = "gnu"));

#[track_caller]
fn assert_is_at(frame: &BacktraceFrame, function: &str, line: u32) {
    if !cfg!(feature = "backtrace") {
        assert!(frame.offset.is_some() && frame.function.is_none());
        return;
    }
    assert_names(frame, function, line);
    // The C library may have no tables, if it is not the usual one.
    assert!(
        !frame.is_guess || cfg!(not(target_env = "gnu")),
        "{frame:?}"
    );
}

#[track_caller]
fn assert_names(frame: &BacktraceFrame, function: &str, line: u32) {
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

const ON_A_THREAD: u32 = line!() + 4;

#[func(sandbox = "parser", threads = 2)]
fn makes_a_folder_on_a_thread(path: String) -> bool {
    let makes = move || std::fs::create_dir(path).is_ok();
    std::thread::spawn(makes).join().unwrap()
}

fn a_call_on_another_thread_is_at_the_line_that_the_thread_runs() {
    let claim = denied(makes_a_folder_on_a_thread.run("/nothing".to_owned()));
    assert!(claim.call.starts_with("mkdir"), "{}", claim.call);
    let frame = claim.at().expect("a place");
    assert_is_at(&frame, "makes_a_folder_on_a_thread", ON_A_THREAD);
}

/// A function in C that makes a folder.
type Make = extern "C" fn(*const c_char) -> c_int;

/// The functions of a library. The first one has a place for many values on its stack, which it does not set.
const FUNCTIONS: [&CStr; 2] = [c"make", c"make_by_signal"];

/// How the libraries are compiled, and the functions of each, once it is loaded.
static LIBRARIES: [(&[&str], OnceLock<[Make; 2]>); 2] = [
    (&["-O2", "-fomit-frame-pointer"], OnceLock::new()),
    (&["-O1", "-fno-omit-frame-pointer"], OnceLock::new()),
];

const SOURCE: &str = "
#include <signal.h>
#include <sys/stat.h>

int make(const char *path) {
    volatile char unset[4096];
    unset[0] = path[0];
    int failed = mkdir(path, 0755);
    return failed == 0 && unset[0] == path[0];
}

static const char *wanted;
static volatile int made;

static void handle(int number) {
    made = number != 0 && mkdir(wanted, 0755) == 0;
}

int make_by_signal(const char *path) {
    wanted = path;
    /* One of them, depending on the processor. */
    signal(SIGILL, handle);
    signal(SIGTRAP, handle);
    __builtin_trap();
}
";

/// Where the library that is compiled with some options is. A child finds it by its name alone.
fn library(options: &[&str]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (SOURCE, options).hash(&mut hasher);
    let name = format!("places-{:x}.so", hasher.finish());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Compiles the libraries, unless they are there: another run may be using them, and its places are known only as
/// long as they stay the same files.
fn compile() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(folder.join("places.lock")).unwrap();
    lock.lock().unwrap();
    for (options, _) in &LIBRARIES {
        let library = library(options);
        if library.exists() {
            continue;
        }
        let (source, compiled_to) = (library.with_extension("c"), library.with_extension("new"));
        std::fs::write(&source, SOURCE).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&compiled_to, &source])
            .args(*options)
            .status();
        assert!(compiled.is_ok_and(|status| status.success()));
        std::fs::rename(compiled_to, library).unwrap();
        std::fs::remove_file(source).unwrap();
    }
}

fn load() {
    for (options, functions) in &LIBRARIES {
        let path = library(options).into_os_string().into_encoded_bytes();
        let path = CString::new(path).unwrap();
        // SAFETY: a name, of a library without constructors.
        let library: *mut c_void = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null());
        let loaded = FUNCTIONS.map(|name| {
            // SAFETY: a library that is open, and a name.
            let found = unsafe { libc::dlsym(library, name.as_ptr()) };
            assert!(!found.is_null());
            // SAFETY: the functions of the library have this type.
            unsafe { std::mem::transmute::<*mut c_void, Make>(found) }
        });
        functions.set(loaded).unwrap();
    }
}

fn by(function: &str, options: &[&str]) -> String {
    let library = library(options);
    format!("{function} of {}", library.file_name().unwrap().display())
}

#[track_caller]
fn assert_is_by(claim: &DeniedCall, function: &str, options: &[&str]) {
    let by = HAS_TABLES.then(|| by(function, options));
    assert_eq!(claim.by(), by, "{:?}", claim.at());
}

const IN_C: u32 = line!() + 6;

#[func(sandbox = "parser", preload = load)]
fn makes_a_folder_in_c(path: String, library: usize, function: usize) -> c_int {
    let path = CString::new(path).unwrap();
    let make = LIBRARIES[library].1.get().unwrap()[function];
    black_box(make(path.as_ptr()))
}

fn a_call_that_a_library_in_c_makes_is_at_the_line_that_calls_the_library() {
    compile();
    for (library, (options, _)) in LIBRARIES.iter().enumerate() {
        // The second one makes the call in a handler of signals, which has interrupted it.
        for (function, maker) in ["make", "handle"].into_iter().enumerate() {
            let result = makes_a_folder_in_c.run("/nothing".to_owned(), library, function);
            let text = result.as_ref().unwrap_err().to_string();
            let claim = denied(result);
            assert!(claim.call.starts_with("mkdir"), "{}", claim.call);
            let frame = claim.at().expect("a place");
            // On this processor, no tables lead out of a handler of signals.
            if cfg!(all(feature = "backtrace", target_arch = "aarch64")) && maker == "handle" {
                assert_names(&frame, "makes_a_folder_in_c", IN_C);
            } else {
                assert_is_at(&frame, "makes_a_folder_in_c", IN_C);
            }
            assert_is_by(&claim, maker, options);
            let place = format!("tests/places.rs:{IN_C}), by {}\n", by(maker, options));
            assert_eq!(text.contains(&place), HAS_TABLES, "{text}");
        }
    }
}

/// Leaves return addresses on the part of the stack that others use next.
#[inline(never)]
fn leaves_addresses(depth: u32) -> u32 {
    match depth {
        0 => black_box(7),
        _ => black_box(leaves_addresses(black_box(depth - 1))) + 1,
    }
}

const AFTER_OTHERS: u32 = line!() + 8;

#[func(sandbox = "parser", preload = load)]
fn makes_a_folder_after_others(path: String, library: usize) -> c_int {
    let path = CString::new(path).unwrap();
    let make = LIBRARIES[library].1.get().unwrap()[0];
    // More than the library's function and what it calls take.
    black_box(leaves_addresses(1000));
    black_box(make(path.as_ptr()))
}

fn a_line_that_was_left_is_not_taken_for_the_one_that_calls() {
    compile();
    for (library, (options, _)) in LIBRARIES.iter().enumerate() {
        let claim = denied(makes_a_folder_after_others.run("/nothing".to_owned(), library));
        // The control: a search comes upon what was left.
        #[cfg(all(feature = "backtrace", feature = "__fuzzing"))]
        {
            let found = crossmist::fuzzing::found_by_search(&claim).expect("something");
            let function = found.function.as_deref().unwrap_or_default();
            assert!(function.ends_with("leaves_addresses"), "{found:?}");
            assert!(found.is_guess);
        }
        if HAS_TABLES {
            let frame = claim.at().expect("a place");
            assert_is_at(&frame, "makes_a_folder_after_others", AFTER_OTHERS);
            assert_is_by(&claim, "make", options);
        }
    }
}

const WITHOUT_TABLES: u32 = line!() + 4;

#[func(sandbox = "parser", launch = "exec")]
fn makes_a_folder_elsewhere(path: String) -> bool {
    std::fs::create_dir(path).is_ok()
}

fn what_is_found_without_tables_is_a_guess() {
    // Where such a child has its libraries, and so the C library that makes the call, is not known.
    let error = makes_a_folder_elsewhere.run("/nothing".to_owned());
    let text = format!("{}", error.as_ref().unwrap_err());
    let claim = denied(error);
    let frame = claim.at().expect("a place");
    if cfg!(feature = "backtrace") {
        assert_names(&frame, "makes_a_folder_elsewhere", WITHOUT_TABLES);
        assert!(
            !HAS_TABLES || text.contains("\n  at: perhaps places::"),
            "{text}"
        );
    }
    // Without names, what a register says is as good as any place in the program.
    let in_register = cfg!(all(target_arch = "aarch64", not(feature = "backtrace")));
    assert_eq!(
        frame.is_guess,
        !cfg!(target_feature = "crt-static") && !in_register,
        "{frame:?}"
    );
    assert_eq!(claim.by(), None);
}
