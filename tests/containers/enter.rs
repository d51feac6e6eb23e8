//! Ways into a container: each puts the calling process, which must have one thread, into one part of
//! what container engines set up. A program that it executes then is inside from its first instruction.
#![allow(unsafe_code, reason = "it asks the system directly")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, Gid, Uid, setgroups, setresgid, setresuid};

use crate::support::raw;

/// Runs `inside` in a copy of this process, and then the program; waits for its end.
pub(crate) fn run_in(inside: impl FnOnce(), program: &mut Command) -> ExitStatus {
    // SAFETY: this is the only thread.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        ForkResult::Child => {
            inside();
            eprintln!("{}", program.exec());
            raw::exit(126)
        }
        ForkResult::Parent { child } => {
            let mut status = 0;
            // SAFETY: writes a number.
            let waited = unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) };
            assert_eq!(waited, child.as_raw());
            std::os::unix::process::ExitStatusExt::from_raw(status)
        }
    }
}

pub(crate) fn become_user(id: u32) {
    setgroups(&[]).unwrap();
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
}

/// Becomes root of a user namespace whose ids are `map`, by the hand of a process outside, as
/// newuidmap(1) does it for rootless containers.
pub(crate) fn user_namespace(map: &str) {
    enter_user_namespace(map, "allow");
    become_user(0);
}

/// The same in a namespace whose processes keep the groups that they come with.
pub(crate) fn user_namespace_with_fixed_groups(map: &str, groups: &[u32]) {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).unwrap();
    enter_user_namespace(map, "deny");
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
    assert_eq!(setgroups(&[]), Err(nix::Error::EPERM));
}

fn enter_user_namespace(map: &str, groups: &str) {
    let (mut inside, mut outside) = UnixStream::pair().unwrap();
    let process = std::process::id();
    // SAFETY: this is the only thread.
    if let ForkResult::Child = unsafe { nix::unistd::fork() }.unwrap() {
        let _ = outside.read_exact(&mut [0]);
        fs::write(format!("/proc/{process}/setgroups"), groups).expect("setgroups");
        for kind in ["uid", "gid"] {
            fs::write(format!("/proc/{process}/{kind}_map"), map).expect("a map");
        }
        let _ = outside.write_all(b"m");
        raw::exit(0)
    }
    unshare(CloneFlags::CLONE_NEWUSER).unwrap();
    inside.write_all(b"n").unwrap();
    inside.read_exact(&mut [0]).unwrap();
    nix::sys::wait::wait().unwrap();
}

/// Becomes root of a user namespace that has no other id, as `unshare -r` does it.
pub(crate) fn user_namespace_of_one() {
    become_user(4242);
    // A process that has changed users may not write its own files in `/proc`.
    nix::sys::prctl::set_dumpable(true).unwrap();
    unshare(CloneFlags::CLONE_NEWUSER).unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", "0 4242 1").unwrap();
    fs::write("/proc/self/gid_map", "0 4242 1").unwrap();
}

/// Gives up every capability but these, for good: Kubernetes' `drop: [ALL]` and `add`.
pub(crate) fn keep_capabilities(kept: &[u32]) {
    for number in (0..64).filter(|number| !kept.contains(number)) {
        // SAFETY: takes numbers only. Those that the kernel doesn't know fail.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    }
    let mut header = [0x2008_0522u32, 0];
    let mut held = [0u32; 6];
    // SAFETY: reads and writes the two arrays, of the lengths that version 3 has.
    unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), held.as_mut_ptr()) };
    let held = u64::from(held[1]) | u64::from(held[4]) << 32;
    let mask = held & kept.iter().fold(0, |mask, number| mask | 1 << number);
    let [low, high] = [mask as u32, (mask >> 32) as u32];
    let sets = [low, low, low, high, high, high];
    // SAFETY: reads the two arrays, of the lengths that version 3 has.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

pub(crate) fn no_new_privileges() {
    nix::sys::prctl::set_no_new_privs().unwrap();
}

/// Has the next program of this process begin a PID namespace with a `/proc` of its own.
pub(crate) fn pid_namespace() {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).unwrap();
    // SAFETY: this is the only thread.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Child => {
            make_private();
            mount(
                Some("proc"),
                "/proc",
                Some("proc"),
                MsFlags::empty(),
                None::<&str>,
            )
            .unwrap();
        }
        ForkResult::Parent { child } => {
            use nix::sys::wait::{WaitStatus, waitpid};
            match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, status) => raw::exit(status),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn make_private() {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
}

/// Makes every file system read-only but those of the kernel: `--read-only`.
pub(crate) fn read_only_root() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    make_private();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in mounts.lines() {
        let place = line.split(' ').nth(4).unwrap();
        let is_kernels = ["/proc", "/sys", "/dev"]
            .iter()
            .any(|own| place.starts_with(own));
        if !is_kernels {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            mount(None::<&str>, place, None::<&str>, flags, None::<&str>).unwrap();
        }
    }
}

/// The answer of a filter to a system call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Allow,
    Errno(i32),
    /// An error if these bits are set in the first argument.
    ErrnoIf(u32, i32),
}

/// Loads a seccomp filter: what each of these calls is answered, and all others.
pub(crate) fn load_filter(calls: &[(&str, Answer)], others: Answer) {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let action = |answer| match answer {
        Answer::Allow => libc::SECCOMP_RET_ALLOW,
        Answer::Errno(errno) | Answer::ErrnoIf(_, errno) => {
            libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap()
        }
    };
    let (load, equal, any_bit, ret) = (0x20, 0x15, 0x45, 0x06);
    // The number, which each rule expects in the accumulator.
    let mut program = vec![instruction(load, 0, 0, 0)];
    let arch = crossmist_policy::Arch::host().unwrap();
    for (name, answer) in calls {
        let call = crossmist_policy::syscalls::find(name).unwrap_or_else(|| panic!("`{name}`"));
        let Some(number) = call.number(arch) else {
            continue;
        };
        match answer {
            Answer::Allow | Answer::Errno(_) => program.extend([
                instruction(equal, 0, 1, number),
                instruction(ret, 0, 0, action(*answer)),
            ]),
            Answer::ErrnoIf(bits, _) => program.extend([
                instruction(equal, 0, 4, number),
                instruction(load, 0, 0, 16),
                instruction(any_bit, 0, 1, *bits),
                instruction(ret, 0, 0, action(*answer)),
                instruction(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
            ]),
        }
    }
    program.push(instruction(ret, 0, 0, action(others)));
    raw::load_filter(&mut program);
}
