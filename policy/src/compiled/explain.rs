//! Why a call was denied, and which line of policy would allow it.

use super::{Compiled, words};
use crate::Arch;
use crate::bpf::{Action, TRAP_EMULATE, interpret};
use crate::kernel::Kernel;
use crate::names;
use crate::policy::Policy;
use crate::propose::{self, Advice, Denied};
use crate::resolve::{Grant, Rules};
use crate::syscalls;
use crate::syscalls::groups::Soft;

/// The statements of the files about one call that isn't simply allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The name of the call.
    pub call: String,
    /// Each a sentence's end with its place: "allowed when … (policies/x.toml:7)".
    pub said: Vec<String>,
}

/// A denied call in words. The arguments are whatever the process claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The call as one would write it, such as `socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0)`.
    pub call: String,
    /// The file and the line that deny it.
    pub denied_by: String,
    /// Lines that allow the call, to be added to a policy. They have been tried: the filter and the other
    /// layers then allow the call. `None` if no policy may, a line denies it, no line helps, or libraries
    /// that try it do without.
    pub allow_with: Option<String>,
    /// The danger of adding them, if there is one.
    pub caution: Option<&'static str>,
    /// Lines that make the call fail with an error number, for code that can do without it; tried as well.
    pub answer_with: Option<String>,
    /// A better way, in words.
    pub instead: Option<&'static str>,
}

/// The beginning of the words on a `deny`.
const DENIED: &str = "denied";

/// The beginning of the words on an error number, and on an emulation.
const ANSWERED: &str = "answered";
const EMULATED: &str = "emulated";

/// The words before a condition.
const WHEN: &str = " when ";

/// The table for a policy.
pub(super) fn provenance(policy: &Policy) -> Vec<Provenance> {
    let mut table = Vec::new();
    for (name, rules) in &policy.calls {
        let allowed = policy
            .grants(name, rules)
            .any(|grant| grant.condition.is_none());
        if !(allowed && rules.deny.is_empty()) {
            let said = said(policy, name, rules);
            table.push(Provenance {
                call: (*name).to_owned(),
                said,
            });
        }
    }
    table
}

fn said(policy: &Policy, name: &str, rules: &Rules) -> Vec<String> {
    let say = |verb: &str, grant: &Grant| {
        let when = grant
            .condition
            .as_ref()
            .map(|condition| format!("{WHEN}{}", condition.text));
        let types = match grant.depends_on_types() {
            true => ", if a type of the function names a descriptor",
            false => "",
        };
        format!(
            "{verb}{}{types} ({})",
            when.unwrap_or_default(),
            policy.source_of(grant)
        )
    };
    let mut said: Vec<String> = rules.deny.iter().map(|grant| say(DENIED, grant)).collect();
    said.extend(
        policy
            .grants(name, rules)
            .map(|grant| say("allowed", grant)),
    );
    for (soft, grant) in &rules.soft {
        let verb = match soft {
            Soft::Errno(number) => format!(
                "{ANSWERED} {}",
                names::errno_name(*number).unwrap_or("by an error")
            ),
            Soft::Emulate => EMULATED.to_owned(),
        };
        said.push(say(&verb, grant));
    }
    said
}

impl Compiled {
    /// Explains why a call was denied.
    ///
    /// It doesn't ask whether it was: what a violation's report says is the process's claim.
    pub fn explain(&self, arch: Arch, number: u32, args: [u64; 6]) -> Explanation {
        self.explain_with_path(arch, number, args, None)
    }

    /// The same for a call whose path is known, if it has one.
    pub fn explain_with_path(
        &self,
        arch: Arch,
        number: u32,
        args: [u64; 6],
        path: Option<&[u8]>,
    ) -> Explanation {
        self.explain_on(None, arch, number, args, path)
    }

    /// The same on a kernel, which has to be able to enforce what is proposed.
    pub fn explain_on(
        &self,
        kernel: Option<&Kernel>,
        arch: Arch,
        number: u32,
        args: [u64; 6],
        path: Option<&[u8]>,
    ) -> Explanation {
        let Some(call) = syscalls::by_number(arch, number) else {
            return Explanation {
                call: format!("system call {number}"),
                denied_by: "no policy knows this number".to_owned(),
                allow_with: None,
                caution: None,
                answer_with: None,
                instead: None,
            };
        };
        let shown = (0..call.args.len()).map(|at| words::argument(call, arch, &args, at, path));
        let shown: Vec<_> = shown.collect();
        let known = self.provenance.iter().find(|known| known.call == call.name);
        // If a call that is answered under a condition is a violation, the condition did not hold.
        let is_answered = self.program(arch).is_none_or(|program| {
            let call = interpret::Call::new(arch, number, args);
            let answer = interpret::answer(&program.code, &call);
            matches!(answer, Action::Errno(_) | Action::Trap(TRAP_EMULATE))
        });
        let is_reason = |said: &&String| {
            let is_soft = said.starts_with(ANSWERED) || said.starts_with(EMULATED);
            is_answered || !(is_soft && said.contains(WHEN))
        };
        let reasons = known.iter().flat_map(|known| &known.said);
        let reasons: Vec<_> = reasons.filter(is_reason).map(String::as_str).collect();
        let denied_by = match reasons.as_slice() {
            [] => format!("nothing in {} allows it", self.sources.join(", ")),
            reasons => reasons.join("; "),
        };
        // A denied call stays denied, whatever else is allowed.
        let is_denied =
            known.is_some_and(|known| known.said.iter().any(|said| said.starts_with(DENIED)));
        let denied = Denied {
            call,
            arch,
            args,
            path,
            is_answered,
        };
        let advice = match is_denied {
            true => Advice::default(),
            false => propose::advise(self, &denied, kernel),
        };
        Explanation {
            call: format!("{}({})", call.name, shown.join(", ")),
            denied_by,
            allow_with: advice.allow,
            caution: advice.caution,
            answer_with: advice.answer,
            instead: advice.instead,
        }
    }
}
