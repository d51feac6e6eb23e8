//! The mappings of this process that its copies share with it.

use std::io;

use super::system_files;

/// Describes a mapping by which a copy of this process could write to memory, or to a file, that others have as
/// well. `None` if there is no such mapping.
///
/// What is mapped for reading is one if its file is open for writing: then `mprotect(2)` makes it writable.
pub(crate) fn shared_and_writable() -> io::Result<Option<String>> {
    // The other file is long, and the kernel looks at every page for it.
    let maps = system_files::read_bytes("self/maps")?;
    if !lines(&maps).any(|line| mapping(line).is_some_and(|mapping| mapping.is_shared)) {
        return Ok(None);
    }
    let maps = system_files::read_bytes("self/smaps")?;
    let found = find(&maps).map_err(|()| {
        let text = "/proc/self/smaps doesn't tell what can be done with a shared mapping (VmFlags)";
        io::Error::other(text)
    })?;
    Ok(found.map(|mapping| mapping.to_string()))
}

/// The beginning of what is said about a mapping (proc_pid_maps(5)).
struct Mapping {
    range: String,
    is_shared: bool,
    path: String,
}

impl std::fmt::Display for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "memory at {}", self.range),
            path => write!(f, "`{}` at {}", path.escape_debug(), self.range),
        }
    }
}

fn lines(maps: &[u8]) -> impl Iterator<Item = &[u8]> {
    maps.split(|byte| *byte == b'\n')
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.splitn(6, ' ');
    let range = fields.next()?;
    let (start, end) = range.split_once('-')?;
    let is_number = |text| u64::from_str_radix(text, 16).is_ok();
    if !is_number(start) || !is_number(end) {
        return None;
    }
    let is_shared = fields.next()?.as_bytes().get(3) == Some(&b's');
    Some(Mapping {
        range: range.to_owned(),
        is_shared,
        path: fields.nth(3).unwrap_or_default().trim().to_owned(),
    })
}

/// The first shared mapping that is or can become writable, and that a copy of the process has. An error if there is
/// a shared one of which that is not told.
fn find(maps: &[u8]) -> Result<Option<Mapping>, ()> {
    let mut untold = None;
    for line in lines(maps) {
        if let Some(mapping) = mapping(line) {
            if untold.is_some() {
                return Err(());
            }
            untold = mapping.is_shared.then_some(mapping);
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
}
