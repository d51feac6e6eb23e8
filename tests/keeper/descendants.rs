//! Processes that children start or leave behind, and processes that trace them.

use std::process::Stdio;
use std::time::Duration;

use crossmist::{Child, Error, SandboxPolicy, func};

use crate::cases;
use crate::functions::{add, parent, sleep};
use crate::support::{
    self, Case, patience, raw, state, stays, this_program, wait_until, wait_until_gone, within,
};

pub(crate) const CASES: &[Case] = cases![
    processes_that_children_leave_behind_end_with_them,
    a_child_is_refused_if_its_children_would_not_be_found,
    a_traced_child_holds_up_no_other,
    processes_of_another_namespace_are_nobodys_children needs Root,
];

pub(crate) const HELPERS: &[Case] = cases![helper_forks, helper_hides_its_children];

fn processes_of_another_namespace_are_nobodys_children() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).unwrap();
    // This `/proc` has the numbers of the namespace outside.
    let status = raw::in_fork(|| {
        assert_eq!(std::process::id(), 1);
        assert_eq!(add.run(1, 2).unwrap(), 3);
        let (sender, _receiver) = crossmist::channel().unwrap();
        let error = forks.sandbox(&forking()).run(sender, stays()).unwrap_err();
        assert!(
            error.to_string().contains("list the keeper's children"),
            "{error}"
        );
    });
    assert_eq!(status, 0);
}

/// Becomes three processes, each the last one's child, which stay.
#[func(sandbox = dynamic)]
fn forks(mut ids: crossmist::Sender<u32>, time: Duration) {
    fn stay(ids: &mut crossmist::Sender<u32>, time: Duration, more: u32) {
        if more > 0 {
            raw::fork(|| stay(ids, time, more - 1));
        }
        ids.send(&std::process::id()).unwrap();
        std::thread::sleep(time);
    }
    stay(&mut ids, time, 2);
}

fn forking() -> SandboxPolicy {
    let text = "format = 1\nextends = [\"parser\"]\n[limits]\nprocesses = 8\nwall_time = \"none\"\n[syscalls]\n\
                allow = [{ call = \"@process\", why = \"the test\" }]\n";
    SandboxPolicy::from_toml("forking", text).unwrap()
}

/// Starts them, and gives their ids once all of them run.
pub(crate) fn forked(deadline: Duration) -> (Child<()>, Vec<u32>) {
    let (sender, mut ids) = crossmist::channel().unwrap();
    let builder = forks.sandbox(&forking()).deadline(deadline);
    let child = builder.spawn(sender, stays()).unwrap();
    let ids: Vec<u32> = (0..3).map(|_| ids.recv().unwrap().unwrap()).collect();
    // The control: they are there.
    assert!(ids.iter().all(|id| state(*id).is_some()));
    (child, ids)
}

fn processes_that_children_leave_behind_end_with_them() {
    let (child, ids) = forked(patience(Duration::from_secs(8)));
    assert!(matches!(child.join(), Err(Error::Deadline { .. })));
    within(Duration::from_secs(1), || {
        ids.into_iter().for_each(wait_until_gone)
    });
    // And when the program ends, by SIGKILL.
    let mut program = this_program("helper_forks")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = support::first_line(&mut program);
    let ids: Vec<u32> = line
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect();
    assert_eq!(ids.len(), 3);
    program.kill().unwrap();
    program.wait().unwrap();
    within(Duration::from_secs(1), || {
        ids.into_iter().for_each(wait_until_gone)
    });
}

fn helper_forks() {
    let (child, ids) = forked(stays());
    let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
    println!("{}", ids.join(" "));
    child.join().unwrap();
}

fn a_child_is_refused_if_its_children_would_not_be_found() {
    // The library opens `/proc` at its start: the mounts have to be the program's own by then.
    let mut program = this_program("helper_hides_its_children");
    let begin = || {
        use nix::mount::{MsFlags, mount};
        let none = None::<&str>;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        Ok(())
    };
    raw::before_exec(&mut program, begin);
    let output = program.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn helper_hides_its_children() {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    // The control: there it is found.
    let (child, _) = forked(stays());
    let keeper = parent(child.id().unwrap());
    drop(child);
    // Reading this at its beginning fails with EIO.
    let list = format!("/proc/{keeper}/task/{keeper}/children");
    mount(
        Some("/proc/self/mem"),
        list.as_str(),
        none,
        MsFlags::MS_BIND,
        none,
    )
    .unwrap();
    let (sender, _receiver) = crossmist::channel().unwrap();
    let error = forks.sandbox(&forking()).run(sender, stays()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("list the keeper's children") && text.contains("CONFIG_PROC_CHILDREN"),
        "{text}"
    );
    // It is the matter of those policies only.
    assert_eq!(add.run(1, 2).unwrap(), 3);
}

fn a_traced_child_holds_up_no_other() {
    use nix::sys::ptrace;
    assert_eq!(add.run(1, 2).unwrap(), 3);
    let deadline = patience(Duration::from_secs(2));
    let builder = sleep.builder().deadline(deadline);
    let child = builder.spawn(stays()).unwrap();
    let traced = nix::unistd::Pid::from_raw(child.id().unwrap().try_into().unwrap());
    ptrace::seize(traced, ptrace::Options::empty()).expect("needs root");
    wait_until("it has been killed", || {
        state(child.id().unwrap()) == Some('Z')
    });
    // Its status is the tracer's to take first, and it does not. The keeper would wait for that.
    within(deadline + Duration::from_secs(2), || {
        assert_eq!(add.run(1, 2).unwrap(), 3);
        let overdue = sleep.builder().deadline(deadline);
        let overdue = overdue.run(stays());
        assert!(
            matches!(overdue, Err(Error::Deadline { .. })),
            "{overdue:?}"
        );
    });
    assert_eq!(state(child.id().unwrap()), Some('Z'));
    // Once it has, the keeper takes it as well.
    nix::sys::wait::waitpid(traced, None).unwrap();
    within(Duration::from_secs(2), || {
        assert!(matches!(child.join(), Err(Error::Deadline { .. })));
        wait_until_gone(traced.as_raw().unsigned_abs());
    });
}
