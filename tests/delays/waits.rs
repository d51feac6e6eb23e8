//! The waits that are measured.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crossmist::{ChannelError, Child, Error, Object, SandboxPolicy, Sender, channel, func};

use crate::hostile::{self, Effort};
use crate::support;

/// The timeout of each wait.
const TIMEOUT: Duration = Duration::from_millis(20);

/// The children that a wait is beside of.
pub(crate) struct Side {
    policy: SandboxPolicy,
    effort: Effort,
}

impl Side {
    pub(crate) fn new(builtin: &str, is_hostile: bool) -> Self {
        let effort = match (is_hostile, builtin) {
            (false, _) | (true, "pure") => Effort::Busy,
            (true, "parser" | "file-reader") => Effort::Threads,
            (true, _) => Effort::Watches,
        };
        // Every policy needs threads for what is compared.
        Self {
            policy: support::in_time(builtin, support::stays(), ""),
            effort,
        }
    }

    /// Starts a child with one end of `ready`, and waits until it is.
    fn start<T: Object>(&self, spawn: impl FnOnce(Effort, Sender<()>) -> Child<T>) -> Child<T> {
        let (ready, mut is_ready) = channel().unwrap();
        let child = spawn(self.effort, ready);
        match is_ready.recv() {
            Ok(Some(())) => child,
            other => panic!("{other:?}: {:?}", child.join().map(drop)),
        }
    }
}

pub(crate) struct Wait {
    pub(crate) name: &'static str,
    /// How much later than it should one of so many ended.
    pub(crate) worst: fn(&Side, u32) -> Duration,
}

pub(crate) const ALL: [Wait; 6] = [
    Wait {
        name: "another's deadline",
        worst: another_deadline,
    },
    Wait {
        name: "recv_timeout",
        worst: receives,
    },
    Wait {
        name: "join_timeout",
        worst: joins,
    },
    Wait {
        name: "send_timeout",
        worst: sends,
    },
    Wait {
        name: "drop",
        worst: drops,
    },
    Wait {
        name: "lent socket's peer",
        worst: peer,
    },
];

/// For how long this thread could have run, and others did, since it began.
fn time_in_line() -> Duration {
    // A kernel without CONFIG_SCHED_INFO does not say.
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// How long something takes, without the time for which no processor was free.
fn time_of<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let (before, begun) = (time_in_line(), Instant::now());
    let result = work();
    let took = begun.elapsed();
    let in_line = time_in_line().saturating_sub(before);
    (took.saturating_sub(in_line), result)
}

/// By how much something takes longer than the timeout.
fn lateness<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let (took, result) = time_of(work);
    (took.saturating_sub(TIMEOUT), result)
}

#[func(sandbox = "worker")]
fn stays() {
    std::thread::sleep(support::stays());
}

/// Runs `wait` so often, beside a child that is started anew once it has been ended for what it costs.
fn worst_of<T>(
    tries: u32,
    start: impl Fn() -> T,
    mut wait: impl FnMut(&mut T) -> (Duration, bool),
) -> Duration {
    let mut worst = Duration::ZERO;
    let mut beside = None;
    for _ in 0..tries {
        let (late, goes_on) = wait(beside.get_or_insert_with(&start));
        worst = worst.max(late);
        if !goes_on {
            beside = None;
        }
    }
    worst
}

/// The keeper has to end one child while it reads what another one prints.
fn another_deadline(side: &Side, tries: u32) -> Duration {
    let start = || {
        side.start(|effort, ready| {
            let prints = hostile::prints.sandbox(&side.policy);
            prints.kill_on_drop(true).spawn(effort, ready).unwrap()
        })
    };
    worst_of(tries, start, |child| {
        let mut worst = Duration::ZERO;
        loop {
            let timed = stays.builder().deadline(TIMEOUT);
            let (late, result) = lateness(|| timed.run());
            worst = worst.max(late);
            match result {
                Err(Error::Deadline { .. }) => break,
                // On a busy machine, the time may be over before the keeper has started the child.
                Err(Error::Launch { source, .. }) if source.kind() == ErrorKind::TimedOut => (),
                other => panic!("{other:?}"),
            }
        }
        (worst, matches!(child.try_join(), Ok(None)))
    })
}

fn receives(side: &Side, tries: u32) -> Duration {
    let start = || {
        let (end, receiver) = channel().unwrap();
        let child = side.start(|effort, ready| {
            let sends = hostile::sends.sandbox(&side.policy);
            sends.kill_on_drop(true).spawn(effort, end, ready).unwrap()
        });
        (child, receiver)
    };
    worst_of(tries, start, |(_, receiver)| {
        let (late, result) = lateness(|| receiver.recv_timeout(TIMEOUT));
        (late, matches!(result, Err(ChannelError::TimedOut)))
    })
}

fn joins(side: &Side, tries: u32) -> Duration {
    let start = || {
        side.start(|effort, ready| {
            let answers = hostile::answers.sandbox(&side.policy);
            answers.kill_on_drop(true).spawn(effort, ready).unwrap()
        })
    };
    worst_of(tries, start, |child| {
        let (late, result) = lateness(|| child.join_timeout(TIMEOUT));
        (late, matches!(result, Ok(None)))
    })
}

fn sends(side: &Side, tries: u32) -> Duration {
    let value = vec![7; 64 << 20];
    let start = || {
        let (sender, end) = channel().unwrap();
        let child = side.start(|effort, ready| {
            let reads = hostile::reads.sandbox(&side.policy);
            reads.kill_on_drop(true).spawn(effort, end, ready).unwrap()
        });
        (child, sender)
    };
    worst_of(tries, start, |(_, sender)| {
        let (late, _) = lateness(|| sender.send_timeout(&value, TIMEOUT));
        // A part of the message was sent.
        (late, false)
    })
}

fn drops(side: &Side, tries: u32) -> Duration {
    let start = || {
        let (end, receiver) = channel::<u64>().unwrap();
        let child = side.start(|effort, ready| {
            let fills = hostile::fills.sandbox(&side.policy);
            fills.kill_on_drop(true).spawn(effort, end, ready).unwrap()
        });
        (child, Some(receiver))
    };
    worst_of(tries, start, |(_, receiver)| {
        (time_of(|| drop(receiver.take())).0, false)
    })
}

/// The socket that is lent is a connection, at whose other end somebody writes.
fn peer(side: &Side, tries: u32) -> Duration {
    let start = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let child = side.start(|effort, ready| {
            let borrows = hostile::borrows.sandbox(&side.policy);
            borrows
                .kill_on_drop(true)
                .spawn(effort, lent, ready)
                .unwrap()
        });
        (child, far)
    };
    worst_of(tries, start, |(_, far)| {
        (time_of(|| far.write_all(b"x").unwrap()).0, true)
    })
}
