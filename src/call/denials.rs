//! The calls of a child that its policy has answered with an error number, if the child tells of them.

use super::stderr;
use crate::confine::{SandboxPolicy, trace};
use crate::error::{ChildText, Error};
use crate::wire::{DenialReport, ProtocolError};

/// How many different ones are kept.
const MOST_KINDS: usize = 64;

/// How many reports are taken. A child sends fewer, unless it has started others that do the same.
const MOST_REPORTS: u32 = 4096;

/// The calls of one child. They are printed when the child has answered, and the rest when it is given up.
#[derive(Debug)]
pub(crate) struct AnsweredCalls {
    function: &'static str,
    policy: SandboxPolicy,
    reports: u32,
    kinds: Vec<Kind>,
}

/// Calls that differ in nothing that matters.
#[derive(Debug)]
struct Kind {
    /// The first of them.
    report: DenialReport,
    count: u32,
}

impl AnsweredCalls {
    pub(crate) fn new(function: &'static str, policy: &SandboxPolicy) -> Self {
        Self {
            function,
            policy: policy.clone(),
            reports: 0,
            kinds: Vec::new(),
        }
    }

    /// Takes in a report.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if none was asked for, or if it is one of too many.
    pub(crate) fn add(&mut self, report: DenialReport) -> Result<(), Error> {
        self.reports = self.reports.saturating_add(1);
        if !trace::is_on_for(self.policy.compiled()) || self.reports > MOST_REPORTS {
            return Err(Error::Malformed(ProtocolError::Surplus));
        }
        let key = |report: &DenialReport| (report.denial.number, report.denial.errno);
        let same =
            |kind: &&mut Kind| key(&kind.report) == key(&report) && kind.report.path == report.path;
        if let Some(kind) = self.kinds.iter_mut().find(same) {
            kind.count = kind.count.saturating_add(1);
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push(Kind { report, count: 1 });
        }
        Ok(())
    }

    /// Describes one kind in a line.
    fn line(&self, kind: &Kind) -> String {
        let Kind { report, count } = kind;
        let explanation = self.policy.explain(report);
        let answer = trace::answer(report.denial.errno);
        let times = match count {
            1 => String::new(),
            count => format!(", {count} times"),
        };
        let cure = match (explanation.allow_with, explanation.instead) {
            (Some(line), _) => format!("; to allow it: {}", line.replace('\n', " ")),
            (None, Some(instead)) => format!("; {instead}"),
            (None, None) => String::new(),
        };
        // The arguments are the child's.
        let call = ChildText::new(explanation.call);
        format!("{call} was {answer}{times}{cure}")
    }
}

impl AnsweredCalls {
    /// Prints what has been taken in.
    pub(crate) fn tell(&mut self) {
        let mut text = String::new();
        for kind in std::mem::take(&mut self.kinds) {
            let line = self.line(&kind);
            let (function, policy) = (self.function, self.policy.name());
            #[cfg(feature = "tracing")]
            crate::events::answered(function, policy, kind.count, &line);
            text.push_str("crossmist: `");
            text.extend([function, "` under the policy `", policy, "`: ", &line, "\n"]);
        }
        // A thread of a runtime gets here as well.
        stderr::print_later(text.as_bytes());
    }
}

impl Drop for AnsweredCalls {
    fn drop(&mut self) {
        self.tell();
    }
}
