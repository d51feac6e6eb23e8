//! `[[allow_lint]]`: advice that the policy's authors have considered and do not follow.

use crate::diagnostic::{Code, Severity, nearest};
use crate::reader::{Node, Reader};
use crate::source::{Place, Problem};

/// One piece of advice that is not to be given any more.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    pub(crate) code: Code,
    /// The path, call or entry that it is about; `None` for all of the file.
    pub(crate) about: Option<String>,
    pub(crate) why: String,
    /// The place of the code.
    pub(crate) place: Place,
}

impl Allowance {
    /// Whether it is about advice with this code and message. Messages name what they are about between backticks.
    pub(crate) fn covers(&self, code: Code, message: &str) -> bool {
        let names = |about: &String| message.contains(&format!("`{about}`"));
        self.code == code && self.about.as_ref().is_none_or(names)
    }
}

/// Whether a policy can allow a code: it is advice, and about policies. Advice on functions stands in no policy.
pub(crate) fn can_be_allowed(code: Code) -> bool {
    code.severity() == Severity::Warning && ![Code::UnusedAllowance, Code::Raised].contains(&code)
}

pub(super) fn read(reader: &mut Reader, node: Node<'_, '_>) -> Vec<Allowance> {
    let items = reader.array(node);
    items
        .into_iter()
        .filter_map(|item| allowance(reader, item))
        .collect()
}

fn allowance(reader: &mut Reader, node: Node<'_, '_>) -> Option<Allowance> {
    let table = reader.table("allow_lint", node)?;
    let lint = table.string(reader, "lint");
    let about = table.string(reader, "about");
    let why = table.string(reader, "why");
    let place = table.place;
    table.finish(reader);
    let Some(lint) = lint else {
        let message = "an allowance names a piece of advice: `lint = \"C021\"`";
        reader.problem(Problem::new(Code::BadAllowance, place, message));
        return None;
    };
    let Some(why) = why.filter(|why| !why.value.trim().is_empty()) else {
        let message = format!("allowing {} needs a reason", lint.value);
        let problem = Problem::new(Code::BadAllowance, lint.place, message);
        reader.problem(problem.help("add `why = \"…\"`"));
        return None;
    };
    match Code::find(&lint.value).filter(|code| can_be_allowed(*code)) {
        Some(code) => Some(Allowance {
            code,
            about: about.map(|about| about.value),
            why: why.value,
            place: lint.place,
        }),
        None => {
            let message = match Code::find(&lint.value) {
                Some(Code::Raised) => {
                    "C061 can't be allowed by a policy: it is advice about a function; accept it by \
                     `cargo crossmist check --allow C061`"
                        .to_owned()
                }
                Some(code) => format!("{code} can't be allowed: it is no advice about a policy"),
                None => format!("there is no advice `{}`", lint.value),
            };
            let known = Code::ALL.iter().filter(|code| can_be_allowed(**code));
            let near = nearest(&lint.value, known.map(|code| code.as_str()));
            let problem = Problem::new(Code::BadAllowance, lint.place, message);
            reader.problem(problem.did_you_mean(near));
            None
        }
    }
}
