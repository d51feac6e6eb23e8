//! The handle of a child: killing it, waiting for it for a while, dropping it.

use std::time::{Duration, Instant};

use crossmist::{Duplex, Error, channel, duplex, func};

use crate::cases;
use crate::functions::{add, linger, sleep_for};
use crate::support::{
    Case, Holdings, raw, state, wait_until, wait_until_gone, wait_until_none_is_left, within,
};

pub(crate) const CASES: &[Case] = cases![
    a_child_is_killed_by_its_handle_and_by_a_kill_handle,
    a_kill_after_the_end_does_nothing,
    waiting_for_a_while_gives_nothing_while_the_child_runs,
    waiting_for_a_while_does_not_wait_for_a_child_that_lingers,
    a_dropped_child_runs_on_and_leaves_no_zombie,
    many_dropped_children_leave_no_zombie,
    kill_on_drop_leaves_nothing,
    a_dropped_child_still_has_its_deadline,
];

fn a_child_is_killed_by_its_handle_and_by_a_kill_handle() {
    let before = Holdings::now();
    let child = sleep_for.spawn(60_000).unwrap();
    let id = child.id().unwrap();
    child.kill().unwrap();
    let result = within(Duration::from_secs(5), || child.join());
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");
    assert_eq!(state(id), None);

    let child = sleep_for.spawn(60_000).unwrap();
    let handle = child.kill_handle();
    let result = within(Duration::from_secs(5), || {
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| child.join());
            handle.kill().unwrap();
            joined.join().unwrap()
        })
    });
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");
    drop(handle);
    before.assert_same();
}

fn a_kill_after_the_end_does_nothing() {
    let child = add.spawn(1, 2).unwrap();
    let (handle, id) = (child.kill_handle(), child.id().unwrap());
    // Dead, and not waited for: the answer was there before.
    wait_until("it has ended", || state(id) == Some('Z'));
    child.kill().unwrap();
    handle.kill().unwrap();
    assert_eq!(child.join().unwrap(), 3);
    handle.kill().unwrap();
}

fn waiting_for_a_while_gives_nothing_while_the_child_runs() {
    let (mut ours, theirs) = duplex::<u32, u32>().unwrap();
    let mut child = answer_one.spawn(theirs).unwrap();
    assert_eq!(
        within(Duration::from_millis(500), || child.try_join()).unwrap(),
        None
    );
    let begun = Instant::now();
    assert_eq!(
        child.join_timeout(Duration::from_millis(100)).unwrap(),
        None
    );
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(child.id().is_some());
    ours.send(&5).unwrap();
    assert_eq!(
        child.join_timeout(Duration::from_secs(20)).unwrap(),
        Some(6)
    );
}

#[func]
fn answer_one(mut chan: Duplex<u32, u32>) -> u32 {
    chan.recv().unwrap().unwrap() + 1
}

fn waiting_for_a_while_does_not_wait_for_a_child_that_lingers() {
    let (tx, mut rx) = channel().unwrap();
    let mut child = linger.spawn(tx).unwrap();
    let id = child.id().unwrap();
    rx.recv().unwrap();
    // A wait that lasts as long as the child lingers gives the answer at once.
    let mut waited = 0;
    let result = loop {
        let result = within(Duration::from_millis(100), || {
            child.join_timeout(Duration::from_millis(100))
        });
        if let Some(result) = result.unwrap() {
            break result;
        }
        if let Some(result) = child.try_join().unwrap() {
            break result;
        }
        waited += 1;
    };
    assert_eq!(result.0, 7);
    assert!(
        waited > 0,
        "the first wait was as long as the child lingered"
    );
    wait_until_gone(id);
}

fn a_dropped_child_runs_on_and_leaves_no_zombie() {
    let (mut ours, theirs) = duplex::<u32, u32>().unwrap();
    let child = echo_one.spawn(theirs).unwrap();
    let id = child.id().unwrap();
    drop(child);
    assert!(state(id).is_some_and(|state| state != 'Z'));
    assert_eq!(ours.request(&5).unwrap(), 6);
    wait_until_gone(id);
    assert_eq!(raw::any_child(), None);
}

#[func]
fn echo_one(mut chan: Duplex<u32, u32>) {
    let number = chan.recv().unwrap().unwrap();
    chan.send(&(number + 1)).unwrap();
}

fn many_dropped_children_leave_no_zombie() {
    // Alive when it is dropped, so that the thread for such children is there from here on.
    drop(sleep_for.spawn(50).unwrap());
    wait_until_none_is_left();
    let before = Holdings::now();
    for _ in 0..50 {
        drop(add.spawn(1, 2).unwrap());
    }
    wait_until_none_is_left();
    before.assert_same();
}

fn kill_on_drop_leaves_nothing() {
    let before = Holdings::now();
    let child = sleep_for
        .builder()
        .kill_on_drop(true)
        .spawn(60_000)
        .unwrap();
    let id = child.id().unwrap();
    within(Duration::from_secs(5), || drop(child));
    wait_until_gone(id);
    before.assert_same();
}

fn a_dropped_child_still_has_its_deadline() {
    let call = sleep_for.builder().deadline(Duration::from_secs(2));
    let child = call.spawn(60_000).unwrap();
    let id = child.id().unwrap();
    drop(child);
    assert!(state(id).is_some());
    within(Duration::from_secs(5), || wait_until_gone(id));
}
