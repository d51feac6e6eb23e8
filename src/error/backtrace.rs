//! Places in a child: the addresses that it reports, and their meaning in this executable.
//!
//! The child cannot look them up, because it may not open the file. It sends offsets in the
//! executable that it shares with its parent, and the parent looks them up on demand. All of them
//! are the child's claims: an offset that is not code of this program is not looked up.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::object::{DecodeError, Decoder, Encoder};
use crate::sys::unwind::{MOST_ADDRESSES, Walk};

/// Return addresses, the innermost first, as offsets in the executable. 0 stands for code
/// elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack(Vec<u64>);

impl Stack {
    /// Returns the current stack. It is empty if there is no memory for it.
    pub(crate) fn here() -> Self {
        let mut offsets = Vec::new();
        if let Some(walk) = Walk::from_here()
            && offsets.try_reserve_exact(walk.offsets().len()).is_ok()
        {
            offsets.extend_from_slice(walk.offsets());
        }
        Self(offsets)
    }

    pub(crate) fn encode(&self, encoder: &mut Encoder<'_>) {
        let offsets = self.0.get(..MOST_ADDRESSES).unwrap_or(&self.0);
        // At most 64.
        encoder.put(&[u8::try_from(offsets.len()).unwrap_or(0)]);
        for offset in offsets {
            encoder.put(&offset.to_le_bytes());
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = decoder.byte()?;
        if usize::from(count) > MOST_ADDRESSES {
            return Err(decoder.error("the number of addresses of a stack, 0 to 64", count));
        }
        let offsets = (0..count).map(|_| decoder.array().map(u64::from_le_bytes));
        offsets.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the frames that a panic was raised in, without the panic machinery.
    pub(crate) fn frames_of_panic(&self) -> Vec<BacktraceFrame> {
        let mut frames: Vec<BacktraceFrame> =
            self.0.iter().flat_map(|offset| frames(*offset)).collect();
        // std leaves these frames out of its own backtraces as well.
        let is_last_of_hook = |frame: &BacktraceFrame| {
            let function = frame.function.as_deref().unwrap_or_default();
            function.contains("::__rust_end_short_backtrace")
        };
        if let Some(last) = frames.iter().position(is_last_of_hook) {
            frames.drain(..=last);
        }
        frames
    }
}

/// The place of a denied call: the address after its instruction, and the return address of its function if
/// that has no frame, as in the wrappers of a C library. Offsets as in a [`Stack`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) caller: u64,
}

impl Place {
    /// Returns the innermost frame that has a file, or else a name, or else an offset.
    pub(crate) fn frame(self) -> Option<BacktraceFrame> {
        let frames = [self.address, self.caller].map(|offset| frames(offset).into_iter().next());
        let mut frames: Vec<BacktraceFrame> = frames.into_iter().flatten().collect();
        frames.retain(|frame| frame.offset.is_some());
        let ranks: [fn(&BacktraceFrame) -> bool; 3] = [
            |frame| frame.file.is_some(),
            |frame| frame.function.is_some(),
            |_| true,
        ];
        let best = ranks
            .into_iter()
            .find_map(|rank| frames.iter().position(rank))?;
        Some(frames.swap_remove(best))
    }
}

/// A place whose names are looked up once, however many copies of it there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedPlace {
    place: Place,
    frame: Arc<OnceLock<Option<BacktraceFrame>>>,
}

impl NamedPlace {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            frame: Arc::default(),
        }
    }

    /// Returns the frame. The first lookup in a program reads its debug information, which takes as long
    /// as that is large.
    pub(crate) fn frame(&self) -> Option<BacktraceFrame> {
        self.frame.get_or_init(|| self.place.frame()).clone()
    }
}

#[cfg(feature = "tracing")]
impl NamedPlace {
    /// Returns the frame with the names that were looked up, or without any.
    pub(crate) fn frame_as_known(&self) -> Option<BacktraceFrame> {
        match self.frame.get() {
            Some(known) => known.clone(),
            None => {
                let offsets = [self.place.address, self.place.caller];
                let offset = offsets.into_iter().find(|offset| *offset != 0)?;
                Some(BacktraceFrame {
                    offset: Some(offset),
                    ..BacktraceFrame::default()
                })
            }
        }
    }
}

// Equality ignores the names, because they follow from the place.
impl PartialEq for NamedPlace {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for NamedPlace {}

/// A function on the stack of a child, as the child reports it.
///
/// Names, files and lines need the feature `backtrace`, and are found as far as the executable has
/// them. They are looked up on demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BacktraceFrame {
    /// The address where the function continues, as an offset from the beginning of the
    /// executable's image, as `addr2line` takes it. `None` if it is outside the executable, such as
    /// in a shared library.
    pub offset: Option<u64>,
    /// The function's path.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

impl fmt::Display for BacktraceFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, self.offset) {
            (Some(function), _) => f.write_str(function)?,
            (None, Some(offset)) => write!(f, "{offset:#x}")?,
            (None, None) => f.write_str("unknown")?,
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " ({file}:{line})"),
            (Some(file), None) => write!(f, " ({file})"),
            (None, _) => Ok(()),
        }
    }
}

/// Returns what is at an offset. There are several frames, the innermost first, if functions were
/// inlined.
#[cfg(any(feature = "backtrace", crossmist_learn))]
fn frames(offset: u64) -> Vec<BacktraceFrame> {
    let image = crate::sys::image::image();
    let Some(address) = image.and_then(|image| image.return_at(offset)) else {
        return vec![BacktraceFrame::default()];
    };
    let mut frames = Vec::new();
    // The library looks up the instruction before the given address.
    ::backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
        frames.push(BacktraceFrame {
            offset: Some(offset),
            function: symbol.name().map(|name| function(&format!("{name:#}"))),
            file: symbol.filename().map(|file| file.display().to_string()),
            line: symbol.lineno(),
        });
    });
    if frames.is_empty() {
        frames.push(BacktraceFrame {
            offset: Some(offset),
            ..BacktraceFrame::default()
        });
    }
    frames
}

/// Returns the line of the program, or of a dependency, that an offset belongs to. Lines in std and
/// in this library do not count.
#[cfg(crossmist_learn)]
pub(crate) fn line_of(offset: u64) -> Option<String> {
    frames(offset).into_iter().find_map(|frame| {
        let (file, line) = (frame.file?, frame.line?);
        let function = frame.function.unwrap_or_default();
        let is_std = file.contains("/rustc/") || file.contains("/library/std/");
        let is_ours = function.contains("crossmist::") || function.contains("__rust_");
        (!is_std && !is_ours).then(|| format!("{file}:{line}"))
    })
}

/// Returns the path of a function as it was written, even if `#[func]` has put its body elsewhere.
#[cfg(any(feature = "backtrace", crossmist_learn))]
fn function(path: &str) -> String {
    path.replace("_::__crossmist_body_", "")
        .replace("__crossmist_body_", "")
}

#[cfg(not(any(feature = "backtrace", crossmist_learn)))]
fn frames(offset: u64) -> Vec<BacktraceFrame> {
    vec![BacktraceFrame {
        offset: (offset != 0).then_some(offset),
        ..BacktraceFrame::default()
    }]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stack_is_bounded_and_begins_here() {
        fn deeper(depth: u32) -> Stack {
            match depth {
                0 => Stack::here(),
                _ => std::hint::black_box(deeper(depth - 1)),
            }
        }
        let Stack(offsets) = deeper(100);
        assert_eq!(offsets.len(), MOST_ADDRESSES);
        assert!(offsets.iter().all(|offset| *offset != 0), "{offsets:x?}");
        #[cfg(any(feature = "backtrace", crossmist_learn))]
        {
            let frames: Vec<_> = offsets.iter().flat_map(|offset| frames(*offset)).collect();
            let here = frames.iter().find(|frame| {
                let function = frame.function.as_deref().unwrap_or_default();
                function.ends_with("::deeper")
            });
            let here = here.expect("the function");
            assert!(
                here.file
                    .as_deref()
                    .unwrap()
                    .ends_with("src/error/backtrace.rs")
            );
            assert!(here.line.is_some());
        }
    }

    #[test]
    fn what_is_outside_of_the_executable_is_not_looked_up() {
        let wild = [0, 1, 2, u64::MAX, u64::MAX - 1, 1 << 47, 1 << 63];
        let image = crate::sys::image::image().expect("an image");
        let outside = libc::getpid as *const () as usize;
        assert!(
            cfg!(target_feature = "crt-static") || image.offset_of_return(outside + 1).is_none()
        );
        for frame in Stack(wild.to_vec()).frames_of_panic() {
            assert_eq!((frame.function, frame.file, frame.line), (None, None, None));
        }
        assert_eq!(BacktraceFrame::default().to_string(), "unknown");
        assert_eq!(Place::default().frame(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_offset_is_looked_up_without_harm(offset in 0u64..1 << 26, wild: u64) {
            let frames = Stack(vec![offset, wild]).frames_of_panic();
            for frame in &frames {
                let _ = frame.to_string();
            }
            let _ = Place { address: offset, caller: wild }.frame();
        }
    }
}
