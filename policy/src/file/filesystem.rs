//! `[filesystem]`: which paths may be used for what.

use toml::de::DeValue;

use super::{File, settings};
use crate::diagnostic::{Code, nearest};
use crate::landlock::FsRights;
use crate::reader::{Node, Reader, Section};
use crate::source::{At, Problem};

/// One path and what may be done beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathGrant {
    /// May contain `${variable}`.
    pub(crate) path: At<String>,
    pub(crate) kind: PathKind,
    pub(crate) rights: FsRights,
    pub(crate) optional: bool,
    pub(crate) why: Option<String>,
}

/// The key that a path stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    Read,
    Write,
    Create,
    Execute,
    ConnectUnix,
    IoctlDevice,
}

impl PathKind {
    /// The word for it in a policy.
    pub(crate) fn key(self) -> &'static str {
        let found = KEYS.iter().find(|(_, kind, _)| *kind == self);
        found.map_or("", |(key, ..)| key)
    }
}

const KEYS: &[(&str, PathKind, FsRights)] = &[
    ("read", PathKind::Read, FsRights::READ),
    ("write", PathKind::Write, FsRights::WRITE),
    ("create", PathKind::Create, FsRights::CREATE),
    ("execute", PathKind::Execute, FsRights::EXECUTE),
    (
        "connect_unix",
        PathKind::ConnectUnix,
        FsRights::RESOLVE_UNIX,
    ),
    ("ioctl_device", PathKind::IoctlDevice, FsRights::IOCTL_DEV),
];

/// Trees whose files are the kernel itself.
pub(crate) const KERNEL_TREES: &[&str] = &["/proc", "/sys", "/dev"];

pub(super) fn read(reader: &mut Reader, section: Section<'_, '_>, file: &mut File) {
    settings(reader, &section, "filesystem", file);
    for &(key, kind, rights) in KEYS {
        let items = section
            .key(key)
            .map(|node| reader.array(node))
            .unwrap_or_default();
        for node in items {
            if let Some(grant) = grant(reader, node, kind, rights) {
                check_path(reader, &grant);
                file.paths.push(grant);
            }
        }
    }
    if let Some(node) = section.key("deny") {
        let message =
            "a path can't be denied: Landlock can't cut a hole into a tree that is allowed";
        let problem = Problem::new(Code::PathDenied, reader.place(node), message);
        reader.problem(problem.help("name the parts of the tree that are needed instead"));
    }
    file.filesystem_unconfined = section.string(reader, "unconfined");
    reason(reader, file.filesystem_unconfined.as_ref());
    section.finish(reader);
}

/// `unconfined = "…"` says why.
pub(super) fn reason(reader: &mut Reader, written: Option<&At<String>>) {
    if let Some(text) = written
        && text.value.trim().is_empty()
    {
        let message = "`unconfined` needs its reason as the value";
        reader.problem(Problem::new(Code::MissingReason, text.place, message));
    }
}

fn grant(
    reader: &mut Reader,
    node: Node<'_, '_>,
    kind: PathKind,
    rights: FsRights,
) -> Option<PathGrant> {
    if let DeValue::String(_) = node.get_ref() {
        let path = reader.string(node)?;
        return Some(PathGrant {
            path,
            kind,
            rights,
            optional: false,
            why: None,
        });
    }
    let table = reader.table("filesystem", node)?;
    let path = table.string(reader, "path");
    let optional = table.key("optional").and_then(|node| reader.boolean(node));
    let why = table
        .string(reader, "why")
        .or_else(|| table.string(reader, "comment"));
    table.key("comment");
    let names = table.key("rights").map(|node| reader.strings(node));
    let place = table.place;
    table.finish(reader);
    let Some(path) = path else {
        reader.problem(Problem::new(
            Code::BadPath,
            place,
            "a rule in long form has a `path`",
        ));
        return None;
    };
    let rights = match names {
        None => rights,
        Some(names) => names.iter().fold(FsRights::NONE, |sum, name| {
            match FsRights::from_name(&name.value) {
                Some(right) if rights.contains(right) || right.is_special() => sum.with(right),
                found => {
                    let message = match found {
                        Some(_) => format!("`{}` belongs under another key", name.value),
                        None => format!("unknown right `{}`", name.value),
                    };
                    let near = nearest(&name.value, FsRights::names()).filter(|_| found.is_none());
                    let problem = Problem::new(Code::BadValue, name.place, message);
                    reader.problem(problem.did_you_mean(near));
                    sum
                }
            }
        }),
    };
    let optional = optional.is_some_and(|optional| optional.value);
    Some(PathGrant {
        path,
        kind,
        rights,
        optional,
        why: why.map(|why| why.value),
    })
}

fn check_path(reader: &mut Reader, grant: &PathGrant) {
    let path = &grant.path.value;
    let place = grant.path.place;
    let message = if !(path.starts_with('/') || path.starts_with("${")) {
        Some("a path is absolute, or begins with a variable")
    } else if path.split('/').any(|part| part == ".." || part == ".") {
        Some("a path has no `.` and no `..` in it")
    } else if path.contains('\0') {
        Some("a path has no NUL in it")
    } else if path.contains('*') && !path.contains("/*/") && path.ends_with('*') {
        Some("a path has no `*`: a directory stands for everything beneath it")
    } else {
        None
    };
    if let Some(message) = message {
        return reader.problem(Problem::new(Code::BadPath, place, message));
    }
    let writes = matches!(grant.kind, PathKind::Write | PathKind::Create);
    let in_tree = |tree: &&&str| {
        path == "/"
            || path
                .strip_prefix(**tree)
                .is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    // The null device and the like are harmless by themselves.
    let harmless = ["/dev/null", "/dev/zero", "/dev/full", "/dev/shm"].contains(&path.as_str());
    if writes
        && !harmless
        && let Some(tree) = KERNEL_TREES.iter().find(in_tree)
    {
        let message = format!("writing at `{path}` reaches into `{tree}`");
        let help = "a process that can write its own /proc/self/mem makes code of any memory, \
                    whatever the filter says";
        reader.problem(Problem::new(Code::WritesKernelTree, place, message).help(help));
    }
}
