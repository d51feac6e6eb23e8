//! Nesting, stack, memory and steps: bounded for any bytes, by the same numbers at both ends.

use std::cell::Cell;
use std::collections::{BTreeSet, BinaryHeap, HashSet, LinkedList, VecDeque};

use crossmist::{
    ChannelError, DecodeError, Decoder, EncodeErrorKind, Encoder, Limits, Object, Shape, channel,
    from_bytes, to_bytes,
};

use super::support::{FIXED_BYTES, assert_error, body, cost, message, refusal, through};

/// A list of boxes, `SIZE` bytes in each of them.
#[derive(Debug)]
struct List<const SIZE: usize> {
    payload: [u8; SIZE],
    next: Option<Box<List<SIZE>>>,
}

impl<const SIZE: usize> Object for List<SIZE> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.payload.encode(encoder);
        self.next.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(List {
            payload: Object::decode(decoder)?,
            next: Object::decode(decoder)?,
        })
    }

    fn describe(shape: &mut Shape) {
        shape.part::<Option<Box<List<SIZE>>>>("next");
    }
}

fn list<const SIZE: usize>(length: usize) -> List<SIZE> {
    let end = List {
        payload: [0; SIZE],
        next: None,
    };
    (1..length).fold(end, |next, _| List {
        payload: [0; SIZE],
        next: Some(Box::new(next)),
    })
}

/// Runs on a thread with this much stack. An overflow would end the process.
fn on_stack<R: Send + 'static>(bytes: usize, run: impl FnOnce() -> R + Send + 'static) -> R {
    let thread = std::thread::Builder::new().stack_size(bytes).spawn(run);
    thread.unwrap().join().unwrap()
}

#[test]
fn a_long_list_of_boxes_is_refused_at_both_ends() {
    assert!(to_bytes(&list::<1>(129)).is_ok());
    let error = to_bytes(&list::<1>(130)).unwrap_err();
    assert_eq!(*error.kind(), EncodeErrorKind::TooDeep { limit: 128 });

    // A payload and a `Some` again and again.
    let error = refusal::<List<1>>(&[1; 100_000]);
    let expected = "a nesting of at most 128 (`Limits::nesting`)";
    assert_error(&error, 2 * 129, expected, "a deeper one");
}

#[test]
fn deep_nesting_fits_a_small_stack() {
    on_stack(256 << 10, || {
        let bytes = to_bytes(&list::<1>(129)).unwrap();
        assert!(from_bytes::<List<1>>(&bytes).is_ok());
        drop(refusal::<List<1>>(&[1; 100_000]));
    });
}

#[test]
fn values_that_are_large_in_place_do_not_overflow_the_stack() {
    on_stack(2 << 20, || {
        // Each level takes several times 16 KiB, and 128 of them are allowed.
        let error = refusal::<List<16384>>(&vec![1; 3 << 20]);
        assert_eq!(error.expected(), "a value that leaves some stack");
        assert_eq!(error.found(), "a deeper nesting");
        assert!(from_bytes::<List<16384>>(&to_bytes(&list::<16384>(2)).unwrap()).is_ok());
    });
}

#[test]
fn a_nesting_raised_beyond_the_stack_is_refused_at_both_ends() {
    on_stack(2 << 20, || {
        let limits = Limits::new().nesting(usize::MAX);
        let (mut tx, rx) = channel::<List<1>>().unwrap();
        tx.set_limits(limits);
        tx.send(&list::<1>(200)).unwrap();
        let long = list::<1>(20_000);
        let error = tx.send(&long).unwrap_err();
        // Dropping it in the usual way would overflow the stack just the same.
        let mut next = long.next;
        while let Some(mut node) = next {
            next = node.next.take();
        }
        let ChannelError::Encode(error) = error else {
            panic!("{error}")
        };
        assert_eq!(
            error.to_string(),
            "the value nests deeper than the stack allows; flatten it (a long list is a `Vec`)"
        );
        drop(rx);

        let (mut tx, rx) = channel::<Vec<u8>>().unwrap();
        let mut rx =
            crossmist::Receiver::<List<1>>::try_from(std::os::fd::OwnedFd::from(rx)).unwrap();
        rx.set_limits(limits);
        // The count of the bytes begins the list, the bytes go on with it.
        tx.send(&vec![1; 65_000]).unwrap();
        let error = rx.recv().unwrap_err();
        assert!(matches!(error, ChannelError::Decode(_)), "{error}");
    });
}

/// A list of lists of lists, without an end.
#[derive(Debug)]
struct Lists(Vec<Lists>);

impl Object for Lists {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.0.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Vec::decode(decoder).map(Lists)
    }

    fn describe(shape: &mut Shape) {
        shape.part::<Vec<Lists>>("0");
    }

    fn least_bytes() -> usize {
        4
    }
}

#[test]
fn nested_containers_reserve_within_one_bound() {
    // Each of 128 lists announces as many elements as its rest could hold.
    let length = 1 << 20;
    let mut bytes = Vec::new();
    for level in 0..120 {
        bytes.extend_from_slice(&((length / 4 - 1 - level) as u32).to_le_bytes());
    }
    bytes.resize(length, 0);
    let bytes = message(&bytes);
    let (result, cost) = cost(|| from_bytes::<Lists>(&bytes));
    let crossmist::BytesError::Decode(error) = result.unwrap_err() else {
        panic!("not the bytes are refused")
    };
    assert_eq!(error.found(), "the end after 0");
    // The bytes themselves, what is reserved ahead, and a level that was decoded and grew.
    let most = FIXED_BYTES + (1 + 8 + 3 * 6) * length;
    assert!(cost.peak <= most, "{} bytes", cost.peak);
}

thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// Counts how often it is decoded, from however many bytes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Step<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Object for Step<BYTES> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&self.0);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        STEPS.set(STEPS.get() + 1);
        decoder.array().map(Step)
    }

    fn describe(_: &mut Shape) {}
}

/// The steps that decoding `bytes` takes.
fn steps<T: Object>(bytes: &[u8]) -> usize {
    STEPS.set(0);
    drop(from_bytes::<T>(&message(bytes)));
    STEPS.get()
}

#[test]
fn elements_are_not_more_than_the_bytes_and_the_limit() {
    let mut bytes = u32::MAX.to_le_bytes().repeat(1000);
    for count in [1u32, 4000, 65_536, 65_537, u32::MAX] {
        bytes[..4].copy_from_slice(&count.to_le_bytes());
        for steps in [
            steps::<Vec<Step<0>>>(&bytes),
            steps::<Vec<Step<1>>>(&bytes),
            steps::<Vec<Vec<Step<0>>>>(&bytes),
            steps::<Vec<Option<Step<1>>>>(&bytes),
            steps::<LinkedList<Step<0>>>(&bytes),
            steps::<VecDeque<Step<0>>>(&bytes),
            steps::<BinaryHeap<Step<1>>>(&bytes),
            steps::<BTreeSet<Step<0>>>(&bytes),
            steps::<HashSet<Step<0>>>(&bytes),
        ] {
            assert!(steps <= 65_536 + bytes.len(), "{steps}");
        }
    }
}

#[test]
fn memory_limits_hold_for_a_type_much_larger_than_its_bytes() {
    type Sparse = Vec<Option<[u64; 128]>>;
    let (mut tx, mut rx) = channel::<Sparse>().unwrap();
    let sparse: Sparse = vec![None; 10_000];
    rx.set_limits(Limits::new().memory_bytes(20 << 20));
    tx.send(&sparse).unwrap();
    assert_eq!(rx.recv().unwrap().unwrap().len(), 10_000);
    rx.set_limits(Limits::new().memory_bytes(9 << 20));
    tx.send(&sparse).unwrap();
    let ChannelError::Decode(error) = rx.recv().unwrap_err() else {
        panic!("not the value is refused")
    };
    let wanted = 10_000 * size_of::<Option<[u64; 128]>>();
    assert_error(
        &error,
        4,
        "a value of at most 9437184 bytes (`Limits::memory_bytes`)",
        // And what the allocation takes beside its contents.
        &format!(
            "one that wants {} more, with 9437184 left",
            (wanted + 23) & !15
        ),
    );
}

#[test]
fn small_allocations_count_with_their_overhead() {
    /// Receives `count` elements under a limit of 4 MiB.
    fn receive<T: Object + Send + Sync>(
        count: usize,
        element: impl Fn() -> T,
    ) -> Result<Option<Vec<T>>, ChannelError> {
        let (mut tx, mut rx) = channel::<Vec<T>>().unwrap();
        rx.set_limits(Limits::new().memory_bytes(4 << 20));
        let elements = (0..count).map(|_| element()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| tx.send(&elements).unwrap());
            rx.recv()
        })
    }

    #[track_caller]
    fn check<T: Object + Send + Sync>(fits: usize, too_many: usize, element: impl Fn() -> T) {
        let received = receive(fits, &element).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(received.unwrap().len(), fits);
        let Err(ChannelError::Decode(error)) = receive(too_many, &element) else {
            panic!("not the value is refused")
        };
        let expected = "a value of at most 4194304 bytes (`Limits::memory_bytes`)";
        assert_eq!(error.expected(), expected);
    }
    // 8 bytes in the list and 32 of the heap.
    check::<Box<u8>>(100_000, 110_000, || Box::new(7));
    // 24 and 32.
    check::<Vec<u8>>(70_000, 80_000, || vec![7]);
    check::<String>(70_000, 80_000, || "7".to_owned());
    // 24 and 64: a node holds two links, and a box, which is another allocation.
    check::<LinkedList<Box<u8>>>(40_000, 50_000, || LinkedList::from([Box::new(7)]));
    // An empty vector takes no memory.
    check::<Vec<u8>>(170_000, 180_000, Vec::new);
}

#[test]
fn long_runs_come_back_beside_the_message_and_in_it() {
    for length in [65_535, 65_536, 65_537, 1 << 20] {
        let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
        assert_eq!(through(&bytes), bytes);
        let numbers: Vec<u32> = (0..length as u32).collect();
        assert_eq!(through(&(numbers.clone(), 1u8)), (numbers, 1));
        let text = "x".repeat(length);
        assert_eq!(through(&Box::new(text.clone())), Box::new(text));
    }
    let array = Box::new([[7u16; 40_000]; 2]);
    assert_eq!(through(&array), array);
}

#[test]
fn more_runs_than_can_travel_beside_a_message_come_back() {
    let runs: Vec<Vec<u8>> = (0..1030).map(|n| vec![n as u8; 65_536 + n % 3]).collect();
    assert_eq!(through(&runs), runs);
    // Behind a cell they are copied, and take the same places.
    let cells: Vec<_> = runs.into_iter().map(std::cell::RefCell::new).collect();
    assert_eq!(through(&cells), cells);
}

#[test]
fn a_run_is_as_long_as_the_value_says() {
    let mut bytes = to_bytes(&vec![1u8; 65_536]).unwrap();
    assert_eq!(bytes[32..36], 65_536u32.to_le_bytes());
    bytes[32..36].copy_from_slice(&65_537u32.to_le_bytes());
    let crossmist::BytesError::Decode(error) = from_bytes::<Vec<u8>>(&bytes).unwrap_err() else {
        panic!("not the value is refused")
    };
    assert_error(&error, 4, "a run of 65537 bytes", "65536 bytes");
    // Another type takes the run for elements of its own, and finds none.
    let crossmist::BytesError::Decode(error) =
        from_bytes::<Vec<String>>(&to_bytes(&vec![1u8; 65_536]).unwrap()).unwrap_err()
    else {
        panic!("not the value is refused")
    };
    assert_error(&error, 4, "4 bytes", "the end after 0");
}

#[test]
fn a_long_linked_list_is_no_deep_nesting() {
    let list: LinkedList<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(through(&list), list);
    assert_eq!(body(&list).len(), 100_004);
}

#[test]
fn an_order_that_contradicts_itself_is_no_danger() {
    /// Less than everything, itself included.
    #[derive(Debug, PartialEq, Eq)]
    struct Least(u8);
    #[expect(
        clippy::non_canonical_partial_ord_impl,
        reason = "that is the contradiction"
    )]
    impl PartialOrd for Least {
        fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
            Some(std::cmp::Ordering::Greater)
        }
    }
    impl Ord for Least {
        fn cmp(&self, _: &Self) -> std::cmp::Ordering {
            std::cmp::Ordering::Less
        }
    }
    impl Object for Least {
        fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
            self.0.encode(encoder);
        }
        fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
            decoder.byte().map(Least)
        }
        fn describe(_: &mut Shape) {}
    }
    // `Ord` is compared, by which the collections are ordered as well.
    let bytes = message(&body(&Vec::from_iter(0..100u8)));
    assert_eq!(from_bytes::<BTreeSet<Least>>(&bytes).unwrap().len(), 100);
    assert_eq!(from_bytes::<BinaryHeap<Least>>(&bytes).unwrap().len(), 100);
}
