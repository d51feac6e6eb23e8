//! A place for control groups of children, as a service manager would delegate it.

use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Mounts the control groups where only this process sees them, and moves it into one that is delegated to
/// it. Returns the group in which the program may make groups.
pub(crate) fn delegate(name: &str) -> PathBuf {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    // What is mounted there already may be the same, which the kernel refuses on top of itself.
    for kind in [Some("tmpfs"), Some("cgroup2")] {
        mount(kind, MOUNT, kind, MsFlags::empty(), None::<&str>).unwrap();
    }
    let unit = Path::new(MOUNT).join(format!("crossmist-test-{name}-{}", std::process::id()));
    std::fs::create_dir(&unit).unwrap();
    let available = std::fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers")).unwrap();
    for controller in ["memory", "pids"] {
        if available.split_whitespace().any(|one| one == controller) {
            let enable = |group: &Path| {
                std::fs::write(
                    group.join("cgroup.subtree_control"),
                    format!("+{controller}"),
                )
            };
            enable(Path::new(MOUNT)).unwrap();
            enable(&unit).unwrap();
        }
    }
    super::raw::set_attribute(&unit, c"trusted.delegate", b"1").unwrap();
    let program = unit.join("program");
    std::fs::create_dir(&program).unwrap();
    std::fs::write(program.join("cgroup.procs"), "0").unwrap();
    unit
}

/// The groups of children, in the place for them.
pub(crate) fn groups(unit: &Path) -> Vec<PathBuf> {
    let found = [unit.to_owned(), unit.join("program")].into_iter();
    let entries = found.flat_map(|place| std::fs::read_dir(place).unwrap().flatten());
    let groups = entries.map(|entry| entry.path());
    let is_childs = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("crossmist-") && path.is_dir()
    };
    groups.filter(is_childs).collect()
}

/// Goes back to where it was, and removes what [`delegate`] has made.
pub(crate) fn clean_up(unit: &Path) {
    crossmist::keeper::end();
    super::wait_until("no group is left", || groups(unit).is_empty());
    let processes =
        |group: &Path| std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    std::fs::write(Path::new(MOUNT).join("cgroup.procs"), "0").unwrap();
    let program = unit.join("program");
    super::wait_until("the keeper is gone", || processes(&program).is_empty());
    for group in [&program, unit] {
        super::wait_until("the group is empty", || std::fs::remove_dir(group).is_ok());
    }
}

/// The processes in a group.
pub(crate) fn members(group: &Path) -> Vec<u32> {
    let list = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|id| id.parse().ok()).collect()
}
