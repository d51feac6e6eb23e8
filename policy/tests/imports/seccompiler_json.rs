//! seccompiler's JSON, by seccompiler itself: what it compiles decides.

use std::fmt::Write;

use crossmist_policy::Arch;
use crossmist_policy::bpf::interpret::{Call, run};
use crossmist_policy::import::Format;
use proptest::prelude::*;
use seccompiler::{BpfProgram, TargetArch, compile_from_json};

use super::reach::{self, CALLS, arguments, call, hold, imported, value};

#[derive(Clone, Debug)]
struct Filter {
    matched: &'static str,
    mismatch: &'static str,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    name: &'static str,
    args: Vec<Arg>,
}

#[derive(Clone, Debug)]
struct Arg {
    index: usize,
    wide: bool,
    op: usize,
    mask: u64,
    value: u64,
}

impl Filter {
    fn json(&self) -> String {
        let mut text = format!(
            r#"{{"main": {{"mismatch_action": {}, "match_action": {}, "filter": ["#,
            self.mismatch, self.matched
        );
        for (at, rule) in self.rules.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(text, "{comma}\n{{\"syscall\": {:?}", rule.name).unwrap();
            if !rule.args.is_empty() {
                let args: Vec<_> = rule.args.iter().map(Arg::json).collect();
                write!(text, ", \"args\": [{}]", args.join(", ")).unwrap();
            }
            text.push('}');
        }
        text.push_str("]}}");
        text
    }
}

impl Arg {
    fn json(&self) -> String {
        let op = match self.op {
            6 => format!(r#"{{"masked_eq": {}}}"#, self.mask),
            op => format!("{:?}", ["eq", "ne", "lt", "le", "gt", "ge"][op]),
        };
        let length = if self.wide { "qword" } else { "dword" };
        format!(
            r#"{{"index": {}, "type": "{length}", "op": {op}, "val": {}}}"#,
            self.index, self.value
        )
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let arg = (0..4usize, any::<bool>(), 0..7usize, value(), value()).prop_map(
        |(index, wide, op, mask, value)| Arg {
            index,
            wide,
            op,
            mask,
            value,
        },
    );
    // The call of x86_64 alone is none that seccompiler takes on aarch64.
    let names: Vec<_> = CALLS
        .iter()
        .copied()
        .filter(|name| call(name).number(Arch::Aarch64).is_some())
        .filter(|name| *name != "openat2" || known_to_seccompiler())
        .collect();
    let rule = (
        prop::sample::select(names),
        prop::collection::vec(arg, 0..4),
    )
        .prop_map(|(name, args)| Rule { name, args });
    let actions = prop::sample::select(vec![
        ("\"allow\"", "\"trap\""),
        ("\"allow\"", "{\"errno\": 1}"),
        ("\"kill_process\"", "\"allow\""),
        ("{\"errno\": 13}", "\"allow\""),
        ("\"log\"", "\"kill_thread\""),
    ]);
    (actions, prop::collection::vec(rule, 1..8)).prop_map(|((matched, mismatch), rules)| Filter {
        matched,
        mismatch,
        rules,
    })
}

fn known_to_seccompiler() -> bool {
    let text = r#"{"x": {"mismatch_action": "trap", "match_action": "allow", "filter": [{"syscall": "openat2"}]}}"#;
    compile_from_json(text.as_bytes(), TargetArch::x86_64).is_ok()
}

fn oracle(text: &str, arch: TargetArch) -> BpfProgram {
    let compiled = compile_from_json(text.as_bytes(), arch);
    let mut compiled = compiled.unwrap_or_else(|error| panic!("{error}\n{text}"));
    compiled.remove("main").unwrap()
}

proptest! {
    #![proptest_config(reach::config())]

    #[test]
    fn no_filter_of_seccompilers_becomes_wider(filter in filter(), tried in prop::collection::vec(arguments(), 3)) {
        let text = filter.json();
        let reach = imported(Format::Seccompiler, &text);
        let oracles = [oracle(&text, TargetArch::x86_64), oracle(&text, TargetArch::aarch64)];
        let mut tried = tried;
        for arg in filter.rules.iter().flat_map(|rule| &rule.args).take(6) {
            for near in [arg.value, arg.value.wrapping_add(1), arg.value & arg.mask] {
                let mut args = tried[0];
                args[arg.index] = near;
                tried.push(args);
            }
        }
        for name in CALLS {
            for args in &tried {
                hold(&reach, &text, call(name), *args, |arch, args| {
                    let Some(number) = call(name).number(arch) else {
                        return false;
                    };
                    let code = &oracles[usize::from(arch != Arch::X86_64)];
                    let returned = run(code, &Call::new(arch, number, args)).unwrap();
                    // SECCOMP_RET_ALLOW and SECCOMP_RET_LOG.
                    [0x7fff_0000, 0x7ffc_0000].contains(&returned)
                });
            }
        }
    }
}
