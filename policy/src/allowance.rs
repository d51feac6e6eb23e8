//! Advice that a policy's own file allows: it is not given, and an allowance that nothing needs is itself advice.

use crate::diagnostic::{Code, Diagnostic};
use crate::file::Allowance;
use crate::overview::AllowedLint;
use crate::policy::Policy;
use crate::source::Problem;

/// Advice that depends on the machine or on the program: the policy alone can't show that it isn't given.
const ELSEWHERE: &[Code] = &[Code::ForeignPath, Code::Unused];

impl Policy {
    /// Takes out what the policy allows, and adds the allowances that were not needed for that.
    pub(crate) fn without_allowed(&self, mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let allowances = || self.allowances.iter();
        let needs = |allowance: &Allowance, finding: &Diagnostic| {
            allowance.covers(finding.code, &finding.message)
        };
        let unneeded = allowances()
            .filter(|allowance| !ELSEWHERE.contains(&allowance.code))
            .filter(|allowance| !found.iter().any(|finding| needs(allowance, finding)));
        let unneeded = unneeded.map(unneeded_allowance).collect();
        found.retain(|finding| !allowances().any(|allowance| needs(allowance, finding)));
        found.extend(self.diagnosed(unneeded));
        found
    }

    /// Returns advice about the use of the policy, by functions and other policies: [`Code::Unused`], or an
    /// allowance of that for a policy that is used.
    pub fn lint_use(&self, is_used: bool) -> Vec<Diagnostic> {
        let mut allowances = self.allowances.iter();
        let allowed = allowances.find(|allowance| allowance.code == Code::Unused);
        let problem = match (is_used, allowed) {
            (true, Some(allowance)) => unneeded_allowance(allowance),
            (false, None) => {
                let message = format!(
                    "no function names the policy `{}`, and none extends it",
                    self.name
                );
                Problem::new(Code::Unused, self.root, message).help(
                    "remove it; if the program chooses it at run time, allow this by `[[allow_lint]]` with `lint = \
                     \"C050\"` and `why`",
                )
            }
            _ => return Vec::new(),
        };
        self.diagnosed(vec![problem])
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
        Some(about) => format!("{code} is allowed for `{about}`, and isn't found there"),
        None => format!("{code} is allowed, and isn't found in this policy"),
    };
    Problem::new(Code::UnusedAllowance, allowance.place, message)
}
