//! The ruleset of a policy, made in the parent: paths are opened and rules added where that may fail
//! in peace, and the child has one system call left to make.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::{Arc, Mutex, PoisonError};

use crossmist_policy::landlock::{FsRights, NET_BIND_TCP, NET_CONNECT_TCP, net_rights, scopes};
use crossmist_policy::{Compiled, PortSet};
use landlock::{
    AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

/// What a policy has Landlock handle on a kernel of this ABI: rights on files, rights on ports,
/// scopes. Everything that the kernel knows, so that what no rule grants is denied.
pub(super) fn handled(policy: &Compiled, abi: u32) -> [u64; 3] {
    let files = policy
        .filesystem
        .as_ref()
        .map(|_| FsRights::of_abi(abi).bits());
    let ports = policy.network.as_ref().map(|_| net_rights(abi));
    [
        files.unwrap_or(0),
        ports.unwrap_or(0),
        policy.scopes & scopes(abi),
    ]
}

/// Makes the ruleset; none where there is nothing to handle.
pub(super) fn ruleset(
    policy: &Compiled,
    abi: u32,
    bound: &[(String, String)],
) -> Result<Option<Arc<OwnedFd>>, String> {
    /// Those that grant nothing are the same for every policy, and stay.
    static EMPTY: Mutex<BTreeMap<[u64; 3], Arc<OwnedFd>>> = Mutex::new(BTreeMap::new());

    let handled = handled(policy, abi);
    if handled == [0; 3] {
        return Ok(None);
    }
    let grants = |rules: Option<usize>| rules.is_some_and(|rules| rules > 0);
    let grants_any = grants(policy.filesystem.as_ref().map(Vec::len))
        || grants(policy.network.as_ref().map(Vec::len));
    if grants_any {
        return build(policy, abi, handled, bound).map(|ruleset| Some(Arc::new(ruleset)));
    }
    let mut empty = EMPTY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ruleset) = empty.get(&handled) {
        return Ok(Some(Arc::clone(ruleset)));
    }
    let ruleset = Arc::new(build(policy, abi, handled, bound)?);
    empty.insert(handled, Arc::clone(&ruleset));
    Ok(Some(ruleset))
}

fn build(
    policy: &Compiled,
    abi: u32,
    handled: [u64; 3],
    bound: &[(String, String)],
) -> Result<OwnedFd, String> {
    let created = create(handled).map_err(|error| format!("Landlock refuses it: {error}"))?;
    let created = add_paths(created, policy, abi, bound)?;
    let created = match handled {
        [_, 0, _] => created,
        _ => add_ports(created, policy, bound)?,
    };
    match Option::<OwnedFd>::from(created) {
        Some(ruleset) => Ok(ruleset),
        None => Err("this kernel has no Landlock, although it said so before".to_owned()),
    }
}

fn create([files, ports, scopes]: [u64; 3]) -> Result<RulesetCreated, landlock::RulesetError> {
    // What can't be enforced is an error, never left out.
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if files != 0 {
        ruleset = ruleset.handle_access(BitFlags::<AccessFs>::from_bits_truncate(files))?;
    }
    if ports != 0 {
        ruleset = ruleset.handle_access(BitFlags::<AccessNet>::from_bits_truncate(ports))?;
    }
    if scopes != 0 {
        ruleset = ruleset.scope(BitFlags::<Scope>::from_bits_truncate(scopes))?;
    }
    ruleset.create()
}

fn add_paths(
    mut ruleset: RulesetCreated,
    policy: &Compiled,
    abi: u32,
    bound: &[(String, String)],
) -> Result<RulesetCreated, String> {
    let bound = borrowed(bound);
    for rule in policy.filesystem.iter().flatten() {
        let path = policy
            .bind(&rule.path, &bound, |name| std::env::var(name).ok())
            .map_err(|error| error.to_string())?;
        let failed = |reason: &dyn std::fmt::Display| {
            format!(
                "the path `{path}` of {} can't be granted: {reason}",
                rule.line
            )
        };
        let beneath = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(&path)
        {
            Ok(beneath) => beneath,
            Err(error) if rule.optional && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let cure = match error.kind() {
                    io::ErrorKind::NotFound => " (`optional = true` passes over it)",
                    _ => "",
                };
                return Err(failed(&format!("{error}{cure}")));
            }
        };
        let rights =
            rule.rights.known_to(abi).bits() & possible(&beneath).map_err(|e| failed(&e))?;
        if rights == 0 {
            // Rights on directories only, for what isn't one.
            continue;
        }
        let rights = BitFlags::<AccessFs>::from_bits_truncate(rights);
        ruleset = ruleset
            .add_rule(PathBeneath::new(beneath, rights))
            .map_err(|error| failed(&error))?;
    }
    Ok(ruleset)
}

/// The rights that a file can have: on one that isn't a directory those of directories are errors.
fn possible(file: &File) -> io::Result<u64> {
    let kind = file.metadata()?.file_type();
    let file_rights = AccessFs::Execute | AccessFs::WriteFile | AccessFs::ReadFile;
    Ok(match kind {
        kind if kind.is_dir() => u64::MAX,
        kind if kind.is_char_device() || kind.is_block_device() => {
            (file_rights | AccessFs::Truncate | AccessFs::IoctlDev).bits()
        }
        _ => (file_rights | AccessFs::Truncate).bits(),
    })
}

fn add_ports(
    mut ruleset: RulesetCreated,
    policy: &Compiled,
    bound: &[(String, String)],
) -> Result<RulesetCreated, String> {
    let bound = borrowed(bound);
    for rule in policy.network.iter().flatten() {
        let ports = match &rule.ports {
            PortSet::Range(first, last) => *first..=*last,
            PortSet::Variable(name) => {
                let value = policy
                    .value(name, &bound, |name| std::env::var(name).ok())
                    .map_err(|error| error.to_string())?;
                let port = value.parse().map_err(|_| {
                    format!("the policy's variable `{name}` is a port, and `{value}` is none")
                })?;
                port..=port
            }
        };
        let mut rights = BitFlags::<AccessNet>::EMPTY;
        if rule.rights & NET_BIND_TCP != 0 {
            rights |= AccessNet::BindTcp;
        }
        if rule.rights & NET_CONNECT_TCP != 0 {
            rights |= AccessNet::ConnectTcp;
        }
        for port in ports {
            ruleset = ruleset
                .add_rule(NetPort::new(port, rights))
                .map_err(|error| {
                    format!("the port {port} of {} can't be granted: {error}", rule.line)
                })?;
        }
    }
    Ok(ruleset)
}

fn borrowed(bound: &[(String, String)]) -> Vec<(&str, &str)> {
    bound
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
