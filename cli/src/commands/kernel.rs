//! `kernel`: shows what this machine can enforce.

use std::process::ExitCode;

use crossmist_policy::landlock::{FsRights, NEWEST_ABI, kernel_of_abi};
use crossmist_policy::steps::{Layer, Release, STEPS, SecondNet, Step};
use crossmist_policy::{BUILTIN, Kernel as Offer, Policy};
use serde_json::json;

use super::{Outcome, no_sarif, print};
use crate::args::{Arguments, Format, Kernel as Options};
use crate::report::{BOLD, FINDINGS, GREEN, RED, YELLOW, paint};
use crate::workspace;

/// The known facts about a kernel.
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) offer: Offer,
    /// Whether it is the one that this runs on.
    pub(super) is_here: bool,
}

/// The kernel of a release, or this one.
pub(super) fn kernel(release: Option<&str>) -> Result<Kernel, String> {
    match release {
        Some(release) => Ok(Kernel {
            release: release.to_owned(),
            offer: Offer::of_release(release)
                .ok_or_else(|| format!("`{release}` isn't a release such as 6.1"))?,
            is_here: false,
        }),
        None => {
            let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
            Ok(Kernel {
                offer: Offer {
                    release: Release::parse(&release),
                    landlock_abi: crossmist::landlock_abi(),
                    denies_write_execute: crossmist::can_deny_write_execute(),
                },
                release,
                is_here: true,
            })
        }
    }
}

impl Kernel {
    /// The second nets of a policy that it doesn't have.
    pub(super) fn lacks(&self, used: &[SecondNet]) -> Vec<SecondNet> {
        let lacks = |net: &SecondNet| !self.offer.has(*net);
        used.iter().copied().filter(lacks).collect()
    }

    /// Whether it has a step; by its number if there is nothing better.
    fn has(&self, step: &Step) -> bool {
        match step.layer {
            Layer::Second(net) => self.offer.has(net),
            Layer::Wall | Layer::Namespace(_) => self
                .offer
                .release
                .is_none_or(|release| step.since <= release),
        }
    }
}

fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_end().to_owned())
}

pub(super) fn run(arguments: &Arguments, options: &Options) -> Outcome {
    no_sarif(arguments)?;
    let kernel = kernel(options.kernel.as_deref())?;
    let mut policies = Vec::new();
    let mut refused = 0;
    let builtin = BUILTIN.iter().map(|(name, _)| Policy::builtin(name));
    let mut all: Vec<_> = builtin.collect();
    for folder in workspace::folders(arguments)? {
        let library = workspace::library(&folder);
        for name in workspace::names(&folder)? {
            if !BUILTIN.iter().any(|(known, _)| *known == name) {
                all.push(Policy::load(&library, &name));
            }
        }
    }
    for policy in all {
        // `check` reports policies with mistakes.
        let Ok(policy) = policy else { continue };
        let answer = policy
            .check_kernel(&kernel.offer)
            .map_err(|error| error.to_string());
        refused += u32::from(answer.is_err());
        policies.push(Row {
            lacks: kernel.lacks(&policy.second_nets()),
            abi: policy.required_abi(),
            name: policy.name().to_owned(),
            answer,
        });
    }
    let facts = facts(&kernel);
    if arguments.format == Format::Json {
        let policies = policies.iter().map(|row| {
            json!({
                "name": row.name,
                "required_landlock_abi": row.abi,
                "runs": row.answer.is_ok(),
                "reason": row.answer.as_ref().err(),
                "without": names(&row.lacks),
            })
        });
        let steps = STEPS.iter().map(|step| {
            json!({
                "what": step.what,
                "layer": step.layer.to_string(),
                "asks_for": step.asks_for,
                "since": step.since.to_string(),
                "there": kernel.has(step),
            })
        });
        print(&format!(
            "{:#}\n",
            json!({
                "release": kernel.release,
                "landlock_abi": kernel.offer.landlock_abi,
                "steps": steps.collect::<Vec<_>>(),
                "facts": facts.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
                "policies": policies.collect::<Vec<_>>(),
            })
        ));
    } else {
        for (name, value) in &facts {
            print(&format!("{}  {value}\n", paint(BOLD, format!("{name:16}"))));
        }
        print("\n");
        for step in STEPS.iter().filter(|step| !kernel.has(step)) {
            print(&format!(
                "{}  {} ({}, {}): {}\n",
                paint(RED, "lacks"),
                step.layer,
                step.asks_for,
                step.since,
                step.purpose
            ));
        }
        print("\n");
        policies.iter().for_each(draw);
    }
    Ok(ExitCode::from(if refused > 0 { FINDINGS } else { 0 }))
}

/// A policy, and whether it runs.
struct Row {
    name: String,
    abi: u32,
    answer: Result<(), String>,
    lacks: Vec<SecondNet>,
}

fn draw(row: &Row) {
    let (sign, style) = match (&row.answer, row.lacks.as_slice()) {
        (Err(_), _) => ("can't", RED),
        (Ok(()), []) => ("runs", GREEN),
        (Ok(()), _) => ("runs", YELLOW),
    };
    let needs = match row.abi {
        0 => "no Landlock needed".to_owned(),
        abi => format!("Landlock ABI {abi}, {}", kernel_of_abi(abi)),
    };
    let without = match (&row.answer, row.lacks.as_slice()) {
        (Ok(()), [_, ..]) => format!("; without {}", names(&row.lacks).join(", ")),
        _ => String::new(),
    };
    print(&format!(
        "{}  {:24}  {needs}{without}\n",
        paint(style, format!("{sign:5}")),
        row.name
    ));
    if let Err(reason) = &row.answer {
        print(&format!("       {reason}\n"));
    }
}

pub(super) fn names(nets: &[SecondNet]) -> Vec<&'static str> {
    nets.iter().map(|net| net.name()).collect()
}

/// Returns what the machine reports about itself, or what is known of a release.
fn facts(kernel: &Kernel) -> Vec<(&'static str, String)> {
    let landlock = match kernel.offer.landlock_abi {
        0 => "none: not built in, or not started (lsm=…)".to_owned(),
        abi if abi > NEWEST_ABI => {
            format!("ABI {abi}, used as {NEWEST_ABI}: {}", FsRights::of_abi(abi))
        }
        abi => format!("ABI {abi}: {}", FsRights::of_abi(abi)),
    };
    let mut facts = vec![("kernel", kernel.release.clone()), ("Landlock", landlock)];
    if kernel.is_here {
        let said = |path: &str| read(path).unwrap_or_else(|| "unknown".to_owned());
        facts.push(("seccomp", said("/proc/sys/kernel/seccomp/actions_avail")));
        facts.push(("security modules", said("/sys/kernel/security/lsm")));
        facts.push((
            "user namespaces",
            match read("/proc/sys/user/max_user_namespaces").as_deref() {
                Some("0") | None => "no".to_owned(),
                Some(most) => format!("up to {most}"),
            },
        ));
        facts.push(("architecture", std::env::consts::ARCH.to_owned()));
    }
    facts
}
