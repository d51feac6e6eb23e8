//! The errors of each check: the place, the expectation, the finding.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::num::NonZero;
use std::ops::Bound;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use crossmist::{EncodeErrorKind, Object, ProtocolError, from_bytes, to_bytes};

use super::support::{assert_error, body, message, refusal};

#[test]
fn values_that_a_type_does_not_have_are_refused() {
    assert_error(&refusal::<bool>(&[2]), 1, "a bool, 0 or 1", "2");
    let surrogate = refusal::<char>(&0xD800u32.to_le_bytes());
    assert_error(&surrogate, 4, "a Unicode scalar value", "0xd800");
    let zero = refusal::<NonZero<u16>>(&[0, 0]);
    assert_error(&zero, 2, "a number that isn't 0", "0");
    let ordering = refusal::<std::cmp::Ordering>(&[2]);
    assert_error(&ordering, 1, "an ordering: -1, 0 or 1", "2");
    let option = refusal::<Option<u8>>(&[2, 0]);
    assert_error(&option, 1, "0 or 1, for `None` or `Some`", "2");
    let result = refusal::<Result<u8, u8>>(&[9, 0]);
    assert_error(&result, 1, "0 or 1, for `Ok` or `Err`", "9");
    let bound = refusal::<Bound<u8>>(&[3, 0]);
    assert_error(&bound, 1, "0, 1 or 2, for a bound", "3");
    let ip = refusal::<IpAddr>(&[5, 0, 0, 0, 0]);
    assert_error(&ip, 1, "4 or 6, for a version of IP", "5");
    let none = refusal::<Infallible>(&[]);
    assert_error(&none, 0, "nothing: the type has no value", "a message");
}

#[test]
fn text_is_held_to_its_encoding() {
    let utf8 = refusal::<String>(&[3, 0, 0, 0, b'a', 0xFF, b'b']);
    assert_error(&utf8, 7, "UTF-8", "an invalid sequence after 1 bytes");
    let nul = refusal::<CString>(&[3, 0, 0, 0, b'a', 0, b'b']);
    assert_error(
        &nul,
        7,
        "a C string without a zero byte",
        "one after 1 bytes",
    );
    let cow = refusal::<Cow<'static, str>>(&[1, 0, 0, 0, 0x80]);
    assert_error(&cow, 5, "UTF-8", "an invalid sequence after 0 bytes");
}

#[test]
fn times_out_of_range_are_refused() {
    let mut bytes = u64::MAX.to_le_bytes().to_vec();
    bytes.extend_from_slice(&1_000_000_000u32.to_le_bytes());
    let expected = "less than 1000000000 nanoseconds";
    assert_error(&refusal::<Duration>(&bytes), 12, expected, "1000000000");
    assert_error(&refusal::<SystemTime>(&bytes), 12, expected, "1000000000");
    assert_error(&refusal::<Instant>(&bytes), 12, expected, "1000000000");
    // The last ones that fit.
    bytes[8..].copy_from_slice(&999_999_999u32.to_le_bytes());
    assert_eq!(from_bytes(&message(&bytes)), Ok(Duration::MAX));
}

#[test]
fn the_ends_of_the_clocks_come_back_or_are_refused() {
    for seconds in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        let mut bytes = seconds.to_le_bytes().to_vec();
        bytes.extend_from_slice(&999_999_999u32.to_le_bytes());
        let bytes = message(&bytes);
        let system: SystemTime = from_bytes(&bytes).unwrap();
        assert_eq!(to_bytes(&system).unwrap(), bytes, "{seconds}");
        let instant: Instant = from_bytes(&bytes).unwrap();
        assert_eq!(to_bytes(&instant).unwrap(), bytes, "{seconds}");
    }
}

#[test]
fn an_instant_travels_as_the_reading_of_the_clock() {
    use nix::time::{ClockId, clock_gettime};
    let read = || {
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        (time.tv_sec(), time.tv_nsec() as u32)
    };
    for _ in 0..1000 {
        let before = read();
        let bytes = body(&Instant::now());
        let after = read();
        let seconds = i64::from_le_bytes(bytes[..8].try_into().unwrap());
        let nanos = u32::from_le_bytes(bytes[8..].try_into().unwrap());
        assert!(before <= (seconds, nanos) && (seconds, nanos) <= after);
    }
}

#[test]
fn an_io_error_is_a_number_of_the_system_or_a_known_kind() {
    let code = refusal::<io::Error>(&[0, 0, 0, 0, 0]);
    assert_error(&code, 5, "an error number from 1 to 4095", "0");
    let code = refusal::<io::Error>(&[0, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_error(&code, 5, "an error number from 1 to 4095", "-1");
    let kind = refusal::<io::Error>(&[1, 200]);
    assert_error(&kind, 2, "the number of an error kind", "200");
    let tag = refusal::<io::Error>(&[3, 0]);
    assert_error(&tag, 1, "0, 1 or 2, for what an error is made of", "3");

    let mut long = vec![2, 1];
    long.extend_from_slice(&body(&"x".repeat(1025)));
    let long = refusal::<io::Error>(&long);
    assert_error(&long, 2 + 4 + 1025, "at most 1024 bytes of text", "1025");

    let long = io::Error::other("ä".repeat(1000));
    let back: io::Error = from_bytes(&to_bytes(&long).unwrap()).unwrap();
    assert_eq!(back.to_string(), "ä".repeat(512));
}

#[test]
fn the_bytes_end_where_the_value_does() {
    assert_error(&refusal::<u32>(&[1, 2, 3]), 0, "4 bytes", "the end after 3");
    let longer = refusal::<u8>(&[1, 2, 3]);
    assert_error(&longer, 1, "the end of the message", "2 bytes more");
    let bytes = to_bytes(&5u8).unwrap();
    let frame = |bytes: &[u8]| match from_bytes::<u8>(bytes) {
        Err(crossmist::BytesError::Malformed(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        frame(&bytes[..20]),
        ProtocolError::Short {
            bytes: 20,
            header: 32
        }
    );
    assert_eq!(frame(&bytes[..32]), ProtocolError::Unfinished);
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(frame(&longer), ProtocolError::Runs);
}

#[test]
fn a_count_is_held_to_the_bytes_that_are_left() {
    let count = refusal::<Vec<u64>>(&[3, 0, 0, 0, 1, 2, 3]);
    assert_error(&count, 4, "a count that 3 bytes can hold", "3");
    let most = refusal::<Vec<String>>(&u32::MAX.to_le_bytes());
    assert_error(&most, 4, "a count that 0 bytes can hold", "4294967295");
    let empty = refusal::<Vec<()>>(&65_537u32.to_le_bytes());
    assert_error(&empty, 4, "at most 65536 elements without bytes", "65537");
    let units: Vec<()> = from_bytes(&message(&65_536u32.to_le_bytes())).unwrap();
    assert_eq!(units.len(), 65_536);

    let error = to_bytes(&vec![(); 65_537]).unwrap_err();
    let (elements, limit) = (65_537, 65_536);
    assert_eq!(
        *error.kind(),
        EncodeErrorKind::TooManyEmptyElements { elements, limit }
    );
    // All containers of a message count together.
    let error = to_bytes(&vec![vec![(); 40_000]; 2]).unwrap_err();
    let (elements, limit) = (80_000, 65_536);
    assert_eq!(
        *error.kind(),
        EncodeErrorKind::TooManyEmptyElements { elements, limit }
    );
}

/// The bytes of a map or set whose elements are these, in this order.
fn listed<T: Object>(elements: Vec<T>) -> Vec<u8> {
    body(&elements)
}

#[test]
fn keys_of_ordered_collections_ascend_strictly() {
    let (expected, found) = (
        "keys in strictly ascending order",
        "one that is not above the one before",
    );
    assert!(from_bytes::<BTreeSet<u8>>(&message(&listed(vec![1u8, 2, 3]))).is_ok());
    let twice = refusal::<BTreeSet<u8>>(&listed(vec![1u8, 2, 2]));
    assert_error(&twice, 7, expected, found);
    let descending = refusal::<BTreeSet<u8>>(&listed(vec![1u8, 3, 2]));
    assert_error(&descending, 7, expected, found);
    let map = refusal::<BTreeMap<u8, u8>>(&listed(vec![(1u8, 9u8), (1, 8)]));
    assert_error(&map, 8, expected, found);
    let units = refusal::<BTreeSet<()>>(&2u32.to_le_bytes());
    assert_error(&units, 4, expected, found);
}

#[test]
fn keys_of_hashed_collections_differ() {
    let (expected, found) = ("keys that differ", "one for the second time");
    let set = refusal::<HashSet<u8>>(&listed(vec![7u8, 8, 7]));
    assert_error(&set, 7, expected, found);
    let map = refusal::<HashMap<String, u8>>(&listed(vec![("a".to_owned(), 1u8), ("a".into(), 2)]));
    assert_error(&map, 16, expected, found);
    let units = refusal::<HashSet<()>>(&9u32.to_le_bytes());
    assert_error(&units, 4, expected, found);
}

#[test]
fn an_error_names_the_way_to_it() {
    let error = refusal::<(u8, Vec<(bool, u8)>)>(&[0, 1, 0, 0, 0, 7, 0]);
    assert_eq!(error.path().last(), Some("0"));
    assert_eq!(error.path().nth(1), Some("1"));
    let text = error.to_string();
    assert!(
        text.ends_with(".1.0: expected a bool, 0 or 1, found 7"),
        "{text}"
    );
}

#[test]
fn a_locked_or_poisoned_cell_is_refused_by_the_sender() {
    let cell = RefCell::new(1u8);
    assert_eq!(body(&cell), [1]);
    let guard = cell.borrow_mut();
    let error = to_bytes(&cell).unwrap_err();
    drop(guard);
    assert_eq!(
        error.to_string(),
        "a `RefCell` can't be sent while it is mutably borrowed"
    );

    let poison = |lock: &dyn Fn()| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(lock));
        let message = *result.unwrap_err().downcast::<&str>().unwrap();
        assert!(message.starts_with("poisons the "), "{message}");
    };
    let mutex = Mutex::new(1u8);
    assert_eq!(body(&mutex), [1]);
    poison(&|| {
        let _guard = mutex.lock().unwrap();
        panic!("poisons the mutex of the test");
    });
    let error = to_bytes(&mutex).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a `Mutex` that is poisoned can't be sent"
    );

    let lock = RwLock::new(1u8);
    assert_eq!(body(&lock), [1]);
    poison(&|| {
        let _guard = lock.write().unwrap();
        panic!("poisons the lock of the test");
    });
    let error = to_bytes(&lock).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an `RwLock` that is poisoned can't be sent"
    );
}
