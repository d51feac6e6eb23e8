//! The parent's knowledge of a call whose child confines itself: the policy, how the confinement went, and
//! what the child's end means.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crossmist_policy::Arch;
use crossmist_policy::namespaces::{Namespace, Wish};

use super::denials::AnsweredCalls;
use super::options::Options;
use super::process::StillRunning;
use super::request_timer::RequestTimer;
use crate::child::Reply;
use crate::confine::trace::Answers;
use crate::confine::{ConfinementStatus, NewGroup, SandboxPolicy, Wanted};
use crate::error::{
    DeniedCall, Error, NamedPlace, Place, Resource, Step, Traffic, Unusable, UnusableKind,
    Violation,
};
use crate::keeper::{self, Cause, Outcome, Piped, Request, StartMethod};
use crate::object::{Limits, Object, Terms, carries};
use crate::sys::poll::Deadline;
use crate::sys::process::Ended;
use crate::wire::{DenialReport, ProtocolError};

/// A confined call, as the parent sees it.
#[derive(Debug)]
pub(crate) struct Confined {
    function: &'static str,
    policy: SandboxPolicy,
    piped: Piped,
    /// The channels that it was passed end with it, wherever it has put their ends.
    takes_ends_along: bool,
    /// How many calls the child may answer, each in the processor time of the policy.
    calls: u32,
    /// The deadline of each request that the child serves, if it has one.
    timer: Option<RequestTimer>,
    /// The child's control group, until the keeper has it.
    group: Option<NewGroup>,
    /// The child's report on its confinement.
    status: Option<Arc<ConfinementStatus>>,
    note: Option<DenialReport>,
    answered: AnsweredCalls,
    /// The record of what it does, if it is watched instead.
    #[cfg(crossmist_learn)]
    recording: Option<super::watch::Recording>,
}

impl Confined {
    pub(crate) fn new(
        function: &'static str,
        policy: &SandboxPolicy,
        piped: Piped,
        takes_ends_along: bool,
    ) -> Self {
        Self {
            function,
            policy: policy.clone(),
            piped,
            takes_ends_along,
            calls: 1,
            timer: None,
            group: None,
            status: None,
            note: None,
            answered: AnsweredCalls::new(function, policy),
            #[cfg(crossmist_learn)]
            recording: None,
        }
    }

    /// The record of what the child does, if it is watched.
    #[cfg(crossmist_learn)]
    pub(crate) fn take_recording(&mut self) -> Option<super::watch::Recording> {
        self.recording.take()
    }

    /// Gives the child a control group.
    pub(crate) fn in_group(self, group: Option<NewGroup>) -> Self {
        Self { group, ..self }
    }

    /// Lets the child answer several calls.
    pub(crate) fn for_calls(self, calls: u32) -> Self {
        Self { calls, ..self }
    }

    /// Takes reports of calls that this filter answers with an error number, if the child is to send any.
    pub(crate) fn traced_by(mut self, answers: Option<Answers>) -> Self {
        self.answered.trace(answers);
        self
    }

    /// Bounds the time of each request.
    pub(crate) fn timed_by(self, timer: Option<&RequestTimer>) -> Self {
        // Being watched takes time.
        let timer = timer.filter(|_| !is_watched()).cloned();
        Self { timer, ..self }
    }

    /// Returns the timer of its requests, for the keeper.
    pub(crate) fn timer(&self) -> Option<BorrowedFd<'_>> {
        self.timer.as_ref().map(RequestTimer::descriptor)
    }

    /// Returns the time that its last request was given, if that ends before the call has to.
    pub(crate) fn time_of_request(&self, of_call: Deadline) -> Option<Duration> {
        self.timer.as_ref()?.time_of_request(of_call)
    }

    /// Returns the processor time that the child may take for a call, and for all of its calls.
    pub(crate) fn cpu_times(&self) -> Option<(Duration, Duration)> {
        let call = self.policy.compiled().limits.cpu_time?;
        Some((call, call.saturating_mul(self.calls)))
    }

    /// Returns whether the child is one process, which the program sees.
    pub(crate) fn is_one_process(&self) -> bool {
        let policy = self.policy.compiled();
        policy.limits.processes == 0 && policy.namespaces.wish(Namespace::Pid) == Wish::Shared
    }

    /// Returns the error for a call that has taken too much of a resource.
    pub(crate) fn limit(&self, resource: Resource) -> Error {
        Error::Limit {
            function: self.function,
            policy: self.policy.name().to_owned(),
            resource,
        }
    }

    /// The child's control group, for the keeper.
    pub(crate) fn take_group(&mut self) -> Option<NewGroup> {
        self.group.take()
    }

    /// Returns the limits on an answer that holds a `T`.
    pub(crate) fn limits<T: Object>(&self) -> Limits {
        let channel = &self.policy.compiled().channel;
        let bytes = |bound: Option<u64>| {
            bound.map_or(usize::MAX, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            })
        };
        let descriptors = match carries::<T>().descriptors {
            // No descriptor is accepted that the type does not name.
            None => 0,
            Some(_) => usize::try_from(channel.message_fds).unwrap_or(usize::MAX),
        };
        // And the descriptor by which a watched child is watched.
        #[cfg(crossmist_learn)]
        let descriptors = descriptors.saturating_add(usize::from(super::watch::is_on()));
        Limits {
            // The answer is the only message.
            message_bytes: bytes(channel.message_bytes).min(bytes(channel.total_bytes)),
            descriptors,
            nesting: usize::try_from(channel.nesting).unwrap_or(usize::MAX),
            memory_bytes: usize::MAX,
            empty_elements: usize::MAX,
        }
    }

    /// Returns the limits of the channels that the call is passed.
    pub(crate) fn terms(&self) -> Terms {
        let channel = &self.policy.compiled().channel;
        let limits = Limits {
            message_bytes: channel.message_bytes.map_or(usize::MAX, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
            descriptors: usize::try_from(channel.message_fds).unwrap_or(usize::MAX),
            nesting: usize::try_from(channel.nesting).unwrap_or(usize::MAX),
            memory_bytes: usize::MAX,
            empty_elements: usize::MAX,
        };
        let total = channel.total_bytes.unwrap_or(u64::MAX);
        let policy = self.policy.name().to_owned();
        Terms::new(self.function, policy, limits, channel.messages, total)
    }

    pub(crate) fn takes_ends_along(&self) -> bool {
        self.takes_ends_along
    }

    pub(crate) fn policy_name(&self) -> &str {
        self.policy.name()
    }

    fn wall_time(&self) -> Option<Duration> {
        // Being watched takes time.
        #[cfg(crossmist_learn)]
        if super::watch::is_on() {
            return None;
        }
        self.policy.compiled().limits.wall_time
    }

    /// Returns the time that a call has, by its policy and its options.
    pub(crate) fn time(&self, options: &Options) -> Option<Duration> {
        match (options.deadline, self.wall_time()) {
            (Some(call), Some(policy)) => Some(call.min(policy)),
            (call, policy) => call.or(policy),
        }
    }

    /// Refuses a policy whose children cannot share prepared state.
    pub(crate) fn may_share(&self) -> Result<(), Error> {
        match self.policy.compiled().process.fresh_image {
            false => Ok(()),
            true => Err(Unusable::new(
                UnusableKind::Option,
                "its `[process] launch = \"exec\"` gives each child a fresh image, with nothing of \
                 what `preload` has prepared: leave out one of the two",
            )
            .of(self.policy.name())),
        }
    }

    /// Returns the namespaces that the policy wants.
    pub(crate) fn namespaces(&self) -> Wanted {
        match is_watched() {
            true => Wanted::default(),
            false => Wanted::of(self.policy.compiled()),
        }
    }

    /// Returns the request to the keeper.
    pub(crate) fn request(&self, deadline: Deadline) -> Request {
        let compiled = self.policy.compiled();
        Request {
            deadline: deadline.monotonic_nanos(),
            has_timer: self.timer.is_some(),
            launch: match compiled.process.fresh_image {
                true => StartMethod::Execute,
                false => StartMethod::Fork,
            },
            may_fork: compiled.may_start_processes(Arch::host()) || is_watched(),
            piped: self.piped,
            oom_score: keeper::oom_score(),
            namespaces: self.namespaces(),
        }
    }

    pub(crate) fn status(&self) -> Option<&Arc<ConfinementStatus>> {
        self.status.as_ref()
    }

    /// Returns whether the child has reported that it is confined.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.status.is_some()
    }

    /// Takes in what the child sends, and returns it if it is an answer.
    pub(crate) fn hear<T>(&mut self, reply: Reply<T>) -> Result<Option<Reply<T>>, Error> {
        match (reply, &self.status) {
            (Reply::Confined(status), None) => {
                self.status = Some(Arc::new(*status));
                Ok(None)
            }
            #[cfg(crossmist_learn)]
            (Reply::Watched(listener), None) if super::watch::is_on() => {
                let (function, policy) = (self.function, self.policy.name());
                self.recording = super::watch::supervise(listener, function, policy);
                Ok(None)
            }
            (Reply::NotConfined(failure), None) => Err(Error::Confine {
                function: self.function,
                policy: self.policy.name().to_owned(),
                step: failure.step(),
                errno: Some(failure.errno()),
                reason: failure.to_string(),
            }),
            (reply, Some(_)) if reply.is_report() => Err(Error::Malformed(ProtocolError::Surplus)),
            // Whatever the answer is, it may have been computed without confinement.
            (_, None) => {
                Err(self.unreported("it answered without having said that it is".to_owned()))
            }
            (Reply::Panicked(mut panic), Some(_)) => {
                panic.limit = self.limit_on_threads(panic.message.as_raw());
                Ok(Some(Reply::Panicked(panic)))
            }
            (answer, Some(_)) => Ok(Some(answer)),
        }
    }

    /// Takes in the child's report of a denied call.
    pub(crate) fn note(&mut self, note: DenialReport) -> Result<(), Error> {
        if note.denial.errno != 0 {
            return self.answered.add(note);
        }
        match self.note.replace(note) {
            None => Ok(()),
            Some(_) => Err(Error::Malformed(ProtocolError::Surplus)),
        }
    }

    /// Returns whether the child has reported a call that ends it.
    pub(crate) fn tells_of_violation(&self) -> bool {
        self.note.is_some()
    }

    /// Tells of the calls that the policy has answered with an error number, if anybody wants to know.
    pub(crate) fn tell_answered(&mut self) {
        self.answered.tell();
    }

    /// Returns a hint for a panic about a thread that could not be started. It is only for people,
    /// because the text is the child's.
    fn limit_on_threads(&self, message: &str) -> Option<String> {
        // As `io::Error` shows it in `Display` and in `Debug`.
        let again = [
            format!("os error {}", libc::EAGAIN),
            format!("code: {},", libc::EAGAIN),
        ];
        let is_refused = again.iter().any(|again| message.contains(again.as_str()));
        if !(is_refused && message.contains("thread")) {
            return None;
        }
        let name = self.policy.name();
        Some(match self.policy.compiled().limits.threads {
            // The filter enforces it.
            threads @ (0 | 1) => {
                format!("the policy `{name}` lets it start no threads (`threads = {threads}`)")
            }
            threads => format!(
                "the limit may be `threads = {threads}` of the policy `{name}`, which counts the \
                 thread that the function runs on"
            ),
        })
    }

    /// Returns the error for a child that has not reported that it is confined.
    fn unreported(&self, reason: String) -> Error {
        Error::Confine {
            function: self.function,
            policy: self.policy.name().to_owned(),
            step: Step::Report,
            errno: None,
            reason,
        }
    }

    /// Returns the error for a child that gave no answer, if the confinement is the cause.
    pub(crate) fn verdict(
        &self,
        ended: &Result<Ended, StillRunning>,
        parting: Option<Outcome>,
        process: u32,
        mapped: &Arc<[u8]>,
        time: Duration,
    ) -> Option<Error> {
        let departure = match &parting {
            Some(Outcome::KeeperDied) => return Some(Error::KeeperDied),
            Some(parting @ Outcome::NotStarted { .. }) => return Some(parting.start_error()),
            Some(Outcome::Reported(departure)) => departure,
            None => return None,
        };
        let Ok(ended) = ended else { return None };
        match departure.killed_for {
            None => {}
            Some(Cause::Deadline) => return Some(Error::Deadline { after: time }),
            Some(Cause::OutputCost) => {
                return Some(Error::TooCostly {
                    traffic: Traffic::Output,
                });
            }
            Some(Cause::Memory) => return Some(self.limit(Resource::Memory)),
            Some(Cause::OutputDescriptors) => return Some(Error::Malformed(ProtocolError::Output)),
        }
        if self.status.is_none() {
            return Some(self.unreported(match ended {
                Ended::Exited(status) => {
                    format!("it ended before it was, with status {status}")
                }
                Ended::Signalled { signal, .. } => {
                    format!("it was ended before it was, by signal {signal}")
                }
                Ended::Unknown => "it ended before it was".to_owned(),
            }));
        }
        let Ended::Signalled { signal, .. } = *ended else {
            return None;
        };
        let used = Duration::from_nanos(departure.cpu_time);
        match signal {
            libc::SIGSYS => Some(Error::Violation(Box::new(self.violation(process, mapped)))),
            // No filter lets a process send this signal.
            libc::SIGXCPU => Some(self.limit(Resource::CpuTime)),
            // A child that ignores it is killed a second later.
            libc::SIGKILL if self.cpu_times().is_some_and(|(_, most)| used >= most) => {
                Some(self.limit(Resource::CpuTime))
            }
            libc::SIGABRT if says_out_of_memory(&departure.stderr) => {
                Some(self.limit(Resource::Memory))
            }
            _ => None,
        }
    }

    fn violation(&self, process: u32, mapped: &Arc<[u8]>) -> Violation {
        let claim = self.note.as_ref().map(|note| {
            let explanation = self.policy.explain(note);
            DeniedCall {
                number: note.denial.number,
                arguments: note.denial.arguments,
                call: explanation.call,
                denied_by: explanation.denied_by,
                allow_with: explanation.allow_with,
                caution: explanation.caution,
                answer_with: explanation.answer_with,
                instead: explanation.instead,
                thread: note.denial.thread,
                place: NamedPlace::new(Place::new(note, Arc::clone(mapped))),
            }
        });
        Violation {
            function: self.function,
            policy: self.policy.name().to_owned(),
            process,
            claim,
        }
    }
}

/// Returns whether children are watched instead of confined.
fn is_watched() -> bool {
    #[cfg(crossmist_learn)]
    return super::watch::is_on();
    #[cfg(not(crossmist_learn))]
    false
}

/// Returns whether Rust's runtime has reported that an allocation failed, in the line that it
/// prints when it aborts.
fn says_out_of_memory(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    text.lines()
        .any(|line| line.starts_with("memory allocation of ") && line.ends_with(" bytes failed"))
}
