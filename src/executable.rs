//! This program's own executable, from which children are started.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;
use crate::error::UnsupportedKind;
use crate::sys::{image, socket, system_files};

/// Whether this process has passed [`init`](crate::init), where a child would have branched off.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// The first argument of a child, after the program's name. The number of its socket and the name
/// of its function follow.
pub(crate) const CHILD_ARGUMENT: &str = "--crossmist-child";

/// The first argument of the keeper. The number of its socket follows.
pub(crate) const KEEPER_ARGUMENT: &str = "--crossmist-keeper";

/// The last of these arguments. A program can contain several versions of the library, through its
/// dependencies. Each enters its own children.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug)]
pub(crate) struct Program {
    file: File,
    name: CString,
}

/// Records that this process is a child, which has found its entry and can have children itself.
/// Nothing is opened before it has any.
pub(crate) fn note_child() {
    ENTERED.store(true, Ordering::Relaxed);
}

/// Records that this process has found its entry, and is not a child.
pub(crate) fn note_entry() {
    ENTERED.store(true, Ordering::Relaxed);
    // Now, while they exist: the program may change its root directory.
    system_files::open_all();
    let _ = opened();
}

/// Returns the program, if a child of it would find its function.
pub(crate) fn own() -> Result<&'static Program, Error> {
    if !ENTERED.load(Ordering::Relaxed) {
        return Err(Error::NotEntered);
    }
    let program = opened().as_ref().map_err(|reason| Error::Unsupported {
        kind: UnsupportedKind::Executable,
        reason: reason.clone(),
    })?;
    Ok(program)
}

fn opened() -> &'static Result<Program, String> {
    static PROGRAM: OnceLock<Result<Program, String>> = OnceLock::new();
    PROGRAM.get_or_init(Program::open)
}

impl Program {
    /// Opens the executable of this process.
    pub(crate) fn open() -> Result<Self, String> {
        // The link leads to the file that was executed, even if another file has its name now.
        let file = system_files::open("self/exe").map_err(|error| {
            format!(
                "the executable can't be opened by /proc/self/exe: {error}; mount /proc, or call \
                 `crossmist::init` before the program changes its root directory"
            )
        })?;
        // The standard descriptors of a child must not replace it.
        let file = socket::above_standard(file.into())
            .map(File::from)
            .map_err(|error| format!("the executable's descriptor can't be moved: {error}"))?;
        let image = image::image().ok_or(
            "this code is part of a shared object, not of the executable; a child of the \
             executable would not find it",
        )?;
        if !image::keeps_records_read_only() {
            return Err(
                "it was linked without RELRO, so the records by which a child finds its function can be \
                 overwritten; build it without `-C relro-level=off` and `-z norelro`"
                    .to_owned(),
            );
        }
        if !is_image_of(&file, &image.headers).unwrap_or(false) {
            let other = system_files::read_link("self/exe").unwrap_or_default();
            return Err(format!(
                "/proc/self/exe is not the running program but {other:?}, a loader or an emulator such as \
                 valgrind, which would not start it again; run the program directly, or call the bodies of \
                 its functions, by `call_unconfined` if they have a sandbox"
            ));
        }
        let name = std::env::args_os()
            .next()
            .unwrap_or_else(|| OsString::from("crossmist"));
        let name = CString::new(name.into_vec()).unwrap_or_default();
        Ok(Program { file, name })
    }

    pub(crate) fn name(&self) -> &CString {
        &self.name
    }
}

/// Returns whether the program headers in an ELF file are those of the running image.
fn is_image_of(file: &File, headers: &[u8]) -> io::Result<bool> {
    // `e_phoff` of a 64-bit ELF header.
    let mut offset = [0; 8];
    file.read_exact_at(&mut offset, 32)?;
    let mut found = vec![0; headers.len()];
    file.read_exact_at(&mut found, u64::from_le_bytes(offset))?;
    Ok(found == headers)
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
