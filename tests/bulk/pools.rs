//! Children of pools that share memory with the program.

use crossmist::{Pool, Receiver, Reuse, Sender, channel, func};

use crate::cases;
use crate::support::memory::shared_resident;
use crate::support::{Case, wait_until};
use crate::values::{Mixed, limits, mixed, policy, same_confined};

fn pool(bulk: bool, reuse: Reuse) -> Pool<(Mixed,), Mixed> {
    Pool::of(same_confined)
        .sandbox(&policy())
        .limits(limits())
        .workers(1)
        .spares(1)
        .bulk(bulk)
        .reuse(reuse)
        .build()
        .unwrap()
}

fn values_of_a_pools_calls_go_through_the_memory_of_their_child() {
    // The control: without, none is used.
    let control = pool(false, Reuse::Always);
    for seed in 0..3 {
        assert!(control.run(mixed(seed)).unwrap() == mixed(seed));
    }
    assert_eq!(shared_resident(), 0);
    for reuse in [Reuse::Never, Reuse::Times(3), Reuse::Always] {
        let pool = pool(true, reuse);
        for seed in 0..8 {
            assert!(pool.run(mixed(seed)).unwrap() == mixed(seed), "{seed}");
        }
        if reuse == Reuse::Always {
            // The child of these calls still waits.
            assert!(pool.stats().reused > 0 && shared_resident() >= 256 << 10);
        }
        drop(pool);
        wait_until("the memory is given back", || shared_resident() == 0);
    }
}

#[func(sandbox = "pure")]
fn echoes(mut from: Receiver<Vec<u8>>, mut to: Sender<Vec<u8>>) {
    while let Some(bytes) = from.recv().unwrap() {
        to.send(&bytes).unwrap();
    }
}

fn channels_of_a_pools_call_use_the_memory_of_its_child() {
    let pool = Pool::of(echoes)
        .workers(1)
        .spares(1)
        .bulk(true)
        .build()
        .unwrap();
    // The time of the call is not spent on them.
    let bytes = |first: u8| -> Vec<u8> { (0..3 << 20).map(|at| first ^ at as u8).collect() };
    let all = [0, 1, 2, 3, 4].map(bytes);
    let ((mut to, theirs), (back, mut from)) = (channel().unwrap(), channel().unwrap());
    let call = std::thread::spawn(move || pool.run(theirs, back));
    for bytes in all {
        to.send(&bytes).unwrap();
        assert!(from.recv().unwrap() == Some(bytes));
        assert!(shared_resident() >= 256 << 10, "{}", shared_resident());
    }
    drop(to);
    call.join().unwrap().unwrap();
}

pub(crate) const CASES: &[Case] = cases![
    values_of_a_pools_calls_go_through_the_memory_of_their_child,
    channels_of_a_pools_call_use_the_memory_of_its_child,
];
