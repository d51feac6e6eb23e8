//! Measures how late a wait ends beside a child that makes everything costly that it can, under each
//! built-in policy, and prints the table.
//!
//! The same waits beside a child that only keeps a processor busy tell what the machine adds.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod waits;

use std::time::Duration;

use support::patience;

fn main() {
    crossmist::init();
    support::show_output();
    support::main(
        cases![
            a_hostile_child_under_pure_makes_nobody_late,
            a_hostile_child_under_parser_makes_nobody_late,
            a_hostile_child_under_worker_makes_nobody_late,
            a_hostile_child_under_file_reader_makes_nobody_late,
            a_hostile_child_under_network_client_makes_nobody_late,
        ],
        &[],
    );
}

/// How late a wait may end beside a hostile child, on a machine that has nothing else to do.
const MOST: Duration = Duration::from_millis(50);

/// How often each wait is measured.
const TRIES: u32 = 25;

/// How often a wait is measured again that was late. What others do on the machine passes; what a child can
/// do stays.
const ROUNDS: usize = 5;

fn a_hostile_child_under_pure_makes_nobody_late() {
    nobody_is_late_under("pure");
}

fn a_hostile_child_under_parser_makes_nobody_late() {
    nobody_is_late_under("parser");
}

fn a_hostile_child_under_worker_makes_nobody_late() {
    nobody_is_late_under("worker");
}

fn a_hostile_child_under_file_reader_makes_nobody_late() {
    nobody_is_late_under("file-reader");
}

fn a_hostile_child_under_network_client_makes_nobody_late() {
    nobody_is_late_under("network-client");
}

fn nobody_is_late_under(policy: &str) {
    let tries = support::repetitions(TRIES);
    println!(
        "how late a wait ended at worst in {tries} tries, in milliseconds, without the time for which no"
    );
    println!("processor was free; in brackets, beside a child that only computes");
    print!("{:14}", "");
    waits::ALL
        .iter()
        .for_each(|wait| print!("{:>19}", wait.name));
    print!("\n{policy:14}");
    let mut late = Vec::new();
    let (hostile, honest) = (
        waits::Side::new(policy, true),
        waits::Side::new(policy, false),
    );
    for wait in waits::ALL {
        let mut rounds = Vec::new();
        let is_in_time = (0..ROUNDS).any(|_| {
            let (worst, control) = ((wait.worst)(&hostile, tries), (wait.worst)(&honest, tries));
            rounds.push((worst, control));
            // The hostile child may use more processors than the other one.
            worst <= patience(MOST) + 2 * control
        });
        let best = rounds.iter().min().copied().unwrap_or_default();
        let cell = format!("{} ({})", millis(best.0), millis(best.1));
        print!("{cell:>19}");
        if !is_in_time {
            late.push(format!("{} under `{policy}`: {rounds:?}", wait.name));
        }
    }
    println!();
    assert!(late.is_empty(), "{late:#?}");
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
