//! `Spare`: a confined child that waits for its call.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::child::Child;
use super::confined;
use super::options::Options;
use super::process::ChildProcess;
use super::progress::CallSettings;
use super::{Passed, failed, may_start, prepared, sockets};
use crate::child::{Calls, Preparation};
use crate::error::{Error, UnsupportedKind};
use crate::executable;
use crate::func::Func;
use crate::keeper;
use crate::object::{Limits, Object, Trust};
use crate::sys::poll::Deadline;
use crate::sys::socket::Wait;
use crate::sys::timer::Timer;
use crate::transport::{Outbox, Sent, Slots};

/// A child that has been started, confines itself, and waits for the arguments of a call.
#[derive(Debug)]
pub(crate) struct Spare<R: Object> {
    child: Child<R>,
    /// The keeper kills the child when it ends.
    timer: Timer,
    /// The time that the policy and the options give to a call.
    time: Option<Duration>,
    /// Memory that the child shares with this process.
    slots: Option<Slots>,
}

/// What remains of a spare whose child has got a call.
#[derive(Debug)]
pub(crate) struct Remainder {
    timer: Timer,
    time: Option<Duration>,
    slots: Option<Slots>,
    /// Channels that the call is passed end with this child, so no other child can have the call.
    ends_channels: bool,
}

/// How long a spare may take until it is confined.
const PREPARATION_TIME: Duration = Duration::from_secs(10);

impl<R: Object> Spare<R> {
    /// Asks the keeper for one. It is ready some tenths of a millisecond later.
    pub(crate) fn start<F: Func<Output = R>>(options: &Options) -> Result<Self, Error> {
        let Some((mut confined, plan)) = confined::confinement::<F>(options)? else {
            return Err(Error::Unsupported {
                kind: UnsupportedKind::NoSandbox,
                reason: format!(
                    "`{}` has no sandbox, and only sandboxed functions have pools: give it a policy, by \
                     `#[func(sandbox = \"…\")]`",
                    F::NAME
                ),
            });
        };
        may_start::<F>(options, true)?;
        if options.calls > 1 && confined.cpu_times().is_some() && !confined.is_one_process() {
            return Err(Error::Unsupported {
                kind: UnsupportedKind::UnmeasuredCalls,
                reason: format!(
                    "a child of `{}` can't answer several calls, since the processor time of each could not be \
                     measured: let the pool reuse no children, or have the policy say `processes = 0`, \
                     `namespaces.pid = \"shared\"`, or `cpu_time = \"none\"`",
                    F::NAME
                ),
            });
        }
        let program = executable::own()?;
        let preparation = Preparation::<F> {
            calls: match options.calls {
                0 | 1 => Calls::One,
                _ => Calls::Many,
            },
            limits: options.limits.min(confined.limits::<R>()),
            plan,
            function: std::marker::PhantomData,
        };
        let mut outbox = Outbox::encode(&preparation, Limits::default(), Trust::Code)?;
        let (ours, theirs) = sockets::<R>()?;
        let slots = match options.bulk {
            // Without them, everything goes through the socket.
            true => Slots::offer(ours.as_fd()).ok(),
            false => None,
        };
        let sent = outbox.advance(ours.as_fd(), Wait::Never);
        match sent.map_err(failed("send the policy"))? {
            Sent::All => {}
            _ => {
                let full = io::Error::other(
                    "it does not fit the socket, or too many descriptors are in flight",
                );
                return Err(failed("send the policy")(full));
            }
        }
        let preload = prepared::<F>(&confined)?;
        let deadline = Deadline::after(PREPARATION_TIME);
        let timer = Timer::new().map_err(failed("create a timer (timerfd_create)"))?;
        timer.set(deadline).map_err(failed(SET_TIMER))?;
        let group = confined.take_group();
        let request = keeper::Request {
            has_timer: true,
            ..confined.request(Deadline::NEVER)
        };
        let supervised = keeper::launch(
            program,
            preload,
            request,
            theirs,
            Some(timer.as_fd()),
            group,
            deadline,
        )?;
        let time = confined.time(options);
        let settings = CallSettings {
            function: F::NAME,
            limits: preparation.limits,
            deadline,
            time: PREPARATION_TIME,
            kill_on_drop: true,
        };
        let process = ChildProcess::supervised(supervised);
        let mut child = Child::new(process, ours, settings, Some(confined));
        // The pool's callers wait for each other.
        child.never_wait();
        child.use_slots(slots.clone());
        Ok(Self {
            child,
            timer,
            time,
            slots,
        })
    }

    /// Waits until it is confined. From then on it may wait for its call as long as it likes.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), Error> {
        self.child.confinement()?;
        self.child.set_deadline(Deadline::NEVER, Duration::ZERO);
        self.timer.set(Deadline::NEVER).map_err(failed(SET_TIMER))
    }

    /// Returns whether it still waits, and has said nothing that it was not asked.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.child.is_waiting()
    }

    /// Returns what tells of its end, for `poll`.
    pub(crate) fn end_entry(&self) -> Option<libc::pollfd> {
        self.child.end_entry()
    }

    /// Gives it the arguments, which have the form of a [`Call`](crate::child::Call), and the number of that. The
    /// part that does not fit its socket must still be sent. The time of the call counts from now, unless another
    /// child was given it before: then it has a deadline.
    pub(crate) fn call(
        mut self,
        outbox: &mut Outbox<'_>,
        limits: Limits,
        number: Option<u64>,
        deadline: &mut Option<Deadline>,
    ) -> Result<(Child<R>, Remainder), Error> {
        let time = self.time;
        let from_now = || time.map_or(Deadline::NEVER, Deadline::after);
        let deadline = *deadline.get_or_insert_with(from_now);
        // Before the child has anything to do.
        self.timer.set(deadline).map_err(failed(SET_TIMER))?;
        self.child.set_deadline(deadline, time.unwrap_or_default());
        self.child.lower_limits(limits);
        outbox.use_slots(self.slots.as_ref());
        if let Some(slots) = &self.slots {
            let links = outbox.links().iter();
            links.for_each(|link| link.share(slots.memory()));
        }
        if let Some(number) = number {
            self.child.begin_numbered(number)?;
        }
        let mut ends_channels = false;
        if let (Some(confined), Some(process)) = (self.child.confined(), self.child.process())
            && let Some(passed) = Passed::new(outbox.links(), confined)
        {
            ends_channels = confined.takes_ends_along();
            passed.belong_to(process);
        }
        self.child
            .begin_send(outbox)
            .map_err(failed("send the arguments"))?;
        let remainder = Remainder {
            timer: self.timer,
            time: self.time,
            slots: self.slots,
            ends_channels,
        };
        Ok((self.child, remainder))
    }

    /// Returns its child, which gets no other call.
    pub(crate) fn into_child(self) -> Child<R> {
        self.child
    }

    /// Makes a spare of a child that has answered a call, if it can have another one. Returns the child otherwise.
    pub(crate) fn again(mut child: Child<R>, remainder: Remainder) -> Result<Self, Box<Child<R>>> {
        let Remainder {
            timer, time, slots, ..
        } = remainder;
        if !child.end_numbered() || timer.set(Deadline::NEVER).is_err() {
            return Err(Box::new(child));
        }
        // After that: if it has passed, the keeper may be about to kill the child.
        if child.is_past_deadline() {
            return Err(Box::new(child));
        }
        child.set_deadline(Deadline::NEVER, Duration::ZERO);
        Ok(Self {
            child,
            timer,
            time,
            slots,
        })
    }
}

impl Remainder {
    /// Returns whether channels that the call was passed end with its child.
    pub(crate) fn ends_channels(&self) -> bool {
        self.ends_channels
    }
}

const SET_TIMER: &str = "set a timer (timerfd_settime)";
