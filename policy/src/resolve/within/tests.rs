//! Every key of the format, wider than a ceiling and as wide.

use crate::diagnostic::{Code, Report};
use crate::keys::KEYS;
use crate::library::{Library, Missing, Text};
use crate::policy::Policy;
use crate::settings::{Kind, SETTINGS};

/// Policies by name.
struct Shelf(Vec<(&'static str, String)>);

impl Library for Shelf {
    fn fetch(&self, name: &str) -> Result<Text, Missing> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        let (label, text) = found.ok_or(Missing::NotFound("the shelf".to_owned()))?;
        Ok(Text {
            label: (*label).to_owned(),
            path: Some(format!("/shelf/{label}.toml").into()),
            text: format!("format = 1\n{text}"),
        })
    }
}

fn load(policies: &[(&'static str, &str)]) -> Result<Policy, Report> {
    let all = policies.iter();
    let all = all.map(|(name, text)| (*name, (*text).to_owned()));
    Policy::load(&Shelf(all.collect()), "own")
}

/// Returns the errors about a policy with `own` below a ceiling with `top`; empty if it is accepted.
fn told(top: &str, own: &str) -> String {
    let base = "extends = ['file-reader', 'network-client']\n\
                limits = { memory = '1GiB', cpu_time = 'none', wall_time = 'none', \
                file_size = '64MiB', open_files = 256 }\n";
    let (top, own) = (
        format!("{base}{top}"),
        format!("within = 'top'\n{base}{own}"),
    );
    match load(&[("top", &top), ("own", &own)]) {
        Ok(_) => String::new(),
        Err(report) => {
            let all = report.diagnostics().iter();
            let strange: Vec<_> = all.filter(|found| found.code != Code::NotWithin).collect();
            assert!(strange.is_empty(), "{report}");
            report.to_string()
        }
    }
}

/// For each key, a line of a ceiling, and a line that allows more.
const WIDER: &[(&str, &str, &str)] = &[
    (
        ".variables",
        "variables = { a = { type = 'dir', default = '/srv' } }\nfilesystem = { read = ['${a}'] }",
        "variables = { a = { type = 'dir', default = '/etc' } }\nfilesystem = { read = ['${a}'] }",
    ),
    (
        "filesystem.read",
        "filesystem.read = ['/srv/a']",
        "filesystem.read = ['/srv']",
    ),
    (
        "filesystem.write",
        "filesystem.read = ['/srv']",
        "filesystem.write = ['/srv']",
    ),
    (
        "filesystem.create",
        "filesystem.write = ['/srv']",
        "filesystem.create = ['/srv']",
    ),
    (
        "filesystem.execute",
        "filesystem.read = ['/srv']",
        "filesystem.execute = ['/srv']",
    ),
    (
        "filesystem.connect_unix",
        "filesystem.read = ['/srv']",
        "filesystem.connect_unix = ['/srv']",
    ),
    (
        "filesystem.ioctl_device",
        "filesystem.read = ['/dev/null']",
        "filesystem.ioctl_device = ['/dev/null']",
    ),
    ("filesystem.unconfined", "", "filesystem.unconfined = 'why'"),
    (
        "network.tcp_connect",
        "network.tcp_connect = [443]",
        "network.tcp_connect = [22]",
    ),
    (
        "network.tcp_bind",
        "network.tcp_connect = [443]",
        "network.tcp_bind = [443]",
    ),
    (
        "network.udp_connect",
        "network.udp_connect = [53]",
        "network.udp_connect = [123]",
    ),
    (
        "network.udp_bind",
        "network.udp_connect = [53]",
        "network.udp_bind = [53]",
    ),
    ("network.unconfined", "", "network.unconfined = 'why'"),
    (
        "syscalls.allow",
        "syscalls.allow = ['@dir']",
        "syscalls.allow = ['setpriority']",
    ),
    ("syscalls.deny", "syscalls.deny = ['uname']", ""),
    (
        "syscalls.replace",
        "syscalls = { replace = ['uname'] }",
        "syscalls = { replace = ['uname'], allow = ['uname'] }",
    ),
    (
        "syscalls.errno",
        "syscalls.errno.EPERM = ['setpriority']",
        "syscalls.errno.EPERM = ['execve']",
    ),
    (
        "syscalls.on_violation",
        "syscalls.on_violation = 'kill'",
        "syscalls.on_violation = 'errno:EPERM'",
    ),
    (
        "capabilities.keep",
        "capabilities = { keep = ['CAP_SYSLOG'], why = 'why' }",
        "capabilities = { keep = ['CAP_KILL'], why = 'why' }",
    ),
    (
        "environment.inherit",
        "environment.inherit = ['LANG']",
        "environment.inherit = ['HOME']",
    ),
    (
        "environment.set",
        "environment.set = { TZ = 'UTC' }",
        "environment.set = { LD_PRELOAD = '/tmp/x.so' }",
    ),
    (
        "kernel.landlock",
        "kernel.landlock = 7",
        "kernel.landlock = 'auto'",
    ),
    (
        "kernel.relax",
        "",
        "kernel.relax = [{ what = 'landlock-fs', reason = 'why' }]",
    ),
    (
        "kernel.require",
        "kernel.require = ['landlock-fs', 'landlock-net']",
        "kernel.require = ['landlock-fs']",
    ),
];

/// Keys that grant nothing by themselves.
const HARMLESS: &[&str] = &[
    ".format",
    ".description",
    // Its contents are compared as if they were written there.
    ".extends",
    ".within",
    ".expires",
    ".allow_lint",
    ".expect",
    // They have one value only.
    "network.udp",
    "network.netlink",
    "network.resolve_dns",
    // Reasons.
    "syscalls.dangerous",
    "capabilities.why",
];

#[test]
fn no_key_allows_more_than_the_ceiling() {
    for key in KEYS {
        let name = format!("{}.{}", key.table, key.name);
        let cases: Vec<_> = WIDER.iter().filter(|(known, ..)| *known == name).collect();
        assert_eq!(
            cases.is_empty(),
            HARMLESS.contains(&name.as_str()),
            "{name} is compared with the ceiling's, or grants nothing"
        );
        for (_, top, own) in cases {
            assert!(told(top, own).contains("P033"), "{name} is taken");
            assert_eq!(told(top, top), "", "{name}");
        }
    }
}

#[test]
fn no_setting_allows_more_than_the_ceiling() {
    for setting in SETTINGS {
        let (strict, lax) = match setting.kind {
            Kind::Size => ("'1MiB'", "'2MiB'"),
            Kind::Time => ("'1s'", "'2s'"),
            Kind::Count(_) => ("1", "2"),
            Kind::Choice(words) => (words[0], words[words.len() - 1]),
            Kind::Switch(true) => ("true", "false"),
            Kind::Switch(false) | Kind::Neutral => ("false", "true"),
        };
        let quoted = |value: &str| match setting.kind {
            Kind::Choice(_) => format!("'{value}'"),
            _ => value.to_owned(),
        };
        // By itself, as the tables of the base are closed.
        let text = |value| {
            format!(
                "extends = ['parser']\n[{}]\n{} = {}\n",
                setting.table,
                setting.key,
                quoted(value)
            )
        };
        if setting.kind == Kind::Neutral {
            for (top, own) in [(strict, lax), (lax, strict)] {
                let own = format!("within = 'top'\n{}", text(own));
                let taken = load(&[("top", &text(top)), ("own", &own)]);
                taken.unwrap_or_else(|report| panic!("{}: {report}", setting.key));
            }
            continue;
        }
        let (top, own) = (text(strict), format!("within = 'top'\n{}", text(lax)));
        let report = load(&[("top", &top), ("own", &own)]).unwrap_err();
        let name = setting.full_name();
        let line = format!("{} = ", setting.key);
        let is_told = |found: &crate::Diagnostic| {
            found.code == Code::NotWithin && found.source_line.starts_with(&line)
        };
        assert!(report.diagnostics().iter().any(is_told), "{name}: {report}");
        let own = format!("within = 'top'\n{top}");
        load(&[("top", &top), ("own", &own)]).unwrap_or_else(|report| panic!("{name}: {report}"));
    }
}

#[test]
fn a_variable_is_the_ceilings_only_if_it_can_stand_for_no_more() {
    let of = |path: [&str; 2], top: &str, own: &str| {
        let text = |path: &str, variable: &str| {
            format!("variables.a = {{ {variable} }}\nfilesystem.read = ['{path}']")
        };
        told(&text(path[0], top), &text(path[1], own))
    };
    let whole = ["${a}", "${a}"];
    let [srv, etc] = [
        "type = 'dir', default = '/srv'",
        "type = 'dir', default = '/etc'",
    ];
    let beneath = "type = 'dir', default = '/srv/a/'";
    let beside = "type = 'dir', default = '/srva'";
    let required = "type = 'dir', required = true";
    let [home, temp] = [
        "type = 'dir', from_env = 'HOME'",
        "type = 'dir', from_env = 'TMPDIR'",
    ];
    let file = "type = 'file', default = '/srv'";
    for (path, top, own) in [
        (whole, srv, srv),
        (whole, srv, beneath),
        (["${a}", "${a}/icons"], srv, beneath),
        (["/var${a}", "/var${a}/icons"], srv, beneath),
        (whole, srv, required),
        (whole, required, required),
        (whole, home, required),
        (whole, home, home),
    ] {
        assert_eq!(of(path, top, own), "", "{path:?} {top} {own}");
    }
    for (path, top, own) in [
        (whole, srv, etc),
        (whole, beneath, srv),
        (whole, srv, beside),
        (whole, srv, file),
        (whole, srv, home),
        (whole, home, temp),
        (whole, home, srv),
        (whole, required, home),
        (whole, required, srv),
        // Not beneath: the ceiling's path continues behind the variable.
        (["${a}/x", "${a}/x"], srv, beneath),
        (["${a}", "/srv"], srv, srv),
        (["/srv", "${a}"], srv, srv),
        (["${a}/x", "${a}"], srv, srv),
    ] {
        assert!(of(path, top, own).contains("P033"), "{path:?} {top} {own}");
    }
    // Any one that covers it will do.
    let two = |a: &str, b: &str| {
        format!(
            "variables = {{ a = {{ type = 'dir', default = '{a}' }}, b = {{ type = 'dir', default = '{b}' }} }}\n\
             filesystem.read = ['${{a}}', '${{a}}/${{b}}']"
        )
    };
    let (top, own) = (two("/srv", "x"), two("/srv", "y"));
    assert_eq!(told(&top, &own), "");
}

#[test]
fn a_port_is_the_ceilings_only_if_it_can_be_no_other() {
    let text = |rule: &str| format!("variables.p = {{ {rule} }}\nnetwork.tcp_connect = ['${{p}}']");
    let [web, same, shell, required] = [
        "type = 'port', default = 443",
        "type = 'port', default = '443'",
        "type = 'port', default = 22",
        "type = 'port', required = true",
    ];
    for (top, own) in [
        (web, web),
        (web, same),
        (web, required),
        (required, required),
    ] {
        assert_eq!(told(&text(top), &text(own)), "", "{top} {own}");
    }
    for (top, own) in [(web, shell), (required, web)] {
        let told = told(&text(top), &text(own));
        assert!(told.contains("this default of `p`"), "{told}");
    }
}

#[test]
fn datagrams_go_to_the_ceilings_ports_only() {
    let (ports, calls) = (
        "network.udp_connect = [53]",
        "syscalls.allow = ['@net-udp']",
    );
    assert_eq!(told(ports, ports), "");
    // Without ports, the same calls reach every one, which is more than any list of them.
    assert_eq!(told(calls, ports), "");
    assert_eq!(told(calls, calls), "");
    let other = told(ports, "network.udp_connect = [54]");
    assert!(other.contains("this port"), "{other}");
    let bound = told(ports, "network.udp_bind = [53]");
    assert!(bound.contains("this port"), "{bound}");
    let stream = told(calls, "network.tcp_connect = [53]");
    assert!(stream.contains("this port"), "{stream}");
    let told = told(ports, calls);
    assert!(told.contains("datagrams to every port"), "{told}");
}

#[test]
fn every_ceiling_holds_however_it_is_come_by() {
    let narrow = "extends = ['pure']";
    let memory = |size: &str| format!("extends = ['pure']\nlimits.memory = '{size}'");
    let (small, large) = (memory("128MiB"), memory("256MiB"));
    let wide = "extends = ['parser']";
    let of = |own: &str, a: &str, b: &str| {
        load(&[
            ("own", own),
            ("a", a),
            ("b", b),
            ("small", &small),
            ("large", &large),
            ("narrow", narrow),
            ("wide", wide),
        ])
    };
    let within = |name: &str| format!("within = '{name}'\n{small}");
    let (a, b) = (within("small"), within("large"));
    let own = "extends = ['a', 'b']\n";
    let policy = of(own, &a, &b).unwrap();
    assert_eq!(policy.within, ["large", "small"]);
    assert_eq!(policy.overview().within, policy.within);
    let names: Vec<_> = policy.ceilings.iter().map(|known| &known.name).collect();
    assert_eq!(names, ["large", "small"]);
    // They are looked at again when a ceiling changes.
    let files: Vec<_> = policy.ancestors().collect();
    assert_eq!(files, ["a", "b", "large", "small"]);
    // More than one of the parents' ceilings allows, whichever comes last.
    let more = "limits.memory = '200MiB'";
    for parents in ["['a', 'b']", "['b', 'a']", "['a']"] {
        let own = format!("extends = {parents}\n{more}");
        let told = of(&own, &a, &b).unwrap_err().to_string();
        assert!(told.contains("ceiling `small`"), "{parents}: {told}");
    }
    // An own ceiling takes none of them away.
    for ceiling in ["wide", "large"] {
        let own = format!("within = '{ceiling}'\nextends = ['a']\n{more}");
        let told = of(&own, &a, &b).unwrap_err().to_string();
        assert!(told.contains("ceiling `small`"), "{ceiling}: {told}");
    }
    let own = "within = 'narrow'\nextends = ['a']\nsyscalls.allow = ['uname']";
    let told = of(own, &within("wide"), &b).unwrap_err().to_string();
    assert!(told.contains("ceiling `narrow`"), "{told}");
    // A ceiling's ceiling counts as well.
    let own = format!("within = 'a'\n{small}");
    let names = of(&own, &a, &b).unwrap().ceilings.into_iter();
    assert_eq!(
        names.map(|known| known.name).collect::<Vec<_>>(),
        ["a", "small"]
    );
    // In a circle, by whichever way.
    let circle = of("extends = ['a']", "within = 'b'", "within = 'a'").unwrap_err();
    assert_eq!(circle.diagnostics()[0].code, Code::Cycle);
    let circle = of("extends = ['a']", "within = 'own'", "").unwrap_err();
    assert_eq!(circle.diagnostics()[0].code, Code::Cycle);
}

/// Each layer's policies stay within all of the next one's.
#[test]
fn many_ways_to_one_ceiling_are_one() {
    let names: Vec<Vec<String>> = (0..6)
        .map(|layer| (0..4).map(|at| format!("p{layer}_{at}")).collect())
        .collect();
    let mut shelf = Shelf(vec![("own", "extends = ['e0']\n".to_owned())]);
    for (layer, row) in names.iter().enumerate() {
        // One file has one ceiling, so what they extend brings the others.
        let parents: Vec<_> = (0..4).map(|at| format!("'w{layer}_{at}'")).collect();
        for (at, name) in row.iter().enumerate() {
            let parents = parents.join(",");
            let below = names.get(layer + 1).map(|row| row[at].as_str());
            let below = below.map_or(String::new(), |name| format!("within = '{name}'\n"));
            shelf
                .0
                .push((name.clone().leak(), format!("extends = [{parents}]\n")));
            let parent = format!("w{layer}_{at}").leak();
            shelf.0.push((parent, below));
        }
    }
    shelf.0.push(("e0", "within = 'p0_0'\n".to_owned()));
    let policy = Policy::load(&shelf, "own").unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(policy.ceilings.len(), 1 + 5 * 4);
}
