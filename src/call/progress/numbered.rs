//! Calls of a child that answers several.

use super::super::confinement::Confined;
use super::super::processor::ProcessorTime;
use super::Running;
use crate::error::Error;

impl Running {
    /// Begins a call of a child that answers several.
    pub(in crate::call) fn begin_numbered(&mut self, number: u64) -> Result<(), Error> {
        self.number = Some(number);
        self.start_clock()
    }

    /// Measures the processor time of such a call, from when the child is known to be confined.
    pub(super) fn start_clock(&mut self) -> Result<(), Error> {
        let Some(confined) = self.confined.as_ref().filter(|it| it.is_confirmed()) else {
            return Ok(());
        };
        if let (Some(_), Some((time, _)), Some(process)) =
            (self.number, confined.cpu_times(), self.process.id())
        {
            match ProcessorTime::begin(process, time) {
                Ok(begun) => self.processor = Some(begun),
                // It has died in this moment, and takes no more. How it ended is still to be heard.
                Err(error) if is_gone(&error) => {}
                Err(source) => {
                    return Err(Error::Launch {
                        step: "look at the processor time of the child (clock_gettime)",
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Forgets a call that was answered, and returns whether the child can have another one: it runs, has sent
    /// nothing else, and has as much processor time left as a call may take.
    pub(in crate::call) fn end_numbered(&mut self) -> bool {
        // A violation ends a child, so one that tells of it and goes on has made it up, or is about to end.
        let tells_of_violation = self
            .confined
            .as_ref()
            .is_some_and(Confined::tells_of_violation);
        if self.note_end() || self.inbox.is_mid_message() || tells_of_violation {
            return false;
        }
        let times = self.confined.as_ref().and_then(Confined::cpu_times);
        let has_time = match (times, self.processor.take()) {
            (Some((call, in_all)), Some(processor)) => processor
                .in_all()
                .is_some_and(|used| used.saturating_add(call) <= in_all),
            (None, None) => true,
            _ => false,
        };
        self.number = None;
        self.inbox.forget_costs();
        has_time
    }
}

/// Returns whether a process had no clock because it was no more. A child whose time counts has its process id in
/// this process's namespace ([`Confined::is_one_process`]).
fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL))
}
