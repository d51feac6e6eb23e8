//! `Rc` and `Arc`: sharing is kept, and nothing else comes of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossmist::{
    DecodeError, Decoder, EncodeErrorKind, Encoder, Object, Shape, from_bytes, to_bytes,
};

use super::support::{assert_error, body, message, refusal, through};

#[test]
fn sharing_is_kept() {
    let text = Rc::new("text".to_owned());
    let back = through(&vec![text.clone(), Rc::new("text".to_owned()), text]);
    assert!(Rc::ptr_eq(&back[0], &back[2]));
    assert!(!Rc::ptr_eq(&back[0], &back[1]));
    // Nobody else holds it: the decoder's own handle is gone.
    assert_eq!(Rc::strong_count(&back[0]), 2);

    let name: Arc<str> = "name".into();
    let numbers: Arc<[u8]> = [1, 2].into();
    let back = through(&(name.clone(), numbers.clone(), name, numbers));
    assert!(Arc::ptr_eq(&back.0, &back.2));
    assert!(Arc::ptr_eq(&back.1, &back.3));
}

#[test]
fn sharing_is_kept_within_what_is_shared_and_behind_cells() {
    let inner = Rc::new(7u8);
    let outer = Rc::new(RefCell::new(vec![inner.clone(), inner.clone()]));
    let (a, b, c) = through(&(outer.clone(), inner, outer));
    assert!(Rc::ptr_eq(&a, &c));
    assert!(Rc::ptr_eq(&a.borrow()[0], &a.borrow()[1]));
    assert!(Rc::ptr_eq(&a.borrow()[0], &b));
}

/// A type that can hold itself.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Node {
    next: Vec<Rc<Node>>,
}

impl Object for Node {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.next.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let next = Vec::decode(decoder)?;
        Ok(Node { next })
    }

    fn describe(shape: &mut Shape) {
        shape.part::<Vec<Rc<Node>>>("next");
    }
}

#[derive(Default)]
struct Ring(RefCell<Option<Rc<Ring>>>);

impl Object for Ring {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.0.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        RefCell::decode(decoder).map(Ring)
    }

    fn describe(shape: &mut Shape) {
        shape.part::<RefCell<Option<Rc<Ring>>>>("0");
    }
}

#[test]
fn a_cycle_is_refused_by_the_sender() {
    let ring = Rc::new(Ring::default());
    assert!(to_bytes(&ring).is_ok());
    *ring.0.borrow_mut() = Some(ring.clone());
    assert_eq!(*to_bytes(&ring).unwrap_err().kind(), EncodeErrorKind::Cycle);
    ring.0.take();
}

const NEW: u8 = 0;
const EARLIER: u8 = 1;

fn reference(number: u32) -> Vec<u8> {
    [&[EARLIER][..], &number.to_le_bytes()].concat()
}

#[test]
fn a_reference_to_an_incomplete_object_is_refused() {
    let expected = "the number of a complete `alloc::rc::Rc<codec::shared::Node>`";
    // A node whose only successor is number 0: itself.
    let itself = [&[NEW, 1, 0, 0, 0][..], &reference(0)].concat();
    assert_error(&refusal::<Rc<Node>>(&itself), 10, expected, "0");
    assert_error(&refusal::<Rc<Node>>(&reference(0)), 5, expected, "0");
    assert_error(
        &refusal::<Rc<Node>>(&reference(u32::MAX)),
        5,
        expected,
        "4294967295",
    );
    let tag = refusal::<Rc<Node>>(&[2, 0, 0, 0, 0]);
    assert_error(
        &tag,
        1,
        "0 or 1, for a new or an earlier shared object",
        "2",
    );
    // Control: complete, and then referred to.
    let earlier = [&[2, 0, 0, 0][..], &[NEW, 0, 0, 0, 0], &reference(0)].concat();
    let nodes: Vec<Rc<Node>> = from_bytes(&message(&earlier)).unwrap();
    assert!(Rc::ptr_eq(&nodes[0], &nodes[1]));
}

#[test]
fn a_reference_to_another_type_is_refused() {
    let bytes = [&[NEW, 5][..], &reference(0)].concat();
    assert!(from_bytes::<(Rc<u8>, Rc<u8>)>(&message(&bytes)).is_ok());
    let expected = "the number of a complete `alloc::rc::Rc<i8>`";
    assert_error(&refusal::<(Rc<u8>, Rc<i8>)>(&bytes), 7, expected, "0");
    let expected = "the number of a complete `alloc::sync::Arc<u8>`";
    assert_error(&refusal::<(Rc<u8>, Arc<u8>)>(&bytes), 7, expected, "0");
}

/// Nodes of which each leads to the one before, `twice` as well.
fn chain(length: usize, edges: usize) -> Vec<Rc<Node>> {
    let mut nodes: Vec<Rc<Node>> = vec![Rc::default()];
    while nodes.len() < length {
        let next = vec![nodes.last().unwrap().clone(); edges];
        nodes.push(Rc::new(Node { next }));
    }
    nodes
}

/// The bytes of such a chain, whatever the encoder thinks of it.
fn chain_bytes(length: u32, edges: u32) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[NEW, 0, 0, 0, 0]);
    for number in 0..length - 1 {
        bytes.push(NEW);
        bytes.extend_from_slice(&edges.to_le_bytes());
        for _ in 0..edges {
            bytes.extend_from_slice(&reference(number));
        }
    }
    bytes
}

#[test]
fn a_chain_of_references_counts_as_nesting() {
    // A level for the list, and two for each node: its allocation and its own list.
    assert_eq!(body(&chain(63, 1)), chain_bytes(63, 1));
    assert_eq!(from_bytes(&message(&chain_bytes(63, 1))), Ok(chain(63, 1)));

    let error = to_bytes(&chain(64, 1)).unwrap_err();
    assert_eq!(*error.kind(), EncodeErrorKind::TooDeep { limit: 128 });
    // Dropped as it was built, a chain of this length would overflow any stack.
    let error = refusal::<Vec<Rc<Node>>>(&chain_bytes(1_000_000, 1));
    let expected = "a nesting of at most 128 (`Limits::nesting`)";
    assert_error(&error, 4 + 5 + 63 * 10, expected, "a deeper one");
}

#[test]
fn keys_that_share_do_not_make_decoding_slow() {
    // A node with two ways to the one before has 2⁶⁰ ways to the first: nobody may hash it.
    let graph = body(&chain(60, 2));
    assert!(from_bytes::<Vec<Rc<Node>>>(&message(&graph)).is_ok());
    let keyed = [&graph[..], &1u32.to_le_bytes(), &reference(59)].concat();
    let begin = Instant::now();
    for refused in [
        refusal::<(Vec<Rc<Node>>, HashSet<Rc<Node>>)>(&keyed),
        refusal::<(Vec<Rc<Node>>, BTreeSet<Rc<Node>>)>(&keyed),
        refusal::<(Vec<Rc<Node>>, BinaryHeap<Rc<Node>>)>(&keyed),
    ] {
        assert_eq!(refused.at(), keyed.len());
        assert_eq!(refused.expected(), "keys that share less");
        assert!(refused.found().starts_with("a reference to "), "{refused}");
    }
    assert!(begin.elapsed() < Duration::from_secs(30));

    let nodes = chain(60, 2);
    let set = BTreeSet::from([BinaryHeap::from(vec![nodes[59].clone()]).into_vec()]);
    let error = to_bytes(&(nodes, set)).unwrap_err();
    assert!(
        matches!(error.kind(), EncodeErrorKind::KeysShareTooMuch { .. }),
        "{error}"
    );
}

#[test]
fn keys_that_share_one_long_string_do_not_make_decoding_slow() {
    // Every key is 9 bytes in the message and 1 MiB for whoever compares two of them.
    let long = Rc::new("x".repeat(1 << 20));
    let keys: BTreeMap<(Rc<String>, u32), ()> =
        (0..1000).map(|n| ((long.clone(), n), ())).collect();
    let error = to_bytes(&keys).unwrap_err();
    assert!(
        matches!(error.kind(), EncodeErrorKind::KeysShareTooMuch { .. }),
        "{error}"
    );
    // As values they are welcome, and so are short names as keys of many maps.
    let values: Vec<(Rc<String>, u32)> = (0..1000).map(|n| (long.clone(), n)).collect();
    assert_eq!(through(&values).len(), 1000);
    let names: Vec<Rc<str>> = (0..100).map(|n| format!("name {n}").into()).collect();
    let map: BTreeMap<Rc<str>, u8> = names.into_iter().map(|name| (name, 1)).collect();
    let maps = vec![map; 200];
    assert_eq!(through(&maps), maps);
}
