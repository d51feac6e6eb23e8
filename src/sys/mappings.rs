//! The mappings of a process, as the kernel lists them, and which mappings copies of this process share with it.

use std::io;
use std::ops::Range;
#[cfg(any(feature = "backtrace", crossmist_learn))]
use std::{fs::File, num::NonZero};

use super::system_files;

/// A line of `/proc/PID/maps` (proc_pid_maps(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping<'m> {
    pub(crate) range: Range<u64>,
    rights: [u8; 4],
    /// The offset in its file at which it begins.
    pub(crate) offset: u64,
    /// The file, or zeros if it is memory.
    pub(crate) file: FileId,
    /// Its path, a name in brackets, or nothing.
    pub(crate) path: &'m [u8],
}

/// A file as lists of mappings show it. On some file systems, `stat(2)` says something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    device: (u32, u32),
    inode: u64,
}

impl<'m> Mapping<'m> {
    /// Returns `None` for anything that is no such line.
    pub(crate) fn parse(line: &'m [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let mut field = || fields.next();
        let (start, end) = pair(field()?, b'-')?;
        let rights = *field()?.as_array()?;
        let offset = number(field()?)?;
        let (major, minor) = pair(field()?, b':')?;
        let device = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
        let inode = str::from_utf8(field()?).ok()?.parse().ok()?;
        Some(Self {
            range: start..end,
            rights,
            offset,
            file: FileId { device, inode },
            path: field().unwrap_or_default().trim_ascii(),
        })
    }

    /// Returns the mappings of a list, in the order of their addresses.
    pub(crate) fn all(maps: &'m [u8]) -> impl Iterator<Item = Self> {
        lines(maps).filter_map(Self::parse)
    }

    /// Returns one of code from the beginning of a file.
    #[cfg(test)]
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    pub(crate) fn of_code(file: FileId, path: &'m [u8]) -> Self {
        Self {
            range: 0x7f00_0000..0x7f01_0000,
            rights: *b"r-xp",
            offset: 0,
            file,
            path,
        }
    }

    fn is_shared(&self) -> bool {
        self.rights[3] == b's'
    }

    /// Returns whether it is code from a file.
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    pub(crate) fn is_code_of_file(&self) -> bool {
        self.rights[2] == b'x' && self.path.first() == Some(&b'/')
    }
}

#[cfg(any(feature = "backtrace", crossmist_learn))]
impl FileId {
    /// Returns what lists of mappings show for a file. It is mapped for that.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
        const LENGTH: NonZero<usize> = NonZero::new(4096).unwrap();
        let (rights, flags) = (ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE);
        // SAFETY: a new mapping, at an address that the kernel chooses, of which nothing is read or written.
        let start = unsafe { mmap(None, LENGTH, rights, flags, file, 0) }?;
        let maps = system_files::read_bytes("self/maps");
        // SAFETY: what was mapped above, to which there is no reference.
        unsafe { munmap(start, LENGTH.get()) }?;
        let (maps, start) = (maps?, start.addr().get() as u64);
        // It is joined with the next mapping if that is of the same file.
        let own = Mapping::all(&maps).find(|mapping| mapping.range.contains(&start));
        own.map(|mapping| mapping.file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Reads a hexadecimal number.
fn number(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    // A sign would be accepted as well.
    let is_number = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_number)
}

fn pair(text: &[u8], between: u8) -> Option<(u64, u64)> {
    let mut parts = text.splitn(2, |byte| *byte == between);
    Some((number(parts.next()?)?, number(parts.next()?)?))
}

fn lines(maps: &[u8]) -> impl Iterator<Item = &[u8]> {
    maps.split(|byte| *byte == b'\n')
}

impl std::fmt::Display for Mapping<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Range { start, end } = self.range;
        match self.path {
            [] => write!(f, "memory at {start:x}-{end:x}"),
            path => {
                let path = String::from_utf8_lossy(path);
                write!(f, "`{}` at {start:x}-{end:x}", path.escape_debug())
            }
        }
    }
}

/// Lists the code that is mapped from files into this process, in as many whole lines as there is room for, and not
/// in the order of addresses: the program's own comes first.
#[cfg(any(feature = "backtrace", crossmist_learn))]
pub(crate) fn code_of_files(most_bytes: usize) -> Vec<u8> {
    let maps = system_files::read_bytes("self/maps").unwrap_or_default();
    let image = super::image::image();
    let is_own = |code: &Mapping<'_>| image.is_some_and(|image| image.has_code_in(&code.range));
    shortened(&maps, most_bytes, is_own)
}

/// Shortens a list to the code from files. The loader and the C library are at the highest addresses, since they
/// are mapped first, and every call goes through them. So they are the last ones to be left out.
#[cfg(any(feature = "backtrace", crossmist_learn))]
fn shortened(maps: &[u8], most_bytes: usize, is_own: impl Fn(&Mapping<'_>) -> bool) -> Vec<u8> {
    let code = lines(maps).filter_map(|line| Some((Mapping::parse(line)?, line)));
    let mut code: Vec<_> = code.filter(|(code, _)| code.is_code_of_file()).collect();
    code.sort_by_key(|(code, _)| (!is_own(code), std::cmp::Reverse(code.range.start)));
    let mut list = Vec::new();
    for (code, line) in code {
        // Without the spaces before the path.
        let fields: Vec<&[u8]> = line.splitn(6, |byte| *byte == b' ').take(5).collect();
        let line = [&fields.join(&b' '), code.path].join(&b' ');
        if list.len() + line.len() < most_bytes {
            list.extend(line);
            list.push(b'\n');
        }
    }
    list
}

/// Nobody looks up places in it.
#[cfg(not(any(feature = "backtrace", crossmist_learn)))]
pub(crate) fn code_of_files(_: usize) -> Vec<u8> {
    Vec::new()
}

/// Describes a mapping by which a copy of this process could write to memory, or to a file, that others have as
/// well. `None` if there is no such mapping.
///
/// What is mapped for reading is one if its file is open for writing: then `mprotect(2)` makes it writable.
pub(crate) fn shared_and_writable() -> io::Result<Option<String>> {
    // The other file is long, and the kernel looks at every page for it.
    let maps = system_files::read_bytes("self/maps")?;
    if !Mapping::all(&maps).any(|mapping| mapping.is_shared()) {
        return Ok(None);
    }
    let maps = system_files::read_bytes("self/smaps")?;
    let found = find(&maps).map_err(|()| {
        let text = "/proc/self/smaps doesn't tell what can be done with a shared mapping (VmFlags)";
        io::Error::other(text)
    })?;
    Ok(found.map(|mapping| mapping.to_string()))
}

/// The first shared mapping that is or can become writable, and that a copy of the process has. An error if there is
/// a shared one of which that is not told.
fn find(maps: &[u8]) -> Result<Option<Mapping<'_>>, ()> {
    let mut untold = None;
    for line in lines(maps) {
        if let Some(mapping) = Mapping::parse(line) {
            if untold.is_some() {
                return Err(());
            }
            untold = mapping.is_shared().then_some(mapping);
        } else if let Some(flags) = line.strip_prefix(b"VmFlags:") {
            let has = |flag: &[u8]| flags.split(|byte| *byte == b' ').any(|one| one == flag);
            let told = untold.take();
            if has(b"sh") && has(b"mw") && !has(b"dc") {
                return Ok(told);
            }
        }
    }
    match untold {
        None => Ok(None),
        Some(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAPS: &str = "\
55d0c9a00000-55d0c9a02000 r--p 00000000 fe:00 123                        /usr/bin/x
Size:                  8 kB
VmFlags: rd mr mw me
7f0000000000-7f0000001000 r--s 00000000 fe:00 124                        /read only
Size:                  4 kB
VmFlags: rd sh mr me ms
7f0000002000-7f0000003000 rw-s 00000000 00:01 125                        /dev/zero (deleted)
Size:                  4 kB
VmFlags: rd wr sh mr mw me ms dc
7f0000004000-7f0000005000 r--s 00000000 fe:00 126                        /a\\012b
Size:                  4 kB
VmFlags: rd sh mr mw me ms
";

    #[test]
    fn only_what_copies_can_write_to_is_found() {
        let found = find(MAPS.as_bytes()).unwrap().unwrap();
        let text = r"`/a\\012b` at 7f0000004000-7f0000005000";
        assert_eq!(found.to_string(), text);
        let others = &MAPS[..MAPS.find("7f0000004000").unwrap()];
        assert!(find(others.as_bytes()).unwrap().is_none());
        // A kernel that does not say what can be done with a shared mapping.
        for (from, to) in [("VmFlags: rd sh mr mw me ms\n", ""), ("VmFlags", "Flags")] {
            assert!(find(MAPS.replace(from, to).as_bytes()).is_err(), "{from}");
        }
        assert!(find(b"").unwrap().is_none());
        let unnamed = MAPS.replace("/a\\012b", "");
        let found = find(unnamed.as_bytes()).unwrap().unwrap();
        assert_eq!(found.to_string(), "memory at 7f0000004000-7f0000005000");
    }

    #[test]
    fn a_line_is_read_as_the_kernel_writes_it() {
        let line =
            b"7f0000004000-7f0000005000 r-xs 0001f000 fe:1a 124                        /a b\\012";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.range, 0x7f00_0000_4000..0x7f00_0000_5000);
        assert_eq!((mapping.offset, mapping.is_shared()), (0x1f000, true));
        let file = FileId {
            device: (0xfe, 0x1a),
            inode: 124,
        };
        assert_eq!((mapping.file, mapping.path), (file, &b"/a b\\012"[..]));
        let anonymous = Mapping::parse(b"7f00-7f01 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!(anonymous.file, FileId::default());
        assert_eq!(anonymous.path, b"");
        for wrong in [
            &b""[..],
            b"Size:                  4 kB",
            b"VmFlags: rd sh mr me ms",
            b"7f00 rw-p 00000000 00:00 0",
            b"+7f00-7f01 rw-p 00000000 00:00 0",
            b"7f00-7f01 rwp 00000000 00:00 0",
            b"7f00-7f01 rw-p 00000000 0000 0",
            b"7f00-7f01 rw-p 00000000 00:00",
            b"7f00-7f01 rw-p 00000000 00:00 x",
        ] {
            assert_eq!(Mapping::parse(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    fn a_file_is_known_by_what_lists_of_mappings_show() {
        let own = File::open("/proc/self/exe").unwrap();
        let id = FileId::of(&own).unwrap();
        let maps = system_files::read_bytes("self/maps").unwrap();
        let here = a_file_is_known_by_what_lists_of_mappings_show as fn() as usize as u64;
        let code = Mapping::all(&maps).find(|mapping| mapping.range.contains(&here));
        let code = code.unwrap();
        assert_eq!(code.file, id);
        assert!(code.is_code_of_file());
        let other = File::open("/etc/passwd").unwrap();
        assert_ne!(FileId::of(&other).unwrap(), id);
        assert!(FileId::of(&File::open("/proc").unwrap()).is_err());
    }

    #[test]
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    fn a_list_that_is_too_long_loses_what_is_in_the_middle() {
        let maps = b"55e0-55f0 r--p 00000000 fe:00 7      /usr/bin/x\n\
                     55f0-5600 r-xp 00001000 fe:00 7      /usr/bin/x\n\
                     7000-7800 r-xp 00000000 fe:00 8      /usr/lib/libz.so.1.3\n\
                     8000-8100 r-xp 00000000 fe:00 9      /usr/lib/a b.so\n\
                     8100-8200 rw-p 00000000 00:00 0\n\
                     8200-8300 r-xp 00000000 fe:00 10     /usr/lib/ld-linux.so.2\n";
        let is_own = |code: &Mapping<'_>| code.range.start == 0x55f0;
        let lines = [
            "55f0-5600 r-xp 00001000 fe:00 7 /usr/bin/x\n",
            "8200-8300 r-xp 00000000 fe:00 10 /usr/lib/ld-linux.so.2\n",
            "8000-8100 r-xp 00000000 fe:00 9 /usr/lib/a b.so\n",
            "7000-7800 r-xp 00000000 fe:00 8 /usr/lib/libz.so.1.3\n",
        ];
        for count in 0..=lines.len() {
            let expected = lines[..count].concat();
            let shortened = shortened(maps, expected.len(), is_own);
            assert_eq!(
                shortened,
                expected.as_bytes(),
                "{}",
                shortened.escape_ascii()
            );
        }
        // Whoever reads it finds this program.
        let own = code_of_files(1 << 20);
        let here = code_of_files as fn(usize) -> Vec<u8> as usize as u64;
        let first = Mapping::all(&own).next().unwrap();
        assert!(first.range.contains(&here), "{first}");
    }

    proptest! {
        #[test]
        fn a_mapping_survives_the_round_trip(
            start: u64, end: u64, rights in "[r-][w-][x-][ps]", offset: u64, major: u32, minor: u32, inode: u64,
            path in "(/[ -~]{0,40}[!-~])?",
        ) {
            let line = format!(
                "{start:08x}-{end:08x} {rights} {offset:08x} {major:02x}:{minor:02x} {inode} {path}"
            );
            let expected = Mapping {
                range: start..end,
                rights: rights.as_bytes().try_into().unwrap(),
                offset,
                file: FileId { device: (major, minor), inode },
                path: path.as_bytes(),
            };
            prop_assert_eq!(Mapping::parse(line.as_bytes()), Some(expected));
        }

        #[test]
        fn any_bytes_are_mappings_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..80) {
            let _ = Mapping::all(&bytes).count();
            let line = b"7f0000004000-7f0000005000 r-xp 0001f000 fe:1a 124   /a b";
            let mut mixed = line.get(..cut).unwrap_or(line).to_vec();
            mixed.extend(&bytes);
            prop_assert!(Mapping::all(&mixed).count() <= mixed.len());
            let _ = find(&mixed);
        }
    }
}
