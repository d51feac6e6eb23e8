//! The files whose tables were read, each once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use super::elf::Elf;
use super::symbols::Symbols;
use super::tables::Tables;
use crate::sys::mappings::{FileId, Mapping};
use crate::sys::system_files;

/// How many files are remembered. A child decides what it has mapped.
const MOST_FILES: usize = 1024;

/// A file that code is mapped from.
#[derive(Debug)]
pub(super) struct CodeFile {
    pub(super) tables: Tables,
    id: FileId,
    symbols: OnceLock<Symbols>,
}

impl CodeFile {
    fn read(file: File, id: FileId) -> Option<Self> {
        Some(Self {
            tables: Tables::read(&Elf::read(file)?),
            id,
            symbols: OnceLock::new(),
        })
    }

    /// Returns the name of a function of a library, whose path is given again.
    pub(super) fn name_of(&self, path: &[u8], address: u64) -> Option<String> {
        let read = || {
            let file = open(path, self.id).and_then(Elf::read);
            file.as_ref().map(Symbols::read).unwrap_or_default()
        };
        self.symbols.get_or_init(read).name_of(address)
    }
}

/// Returns this program's own file.
pub(super) fn own() -> Option<&'static (FileId, Arc<CodeFile>)> {
    static OWN: LazyLock<Option<(FileId, Arc<CodeFile>)>> = LazyLock::new(|| {
        // The file that was executed, even if another one has its name now.
        let file = system_files::open("self/exe").ok()?;
        let id = FileId::of(&file).ok()?;
        Some((id, Arc::new(CodeFile::read(file, id)?)))
    });
    OWN.as_ref()
}

/// Returns the file that is mapped, if it is still there.
pub(super) fn of(mapping: &Mapping<'_>) -> Option<Arc<CodeFile>> {
    static FILES: Mutex<BTreeMap<FileId, Option<Arc<CodeFile>>>> = Mutex::new(BTreeMap::new());
    if let Some((id, own)) = own()
        && *id == mapping.file
    {
        return Some(Arc::clone(own));
    }
    // Others that look for the same file wait for it.
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = files.get(&mapping.file) {
        return known.clone();
    }
    if files.len() >= MOST_FILES {
        return None;
    }
    let file = open(mapping.path, mapping.file);
    let file = file.and_then(|file| CodeFile::read(file, mapping.file));
    let file = file.map(Arc::new);
    files.insert(mapping.file, file.clone());
    file
}

/// Opens a file, if it is the one that is mapped.
fn open(path: &[u8], id: FileId) -> Option<File> {
    let path = Path::new(OsStr::from_bytes(path));
    // A pipe that has this name now isn't waited for.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    let is_file = file.metadata().ok()?.is_file();
    (is_file && FileId::of(&file).ok()? == id).then_some(file)
}
