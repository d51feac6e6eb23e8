//! `SystemCallFilter=`: what is allowed, in the order of the assignments.

use std::collections::BTreeMap;

use super::super::source::Source;
use super::sets;
use crate::names;
use crate::syscalls;

/// The answer to a call that is in the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The filter's own: allowed in a list of what is allowed, denied in the other.
    Listed,
    Kill,
    Errno(u64),
}

/// A list of what is allowed, or of what is denied.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Whether the first assignment named what is allowed; `None` before the first.
    allows: Option<bool>,
    calls: BTreeMap<&'static str, Answer>,
    /// A set was taken away of which nobody here knows the members.
    unknown_taken: bool,
}

impl Filter {
    pub(super) fn assign(&mut self, value: &str, source: &mut Source) {
        if value.is_empty() {
            *self = Self::default();
            return;
        }
        let (inverted, list) = match value.strip_prefix('~') {
            Some(list) => (true, list),
            None => (false, value),
        };
        if self.allows.is_none() {
            self.allows = Some(!inverted);
            if !inverted {
                self.put("@default", false, Answer::Listed, source);
            }
        }
        for word in list.split_whitespace() {
            let (name, answer) = match word.split_once(':') {
                Some((name, answer)) => match self.answer(answer) {
                    Some(answer) => (name, answer),
                    None => {
                        source.note(word, "no error number; the call is denied");
                        (name, Answer::Kill)
                    }
                },
                None => (word, Answer::Listed),
            };
            // An error number denies, on either side of `~`; systemd refuses it on this one.
            if answer != Answer::Listed && !inverted {
                source.note(
                    word,
                    "an error number behind what isn't taken away; the call is denied",
                );
            }
            self.put(name, inverted, answer, source);
        }
    }

    fn answer(&self, text: &str) -> Option<Answer> {
        match text {
            "kill" => Some(Answer::Kill),
            text => errno(text).map(Answer::Errno),
        }
    }

    fn put(&mut self, name: &str, inverted: bool, answer: Answer, source: &mut Source) {
        if !name.starts_with('@') {
            match syscalls::find(name) {
                Some(call) => self.put_call(call.name, inverted, answer),
                None => source.note(name, "no such call on x86_64 or aarch64"),
            }
            return;
        }
        if name == "@known" {
            let calls = syscalls::all().iter();
            calls.for_each(|call| self.put_call(call.name, inverted, answer));
            return;
        }
        let Some(members) = sets::members(name) else {
            if inverted {
                self.unknown_taken = true;
                source.note(
                    name,
                    "no set of systemd's that is known here: since nobody can say what it takes away, \
                     no call is allowed beyond what every child needs",
                );
            } else {
                source.note(name, "no set of systemd's that is known here");
            }
            return;
        };
        let denies = inverted || answer != Answer::Listed;
        let later = if denies { sets::later(name) } else { &[] };
        for member in members.iter().chain(later) {
            self.put(member, inverted, answer, source);
        }
    }

    fn put_call(&mut self, name: &'static str, inverted: bool, answer: Answer) {
        let allows = self.allows == Some(true);
        if inverted == allows && answer == Answer::Listed {
            self.calls.remove(name);
        } else if answer != Answer::Listed || inverted != allows {
            self.calls.insert(name, answer);
        }
    }

    /// Tells the source what is allowed, and how the rest is answered.
    pub(super) fn finish(self, source: &mut Source) {
        use super::super::logic::Condition;
        let both = |condition: Condition| [condition.clone(), condition];
        source.allows_rest = self.allows != Some(true);
        if self.unknown_taken {
            source.allows_rest = false;
            return;
        }
        for (name, answer) in self.calls {
            let Some(call) = syscalls::find(name) else {
                continue;
            };
            let allowed = answer == Answer::Listed && self.allows == Some(true);
            let condition = if allowed {
                Condition::always()
            } else {
                Condition::never()
            };
            source.set(call, both(condition));
            if let Answer::Errno(number) = answer {
                source.answer(name, number);
            }
        }
    }
}

/// An error number by name or as a number.
pub(super) fn errno(text: &str) -> Option<u64> {
    let by_name = names::errno(text).map(u64::from);
    by_name.or_else(|| text.parse().ok().filter(|number| *number < 4096))
}
