//! The features of a kernel, and whether they are enough for a policy.

use std::fmt;

use crate::compiled::Compiled;
use crate::diagnostic::Code;
use crate::file::LandlockWish;
use crate::landlock::{Need, abi_of_kernel, kernel_of_abi};
use crate::namespaces::{Namespace, Namespaces};
use crate::policy::Policy;
use crate::source::Problem;
use crate::steps::{Release, SecondNet, Step, newest_of_the_wall};

/// The features of a kernel that confinement uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its release; `None` if that isn't checked, because a call that the kernel lacks will fail.
    pub release: Option<Release>,
    /// Its Landlock ABI; 0 if it has none.
    pub landlock_abi: u32,
    /// Whether it can deny memory that is written and executed (`PR_SET_MDWE`).
    pub denies_write_execute: bool,
}

impl Kernel {
    /// Returns what a release such as `6.7` or `6.18.3-custom` offers if it comes from kernel.org and
    /// has Landlock built in and started; `None` if the text isn't a release.
    pub fn of_release(text: &str) -> Option<Self> {
        let release = Release::parse(text)?;
        Some(Self {
            release: Some(release),
            landlock_abi: abi_of_kernel(text)?,
            denies_write_execute: SecondNet::DenyWriteExecute.step().since <= release,
        })
    }

    /// Returns whether it has a second net.
    pub fn has(&self, net: SecondNet) -> bool {
        match net {
            SecondNet::DenyWriteExecute => self.denies_write_execute,
            net => net.landlock_abi() <= self.landlock_abi,
        }
    }
}

/// A second net that a policy insists on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The second net.
    pub net: SecondNet,
    /// The line that insists.
    pub line: String,
}

/// Why a kernel can't enforce a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unenforceable {
    /// The policy depends on a part of Landlock that the kernel doesn't have.
    Landlock {
        /// The ABI that it has, 0 for none.
        kernel_abi: u32,
        /// The missing feature.
        need: Need,
    },
    /// The policy insists on a second net that the kernel doesn't have.
    SecondNet(Requirement),
    /// The policy puts its child into a namespace of a kind that the kernel doesn't have.
    Namespace {
        /// The kernel's release.
        release: Release,
        /// The namespace.
        namespace: Namespace,
    },
    /// The kernel lacks a part of the wall.
    Wall {
        /// The kernel's release.
        release: Release,
    },
}

impl fmt::Display for Unenforceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Landlock { kernel_abi, need } => lacks_landlock(f, *kernel_abi, need),
            Self::SecondNet(Requirement { net, line }) => {
                let Step {
                    asks_for, since, ..
                } = net.step();
                write!(
                    f,
                    "this kernel doesn't have `{net}` ({asks_for}, {since}), on which {line} insists; \
                     take it out of `[kernel] require` to run without this second net"
                )
            }
            Self::Namespace { release, namespace } => {
                let (asks_for, since) = namespace
                    .step()
                    .map_or(("", *release), |step| (step.asks_for, step.since));
                write!(
                    f,
                    "{release} can't do what `namespaces.{namespace}` asks for: {asks_for} needs {since}; \
                     with \"if-possible\", the child runs without it there"
                )
            }
            Self::Wall { release } => {
                let Step {
                    asks_for, since, ..
                } = newest_of_the_wall();
                write!(
                    f,
                    "no confined call runs on {release}: {asks_for} needs {since}, and can't be done without"
                )
            }
        }
    }
}

fn lacks_landlock(f: &mut fmt::Formatter<'_>, kernel_abi: u32, need: &Need) -> fmt::Result {
    let Need {
        abi,
        what,
        relaxation,
        location,
    } = need;
    let has = match kernel_abi {
        0 => "this kernel has no Landlock".to_owned(),
        abi => format!("this kernel has Landlock ABI {abi}"),
    };
    let since = kernel_of_abi(*abi);
    write!(
        f,
        "{has}, but confining {what} needs ABI {abi} ({since}) because of {location}; \
         take that line out"
    )?;
    match relaxation.as_str() {
        "" => Ok(()),
        relaxation => write!(
            f,
            ", or give up the promise by `[kernel] relax = [{{ what = \"{relaxation}\", reason = \
             \"…\" }}]`"
        ),
    }
}

impl std::error::Error for Unenforceable {}

/// Whether a kernel has what is needed and what is insisted on.
fn check(
    kernel: &Kernel,
    needs: &[Need],
    required: &[Requirement],
    namespaces: &Namespaces,
) -> Result<(), Unenforceable> {
    if let Some(release) = kernel.release
        && release < newest_of_the_wall().since
    {
        return Err(Unenforceable::Wall { release });
    }
    if let Some(release) = kernel.release
        && let Some(namespace) = namespaces.newer_than(release)
    {
        return Err(Unenforceable::Namespace { release, namespace });
    }
    if let Some(need) = needs.iter().find(|need| need.abi > kernel.landlock_abi) {
        return Err(Unenforceable::Landlock {
            kernel_abi: kernel.landlock_abi,
            need: need.clone(),
        });
    }
    match required.iter().find(|required| !kernel.has(required.net)) {
        Some(required) => Err(Unenforceable::SecondNet(required.clone())),
        None => Ok(()),
    }
}

fn required_abi(needs: &[Need], required: &[Requirement]) -> u32 {
    let needs = needs.iter().map(|need| need.abi);
    let required = required.iter().map(|required| required.net.landlock_abi());
    needs.chain(required).max().unwrap_or(0)
}

impl Policy {
    /// The least Landlock ABI that enforces the whole policy; 0 if it needs no Landlock at all.
    pub fn required_abi(&self) -> u32 {
        required_abi(&self.all_needs(), &self.requirements())
    }

    /// Checks that a kernel can enforce the policy.
    ///
    /// # Errors
    ///
    /// Names what the kernel can't deny, and the line of the policy that needs it.
    pub fn check_kernel(&self, kernel: &Kernel) -> Result<(), Unenforceable> {
        check(
            kernel,
            &self.all_needs(),
            &self.requirements(),
            &self.namespaces(),
        )
    }

    /// Returns the second nets that the policy uses if the kernel has them.
    pub fn second_nets(&self) -> Vec<SecondNet> {
        let used = SecondNet::ALL.into_iter().filter(|net| self.uses(*net));
        used.collect()
    }

    /// Returns the second nets that the policy insists on, each once.
    pub fn requirements(&self) -> Vec<Requirement> {
        let mut all: Vec<Requirement> = Vec::new();
        for (net, place) in &self.require {
            if !all.iter().any(|known| known.net == *net) {
                let line = match place {
                    Some(place) => self.sources.locate(*place).to_string(),
                    None => "the place where the policy is used".to_owned(),
                };
                all.push(Requirement { net: *net, line });
            }
        }
        all.sort_by_key(|required| required.net);
        all
    }

    pub(crate) fn uses(&self, net: SecondNet) -> bool {
        match net {
            SecondNet::DenyWriteExecute => self.values.is_strict("process", "deny_write_execute"),
            SecondNet::LandlockFs => self.filesystem_unconfined.is_none(),
            SecondNet::LandlockNet => self.network_unconfined.is_none(),
            SecondNet::LandlockScope => self.scopes() != 0,
        }
    }

    /// Returns why a policy can't insist on a second net, if another line of it turns that off.
    pub(crate) fn contradiction(&self, net: SecondNet) -> Option<&'static str> {
        let is_landlock = net.landlock_abi() > 0;
        if is_landlock && self.landlock.value == LandlockWish::Off {
            return Some("`kernel.landlock` is \"off\"");
        }
        if self.uses(net) {
            return None;
        }
        Some(match net {
            SecondNet::DenyWriteExecute => "`process.deny_write_execute` is false",
            SecondNet::LandlockFs => "`filesystem.unconfined` leaves all paths open",
            SecondNet::LandlockNet => "`network.unconfined` leaves all ports open",
            SecondNet::LandlockScope => "both values of `[scope]` are \"open\"",
        })
    }

    /// Complains about requirements that the policy itself contradicts.
    pub(crate) fn check_requirements(&self, problems: &mut Vec<Problem>) {
        for (net, place) in &self.require {
            if let Some(reason) = self.contradiction(*net) {
                let message = format!("`{net}` is required, but {reason}");
                let place = place.unwrap_or(self.root);
                problems.push(Problem::new(Code::BadRequirement, place, message));
            }
        }
    }
}

impl Compiled {
    /// Returns the least Landlock ABI that enforces the whole policy; 0 if it doesn't need Landlock.
    pub fn required_abi(&self) -> u32 {
        required_abi(&self.needs, &self.required)
    }

    /// Checks that a kernel can enforce the policy.
    ///
    /// # Errors
    ///
    /// Names what the kernel can't deny, and the line of the policy that needs it.
    pub fn check_kernel(&self, kernel: &Kernel) -> Result<(), Unenforceable> {
        check(kernel, &self.needs, &self.required, &self.namespaces)
    }

    /// Returns whether the policy insists on a second net.
    pub fn requires(&self, net: SecondNet) -> bool {
        self.required.iter().any(|required| required.net == net)
    }

    /// Returns the second nets that the policy uses and a kernel doesn't have.
    pub fn missing_on(&self, kernel: &Kernel) -> Vec<SecondNet> {
        let missing = SecondNet::ALL.into_iter();
        let missing = missing.filter(|net| self.uses(*net) && !kernel.has(*net));
        missing.collect()
    }

    fn uses(&self, net: SecondNet) -> bool {
        match net {
            SecondNet::DenyWriteExecute => self.process.deny_write_execute,
            SecondNet::LandlockFs => self.filesystem.is_some(),
            SecondNet::LandlockNet => self.network.is_some(),
            SecondNet::LandlockScope => self.scopes != 0,
        }
    }
}
