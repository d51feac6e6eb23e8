//! Spawn to result: a fresh process adds two integers, and its end is waited for.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::Instant;

use ipc_channel::ipc::{IpcOneShotServer, IpcSender};

use crate::harness::{Group, Placement, Result, Row, Turn, expect_same};
use crate::ours;
use crate::raw::process::{CHILD, Command, Launch, Running};
use crate::raw::{Summands, encode, next_sum, socket};

pub(crate) const FAMILY: &str = "spawn to result";

pub(crate) fn groups(smoke: bool) -> Vec<Group> {
    let turn = Turn {
        lead_in: 0,
        repeats: 2,
        at_most: usize::MAX,
    };
    let mut groups: Vec<Group> = [Placement::OneCore, Placement::EitherCore]
        .map(|placement| {
            let mut group = Group::new(FAMILY, "one child", placement)
                .turn(turn)
                .target(1.05);
            group.headline = placement == Placement::EitherCore;
            group.raw("posix_spawn", || raw("add", Launch::PosixSpawn));
            group.raw("clone(VM|VFORK) + exec", || raw("add", Launch::CloneExec));
            group.raw("fork + exec", || raw("add", Launch::ForkExec));
            group.raw("posix_spawn, entered from main", || {
                raw("add-in-main", Launch::PosixSpawn)
            });
            group.peer("std::process::Command", std_command);
            group.peer("procspawn", procspawn_one);
            group.peer("ipc-channel one-shot server", ipc_one_shot);
            ours::spawn::one_child(&mut group);
            group
        })
        .into();

    let children = if smoke { 20 } else { 200 };
    let name = format!("{children} children at once");
    let mut group = Group::new(FAMILY, name, Placement::EitherCore).turn(Turn::LONG);
    group.raw("posix_spawn", move || {
        raw_many(Launch::PosixSpawn, children)
    });
    group.raw("clone(VM|VFORK) + exec", move || {
        raw_many(Launch::CloneExec, children)
    });
    group.peer("std::process::Command", move || std_many(children));
    group.peer("procspawn", move || procspawn_many(children));
    ours::spawn::many_children(&mut group, children);
    groups.push(group);
    groups
}

pub(crate) fn raw(role: &str, launch: Launch) -> Result<impl Row + use<>> {
    let command = Command::role(role, &[])?;
    let mut counter = 0;
    Ok(move || {
        let (summands, sum) = next_sum(&mut counter);
        let start = Instant::now();
        let (child, socket) = raw_ask(&command, launch, summands)?;
        let answer = socket::receive_array(socket.as_fd())?;
        child.wait()?;
        let took = start.elapsed();
        expect_same(u64::from_ne_bytes(answer), sum)?;
        Ok(took.into())
    })
}

fn raw_many(launch: Launch, count: usize) -> Result<impl Row + use<>> {
    let command = Command::role("add", &[])?;
    let mut counter = 0;
    Ok(move || {
        let sums: Vec<_> = (0..count).map(|_| next_sum(&mut counter)).collect();
        let start = Instant::now();
        let children: Vec<_> = sums
            .iter()
            .map(|&(summands, _)| raw_ask(&command, launch, summands))
            .collect::<Result<_>>()?;
        let mut answers = Vec::with_capacity(count);
        for (child, socket) in children {
            answers.push(socket::receive_array(socket.as_fd())?);
            child.wait()?;
        }
        let took = start.elapsed();
        check_all(answers.into_iter().map(u64::from_ne_bytes), &sums)?;
        Ok(took.into())
    })
}

/// The arguments are in the socket before the child is born, so that it never waits for them.
fn raw_ask(command: &Command, launch: Launch, summands: Summands) -> Result<(Running, OwnedFd)> {
    let (ours, theirs) = socket::pair(socket::Kind::Packets)?;
    socket::send(ours.as_fd(), &encode(summands))?;
    Ok((command.launch(launch, theirs.as_fd())?, ours))
}

pub(crate) fn add_in_main(socket: OwnedFd) -> Result<()> {
    let [a, b] = words(socket::receive_array(socket.as_fd())?);
    let sum = a.wrapping_add(b).to_ne_bytes();
    socket::send(socket.as_fd(), &sum)?;
    Ok(())
}

fn words(bytes: [u8; 16]) -> [u64; 2] {
    [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|index| bytes[at + index])))
}

/// The plain way of the standard library: arguments as words, the answer as text.
fn std_command() -> Result<impl Row> {
    let program = std::env::current_exe()?;
    let mut counter = 0;
    Ok(move || {
        let (summands, sum) = next_sum(&mut counter);
        let start = Instant::now();
        let output = std_ask(&program, summands)?.wait_with_output()?;
        let answer: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
        let took = start.elapsed();
        expect_same(answer, sum)?;
        expect_same(output.status.success(), true)?;
        Ok(took.into())
    })
}

fn std_many(count: usize) -> Result<impl Row> {
    let program = std::env::current_exe()?;
    let mut counter = 0;
    Ok(move || {
        let sums: Vec<_> = (0..count).map(|_| next_sum(&mut counter)).collect();
        let start = Instant::now();
        let children: Vec<Child> = sums
            .iter()
            .map(|&(summands, _)| std_ask(&program, summands))
            .collect::<Result<_>>()?;
        let mut answers = Vec::with_capacity(count);
        for child in children {
            let output = child.wait_with_output()?;
            answers.push(String::from_utf8(output.stdout)?.trim().parse()?);
        }
        let took = start.elapsed();
        check_all(answers.into_iter(), &sums)?;
        Ok(took.into())
    })
}

fn std_ask(program: &std::path::Path, (a, b): Summands) -> Result<Child> {
    let child = std::process::Command::new(program)
        .args([CHILD, "command-add", &a.to_string(), &b.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

pub(crate) fn command_add(parameters: &[String]) -> Result<()> {
    println!("{}", sum_of(parameters)?);
    Ok(())
}

fn sum_of(parameters: &[String]) -> Result<u64> {
    match parameters {
        [.., a, b] => Ok(a.parse::<u64>()?.wrapping_add(b.parse()?)),
        _ => Err("two summands are missing".into()),
    }
}

pub(super) fn procspawn_one() -> Result<impl Row> {
    let mut counter = 0;
    Ok(move || {
        let (summands, sum) = next_sum(&mut counter);
        let start = Instant::now();
        let answer = procspawn::spawn(summands, add).join()?;
        let took = start.elapsed();
        expect_same(answer, sum)?;
        Ok(took.into())
    })
}

fn procspawn_many(count: usize) -> Result<impl Row> {
    let mut counter = 0;
    Ok(move || {
        let sums: Vec<_> = (0..count).map(|_| next_sum(&mut counter)).collect();
        let start = Instant::now();
        let children: Vec<_> = sums
            .iter()
            .map(|&(summands, _)| procspawn::spawn(summands, add))
            .collect();
        let mut answers = Vec::with_capacity(count);
        for child in children {
            answers.push(child.join()?);
        }
        let took = start.elapsed();
        check_all(answers.into_iter(), &sums)?;
        Ok(took.into())
    })
}

fn add((a, b): Summands) -> u64 {
    a.wrapping_add(b)
}

fn ipc_one_shot() -> Result<impl Row> {
    let program = std::env::current_exe()?;
    let mut counter = 0;
    Ok(move || {
        let ((a, b), sum) = next_sum(&mut counter);
        let start = Instant::now();
        let (server, name) = IpcOneShotServer::<u64>::new()?;
        let child = std::process::Command::new(&program)
            .args([CHILD, "ipc-add", &name, &a.to_string(), &b.to_string()])
            .spawn()?;
        let (_, answer) = server.accept()?;
        reap(child)?;
        let took = start.elapsed();
        expect_same(answer, sum)?;
        Ok(took.into())
    })
}

pub(crate) fn ipc_add(parameters: &[String]) -> Result<()> {
    let name = parameters.first().ok_or("the server's name is missing")?;
    IpcSender::connect(name.clone())?.send(sum_of(parameters)?)?;
    Ok(())
}

fn reap(mut child: Child) -> Result<()> {
    expect_same(child.wait()?.success(), true)
}

fn check_all(answers: impl Iterator<Item = u64>, sums: &[(Summands, u64)]) -> Result<()> {
    let expected: Vec<u64> = sums.iter().map(|&(_, sum)| sum).collect();
    expect_same(answers.collect(), expected)
}
