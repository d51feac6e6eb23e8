//! How processes begin in a control group, and what happens if they cannot.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::control_group::Group;
use super::run;
use crate::sys::fork;
use crate::sys::group_fork::{self, GroupError};
use crate::sys::process::{self, Ended, Process};

/// A group that only this process sees, which is a subreaper, as the keeper is.
struct Place {
    root: PathBuf,
    path: PathBuf,
    name: String,
}

impl Place {
    fn new() -> (Self, Group) {
        use nix::mount::{MsFlags, mount};
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let (nothing, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(nothing, "/", nothing, private, nothing).unwrap();
        let name = format!("crossmist-test-begins-{}", std::process::id());
        let root = std::env::temp_dir().join(&name);
        std::fs::create_dir(&root).unwrap();
        let none = MsFlags::empty();
        mount(Some("cgroup2"), &root, Some("cgroup2"), none, nothing).unwrap();
        let path = root.join(&name);
        std::fs::create_dir(&path).unwrap();
        let group = Group::new(File::open(&path).unwrap().into());
        (Self { root, path, name }, group)
    }

    fn members(&self) -> String {
        std::fs::read_to_string(self.path.join("cgroup.procs")).unwrap()
    }

    fn is_around_this_process(&self) -> bool {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let mut groups = groups.lines();
        groups.any(|line| line.starts_with("0::") && line.ends_with(&self.name))
    }

    /// Removes it, with the group. Nothing may be left of the processes, other than zombies.
    fn remove(self) {
        let _ = std::fs::remove_dir(&self.path);
        nix::mount::umount2(&self.root, nix::mount::MntFlags::MNT_DETACH).unwrap();
        std::fs::remove_dir(&self.root).unwrap();
        let any = nix::unistd::Pid::from_raw(-1);
        let reap = || nix::sys::wait::waitpid(any, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        while let Ok(ended) = reap() {
            assert!(ended.pid().is_some(), "something is alive");
        }
    }
}

/// Tries until the machine has time for it, in a new group each time: one that was too late is killed, and of no use
/// any more.
fn in_time<T>(
    ending: &mut Vec<Process>,
    mut attempt: impl FnMut(&Group, &mut Vec<Process>) -> Result<T, GroupError>,
) -> (Place, Group, T) {
    loop {
        let (place, group) = Place::new();
        match attempt(&group, ending) {
            Err(GroupError::TooLate) => {
                reap(ending);
                // A copy that had begun is killed as well.
                while nix::sys::wait::wait().is_ok() {}
                place.remove();
            }
            done => return (place, group, done.unwrap()),
        }
    }
}

fn reap(ending: &mut Vec<Process>) {
    for process in ending.drain(..) {
        process.wait().unwrap();
    }
}

alone! {
    fn a_copy_begins_in_its_control_group() {
        let own = std::process::id();
        let says = |forked: Option<Process>, place: &Place| match forked {
            Some(copy) => copy.wait().unwrap(),
            None => {
                let is_own = nix::unistd::getppid().as_raw().unsigned_abs() == own;
                process::leave(i32::from(place.is_around_this_process()) + 2 * i32::from(is_own))
            }
        };
        let mut ending = Vec::new();
        let (place, group, copy) = in_time(&mut ending, |group, ending| group.fork(ending));
        assert_eq!(says(copy, &place), Ended::Exited(3));
        // The control: a copy is where this process is.
        assert_eq!(says(fork::fork().unwrap(), &place), Ended::Exited(2));
        // Nobody is left beside it, and none is begun where there is no group.
        reap(&mut ending);
        assert_eq!(place.members(), "");
        std::fs::remove_dir(&place.path).unwrap();
        assert!(matches!(group.fork(&mut ending), Err(GroupError::Refused)));
        place.remove();
    }

    fn a_frozen_group_holds_nobody_up() {
        let mut ending = Vec::new();
        // The control.
        let (place, group, copy) = in_time(&mut ending, |group, ending| group.fork(ending));
        match copy {
            Some(copy) => assert_eq!(copy.wait().unwrap(), Ended::Exited(7)),
            None => process::leave(7),
        }
        std::fs::write(place.path.join("cgroup.freeze"), "1").unwrap();
        let begun = Instant::now();
        match group.fork(&mut ending) {
            Err(GroupError::TooLate) => {}
            Ok(None) => process::leave(7),
            other => panic!("{other:?}"),
        }
        // Fifty times what it may take, for a machine that is busy.
        assert!(begun.elapsed() < group_fork::TIME * 50, "{:?}", begun.elapsed());
        // Nothing is left that could still begin.
        reap(&mut ending);
        assert_eq!(place.members(), "");
        place.remove();
    }

    fn what_is_started_in_a_control_group_comes_to_this_process() {
        let mut ending = Vec::new();
        // If it can't be started, nothing is left. A group that was too late is killed, and of no use any more.
        loop {
            let (place, group) = Place::new();
            let nothing = group.start(&mut ending, |_| Err(io::ErrorKind::NotFound.into()));
            reap(&mut ending);
            assert_eq!(place.members(), "");
            place.remove();
            match nothing {
                Err(GroupError::TooLate) => {}
                other => break assert!(matches!(other, Err(GroupError::Refused))),
            }
        }
        let start = |between| {
            let started = fork::fork().map_err(|error| error.source)?;
            Ok(started.unwrap_or_else(|| {
                group_fork::await_end(between);
                std::thread::sleep(Duration::from_secs(60));
                process::leave(0)
            }))
        };
        let (place, group, started) =
            in_time(&mut ending, |group, ending| group.start(ending, start));
        reap(&mut ending);
        assert_eq!(place.members().trim(), started.id.to_string());
        assert!(started.try_wait().unwrap().is_none());
        group_fork::kill_all(File::open(&place.path).unwrap().as_fd()).unwrap();
        let killed = Ended::Signalled { signal: libc::SIGKILL, core_dumped: false };
        assert_eq!(started.wait().unwrap(), killed);
        // Linux 6.18 kills whatever is cloned into a group that was killed before. It may have begun something.
        let killed = group.start(&mut ending, |_| Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(killed, Err(GroupError::TooLate | GroupError::Refused)));
        reap(&mut ending);
        assert_eq!(place.members(), "");
        place.remove();
    }
}
