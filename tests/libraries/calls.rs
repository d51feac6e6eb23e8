//! Calls that are allowed up to a point, and what lies beyond it.

#![expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "it asks the C library directly"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crossmist::{Error, SandboxPolicy, func};

use crate::support::Directory;

/// The same number on every processor; `libc` names it for some.
const FCHMODAT2: libc::c_long = 452;

/// A policy by its text.
fn policy(text: &str) -> SandboxPolicy {
    SandboxPolicy::from_toml("calls", &format!("format = 1\n{text}")).unwrap()
}

/// The call that was denied.
#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Violation(violation)) => violation.claim.expect("a claim").call,
        other => panic!("{other:?}"),
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default()
}

fn result(value: i64) -> Result<i64, i32> {
    match value {
        -1 => Err(errno()),
        value => Ok(value),
    }
}

#[func(sandbox = dynamic)]
fn connects(to: SocketAddr) -> Result<(bool, u8), Option<i32>> {
    let code = |error: std::io::Error| error.raw_os_error();
    // std makes it non-blocking, waits, and makes it blocking again.
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(20)).map_err(code)?;
    // As socket2 and curl do it.
    let number = stream.as_raw_fd();
    // SAFETY: asks and sets flags of the socket.
    let waits = unsafe {
        let flags = libc::fcntl(number, libc::F_GETFL);
        let set = libc::fcntl(number, libc::F_SETFL, flags | libc::O_NONBLOCK);
        if set != 0 {
            return Err(Some(errno()));
        }
        let waits = libc::fcntl(number, libc::F_GETFL) & libc::O_NONBLOCK == 0;
        libc::fcntl(number, libc::F_SETFL, flags);
        waits
    };
    let mut byte = [0];
    stream.read_exact(&mut byte).map_err(code)?;
    Ok((waits, byte[0]))
}

#[func(sandbox = dynamic)]
fn sets_flags(file: File, flags: i32) -> Result<i64, i32> {
    // SAFETY: sets flags of a descriptor.
    result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }.into())
}

#[func(sandbox = dynamic)]
fn makes_non_blocking(file: File) -> Result<i64, i32> {
    let on: i32 = 1;
    // SAFETY: sets one flag of a descriptor.
    result(unsafe { libc::ioctl(file.as_raw_fd(), libc::FIONBIO, &raw const on) }.into())
}

pub(crate) fn a_client_makes_its_own_sockets_non_blocking() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"!").unwrap());
    let client = policy(&format!(
        "extends = [\"network-client\"]\n[network]\ntcp_connect = [{}]\n",
        address.port()
    ));
    assert_eq!(
        connects.sandbox(&client).run(address).unwrap(),
        Ok((false, b'!'))
    );
    answers.join().unwrap();

    // No other flag, and under no other policy any.
    let lent = || File::open("/dev/null").unwrap();
    let set = |policy: &SandboxPolicy, flags| sets_flags.sandbox(policy).run(lent(), flags);
    assert_eq!(set(&client, libc::O_NONBLOCK).unwrap(), Ok(0));
    for flags in [
        libc::O_APPEND,
        libc::O_NOATIME,
        libc::O_ASYNC,
        libc::O_DIRECT,
    ] {
        assert_eq!(set(&client, flags).unwrap(), Err(libc::EPERM), "{flags:x}");
    }
    for name in ["pure", "parser", "file-reader", "worker"] {
        let other = SandboxPolicy::builtin(name).unwrap();
        assert_eq!(set(&other, libc::O_NONBLOCK).unwrap(), Err(libc::EPERM));
        let found = makes_non_blocking.sandbox(&other).run(lent()).unwrap();
        assert_eq!(found, Err(libc::EPERM));
    }
}

/// Sets the flags of a descriptor, and tells those that it has then.
#[func(sandbox = dynamic)]
fn sets_and_tells_flags(file: File, flags: i32) -> Result<i32, i32> {
    // SAFETY: sets flags of a descriptor.
    result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }.into())?;
    // SAFETY: asks for them.
    Ok(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })
}

pub(crate) fn a_lent_file_goes_on_appending() {
    let directory = crate::support::Directory::new();
    let path = directory.path().join("log");
    let client = SandboxPolicy::builtin("network-client").unwrap();
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    let flags = |file: &File| {
        // SAFETY: asks for the flags of a descriptor.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }
    };
    let set = |flags| {
        let lent = log.try_clone().unwrap();
        sets_and_tells_flags
            .sandbox(&client)
            .run(lent, flags)
            .unwrap()
    };
    let before = flags(&log);
    assert_ne!(before & libc::O_APPEND, 0);
    // A change that it may make is made, for both.
    assert_eq!(
        set(before | libc::O_NONBLOCK),
        Ok(before | libc::O_NONBLOCK)
    );
    assert_eq!(flags(&log), before | libc::O_NONBLOCK);
    assert_eq!(set(before), Ok(before));
    // With O_APPEND the flag would go that keeps each writer at the end.
    for without in [0, libc::O_NONBLOCK, before & !libc::O_APPEND] {
        assert_eq!(set(without), Err(libc::EPERM), "{without:x}");
        assert_eq!(flags(&log), before);
    }
    // The control: outside of a sandbox, the same call takes it away.
    let taken = sets_and_tells_flags.call_unconfined(log.try_clone().unwrap(), 0);
    assert_eq!(taken.unwrap() & libc::O_APPEND, 0);
    assert_eq!(flags(&log) & libc::O_APPEND, 0);
}

/// The ways to change a mode: the oldest, the usual, by descriptor, and the newest.
fn change_mode(path: String, way: usize, mode: u32) -> Result<i64, i32> {
    let path = std::ffi::CString::new(path).unwrap();
    let here = libc::AT_FDCWD;
    // SAFETY: a path, and a mode.
    unsafe {
        result(match way {
            #[cfg(target_arch = "x86_64")]
            0 => libc::syscall(libc::SYS_chmod, path.as_ptr(), mode),
            #[cfg(not(target_arch = "x86_64"))]
            0 => libc::chmod(path.as_ptr(), mode).into(),
            1 => libc::syscall(libc::SYS_fchmodat, here, path.as_ptr(), mode),
            2 => {
                let file = libc::open(path.as_ptr(), libc::O_RDONLY);
                libc::syscall(libc::SYS_fchmod, file, mode)
            }
            _ => libc::syscall(FCHMODAT2, here, path.as_ptr(), mode, 0),
        })
    }
}

#[func]
fn changes_mode_unconfined(path: String, way: usize, mode: u32) -> Result<i64, i32> {
    change_mode(path, way, mode)
}

#[func(sandbox = dynamic)]
fn changes_mode(path: String, way: usize, mode: u32) -> Result<i64, i32> {
    change_mode(path, way, mode)
}

#[func(sandbox = dynamic)]
fn changes_owner(path: String, way: usize) -> Result<i64, i32> {
    let path = std::ffi::CString::new(path).unwrap();
    let same = u32::MAX;
    // SAFETY: a path, and ids that change nothing.
    unsafe {
        result(match way {
            0 => libc::chown(path.as_ptr(), same, same).into(),
            1 => libc::lchown(path.as_ptr(), same, same).into(),
            _ => libc::fchownat(libc::AT_FDCWD, path.as_ptr(), same, same, 0).into(),
        })
    }
}

pub(crate) fn a_mode_is_changed_but_never_to_set_user_id() {
    let directory = Directory::new();
    let file = directory.path().join("file");
    std::fs::write(&file, "treasure").unwrap();
    let name = file.to_str().unwrap().to_owned();
    let mode = || {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777
    };
    let attributes = policy(&format!(
        "extends = [\"file-reader\"]\n[filesystem]\nread = [\"{}\"]\n[process]\nuser = \"same\"\n\
         [syscalls]\nallow = [{{ call = \"@file-attr\", why = \"an archive has modes\" }}]\n",
        directory.path().display()
    ));
    let change = |way, mode| {
        changes_mode
            .sandbox(&attributes)
            .run(name.clone(), way, mode)
    };
    for way in 0..4 {
        let (plain, marked) = (0o640 + way as u32, 0o6755);
        // Kernels before 6.6 have no `fchmodat2`.
        let outside = changes_mode_unconfined.run(name.clone(), way, marked);
        if way == 3 && outside.as_ref().unwrap() == &Err(libc::ENOSYS) {
            continue;
        }
        assert_eq!(outside.unwrap(), Ok(0));
        assert_eq!(mode(), marked);
        assert_eq!(change(way, plain).unwrap(), Ok(0), "{way}");
        assert_eq!(mode(), plain);
        for marked in [0o4755, 0o2755, marked] {
            let call = denied(change(way, marked));
            assert!(call.contains("chmod"), "{call}");
        }
        assert_eq!(mode(), plain);
        // A call that the group lacks is denied as a whole; for the newest form, C libraries have an older
        // one.
        let parser = SandboxPolicy::builtin("file-reader").unwrap();
        let without = changes_mode.sandbox(&parser).run(name.clone(), way, plain);
        match way {
            2 => {}
            3 => assert_eq!(without.unwrap(), Err(libc::ENOSYS)),
            _ => assert!(denied(without).contains("chmod")),
        }
    }
    for way in 0..3 {
        let found = changes_owner.sandbox(&attributes).run(name.clone(), way);
        assert_eq!(found.unwrap(), Ok(0), "{way}");
        let parser = SandboxPolicy::builtin("file-reader").unwrap();
        let found = changes_owner.sandbox(&parser).run(name.clone(), way);
        assert!(denied(found).contains("chown"));
    }
}

/// Maps a file, writes to the mapping where that is asked for, and tells what it reads then.
#[func(sandbox = dynamic)]
fn maps(file: File, flags: i32, writes: bool) -> Result<u8, i32> {
    let write = if writes { libc::PROT_WRITE } else { 0 };
    // SAFETY: a new mapping of a file that has a page.
    unsafe {
        let protection = libc::PROT_READ | write;
        let none = std::ptr::null_mut();
        let found = libc::mmap(none, 4096, protection, flags, file.as_raw_fd(), 0);
        if found == libc::MAP_FAILED {
            return Err(errno());
        }
        let first = found.cast::<u8>();
        if writes {
            first.write_volatile(b'w');
        }
        Ok(first.read_volatile())
    }
}

#[func(sandbox = dynamic)]
fn maps_to_write(file: File, flags: i32) -> i32 {
    // SAFETY: a new mapping of a file that has a page.
    unsafe {
        let none = std::ptr::null_mut();
        let found = libc::mmap(none, 4096, libc::PROT_READ, flags, file.as_raw_fd(), 0);
        libc::mprotect(found, 4096, libc::PROT_READ | libc::PROT_WRITE);
        found.cast::<u8>().write_volatile(b'x');
    }
    0
}

pub(crate) fn a_file_is_mapped_privately_and_by_those_who_share() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, vec![b'r'; 4096]).unwrap();
    let (private, shared) = (libc::MAP_PRIVATE, libc::MAP_SHARED);
    let fill = libc::MAP_POPULATE;
    let keep = libc::MAP_NORESERVE;
    let policies = crate::confined_policies().into_iter();
    for (name, policy) in policies.filter(|(name, _)| *name != "pure") {
        let open = || File::open(&path).unwrap();
        let map = |flags, writes| maps.sandbox(&policy).run(open(), flags, writes).unwrap();
        // libmagic writes to its copy of a database.
        assert_eq!(map(private, true), Ok(b'w'), "{name}");
        assert_eq!(map(private | fill, true), Ok(b'w'), "{name}");
        for flags in [shared, shared | fill, shared | fill | keep] {
            assert_eq!(map(flags, false), Ok(b'r'), "{name} {flags:x}");
        }
        assert_eq!(std::fs::read(&path).unwrap()[0], b'r');
        // A mapping for reading can't be made one that writes to the file.
        let both = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(
            maps_to_write
                .sandbox(&policy)
                .run(both, shared | fill)
                .unwrap(),
            0
        );
        assert_eq!(std::fs::read(&path).unwrap()[0], b'r');
    }
    // The control: without a sandbox it is one.
    let both = File::options().read(true).write(true).open(&path).unwrap();
    let none = SandboxPolicy::builtin("unconfined").unwrap();
    assert_eq!(
        maps_to_write
            .sandbox(&none)
            .run(both, shared | fill)
            .unwrap(),
        0
    );
    assert_eq!(std::fs::read(&path).unwrap()[0], b'x');
}

#[func(sandbox = dynamic)]
fn barrier(command: i32) -> Result<i64, i32> {
    // SAFETY: orders memory.
    result(unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) })
}

pub(crate) fn barriers_are_for_the_process_itself() {
    const QUERY: i32 = 0;
    const GLOBAL: i32 = 1;
    const GLOBAL_EXPEDITED: i32 = 2;
    const REGISTER_GLOBAL_EXPEDITED: i32 = 4;
    const REGISTER_PRIVATE_EXPEDITED: i32 = 16;
    let none = SandboxPolicy::builtin("unconfined").unwrap();
    for name in ["pure", "parser", "worker"] {
        let policy = SandboxPolicy::builtin(name).unwrap();
        let with = |command| barrier.sandbox(&policy).run(command).unwrap();
        assert!(with(QUERY).unwrap() > 0);
        assert_eq!(with(REGISTER_PRIVATE_EXPEDITED), Ok(0));
        for command in [GLOBAL, GLOBAL_EXPEDITED, REGISTER_GLOBAL_EXPEDITED] {
            assert_eq!(barrier.sandbox(&none).run(command).unwrap(), Ok(0));
            assert_eq!(with(command), Err(libc::EINVAL), "{name} {command}");
        }
    }
}
