//! Code goes down only: callbacks, trait objects and references to statics, to children and over
//! trusted channels; and what a forger of them gets.

mod support;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::rc::Rc;

use crossmist::{
    BindMut, BindRef, BindValue, ChannelError, DecodeError, Decoder, Delayed, Duplex,
    EncodeErrorKind, Encoder, Error, FnMutObject, FnObject, FnOnceObject, Object, ProtocolError,
    Receiver, Sender, Shape, StaticRef, channel, duplex, func, lambda, static_ref, trusted,
};
use support::{Holdings, raw};

#[crossmist::main]
fn main() {
    support::main(
        cases![
            every_callable_runs_in_a_child,
            every_callable_runs_over_a_trusted_channel,
            trait_objects_go_down_and_over_trusted_channels,
            statics_are_the_same_in_a_child,
            a_delayed_value_holds_code_like_any_other,
            trusted_ends_go_down_and_over_trusted_channels,
            code_over_a_data_channel_is_refused_by_its_header,
            forged_references_are_refused_and_not_followed,
            forged_entries_are_refused_and_not_followed,
            a_reference_is_named_once_and_has_to_be_named,
            a_record_of_another_type_is_refused,
            auto_traits_cannot_be_gained_on_the_way,
            a_trusted_end_is_not_sent_as_data,
            a_trusted_end_is_not_accepted_as_data,
            a_result_that_could_hold_code_is_refused_before_anything_starts,
            a_channel_whose_values_could_hold_code_is_refused_when_it_is_made,
            code_that_its_type_hides_is_refused_by_the_sender,
            a_cycle_of_types_is_no_obstacle,
        ],
        &[],
    );
}

#[func]
fn add(a: i32, b: i32) -> i32 {
    a + b
}

#[func]
fn add_any<T: std::ops::Add<Output = T> + Object>(a: T, b: T) -> T {
    a + b
}

#[func(callback)]
fn length_plus(text: &Words, b: i32) -> i32 {
    text.0.len() as i32 + b
}

#[func(callback)]
fn count_up(total: &mut i32, by: i32) -> i32 {
    *total += by;
    *total
}

type Shared = Box<dyn FnObject<(i32,), Output = i32>>;
type Changing = Box<dyn FnMutObject<(i32,), Output = i32>>;
type Once = Box<dyn FnOnceObject<(i32,), Output = i32>>;
type SharedSync = Box<dyn FnObject<(i32,), Output = i32> + Send + Sync>;

#[func]
fn call_shared(f: Shared, x: i32) -> i32 {
    f.call_object((x,)) + f.call_object((x,))
}

#[func]
fn call_changing(mut f: Changing, x: i32) -> (i32, i32) {
    (f.call_object_mut((x,)), f.call_object_mut((x,)))
}

#[func]
fn call_once(f: Once, x: i32) -> i32 {
    f.call_object_once((x,))
}

#[func]
fn call_from_threads(f: SharedSync, x: i32) -> i32 {
    let f = &f;
    std::thread::scope(|scope| {
        let other = scope.spawn(move || f.call_object((x,)));
        f.call_object((x,)) + other.join().unwrap()
    })
}

fn shared() -> Vec<Shared> {
    let ten = 10;
    let text = words("0123456789");
    vec![
        Box::new(add.bind_value(10)),
        Box::new(add_any::<i32>.bind_value(10)),
        Box::new(length_plus.bind_ref(words("0123456789"))),
        Box::new(lambda! { move(ten: i32) |x: i32| -> i32 { ten + x } }),
        Box::new(lambda! { move(&text: &Words) |x: i32| -> i32 { text.0.len() as i32 + x } }),
        Box::new(lambda! { |x: i32| -> i32 { 10 + x } }),
        // A box in a box.
        Box::new(Box::new(add.bind_value(10)) as Shared),
    ]
}

fn every_callable_runs_in_a_child() {
    for f in shared() {
        assert_eq!(call_shared.run(f, 5).unwrap(), 30);
    }
    assert_eq!(call_once.run(Box::new(add.bind_value(10)), 5).unwrap(), 15);
    let changing = count_up.bind_mut(10);
    assert_eq!(call_changing.run(Box::new(changing), 5).unwrap(), (15, 20));
    let total = 10;
    let changing = lambda! { move(&mut total: &mut i32) |x: i32| -> i32 { *total += x; *total } };
    assert_eq!(call_changing.run(Box::new(changing), 5).unwrap(), (15, 20));
    assert_eq!(
        call_from_threads
            .run(Box::new(add.bind_value(10)), 5)
            .unwrap(),
        30
    );
}

#[func]
fn serve(mut jobs: Duplex<i32, Shared>) {
    while let Some(job) = jobs.recv().unwrap() {
        jobs.send(&job.call_object((5,))).unwrap();
    }
}

#[func]
fn serve_changing(mut jobs: Duplex<i32, (Changing, Once, SharedSync)>) {
    while let Some((mut changing, once, shared)) = jobs.recv().unwrap() {
        let sum = changing.call_object_mut((1,)) + changing.call_object_mut((1,));
        let sum = sum + once.call_object_once((1,)) + shared.call_object((1,));
        jobs.send(&sum).unwrap();
    }
}

fn every_callable_runs_over_a_trusted_channel() {
    let (mut ours, theirs) = trusted::duplex::<Shared, i32>().unwrap();
    let child = serve.spawn(theirs).unwrap();
    for f in shared() {
        assert_eq!(ours.request(&f).unwrap(), 15);
    }
    drop(ours);
    child.join().unwrap();
    let (mut ours, theirs) = trusted::duplex::<(Changing, Once, SharedSync), i32>().unwrap();
    let child = serve_changing.spawn(theirs).unwrap();
    let job = (
        Box::new(count_up.bind_mut(0)) as Changing,
        Box::new(add.bind_value(10)) as Once,
        Box::new(add.bind_value(100)) as SharedSync,
    );
    assert_eq!(ours.request(&job).unwrap(), 1 + 2 + 11 + 101);
    drop(ours);
    child.join().unwrap();
}

#[crossmist::object]
trait Speaker: Object {
    fn say(&self) -> String;
}

#[derive(Object)]
struct Words(String);

#[derive(Object)]
struct Two<T> {
    first: Box<dyn Speaker>,
    second: T,
}

impl Speaker for Words {
    fn say(&self) -> String {
        self.0.clone()
    }
}

impl<T: Speaker> Speaker for Two<T> {
    fn say(&self) -> String {
        format!("{}, {}", self.first.say(), self.second.say())
    }
}

fn words(text: &str) -> Words {
    Words(text.to_owned())
}

#[func]
fn listen(speakers: Vec<Box<dyn Speaker>>) -> Vec<String> {
    speakers.iter().map(|speaker| speaker.say()).collect()
}

#[func]
fn listen_on(mut rx: Receiver<Box<dyn Speaker>>) -> String {
    rx.recv().unwrap().unwrap().say()
}

fn two() -> Two<Two<Words>> {
    Two {
        first: Box::new(words("a")),
        second: Two {
            first: Box::new(words("b")),
            second: words("c"),
        },
    }
}

fn trait_objects_go_down_and_over_trusted_channels() {
    let speakers: Vec<Box<dyn Speaker>> = vec![Box::new(words("x")), Box::new(two())];
    assert_eq!(listen.run(speakers).unwrap(), ["x", "a, b, c"]);
    let (mut tx, rx) = trusted::channel::<Box<dyn Speaker>>().unwrap();
    tx.send(&(Box::new(two()) as Box<dyn Speaker>)).unwrap();
    assert_eq!(listen_on.run(rx).unwrap(), "a, b, c");
}

type Table = [u64; 4];
static TABLE: Table = [1, 10, 100, 1000];
static OTHER: &str = "a static of another type";

#[func]
fn look_up(table: StaticRef<Table>, index: usize) -> u64 {
    table[index]
}

fn statics_are_the_same_in_a_child() {
    let table = static_ref!(TABLE: Table);
    assert_eq!(look_up.run(table, 2).unwrap(), 100);
    let (mut tx, mut rx) = trusted::channel::<StaticRef<Table>>().unwrap();
    tx.send(&table).unwrap();
    let received = rx.recv().unwrap().unwrap();
    assert!(std::ptr::eq(received.as_static(), &raw const TABLE));
}

#[func]
fn decode_later(f: Delayed<Shared>) -> i32 {
    f.deserialize().call_object((5,))
}

fn a_delayed_value_holds_code_like_any_other() {
    let f = || Delayed::new(Box::new(add.bind_value(10)) as Shared);
    assert_eq!(decode_later.run(f()).unwrap(), 15);
    let (mut tx, mut rx) = trusted::channel::<Delayed<Shared>>().unwrap();
    tx.send(&f()).unwrap();
    let received = rx.recv().unwrap().unwrap().decode().unwrap();
    assert_eq!(received.call_object((5,)), 15);
    assert!(matches!(
        channel::<Delayed<Shared>>(),
        Err(ChannelError::CarriesCode { .. })
    ));
}

#[func]
fn serve_one(mut ends: Receiver<Duplex<i32, Shared>>) {
    let mut jobs = ends.recv().unwrap().unwrap();
    let job = jobs.recv().unwrap().unwrap();
    jobs.send(&job.call_object((5,))).unwrap();
}

fn trusted_ends_go_down_and_over_trusted_channels() {
    let (mut tx, rx) = trusted::channel::<Duplex<i32, Shared>>().unwrap();
    let (mut ours, theirs) = trusted::duplex::<Shared, i32>().unwrap();
    tx.send(&theirs).unwrap();
    let child = serve_one.spawn(rx).unwrap();
    let job = Box::new(add.bind_value(10)) as Shared;
    assert_eq!(ours.request(&job).unwrap(), 15);
    child.join().unwrap();
}

/// A message as bytes: a value, and code references beside it.
fn message(value: &[u8], code: &[u64]) -> Vec<u8> {
    let mut packet = vec![0xC1, 0, 0, 0];
    packet.extend((value.len() as u32).to_le_bytes());
    packet.extend((code.len() as u32).to_le_bytes());
    packet.extend([0; 20]);
    packet.extend(value);
    for reference in code {
        packet.extend(reference.to_le_bytes());
    }
    packet
}

/// The code references of a value, as they go over a trusted channel.
fn references_of<T: Object>(value: &T) -> Vec<u64> {
    let (mut tx, rx) = trusted::channel::<T>().unwrap();
    tx.send(value).unwrap();
    let packet = raw::receive(OwnedFd::from(rx).as_raw_fd());
    let number = |at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().unwrap()) as usize;
    let code = &packet[32 + number(4)..];
    assert_eq!(code.len(), 8 * number(8));
    let references = code.chunks(8);
    references
        .map(|reference| u64::from_le_bytes(reference.try_into().unwrap()))
        .collect()
}

/// A data channel's end, and a raw one.
fn data<T: Object>() -> (OwnedFd, Receiver<T>) {
    let (theirs, ours) = duplex::<(), ()>().unwrap();
    let ours = OwnedFd::from(ours).try_into().unwrap();
    (theirs.into(), ours)
}

/// A trusted channel's end, and a raw one.
fn code<T: Object>() -> (OwnedFd, Receiver<T>) {
    let (tx, rx) = trusted::channel().unwrap();
    (tx.into(), rx)
}

fn code_over_a_data_channel_is_refused_by_its_header() {
    let real = references_of(&static_ref!(TABLE: Table))[0];
    let (theirs, mut ours) = data::<u32>();
    // Bytes that would be right for a `u32`, with a reference that would be right elsewhere.
    raw::send(theirs.as_raw_fd(), &message(&[0; 4], &[real])).unwrap();
    let result = ours.recv();
    assert!(
        matches!(
            result,
            Err(ChannelError::Malformed(ProtocolError::Code {
                references: 1
            }))
        ),
        "{result:?}"
    );
}

/// The mapping of this program's file with these permissions, as offsets of its image.
fn mapping(permissions: &str) -> (u64, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let program = std::fs::read_link("/proc/self/exe").unwrap();
    let own = maps
        .lines()
        .filter(|line| line.ends_with(&program.display().to_string()));
    let ranges: Vec<_> = own
        .map(|line| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            (number(from), number(to), rest[..4].to_owned())
        })
        .collect();
    let base = ranges[0].0;
    let found = ranges.iter().find(|range| range.2 == permissions).unwrap();
    (found.0 - base, found.1 - base)
}

/// References that lead nowhere good. `real` leads to a record of another type.
fn forged(real: u64) -> Vec<(&'static str, u64)> {
    let (code, _) = mapping("r-xp");
    let (writable, _) = mapping("rw-p");
    let (constants, constants_end) = mapping("r--p");
    let mut forged = vec![
        ("the base", 0),
        ("the end of memory", u64::MAX),
        ("marks alone", 0b11 << 62),
        ("past the base", u64::MAX >> 2),
        ("the kernel's half", 1 << 61),
        ("past the image", 1 << 32),
        ("code", code),
        ("code", code + 0x1000),
        ("writable data", writable),
        ("the first constant", constants),
        ("the last constant", constants_end - 8),
        ("across the end of the constants", constants_end - 4),
        ("another type", real),
    ];
    for offset in [1, 2, 4, 7] {
        forged.push(("not aligned", real + offset));
    }
    forged.push(("behind it", real + 8));
    forged.push(("before it", real - 8));
    forged
}

/// Sends forged references as a `T` and expects each to be refused, with a real one between.
fn assert_refused<T: Object>(value: &T, bytes: &[u8], other: u64, expected: &str) {
    let real = references_of(value);
    let mut all = forged(other);
    // A record of the right type, but for the low bits.
    all.extend([1, 2, 4].map(|offset| ("beside the right one", real[0] + offset)));
    let (theirs, mut ours) = code::<T>();
    for (name, reference) in all {
        raw::send(theirs.as_raw_fd(), &message(bytes, &[reference])).unwrap();
        let Err(ChannelError::Decode(error)) = ours.recv() else {
            panic!("{name}: {reference:#x} was accepted");
        };
        assert!(error.expected().starts_with(expected), "{name}: {error}");
        // The channel continues to work, and a control: the real one is accepted.
        raw::send(theirs.as_raw_fd(), &message(bytes, &real)).unwrap();
        assert!(ours.recv().unwrap().is_some());
    }
}

fn forged_references_are_refused_and_not_followed() {
    let table = static_ref!(TABLE: Table);
    let f = Box::new(lambda! { |x: i32| -> i32 { 10 + x } }) as Shared;
    let speaker = Box::new(words("")) as Box<dyn Speaker>;
    let of_table = references_of(&table)[0];
    let of_f = references_of(&f)[0];
    assert_refused(&table, &[0; 4], of_f, "a reference to a static `[u64; 4]`");
    assert_refused(&f, &[0; 4], of_table, "a reference to a type behind `dyn");
    assert_refused(&speaker, &[0; 8], of_f, "a reference to a type behind `dyn");
    // Every place of the constants, one after the other: nothing but records is a record.
    let (from, to) = mapping("r--p");
    let (theirs, mut ours) = code::<StaticRef<Table>>();
    let mut accepted = Vec::new();
    for reference in (from..to).step_by(8).take(40_000).chain([of_table]) {
        raw::send(theirs.as_raw_fd(), &message(&[0; 4], &[reference])).unwrap();
        if let Ok(Some(table)) = ours.recv() {
            assert_eq!(*table, TABLE);
            accepted.push(reference);
        }
    }
    assert!(accepted.contains(&of_table));
    assert!(accepted.len() < 8, "{accepted:x?}");
}

fn forged_entries_are_refused_and_not_followed() {
    let of_table = references_of(&static_ref!(TABLE: Table))[0];
    for (name, reference) in forged(of_table) {
        // A launch message: the entry, five limits, two numbers.
        let mut value = vec![0; 4 + 5 * 8 + 8];
        value[4..44].fill(0x7F);
        let (ours, theirs) = duplex::<(), ()>().unwrap();
        let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
        raw::send(ours.as_raw_fd(), &message(&value, &[reference])).unwrap();
        raw::keep_open(theirs.as_raw_fd());
        let output = Command::new("/proc/self/exe")
            .arg("--crossmist-child")
            .arg(theirs.as_raw_fd().to_string())
            .arg("add")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(102), "{name}: {output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("expected a reference to a function of this program"),
            "{name}: {text}"
        );
    }
}

fn a_reference_is_named_once_and_has_to_be_named() {
    let real = references_of(&static_ref!(TABLE: Table))[0];
    let (theirs, mut ours) = code::<Vec<StaticRef<Table>>>();
    let mut refused = |value: &[u8], code: &[u64]| {
        raw::send(theirs.as_raw_fd(), &message(value, code)).unwrap();
        let Err(ChannelError::Decode(error)) = ours.recv() else {
            panic!("accepted");
        };
        error.to_string()
    };
    let twice = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(refused(&twice, &[real]).contains("wasn't named before"));
    let beyond = [1, 0, 0, 0, 5, 0, 0, 0];
    assert!(refused(&beyond, &[real]).contains("wasn't named before"));
    assert!(refused(&[0; 4], &[real]).contains("a code reference that nothing named"));
    let one = [1, 0, 0, 0, 0, 0, 0, 0];
    assert!(refused(&one, &[real, real]).contains("a code reference that nothing named"));
    assert!(refused(&one, &[]).contains("wasn't named before"));
    // A control.
    raw::send(theirs.as_raw_fd(), &message(&one, &[real])).unwrap();
    assert_eq!(*ours.recv().unwrap().unwrap()[0], TABLE);
}

/// Encodes one type and decodes another, as safe code can.
struct Turned<A, B>(A, std::marker::PhantomData<fn() -> B>, Option<B>);

impl<A: Object, B: Object> Object for Turned<A, B>
where
    Self: Sized,
{
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.0.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        // The contents of an `A` can't be told from here, and needn't.
        let _b = B::decode(decoder)?;
        Err(decoder.error("that this is refused earlier", "a value"))
    }

    fn describe(shape: &mut Shape) {
        shape.part::<A>("a");
    }
}

/// Why a `B` can't be made of an `A`'s message.
fn turned<A: Object, B: Object>(a: A) -> String {
    let (mut tx, mut rx) = trusted::channel::<Turned<A, B>>().unwrap();
    tx.send(&Turned(a, std::marker::PhantomData, None)).unwrap();
    match rx.recv() {
        Err(ChannelError::Decode(error)) => error.expected().to_owned(),
        _ => panic!("accepted"),
    }
}

const ACCEPTED: &str = "that this is refused earlier";

fn a_record_of_another_type_is_refused() {
    let table = || static_ref!(TABLE: Table);
    assert_eq!(
        turned::<_, StaticRef<Table>>(table()),
        ACCEPTED,
        "a control"
    );
    let text = turned::<_, StaticRef<[i64; 4]>>(table());
    assert_eq!(text, "a reference to a static `[i64; 4]`");
    let text = turned::<_, StaticRef<Table>>(static_ref!(OTHER: &'static str));
    assert_eq!(text, "a reference to a static `[u64; 4]`");
    let f = || Box::new(lambda! { |x: i32| -> i32 { x } }) as Shared;
    assert_eq!(turned::<_, Shared>(f()), ACCEPTED, "a control");
    for text in [
        turned::<_, Changing>(f()),
        turned::<_, Box<dyn FnObject<(u32,), Output = i32>>>(f()),
        turned::<_, Box<dyn FnObject<(i32,), Output = u32>>>(f()),
        turned::<_, Box<dyn Speaker>>(f()),
        turned::<_, Shared>(Box::new(words("")) as Box<dyn Speaker>),
    ] {
        assert!(text.starts_with("a reference to a type behind"), "{text}");
    }
}

#[func]
fn count_owners(owners: Rc<i32>, x: i32) -> i32 {
    *owners + Rc::strong_count(&owners) as i32 + x
}

fn auto_traits_cannot_be_gained_on_the_way() {
    type Sendable = Box<dyn FnObject<(i32,), Output = i32> + Send>;
    type Syncable = Box<dyn FnObject<(i32,), Output = i32> + Sync>;
    const REFUSED: &str = "a trait object that may cross threads";
    // It holds an `Rc`: were it to become `Send`, a data race would be a line of safe code away.
    let plain = || Box::new(count_owners.bind_value(Rc::new(5))) as Shared;
    assert_eq!(turned::<_, Shared>(plain()), ACCEPTED, "a control");
    assert_eq!(turned::<_, Sendable>(plain()), REFUSED);
    assert_eq!(turned::<_, Syncable>(plain()), REFUSED);
    assert_eq!(turned::<_, SharedSync>(plain()), REFUSED);
    let sendable = || Box::new(add.bind_value(5)) as Sendable;
    assert_eq!(turned::<_, Sendable>(sendable()), ACCEPTED);
    assert_eq!(
        turned::<_, Shared>(sendable()),
        ACCEPTED,
        "they can be lost"
    );
    assert_eq!(turned::<_, Syncable>(sendable()), REFUSED);
    assert_eq!(turned::<_, SharedSync>(sendable()), REFUSED);

    // Nor by a detour: what is kept encoded keeps its marks.
    struct Detour(Delayed<Sendable>, Option<Delayed<Shared>>);
    impl Object for Detour {
        fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
            if let Some(plain) = &self.1 {
                plain.encode(encoder);
            }
        }

        fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
            Ok(Self(<Delayed<Sendable> as Object>::decode(decoder)?, None))
        }

        fn describe(shape: &mut Shape) {
            shape.part::<Delayed<Shared>>("plain");
        }
    }
    let (mut tx, mut rx) = trusted::channel::<Detour>().unwrap();
    let unused = Delayed::new(sendable());
    tx.send(&Detour(unused, Some(Delayed::new(plain()))))
        .unwrap();
    let error = match rx.recv().unwrap().unwrap().0.decode() {
        Err(error) => error,
        Ok(_) => panic!("accepted"),
    };
    assert_eq!(error.expected(), REFUSED);
}

#[func]
fn give_end_back(end: Receiver<Shared>) -> Receiver<Shared> {
    end
}

fn a_trusted_end_is_not_sent_as_data() {
    let before = Holdings::now();
    let (mut tx, rx) = channel::<Sender<Shared>>().unwrap();
    let (end, other) = trusted::channel::<Shared>().unwrap();
    let Err(ChannelError::Encode(error)) = tx.send(&end) else {
        panic!("sent");
    };
    assert_eq!(
        error.kind(),
        &EncodeErrorKind::CodeOnDataChannel {
            what: "a trusted channel end"
        }
    );
    // A control: a data end is.
    let (mut ends, _ends) = channel::<Sender<i32>>().unwrap();
    let (data, _data) = channel::<i32>().unwrap();
    ends.send(&data).unwrap();
    // Nor back from a child that was given one.
    let result = give_end_back.run(other);
    let Err(Error::BadResult { reason, .. }) = result else {
        panic!("accepted");
    };
    assert!(
        reason
            .as_raw()
            .starts_with("a trusted channel end can only be sent"),
        "{reason}"
    );
    drop((tx, rx, end, ends, _ends, data, _data));
    before.assert_same();
}

fn a_trusted_end_is_not_accepted_as_data() {
    let before = Holdings::now();
    let (theirs, mut ours) = data::<Receiver<Shared>>();
    let (_tx, end) = trusted::channel::<Shared>().unwrap();
    let end = OwnedFd::from(end);
    for (trust, found) in [(1, "one for code"), (2, "2"), (255, "255")] {
        let mut value = vec![0, 0, trust];
        value.extend([0x7F; 40]);
        let mut packet = message(&value, &[]);
        packet[2] = 1;
        raw::send_with(theirs.as_raw_fd(), &packet, &[end.as_raw_fd()], 0).unwrap();
        let Err(ChannelError::Decode(error)) = ours.recv() else {
            panic!("accepted");
        };
        assert_eq!(error.found(), found);
    }
    // As one for data it comes, and is one for data: what it receives holds no code.
    let mut value = vec![0, 0, 0];
    value.extend([0x7F; 40]);
    let mut packet = message(&value, &[]);
    packet[2] = 1;
    raw::send_with(theirs.as_raw_fd(), &packet, &[end.as_raw_fd()], 0).unwrap();
    let mut received = ours.recv().unwrap().unwrap();
    let mut tx = _tx;
    tx.send(&(Box::new(add.bind_value(5)) as Shared)).unwrap();
    let Err(ChannelError::Malformed(error)) = received.recv() else {
        panic!("accepted");
    };
    assert_eq!(error, ProtocolError::Code { references: 1 });
    drop((theirs, ours, end, received, tx));
    before.assert_same();
}

#[derive(Object)]
struct Job {
    name: String,
    callback: Shared,
}

#[derive(Object)]
struct Jobs {
    all: BTreeMap<String, Vec<Option<Job>>>,
}

#[func]
fn give_callback() -> Shared {
    Box::new(add.bind_value(5))
}

#[func]
fn give_jobs() -> Result<Jobs, String> {
    Err(String::new())
}

#[func]
fn give_static() -> Option<StaticRef<Table>> {
    None
}

#[func]
fn give_any<T: Object>(t: T) -> T {
    t
}

fn a_result_that_could_hold_code_is_refused_before_anything_starts() {
    let before = Holdings::now();
    fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, String) {
        match result {
            Err(Error::ReturnsCode { function, part, .. }) => (function, part),
            _ => panic!("{result:?}"),
        }
    }
    let is = |(function, part): (&str, String), name: &str, expected: &str| {
        assert!(function.ends_with(name), "{function}");
        assert_eq!(part, expected, "{function}");
    };
    is(refused(give_callback.run().map(drop)), "give_callback", "");
    is(
        refused(give_jobs.run().map(drop)),
        "give_jobs",
        "Ok.all.value.callback",
    );
    is(refused(give_static.spawn().map(drop)), "give_static", "");
    is(
        refused(
            give_any::<StaticRef<Table>>
                .run(static_ref!(TABLE: Table))
                .map(drop),
        ),
        "give_any",
        "",
    );
    // A control.
    assert_eq!(give_any.run(5).unwrap(), 5);
    before.assert_same();
}

fn a_channel_whose_values_could_hold_code_is_refused_when_it_is_made() {
    let before = Holdings::now();
    fn refused<T>(result: Result<T, ChannelError>) -> String {
        match result {
            Err(ChannelError::CarriesCode { part, .. }) => part,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("made"),
        }
    }
    assert_eq!(refused(channel::<Shared>()), "");
    assert_eq!(refused(channel::<Job>()), "callback");
    assert_eq!(refused(channel::<Vec<Jobs>>()), "all.value.callback");
    assert_eq!(refused(duplex::<Job, ()>()), "callback");
    assert_eq!(refused(duplex::<(), Job>()), "callback");
    assert_eq!(refused(channel::<StaticRef<Table>>()), "");
    assert_eq!(refused(channel::<Box<dyn Speaker>>()), "");
    let (a, _b) = duplex::<(), ()>().unwrap();
    assert_eq!(
        refused(Receiver::<Job>::try_from(OwnedFd::from(a))),
        "callback"
    );
    // Controls.
    drop(channel::<Vec<String>>().unwrap());
    drop(channel::<Sender<Job>>().unwrap());
    drop(trusted::channel::<Job>().unwrap());
    drop(_b);
    before.assert_same();
}

/// Code whose description says nothing of it.
struct Hidden(StaticRef<Table>);

impl Object for Hidden {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.0.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        StaticRef::decode(decoder).map(Self)
    }

    fn describe(_: &mut Shape) {}
}

#[func]
fn give_hidden() -> Hidden {
    Hidden(static_ref!(TABLE: Table))
}

fn code_that_its_type_hides_is_refused_by_the_sender() {
    let (mut tx, _rx) = channel::<Hidden>().unwrap();
    let Err(ChannelError::Encode(error)) = tx.send(&give_hidden()) else {
        panic!("sent");
    };
    let what = "a reference to a static";
    assert_eq!(error.kind(), &EncodeErrorKind::CodeOnDataChannel { what });
    let result = give_hidden.run();
    let Err(Error::BadResult { reason, .. }) = result else {
        panic!("accepted");
    };
    assert!(
        reason
            .as_raw()
            .starts_with("a reference to a static can only"),
        "{reason}"
    );
}

#[derive(Object)]
struct Tree {
    branches: Vec<Branch>,
}

#[derive(Object)]
struct Branch {
    tree: Option<Box<Tree>>,
    leaf: Option<Leaf>,
}

#[derive(Object)]
struct Leaf {
    of: Option<Box<Tree>>,
    callback: Option<Shared>,
}

fn a_cycle_of_types_is_no_obstacle() {
    let Err(ChannelError::CarriesCode { part, .. }) = channel::<Tree>() else {
        panic!("made");
    };
    assert_eq!(part, "branches.leaf.callback");
    let Err(ChannelError::CarriesCode { part, .. }) = channel::<Leaf>() else {
        panic!("made");
    };
    assert!(part.ends_with("callback"), "{part}");
}
