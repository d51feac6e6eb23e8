//! The place in the program from which a waiting child makes a call.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error;
use crate::sys::image;

/// How much of a stack is searched for a line of the program.
const STACK_BYTES: usize = 16 << 10;

/// Returns the innermost line of the program on a thread's stack: one that something that looks
/// like a return address belongs to. A guess, for people.
pub(super) fn line_of(memory: &File, thread: u32) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{thread}/{name}")).ok();
    // "number arguments… stack-pointer program-counter", of a thread that waits in a call (proc(5)).
    let state = read("syscall")?;
    let mut words = state.split_whitespace().rev();
    let (_, stack) = (words.next()?, words.next()?);
    let stack = u64::from_str_radix(stack.strip_prefix("0x")?, 16).ok()?;
    let mut bytes = vec![0; STACK_BYTES];
    let length = memory.read_at(&mut bytes, stack).ok()?;
    bytes.truncate(length);
    let image = image::image()?;
    let own = lowest(&std::fs::read_to_string("/proc/self/maps").ok()?)?;
    let theirs = lowest(&read("maps")?)?;
    let bias = theirs.checked_sub(own.checked_sub(image.base() as u64)?)?;
    let words = bytes.as_chunks::<8>().0.iter();
    let words = words.map(|word| u64::from_ne_bytes(*word));
    let offsets = words.filter_map(|word| word.checked_sub(bias));
    let mut lines = offsets.filter_map(|offset| {
        let address = usize::try_from(offset).ok()?.checked_add(image.base())?;
        image.offset_of_return(address)?;
        error::line_of(offset)
    });
    // A line of the program itself says more than one of its dependencies.
    let is_own =
        |line: &String| !line.contains("/registry/src/") && !line.contains("/git/checkouts/");
    let first = lines.next()?;
    match is_own(&first) {
        true => Some(first),
        false => lines.find(is_own).or(Some(first)),
    }
}

/// Returns where the executable begins, from a list of mappings: it is the first of them.
fn lowest(maps: &str) -> Option<u64> {
    let first = maps.lines().find(|line| line.contains('/'))?;
    u64::from_str_radix(first.split('-').next()?, 16).ok()
}
