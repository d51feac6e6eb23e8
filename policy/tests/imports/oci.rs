//! Seccomp profiles of containers, by runc's reading of them: in JSON, in a container's configuration, in
//! YAML.

use std::fmt::Write;

use crossmist_policy::Arch;
use crossmist_policy::import::Format;
use proptest::prelude::*;

use super::reach::{self, CALLS, arguments, call, hold, imported, value};

#[derive(Clone, Debug)]
struct Profile {
    default: &'static str,
    rules: Vec<Rule>,
    form: usize,
}

#[derive(Clone, Debug)]
struct Rule {
    names: Vec<&'static str>,
    action: &'static str,
    args: Vec<Arg>,
    includes: Filter,
    excludes: Filter,
}

#[derive(Clone, Debug)]
struct Arg {
    index: usize,
    op: usize,
    value: u64,
    second: u64,
}

#[derive(Clone, Debug)]
struct Filter {
    arches: Vec<&'static str>,
    caps: bool,
    kernel: Option<&'static str>,
}

const OPS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];

impl Arg {
    fn holds(&self, args: [u64; 6]) -> bool {
        let own = args[self.index];
        match self.op {
            0 => own == self.value,
            1 => own != self.value,
            2 => own < self.value,
            3 => own <= self.value,
            4 => own > self.value,
            5 => own >= self.value,
            _ => own & self.value == self.second,
        }
    }
}

impl Rule {
    /// Whether the engine takes the rule over, for a process without capabilities.
    fn is_taken(&self, arch: Arch, kernel: (u32, u32)) -> bool {
        let own = if arch == Arch::X86_64 {
            "amd64"
        } else {
            "arm64"
        };
        let since = |filter: &Filter| {
            filter.kernel.map(|text| {
                let (major, minor) = text.split_once('.').unwrap();
                kernel >= (major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap())
            })
        };
        if self.excludes.arches.contains(&own) || since(&self.excludes) == Some(true) {
            return false;
        }
        let in_arches = self.includes.arches.is_empty() || self.includes.arches.contains(&own);
        in_arches && !self.includes.caps && since(&self.includes) != Some(false)
    }

    fn matches(&self, args: [u64; 6]) -> bool {
        let twice =
            (0..6).any(|index| self.args.iter().filter(|arg| arg.index == index).count() > 1);
        let mut each = self.args.iter().map(|arg| arg.holds(args));
        match twice {
            true => each.any(|holds| holds),
            false => each.all(|holds| holds),
        }
    }
}

impl Profile {
    /// The stricter of what the rules say, on every kernel that policies are for.
    fn allows(&self, arch: Arch, name: &str, args: [u64; 6]) -> bool {
        [(5, 11), (5, 15), (6, 18)].iter().all(|kernel| {
            let mut allowed = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"].contains(&self.default);
            let mut denied = false;
            let rules = self.rules.iter().filter(|rule| rule.names.contains(&name));
            for rule in rules.filter(|rule| rule.is_taken(arch, *kernel) && rule.matches(args)) {
                match rule.action {
                    "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => allowed = true,
                    _ => denied = true,
                }
            }
            allowed && !denied
        })
    }

    fn json(&self) -> String {
        let mut rules = Vec::new();
        for rule in &self.rules {
            let mut args = Vec::new();
            for arg in &rule.args {
                args.push(format!(
                    r#"{{"index": {}, "value": {}, "valueTwo": {}, "op": "SCMP_CMP_{}"}}"#,
                    arg.index, arg.value, arg.second, OPS[arg.op]
                ));
            }
            rules.push(format!(
                r#"{{"names": {:?}, "action": "{}", "args": [{}], "includes": {}, "excludes": {}}}"#,
                rule.names,
                rule.action,
                args.join(", "),
                rule.includes.json(),
                rule.excludes.json()
            ));
        }
        let profile = format!(
            r#"{{"defaultAction": "{}", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{}]}}"#,
            self.default,
            rules.join(",\n")
        );
        match self.form {
            0 => profile,
            _ => format!(
                r#"{{"ociVersion": "1.2.0", "process": {{"args": ["sh"]}}, "linux": {{"seccomp": {profile}}}}}"#
            ),
        }
    }

    fn yaml(&self) -> String {
        let mut text = format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1beta1\nkind: SeccompProfile\nmetadata:\n  name: x\n\
             spec:\n  defaultAction: {}\n  syscalls:\n",
            self.default
        );
        for rule in &self.rules {
            writeln!(text, "  - action: {}\n    names:", rule.action).unwrap();
            for name in &rule.names {
                writeln!(text, "    - {name}").unwrap();
            }
            if !rule.args.is_empty() {
                writeln!(text, "    args:").unwrap();
            }
            for arg in &rule.args {
                writeln!(
                    text,
                    "    - {{ index: {}, value: {}, valueTwo: {}, op: SCMP_CMP_{} }}",
                    arg.index, arg.value, arg.second, OPS[arg.op]
                )
                .unwrap();
            }
        }
        text
    }
}

impl Filter {
    fn json(&self) -> String {
        let kernel = self
            .kernel
            .map(|kernel| format!(r#", "minKernel": "{kernel}""#));
        let caps = if self.caps {
            r#"["CAP_SYS_ADMIN"]"#
        } else {
            "[]"
        };
        format!(
            r#"{{"arches": {:?}, "caps": {caps}{}}}"#,
            self.arches,
            kernel.unwrap_or_default()
        )
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let arches = prop::collection::vec(prop::sample::select(vec!["amd64", "arm64", "s390x"]), 0..2);
    let kernel = prop::option::weighted(0.2, prop::sample::select(vec!["4.8", "5.12", "6.1"]));
    let some = (arches, any::<bool>(), kernel);
    let none = Filter {
        arches: Vec::new(),
        caps: false,
        kernel: None,
    };
    prop_oneof![
        3 => Just(none),
        1 => some.prop_map(|(arches, caps, kernel)| Filter { arches, caps, kernel }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let arg =
        (0..4usize, 0..OPS.len(), value(), value()).prop_map(|(index, op, value, second)| Arg {
            index,
            op,
            value,
            second,
        });
    let args = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(arg, 1..4)];
    let names = prop::collection::vec(prop::sample::select(CALLS.to_vec()), 1..8);
    let action = prop::sample::select(vec![
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_NOTIFY",
    ]);
    (names, action, args, filter(), filter()).prop_map(
        |(names, action, args, includes, excludes)| Rule {
            names,
            action,
            args,
            includes,
            excludes,
        },
    )
}

fn profile() -> impl Strategy<Value = Profile> {
    let default = prop::sample::select(vec![
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_ALLOW",
    ]);
    (default, prop::collection::vec(rule(), 0..6), 0..3usize).prop_map(
        |(default, mut rules, form)| {
            if form == 2 {
                // The operator has no such filters.
                for rule in &mut rules {
                    rule.includes = Filter {
                        arches: Vec::new(),
                        caps: false,
                        kernel: None,
                    };
                    rule.excludes = rule.includes.clone();
                }
            }
            Profile {
                default,
                rules,
                form,
            }
        },
    )
}

proptest! {
    #![proptest_config(reach::config())]

    #[test]
    fn no_profile_of_containers_becomes_wider(profile in profile(), tried in prop::collection::vec(arguments(), 3)) {
        let (format, text) = match profile.form {
            2 => (Format::SecurityProfiles, profile.yaml()),
            _ => (Format::Oci, profile.json()),
        };
        let reach = imported(format, &text);
        // The values that the rules compare with are hardly ever among random ones.
        let mut tried = tried;
        for arg in profile.rules.iter().flat_map(|rule| &rule.args).take(6) {
            for near in [arg.value, arg.value.wrapping_add(1), arg.second] {
                let mut args = tried[0];
                args[arg.index] = near;
                tried.push(args);
            }
        }
        for name in CALLS {
            for args in &tried {
                hold(&reach, &text, call(name), *args, |arch, args| profile.allows(arch, name, args));
            }
        }
        // And what is harmless and allowed outright is allowed.
        for name in ["flock", "fsync", "epoll_wait"] {
            let every = |rule: &&Rule| rule.names.contains(&name);
            let plain = |rule: &Rule| rule.args.is_empty() && rule.action == "SCMP_ACT_ALLOW"
                && rule.includes.arches.is_empty() && !rule.includes.caps && rule.includes.kernel.is_none()
                && rule.excludes.arches.is_empty() && rule.excludes.kernel.is_none();
            let mut rules = profile.rules.iter().filter(every).peekable();
            if profile.default != "SCMP_ACT_ALLOW" && rules.peek().is_some() && rules.all(plain) {
                assert!(reach.allows(Arch::X86_64, call(name), [0; 6]), "{name}\n{text}\n{}", reach.text);
            }
        }
    }
}
