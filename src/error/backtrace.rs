//! Places in a child: the addresses that it reports, and their meaning in this executable.
//!
//! The child cannot look them up, because it may not open the file. It sends offsets in the
//! executable that it shares with its parent, and the parent looks them up on demand. All of them
//! are the child's claims: an offset that is not code of this program is not looked up.

use std::fmt;

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

    #[cfg(test)]
    pub(super) fn offsets(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
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
    /// Whether it may have returned already. The stack could not be unwound as far as to this function, and its
    /// address was found by a search of the rest.
    pub is_guess: bool,
}

/// Whose code a frame is, the most interesting to a reader first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// The program, and the crates of its own workspace.
    Program,
    /// A crate that the program uses.
    Dependency,
    /// Nothing says whose it is.
    Unknown,
    /// Rust's standard library, the crates that this is made of, and this library.
    Machinery,
}

impl BacktraceFrame {
    /// Returns whether it is worth a reader's while: neither the standard library's, nor this library's, nor nobody's.
    #[cfg(crossmist_learn)]
    pub(crate) fn is_of_program_or_its_crates(&self) -> bool {
        self.owner() < Owner::Unknown
    }

    pub(super) fn owner(&self) -> Owner {
        const CRATES: &[&str] = &[
            "std::",
            "core::",
            "alloc::",
            "__rust",
            "_rust",
            "crossmist::",
            "crossmist_policy::",
        ];
        // Where the standard library was built, where its sources are installed, and its own dependencies.
        const STD: &[&str] = &[
            "/rustc/",
            "/library/std/",
            "/library/core/",
            "/library/alloc/",
            "/rust/deps/",
        ];
        const OURS: &[&str] = &["/src/", "/policy/src/", "/macros/src/"];
        const FETCHED: &[&str] = &["/registry/src/", "/git/checkouts/", "/vendor/"];
        let function = self.function.as_deref().unwrap_or_default();
        // Of `<Type as Trait>::function`, the type says whose it is.
        let function = function.trim_start_matches(['<', '&']);
        let has_crate = CRATES.iter().any(|name| function.starts_with(name));
        let Some(file) = self.file.as_deref() else {
            return if has_crate {
                Owner::Machinery
            } else {
                Owner::Unknown
            };
        };
        let is_in = |parts: &[&str]| parts.iter().any(|part| file.contains(part));
        let below = file.strip_prefix(env!("CARGO_MANIFEST_DIR"));
        let is_ours =
            below.is_some_and(|below| OURS.iter().any(|folder| below.starts_with(folder)));
        if has_crate || is_ours || is_in(STD) {
            Owner::Machinery
        } else if is_in(FETCHED) {
            Owner::Dependency
        } else {
            Owner::Program
        }
    }
}

impl fmt::Display for BacktraceFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_guess {
            f.write_str("perhaps ")?;
        }
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
pub(super) fn frames(offset: u64) -> Vec<BacktraceFrame> {
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
            is_guess: false,
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

/// Returns the path of a function as it was written, even if `#[func]` has put its body elsewhere.
#[cfg(any(feature = "backtrace", crossmist_learn))]
fn function(path: &str) -> String {
    path.replace("_::__crossmist_body_", "")
        .replace("__crossmist_body_", "")
}

#[cfg(not(any(feature = "backtrace", crossmist_learn)))]
pub(super) fn frames(offset: u64) -> Vec<BacktraceFrame> {
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
    }

    #[test]
    fn frames_are_told_apart_by_whose_code_they_are() {
        let owner = |function: &str, file: Option<&str>| {
            let frame = BacktraceFrame {
                function: Some(function.to_owned()),
                file: file.map(str::to_owned),
                ..BacktraceFrame::default()
            };
            frame.owner()
        };
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/src/child/mod.rs");
        let test = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/places.rs");
        for (wanted, function, file) in [
            (
                Owner::Machinery,
                "std::fs::File::open",
                Some("/rustc/abc/library/std/src/fs.rs"),
            ),
            (
                Owner::Machinery,
                "<std::fs::File as std::io::Read>::read",
                None,
            ),
            (
                Owner::Machinery,
                "hashbrown::raw::RawTable<T>::find",
                Some("/rust/deps/hashbrown-0.16/src/raw.rs"),
            ),
            (
                Owner::Machinery,
                "<&crossmist::Sender<T> as crossmist::Object>::encode",
                None,
            ),
            (Owner::Machinery, "run::{{closure}}", Some(ours)),
            (Owner::Program, "places::main", Some(test)),
            (
                Owner::Program,
                "<parser::Text as crossmist::Object>::decode",
                Some("src/text.rs"),
            ),
            (
                Owner::Program,
                "inflate",
                Some("/home/a/project/zlib/inflate.c"),
            ),
            (
                Owner::Dependency,
                "png::read",
                Some("/home/a/.cargo/registry/src/x/png-0.18/src/lib.rs"),
            ),
            (Owner::Unknown, "inflate", None),
        ] {
            assert_eq!(owner(function, file), wanted, "{function}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_offset_is_looked_up_without_harm(offset in 0u64..1 << 26, wild: u64) {
            let frames = Stack(vec![offset, wild]).frames_of_panic();
            for frame in &frames {
                let _ = frame.to_string();
            }
        }
    }
}
