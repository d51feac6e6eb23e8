//! The same call and the same round trip beside one, ten, a hundred, a thousand idle children.

use std::time::Instant;

use crossmist::{Child, Duplex};

use crate::harness::{Group, Placement, Result, Row, Sample, expect_same};
use crate::ours::{round_trip, spawn};
use crate::raw::next_sum;
use crate::rows::many::{FAMILY, Measured, SPAWN, TRIP};
use crate::rows::round_trip::{Messages, same_bytes};

/// A group for each subject, with one row a count: a subject is compared with itself, and should
/// stay within 1.3 × of what it costs beside one child.
pub(crate) fn groups(counts: &[usize]) -> Vec<Group> {
    let mut spawn = Group::new(FAMILY, "crossmist spawn to result", Placement::EitherCore)
        .turn(SPAWN)
        .target(1.3);
    let mut trip = Group::new(FAMILY, "crossmist round trip", Placement::OneCore)
        .turn(TRIP)
        .target(1.3);
    for &count in counts {
        let name = format!("beside {count}");
        spawn.ours(name.clone(), move || Ok(Many::new(count, Measured::Spawn)));
        trip.ours(name, move || Ok(Many::new(count, Measured::RoundTrip)));
    }
    vec![spawn, trip]
}

struct Many {
    count: usize,
    measured: Measured,
    children: Vec<(Child<()>, Duplex<Vec<u8>, Vec<u8>>)>,
    counter: u64,
    messages: Messages,
}

impl Many {
    fn new(count: usize, measured: Measured) -> Self {
        let messages = Messages::new(64);
        Self {
            count,
            measured,
            children: Vec::new(),
            counter: 0,
            messages,
        }
    }

    fn round_trip(&mut self, index: usize) -> Result<Sample> {
        let message = self.messages.next().to_vec();
        let start = Instant::now();
        let answer = self.children[index].1.request(&message)?;
        let took = start.elapsed();
        same_bytes(&answer, &message)?;
        Ok(took.into())
    }
}

impl Row for Many {
    fn enter(&mut self) -> Result<()> {
        for _ in 0..self.count {
            self.children.push(round_trip::start()?);
        }
        for index in 0..self.count {
            self.round_trip(index)?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Sample> {
        match self.measured {
            Measured::RoundTrip => self.round_trip(0),
            Measured::Spawn => {
                let ((a, b), sum) = next_sum(&mut self.counter);
                let start = Instant::now();
                let answer = spawn::add.run(a, b)?;
                let took = start.elapsed();
                expect_same(answer, sum)?;
                Ok(took.into())
            }
        }
    }

    fn leave(&mut self) -> Result<()> {
        self.children.clear();
        Ok(())
    }
}
