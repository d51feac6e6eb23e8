//! `kernel`: what this machine can enforce.

use std::process::ExitCode;

use crossmist_policy::landlock::{FsRights, abi_of_kernel, kernel_of_abi};
use crossmist_policy::{BUILTIN, Policy};
use serde_json::json;

use super::{Outcome, no_sarif, print};
use crate::args::{Arguments, Format, Kernel as Options};
use crate::report::{BOLD, FINDINGS, GREEN, RED, paint};
use crate::workspace;

/// What is known of a kernel.
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) landlock: u32,
    /// Whether it is the one that this runs on.
    pub(super) is_here: bool,
}

/// The kernel of a release, or this one.
pub(super) fn kernel(release: Option<&str>) -> Result<Kernel, String> {
    match release {
        Some(release) => Ok(Kernel {
            release: release.to_owned(),
            landlock: abi_of_kernel(release)
                .ok_or_else(|| format!("`{release}` isn't a release such as 6.1"))?,
            is_here: false,
        }),
        None => Ok(Kernel {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            landlock: crossmist::landlock_abi(),
            is_here: true,
        }),
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
        // One with mistakes is the business of `check`.
        let Ok(policy) = policy else { continue };
        let answer = policy
            .check_kernel(kernel.landlock)
            .map_err(|error| error.to_string());
        refused += u32::from(answer.is_err());
        policies.push((policy.name().to_owned(), policy.required_abi(), answer));
    }
    let facts = facts(&kernel);
    if arguments.format == Format::Json {
        let policies = policies.iter().map(|(name, abi, answer)| json!({
            "name": name, "required_landlock_abi": abi, "runs": answer.is_ok(), "reason": answer.as_ref().err(),
        }));
        print(&format!(
            "{:#}\n",
            json!({
                "release": kernel.release,
                "landlock_abi": kernel.landlock,
                "facts": facts.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
                "policies": policies.collect::<Vec<_>>(),
            })
        ));
    } else {
        for (name, value) in &facts {
            print(&format!("{}  {value}\n", paint(BOLD, format!("{name:16}"))));
        }
        print("\n");
        for (name, abi, answer) in &policies {
            let (sign, style) = if answer.is_ok() {
                ("runs", GREEN)
            } else {
                ("can't", RED)
            };
            let needs = match abi {
                0 => "no Landlock needed".to_owned(),
                abi => format!("Landlock ABI {abi}, {}", kernel_of_abi(*abi)),
            };
            print(&format!(
                "{}  {name:24}  {needs}\n",
                paint(style, format!("{sign:5}"))
            ));
            if let Err(reason) = answer {
                print(&format!("       {reason}\n"));
            }
        }
    }
    Ok(ExitCode::from(if refused > 0 { FINDINGS } else { 0 }))
}

/// What the machine says of itself, or what is known of a release.
fn facts(kernel: &Kernel) -> Vec<(&'static str, String)> {
    let landlock = match kernel.landlock {
        0 => "none: not built in, or not started (lsm=…)".to_owned(),
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
                Some(most) => format!("up to {most} (not used by this version)"),
            },
        ));
        facts.push(("architecture", std::env::consts::ARCH.to_owned()));
    }
    facts
}
