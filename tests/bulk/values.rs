//! Honest programs.

use crossmist::{
    Blob, Child, Duplex, Error, Limits, Receiver, SandboxPolicy, Sender, channel, duplex, func,
};

use crate::cases;
use crate::support::memory::shared_resident;
use crate::support::{Case, Holdings, memory, raw};

pub(crate) const CASES: &[Case] = cases![
    values_through_slots_equal_those_through_packets,
    arguments_go_through_the_memory,
    a_call_shares_memory_only_if_it_is_asked_to,
    no_policy_needs_to_allow_it,
    channels_use_the_memory_in_both_directions,
    an_end_that_is_passed_on_works_between_any_two_processes,
    several_channels_at_once_keep_their_values_apart,
    runtimes_use_the_same_memory,
    memory_is_given_back_with_the_call,
    the_policys_own_limits_stay_what_they_are,
];

/// A value with runs of every kind, which the seed decides.
pub(crate) type Mixed = (
    Vec<u8>,
    Vec<String>,
    Vec<u64>,
    Box<[u16]>,
    Option<Vec<Vec<u8>>>,
);

pub(crate) fn mixed(seed: u64) -> Mixed {
    let mut state = seed;
    let mut next = |most: u64| {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % most
    };
    let bytes = |length: u64, first: u64| -> Vec<u8> {
        (0..length).map(|at| (at * 31 + first) as u8).collect()
    };
    let text = |length: u64| "ab\u{e9}".repeat(length as usize);
    (
        bytes(next(3 << 20), seed),
        (0..next(4)).map(|_| text(next(200_000))).collect(),
        (0..next(300_000)).map(|at| at ^ seed).collect(),
        (0..next(100_000)).map(|at| (at ^ seed) as u16).collect(),
        (next(2) == 1).then(|| {
            (0..next(5))
                .map(|part| bytes(next(1 << 20), part))
                .collect()
        }),
    )
}

pub(crate) fn limits() -> Limits {
    Limits::new().message_bytes(1 << 30)
}

#[func]
fn same(value: Mixed) -> Mixed {
    value
}

#[func(sandbox = dynamic)]
pub(crate) fn same_confined(value: Mixed) -> Mixed {
    value
}

/// `pure` with more memory, and no call that maps memory for sharing.
pub(crate) fn policy() -> SandboxPolicy {
    let text = "format = 1\nextends = [\"pure\"]\n[limits]\nmemory = \"1GiB\"\nwall_time = \"600s\"\n\
                cpu_time = \"600s\"\n[limits.channel]\nmessage_bytes = \"512MiB\"\n";
    SandboxPolicy::from_toml("ample", text).unwrap()
}

fn values_through_slots_equal_those_through_packets() {
    for seed in 0..12 {
        let value = mixed(seed);
        for bulk in [false, true] {
            let unconfined = same
                .builder()
                .bulk(bulk)
                .limits(limits())
                .run(value.clone());
            assert!(unconfined.unwrap() == value, "{seed} {bulk}");
            let confined = same_confined.sandbox(&policy()).bulk(bulk).limits(limits());
            assert!(
                confined.run(value.clone()).unwrap() == value,
                "{seed} {bulk}"
            );
        }
    }
}

fn shared_bytes<T: crossmist::Object>(child: &mut Child<T>) -> u64 {
    child.confinement().unwrap().unwrap().shared_bytes
}

#[func(sandbox = "pure")]
fn measure(bytes: Vec<u8>) -> usize {
    bytes.len()
}

fn arguments_go_through_the_memory() {
    let mut child = measure
        .builder()
        .bulk(true)
        .spawn(vec![1; 8 << 20])
        .unwrap();
    assert_eq!(shared_bytes(&mut child), (2 << 20) + 4096);
    // The sent value is in it before the call is over.
    assert!(shared_resident() >= 256 << 10, "{}", shared_resident());
    assert_eq!(child.join().unwrap(), 8 << 20);
}

fn a_call_shares_memory_only_if_it_is_asked_to() {
    let mut child = measure.spawn(vec![1; 8 << 20]).unwrap();
    assert_eq!(shared_bytes(&mut child), 0);
    assert_eq!(child.join().unwrap(), 8 << 20);
    assert_eq!(shared_resident(), 0);
    // The control.
    let mut child = measure
        .builder()
        .bulk(true)
        .spawn(vec![1; 100_000])
        .unwrap();
    assert_eq!(shared_bytes(&mut child), (2 << 20) + 4096);
    assert_eq!(child.join().unwrap(), 100_000);
}

#[func(sandbox = "pure")]
fn shares() -> bool {
    raw::can_share()
}

#[func]
fn shares_unconfined() -> bool {
    raw::can_share()
}

#[func(sandbox = "pure")]
fn filled(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8).collect()
}

fn no_policy_needs_to_allow_it() {
    assert!(shares_unconfined.run().unwrap());
    assert!(matches!(
        shares.builder().bulk(true).run(),
        Err(Error::Violation(_))
    ));
    let mut child = filled.builder().bulk(true).spawn(6 << 20).unwrap();
    assert_eq!(shared_bytes(&mut child), (2 << 20) + 4096);
    let answer = child.join().unwrap();
    assert!(
        answer
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == at as u8)
    );
}

#[func(sandbox = "pure")]
fn echoes(mut duplex: Duplex<Vec<u8>, Vec<u8>>) {
    while let Some(bytes) = duplex.recv().unwrap() {
        duplex.send(&bytes).unwrap();
    }
}

fn channels_use_the_memory_in_both_directions() {
    // The time of the call is not spent on them.
    let bytes = |length| -> Vec<u8> { (0..length).map(|at: u32| (at * 7) as u8).collect() };
    let all = [10, 300_000, 9 << 20, 1 << 20, 64 << 10].map(bytes);
    let (mut ours, theirs) = duplex::<Vec<u8>, Vec<u8>>().unwrap();
    let child = echoes.builder().bulk(true).spawn(theirs).unwrap();
    let mut resident = Vec::new();
    for bytes in all {
        assert!(ours.request(&bytes).unwrap() == bytes, "{}", bytes.len());
        resident.push(shared_resident());
    }
    // More than one direction has.
    assert!(resident[2] > 256 << 10, "{resident:?}");
    drop(ours);
    child.join().unwrap();

    // The control: without it, there is no such memory.
    let (mut ours, theirs) = duplex::<Vec<u8>, Vec<u8>>().unwrap();
    let child = echoes.spawn(theirs).unwrap();
    assert!(ours.request(&vec![3; 9 << 20]).unwrap() == vec![3; 9 << 20]);
    assert_eq!(shared_resident(), 0);
    drop(ours);
    child.join().unwrap();
}

#[func]
fn sends_some(mut end: Sender<Vec<u8>>, count: u8) {
    for number in 0..count {
        end.send(&vec![number; 5 << 20]).unwrap();
    }
}

#[func]
fn receives_some(mut end: Receiver<Vec<u8>>) -> Vec<u8> {
    let mut seen = Vec::new();
    while let Some(bytes) = end.recv().unwrap() {
        assert!(bytes.len() == 5 << 20 && bytes.iter().all(|byte| *byte == bytes[0]));
        seen.push(bytes[0]);
    }
    seen
}

fn an_end_that_is_passed_on_works_between_any_two_processes() {
    // Each child shares memory with the program, and none with the other.
    let (sender, receiver) = channel::<Vec<u8>>().unwrap();
    let first = sends_some.builder().bulk(true).spawn(sender, 4).unwrap();
    let second = receives_some.builder().bulk(true).spawn(receiver).unwrap();
    first.join().unwrap();
    assert_eq!(second.join().unwrap(), [0, 1, 2, 3]);

    // The program takes some itself, and passes its end on while the child is still sending.
    let (sender, mut receiver) = channel::<Vec<u8>>().unwrap();
    let first = sends_some.builder().bulk(true).spawn(sender, 4).unwrap();
    assert!(receiver.recv().unwrap().unwrap() == vec![0; 5 << 20]);
    assert!(receiver.recv().unwrap().unwrap() == vec![1; 5 << 20]);
    let second = receives_some.builder().bulk(true).spawn(receiver).unwrap();
    first.join().unwrap();
    assert_eq!(second.join().unwrap(), [2, 3]);
}

fn several_channels_at_once_keep_their_values_apart() {
    let ends: Vec<_> = (0..3)
        .map(|_| duplex::<Vec<u8>, Vec<u8>>().unwrap())
        .collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    let child = echoes_on_threads
        .builder()
        .bulk(true)
        .spawn(theirs)
        .unwrap();
    std::thread::scope(|scope| {
        for (seed, mut end) in ours.into_iter().enumerate() {
            scope.spawn(move || {
                for round in 0..10 {
                    let bytes = vec![(seed * 10 + round) as u8; (1 << 20) + seed];
                    assert!(end.request(&bytes).unwrap() == bytes);
                }
            });
        }
    });
    child.join().unwrap();
}

#[func]
fn echoes_on_threads(ends: Vec<Duplex<Vec<u8>, Vec<u8>>>) {
    std::thread::scope(|scope| {
        for mut end in ends {
            scope.spawn(move || {
                while let Some(bytes) = end.recv().unwrap() {
                    end.send(&bytes).unwrap();
                }
            });
        }
    });
}

fn runtimes_use_the_same_memory() {
    let wanted: Vec<u8> = (0..6 << 20).map(|at| at as u8).collect();
    #[cfg(feature = "tokio")]
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(filled.builder().bulk(true).run_tokio(6 << 20));
        assert!(answer.unwrap() == wanted);
        let (ours, theirs) = duplex::<Vec<u8>, Vec<u8>>().unwrap();
        let child = echoes.builder().bulk(true).spawn(theirs).unwrap();
        runtime.block_on(async {
            let mut ours = crossmist::tokio::Duplex::from(ours);
            assert!(ours.request(&wanted).await.unwrap() == wanted);
        });
        assert!(shared_resident() > 256 << 10, "{}", shared_resident());
        child.join().unwrap();
    }
    #[cfg(feature = "smol")]
    {
        let answer = async_io::block_on(filled.builder().bulk(true).run_smol(6 << 20));
        assert!(answer.unwrap() == wanted);
        let (ours, theirs) = duplex::<Vec<u8>, Vec<u8>>().unwrap();
        let child = echoes.builder().bulk(true).spawn(theirs).unwrap();
        async_io::block_on(async {
            let mut ours = crossmist::smol::Duplex::from(ours);
            assert!(ours.request(&wanted).await.unwrap() == wanted);
        });
        child.join().unwrap();
    }
    assert_eq!(
        filled.builder().bulk(true).run(6 << 20).unwrap().len(),
        wanted.len()
    );
}

#[func]
fn keeps_a_blob(bytes: Vec<u8>, blob: Blob) -> usize {
    bytes.len() + blob.len()
}

fn memory_is_given_back_with_the_call() {
    let blob = || Blob::from_slice(&[1; 4096]).unwrap();
    // Values that stay for later calls.
    keeps_a_blob
        .builder()
        .bulk(true)
        .run(vec![1; 4 << 20], blob())
        .unwrap();
    filled.run(10).unwrap();
    let before = Holdings::settled();
    for _ in 0..5 {
        assert_eq!(
            keeps_a_blob
                .builder()
                .bulk(true)
                .run(vec![1; 4 << 20], blob())
                .unwrap(),
            (4 << 20) + 4096
        );
        assert_eq!(
            filled.builder().bulk(true).run(2 << 20).unwrap().len(),
            2 << 20
        );
    }
    before.assert_same();
    assert!(raw::shared_slots().is_none());
}

#[func(sandbox = dynamic)]
fn fills(most: usize) -> usize {
    memory::fill(most)
}

/// The limits on what a child can write, and on what it can map.
fn the_policys_own_limits_stay_what_they_are() {
    for limit in ["", "reserved = \"0B\"\n"] {
        let text =
            format!("format = 1\nextends = [\"pure\"]\n[limits]\nmemory = \"32MiB\"\n{limit}");
        let policy = SandboxPolicy::from_toml("tight", &text).unwrap();
        let [without, with] = [false, true].map(|bulk| {
            let call = fills.sandbox(&policy).bulk(bulk);
            call.run(256 * memory::MIB).unwrap()
        });
        // Not 2 MiB less.
        assert_eq!(with, without, "{limit}");
        assert!(
            (20..=32).contains(&(without / memory::MIB)),
            "{limit}: {without}"
        );
    }
}
