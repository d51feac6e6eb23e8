//! Children that are not executed but forked, from a helper that was started for that.
//!
//! Our confined rows are to come close to these floors, which do the same without confinement.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use crossmist_policy::{Arch, Policy, bpf};

use crate::harness::{Group, Placement, Result, Row, Turn, expect_same};
use crate::ours;
use crate::raw::early::request;
use crate::raw::process::{Command, Launch, Running};
use crate::raw::{encode, next_sum, socket};
use crate::rows::spawn;

pub(crate) const FAMILY: &str = "fork to result";

pub(crate) fn groups(smoke: bool) -> Vec<Group> {
    let turn = Turn {
        lead_in: 1,
        repeats: 8,
        at_most: usize::MAX,
    };
    let mut groups = Vec::new();
    for placement in [Placement::OneCore, Placement::TwoCores] {
        let mut fresh = Group::new(FAMILY, "fresh child", placement)
            .turn(turn)
            .target(1.25);
        fresh.headline = placement == Placement::TwoCores;
        fresh.raw("fork server", || fork_server(request::FORK_AND_WAIT));
        fresh.raw("fork server, the layers of `parser` by hand", || {
            filtered(request::FORK_CONFINED, "parser")
        });
        for (name, last) in [
            ("fork server that is confined itself", None),
            (
                "the same, and a last filter in each child",
                Some("unconfined"),
            ),
        ] {
            fresh.raw(name, move || born_confined(last));
        }
        fresh.raw("posix_spawn", || spawn::raw("add", Launch::PosixSpawn));
        fresh.peer("procspawn, unconfined", spawn::procspawn_one);
        ours::fork_server::fresh_child(&mut fresh);

        let mut spare = Group::new(FAMILY, "spare child", placement)
            .turn(turn)
            .target(1.2);
        spare.raw("fork server, forked ahead", || {
            fork_server(request::FORK_SPARE)
        });
        // A spare of a pool runs on the processors of whoever calls.
        if placement == Placement::OneCore {
            ours::fork_server::spare_child(&mut spare);
        }
        groups.extend([fresh, spare]);
    }
    let mut spare = Group::new(FAMILY, "spare child", Placement::EitherCore)
        .turn(turn)
        .target(1.2);
    spare.headline = true;
    spare.raw("fork server, forked ahead", || {
        fork_server(request::FORK_SPARE)
    });
    ours::fork_server::spare_child(&mut spare);
    groups.push(spare);

    let mut attach = Group::new(FAMILY, "fork and load a filter", Placement::OneCore).turn(turn);
    attach.raw("fork server", || fork_server(request::FORK_AND_WAIT));
    for name in Policy::builtin_names() {
        let length = filter(name).map_or(0, |filter| filter.len());
        attach.raw(
            format!("the filter of `{name}`, {length} instructions"),
            move || filtered(request::FORK_FILTERED, name),
        );
    }
    groups.push(attach);

    let children = if smoke { 20 } else { 200 };
    let name = format!("{children} children at once");
    let mut many = Group::new(FAMILY, name, Placement::EitherCore).turn(Turn::LONG);
    many.raw("fork server", move || fork_many(children));
    ours::fork_server::many_children(&mut many, children);
    groups.push(many);
    groups
}

struct Server {
    control: OwnedFd,
    _process: Running,
}

impl Server {
    fn start() -> Result<Self> {
        let command = Command::role("fork-server", &[])?;
        let (process, control) = command.start(Launch::PosixSpawn, socket::Kind::Packets)?;
        Ok(Self {
            control,
            _process: process,
        })
    }

    /// Has a child forked, and returns our end of its socket.
    fn fork(&self, order: u8) -> Result<OwnedFd> {
        let (ours, theirs) = socket::pair(socket::Kind::Packets)?;
        socket::send_with(self.control.as_fd(), &[order], &[theirs.as_fd()])?;
        Ok(ours)
    }

    /// Waits until the server has reaped the child.
    fn reaped(&self) -> Result<()> {
        let status = socket::receive_array(self.control.as_fd())?;
        expect_same(u64::from_ne_bytes(status), 0)
    }
}

/// The filter of a built-in policy as the kernel takes it.
fn filter(name: &str) -> Result<Vec<u64>> {
    let compiled = Policy::builtin(name)?.compile()?;
    let arch = Arch::host().ok_or("no policies for this architecture")?;
    let program = compiled
        .program(arch)
        .ok_or("compiled for another architecture")?;
    let instruction = |instruction: &bpf::sock_filter| {
        let bpf::sock_filter { code, jt, jf, k } = *instruction;
        u64::from(code) | u64::from(jt) << 16 | u64::from(jf) << 24 | u64::from(k) << 32
    };
    Ok(program.code.iter().map(instruction).collect())
}

/// A child that loads a filter, alone or after the other layers, before it answers.
fn filtered(order: u8, name: &'static str) -> Result<impl Row> {
    with_filters(order, vec![filter(name)?])
}

/// A child of a server that carries the layers of `parser`, but answers every call by allowing it: it has to
/// fork. What a child may not do any more is left to a last filter, or to nobody.
fn born_confined(last: Option<&str>) -> Result<impl Row> {
    const RETURN: u64 = 0x06;
    const ALLOW: u64 = 0x7fff_0000;
    let mut shared = filter("parser")?;
    for instruction in &mut shared {
        if *instruction & 0xffff == RETURN {
            *instruction = RETURN | ALLOW << 32;
        }
    }
    let last = last.map_or(Ok(Vec::new()), filter)?;
    with_filters(request::FORK_BORN_CONFINED, vec![shared, last])
}

/// Sends the filters after the first order.
fn with_filters(order: u8, filters: Vec<Vec<u64>>) -> Result<impl Row> {
    let server = Server::start()?;
    let mut is_sent = false;
    let mut counter = 0;
    Ok(move || {
        let (summands, sum) = next_sum(&mut counter);
        let start = Instant::now();
        let socket = server.fork(order)?;
        if !is_sent {
            for filter in &filters {
                let bytes: Vec<u8> = filter.iter().flat_map(|one| one.to_ne_bytes()).collect();
                socket::send(server.control.as_fd(), &bytes)?;
            }
            is_sent = true;
        }
        socket::send(socket.as_fd(), &encode(summands))?;
        let answer = socket::receive_array(socket.as_fd())?;
        server.reaped()?;
        let took = start.elapsed();
        expect_same(u64::from_ne_bytes(answer), sum)?;
        Ok(took.into())
    })
}

/// For a spare child, time starts with the arguments and ends with the answer.
fn fork_server(order: u8) -> Result<impl Row + use<>> {
    let server = Server::start()?;
    let mut counter = 0;
    Ok(move || {
        let (summands, sum) = next_sum(&mut counter);
        let took;
        let answer;
        if order == request::FORK_SPARE {
            let socket = server.fork(order)?;
            expect_same(socket::receive_array(socket.as_fd())?, [0; 8])?;
            let start = Instant::now();
            socket::send(socket.as_fd(), &encode(summands))?;
            answer = socket::receive_array(socket.as_fd())?;
            took = start.elapsed();
            server.reaped()?;
        } else {
            let start = Instant::now();
            let socket = server.fork(order)?;
            socket::send(socket.as_fd(), &encode(summands))?;
            answer = socket::receive_array(socket.as_fd())?;
            server.reaped()?;
            took = start.elapsed();
        }
        expect_same(u64::from_ne_bytes(answer), sum)?;
        Ok(took.into())
    })
}

/// A child's end is seen here by the end of its stream, which is a little earlier than by reaping.
fn fork_many(count: usize) -> Result<impl Row> {
    let server = Server::start()?;
    let mut counter = 0;
    Ok(move || {
        let sums: Vec<_> = (0..count).map(|_| next_sum(&mut counter)).collect();
        let start = Instant::now();
        let mut sockets = Vec::with_capacity(count);
        for &(summands, _) in &sums {
            let socket = server.fork(request::FORK_ON)?;
            socket::send(socket.as_fd(), &encode(summands))?;
            sockets.push(socket);
        }
        let mut answers = Vec::with_capacity(count);
        for socket in &sockets {
            answers.push(socket::receive_array(socket.as_fd())?);
            expect_same(socket::receive(socket.as_fd(), &mut [0])?, 0)?;
        }
        let took = start.elapsed();
        for (answer, (_, sum)) in answers.into_iter().zip(sums) {
            expect_same(u64::from_ne_bytes(answer), sum)?;
        }
        Ok(took.into())
    })
}
