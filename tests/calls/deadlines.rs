//! Deadlines, whatever the child does.

use std::time::{Duration, Instant};

use crossmist::Error;

use crate::cases;
use crate::ends::large;
use crate::functions::{BEFORE_ENTRY, add, end, reverse, sleep_for};
use crate::support::{self, Case, Holdings, state, wait_until, wait_until_gone, within};

pub(crate) const CASES: &[Case] = cases![
    a_deadline_ends_an_endless_loop,
    a_deadline_ends_a_stopped_child,
    a_deadline_holds_while_arguments_are_sent,
    a_deadline_of_zero_and_of_ages_are_deadlines,
];

#[track_caller]
fn assert_deadline(way: &str) {
    // The thread that keeps deadlines has a descriptor, once.
    let first = add.builder().deadline(Duration::from_secs(60));
    first.spawn(5, 7).unwrap().join().unwrap();
    wait_until("it has forgotten the first child", || {
        !support::descriptors()
            .values()
            .any(|link| link.contains("pidfd"))
    });
    let before = Holdings::now();
    let time = Duration::from_millis(300);
    let begun = Instant::now();
    let child = end
        .builder()
        .deadline(time)
        .spawn(way.to_owned(), 0)
        .unwrap();
    let id = child.id().unwrap();
    let result = within(Duration::from_secs(2), || child.join());
    let Err(Error::Deadline { after, .. }) = result else {
        panic!("{way}: {result:?}");
    };
    assert_eq!(after, time);
    assert!(begun.elapsed() >= time);
    wait_until_gone(id);
    before.assert_same();
}

fn a_deadline_ends_an_endless_loop() {
    assert_deadline("loop");
    assert_deadline("park");
    // Not the two seconds that a child has without one.
    assert_deadline("close");
}

fn a_deadline_ends_a_stopped_child() {
    assert_deadline("stop");
    // Nor does it matter whether the answer is waited for at once.
    let time = support::patience(Duration::from_secs(6));
    let begun = Instant::now();
    let child = end.builder().deadline(time);
    let child = child.spawn("stop".to_owned(), 0).unwrap();
    let id = child.id().unwrap();
    wait_until("it has stopped", || state(id) == Some('T'));
    std::thread::sleep(time.saturating_sub(begun.elapsed()) + Duration::from_millis(50));
    let result = within(Duration::from_secs(1), || child.join());
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

fn a_deadline_holds_while_arguments_are_sent() {
    let before = Holdings::now();
    let result = within(Duration::from_secs(2), || {
        reverse
            .builder()
            .env(BEFORE_ENTRY, "stay")
            .deadline(Duration::from_millis(300))
            .spawn(large())
    });
    assert!(
        matches!(result, Err(Error::Deadline { .. })),
        "{:?}",
        result.map(|child| child.id())
    );
    before.assert_same();
}

fn a_deadline_of_zero_and_of_ages_are_deadlines() {
    let result = sleep_for.builder().deadline(Duration::ZERO).run(1000);
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    assert_eq!(add.builder().deadline(Duration::MAX).run(1, 2).unwrap(), 3);
    let mut child = sleep_for.spawn(20).unwrap();
    assert_eq!(child.join_timeout(Duration::MAX).unwrap(), Some(20));
}
