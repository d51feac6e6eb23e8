//! The packets between the program and the keeper: of fixed form, with descriptors beside them.
//!
//! The two trust each other as a process trusts a part of itself. The keeper is the same executable, runs
//! no user's code, and reads nothing that a confined child wrote. A check that costs nothing is made all
//! the same.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

use crate::confine::{NamespaceSet, Wanted};
use crate::sys::process::Ended;

/// Program to keeper: make one child.
///
/// The packet carries descriptors: the child's launch socket, which already holds the launch message, a
/// socket for the [`Report`]s on this child, and the child's timer and control group if it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// When the child is to be killed, on CLOCK_MONOTONIC, in nanoseconds. `None` if never.
    pub(crate) deadline: Option<u64>,
    /// Whether the packet carries a timer, at whose end the child is also killed. The program can set it
    /// without waking anybody.
    pub(crate) has_timer: bool,
    pub(crate) launch: StartMethod,
    /// Whether the policy lets the child start processes, which may outlive it.
    pub(crate) may_fork: bool,
    pub(crate) piped: Piped,
    /// The program's `oom_score_adj`, if it is known.
    pub(crate) oom_score: Option<i16>,
    pub(crate) namespaces: Wanted,
}

/// The standard descriptors of a child that lead into one stream, which the keeper reads. The others are
/// `/dev/null` at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piped(u8);

impl Piped {
    pub(crate) fn add(&mut self, number: usize) {
        self.0 |= 1u8
            .checked_shl(number.try_into().unwrap_or(u32::MAX))
            .unwrap_or(0);
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The same for each of the three.
    pub(crate) fn each<T>(self, of_stream: T) -> [Option<T>; 3]
    where
        T: Copy,
    {
        [1, 2, 4].map(|bit| (self.0 & bit != 0).then_some(of_stream))
    }
}

/// How a child comes into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartMethod {
    /// As a copy of the keeper.
    Fork,
    /// By executing the program anew: an address-space layout of its own.
    Execute,
}

/// Beside the bits of a set of namespaces.
const FLAG: u8 = 0x80;

/// Beside the bits of the standard descriptors.
const TIMER: u8 = 8;

impl Request {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b, c, d, e, f, g, h] = self.deadline.unwrap_or(u64::MAX).to_le_bytes();
        let launch = match self.launch {
            StartMethod::Fork => 0,
            StartMethod::Execute => 1,
        };
        let may_fork = u8::from(self.may_fork);
        let Piped(piped) = self.piped;
        let piped = piped | if self.has_timer { TIMER } else { 0 };
        let Wanted {
            required,
            if_possible,
            is_alone_in_network,
            may_use_user,
        } = self.namespaces;
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let required = required.bits() | flag(is_alone_in_network, FLAG);
        let optional = if_possible.bits() | flag(may_use_user, FLAG);
        let [low, high] = self.oom_score.unwrap_or(i16::MIN).to_le_bytes();
        [
            b'Q', launch, may_fork, piped, low, high, required, optional, a, b, c, d, e, f, g, h,
        ]
    }

    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let packet = <&[u8; Self::BYTES]>::try_from(packet).ok()?;
        let [
            b'Q',
            launch,
            may_fork,
            piped,
            low,
            high,
            required,
            optional,
            deadline @ ..,
        ] = packet
        else {
            return None;
        };
        let launch = match launch {
            0 => StartMethod::Fork,
            1 => StartMethod::Execute,
            _ => return None,
        };
        let deadline = u64::from_le_bytes(*deadline);
        let namespaces = Wanted {
            required: NamespaceSet::from_bits(required & !FLAG)?,
            if_possible: NamespaceSet::from_bits(optional & !FLAG)?,
            is_alone_in_network: required & FLAG != 0,
            may_use_user: optional & FLAG != 0,
        };
        let (has_timer, piped) = (piped & TIMER != 0, piped & !TIMER);
        (*may_fork < 2 && piped < TIMER).then_some(Self {
            deadline: (deadline != u64::MAX).then_some(deadline),
            has_timer,
            launch,
            may_fork: *may_fork == 1,
            piped: Piped(piped),
            oom_score: Some(i16::from_le_bytes([*low, *high])).filter(|score| *score != i16::MIN),
            namespaces,
        })
    }
}

/// Program to keeper, on the socket of a child's reports: kill it.
pub(crate) const KILL: u8 = b'K';

/// Keeper to program: the state of one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It runs.
    Started { process: i32 },
    /// There is none: a system call of the keeper failed.
    Failed { step: StartStep, errno: i32 },
    /// It has ended, and was waited for.
    Ended(ExitReport),
}

/// How a child of the keeper ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExitReport {
    pub(crate) ended: Ended,
    /// Why the keeper has killed it; `None` if it did not, or was asked to.
    pub(crate) killed_for: Option<Cause>,
    /// How long it and its threads have run on a processor, in nanoseconds.
    pub(crate) cpu_time: u64,
    /// The most memory that it had at a time, in bytes.
    pub(crate) memory: u64,
    /// The end of what it printed, in the child's words.
    pub(crate) stderr: Vec<u8>,
}

/// Why the keeper, or the kernel, kills a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Deadline,
    /// Reading what it prints costs too much.
    OutputCost,
    /// It sends descriptors beside what it prints.
    OutputDescriptors,
    /// The memory of its control group has run out, and the kernel has killed it.
    Memory,
}

impl Cause {
    const ALL: [Self; 4] = [
        Self::Deadline,
        Self::OutputCost,
        Self::OutputDescriptors,
        Self::Memory,
    ];
}

/// How much of a drained stream is kept.
pub(crate) const STDERR_BYTES: usize = 64 << 10;

/// A step by which the keeper makes a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartStep {
    Fork,
    Execute,
    OpenPidfd,
    Watch,
    /// See what a child leaves behind that may start processes.
    ListChildren,
    /// Be ended as readily as the program when memory runs out.
    OomScore,
    /// Give it a PID namespace.
    PidNamespace,
}

impl StartStep {
    const ALL: [Self; 7] = [
        Self::Fork,
        Self::Execute,
        Self::OpenPidfd,
        Self::Watch,
        Self::ListChildren,
        Self::OomScore,
        Self::PidNamespace,
    ];

    /// Completes the sentence "can't start the child process: …".
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork the keeper",
            Self::Execute => "execute this program again",
            Self::OpenPidfd => "open a pidfd of the child",
            Self::Watch => "watch the child",
            Self::ListChildren => {
                "list the keeper's children, so that what a child starts ends with it \
                 (/proc/thread-self/children, CONFIG_PROC_CHILDREN)"
            }
            Self::OomScore => {
                "give the keeper the program's /proc/self/oom_score_adj (`crossmist::keeper::end` lets \
                 the next call start another)"
            }
            Self::PidNamespace => {
                "give it a PID namespace (clone, CLONE_NEWPID). That needs CAP_SYS_ADMIN, and no filter or \
                 limit (sysctl user.max_pid_namespaces) that forbids it: let the keeper use a user namespace, \
                 by `user = \"if-needed\"` in `[namespaces]`, or say `pid = \"if-possible\"` there"
            }
        }
    }
}

impl Report {
    /// The longest report.
    pub(crate) const BYTES: usize = Self::HEAD + STDERR_BYTES;
    const HEAD: usize = 24;

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (kind, detail, flag, number, used, tail) = match self {
            Self::Started { process } => (b'S', 0, 0, *process, [0; 2], &[][..]),
            Self::Failed { step, errno } => {
                let step = StartStep::ALL.iter().position(|known| known == step);
                let step = step.and_then(|step| u8::try_from(step).ok()).unwrap_or(0);
                (b'F', step, 0, *errno, [0; 2], &[][..])
            }
            Self::Ended(departure) => {
                let (detail, number) = match departure.ended {
                    Ended::Exited(status) => (0, status),
                    Ended::Signalled {
                        signal,
                        core_dumped,
                    } => (if core_dumped { 2 } else { 1 }, signal),
                    Ended::Unknown => (3, 0),
                };
                let cause = |cause| Cause::ALL.iter().position(|known| *known == cause);
                let cause = departure.killed_for.and_then(cause);
                let flag = cause.map_or(0, |at| {
                    u8::try_from(at).unwrap_or(u8::MAX).saturating_add(1)
                });
                let tail = departure.stderr.as_slice();
                let used = [departure.cpu_time, departure.memory];
                (b'E', detail, flag, number, used, tail)
            }
        };
        let mut bytes = vec![kind, detail, flag, 0];
        bytes.extend_from_slice(&number.to_le_bytes());
        for used in used {
            bytes.extend_from_slice(&used.to_le_bytes());
        }
        bytes.extend_from_slice(tail);
        bytes
    }

    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let (head, tail) = packet.split_first_chunk::<{ Self::HEAD }>()?;
        let [kind, detail, flag, 0, a, b, c, d, used @ ..] = head else {
            return None;
        };
        let (cpu_time, memory) = used.split_first_chunk::<8>()?;
        let memory = <&[u8; 8]>::try_from(memory).ok()?;
        let number = i32::from_le_bytes([*a, *b, *c, *d]);
        let cpu_time = u64::from_le_bytes(*cpu_time);
        let memory = u64::from_le_bytes(*memory);
        let ended = match (kind, detail) {
            (b'S', 0) => return Some(Self::Started { process: number }),
            (b'F', step) => {
                let step = *StartStep::ALL.get(usize::from(*step))?;
                return Some(Self::Failed {
                    step,
                    errno: number,
                });
            }
            (b'E', 0) => Ended::Exited(number),
            (b'E', 1 | 2) => Ended::Signalled {
                signal: number,
                core_dumped: *detail == 2,
            },
            (b'E', 3) => Ended::Unknown,
            _ => return None,
        };
        let killed_for = match flag.checked_sub(1) {
            None => None,
            Some(at) => Some(*Cause::ALL.get(usize::from(at))?),
        };
        (tail.len() <= STDERR_BYTES).then(|| {
            Self::Ended(ExitReport {
                ended,
                killed_for,
                cpu_time,
                memory,
                stderr: tail.to_vec(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::Namespace;

    #[test]
    fn packets_survive_the_round_trip() {
        for deadline in [None, Some(0), Some(u64::MAX - 1)] {
            for launch in [StartMethod::Fork, StartMethod::Execute] {
                for (may_fork, piped) in [(false, 0), (true, 6)] {
                    let request = Request {
                        deadline,
                        has_timer: deadline.is_none(),
                        launch,
                        may_fork,
                        piped: Piped(piped),
                        oom_score: may_fork.then_some(-1000),
                        namespaces: Wanted {
                            required: NamespaceSet::default().with(Namespace::Network),
                            if_possible: NamespaceSet::default().with(Namespace::User),
                            is_alone_in_network: may_fork,
                            may_use_user: !may_fork,
                        },
                    };
                    assert_eq!(Request::parse(&request.to_bytes()), Some(request));
                }
            }
        }
        let mut causes = Cause::ALL.map(Some).into_iter();
        let steps = StartStep::ALL.map(|step| Report::Failed { step, errno: 11 });
        let ends = [
            Ended::Exited(-1),
            Ended::Signalled {
                signal: 9,
                core_dumped: false,
            },
            Ended::Signalled {
                signal: 31,
                core_dumped: true,
            },
            Ended::Unknown,
        ]
        .map(|ended| {
            Report::Ended(ExitReport {
                ended,
                killed_for: causes.next().flatten(),
                cpu_time: 1 << 40,
                memory: 1 << 50,
                stderr: b"bye".to_vec(),
            })
        });
        let reports = steps.into_iter().chain(ends);
        for report in reports.chain([Report::Started { process: 7 }]) {
            assert_eq!(Report::parse(&report.to_bytes()), Some(report));
        }
    }

    #[test]
    fn other_packets_are_refused() {
        let request = Request {
            has_timer: true,
            deadline: None,
            launch: StartMethod::Fork,
            may_fork: false,
            piped: Piped::default(),
            oom_score: None,
            namespaces: Wanted::default(),
        };
        let request = request.to_bytes();
        assert_eq!(Request::parse(&request[..15]), None);
        assert_eq!(Request::parse(&[&request[..], &[0]].concat()), None);
        for index in [0, 1, 2, 3, 6, 7] {
            let mut wrong = request;
            if let Some(byte) = wrong.get_mut(index) {
                *byte ^= 0x40;
            }
            assert_eq!(Request::parse(&wrong), None, "byte {index}");
        }
        let mut report = Report::Ended(ExitReport {
            ended: Ended::Exited(0),
            killed_for: None,
            cpu_time: 0,
            memory: 0,
            stderr: Vec::new(),
        })
        .to_bytes();
        assert!(Report::parse(&report).is_some());
        let unknown = u8::try_from(Cause::ALL.len() + 1).unwrap();
        *report.get_mut(2).unwrap() = unknown;
        assert_eq!(Report::parse(&report), None);
        assert_eq!(Report::parse(&[]), None);
        assert_eq!(Report::parse(&[0; 24]), None);
    }
}
