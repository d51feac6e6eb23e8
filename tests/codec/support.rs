//! Parts that the tests share: an allocator that counts, and ways to spoil a message.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait, and this one only counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Debug;

use crossmist::{BytesError, DecodeError, Object, from_bytes, to_bytes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Counts what each thread holds.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // It can't fail: a constant without a destructor is there until the thread is gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    });
}

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that this call needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // Both blocks count while one is moved: that is what a peak has to allow for.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The memory that an action took from the allocator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The most bytes held at one time, above what was held before.
    pub(crate) peak: usize,
    /// Allocations and releases.
    pub(crate) calls: usize,
}

/// Runs `action` and measures what it takes from the allocator.
pub(crate) fn cost<R>(action: impl FnOnce() -> R) -> (R, Cost) {
    let held = HELD.get();
    PEAK.set(held);
    let calls = CALLS.get();
    let result = action();
    let cost = Cost {
        peak: usize::try_from(PEAK.get() - held).unwrap_or(0),
        calls: CALLS.get() - calls,
    };
    (result, cost)
}

/// The memory that decoding may take whatever the message is: reservations ahead, and the text of an error.
pub(crate) const FIXED_BYTES: usize = (64 << 10) + 4096;

/// A message of these bytes, with nothing beside them.
pub(crate) fn message(body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xC1, 0, 0, 0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    message.extend_from_slice(&[0; 24]);
    message.extend_from_slice(body);
    message
}

/// The bytes of a value, without the header of its message.
pub(crate) fn body<T: Object>(value: &T) -> Vec<u8> {
    to_bytes(value).unwrap().split_off(32)
}

/// The error of decoding `body` as a `T`.
#[track_caller]
pub(crate) fn refusal<T: Object>(body: &[u8]) -> DecodeError {
    match from_bytes::<T>(&message(body)) {
        Err(BytesError::Decode(error)) => error,
        Err(error) => panic!("not the bytes, the frame is refused: {error}"),
        Ok(_) => panic!("{body:?} is accepted"),
    }
}

/// Asserts the contents of an error.
#[track_caller]
pub(crate) fn assert_error(error: &DecodeError, at: usize, expected: &str, found: &str) {
    assert_eq!(
        (error.at(), error.expected(), error.found()),
        (at, expected, found)
    );
}

/// How a message is spoilt.
#[derive(Clone, Debug)]
pub(crate) enum Noise {
    Replaced(Vec<u8>),
    Truncated(Index),
    Extended(Vec<u8>),
    /// Some bytes are other bytes.
    Changed(Vec<(Index, u8)>),
    /// A bit is flipped.
    Flipped(Index, u8),
    /// Four bytes are a number, which may well be taken for a count.
    Counted(Index, u32),
}

pub(crate) fn noise() -> impl Strategy<Value = Noise> {
    let number = prop_oneof![0..70_000u32, any::<u32>(), Just(u32::MAX)];
    prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(Noise::Replaced),
        vec(0..4u8, 0..200).prop_map(Noise::Replaced),
        any::<Index>().prop_map(Noise::Truncated),
        vec(any::<u8>(), 1..20).prop_map(Noise::Extended),
        vec(any::<(Index, u8)>(), 1..6).prop_map(Noise::Changed),
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Noise::Flipped(at, bit)),
        (any::<Index>(), number).prop_map(|(at, number)| Noise::Counted(at, number)),
    ]
}

impl Noise {
    fn spoil(&self, bytes: &mut Vec<u8>) {
        match self {
            Noise::Replaced(other) => bytes.clone_from(other),
            Noise::Truncated(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Noise::Extended(more) => bytes.extend_from_slice(more),
            Noise::Changed(changes) if !bytes.is_empty() => {
                for (at, byte) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            Noise::Flipped(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Noise::Counted(at, number) if bytes.len() >= 4 => {
                let at = at.index(bytes.len() - 3);
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            _ => {}
        }
    }
}

/// Spoils the bytes of `value` within a sound frame, and the frame too, and decodes both.
pub(crate) fn survive<T: Object>(value: &T, noise: &Noise, multiple: usize) {
    let mut spoilt = to_bytes(value).unwrap();
    let mut within = spoilt.split_off(32);
    spoilt.extend_from_slice(&within);
    noise.spoil(&mut within);
    survive_bytes::<T>(&message(&within), multiple);
    noise.spoil(&mut spoilt);
    survive_bytes::<T>(&spoilt, multiple);
}

/// Decodes bytes that may be anything: an error, or a value that can be sent again, and no more
/// memory and steps than the length justifies.
pub(crate) fn survive_bytes<T: Object>(bytes: &[u8], multiple: usize) {
    let (result, cost) = cost(|| from_bytes::<T>(bytes));
    assert!(
        cost.peak <= FIXED_BYTES + multiple * bytes.len(),
        "{} bytes of memory for a message of {}",
        cost.peak,
        bytes.len()
    );
    // Each byte can make an allocation or two; elements without bytes make none.
    assert!(
        cost.calls <= 100 + 12 * bytes.len(),
        "{} allocations for a message of {}",
        cost.calls,
        bytes.len()
    );
    match result {
        Ok(value) => {
            let again = to_bytes(&value).unwrap();
            assert!(from_bytes::<T>(&again).is_ok());
        }
        Err(BytesError::Decode(error)) => {
            assert!(error.at() <= bytes.len());
            assert!(error.found().len() < 1000, "{}", error.found());
        }
        Err(_) => {}
    }
}

/// Sends a value through bytes.
#[track_caller]
pub(crate) fn through<T: Object + Debug>(value: &T) -> T {
    let bytes = to_bytes(value).unwrap();
    from_bytes(&bytes).unwrap()
}
