//! Finds file systems whose files are the kernel itself. Nobody is granted writing there.
//!
//! Landlock follows a path up through mount points, so a grant for a folder includes everything
//! that is mounted beneath it.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::fstatfs;

use crate::sys::system_files;

/// Types of file systems: the name in a list of mounts, and the number in `statfs(2)`. devtmpfs has
/// the number of tmpfs.
const KERNELS: [(&str, Option<u32>); 20] = [
    ("binfmt_misc", Some(0x4249_4e4d)),
    ("bpf", Some(0xcafe_4a11)),
    ("cgroup", Some(0x0027_e0eb)),
    ("cgroup2", Some(0x6367_7270)),
    ("configfs", Some(0x6265_6570)),
    ("debugfs", Some(0x6462_6720)),
    ("devpts", Some(0x1cd1)),
    ("devtmpfs", None),
    ("efivarfs", Some(0xde5e_81e4)),
    ("fusectl", Some(0x6573_5543)),
    ("mqueue", Some(0x1980_0202)),
    ("nfsd", Some(0x6e66_7364)),
    ("proc", Some(0x9fa0)),
    ("pstore", Some(0x6165_676c)),
    ("resctrl", Some(0x0765_5821)),
    ("securityfs", Some(0x7363_6673)),
    ("selinuxfs", Some(0xf97c_ff8c)),
    ("smackfs", Some(0x4341_5d53)),
    ("sysfs", Some(0x6265_6572)),
    ("tracefs", Some(0x7472_6163)),
];

/// Returns whether an open file is on such a file system.
pub(super) fn is_kernels(file: &File) -> io::Result<bool> {
    let kind = fstatfs(file)?.filesystem_type().0;
    // The number has 32 bits, whatever the type that holds it.
    let number = kind as u32;
    let mut numbers = KERNELS.iter().filter_map(|(_, number)| *number);
    Ok(numbers.any(|known| known == number))
}

/// A mount of such a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    point: PathBuf,
    kind: &'static str,
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on `{}`", self.kind, self.point.display())
    }
}

/// The mounts that the calling thread sees. They are read on first use.
#[derive(Debug, Default)]
pub(super) struct Mounts(Option<Vec<Mount>>);

impl Mounts {
    /// Finds a mount beneath a folder, which is given by its path without links.
    pub(super) fn beneath(&mut self, folder: &Path) -> io::Result<Option<&Mount>> {
        let mounts = match self.0.take() {
            Some(mounts) => mounts,
            None => listed(&system_files::read_bytes("thread-self/mountinfo")?),
        };
        let mut mounts = self.0.insert(mounts).iter();
        Ok(mounts.find(|mount| mount.point.starts_with(folder)))
    }
}

/// Returns the mounts of control groups of version 2: the group that each begins with, and its place.
pub(super) fn control_groups() -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let list = system_files::read_bytes("thread-self/mountinfo")?;
    let lines = list.split(|byte| *byte == b'\n');
    let found = lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let path = |field| PathBuf::from(OsString::from_vec(unescaped(field)));
        (kind == b"cgroup2").then(|| (path(root), path(point)))
    });
    Ok(found.collect())
}

/// Returns the kernel's file systems in a list of mounts (proc_pid_mountinfo(5)).
fn listed(list: &[u8]) -> Vec<Mount> {
    list.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let point = fields.nth(4)?;
            // Optional fields are in between.
            let kind = fields.skip_while(|field| field != b"-").nth(1)?;
            let mut kinds = KERNELS.iter().map(|(name, _)| *name);
            let kind = kinds.find(|name| name.as_bytes() == kind)?;
            let point = PathBuf::from(OsString::from_vec(unescaped(point)));
            Some(Mount { point, kind })
        })
        .collect()
}

/// Decodes a path in which some bytes are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_are_found_under_any_name() {
        let list = b"22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            23 22 0:21 / /a/\\134odd\\040na\xffme rw master:2 propagate_from:1 - proc proc rw\n\
            24 22 0:22 /x /a/link rw - tmpfs proc rw\n\
            25 22 0:23 / /b rw - sysfs sysfs rw\n\
            nonsense\n26 22 0:24 / /c rw - \n";
        let mut mounts = Mounts(Some(listed(list)));
        let found = |mounts: &mut Mounts, folder: &str| {
            let found = mounts.beneath(Path::new(folder)).unwrap();
            found.map(|mount| mount.point.clone().into_os_string().into_vec())
        };
        let proc = Some(b"/a/\\odd na\xffme".to_vec());
        assert_eq!(found(&mut mounts, "/a"), proc);
        assert_eq!(found(&mut mounts, "/"), proc);
        assert_eq!(found(&mut mounts, "/b"), Some(b"/b".to_vec()));
        assert_eq!(found(&mut mounts, "/a/link"), None);
        assert_eq!(found(&mut mounts, "/bb"), None);
        assert_eq!(mounts.0.as_ref().map(Vec::len), Some(2));
    }

    #[test]
    fn this_machines_own_are_among_them() {
        let proc = File::open("/proc").unwrap();
        assert!(is_kernels(&proc).unwrap());
        assert!(!is_kernels(&File::open("/").unwrap()).unwrap());
        let mut mounts = Mounts::default();
        let found = mounts.beneath(Path::new("/")).unwrap();
        assert!(found.is_some());
        assert_eq!(mounts.beneath(Path::new("/no/such/folder")).unwrap(), None);
    }
}
