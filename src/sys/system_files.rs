//! The system files that the library needs, `/proc` and `/dev/null`. They are opened once, and then
//! used through their descriptors.
//!
//! A program opens them in [`init`](crate::init), since it may change its root directory later. The
//! keeper, and what it executes, get the descriptor of `/proc` from the process that started them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};

use super::socket;

static PROC: OnceLock<Option<Kept>> = OnceLock::new();
static NULL: OnceLock<Option<Kept>> = OnceLock::new();

/// A descriptor, and what it was opened on: a program that closes all its descriptors also closes
/// this one, and may then open something else under its number.
#[derive(Debug)]
struct Kept {
    fd: OwnedFd,
    device_and_inode: (u64, u64),
}

impl Kept {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let device_and_inode = device_and_inode(fd.as_fd())?;
        Ok(Self {
            fd,
            device_and_inode,
        })
    }

    fn get(&self) -> Option<BorrowedFd<'_>> {
        let now = device_and_inode(self.fd.as_fd());
        now.is_ok_and(|now| now == self.device_and_inode)
            .then(|| self.fd.as_fd())
    }
}

fn device_and_inode(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let status = fstat(fd)?;
    Ok((status.st_dev, status.st_ino))
}

/// A file that is kept open, or one that was opened for this use.
#[derive(Debug)]
pub(crate) enum Handle {
    Kept(BorrowedFd<'static>),
    New(OwnedFd),
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kept(kept) => kept.as_fd(),
            Self::New(new) => new.as_fd(),
        }
    }
}

/// Opens the files that exist. If one is missing, the code that needs it fails.
pub(crate) fn open_all() {
    let _ = (proc(), null());
}

/// Uses this descriptor of `/proc` from now on, unless there is one.
pub(crate) fn adopt_proc(proc: OwnedFd) {
    if is_proc(proc.as_fd()) {
        let _ = PROC.set(Kept::new(proc).ok());
    }
}

/// Returns `/proc`.
pub(crate) fn proc() -> io::Result<Handle> {
    kept_or_new(&PROC, || {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open("/proc", flags, Mode::empty())?;
        match is_proc(opened.as_fd()) {
            true => socket::above_standard(opened),
            // There is a folder to mount it on, but nothing is mounted.
            false => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    })
}

/// Returns `/dev/null`, or a substitute if there is none: the reading end of a pipe that nobody
/// writes to. Reading it returns the end of the file. Writing to it fails with EBADF, like writing
/// to a closed descriptor, which Rust's standard streams take for success.
pub(crate) fn null() -> io::Result<Handle> {
    kept_or_new(&NULL, || open_null().and_then(socket::above_standard))
}

/// Opens a separate `/dev/null` under the lowest free number, or its substitute.
pub(crate) fn open_null() -> io::Result<OwnedFd> {
    let opened = File::options().read(true).write(true).open("/dev/null");
    match opened {
        // Some container images have a plain file there.
        Ok(null) if is_null(null.as_fd()) => Ok(null.into()),
        _ => stand_in(),
    }
}

fn stand_in() -> io::Result<OwnedFd> {
    let (reading, _) = io::pipe()?;
    Ok(reading.into())
}

/// Opens a file of `/proc` for reading, by its path in `/proc`.
pub(crate) fn open(path: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(openat(proc()?, path, flags, Mode::empty())?.into())
}

/// Opens a file of `/proc` for writing.
pub(crate) fn open_to_write(path: &str) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    Ok(openat(proc()?, path, flags, Mode::empty())?.into())
}

/// Reads a file of `/proc`, which need not be text.
pub(crate) fn read_bytes(path: &str) -> io::Result<Vec<u8>> {
    // Not by offsets: the kernel would make the whole text again to find out that nothing follows it.
    to_end(open(path)?)
}

/// Reads a short file of `/proc`.
pub(crate) fn read(path: &str) -> io::Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(io::Error::other)
}

/// Makes no other call than `pread`, for the reason given at [`read_plainly`].
pub(crate) fn read_from_beginning(file: BorrowedFd<'_>) -> io::Result<String> {
    String::from_utf8(bytes_from_beginning(file)?).map_err(io::Error::other)
}

fn bytes_from_beginning(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let offset = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        match nix::sys::uio::pread(file, &mut buffer, offset)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// A file of `/proc/self` that is read at each call, and therefore kept open.
#[derive(Debug)]
pub(crate) struct OwnFile {
    path: &'static str,
    /// With the id of the process that it describes: a copy of the process needs another file.
    kept: OnceLock<Option<(u32, Kept)>>,
}

impl OwnFile {
    pub(crate) const fn new(path: &'static str) -> Self {
        Self {
            path,
            kept: OnceLock::new(),
        }
    }

    pub(crate) fn read(&self) -> io::Result<String> {
        let own = std::process::id();
        let open = || {
            let file = socket::above_standard(open(self.path).ok()?.into());
            Some((own, Kept::new(file.ok()?).ok()?))
        };
        let kept = self.kept.get_or_init(open).as_ref();
        match kept.and_then(|(process, kept)| kept.get().filter(|_| *process == own)) {
            Some(file) => read_from_beginning(file),
            None => read(self.path),
        }
    }
}

/// Returns where a link of `/proc` leads.
pub(crate) fn read_link(path: &str) -> io::Result<OsString> {
    Ok(readlinkat(proc()?, path)?)
}

/// Returns the number of links to a directory of `/proc`: one for each subdirectory, and two.
pub(crate) fn links(path: &str) -> io::Result<libc::nlink_t> {
    let status = nix::sys::stat::fstatat(proc()?, path, nix::fcntl::AtFlags::empty())?;
    Ok(status.st_nlink)
}

/// Returns the kept file if it is still open, or else a new one.
fn kept_or_new(
    kept: &'static OnceLock<Option<Kept>>,
    open: impl Fn() -> io::Result<OwnedFd>,
) -> io::Result<Handle> {
    let opened = kept.get_or_init(|| open().and_then(Kept::new).ok());
    match opened.as_ref().and_then(Kept::get) {
        Some(kept) => Ok(Handle::Kept(kept)),
        None => open().map(Handle::New),
    }
}

/// Returns whether it is `/proc`, and not the folder on which that should be mounted.
fn is_proc(fd: BorrowedFd<'_>) -> bool {
    readlinkat(fd, "self").is_ok()
}

fn is_null(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|status| {
        status.st_mode & libc::S_IFMT == libc::S_IFCHR && status.st_rdev == libc::makedev(1, 3)
    })
}

/// Reads a short file of `/proc`.
pub(crate) fn read_proc(path: &str) -> io::Result<String> {
    read(path.trim_start_matches("/proc/"))
}

/// Reads a file with nothing but `read`.
///
/// To read a whole file, std asks for its length with `statx`, and remembers whether that call
/// exists. A confined copy of this process would rely on that, and get no metadata of any file.
pub(crate) fn read_plainly(path: &str) -> io::Result<Vec<u8>> {
    to_end(File::open(path)?)
}

fn to_end(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_stands_in_for_dev_null_is_empty_and_refuses_bytes_softly() {
        let mut file = File::from(stand_in().unwrap());
        assert!(!is_null(file.as_fd()));
        assert_eq!(file.read(&mut [0; 8]).unwrap(), 0);
        let refused = file.write(b"x").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn what_is_kept_is_known_again() {
        assert!(matches!(proc().unwrap(), Handle::Kept(fd) if is_proc(fd)));
        assert!(matches!(null().unwrap(), Handle::Kept(fd) if is_null(fd)));
        assert!(!is_proc(null().unwrap().as_fd()));
        assert!(!is_null(proc().unwrap().as_fd()));
    }

    #[test]
    fn what_has_taken_the_number_of_a_closed_one_is_not_taken_for_it() {
        static CLOSED: OnceLock<Option<Kept>> = OnceLock::new();
        let other = File::open("/etc/passwd").unwrap();
        let _ = CLOSED.set(Some(Kept {
            fd: other.into(),
            device_and_inode: device_and_inode(null().unwrap().as_fd()).unwrap(),
        }));
        let opened = kept_or_new(&CLOSED, open_null).unwrap();
        assert!(matches!(opened, Handle::New(fd) if is_null(fd.as_fd())));
    }
}
