//! A root directory that holds only the paths that a policy grants.
//!
//! The program finds out what the paths lead to, as for Landlock. The child copies the mounts there. It does
//! so by their names, since a descriptor that was opened in another mount namespace is no source for a
//! copy, and compares what it has found.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, mkdirat};

use crate::sys::mounts::{Restrictions, Tree};

/// The contents of a root directory.
#[derive(Debug, Default, PartialEq, Eq, crate::Object)]
pub(super) struct Root {
    /// Those above come before those beneath them.
    places: Vec<Place>,
}

/// A path that is granted.
#[derive(Debug, PartialEq, Eq, crate::Object)]
struct Place {
    /// Without links.
    path: CString,
    device: u64,
    inode: u64,
    is_folder: bool,
    /// It is a device, or where devices are.
    has_devices: bool,
    writes: bool,
}

impl Root {
    /// Adds a file that is open, and its path without links.
    pub(super) fn add(&mut self, file: &File, path: &Path, writes: bool) -> io::Result<()> {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        self.places.push(Place {
            path: CString::new(path.as_os_str().as_bytes())?,
            device: metadata.dev(),
            inode: metadata.ino(),
            is_folder: kind.is_dir(),
            has_devices: kind.is_char_device()
                || kind.is_block_device()
                || path.starts_with("/dev")
                || path == Path::new("/"),
            writes,
        });
        Ok(())
    }

    /// Puts the places in order, and gives to each what is granted above it: that is how Landlock sees it.
    pub(super) fn complete(&mut self) {
        self.places.sort_by(|a, b| a.path().cmp(b.path()));
        // Of several grants for a path, the first one has the rights of all.
        for at in 0..self.places.len() {
            let (before, from) = self.places.split_at_mut(at);
            let Some((place, after)) = from.split_first_mut() else {
                break;
            };
            let above = before
                .iter()
                .chain(after.iter().take_while(|next| next.path == place.path));
            for other in above {
                if place.path().starts_with(other.path()) {
                    place.writes |= other.writes;
                }
            }
        }
        self.places.dedup_by(|next, place| next.path == place.path);
    }

    /// In the child, which is in a mount namespace of its own: makes a root directory of it.
    pub(super) fn build(&self) -> io::Result<Tree> {
        let whole = self
            .places
            .first()
            .filter(|first| first.path() == Path::new("/"));
        let root = match whole {
            Some(whole) => whole.copy()?,
            None => Tree::empty()?,
        };
        // Mounts can be put beneath it once it has a place in this namespace. Paths still lead to the old
        // root.
        root.place_over_root()?;
        let mut placed: Vec<&Place> = Vec::from_iter(whole);
        for place in self.places.iter().skip(placed.len()) {
            let copy = place.copy()?;
            let relative = place.relative()?;
            // Within a folder that is granted, it is there.
            if !placed
                .iter()
                .any(|above| place.path().starts_with(above.path()))
            {
                make_room(root.as_fd(), place)?;
            }
            copy.place(root.as_fd(), &relative)?;
            placed.push(place);
        }
        if whole.is_none() {
            let none = Restrictions::NO_SETUID.with(Restrictions::NO_DEVICES);
            root.restrict(
                none.with(Restrictions::READ_ONLY)
                    .with(Restrictions::NO_EXECUTION),
            )?;
        }
        Ok(root)
    }
}

impl Place {
    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.to_bytes()))
    }

    /// The path, beneath the root directory.
    fn relative(&self) -> io::Result<CString> {
        let path = self.path.to_bytes();
        Ok(CString::new(path.strip_prefix(b"/").unwrap_or(path))?)
    }

    /// Copies what is mounted there, if it is still what was granted.
    fn copy(&self) -> io::Result<Tree> {
        let copy = Tree::copy(&self.path)?;
        let found = fstat(copy.as_fd())?;
        if (found.st_dev, found.st_ino) != (self.device, self.inode) {
            return Err(io::Error::from_raw_os_error(libc::ESTALE));
        }
        let mut restrictions = Restrictions::NO_SETUID;
        if !self.has_devices {
            restrictions = restrictions.with(Restrictions::NO_DEVICES);
        }
        if !self.writes {
            restrictions = restrictions.with(Restrictions::READ_ONLY);
        }
        copy.restrict_all(restrictions)?;
        Ok(copy)
    }
}

/// Makes what a place is put over: a folder or a file, and the folders above it.
fn make_room(root: BorrowedFd<'_>, place: &Place) -> io::Result<()> {
    let readable = Mode::from_bits_truncate(0o755);
    // Independent of the umask.
    let open_up = |path: &Path| fchmodat(root, path, readable, FchmodatFlags::FollowSymlink);
    open_up(Path::new("."))?;
    let path = place.path().strip_prefix("/").unwrap_or(place.path());
    let above: Vec<_> = path
        .ancestors()
        .filter(|path| *path != Path::new(""))
        .collect();
    for path in above.into_iter().rev() {
        if path == place.path().strip_prefix("/").unwrap_or(path) && !place.is_folder {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            openat(root, path, flags, readable)?;
            continue;
        }
        match mkdirat(root, path, readable) {
            Ok(()) => open_up(path)?,
            Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_if_something_above_it_is() {
        let mut root = Root::default();
        let file = File::open("/").unwrap();
        for (path, writes) in [
            ("/a/b", false),
            ("/ab", false),
            ("/a", true),
            ("/c/d", true),
            ("/c", false),
            ("/e", false),
            ("/e", true),
        ] {
            root.add(&file, Path::new(path), writes).unwrap();
        }
        root.complete();
        let found = root.places.iter();
        let found: Vec<_> = found
            .map(|place| (place.path().to_str().unwrap(), place.writes))
            .collect();
        let expected = [
            ("/a", true),
            ("/a/b", true),
            ("/ab", false),
            ("/c", false),
            ("/c/d", true),
            ("/e", true),
        ];
        assert_eq!(found, expected);
    }
}
