//! Policies of minijail, by minijail0(5) and by the grammar of its compiler: what both let happen.

use std::fmt::Write;

use crossmist_policy::Arch;
use crossmist_policy::import::Format;
use proptest::prelude::*;

use super::reach::{self, CALLS, arguments, call, hold, imported, value};

#[derive(Clone, Debug)]
struct File {
    denylist: bool,
    lines: Vec<Line>,
    breaks: bool,
}

#[derive(Clone, Debug)]
struct Line {
    names: Vec<(&'static str, Option<&'static str>)>,
    filter: Filter,
}

#[derive(Clone, Debug)]
enum Filter {
    Action(&'static str),
    Alone(Expression, Option<&'static str>),
    Block(Vec<(Option<Expression>, &'static str)>),
}

type Expression = Vec<Vec<Atom>>;

#[derive(Clone, Debug)]
struct Atom {
    arg: usize,
    op: &'static str,
    value: u64,
}

impl Atom {
    fn holds(&self, args: [u64; 6]) -> bool {
        let own = args[self.arg];
        match self.op {
            "==" => own == self.value,
            "!=" => own != self.value,
            "<" => own < self.value,
            "<=" => own <= self.value,
            ">" => own > self.value,
            ">=" => own >= self.value,
            "&" => own & self.value != 0,
            "in" => own & !self.value == 0,
            _ => own & self.value == 0,
        }
    }

    fn text(&self) -> String {
        match self.op {
            "in ~" => format!("arg{} in ~{:#x}", self.arg, self.value),
            op if self.value.is_multiple_of(3) => format!("arg{} {op} {}", self.arg, self.value),
            op => format!("arg{} {op} {:#x}", self.arg, self.value),
        }
    }
}

fn meets(expression: &Expression, args: [u64; 6]) -> bool {
    expression
        .iter()
        .any(|atoms| atoms.iter().all(|atom| atom.holds(args)))
}

fn text(expression: &Expression) -> String {
    let alternatives = expression.iter().map(|atoms| {
        let atoms: Vec<_> = atoms.iter().map(Atom::text).collect();
        atoms.join(" && ")
    });
    alternatives.collect::<Vec<_>>().join(" || ")
}

fn allowing(action: &str) -> bool {
    ["1", "allow", "log"].contains(&action)
}

impl Filter {
    fn allows(&self, args: [u64; 6], default: bool) -> bool {
        match self {
            Self::Action(action) => allowing(action),
            Self::Alone(expression, None) => meets(expression, args) || default,
            Self::Alone(expression, Some(action)) => {
                let by_compiler = if meets(expression, args) {
                    allowing(action)
                } else {
                    default
                };
                // minijail itself knows no other action there than `return`.
                let by_minijail = meets(expression, args) || !action.starts_with("return");
                by_compiler && by_minijail
            }
            Self::Block(parts) => {
                let met = parts.iter().find(|(expression, _)| {
                    expression
                        .as_ref()
                        .is_none_or(|expression| meets(expression, args))
                });
                met.map_or(default, |(_, action)| allowing(action))
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Action(action) => (*action).to_owned(),
            Self::Alone(expression, None) => text(expression),
            Self::Alone(expression, Some(action)) => format!("{}; {action}", text(expression)),
            Self::Block(parts) => {
                let parts = parts.iter().map(|(expression, action)| match expression {
                    Some(expression) => format!("{}; {action}", text(expression)),
                    None => (*action).to_owned(),
                });
                format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl File {
    fn allows(&self, arch: Arch, name: &str, args: [u64; 6]) -> bool {
        let own = if arch == Arch::X86_64 {
            "x86_64"
        } else {
            "arm64"
        };
        let mut about = self
            .lines
            .iter()
            .filter(|line| {
                line.names.iter().any(|(known, on)| {
                    *known == name && on.is_none_or(|on| on.split(',').any(|arch| arch == own))
                })
            })
            .peekable();
        match about.peek() {
            None => self.denylist,
            Some(_) => about.all(|line| line.filter.allows(args, self.denylist)),
        }
    }

    fn text(&self) -> String {
        let mut text = String::from("# generated\n");
        if self.denylist {
            text.push_str("@denylist\n@default allow\n");
        } else {
            text.push_str("@default kill-process\n");
        }
        for line in &self.lines {
            let names = line.names.iter().map(|(name, on)| match on {
                Some(on) => format!("{name}[arch={on}]"),
                None => (*name).to_owned(),
            });
            let names: Vec<_> = names.collect();
            let names = match names.as_slice() {
                [one] => one.clone(),
                several => format!("{{{}}}", several.join(", ")),
            };
            let filter = line.filter.text();
            let filter = match self.breaks {
                true => filter
                    .replace(" || ", " || \\\n    ")
                    .replace("; ", " ; \\\n "),
                false => filter,
            };
            writeln!(text, "{names}: {filter}").unwrap();
        }
        text
    }
}

fn expression() -> impl Strategy<Value = Expression> {
    let ops = vec!["==", "!=", "<", "<=", ">", ">=", "&", "in", "in ~"];
    let atom = (0..4usize, prop::sample::select(ops), value()).prop_map(|(arg, op, value)| Atom {
        arg,
        op,
        value,
    });
    prop::collection::vec(prop::collection::vec(atom, 1..3), 1..3)
}

fn action() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "1",
        "allow",
        "allow",
        "allow",
        "log",
        "kill",
        "kill-process",
        "trap",
        "trace",
        "return EPERM",
        "return 38",
    ])
}

fn filter() -> impl Strategy<Value = Filter> {
    let parts = prop::collection::vec((prop::option::weighted(0.8, expression()), action()), 1..4);
    prop_oneof![
        action().prop_map(Filter::Action),
        expression().prop_map(|expression| Filter::Alone(expression, None)),
        (expression(), action())
            .prop_map(|(expression, action)| Filter::Alone(expression, Some(action))),
        parts.prop_map(Filter::Block),
    ]
}

fn file() -> impl Strategy<Value = File> {
    let on = prop::option::weighted(
        0.2,
        prop::sample::select(vec!["x86_64", "arm64", "arm", "arm,x86_64", "arm64,x86_64"]),
    );
    let names = prop::collection::vec((prop::sample::select(CALLS.to_vec()), on), 1..4);
    let line = (names, filter()).prop_map(|(names, filter)| Line { names, filter });
    (
        prop::bool::weighted(0.2),
        prop::collection::vec(line, 0..8),
        any::<bool>(),
    )
        .prop_map(|(denylist, lines, breaks)| File {
            denylist,
            lines,
            breaks,
        })
}

proptest! {
    #![proptest_config(reach::config())]

    #[test]
    fn no_policy_of_minijails_becomes_wider(file in file(), tried in prop::collection::vec(arguments(), 3)) {
        let text = file.text();
        let reach = imported(Format::Minijail, &text);
        let mut tried = tried;
        let mut atoms = Vec::new();
        for line in &file.lines {
            match &line.filter {
                Filter::Action(_) => {}
                Filter::Alone(expression, _) => atoms.extend(expression.iter().flatten()),
                Filter::Block(parts) => {
                    atoms.extend(parts.iter().filter_map(|(expression, _)| expression.as_ref()).flatten().flatten());
                }
            }
        }
        for atom in atoms.into_iter().take(6) {
            for near in [atom.value, atom.value.wrapping_add(1), !atom.value] {
                let mut args = tried[0];
                args[atom.arg] = near;
                tried.push(args);
            }
        }
        for name in CALLS {
            for args in &tried {
                hold(&reach, &text, call(name), *args, |arch, args| file.allows(arch, name, args));
            }
        }
    }
}
