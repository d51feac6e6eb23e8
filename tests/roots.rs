//! A root directory of its own: with `[namespaces] mount = "own"`, only the paths exist that a policy grants.

use std::path::Path;
use std::process::ExitStatus;

use crossmist::{Error, Namespace, SandboxPolicy, func};

#[macro_use]
mod support;
#[path = "containers/enter.rs"]
#[expect(dead_code, reason = "another test uses the rest")]
mod enter;

use support::{Directory, this_program};

fn main() {
    crossmist::init();
    support::main(
        cases![
            only_granted_paths_exist needs Root Truncation,
            only_granted_paths_exist_after_execve needs Root Truncation,
            a_plain_user_gets_the_right_from_a_user_namespace needs Root UserNamespaces Truncation,
            paths_not_granted_for_writing_are_mounted_read_only needs Root Truncation,
            a_path_has_the_rights_that_are_granted_above_it needs Root Truncation,
            nothing_else_is_mounted needs Root Truncation,
            a_policy_without_paths_has_an_empty_root needs Root,
            a_folder_that_is_moved_during_the_call_is_not_mistaken needs Root Truncation,
            no_way_leads_back_to_the_root_before needs Root Truncation,
            a_root_that_cannot_be_created_stops_the_call_or_is_reported needs Root,
            a_root_that_is_no_mount_stops_the_call_or_is_reported needs Root Truncation,
        ],
        cases![
            helper_finds_only_granted_paths,
            helper_without_the_right,
            helper_in_a_plain_folder,
        ],
    );
}

/// Returns the length of the file at a path.
#[func(sandbox = dynamic)]
fn finds(path: String) -> Result<u64, i32> {
    let found = std::fs::metadata(path);
    found.map(|file| file.len()).map_err(number)
}

#[func(sandbox = dynamic)]
fn reads(path: String) -> Result<String, i32> {
    std::fs::read_to_string(path).map_err(number)
}

#[func(sandbox = dynamic)]
fn writes(path: String) -> Result<(), i32> {
    let mut options = std::fs::File::options();
    let file = options.write(true).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, b"child"));
    written.map_err(number)
}

/// Waits until it is told to go on.
#[func(sandbox = dynamic)]
fn reads_later(path: String, mut go_on: crossmist::Receiver<()>) -> Result<String, i32> {
    go_on.recv().unwrap();
    std::fs::read_to_string(path).map_err(number)
}

fn number(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

fn policy(base: &str, grants: &str, more: &str) -> SandboxPolicy {
    let text = format!(
        "format = 1\ndescription = \"x\"\nextends = [\"{base}\"]\n{grants}\n\
         [limits]\nwall_time = \"10min\"\nfile_size = \"1MiB\"\n{more}\n"
    );
    SandboxPolicy::from_toml("roots", &text).unwrap()
}

const OWN: &str = "[namespaces]\nmount = \"own\"\n";

/// A folder that everybody may look into, with files in folders.
fn folder(files: &[&str]) -> Directory {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    for file in files {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, file).unwrap();
        let all = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(path, all).unwrap();
    }
    directory
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn finds_only_granted_paths(launch: &str) {
    let directory = folder(&["in/file", "out/file"]);
    let (granted, other) = (
        directory.path().join("in"),
        directory.path().join("out/file"),
    );
    let grants = format!(
        "[filesystem]\nread = [\"{}\", \"/etc/passwd\"]\n",
        granted.display()
    );
    let process = format!("[process]\nlaunch = \"{launch}\"\n");
    let shared = policy("file-reader", &grants, &process);
    let own = policy("file-reader", &grants, &format!("{process}{OWN}"));
    let file = text(&granted.join("file"));
    for path in [&text(&other), "/etc/hostname", "/etc/shadow", "/bin"] {
        // The control: Landlock does not keep it from being looked at.
        assert!(
            finds.sandbox(&shared).run(path.to_owned()).unwrap().is_ok(),
            "{path}"
        );
        let found = finds.sandbox(&own).run(path.to_owned()).unwrap();
        assert_eq!(found, Err(libc::ENOENT), "{path}");
    }
    for (policy, denied) in [(&shared, libc::EACCES), (&own, libc::ENOENT)] {
        let read = |path: &str| reads.sandbox(policy).run(path.to_owned()).unwrap();
        assert_eq!(read(&file).unwrap(), "in/file");
        assert!(read("/etc/passwd").unwrap().contains("root"));
        let beside = format!("{}/../out/file", granted.display());
        assert_eq!(read(&beside), Err(denied));
    }
}

fn only_granted_paths_exist() {
    finds_only_granted_paths("fork");
}

fn only_granted_paths_exist_after_execve() {
    finds_only_granted_paths("exec");
}

/// Starts a helper as a program in other circumstances.
fn inside(enter: impl FnOnce(), helper: &str) -> ExitStatus {
    enter::run_in(enter, &mut this_program(helper))
}

fn a_plain_user_gets_the_right_from_a_user_namespace() {
    let user = || enter::become_user(4242);
    assert!(inside(user, "helper_finds_only_granted_paths").success());
}

fn helper_finds_only_granted_paths() {
    finds_only_granted_paths("fork");
    let mut child = finds
        .sandbox(&policy("file-reader", "", OWN))
        .spawn("/".to_owned())
        .unwrap();
    let status = child.confinement().unwrap().unwrap();
    assert_eq!(status.namespaces, [Namespace::User, Namespace::Mount]);
    child.join().unwrap().unwrap();
}

fn paths_not_granted_for_writing_are_mounted_read_only() {
    let directory = folder(&["read/file", "write/file"]);
    let path = |name: &str| directory.path().join(name);
    let grants = format!(
        "[filesystem]\nread = [\"{}\"]\nwrite = [\"{}\"]\n",
        path("read").display(),
        path("write").display()
    );
    let shared = policy("file-reader", &grants, "");
    let own = policy("file-reader", &grants, OWN);
    let write =
        |policy: &SandboxPolicy, path: &Path| writes.sandbox(policy).run(text(path)).unwrap();
    // The control: the answer is Landlock's.
    assert_eq!(write(&shared, &path("read/file")), Err(libc::EACCES));
    assert_eq!(write(&own, &path("read/file")), Err(libc::EROFS));
    for policy in [&shared, &own] {
        std::fs::write(path("write/file"), "program").unwrap();
        assert_eq!(write(policy, &path("write/file")), Ok(()));
        // It is the program's file.
        assert_eq!(
            std::fs::read_to_string(path("write/file")).unwrap(),
            "childam"
        );
    }
}

fn a_path_has_the_rights_that_are_granted_above_it() {
    let directory = folder(&["top/file", "top/in/file", "top/in/deep/file", "one"]);
    let path = |name: &str| directory.path().join(name);
    let grants = format!(
        "[filesystem]\nread = [\"{}\", \"{}\", \"{}\"]\nwrite = [\"{}\"]\n",
        path("top/in/deep").display(),
        path("top").display(),
        path("one").display(),
        path("top/in").display(),
    );
    let own = policy("file-reader", &grants, OWN);
    let write = |name: &str| writes.sandbox(&own).run(text(&path(name))).unwrap();
    assert_eq!(write("top/file"), Err(libc::EROFS));
    assert_eq!(write("top/in/file"), Ok(()));
    assert_eq!(write("top/in/deep/file"), Ok(()));
    assert_eq!(write("one"), Err(libc::EROFS));
    let read = reads.sandbox(&own).run(text(&path("one"))).unwrap();
    assert_eq!(read.unwrap(), "one");
    // All paths, and one of them to be written.
    let grants = format!(
        "[filesystem]\nread = [\"/\"]\nwrite = [\"{}\"]\n",
        path("top/in").display()
    );
    let own = policy("file-reader", &grants, OWN);
    let write = |name: &str| writes.sandbox(&own).run(text(&path(name))).unwrap();
    assert_eq!(write("top/file"), Err(libc::EROFS));
    assert_eq!(write("top/in/file"), Ok(()));
    assert!(
        reads
            .sandbox(&own)
            .run("/etc/passwd".to_owned())
            .unwrap()
            .is_ok()
    );
}

fn nothing_else_is_mounted() {
    let directory = folder(&["in/file"]);
    let granted = directory.path().join("in");
    let grants = format!(
        "[filesystem]\nread = [\"{}\", \"/proc\"]\n",
        granted.display()
    );
    let mounts = |more: &str| {
        let policy = policy("file-reader", &grants, more);
        let list = reads
            .sandbox(&policy)
            .run("/proc/self/mountinfo".to_owned());
        list.unwrap().unwrap()
    };
    // The control: there are others.
    assert!(mounts("").lines().any(|line| line.contains(" /dev ")));
    for line in mounts(OWN).lines() {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = (fields.next().unwrap(), fields.next().unwrap());
        let is_expected = point == "/" || point.starts_with("/proc") || point == text(&granted);
        assert!(is_expected, "{line}");
        for option in ["ro", "nosuid", "nodev"] {
            assert!(options.split(',').any(|found| found == option), "{line}");
        }
    }
}

fn a_policy_without_paths_has_an_empty_root() {
    let own = policy("parser", "", OWN);
    let mut child = finds.sandbox(&own).spawn("/etc".to_owned()).unwrap();
    let status = child.confinement().unwrap().unwrap();
    assert_eq!(status.namespaces, [Namespace::Mount]);
    assert_eq!(child.join().unwrap(), Err(libc::EACCES));
}

fn a_folder_that_is_moved_during_the_call_is_not_mistaken() {
    let directory = folder(&["in/file", "other/file"]);
    let path = |name: &str| directory.path().join(name);
    let grants = format!("[filesystem]\nread = [\"{}\"]\n", path("in").display());
    let own = policy("file-reader", &grants, OWN);
    let (mut go_on, is_to) = crossmist::channel().unwrap();
    let file = text(&path("in/file"));
    let mut child = reads_later.sandbox(&own).spawn(file, is_to).unwrap();
    child.confinement().unwrap().unwrap();
    std::fs::rename(path("in"), path("moved")).unwrap();
    std::fs::rename(path("other"), path("in")).unwrap();
    go_on.send(&()).unwrap();
    // The mounted file is the one that was granted.
    assert_eq!(child.join().unwrap().unwrap(), "in/file");
}

/// A file to be found from the root directory.
const OUTSIDE: &str = "etc/group";

fn no_way_leads_back_to_the_root_before() {
    let grants = "[filesystem]\nread = [\"/proc\", \"/etc/passwd\"]\n";
    let found = |more: &str, way: &str| {
        let policy = policy("file-reader", grants, more);
        let path = format!("{way}/{OUTSIDE}");
        finds.sandbox(&policy).run(path).unwrap()
    };
    let ways = [
        "",
        "/..",
        "/etc/../../../..",
        "/proc/../..",
        "/proc/self/root",
        "/proc/self/root/..",
        "/proc/thread-self/root/../..",
        "/proc/self/cwd",
        "/proc/self/cwd/..",
        "/proc/self/task/../root/../..",
    ];
    for way in ways {
        // The control: Landlock does not keep it from being looked at.
        assert!(found("", way).is_ok(), "{way}");
        assert_eq!(found(OWN, way), Err(libc::ENOENT), "{way}");
    }
    // Who lists mounts sees none beneath its own root.
    let policy = policy("file-reader", grants, OWN);
    let list = reads
        .sandbox(&policy)
        .run("/proc/self/mountinfo".to_owned());
    let list = list.unwrap().unwrap();
    let roots = list
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/"));
    let kinds: Vec<_> = roots
        .map(|line| line.split(" - ").nth(1).unwrap().split(' ').next())
        .collect();
    assert_eq!(kinds, [Some("tmpfs")], "{list}");
}

fn a_root_that_cannot_be_created_stops_the_call_or_is_reported() {
    let user = || enter::become_user(4242);
    assert!(inside(user, "helper_without_the_right").success());
}

/// Goes into a folder with everything in it, as `chroot(1)` does.
fn enter_a_plain_folder() {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let root = Path::new("/run/crossmist-root");
    std::fs::create_dir_all("/run").unwrap();
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    std::fs::create_dir(root).unwrap();
    for entry in std::fs::read_dir("/").unwrap() {
        let entry = entry.unwrap();
        let (path, place) = (entry.path(), root.join(entry.file_name()));
        if let Ok(target) = std::fs::read_link(&path) {
            std::os::unix::fs::symlink(target, place).unwrap();
        } else if path.is_dir() && path != Path::new("/run") {
            std::fs::create_dir(&place).unwrap();
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(&path), &place, None::<&str>, flags, None::<&str>).unwrap();
        }
    }
    nix::unistd::chroot(root).unwrap();
    std::env::set_current_dir("/").unwrap();
}

fn a_root_that_is_no_mount_stops_the_call_or_is_reported() {
    assert!(inside(enter_a_plain_folder, "helper_in_a_plain_folder").success());
}

fn helper_in_a_plain_folder() {
    let run = |wish: &str| {
        let more = format!("[namespaces]\nmount = \"{wish}\"\n");
        let policy = policy(
            "file-reader",
            "[filesystem]\nread = [\"/etc/passwd\"]\n",
            &more,
        );
        let mut child = finds.sandbox(&policy).spawn("/etc/group".to_owned())?;
        Ok::<_, Error>((child.confinement()?.unwrap(), child.join()?))
    };
    // The control.
    let (status, found) = run("shared").unwrap();
    assert!(status.missing_namespaces.is_empty() && found.is_ok());
    let error = run("own").unwrap_err();
    assert!(matches!(error, Error::Confine { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["root directory of its own", "chroot(2)", "if-possible"] {
        assert!(text.contains(part), "{text}");
    }
    let (status, found) = run("if-possible").unwrap();
    assert_eq!(status.missing_namespaces, [Namespace::Mount]);
    assert!(status.namespaces.is_empty() && found.is_ok());
}

fn helper_without_the_right() {
    let run = |more: &str| {
        let policy = policy(
            "parser",
            "",
            &format!("[namespaces]\nuser = \"shared\"\n{more}"),
        );
        let child = finds.sandbox(&policy).spawn("/etc".to_owned());
        child.and_then(|mut child| child.confinement())
    };
    // The control.
    assert!(run("").unwrap().unwrap().missing_namespaces.is_empty());
    let error = run("mount = \"own\"\n").unwrap_err();
    assert!(matches!(error, Error::Confine { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["root directory of its own", "CAP_SYS_ADMIN", "if-possible"] {
        assert!(text.contains(part), "{text}");
    }
    let status = run("mount = \"if-possible\"\n").unwrap().unwrap();
    assert_eq!(status.missing_namespaces, [Namespace::Mount]);
    assert!(status.namespaces.is_empty() && !status.is_fully_enforced());
}
