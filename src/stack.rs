//! Where a child was: addresses as it tells them, and what they mean in this executable.
//!
//! The child can't look that up: it may open nothing. It sends offsets in the executable that it
//! shares with its parent, and the parent looks them up when somebody wants to know. All of them are
//! the child's word: what is no code of this program is not looked up.

use std::fmt;

use crate::object::{DecodeError, Decoder, Encoder};
use crate::sys::unwind::{MOST_ADDRESSES, Walk};

/// Return addresses, the innermost first, as offsets in the executable; 0 for what lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack(Vec<u64>);

impl Stack {
    /// The stack from here on; none where there is no memory for it.
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

    /// What a panic was raised in, without what raised it.
    pub(crate) fn frames_of_panic(&self) -> Vec<Frame> {
        let mut frames: Vec<Frame> = self.0.iter().flat_map(|offset| frames(*offset)).collect();
        // What std leaves out of its own backtraces, too.
        let is_last_of_hook = |frame: &Frame| {
            let function = frame.function.as_deref().unwrap_or_default();
            function.contains("::__rust_end_short_backtrace")
        };
        if let Some(last) = frames.iter().position(is_last_of_hook) {
            frames.drain(..=last);
        }
        frames
    }
}

/// Where a denied call was made: the address behind its instruction, and where its function returns
/// to if it has no frame, as wrappers of a C library have none. Offsets as in a [`Stack`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) caller: u64,
}

impl Place {
    /// The innermost frame that has a file, else a name, else an offset.
    pub(crate) fn frame(self) -> Option<Frame> {
        let frames = [self.address, self.caller].map(|offset| frames(offset).into_iter().next());
        let mut frames: Vec<Frame> = frames.into_iter().flatten().collect();
        frames.retain(|frame| frame.offset.is_some());
        let ranks: [fn(&Frame) -> bool; 3] = [
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

/// A function on the stack of a child, by the child's word.
///
/// Names, files and lines are there with the feature `backtrace`, as far as the executable has them,
/// and are looked up when they are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Where it goes on, counted from the beginning of the executable's image, as `addr2line` takes
    /// it; `None` where that is outside of the executable, in a shared library for one.
    pub offset: Option<u64>,
    /// The function's path.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

impl fmt::Display for Frame {
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

/// What is at an offset: several frames, the innermost first, where functions were inlined.
#[cfg(feature = "backtrace")]
fn frames(offset: u64) -> Vec<Frame> {
    let image = crate::sys::image::image();
    let Some(address) = image.and_then(|image| image.return_at(offset)) else {
        return vec![Frame::default()];
    };
    let mut frames = Vec::new();
    // It takes the instruction before an address for the one that is asked for.
    ::backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
        frames.push(Frame {
            offset: Some(offset),
            function: symbol.name().map(|name| function(&format!("{name:#}"))),
            file: symbol.filename().map(|file| file.display().to_string()),
            line: symbol.lineno(),
        });
    });
    if frames.is_empty() {
        frames.push(Frame {
            offset: Some(offset),
            ..Frame::default()
        });
    }
    frames
}

/// The line of the program, or of what it depends on, that an offset belongs to; none in std or here.
#[cfg(feature = "learn")]
pub(crate) fn line_of(offset: u64) -> Option<String> {
    frames(offset).into_iter().find_map(|frame| {
        let (file, line) = (frame.file?, frame.line?);
        let function = frame.function.unwrap_or_default();
        let is_std = file.contains("/rustc/") || file.contains("/library/std/");
        let is_ours = function.contains("crossmist::") || function.contains("__rust_");
        (!is_std && !is_ours).then(|| format!("{file}:{line}"))
    })
}

/// The path of a function as it was written, where `#[func]` has put its body elsewhere.
#[cfg(feature = "backtrace")]
fn function(path: &str) -> String {
    path.replace("_::__crossmist_body_", "")
        .replace("__crossmist_body_", "")
}

#[cfg(not(feature = "backtrace"))]
fn frames(offset: u64) -> Vec<Frame> {
    vec![Frame {
        offset: (offset != 0).then_some(offset),
        ..Frame::default()
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
        #[cfg(feature = "backtrace")]
        {
            let frames: Vec<_> = offsets.iter().flat_map(|offset| frames(*offset)).collect();
            let here = frames.iter().find(|frame| {
                let function = frame.function.as_deref().unwrap_or_default();
                function.ends_with("::deeper")
            });
            let here = here.expect("the function");
            assert!(here.file.as_deref().unwrap().ends_with("src/stack.rs"));
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
        assert_eq!(Frame::default().to_string(), "unknown");
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
