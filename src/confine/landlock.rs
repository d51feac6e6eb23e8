//! The ruleset of a policy. The parent creates it, opens the paths and adds the rules, since these
//! steps may fail. The child has only one system call left to make.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossmist_policy::landlock::{
    FsRights, NET_BIND_UDP, NET_CONNECT_SEND_UDP, net_rights, scopes,
};
use crossmist_policy::{Ceiling, Compiled, PortSet, Unbound, kernel_tree};
use landlock::{
    AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::mounts::{self, Mounts};
use super::root::Root;
use crate::error::{Unusable, UnusableKind};
use crate::sys::system_files;

/// The rights on UDP ports.
const UDP: u64 = NET_BIND_UDP | NET_CONNECT_SEND_UDP;

/// Returns what Landlock handles for a policy on a kernel with this ABI: rights on files, rights on
/// ports, scopes. It is everything that the kernel knows, so that what no rule grants is denied.
pub(super) fn handled(policy: &Compiled, abi: u32) -> [u64; 3] {
    let files = policy
        .filesystem
        .as_ref()
        .map(|_| FsRights::of_abi(abi).bits());
    let ports = policy.network.as_ref();
    let ports = ports.map(|rules| net_rights(abi, rules.iter().any(|rule| rule.rights & UDP != 0)));
    [
        files.unwrap_or(0),
        ports.unwrap_or(0),
        policy.scopes & scopes(abi),
    ]
}

/// Creates the ruleset. `None` if there is nothing to handle. Adds the paths to `root`.
pub(super) fn ruleset(
    policy: &Compiled,
    abi: u32,
    bound: &[(String, String)],
    root: Option<&mut Root>,
) -> Result<Option<Arc<OwnedFd>>, Unusable> {
    /// Rulesets that grant nothing are the same for every policy, and are kept.
    static EMPTY: Mutex<BTreeMap<[u64; 3], Arc<OwnedFd>>> = Mutex::new(BTreeMap::new());

    let handled = handled(policy, abi);
    if handled == [0; 3] {
        return Ok(None);
    }
    let grants = |rules: Option<usize>| rules.is_some_and(|rules| rules > 0);
    let grants_any = grants(policy.filesystem.as_ref().map(Vec::len))
        || grants(policy.network.as_ref().map(Vec::len));
    if grants_any {
        return build(policy, abi, handled, bound, root).map(|ruleset| Some(Arc::new(ruleset)));
    }
    let mut empty = EMPTY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ruleset) = empty.get(&handled) {
        return Ok(Some(Arc::clone(ruleset)));
    }
    let ruleset = Arc::new(build(policy, abi, handled, bound, root)?);
    empty.insert(handled, Arc::clone(&ruleset));
    Ok(Some(ruleset))
}

fn build(
    policy: &Compiled,
    abi: u32,
    handled: [u64; 3],
    bound: &[(String, String)],
    root: Option<&mut Root>,
) -> Result<OwnedFd, Unusable> {
    let no_landlock = |reason| Unusable::new(UnusableKind::Kernel, reason);
    let created =
        create(handled).map_err(|error| no_landlock(format!("Landlock refuses it: {error}")))?;
    let created = add_paths(created, policy, abi, bound, root)?;
    let created = match handled {
        [_, 0, _] => created,
        _ => add_ports(created, policy, handled[1], bound)?,
    };
    match Option::<OwnedFd>::from(created) {
        Some(ruleset) => Ok(ruleset),
        None => Err(no_landlock(
            "this kernel has no Landlock, although it said so before".to_owned(),
        )),
    }
}

fn create([files, ports, scopes]: [u64; 3]) -> Result<RulesetCreated, landlock::RulesetError> {
    // A right that cannot be enforced is an error, and is never left out.
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
    mut root: Option<&mut Root>,
) -> Result<RulesetCreated, Unusable> {
    let bound = borrowed(bound);
    let loose = linkable(policy, &bound);
    let ceilings = policy.ceilings.iter();
    let ceilings: Vec<_> = ceilings
        .map(|ceiling| Top::of(ceiling, &bound))
        .collect::<Result<_, _>>()?;
    let mut mounts = Mounts::default();
    for rule in policy.filesystem.iter().flatten() {
        let path = policy
            .bind(&rule.path, &bound, |name| std::env::var(name).ok())
            .map_err(without_value)?;
        let failed = |reason: &dyn std::fmt::Display| {
            let line = &rule.line;
            let reason = format!("the path `{path}` of {line} can't be granted: {reason}");
            Unusable::new(UnusableKind::Grant, reason)
        };
        let beneath = match open(&path) {
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
        check_links(Path::new(&path), &beneath, &loose).map_err(|reason| failed(&reason))?;
        check_place(&beneath, rule.rights, &ceilings, &mut mounts)
            .map_err(|reason| failed(&reason))?;
        let rights =
            rule.rights.known_to(abi).bits() & possible(&beneath).map_err(|e| failed(&e))?;
        if rights == 0 {
            // Only directories have these rights, and this is not one.
            continue;
        }
        if let Some(root) = &mut root {
            let added =
                place(&beneath).and_then(|place| root.add(&beneath, &place, rule.rights.writes()));
            added.map_err(|error| failed(&error))?;
        }
        let rights = BitFlags::<AccessFs>::from_bits_truncate(rights);
        ruleset = ruleset
            .add_rule(PathBeneath::new(beneath, rights))
            .map_err(|error| failed(&error))?;
    }
    Ok(ruleset)
}

/// Opens a file, only to refer to it.
fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_PATH).open(path)
}

/// Returns the path of an open file, without links.
fn place(file: &File) -> io::Result<PathBuf> {
    system_files::read_link(&format!("self/fd/{}", file.as_raw_fd())).map(PathBuf::from)
}

/// Returns the folders in which a child of the policy, or of one that has the same ceiling, can
/// create links.
fn linkable(policy: &Compiled, bound: &[(&str, &str)]) -> Vec<PathBuf> {
    const MAKE_SYM: u64 = 1 << 12;
    let env = |name: &str| std::env::var(name).ok();
    let own = policy.filesystem.iter().flatten();
    let own = own.map(|rule| (rule.rights, policy.bind(&rule.path, bound, env)));
    let ceilings = policy.ceilings.iter().flat_map(|ceiling| {
        let rules = ceiling.filesystem.iter();
        rules.map(move |rule| (rule.rights, ceiling.bind(&rule.path, bound, env)))
    });
    own.chain(ceilings)
        .filter(|(rights, _)| rights.bits() & MAKE_SYM != 0)
        .filter_map(|(_, path)| open(path.ok()?).and_then(|file| place(&file)).ok())
        .collect()
}

/// Follows a path as the kernel does, and refuses a link that a child could have created: the next
/// call would be granted whatever it leads to.
fn check_links(path: &Path, opened: &File, loose: &[PathBuf]) -> Result<(), String> {
    // As many as the kernel follows (path_resolution(7)).
    const LINKS: usize = 40;
    if loose.is_empty() {
        return Ok(());
    }
    let unseen = |error: io::Error| format!("where it leads can't be seen: {error}");
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = parts(path);
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        if !std::fs::symlink_metadata(&next)
            .map_err(unseen)?
            .is_symlink()
        {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS || loose.iter().any(|folder| at.starts_with(folder)) {
            return Err(format!(
                "`{}` is a link, where a confined process may make links: name what it leads to, or \
                 grant `create` elsewhere",
                next.display()
            ));
        }
        let target = std::fs::read_link(&next).map_err(unseen)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(parts(&target));
    }
    // It may have changed since it was opened.
    match place(opened).map_err(unseen)? == at {
        true => Ok(()),
        false => Err("it leads elsewhere by now".to_owned()),
    }
}

/// The names in a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.rev().collect()
}

/// Returns what a ceiling grants, and where those paths lead now.
struct Top<'a> {
    name: &'a str,
    places: Vec<(PathBuf, FsRights)>,
}

impl<'a> Top<'a> {
    fn of(ceiling: &'a Ceiling, bound: &[(&str, &str)]) -> Result<Self, Unusable> {
        let mut places = Vec::new();
        for rule in &ceiling.filesystem {
            // A variable without a value, or a path that does not exist, allows nothing.
            let env = |name: &str| std::env::var(name).ok();
            let Ok(path) = ceiling.bind(&rule.path, bound, env) else {
                continue;
            };
            match open(&path).and_then(|file| place(&file)) {
                Ok(place) => places.push((place, rule.rights)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let name = &ceiling.name;
                    let reason = format!("the path `{path}` of its ceiling `{name}`: {error}");
                    return Err(Unusable::new(UnusableKind::Grant, reason));
                }
            }
        }
        Ok(Self {
            name: &ceiling.name,
            places,
        })
    }
}

/// Checks an open file against the ceilings, and against what nobody may write. The policy was
/// checked by names only, and a symbolic link, which another child may have created, can lead
/// elsewhere.
fn check_place(
    file: &File,
    rights: FsRights,
    ceilings: &[Top<'_>],
    mounts: &mut Mounts,
) -> Result<(), String> {
    if ceilings.is_empty() && !rights.writes() {
        return Ok(());
    }
    let at = place(file).map_err(|error| format!("where it leads can't be seen: {error}"))?;
    for ceiling in ceilings {
        let mut places = ceiling.places.iter();
        if !places.any(|(top, most)| most.contains(rights) && at.starts_with(top)) {
            return Err(format!(
                "it leads to `{}`, which the ceiling `{}` doesn't grant",
                at.display(),
                ceiling.name
            ));
        }
    }
    if rights.writes() {
        // In another mount, these have other names.
        let is_kernels = mounts::is_kernels(file).map_err(|error| error.to_string())?;
        let tree = at.to_str().and_then(kernel_tree);
        if is_kernels || tree.is_some() {
            return Err(format!(
                "it leads to `{}`, whose files are the kernel itself: nothing is written there",
                at.display()
            ));
        }
        let found = mounts.beneath(&at).map_err(|error| {
            format!(
                "what is mounted beneath it can't be read from /proc/thread-self/mountinfo: {error}"
            )
        })?;
        if let Some(mount) = found {
            return Err(format!(
                "the kernel itself is mounted beneath it, {mount}, and would be granted with it: unmount that, \
                 or grant the folders beside it"
            ));
        }
    }
    Ok(())
}

/// Returns the rights that a file can have. Rights of directories are errors on a file that is not
/// one.
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
    handled: u64,
    bound: &[(String, String)],
) -> Result<RulesetCreated, Unusable> {
    let bound = borrowed(bound);
    for rule in policy.network.iter().flatten() {
        // In a network of its own, a policy does without what the kernel can't tell apart.
        let rights = rule.rights & handled;
        if rights == 0 {
            continue;
        }
        let ports = match &rule.ports {
            PortSet::Range(first, last) => *first..=*last,
            PortSet::Variable(name) => {
                let value = policy
                    .value(name, &bound, |name| std::env::var(name).ok())
                    .map_err(without_value)?;
                let port = value.parse().map_err(|_| {
                    let reason =
                        format!("the policy's variable `{name}` is a port, and `{value}` is none");
                    Unusable::new(UnusableKind::Variable, reason)
                })?;
                port..=port
            }
        };
        if rights & NET_CONNECT_SEND_UDP != 0 {
            // Sending needs a port, which the kernel chooses, and for which it asks for this right.
            let chosen = NetPort::new(0, AccessNet::BindUdp);
            ruleset = ruleset.add_rule(chosen).map_err(|error| {
                let line = &rule.line;
                let reason = format!("sending from any port by {line} can't be granted: {error}");
                Unusable::new(UnusableKind::Grant, reason)
            })?;
        }
        let rights = BitFlags::<AccessNet>::from_bits_truncate(rights);
        for port in ports {
            ruleset = ruleset
                .add_rule(NetPort::new(port, rights))
                .map_err(|error| {
                    let line = &rule.line;
                    let reason = format!("the port {port} of {line} can't be granted: {error}");
                    Unusable::new(UnusableKind::Grant, reason)
                })?;
        }
    }
    Ok(ruleset)
}

fn without_value(error: Unbound) -> Unusable {
    Unusable::new(UnusableKind::Variable, error.to_string())
}

fn borrowed(bound: &[(String, String)]) -> Vec<(&str, &str)> {
    bound
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
