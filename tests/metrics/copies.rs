//! Copies of the program that are made by `fork`.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crossmist::{Child, Error, func};

use crate::support::{self, Case, raw};
use crate::{Figures, add, calls, cases, holds, pipe, waits};

pub(crate) const CASES: &[Case] = cases![
    a_forked_copy_takes_no_report_of_a_child,
    a_forked_copy_kills_no_child_of_the_original,
    a_forked_copy_counts_no_call_of_the_original,
];

/// Exits without an answer when it is told to.
#[func(sandbox = "parser")]
fn exits(mut until: File, status: i32) {
    assert_eq!(until.read(&mut [0]).unwrap(), 0);
    std::process::exit(status);
}

fn a_forked_copy_takes_no_report_of_a_child() {
    let (until, end) = pipe();
    let child: Child<()> = exits.spawn(until, 3).unwrap();
    // From now on, nothing is read of what the keeper reports about it.
    let process = child.id().unwrap();
    drop(end);
    let patience = Instant::now() + support::patience(Duration::from_secs(20));
    while std::path::Path::new(&format!("/proc/{process}")).exists() {
        assert!(Instant::now() < patience, "the child still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The keeper has reported that end before it turns to another child.
    assert_eq!(add.run(5, 7).unwrap(), 12);
    let copy = raw::in_fork(|| drop(raw::copy_in_fork(&child)));
    assert_eq!(copy, 0);
    let result = child.join();
    assert!(
        matches!(result, Err(Error::Exited { status: 3, .. })),
        "{result:?}"
    );
}

fn a_forked_copy_kills_no_child_of_the_original() {
    let ((mut heard, begun), (until, mut end)) = (pipe(), pipe());
    let call = holds.builder().kill_on_drop(true);
    let child = call.spawn(begun, until).unwrap();
    heard.read_exact(&mut [0]).unwrap();
    assert_eq!(raw::in_fork(|| drop(raw::copy_in_fork(&child))), 0);
    end.write_all(b"x").unwrap();
    assert_eq!(child.join().unwrap(), 1);
}

fn a_forked_copy_counts_no_call_of_the_original() {
    let mut figures = Figures::install();
    let child = waits
        .builder()
        .kill_on_drop(true)
        .spawn(Duration::from_secs(50))
        .unwrap();
    assert_eq!(figures.gauge("children waits"), 1.0);
    let copy = raw::in_fork(|| {
        let mut figures = raw::copy_in_fork(&figures);
        drop(raw::copy_in_fork(&child));
        assert_eq!(figures.calls(), []);
        assert_eq!(figures.gauge("children waits"), 1.0);
        // Its own are counted.
        assert_eq!(add.run(5, 7).unwrap(), 12);
        assert_eq!(figures.calls(), calls(&[("add ok", 1)]));
    });
    assert_eq!(copy, 0);
    drop(child);
    assert_eq!(figures.calls(), calls(&[("waits dropped", 1)]));
}
