//! The walk from a call outwards, from function to caller.

use std::sync::Arc;

use gimli::UnwindContext;

use super::files::CodeFile;
use super::layout::Layout;
use super::registers::{Registers, Stack};
use super::symbols::shown;
use super::tables::Caller;

/// How many functions are visited. The program's own may lie behind many of a crate's.
pub(crate) const MOST_STEPS: usize = 256;

/// The functions on a stack, as far as they are known.
#[derive(Debug)]
pub(crate) struct Walk<'s> {
    /// The innermost first.
    pub(crate) frames: Vec<Frame<'s>>,
    /// How many of them are no guesses.
    pub(crate) certain: usize,
    /// Whether the last of them is the thread's outermost.
    pub(crate) is_complete: bool,
    /// The words of the stack that the walk has not come to.
    pub(crate) rest: &'s [u64],
}

/// A function on a stack.
#[derive(Debug)]
pub(crate) enum Frame<'s> {
    /// One of this program: the address after its call, as an offset in the image.
    Own(u64),
    Library(LibraryFrame<'s>),
}

/// A function of a shared library.
#[derive(Debug)]
pub(crate) struct LibraryFrame<'s> {
    path: &'s [u8],
    file: Option<Arc<CodeFile>>,
    address: u64,
}

/// Walks a stack outwards.
pub(crate) fn walk<'s>(
    layout: &Layout<'s>,
    mut registers: Registers,
    stack: &Stack<'s>,
) -> Walk<'s> {
    let mut walk = Walk {
        frames: Vec::new(),
        certain: 0,
        is_complete: false,
        rest: stack.after(0),
    };
    let mut context = UnwindContext::new();
    // A function without a frame of its own may be the first one only.
    let mut least = registers.stack_pointer();
    for _ in 0..MOST_STEPS {
        // The call is the instruction before.
        let located = registers.address.checked_sub(1);
        let Some(located) = located.and_then(|call| layout.locate(call)) else {
            break;
        };
        let is_innermost = walk.frames.is_empty();
        let caller = located.file.as_ref().and_then(|file| {
            file.tables.caller(
                located.address,
                &registers,
                stack,
                &mut context,
                is_innermost,
            )
        });
        walk.frames.push(match located.library {
            None => Frame::Own(located.address.saturating_add(1)),
            Some(path) => Frame::Library(LibraryFrame {
                path,
                file: located.file,
                address: located.address,
            }),
        });
        if !registers.is_guess {
            walk.certain = walk.frames.len();
        }
        registers = match caller {
            Some(Caller(Some(caller))) => caller,
            Some(Caller(None)) => {
                walk.is_complete = true;
                break;
            }
            None => break,
        };
        let frame = registers.stack_pointer();
        if frame < least {
            break;
        }
        least = frame.and_then(|frame| frame.checked_add(1));
        walk.rest = stack.after(frame.unwrap_or(0));
    }
    walk
}

impl LibraryFrame<'_> {
    /// Returns a frame of a library whose file isn't there.
    #[cfg(test)]
    pub(crate) fn of_path(path: &[u8]) -> LibraryFrame<'_> {
        LibraryFrame {
            path,
            file: None,
            address: 0,
        }
    }

    /// Returns whether it belongs to the C library, or to what compilers add: everything goes through those.
    pub(crate) fn is_common(&self) -> bool {
        const COMMON: &[&[u8]] = &[
            b"libc",
            b"ld",
            b"ld-linux",
            b"ld-musl",
            b"libpthread",
            b"libm",
            b"libgcc_s",
            b"libdl",
            b"librt",
        ];
        let name = self.file_name();
        // The loader's name goes on with the architecture, and others with a version.
        let is_end = |rest: &[u8]| {
            [&b".so"[..], b"-x86", b"-aarch", b"-2."]
                .iter()
                .any(|end| rest.starts_with(end))
        };
        COMMON
            .iter()
            .any(|common| name.strip_prefix(*common).is_some_and(is_end))
    }

    fn file_name(&self) -> &[u8] {
        self.path
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// Returns the names of the function, if it has one, and of the library.
    pub(crate) fn describe(&self) -> String {
        let library = shown(&String::from_utf8_lossy(self.file_name()));
        let function = self.file.as_ref();
        match function.and_then(|file| file.name_of(self.path, self.address)) {
            Some(function) => format!("{function} of {library}"),
            None => library,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::hint::black_box;
    use std::io::{PipeReader, Read};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::JoinHandle;

    use proptest::prelude::*;

    use super::*;
    use crate::places::prologue::PROLOGUE_BYTES;
    use crate::sys::image;
    use crate::sys::sigsys::REGISTERS;
    use crate::sys::unwind;

    fn library(path: &str) -> LibraryFrame<'_> {
        LibraryFrame::of_path(path.as_bytes())
    }

    #[test]
    fn a_library_counts_unless_everything_goes_through_it() {
        for common in [
            "/usr/lib/libc.so.6",
            "/lib/libc-2.31.so",
            "/lib/ld-2.31.so",
            "/usr/lib/ld-linux-x86-64.so.2",
            "/lib/ld-linux-aarch64.so.1",
            "/lib/ld-musl-x86_64.so.1",
            "/usr/lib/libm.so.6",
            "/usr/lib/libgcc_s.so.1",
        ] {
            assert!(library(common).is_common(), "{common}");
        }
        for other in [
            "/usr/lib/libz.so.1.3",
            "/usr/lib/libcurl.so.4",
            "/opt/libmine.so",
            "/libc",
        ] {
            assert!(!library(other).is_common(), "{other}");
        }
        let shown = library("/opt/a\nb.so").describe();
        assert_eq!(shown, "ab.so");
    }

    /// The address of this program, and return addresses in it.
    fn own() -> (u64, Vec<u64>) {
        let base = image::image().expect("an image").base() as u64;
        let walk = unwind::Walk::from_here().expect("a walk");
        let offsets = walk.offsets().iter().filter(|offset| **offset != 0);
        (base, offsets.map(|offset| base + offset).collect())
    }

    /// What a thread says of itself before it waits: its id, and what the unwinder finds.
    type Said = (String, Vec<u64>);

    #[inline(never)]
    fn waits(tell: &Sender<Said>, mut input: PipeReader) -> usize {
        let id = std::fs::read_link("/proc/thread-self").expect("its name");
        let id = id.file_name().expect("its number").display().to_string();
        let walk = unwind::Walk::from_here().expect("a walk");
        tell.send((id, walk.offsets().to_vec())).unwrap();
        black_box(input.read(&mut [0]).unwrap())
    }

    #[inline(never)]
    fn is_about_to_wait(tell: &Sender<Said>, input: PipeReader) -> usize {
        black_box(waits(tell, input)) + 1
    }

    /// Returns what the kernel says of a thread, once it waits for input.
    fn state_of(thread: &JoinHandle<usize>, id: &str, input: i32) -> String {
        let reads = format!("{} {input:#x} ", libc::SYS_read);
        loop {
            assert!(!thread.is_finished(), "it doesn't wait");
            let state = std::fs::read_to_string(format!("/proc/self/task/{id}/syscall"));
            match state.expect("its state") {
                state if state.starts_with(&reads) => return state,
                _ => std::thread::yield_now(),
            }
        }
    }

    #[test]
    #[cfg_attr(
        any(not(target_env = "gnu"), target_arch = "aarch64"),
        ignore = "the C library has no tables, or frame pointers are not worked out"
    )]
    fn a_thread_that_waits_is_walked_as_the_unwinder_walks_it() {
        let (input, output) = std::io::pipe().unwrap();
        let number = input.as_raw_fd();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || is_about_to_wait(&tell, input));
        let (id, expected) = told.recv().unwrap();
        let state = state_of(&thread, &id, number);
        let mut words = state.split_whitespace().rev();
        let mut word = || u64::from_str_radix(&words.next().unwrap()[2..], 16).unwrap();
        let (counter, pointer) = (word(), word());

        let memory = File::open("/proc/self/mem").unwrap();
        let mut bytes = vec![0; 64 << 10];
        let length = memory.read_at(&mut bytes, pointer).unwrap();
        let words = bytes[..length].as_chunks::<8>().0.iter();
        let words: Vec<u64> = words.map(|word| u64::from_ne_bytes(*word)).collect();
        let maps = std::fs::read("/proc/self/maps").unwrap();
        let registers = Registers::of_waiting(counter, pointer);
        let layout = Layout::of_process(&maps);
        let code = move |address| {
            let mut code = [0; PROLOGUE_BYTES];
            memory.read_exact_at(&mut code, address).ok()?;
            Some(code)
        };
        let stack = Stack::new(pointer, &words).with_code(&code);
        let walk = walk(&layout, registers, &stack);
        drop(output);
        assert_eq!(thread.join().unwrap(), 1);

        let own = walk.frames.iter().filter_map(|frame| match frame {
            Frame::Own(offset) => Some(*offset),
            Frame::Library(_) => None,
        });
        let found: Vec<u64> = own.collect();
        let expected = expected.into_iter().filter(|offset| *offset != 0);
        let expected: Vec<u64> = expected.collect();
        assert!(walk.is_complete, "{found:x?} {expected:x?}");
        assert_eq!(walk.certain, walk.frames.len());
        // They differ in what the thread has called last.
        let same = found.iter().rev().zip(expected.iter().rev());
        let same = same
            .take_while(|(found, expected)| found == expected)
            .count();
        assert!(
            same > 3 && same + 3 >= expected.len(),
            "{found:x?} {expected:x?}"
        );
    }

    #[test]
    fn every_step_leads_outwards_and_there_are_only_so_many() {
        let (base, addresses) = own();
        let layout = Layout::with_base(base, &[]);
        let mut most = 0;
        for address in addresses {
            // Every word is a return address, and wherever the frame ends, another one begins.
            let words = vec![address; 100_000];
            let mut registers = Registers::of_report(&[0x7000_0000; REGISTERS]);
            registers.address = address;
            let walk = walk(&layout, registers, &Stack::new(0x7000_0000, &words));
            most = most.max(walk.frames.len());
            assert!(walk.frames.len() <= MOST_STEPS && !walk.is_complete);
        }
        assert_eq!(most, MOST_STEPS, "no function is unwound");
    }

    #[test]
    fn code_that_is_not_known_ends_a_walk() {
        let (base, addresses) = own();
        let layout = Layout::with_base(base, &[]);
        let stack = [7, 8, 9];
        for (address, frames) in [(0, 0), (1, 0), (u64::MAX, 0), (base, 0), (addresses[0], 1)] {
            let registers = Registers::of_waiting(address, 1 << 40);
            let walk = walk(&layout, registers, &Stack::new(1 << 40, &stack));
            assert_eq!((walk.frames.len(), walk.is_complete), (frames, false));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn any_registers_and_any_stack_are_walked_without_harm(
            mut registers: [u64; REGISTERS], mut words in prop::collection::vec(any::<u64>(), 0..64),
            near in any::<u16>(), returns in prop::collection::vec((any::<u8>(), any::<u8>()), 0..16),
            own_code in any::<Option<u32>>(),
        ) {
            let (base, addresses) = own();
            let layout = Layout::with_base(base, &[]);
            let pointer = Registers::of_report(&registers).stack_pointer().unwrap_or(0);
            // Saved registers that lead near the stack, and addresses that are in the program.
            for register in registers.iter_mut().filter(|register| **register % 2 == 0) {
                *register = pointer.wrapping_add(near.into());
            }
            for (at, which) in &returns {
                if let Some(word) = words.get_mut(usize::from(*at)) {
                    *word = addresses[usize::from(*which) % addresses.len()];
                }
            }
            // Any instruction of the first 4 MiB, or a place in the middle of one.
            let mut registers = Registers::of_report(&registers);
            registers.address = match own_code {
                Some(offset) => base + u64::from(offset % (4 << 20)),
                None => addresses[0],
            };
            let walk = walk(&layout, registers, &Stack::new(pointer, &words));
            prop_assert!(walk.frames.len() <= MOST_STEPS);
            prop_assert!(walk.rest.len() <= words.len());
        }
    }
}
