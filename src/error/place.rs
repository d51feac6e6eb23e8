//! The place in the program from which a child made a call.

use std::fmt;
use std::sync::Arc;

use super::backtrace::{BacktraceFrame, Owner, frames};
#[cfg(any(feature = "backtrace", crossmist_learn))]
use crate::places::{Frame, Layout, LibraryFrame, Registers, Stack, walk};
use crate::sys::image;
use crate::wire::DenialReport;

/// How many return addresses that are found by a search are kept.
const MOST_FOUND: usize = 64;

/// How many of them are looked up. The program's own line may lie behind many of a crate's.
#[cfg(any(feature = "backtrace", crossmist_learn))]
const MOST_LOOKED_UP: usize = 256;

/// The place of a denied call, as the child has reported it: addresses as offsets in the executable, the innermost
/// first, and what they can be found by.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address after the instruction and the return address in a register, if they are in the program.
    known: Vec<u64>,
    /// Words on the stack that look like return addresses.
    found: Vec<u64>,
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    evidence: Evidence,
}

/// The data by which a stack is unwound.
#[cfg(any(feature = "backtrace", crossmist_learn))]
#[derive(Clone, Default, PartialEq, Eq)]
struct Evidence {
    base: Option<u64>,
    registers: [u64; crate::sys::sigsys::REGISTERS],
    stack: Vec<u64>,
    /// The mappings of the process that the child was a copy of.
    mapped: Arc<[u8]>,
}

/// The meaning of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedFrame {
    /// The innermost frame of the program itself. If there is none, it is one of a crate that the program uses, and
    /// else the innermost one of all. A frame that has a file is preferred to one that has only a name.
    pub(crate) frame: Option<BacktraceFrame>,
    /// The shared library that made the call for it, and its function.
    pub(crate) library: Option<String>,
}

impl Place {
    /// Returns the place of a report, from a child that is a copy of a process with these mappings, or an execution
    /// of its own.
    #[cfg_attr(
        not(any(feature = "backtrace", crossmist_learn)),
        expect(unused_variables, reason = "only a walk needs to know what is mapped")
    )]
    pub(crate) fn new(report: &DenialReport, mapped: Arc<[u8]>) -> Self {
        let denial = &report.denial;
        let known = [denial.address, denial.caller].into_iter();
        Self {
            known: known.filter(|offset| *offset != 0).collect(),
            found: denial.base.map_or(Vec::new(), |base| {
                search(base, &report.stack).take(MOST_FOUND).collect()
            }),
            #[cfg(any(feature = "backtrace", crossmist_learn))]
            evidence: Evidence {
                base: denial.base,
                registers: report.registers,
                stack: report.stack.clone(),
                mapped,
            },
        }
    }

    #[cfg(any(feature = "backtrace", crossmist_learn))]
    pub(super) fn look_up(&self) -> NamedFrame {
        let Evidence {
            base,
            registers,
            stack,
            mapped,
        } = &self.evidence;
        let Some(base) = *base else {
            let mut best = Best::default();
            best.take(self.known.iter().copied(), false);
            return best.into_frame();
        };
        let layout = Layout::with_base(base, mapped);
        let registers = Registers::of_report(registers);
        let pointer = registers.stack_pointer().unwrap_or(0);
        look_up(&layout, registers, &Stack::new(pointer, stack), &self.known)
    }

    #[cfg(not(any(feature = "backtrace", crossmist_learn)))]
    pub(super) fn look_up(&self) -> NamedFrame {
        let mut best = Best::default();
        best.take(self.known.iter().copied(), false);
        best.take(self.found.iter().copied(), true);
        best.into_frame()
    }
}

#[cfg(feature = "__fuzzing")]
impl Place {
    /// Returns what is found if the stack isn't unwound.
    pub(super) fn found_by_search(&self) -> Option<BacktraceFrame> {
        let mut best = Best::default();
        best.take(self.found.iter().copied(), true);
        best.into_frame().frame
    }
}

#[cfg(feature = "tracing")]
impl Place {
    /// Returns the innermost offset.
    pub(super) fn without_names(&self) -> Option<BacktraceFrame> {
        let known = self.known.first();
        let offset = known.or(self.found.first())?;
        Some(BacktraceFrame {
            offset: Some(*offset),
            is_guess: known.is_none(),
            ..BacktraceFrame::default()
        })
    }
}

// The child's stack is not for logs.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offsets = self.known.iter().chain(&self.found);
        f.debug_list().entries(offsets).finish()
    }
}

/// Returns what a thread's registers and its stack mean. If the stack can't be unwound as far as to the program's
/// own code, the rest of it is searched. `known` are offsets that certainly belong to it, if any are known.
#[cfg(any(feature = "backtrace", crossmist_learn))]
pub(crate) fn look_up(
    layout: &Layout<'_>,
    registers: Registers,
    stack: &Stack<'_>,
    known: &[u64],
) -> NamedFrame {
    let walk = walk(layout, registers, stack);
    let (mut best, library) = choose(&walk.frames, walk.certain);
    if !walk.is_complete && !best.is_the_programs() {
        best.take(known.iter().copied(), false);
        if let Some(base) = layout.base() {
            best.take(search(base, walk.rest).take(MOST_LOOKED_UP), true);
        }
    }
    NamedFrame {
        library: library.map(|library| library.describe()),
        ..best.into_frame()
    }
}

/// Returns the frame of the program's, and the library that made the call for it. A library that has called back into
/// the program, or into a crate, has not made the call. All but so many frames are guesses.
#[cfg(any(feature = "backtrace", crossmist_learn))]
fn choose<'w, 's>(frames: &'w [Frame<'s>], certain: usize) -> (Best, Option<&'w LibraryFrame<'s>>) {
    let mut best = Best::default();
    let mut library = None;
    for (index, frame) in frames.iter().enumerate() {
        let is_guess = index >= certain;
        match frame {
            Frame::Own(offset) => best.take([*offset], is_guess),
            Frame::Library(frame) => {
                let has_made_it = library.is_none() && !is_guess && !best.is_above_machinery();
                if has_made_it && !frame.is_common() {
                    library = Some(frame);
                }
            }
        }
        if best.is_the_programs() {
            break;
        }
    }
    (best, library)
}

/// Returns the words that look like return addresses, as offsets: a call is before each of them. The functions may
/// have returned already.
fn search(base: u64, words: &[u64]) -> impl Iterator<Item = u64> {
    let image = image::image();
    words.iter().filter_map(move |word| {
        let offset = word.checked_sub(base)?;
        image?.is_after_call(offset).then_some(offset)
    })
}

/// The frame that is the most interesting to a reader, of those that were looked at.
#[derive(Default)]
struct Best(Option<((Owner, bool), BacktraceFrame)>);

impl Best {
    /// Looks at what is at some offsets, until it is the program's own.
    fn take(&mut self, offsets: impl IntoIterator<Item = u64>, is_guess: bool) {
        for offset in offsets {
            for frame in frames(offset) {
                if self.is_the_programs() {
                    return;
                }
                let rank = (frame.owner(), frame.file.is_none());
                let is_better = self.0.as_ref().is_none_or(|(known, _)| rank < *known);
                if frame.offset.is_some() && is_better {
                    self.0 = Some((rank, BacktraceFrame { is_guess, ..frame }));
                }
            }
        }
    }

    fn is_the_programs(&self) -> bool {
        let rank = self.0.as_ref().map(|(rank, _)| *rank);
        rank == Some((Owner::Program, false))
    }

    /// Returns whether it is anything but the standard library's or this library's.
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    fn is_above_machinery(&self) -> bool {
        let owner = self.0.as_ref().map(|((owner, _), _)| *owner);
        owner.is_some_and(|owner| owner != Owner::Machinery)
    }

    fn into_frame(self) -> NamedFrame {
        NamedFrame {
            frame: self.0.map(|(_, frame)| frame),
            library: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Stack as ReturnAddresses;
    use crate::sys::sigsys::{Denial, REGISTERS};

    fn report(base: Option<u64>, registers: [u64; REGISTERS], stack: Vec<u64>) -> DenialReport {
        DenialReport {
            denial: Denial {
                number: 0,
                arch: 0,
                thread: 0,
                errno: 0,
                arguments: [0; 6],
                address: 0,
                caller: 0,
                base,
            },
            path: None,
            registers,
            stack,
        }
    }

    /// Offsets of return addresses in this program.
    fn offsets() -> Vec<u64> {
        ReturnAddresses::here()
            .offsets()
            .filter(|offset| *offset != 0)
            .collect()
    }

    #[test]
    fn words_of_a_stack_are_places_only_if_a_call_returns_to_them() {
        let offsets = offsets();
        let image = image::image().expect("an image");
        // Those of the unwinder are return addresses.
        assert!(offsets.len() > 3 && offsets.iter().all(|offset| image.is_after_call(*offset)));
        let base = 1 << 40;
        let start = deeper_than_nothing as fn() as usize - image.base();
        let words = [
            7,
            base,
            base + start as u64,
            base + offsets[1],
            u64::MAX,
            base + offsets[2],
        ];
        let place = |base, words: &[u64]| {
            let mut report = report(base, [0; REGISTERS], words.to_vec());
            report.denial.address = 5;
            Place::new(&report, Arc::default())
        };
        assert_eq!(place(Some(base), &words).found, [offsets[1], offsets[2]]);
        assert_eq!(place(Some(base), &words).known, [5]);
        // A program that is always at the same place has its offsets for addresses.
        let fixed = place(Some(0), &[offsets[1], base, offsets[2]]);
        assert_eq!(fixed.found, [offsets[1], offsets[2]]);
        // Without a base, it is not known what they are relative to.
        assert!(place(None, &words).found.is_empty());
        assert_eq!(place(None, &words).known, [5]);
        let many = vec![base + offsets[1]; 10_000];
        assert_eq!(place(Some(base), &many).found.len(), MOST_FOUND);
    }

    #[inline(never)]
    fn deeper_than_nothing() {
        std::hint::black_box(7);
    }

    #[test]
    #[cfg(any(feature = "backtrace", crossmist_learn))]
    fn a_library_that_has_called_back_has_not_made_the_call() {
        use proptest::test_runner::TestRunner;
        // Of the runner, which is another crate's, and calls this function back.
        let mut found = Vec::new();
        let mut runner = TestRunner::new(ProptestConfig::with_cases(1));
        let shared = std::cell::RefCell::new(&mut found);
        let run = runner.run(&Just(()), |()| {
            shared.borrow_mut().extend(offsets());
            Ok(())
        });
        run.unwrap();
        let owner = |offset: u64| frames(offset).iter().map(BacktraceFrame::owner).min();
        let first = |wanted| {
            let mut found = found.iter().copied();
            found.find(|offset| owner(*offset) == Some(wanted)).unwrap()
        };
        let (machinery, of_a_crate) = (first(Owner::Machinery), first(Owner::Dependency));
        let library = || Frame::Library(LibraryFrame::of_path(b"/usr/lib/libz.so.1"));
        let common = || Frame::Library(LibraryFrame::of_path(b"/usr/lib/libc.so.6"));
        let by = |inner: [Frame<'_>; 4], certain| {
            let (best, library) = choose(&inner, certain);
            let frame = best.into_frame().frame.unwrap();
            assert_eq!(frame.offset, Some(of_a_crate));
            assert_eq!(frame.is_guess, certain < 3, "{frame:?}");
            library.map(LibraryFrame::describe)
        };
        let own = Frame::Own;
        let has_called = || [common(), own(machinery), library(), own(of_a_crate)];
        let has_called_back = [common(), own(machinery), own(of_a_crate), library()];
        assert_eq!(by(has_called(), 4).as_deref(), Some("libz.so.1"));
        assert_eq!(by(has_called_back, 4), None);
        // What is a guess has not made anything.
        assert_eq!(by(has_called(), 2), None);
    }

    #[test]
    fn what_a_search_finds_is_a_guess_and_words_stay_out_of_logs() {
        let offset = offsets()[1];
        let base = 1 << 40;
        let secret = 0x5ec2_e7e5;
        let report = report(Some(base), [0; REGISTERS], vec![secret, base + offset]);
        let place = Place::new(&report, Arc::default());
        let frame = place.look_up().frame.expect("a frame");
        assert_eq!((frame.offset, frame.is_guess), (Some(offset), true));
        assert!(frame.to_string().starts_with("perhaps "), "{frame}");
        assert_eq!(format!("{place:?}"), format!("[{offset}]"));
        assert_eq!(Place::default().look_up(), NamedFrame::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_report_is_looked_up_without_harm(
            base: u64, mut registers: [u64; REGISTERS], mut stack in prop::collection::vec(any::<u64>(), 0..40),
            returns in prop::collection::vec((0usize..40, 0usize..8), 0..40), is_own: bool,
        ) {
            let offsets = offsets();
            // Some of the words are addresses of the program.
            for (at, which) in returns {
                if let (Some(word), Some(offset)) = (stack.get_mut(at), offsets.get(which)) {
                    *word = base.wrapping_add(*offset);
                }
            }
            if is_own {
                // One of them is where the call was made.
                registers.fill(base.wrapping_add(offsets[0]));
            }
            let named = Place::new(&report(Some(base), registers, stack), Arc::default()).look_up();
            let _ = named.frame.map(|frame| frame.to_string());
        }
    }
}
