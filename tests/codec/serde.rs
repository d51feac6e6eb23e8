//! `Serde<T>`: what hostile bytes could make a deserializer do, and don't.

use std::collections::BTreeMap;

use crossmist::{BytesError, EncodeErrorKind, Serde, from_bytes, to_bytes};
use serde::{Deserialize, Serialize};

use super::support::{FIXED_BYTES, assert_error, body, cost, message, refusal, through};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Named { name: String, value: f64 },
    One(Box<Tree>),
    Two(Box<Tree>, Box<Tree>),
    Many(Vec<Tree>),
    Unit(()),
    Three { next: Box<Tree> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    numbers: (u8, i16, u32, i64, u128, i128, f32, char, bool),
    text: String,
    bytes: Vec<u8>,
    option: Option<Option<u8>>,
    unit: (),
    array: [u16; 3],
    map: BTreeMap<String, Tree>,
    new: New,
    pair: Pair,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New(u8);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, String);

#[test]
fn everything_that_serde_knows_comes_back() {
    let named = Tree::Named {
        name: "name".into(),
        value: 0.5,
    };
    let tree = Tree::Two(
        Box::new(named),
        Box::new(Tree::Many(vec![Tree::Leaf, Tree::Unit(())])),
    );
    let value = Serde(Everything {
        numbers: (1, -2, 3, -4, 5, -6, 0.5, 'ä', true),
        text: "text".into(),
        bytes: vec![1, 2, 3],
        option: Some(None),
        unit: (),
        array: [1, 2, 3],
        map: BTreeMap::from([("tree".into(), tree)]),
        new: New(1),
        pair: Pair(2, "two".into()),
    });
    assert_eq!(through(&value), value);
    let long = Serde(vec![7u32; 100_000]);
    assert_eq!(through(&long), long);
}

/// Serialized bytes as they lie in a message.
fn serialized(bytes: &[u8]) -> Vec<u8> {
    body(&bytes.to_vec())
}

const EXPECTED: &str = "a serialized `codec::serde::Tree`";

#[test]
fn recursion_ends_at_the_limit_of_nesting() {
    // The variant `One` again and again. The tree's own level is one of the 128.
    let deep = |levels: usize| {
        let mut bytes = vec![2u8; levels];
        bytes.push(0);
        serialized(&bytes)
    };
    assert!(from_bytes::<Serde<Tree>>(&message(&deep(127))).is_ok());
    let error = refusal::<Serde<Tree>>(&deep(128));
    let end = 4 + 129;
    assert_error(&error, end, EXPECTED, "a nesting beyond `Limits::nesting`");
    let most = deep(60_000);
    let error = refusal::<Serde<Tree>>(&most);
    assert_error(
        &error,
        most.len(),
        EXPECTED,
        "a nesting beyond `Limits::nesting`",
    );
    // Lists within lists within lists.
    let error = refusal::<Serde<Tree>>(&serialized(&[4, 1].repeat(20_000)));
    assert_error(
        &error,
        40_004,
        EXPECTED,
        "a nesting beyond `Limits::nesting`",
    );
}

/// A tree of this height, whose levels alternate between the ways of nesting.
fn tree(height: usize) -> Tree {
    (0..height).fold(Tree::Leaf, |tree, level| match level % 3 {
        0 => Tree::One(Box::new(tree)),
        1 => Tree::Two(Box::new(Tree::Leaf), Box::new(tree)),
        _ => Tree::Three {
            next: Box::new(tree),
        },
    })
}

#[test]
fn a_value_is_refused_where_its_receiver_would_refuse_it() {
    // A leaf also has a level, for its receiver.
    let value = Serde(tree(127));
    assert_eq!(through(&value), value);
    for height in [128, 129, 2000] {
        let error = to_bytes(&Serde(tree(height))).unwrap_err();
        assert_eq!(*error.kind(), EncodeErrorKind::TooDeep { limit: 128 });
    }
    // Many shallow ones one after the other are welcome.
    let wide = Serde(Tree::Many(vec![tree(9); 1000]));
    assert_eq!(through(&wide), wide);
}

#[test]
fn recursion_fits_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(256 << 10);
    let run = || drop(refusal::<Serde<Tree>>(&serialized(&[2; 60_000])));
    thread.spawn(run).unwrap().join().unwrap();
}

/// It has no value, but a deserializer looks for one for ever.
#[derive(Debug, Serialize, Deserialize)]
struct Endless(Box<Endless>);

#[test]
fn recursion_without_bytes_ends_at_the_stack() {
    let error = refusal::<Serde<Endless>>(&serialized(&[]));
    let expected = "a serialized `codec::serde::Endless`";
    assert_error(&error, 4, expected, "a nesting that leaves no stack");
}

#[test]
fn elements_without_bytes_are_counted() {
    // A length of 2⁶⁴ - 1, and no element takes a byte.
    let endless = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    let error = refusal::<Serde<Vec<()>>>(&serialized(&endless));
    assert_error(
        &error,
        14,
        "a serialized `alloc::vec::Vec<()>`",
        "elements without bytes beyond `Limits::empty_elements`",
    );
    assert_eq!(through(&Serde(vec![(); 65_536])), Serde(vec![(); 65_536]));
    // Elements that have bytes aren't counted against that, nor are the fields of tuples.
    let pairs = Serde(vec![((), (), 1u8, Vec::<u8>::new()); 200_000]);
    assert_eq!(through(&pairs), pairs);
}

#[test]
fn elements_without_bytes_are_counted_for_the_whole_message() {
    let units = |count| Serde(vec![(); count]);
    let twice = vec![units(32_000), units(33_000)];
    assert_eq!(through(&twice), twice);
    let error = to_bytes(&vec![units(33_000), units(33_000)]).unwrap_err();
    assert!(
        matches!(error.kind(), EncodeErrorKind::TooManyEmptyElements { .. }),
        "{error}"
    );
    // 33,000 as serde's variable length number, twice.
    let mut bytes = 2u32.to_le_bytes().to_vec();
    bytes.extend(serialized(&[0xE8, 0x81, 0x02]).repeat(2));
    let error = refusal::<Vec<Serde<Vec<()>>>>(&bytes);
    assert_eq!(
        error.found(),
        "elements without bytes beyond `Limits::empty_elements`"
    );
}

#[test]
fn memory_is_counted_for_a_type_much_larger_than_its_bytes() {
    use crossmist::{ChannelError, Limits, channel};
    type Sparse = Serde<Vec<Option<[u64; 32]>>>;
    let (mut tx, mut rx) = channel::<Sparse>().unwrap();
    let sparse = Serde(vec![None; 10_000]);
    for (memory_bytes, fits) in [(6 << 20, true), (2 << 20, false)] {
        rx.set_limits(Limits::new().memory_bytes(memory_bytes));
        tx.send(&sparse).unwrap();
        match rx.recv() {
            Ok(value) => assert!(fits && value.as_ref() == Some(&sparse)),
            Err(ChannelError::Decode(error)) => {
                assert!(!fits, "{error}");
                assert_eq!(error.found(), "more memory than `Limits::memory_bytes`");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn small_allocations_count_with_their_overhead() {
    use crossmist::{ChannelError, Limits, channel};
    // 8 bytes in the list, 32 of the heap, and one for the number itself.
    for (count, fits) in [(100_000, true), (110_000, false)] {
        let (mut tx, mut rx) = channel::<Serde<Vec<Box<u8>>>>().unwrap();
        rx.set_limits(Limits::new().memory_bytes(4 << 20));
        tx.send(&Serde(vec![Box::new(7); count])).unwrap();
        match rx.recv() {
            Ok(value) => assert!(fits && value.unwrap().0.len() == count),
            Err(ChannelError::Decode(error)) => {
                assert!(!fits, "{error}");
                assert_eq!(error.found(), "more memory than `Limits::memory_bytes`");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn announced_lengths_reserve_no_more_than_the_bytes_justify() {
    // Lists within one another, of which each announces as many elements as there are bytes left.
    let mut bytes = Vec::new();
    for _ in 0..120 {
        bytes.extend_from_slice(&[4, 0x80, 0x80, 0x02]);
    }
    bytes.resize(40_000, 0);
    let message = message(&serialized(&bytes));
    let (result, cost) = cost(|| from_bytes::<Serde<Tree>>(&message));
    let Err(BytesError::Decode(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error.expected(), "a serialized `codec::serde::Tree`");
    let most = FIXED_BYTES + 4 * size_of::<Tree>() * message.len();
    assert!(cost.peak <= most, "{} bytes, {most} allowed", cost.peak);
}

#[test]
fn a_serialized_value_ends_where_its_bytes_do() {
    let error = refusal::<Serde<u8>>(&serialized(&[1, 2, 3]));
    assert_error(&error, 7, "the end of a serialized value", "2 bytes more");
    let error = refusal::<Serde<u16>>(&serialized(&[]));
    assert_eq!((error.at(), error.expected()), (4, "a serialized `u16`"));
    let bytes = to_bytes(&Serde(5u8)).unwrap();
    assert_eq!(from_bytes(&bytes), Ok(Serde(5u8)));
}

#[test]
fn what_can_not_be_serialized_is_refused_by_the_sender() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
    }
    struct Lengthless;
    impl Serialize for Lengthless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(std::iter::from_fn(|| None::<u8>))
        }
    }
    impl<'de> Deserialize<'de> for Lengthless {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Lengthless)
        }
    }
    let error = to_bytes(&Serde(Lengthless)).unwrap_err().to_string();
    assert!(error.starts_with("`codec::serde::"), "{error}");
    assert!(
        error.contains("a map or a sequence whose length isn't known when it begins"),
        "{error}"
    );
    let error = to_bytes(&Serde(Untagged::Number(1)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Untagged` depends on what the input holds"),
        "{error}"
    );
}
