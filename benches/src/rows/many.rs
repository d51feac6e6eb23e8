//! Does it stay as fast when many children are alive?
//!
//! Each group is one subject with itself: its first row has one idle child beside it, the others
//! ten, a hundred, a thousand. They live only while their row has its turn. The round trip is with
//! the first of them, so the others cost only what their existence costs.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::round_trip::{Messages, same_bytes};
use crate::harness::{Group, Placement, Result, Row, Sample, Turn, expect_same};
use crate::ours;
use crate::raw::process::{Command, Launch, Running};
use crate::raw::{encode, next_sum, socket};

pub(crate) const FAMILY: &str = "many children";
pub(crate) const SPAWN: Turn = Turn {
    lead_in: 1,
    repeats: 4,
    at_most: 8,
};
pub(crate) const TRIP: Turn = Turn {
    at_most: 8,
    ..Turn::SHORT
};

pub(crate) fn groups(smoke: bool) -> Vec<Group> {
    let counts: &[usize] = match smoke {
        true => &[1, 10],
        false => &[1, 10, 100, 1000],
    };
    let mut spawn = Group::new(FAMILY, "raw spawn to result", Placement::EitherCore).turn(SPAWN);
    let mut trip = Group::new(FAMILY, "raw round trip", Placement::OneCore).turn(TRIP);
    for &count in counts {
        let name = format!("beside {count}");
        spawn.raw(name.clone(), move || raw(count, Measured::Spawn));
        trip.raw(name, move || raw(count, Measured::RoundTrip));
    }
    let mut groups = vec![spawn, trip];
    groups.extend(ours::many::groups(counts));
    groups
}

#[derive(Clone, Copy)]
pub(crate) enum Measured {
    Spawn,
    RoundTrip,
}

fn raw(count: usize, measured: Measured) -> Result<impl Row> {
    Ok(Raw {
        count,
        measured,
        idle: Command::role("echo", &[])?,
        adds: Command::role("add", &[])?,
        children: Vec::new(),
        counter: 0,
        messages: Messages::new(64),
    })
}

struct Raw {
    count: usize,
    measured: Measured,
    idle: Command,
    adds: Command,
    children: Vec<(Running, OwnedFd)>,
    counter: u64,
    messages: Messages,
}

impl Row for Raw {
    fn enter(&mut self) -> Result<()> {
        for _ in 0..self.count {
            let child = self.idle.start(Launch::PosixSpawn, socket::Kind::Packets)?;
            self.children.push(child);
        }
        // Each has answered once, so none is still on its way.
        for index in 0..self.count {
            self.round_trip(index)?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Sample> {
        match self.measured {
            Measured::Spawn => self.spawn(),
            Measured::RoundTrip => self.round_trip(0),
        }
    }

    fn leave(&mut self) -> Result<()> {
        self.children.clear();
        Ok(())
    }
}

impl Raw {
    fn spawn(&mut self) -> Result<Sample> {
        let (summands, sum) = next_sum(&mut self.counter);
        let start = Instant::now();
        let (ours, theirs) = socket::pair(socket::Kind::Packets)?;
        socket::send(ours.as_fd(), &encode(summands))?;
        let child = self.adds.launch(Launch::PosixSpawn, theirs.as_fd())?;
        drop(theirs);
        let answer = socket::receive_array(ours.as_fd())?;
        child.wait()?;
        let took = start.elapsed();
        expect_same(u64::from_ne_bytes(answer), sum)?;
        Ok(took.into())
    }

    fn round_trip(&mut self, index: usize) -> Result<Sample> {
        self.counter += 1;
        let socket = self.children[index].1.as_fd();
        let message = self.messages.next();
        let mut answer = [0; 64];
        let start = Instant::now();
        socket::send(socket, message)?;
        let received = socket::receive(socket, &mut answer)?;
        let took = start.elapsed();
        same_bytes(&answer[..received], message)?;
        Ok(took.into())
    }
}
