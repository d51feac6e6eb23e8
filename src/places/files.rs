//! The files whose tables were read, each once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use super::elf::{Budget, Elf};
use super::symbols::Symbols;
use super::tables::Tables;
use crate::sys::mappings::{FileId, Mapping};
use crate::sys::system_files;

/// How many files are remembered. A child decides what it has mapped.
const MOST_FILES: usize = 1024;

/// How much of all files is kept: tables, and the names of functions.
static TABLES: Budget = Budget::new(64 << 20);
static NAMES: Budget = Budget::new(64 << 20);

/// A state of a file. Another file that has got its number, or that was written over it, has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    /// When it was changed last, in seconds and nanoseconds.
    changed: (i64, i64),
}

impl Version {
    /// Returns `None` if it is no ordinary file.
    fn of(file: &File) -> Option<Self> {
        let file = file.metadata().ok()?;
        file.is_file().then(|| Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// A file that code is mapped from.
#[derive(Debug)]
pub(super) struct CodeFile {
    pub(super) tables: Tables,
    version: Version,
    symbols: OnceLock<Symbols>,
}

impl CodeFile {
    fn read(file: File) -> Option<Self> {
        let version = Version::of(&file)?;
        Some(Self {
            tables: Tables::read(&Elf::read(file, &TABLES)?),
            version,
            symbols: OnceLock::new(),
        })
    }

    /// Returns the name of a function of a library, whose path is given again.
    pub(super) fn name_of(&self, path: &[u8], address: u64) -> Option<String> {
        let read = || {
            let named = Named::find(path).filter(|named| named.version == self.version);
            let file = named.and_then(|named| Elf::read(named.open()?, &NAMES));
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
        Some((id, Arc::new(CodeFile::read(file)?)))
    });
    OWN.as_ref()
}

/// The tables of a file, if it has any that can be used.
type Found = Option<Arc<CodeFile>>;

/// The entry of a file. It is locked while the file is read, so that only those wait who need the same one: file
/// systems may take their time.
type Slot = Arc<Mutex<Option<Found>>>;

/// Returns the file that is mapped, if it is still there.
pub(super) fn of(mapping: &Mapping<'_>) -> Option<Arc<CodeFile>> {
    static FILES: Mutex<BTreeMap<(FileId, Version), Slot>> = Mutex::new(BTreeMap::new());
    if let Some((id, own)) = own()
        && *id == mapping.file
    {
        return Some(Arc::clone(own));
    }
    let named = Named::find(mapping.path)?;
    let slot = {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (mapping.file, named.version);
        if files.len() >= MOST_FILES && !files.contains_key(&key) {
            return None;
        }
        Arc::clone(files.entry(key).or_default())
    };
    let mut found = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if found.is_none() {
        // If it can't be opened now, perhaps it can another time.
        let file = named.open()?;
        if FileId::of(&file).ok()? != mapping.file {
            return None;
        }
        *found = Some(CodeFile::read(file).map(Arc::new));
    }
    found.clone()?
}

/// A file that a path leads to, which is not opened yet: opening a device does something.
struct Named {
    /// Opened for nothing but its name.
    file: File,
    version: Version,
}

impl Named {
    fn find(path: &[u8]) -> Option<Self> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_PATH);
        let file = file.open(path).ok()?;
        let version = Version::of(&file)?;
        Some(Self { file, version })
    }

    /// Opens it for reading, if it is still as it was.
    fn open(&self) -> Option<File> {
        let file = system_files::open(&format!("self/fd/{}", self.file.as_raw_fd())).ok()?;
        (Version::of(&file)? == self.version).then_some(file)
    }
}

/// Reads a file, with a budget of its own, and looks up what is in its index.
#[cfg(feature = "__fuzzing")]
pub(crate) fn read_any(file: File) {
    use super::registers::{Registers, Stack};
    static BUDGET: Budget = Budget::new(1 << 20);
    const POINTER: u64 = 0x7000;
    let Some(file) = Elf::read(file, &BUDGET) else {
        return;
    };
    let (tables, symbols) = (Tables::read(&file), Symbols::read(&file));
    let mut context = gimli::UnwindContext::new();
    for address in tables.addresses().take(64) {
        let registers = Registers::of_waiting(address.wrapping_add(1), POINTER);
        let stack = Stack::new(POINTER, &[POINTER; 64]);
        let _ = tables.caller(address, &registers, &stack, &mut context, true);
        let _ = symbols.name_of(address);
        let _ = tables.address_of(address);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_read_once_and_again_if_it_has_changed() {
        let path = std::env::temp_dir().join(format!("crossmist-files-{}", std::process::id()));
        std::fs::copy("/proc/self/exe", &path).unwrap();
        let id = FileId::of(&File::open(&path).unwrap()).unwrap();
        let found = || of(&Mapping::of_code(id, path.as_os_str().as_bytes()));
        let first = found().unwrap();
        assert!(Arc::ptr_eq(&first, &found().unwrap()));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"more").unwrap();
        let second = found().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        // The names are not those of the first one.
        let address = a_file_is_read_once_and_again_if_it_has_changed as fn() as usize as u64
            - crate::sys::image::image().unwrap().base() as u64;
        let name = |file: &CodeFile| file.name_of(path.as_os_str().as_bytes(), address);
        assert_eq!(name(&first), None);
        let name = name(&second).unwrap();
        assert!(name.ends_with("if_it_has_changed"), "{name}");
        // One that is none is not looked at again, and one that is gone is not found.
        std::fs::write(&path, "text").unwrap();
        assert!(found().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(found().is_none());
    }

    #[test]
    fn only_ordinary_files_are_opened() {
        let path = std::env::temp_dir().join(format!("crossmist-socket-{}", std::process::id()));
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let is_named = |path: &Path| Named::find(path.as_os_str().as_bytes()).is_some();
        assert!(!is_named(&path) && !is_named(Path::new("/dev/null")));
        assert!(is_named(Path::new("/proc/self/exe")));
        std::fs::remove_file(&path).unwrap();
    }
}
