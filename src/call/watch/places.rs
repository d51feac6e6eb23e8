//! The place in the program from which a waiting child makes a call.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::error;
use crate::sys::image;

/// How much of a stack is searched for return addresses.
const STACK_BYTES: usize = 128 << 10;

/// How many return addresses are looked up. The program's own line may lie behind many of a crate's.
const MOST_CALLERS: usize = 256;

/// How much of a list of mappings is read. The process decides how long it is.
const MAPS_BYTES: u64 = 1 << 20;

/// How many addresses in code are looked at for a library's.
const MOST_READS: usize = 1024;

/// Returns the innermost line of the program on a thread's stack. If a shared library has made the call for it, its
/// function and name follow.
///
/// It is found by searching the stack for return addresses, so it may be a line that has been left already.
pub(super) fn line_of(memory: &File, thread: u32) -> Option<String> {
    let read = |name: &str| text_of(&format!("/proc/{thread}/{name}"));
    // "number arguments… stack-pointer program-counter", of a thread that waits in a call (proc(5)).
    let state = read("syscall")?;
    let mut words = state.split_whitespace().rev();
    let mut word = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (counter, stack) = (word()?, word()?);
    let mut bytes = vec![0; STACK_BYTES];
    let length = memory.read_at(&mut bytes, stack).ok()?;
    bytes.truncate(length);
    let image = image::image()?;
    let (own, theirs) = (text_of("/proc/self/maps")?, read("maps")?);
    let bias = lowest(&theirs)?.checked_sub(lowest(&own)?.checked_sub(image.base() as u64)?)?;
    let words = bytes.as_chunks::<8>().0.iter();
    let words = words.map(|word| u64::from_ne_bytes(*word));
    let addresses: Vec<u64> = [counter].into_iter().chain(words).collect();
    let offset = |(index, address): (usize, &u64)| {
        let offset = address.checked_sub(bias)?;
        let is_place = match index {
            // Where the call itself was made.
            0 => image.return_at(offset).is_some(),
            _ => image.is_after_call(offset),
        };
        is_place.then_some((index, offset))
    };
    let offsets = addresses.iter().enumerate().filter_map(offset);
    let (indices, offsets): (Vec<_>, Vec<_>) = offsets.take(MOST_CALLERS).unzip();
    let (at, line) = error::line_of(&offsets).unzip();
    // What lies between the call and that line on the stack was called by it.
    let end = at.and_then(|at| indices.get(at).copied());
    let within = addresses.get(..end.unwrap_or(addresses.len()))?;
    let theirs: Vec<_> = mappings(&theirs).collect();
    let own: Vec<_> = mappings(&own).collect();
    let in_code = within.iter().enumerate();
    let in_code = in_code.filter(|(_, address)| mapping_at(&theirs, **address).is_some());
    let library = in_code.take(MOST_READS).find_map(|(index, address)| {
        // The first is that of the call itself.
        let is_return = index == 0 || is_after_call(memory, *address);
        is_return.then(|| function_of_library(*address, &theirs, &own))?
    });
    match (line, library) {
        (Some(line), Some(library)) => Some(format!("{line}, by {library}")),
        (None, Some(library)) => Some(format!("by {library}")),
        (line, None) => line,
    }
}

/// Returns the beginning of a file of the kernel's.
fn text_of(path: &str) -> Option<String> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAPS_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Returns the code that an address lies in. The mappings are in the order of their addresses.
fn mapping_at<'a, 'm>(mappings: &'a [Mapping<'m>], address: u64) -> Option<&'a Mapping<'m>> {
    let at = mappings.partition_point(|mapping| mapping.range.end <= address);
    let mapping = mappings.get(at)?;
    mapping.range.contains(&address).then_some(mapping)
}

/// Whether the instruction before an address of the thread's process is a call.
fn is_after_call(memory: &File, address: u64) -> bool {
    let mut code = [0; image::CALL_BYTES];
    let start = address.checked_sub(image::CALL_BYTES as u64);
    start.is_some_and(|start| memory.read_exact_at(&mut code, start).is_ok())
        && image::ends_with_call(code)
}

/// Returns the function and the library that an address in another process's code belongs to. Returns `None` for the
/// C library and what compilers add, which everything goes through. `theirs` and `own` are the code of that process
/// and of this one.
fn function_of_library(
    address: u64,
    theirs: &[Mapping<'_>],
    own: &[Mapping<'_>],
) -> Option<String> {
    const COMMON: &[&str] = &[
        "libc",
        "ld-linux",
        "ld-musl",
        "libpthread",
        "libm",
        "libgcc_s",
        "libdl",
        "librt",
    ];
    let mapping = mapping_at(theirs, address)?;
    let file = mapping.path.rsplit('/').next()?;
    let stem = file.split(".so").next().filter(|stem| *stem != file)?;
    // The loader's name goes on with the architecture.
    let parts = stem
        .split_once("-x86")
        .or_else(|| stem.split_once("-aarch"));
    if COMMON.contains(&parts.map_or(stem, |(stem, _)| stem)) {
        return None;
    }
    // Where this process has loaded it.
    let same = |other: &&Mapping<'_>| (other.path, other.offset) == (mapping.path, mapping.offset);
    let function = own.iter().find(same).and_then(|other| {
        let address = (address - mapping.range.start).checked_add(other.range.start)?;
        let is_there = other.range.contains(&address);
        error::function_at(usize::try_from(address).ok().filter(|_| is_there)?)
    });
    Some(match function {
        Some(function) => format!("{function} of {file}"),
        None => file.to_owned(),
    })
}

/// Code that is mapped from a file (proc_pid_maps(5)).
struct Mapping<'m> {
    range: Range<u64>,
    offset: &'m str,
    path: &'m str,
}

fn mappings(maps: &str) -> impl Iterator<Item = Mapping<'_>> {
    maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        words.next().filter(|rights| rights.contains('x'))?;
        let offset = words.next()?;
        let path = words.nth(2)?;
        let range = number(start)?..number(end)?;
        Some(Mapping {
            range,
            offset,
            path,
        })
    })
}

/// Returns where the executable begins, from a list of mappings: it is the first of them.
fn lowest(maps: &str) -> Option<u64> {
    let first = maps.lines().find(|line| line.contains('/'))?;
    u64::from_str_radix(first.split('-').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_named_unless_everything_goes_through_it() {
        let maps = "55e0-55f0 r-xp 00001000 fe:00 7 /usr/bin/program\n\
                    7000-7800 r--p 00000000 fe:00 8 /usr/lib/libz.so.1.3\n\
                    7800-7900 r-xp 00000800 fe:00 8 /usr/lib/libz.so.1.3\n\
                    8000-8100 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6\n\
                    8100-8200 r-xp 00000000 fe:00 9 /usr/lib/ld-linux-x86-64.so.2\n\
                    9000-9100 r-xp 00000000 00:00 0\n";
        assert_eq!(lowest(maps), Some(0x55e0));
        let theirs: Vec<_> = mappings(maps).collect();
        let library = |address| function_of_library(address, &theirs, &[]);
        assert_eq!(library(0x7880).as_deref(), Some("libz.so.1.3"));
        for address in [0x55e8, 0x7080, 0x7900, 0x8080, 0x8180, 0x9080, u64::MAX] {
            assert_eq!(library(address), None, "{address:x}");
        }
        // This process has loaded it as well, and its function has no name that can be found.
        let library = function_of_library(0x7880, &theirs, &theirs);
        assert_eq!(library.as_deref(), Some("libz.so.1.3"));
    }
}
