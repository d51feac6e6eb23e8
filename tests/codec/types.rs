//! Each type: there and back, and under noise.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::{NonZero, Saturating, Wrapping};
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use crossmist::Serde;
use proptest::collection::{btree_map, btree_set, hash_map, hash_set, vec};
use proptest::prelude::*;

use super::support::{noise, survive, through};

/// Each line is a type, how to make values, how to compare them, and how many times the length of
/// its message decoding it may take: the length itself, and `size_of` the elements for each least
/// number of bytes that one takes.
macro_rules! types {
    ($($name:ident: $type:ty, $strategy:expr, $same:expr, $multiple:literal;)*) => {$(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn comes_back(value in $strategy) {
                    let value: $type = value;
                    let same: fn(&$type, &$type) -> bool = $same;
                    let back = through(&value);
                    prop_assert!(same(&value, &back), "{value:?} came back as {back:?}");
                }

                #[test]
                fn survives_noise(value in $strategy, noise in noise()) {
                    let value: $type = value;
                    survive(&value, &noise, $multiple);
                }
            }
        }
    )*};
}

fn debug<T: std::fmt::Debug>(a: &T, b: &T) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..20).prop_map(String::from_iter)
}

fn c_text() -> impl Strategy<Value = CString> {
    vec(1..=255u8, 0..40).prop_map(|bytes| CString::new(bytes).unwrap())
}

fn os_text() -> impl Strategy<Value = OsString> {
    vec(any::<u8>(), 0..40).prop_map(OsString::from_vec)
}

fn words() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..8)
}

fn number<T: Arbitrary>() -> impl Strategy<Value = T> {
    any::<T>()
}

fn ordering() -> impl Strategy<Value = Ordering> {
    (-1..2i8).prop_map(|n| n.cmp(&0))
}

fn v4() -> impl Strategy<Value = SocketAddrV4> {
    any::<(Ipv4Addr, u16)>().prop_map(|(ip, port)| SocketAddrV4::new(ip, port))
}

fn v6() -> impl Strategy<Value = SocketAddrV6> {
    any::<(Ipv6Addr, u16, u32, u32)>()
        .prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(ip, port, flow, scope))
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n))
}

fn near() -> impl Strategy<Value = Duration> {
    (0..1u64 << 40, 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n))
}

fn system_time() -> impl Strategy<Value = SystemTime> {
    (near(), any::<bool>()).prop_map(|(distance, after)| {
        if after {
            SystemTime::UNIX_EPOCH + distance
        } else {
            SystemTime::UNIX_EPOCH - distance
        }
    })
}

fn instant() -> impl Strategy<Value = Instant> {
    (near(), any::<bool>()).prop_map(|(distance, after)| {
        if after {
            Instant::now() + distance
        } else {
            Instant::now() - distance
        }
    })
}

fn bound() -> impl Strategy<Value = Bound<u16>> {
    prop_oneof![
        any::<u16>().prop_map(Bound::Included),
        any::<u16>().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn io_error() -> impl Strategy<Value = io::Error> {
    prop_oneof![
        (1..134i32).prop_map(io::Error::from_raw_os_error),
        text().prop_map(|text| io::Error::new(io::ErrorKind::InvalidData, text)),
        Just(()).prop_map(|()| io::Error::from(io::ErrorKind::UnexpectedEof)),
        Just(()).prop_map(|()| io::Error::other("other")),
    ]
}

fn same_io_error(a: &io::Error, b: &io::Error) -> bool {
    (a.kind(), a.raw_os_error(), a.to_string()) == (b.kind(), b.raw_os_error(), b.to_string())
}

fn io_error_kind() -> impl Strategy<Value = io::ErrorKind> {
    use io::ErrorKind::{NotFound, Other, OutOfMemory, WouldBlock};
    prop::sample::select(vec![NotFound, Other, OutOfMemory, WouldBlock])
}

/// A queue whose elements lie in two slices.
fn queue() -> impl Strategy<Value = VecDeque<u16>> {
    (vec(any::<u16>(), 0..20), vec(any::<u16>(), 0..20)).prop_map(|(back, front)| {
        let mut queue = VecDeque::from(back);
        for number in front {
            queue.push_front(number);
        }
        queue
    })
}

fn sorted(heap: &BinaryHeap<u16>) -> Vec<u16> {
    heap.clone().into_sorted_vec()
}

types! {
    u8_: u8, number(), PartialEq::eq, 2;
    u16_: u16, number(), PartialEq::eq, 2;
    u32_: u32, number(), PartialEq::eq, 2;
    u64_: u64, number(), PartialEq::eq, 2;
    u128_: u128, number(), PartialEq::eq, 2;
    usize_: usize, number(), PartialEq::eq, 2;
    i8_: i8, number(), PartialEq::eq, 2;
    i16_: i16, number(), PartialEq::eq, 2;
    i32_: i32, number(), PartialEq::eq, 2;
    i64_: i64, number(), PartialEq::eq, 2;
    i128_: i128, number(), PartialEq::eq, 2;
    isize_: isize, number(), PartialEq::eq, 2;
    f32_: f32, any::<u32>().prop_map(f32::from_bits), |a, b| a.to_bits() == b.to_bits(), 2;
    f64_: f64, any::<u64>().prop_map(f64::from_bits), |a, b| a.to_bits() == b.to_bits(), 2;
    bool_: bool, number(), PartialEq::eq, 2;
    char_: char, number(), PartialEq::eq, 2;
    unit: (), Just(()), PartialEq::eq, 2;
    phantom: PhantomData<str>, Just(PhantomData), PartialEq::eq, 2;
    non_zero: NonZero<u32>, (1..u32::MAX).prop_map(|n| NonZero::new(n).unwrap()), PartialEq::eq, 2;
    wrapping: Wrapping<i32>, any::<i32>().prop_map(Wrapping), PartialEq::eq, 2;
    saturating: Saturating<u8>, any::<u8>().prop_map(Saturating), PartialEq::eq, 2;
    reverse: Reverse<u8>, any::<u8>().prop_map(Reverse), PartialEq::eq, 2;
    ordering_: Ordering, ordering(), PartialEq::eq, 2;

    string: String, text(), PartialEq::eq, 3;
    boxed_str: Box<str>, text().prop_map(String::into_boxed_str), PartialEq::eq, 3;
    cow_str: Cow<'static, str>, text().prop_map(Cow::Owned), PartialEq::eq, 3;
    c_string: CString, c_text(), PartialEq::eq, 4;
    boxed_c_str: Box<CStr>, c_text().prop_map(CString::into_boxed_c_str), PartialEq::eq, 4;
    cow_c_str: Cow<'static, CStr>, c_text().prop_map(Cow::Owned), PartialEq::eq, 4;
    os_string: OsString, os_text(), PartialEq::eq, 3;
    boxed_os_str: Box<OsStr>, os_text().prop_map(OsString::into_boxed_os_str), PartialEq::eq, 3;
    cow_os_str: Cow<'static, OsStr>, os_text().prop_map(Cow::Owned), PartialEq::eq, 3;
    path_buf: PathBuf, os_text().prop_map(PathBuf::from), PartialEq::eq, 3;
    boxed_path: Box<Path>, os_text().prop_map(|t| PathBuf::from(t).into()), PartialEq::eq, 3;
    cow_path: Cow<'static, Path>, os_text().prop_map(|t| Cow::Owned(t.into())), PartialEq::eq, 3;

    bytes: Vec<u8>, vec(any::<u8>(), 0..200), PartialEq::eq, 3;
    numbers: Vec<u64>, vec(any::<u64>(), 0..50), PartialEq::eq, 3;
    strings: Vec<String>, words(), PartialEq::eq, 20;
    vecs: Vec<Vec<Vec<u16>>>, vec(vec(vec(any::<u16>(), 0..3), 0..3), 0..3), PartialEq::eq, 30;
    boxed_slice: Box<[String]>, words().prop_map(Vec::into), PartialEq::eq, 20;
    cow_slice: Cow<'static, [String]>, words().prop_map(Cow::Owned), PartialEq::eq, 20;
    array: [u32; 7], any::<[u32; 7]>(), PartialEq::eq, 4;
    array_of_strings: [String; 3], [text(), text(), text()], PartialEq::eq, 8;
    tuple: (u8, String, bool), (any::<u8>(), text(), any::<bool>()), PartialEq::eq, 3;
    option: Option<String>, proptest::option::of(text()), PartialEq::eq, 3;
    options: Vec<Option<[u64; 8]>>, vec(any::<Option<[u64; 8]>>(), 0..9), PartialEq::eq, 250;
    result: Result<u8, String>, proptest::result::maybe_ok(any::<u8>(), text()), PartialEq::eq, 3;
    boxed: Box<String>, text().prop_map(Box::new), PartialEq::eq, 12;
    boxes: Vec<Box<u8>>, vec(any::<u8>().prop_map(Box::new), 0..80), PartialEq::eq, 40;
    cow: Cow<'static, [u16]>, vec(any::<u16>(), 0..80).prop_map(Cow::Owned), PartialEq::eq, 3;

    vec_deque: VecDeque<u16>, queue(), PartialEq::eq, 6;
    linked_list: LinkedList<u16>, vec(any::<u16>(), 0..30).prop_map(LinkedList::from_iter),
        PartialEq::eq, 20;
    binary_heap: BinaryHeap<u16>, vec(any::<u16>(), 0..30).prop_map(BinaryHeap::from),
        |a, b| sorted(a) == sorted(b), 3;
    b_tree_map: BTreeMap<u8, String>, btree_map(any::<u8>(), text(), 0..9), PartialEq::eq, 40;
    b_tree_set: BTreeSet<u16>, btree_set(any::<u16>(), 0..30), PartialEq::eq, 20;
    hash_map_: HashMap<u8, String>, hash_map(any::<u8>(), text(), 0..9), PartialEq::eq, 60;
    hash_set_: HashSet<String>, hash_set(text(), 0..9), PartialEq::eq, 60;

    rc: Rc<String>, text().prop_map(Rc::new), PartialEq::eq, 30;
    rcs: Vec<Rc<()>>, vec(Just(Rc::new(())), 0..40), PartialEq::eq, 150;
    arc: Arc<Vec<u16>>, vec(any::<u16>(), 0..30).prop_map(Arc::new), PartialEq::eq, 30;
    rc_str: Rc<str>, text().prop_map(Rc::from), PartialEq::eq, 30;
    arc_str: Arc<str>, text().prop_map(Arc::from), PartialEq::eq, 30;
    rc_slice: Rc<[u32]>, vec(any::<u32>(), 0..30).prop_map(Rc::from), PartialEq::eq, 30;
    arc_slice: Arc<[String]>, words().prop_map(Arc::from), PartialEq::eq, 30;
    cell: Cell<u32>, any::<u32>().prop_map(Cell::new), PartialEq::eq, 2;
    ref_cell: RefCell<String>, text().prop_map(RefCell::new), PartialEq::eq, 3;
    mutex: Mutex<String>, text().prop_map(Mutex::new), debug, 3;
    rw_lock: RwLock<String>, text().prop_map(RwLock::new), debug, 3;

    duration_: Duration, duration(), PartialEq::eq, 2;
    system_time_: SystemTime, system_time(), PartialEq::eq, 2;
    instant_: Instant, instant(), PartialEq::eq, 2;
    range: Range<u16>, any::<Range<u16>>(), PartialEq::eq, 2;
    range_inclusive: RangeInclusive<u16>, any::<RangeInclusive<u16>>(), PartialEq::eq, 2;
    range_from: RangeFrom<u16>, any::<RangeFrom<u16>>(), PartialEq::eq, 2;
    range_to: RangeTo<u16>, any::<RangeTo<u16>>(), PartialEq::eq, 2;
    range_to_inclusive: RangeToInclusive<u16>, any::<RangeToInclusive<u16>>(), PartialEq::eq, 2;
    range_full: RangeFull, Just(..), PartialEq::eq, 2;
    bound_: Bound<u16>, bound(), PartialEq::eq, 2;

    ip: IpAddr, any::<IpAddr>(), PartialEq::eq, 2;
    ip_v4: Ipv4Addr, any::<Ipv4Addr>(), PartialEq::eq, 2;
    ip_v6: Ipv6Addr, any::<Ipv6Addr>(), PartialEq::eq, 2;
    socket_v4: SocketAddrV4, v4(), PartialEq::eq, 2;
    socket_v6: SocketAddrV6, v6(), PartialEq::eq, 2;
    socket: SocketAddr, prop_oneof![v4().prop_map(SocketAddr::V4), v6().prop_map(SocketAddr::V6)],
        PartialEq::eq, 2;

    io_error_: io::Error, io_error(), same_io_error, 3;
    io_error_kind: io::ErrorKind, io_error_kind(), PartialEq::eq, 2;
    serde_: Serde<(u32, Vec<String>, Option<char>)>,
        (any::<u32>(), words(), any::<Option<char>>()).prop_map(Serde), PartialEq::eq, 40;
    serde_map: Serde<BTreeMap<String, Vec<u8>>>,
        btree_map(text(), vec(any::<u8>(), 0..9), 0..5).prop_map(Serde), PartialEq::eq, 400;

    mixed: Vec<(Rc<BTreeMap<u8, Box<[Option<Arc<str>>]>>>, HashSet<u16>)>,
        vec((btree_map(any::<u8>(), vec(proptest::option::of(text()), 0..3), 0..3)
            .prop_map(|map| {
                let slice = |texts: Vec<Option<String>>| {
                    texts.into_iter().map(|text| text.map(Arc::from)).collect()
                };
                Rc::new(map.into_iter().map(|(key, texts)| (key, slice(texts))).collect())
            }), hash_set(any::<u16>(), 0..5)), 0..3),
        PartialEq::eq, 150;
}
