//! Advice that a policy's own file allows. It is not given; an allowance that nothing needs is itself advice.

use crate::diagnostic::{Code, Diagnostic};
use crate::file::Allowance;
use crate::overview::AllowedLint;
use crate::policy::Policy;
use crate::source::Problem;

/// Advice on a policy.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// The advice that is given, with the allowances that nothing needs.
    pub given: Vec<Diagnostic>,
    /// The advice that the policy's own file allows by `[[allow_lint]]`.
    pub allowed: Vec<Diagnostic>,
}

impl Policy {
    /// Sets apart what the policy allows, and adds the allowances that nothing needs.
    pub(crate) fn without_allowed(&self, found: Vec<Diagnostic>) -> Advice {
        self.judged(found, |allowance| match allowance.code {
            // Known only by its uses.
            Code::Unused => false,
            // It depends on the machine, and another one may have it for the same paths.
            Code::ForeignPath => !self.may_be_foreign(allowance.about.as_deref()),
            _ => true,
        })
    }

    /// Returns advice about the use of the policy, by functions and other policies: [`Code::Unused`], or an
    /// allowance of that which nothing needs.
    pub fn lint_use(&self, is_used: bool) -> Advice {
        let message = format!(
            "no function names the policy `{}`, and none extends it",
            self.name
        );
        let problem = Problem::new(Code::Unused, self.root, message).help(
            "remove it; if the program chooses it at run time, allow this by `[[allow_lint]]` with `lint = \"C050\"` \
             and `why`",
        );
        let problems = match is_used {
            true => Vec::new(),
            false => vec![problem],
        };
        self.judged(self.diagnosed(problems), |allowance| {
            allowance.code == Code::Unused
        })
    }

    /// Sets apart what the policy allows. Adds the allowances that allow none of it, if `is_complete` says that there
    /// is no more that they could allow.
    fn judged(&self, found: Vec<Diagnostic>, is_complete: impl Fn(&Allowance) -> bool) -> Advice {
        let covers = |allowance: &Allowance, finding: &Diagnostic| {
            allowance.covers(finding.code, &finding.message)
        };
        let unneeded = self.allowances.iter().filter(|allowance| {
            is_complete(allowance) && !found.iter().any(|finding| covers(allowance, finding))
        });
        let unneeded = self.diagnosed(unneeded.map(unneeded_allowance).collect());
        let is_allowed = |finding: &Diagnostic| {
            let mut allowances = self.allowances.iter();
            allowances.any(|allowance| covers(allowance, finding))
        };
        let (allowed, mut given): (Vec<_>, Vec<_>) = found.into_iter().partition(is_allowed);
        given.extend(unneeded);
        Advice { given, allowed }
    }

    fn diagnosed(&self, problems: Vec<Problem>) -> Vec<Diagnostic> {
        match problems.is_empty() {
            true => Vec::new(),
            false => self.sources.report(problems).diagnostics().to_vec(),
        }
    }

    /// Returns the advice that the policy allows, for a reviewer.
    pub(crate) fn allowed_lints(&self) -> Vec<AllowedLint> {
        let one = |allowance: &Allowance| AllowedLint {
            code: allowance.code,
            about: allowance.about.clone(),
            why: allowance.why.clone(),
            location: self.sources.locate(allowance.place),
        };
        self.allowances.iter().map(one).collect()
    }
}

fn unneeded_allowance(allowance: &Allowance) -> Problem {
    let code = allowance.code;
    let message = match &allowance.about {
        Some(about) => format!("{code} is allowed for `{about}`, but no such advice is given"),
        None => format!("{code} is allowed, but no such advice is given here"),
    };
    Problem::new(Code::UnusedAllowance, allowance.place, message)
        .help("remove this, or correct what it is `about`")
}
