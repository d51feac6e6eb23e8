//! Code that is made or loaded at run time, and pools of threads.

#![expect(unsafe_code, reason = "it makes and loads code")]

use std::ffi::{CStr, CString};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crossmist::{Error, SandboxPolicy, func};
use rayon::prelude::*;

use crate::support::{Case, Directory};
use crate::{denied, recipe, recipe_with};

pub(crate) const CASES: &[Case] = cases![
    a_jit_runs_what_it_has_written_and_never_writes_to_what_runs,
    plugins_that_preload_has_loaded_are_used_without_any_grant,
    plugins_that_are_loaded_late_come_from_their_folder_only,
    a_pool_of_many_threads_has_as_many_as_the_policy_says needs Root,
];

/// Returns 42.
#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[0xb8, 42, 0, 0, 0, 0xc3];
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];

/// Writes a function, makes it executable by changing the protection from that to this, and calls it.
fn compile_and_run(first: i32, then: i32) -> Result<i32, Option<i32>> {
    let failed = || std::io::Error::last_os_error().raw_os_error();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, placed by the kernel.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, first, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(failed());
    }
    // SAFETY: the mapping is longer, and nothing else has its address.
    unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), at.cast(), CODE.len()) };
    // SAFETY: nothing else has the mapping's address.
    if unsafe { libc::mprotect(at, 4096, then) } != 0 {
        return Err(failed());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier for instructions that were written.
    unsafe {
        std::arch::asm!("dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) at)
    };
    // SAFETY: the mapping begins with the code of such a function.
    let function = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(at) };
    Ok(function())
}

#[func(sandbox = dynamic)]
fn compiles(first: i32, then: i32) -> Result<i32, Option<i32>> {
    compile_and_run(first, then)
}

fn a_jit_runs_what_it_has_written_and_never_writes_to_what_runs() {
    const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const RUN: i32 = libc::PROT_READ | libc::PROT_EXEC;
    let policy = recipe("A JIT compiler");
    assert_eq!(compiles.sandbox(&policy).run(WRITE, RUN).unwrap(), Ok(42));
    // Both at once is denied; the control does it.
    assert_eq!(compile_and_run(WRITE | RUN, WRITE | RUN), Ok(42));
    let call = denied(compiles.sandbox(&policy).run(WRITE | RUN, WRITE | RUN));
    assert!(
        call.starts_with("mmap(") && call.contains("PROT_WRITE|PROT_EXEC"),
        "{call}"
    );
    let call = denied(compiles.sandbox(&policy).run(WRITE, WRITE | RUN));
    assert!(call.starts_with("mprotect("), "{call}");
    // What it extends has no code of its own.
    let parser = SandboxPolicy::builtin("parser").unwrap();
    let call = denied(compiles.sandbox(&parser).run(WRITE, RUN));
    assert!(call.starts_with("mprotect("), "{call}");
}

/// A plugin that a preload function, which takes no arguments, can name.
const PREPARED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugins/twice.so");

/// Builds a plugin in C, which children of any user can read if they reach its folder.
fn build_plugin(plugin: &Path) {
    let folder = plugin.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    // Another run of these tests may build the same one.
    let own = |extension: &str| folder.join(format!("{}.{extension}", std::process::id()));
    let (source, new) = (own("c"), own("new"));
    std::fs::write(&source, "int decode(int x) { return 2 * x; }\n").unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(&new);
    assert!(command.arg(&source).status().unwrap().success());
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, plugin).unwrap();
    std::fs::remove_file(source).unwrap();
}

fn load(plugin: &str) -> Result<*mut libc::c_void, String> {
    let path = CString::new(plugin).unwrap();
    // SAFETY: the plugin has no initializers.
    let plugin = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if plugin.is_null() {
        // SAFETY: takes nothing.
        let text = unsafe { libc::dlerror() };
        // SAFETY: after a failure, this is a C string.
        let text = unsafe { CStr::from_ptr(text) };
        return Err(text.to_string_lossy().into_owned());
    }
    Ok(plugin)
}

/// As a library with plugins does it: loads the one that the input needs, and calls it.
fn decode(plugin: &str, input: i32) -> Result<i32, String> {
    let plugin = load(plugin)?;
    // SAFETY: the plugin is loaded.
    let symbol = unsafe { libc::dlsym(plugin, c"decode".as_ptr()) };
    assert!(!symbol.is_null());
    // SAFETY: the plugin's function is one of these.
    let function =
        unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(i32) -> i32>(symbol) };
    Ok(function(input))
}

fn load_plugins() -> Result<(), String> {
    load(PREPARED).map(|_| ())
}

#[func(sandbox = dynamic, preload = load_plugins)]
fn decodes(input: i32) -> Result<i32, String> {
    decode(PREPARED, input)
}

#[func(sandbox = dynamic)]
fn decodes_unprepared(plugin: String, input: i32) -> Result<i32, String> {
    decode(&plugin, input)
}

fn plugins_that_preload_has_loaded_are_used_without_any_grant() {
    build_plugin(Path::new(PREPARED));
    let policy = recipe("A C library with plugins");
    assert_eq!(decodes.sandbox(&policy).run(21).unwrap(), Ok(42));
    let unprepared = decodes_unprepared.sandbox(&policy);
    let unprepared = unprepared.run(PREPARED.to_owned(), 21).unwrap();
    let text = unprepared.unwrap_err();
    assert!(text.contains("Permission denied"), "{text}");
    // The control.
    assert_eq!(decode(PREPARED, 21), Ok(42));
}

fn plugins_that_are_loaded_late_come_from_their_folder_only() {
    // Not below this project's folder, which a child with a user of its own may not be able to reach.
    let directory = Directory::new();
    let folder = directory.path().to_str().unwrap().to_owned();
    let plugin = format!("{folder}/twice.so");
    build_plugin(Path::new(&plugin));
    let policy = recipe("Plugins that are loaded late");
    let run = |granted: &str| {
        let builder = decodes_unprepared.sandbox(&policy);
        let builder = builder.bind("plugins", granted);
        builder.run(plugin.clone(), 21).unwrap()
    };
    assert_eq!(run(&folder), Ok(42));
    let text = run("/usr/lib").unwrap_err();
    assert!(text.contains("Permission denied"), "{text}");
}

/// Adds numbers on a pool, all of whose threads meet once, so that there are that many.
#[func(sandbox = dynamic)]
fn adds(threads: usize) -> Result<(u64, usize), String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = pool.build().map_err(|error| error.to_string())?;
    let places = pool.broadcast(|context| context.index());
    let sum = pool.install(|| (1..=1_000_000_u64).into_par_iter().sum());
    Ok((sum, places.len()))
}

fn a_pool_of_many_threads_has_as_many_as_the_policy_says() {
    const TITLE: &str = "A thread pool on a large machine";
    const MOST: usize = 64;
    let policy = recipe(TITLE);
    let sum = 500_000_500_000;
    assert_eq!(adds.sandbox(&policy).run(MOST).unwrap(), Ok((sum, MOST)));
    // One is left for a blocking call, as the page says.
    let refused = adds.sandbox(&policy).run(MOST + 2);
    let text = match refused {
        Ok(Err(text)) => text,
        Err(error @ Error::Panicked(_)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(text.contains("Resource temporarily unavailable"), "{text}");
    // The control: it is the policy's limit, not the machine's.
    let more = recipe_with(TITLE, "threads = 66", "threads = 67");
    let added = adds.sandbox(&more).run(MOST + 2).unwrap();
    assert_eq!(added, Ok((sum, MOST + 2)));
}
