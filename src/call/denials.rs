//! The calls of a child that its policy has answered with an error number, if the child tells of them.

use super::stderr;
use crate::confine::SandboxPolicy;
use crate::confine::trace::{self, Answers};
use crate::error::{ChildText, Error};
use crate::wire::{DenialReport, ProtocolError};

/// How many different ones are described. A description takes as long as several policies take to be read, and
/// the child says how many there are.
const MOST_KINDS: usize = 8;

/// How many reports are taken. A child sends fewer, unless it has started others that do the same.
const MOST_REPORTS: u32 = 4096;

/// The calls of one child. They are printed when the child has answered, and the rest when it is given up.
#[derive(Debug)]
pub(crate) struct AnsweredCalls {
    function: &'static str,
    policy: SandboxPolicy,
    /// What the child may report, if it is to.
    answers: Option<Answers>,
    reports: u32,
    kinds: Vec<Kind>,
    /// The number of calls of other kinds.
    others: u32,
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
            answers: None,
            reports: 0,
            kinds: Vec::new(),
            others: 0,
        }
    }

    /// Lets the child report what this filter answers.
    pub(crate) fn trace(&mut self, answers: Option<Answers>) {
        self.answers = answers;
    }

    /// Takes in a report. One of a call that the filter doesn't answer so is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if none was asked for, or if it is one of too many.
    pub(crate) fn add(&mut self, report: DenialReport) -> Result<(), Error> {
        self.reports = self.reports.saturating_add(1);
        let answers = self
            .answers
            .as_ref()
            .filter(|_| self.reports <= MOST_REPORTS);
        let Some(answers) = answers else {
            return Err(Error::Malformed(ProtocolError::Surplus));
        };
        if !answers.include(&report) {
            return Ok(());
        }
        let key = |report: &DenialReport| (report.denial.number, report.denial.errno);
        let same =
            |kind: &&mut Kind| key(&kind.report) == key(&report) && kind.report.path == report.path;
        if let Some(kind) = self.kinds.iter_mut().find(same) {
            kind.count = kind.count.saturating_add(1);
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push(Kind { report, count: 1 });
        } else {
            self.others = self.others.saturating_add(1);
        }
        Ok(())
    }

    /// Describes one kind in a line. The child may have made more of these calls than it could report.
    fn line(&self, kind: &Kind) -> String {
        let Kind { report, count } = kind;
        let explanation = self.policy.explain(report);
        let answer = trace::answer(report.denial.errno);
        let times = match count {
            1 => String::new(),
            count => format!(" at least {count} times"),
        };
        let cure = match (explanation.allow_with, explanation.instead) {
            (Some(line), instead) => {
                let careful = explanation.caution.map(|why| format!("; careful: {why}"));
                let instead = instead.map(|instead| format!("; instead: {instead}"));
                let [careful, instead] = [careful, instead].map(Option::unwrap_or_default);
                let line = line.replace('\n', " ");
                format!("; to allow it: {line}{careful}{instead}")
            }
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
        let kinds = std::mem::take(&mut self.kinds);
        let mut lines: Vec<_> = kinds
            .iter()
            .map(|kind| (kind.count, self.line(kind)))
            .collect();
        if let others @ 1.. = std::mem::take(&mut self.others) {
            let calls = if others == 1 { "call" } else { "calls" };
            let line = format!("at least {others} other {calls} failed with an error number");
            lines.push((others, line));
        }
        let (function, policy) = (self.function, self.policy.name());
        let mut text = String::new();
        for (_count, line) in &lines {
            #[cfg(feature = "tracing")]
            crate::events::answered(function, policy, *_count, line);
            text.push_str("crossmist: `");
            text.extend([function, "` under the policy `", policy, "`: ", line, "\n"]);
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
