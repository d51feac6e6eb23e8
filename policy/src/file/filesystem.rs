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

impl PathGrant {
    /// Whether it is there to change files.
    pub(crate) fn writes(&self) -> bool {
        matches!(self.kind, PathKind::Write | PathKind::Create)
    }
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

/// The tree of the kernel's own that writing at an absolute path would reach into: what lies in one,
/// or has one beneath it. The null device and the like are harmless by themselves.
pub fn kernel_tree(path: &str) -> Option<&'static str> {
    let path = path.trim_end_matches('/');
    let is_beneath = |tree: &str| {
        let rest = path.strip_prefix(tree);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if ["/dev/null", "/dev/zero", "/dev/full"].contains(&path) || is_beneath("/dev/shm") {
        return None;
    }
    let mut trees = KERNEL_TREES.iter().copied();
    trees.find(|tree| path.is_empty() || is_beneath(tree))
}

/// Links that lead each process to its own, with what is beneath them.
const OWN: &[&str] = &[
    "/proc/self",
    "/proc/thread-self",
    "/proc/mounts",
    "/proc/net",
    "/dev/fd",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
];

/// Whether each process finds something of its own at a path, such as `/proc/self/status`. The program resolves the
/// paths that a policy grants, so it would grant its own and not the child's.
pub fn is_of_each_process(path: &str) -> bool {
    OWN.iter().any(|link| {
        let rest = path.strip_prefix(link);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Returns the fault in the parts of a path, whatever it begins with.
pub(crate) fn bad_parts(path: &str) -> Option<&'static str> {
    if path.split('/').any(|part| part == ".." || part == ".") {
        Some("has no `.` and no `..` in it")
    } else if path.contains("//") {
        Some("has no empty part: `//` is another way to write `/`")
    } else if path.contains('\0') {
        Some("has no NUL in it")
    } else {
        None
    }
}

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
    let mistake = if !(path.starts_with('/') || path.starts_with("${")) {
        Some("is absolute, or begins with a variable")
    } else if path.contains('*') && !path.contains("/*/") && path.ends_with('*') {
        Some("has no `*`: a directory stands for everything beneath it")
    } else {
        bad_parts(path)
    };
    if let Some(mistake) = mistake {
        let message = format!("a path {mistake}");
        return reader.problem(Problem::new(Code::BadPath, place, message));
    }
    // A path that begins with a variable is checked where the declaration of the variable is known.
    if path.starts_with('/')
        && grant.writes()
        && let Some(tree) = kernel_tree(path)
    {
        let message = format!("writing at `{path}` reaches into `{tree}`");
        reader.problem(Problem::new(Code::WritesKernelTree, place, message).help(WHY_NOT));
    } else if is_of_each_process(path) {
        let message =
            format!("each process finds its own at `{path}`, and this would grant the program's");
        let help = "read it in the program, and pass it; the child's own is in `/proc`, with those of all others";
        reader.problem(Problem::new(Code::BadPath, place, message).help(help));
    }
}

/// The consequence of writing into the kernel's trees.
pub(crate) const WHY_NOT: &str = "a process that can write its own /proc/self/mem makes code of \
                                  any memory, whatever the filter says";
