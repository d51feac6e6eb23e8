//! The place in the program from which a waiting child makes a call.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::error::{self, NamedFrame};
use crate::places::{Layout, PROLOGUE_BYTES, Registers, Stack};

/// How much of a stack is read.
const STACK_BYTES: usize = 128 << 10;

/// How much of a list of mappings is read. The process decides how long it is.
const MAPS_BYTES: u64 = 1 << 20;

/// Returns the innermost line of the program on a thread's stack. If a shared library has made the call for it, its
/// function and name follow. A line that may have been left already is marked.
pub(super) fn line_of(memory: &File, thread: u32) -> Option<String> {
    let read = |name: &str| beginning_of(&format!("/proc/{thread}/{name}"));
    let (counter, pointer) = where_it_waits(&String::from_utf8_lossy(&read("syscall")?))?;
    let mut bytes = vec![0; STACK_BYTES];
    let length = memory.read_at(&mut bytes, pointer & !7).ok()?;
    bytes.truncate(length);
    let words = bytes.as_chunks::<8>().0.iter();
    let words: Vec<u64> = words.map(|word| u64::from_ne_bytes(*word)).collect();
    let maps = read("maps")?;
    let layout = Layout::of_process(&maps);
    let registers = Registers::of_waiting(counter, pointer);
    let code = |address| {
        let mut code = [0; PROLOGUE_BYTES];
        memory.read_exact_at(&mut code, address).ok()?;
        Some(code)
    };
    let stack = Stack::new(pointer, &words).with_code(&code);
    line(error::look_up(&layout, registers, &stack, &[]))
}

/// Returns the program counter and the stack pointer of a thread that waits in a call.
fn where_it_waits(state: &str) -> Option<(u64, u64)> {
    // "number arguments… stack-pointer program-counter" (proc_pid_syscall(5)).
    let mut words = state.split_whitespace().rev();
    let mut word = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    Some((word()?, word()?))
}

fn line(found: NamedFrame) -> Option<String> {
    let frame = found
        .frame
        .filter(|frame| frame.is_of_program_or_its_crates());
    let line = frame.and_then(|frame| {
        let perhaps = if frame.is_guess { "perhaps " } else { "" };
        Some(format!("{perhaps}{}:{}", frame.file?, frame.line?))
    });
    match (line, found.library) {
        (Some(line), Some(library)) => Some(format!("{line}, by {library}")),
        (None, Some(library)) => Some(format!("by {library}")),
        (line, None) => line,
    }
}

/// Returns the beginning of a file of the kernel's.
fn beginning_of(path: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAPS_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BacktraceFrame;

    #[test]
    fn a_line_says_who_made_the_call_and_what_is_a_guess() {
        let frame = |file: &str, is_guess| BacktraceFrame {
            file: Some(file.to_owned()),
            line: Some(7),
            is_guess,
            ..BacktraceFrame::default()
        };
        let said = |frame, library: Option<&str>| {
            line(NamedFrame {
                frame,
                library: library.map(str::to_owned),
            })
        };
        let of = "deflate of libz.so.1";
        let certain = Some(frame("src/main.rs", false));
        assert_eq!(said(certain.clone(), None).unwrap(), "src/main.rs:7");
        assert_eq!(
            said(certain, Some(of)).unwrap(),
            "src/main.rs:7, by deflate of libz.so.1"
        );
        let guess = Some(frame("src/main.rs", true));
        assert_eq!(said(guess, None).unwrap(), "perhaps src/main.rs:7");
        // No one looks for their mistake in the standard library.
        let std = Some(frame("/rustc/abc/library/std/src/fs.rs", false));
        assert_eq!(said(std.clone(), None), None);
        assert_eq!(said(std, Some(of)).unwrap(), "by deflate of libz.so.1");
        assert_eq!(said(None, None), None);
    }

    #[test]
    fn where_a_thread_waits_is_what_the_kernel_says() {
        let state = "257 0xffffff9c 0x7f00 0x80000 0x0 0x0 0x0 0x7ffc00 0x7f11\n";
        assert_eq!(where_it_waits(state), Some((0x7f11, 0x7f_fc00)));
        for none in ["running\n", "", "-1 0x7ffc00"] {
            assert_eq!(where_it_waits(none), None, "{none}");
        }
    }
}
