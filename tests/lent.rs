//! Things that a child can't do to a lent object, nor leave in the folders that it may write to.

#![expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "native code of an attacker"
)]

mod support;

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crossmist::{Blob, BlobBuf, Error, SandboxPolicy, func};
use support::Directory;

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_lent_file_grows_and_is_never_cut_short,
            a_memory_object_of_ones_own_is_handed_up_at_any_length,
            only_a_child_that_can_send_a_memory_object_seals_one,
            the_timeouts_of_a_lent_socket_stay needs Ports,
            no_file_is_made_with_a_set_user_id_bit needs Truncation,
            no_path_is_opened_to_name_it,
        ],
        cases![],
    );
}

fn policy(text: &str) -> SandboxPolicy {
    SandboxPolicy::from_toml("own", &format!("format = 1\n{text}")).unwrap()
}

fn network_client() -> SandboxPolicy {
    policy("extends = [\"network-client\"]\n[network]\ntcp_connect = [9]\n")
}

fn result(value: i64) -> Result<i64, i32> {
    match value {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        value => Ok(value),
    }
}

/// The call that was denied.
#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Violation(violation)) => violation.claim.expect("a claim").call,
        other => panic!("{other:?}"),
    }
}

fn set_length(file: &File, length: i64) -> Result<i64, i32> {
    // SAFETY: takes numbers only.
    result(unsafe { libc::syscall(libc::SYS_ftruncate, file.as_raw_fd(), length) })
}

#[func]
fn sets_length_unconfined(file: File, length: i64) -> Result<i64, i32> {
    set_length(&file, length)
}

#[func(sandbox = dynamic)]
fn sets_length(file: File, length: i64) -> Result<i64, i32> {
    set_length(&file, length)
}

fn a_lent_file_grows_and_is_never_cut_short() {
    let directory = Directory::new();
    let path = directory.path().join("lent");
    let lend = |appends: bool| {
        std::fs::write(&path, [1; 8192]).unwrap();
        let mut options = File::options();
        options.read(true).append(appends).write(!appends);
        options.open(&path).unwrap()
    };
    let length = || std::fs::metadata(&path).unwrap().len();
    // Controls.
    for appends in [false, true] {
        let cut = sets_length_unconfined.run(lend(appends), 0).unwrap();
        assert_eq!((cut, length()), (Ok(0), 0));
    }
    let policies = ["pure", "parser", "worker"].map(|name| SandboxPolicy::builtin(name).unwrap());
    for policy in policies.iter().chain([&network_client()]) {
        let set = |appends, length| sets_length.sandbox(policy).run(lend(appends), length);
        for appends in [false, true] {
            for shorter in [0, 1, 8191, -1] {
                let refused = if shorter < 0 {
                    libc::EINVAL
                } else {
                    libc::EPERM
                };
                assert_eq!(set(appends, shorter).unwrap(), Err(refused));
                assert_eq!(length(), 8192);
            }
            assert_eq!(set(appends, 8192).unwrap(), Ok(0));
            assert_eq!(length(), 8192);
        }
        // A place in the file can't be written if it is open for appending only.
        assert_eq!(set(true, 9000).unwrap(), Err(libc::EPERM));
        // As far as it could be written.
        let grown = set(false, 9000).unwrap();
        match policy.name() {
            "pure" | "parser" => assert_eq!((grown, length()), (Err(libc::EFBIG), 8192)),
            _ => {
                assert_eq!((grown, length()), (Ok(0), 9000));
                let text = std::fs::read(&path).unwrap();
                assert!(text[..8192] == [1; 8192] && text[8192..] == [0; 808]);
                assert_eq!(set(false, 1 << 30).unwrap(), Err(libc::EFBIG));
            }
        }
    }
    let reading = File::open(&path).unwrap();
    let worker = SandboxPolicy::builtin("worker").unwrap();
    let grown = sets_length.sandbox(&worker).run(reading, 9000).unwrap();
    assert_eq!(grown, Err(libc::EINVAL));
    // A policy that says so.
    for group in ["@file-size", "@path-write"] {
        let may = policy(&format!(
            "extends = [\"pure\"]\n[syscalls]\nallow = [\"{group}\"]\n"
        ));
        let cut = sets_length.sandbox(&may).run(lend(false), 0).unwrap();
        assert_eq!((cut, length()), (Ok(0), 0), "{group}");
    }
}

#[func(sandbox = "worker")]
fn makes_blobs(length: usize) -> (Blob, Blob) {
    let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
    let mut grown = BlobBuf::new().unwrap();
    for piece in bytes.chunks(1000) {
        grown.write_all(piece).unwrap();
    }
    (Blob::from_slice(&bytes).unwrap(), grown.freeze().unwrap())
}

fn a_memory_object_of_ones_own_is_handed_up_at_any_length() {
    for length in [0, 1, 4096, 100_001] {
        let expected: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let (copied, grown) = makes_blobs.run(length).unwrap();
        assert!(*copied == *expected && *grown == *expected, "{length}");
    }
}

fn memory_object() -> File {
    // SAFETY: a name and flags; then the new descriptor, which nobody else owns.
    unsafe {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        let fd = libc::memfd_create(c"lent".as_ptr(), flags);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    }
}

fn add_seals(file: &File) -> Result<i64, i32> {
    let all = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: takes numbers only.
    result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, all) }.into())
}

#[func]
fn seals_unconfined(file: File) -> Result<i64, i32> {
    add_seals(&file)
}

#[func(sandbox = dynamic)]
fn seals(file: File) -> Result<i64, i32> {
    add_seals(&file)
}

#[func(sandbox = dynamic)]
fn seals_and_sends(file: File) -> Result<Option<File>, i32> {
    add_seals(&file)?;
    Ok(Some(file))
}

fn only_a_child_that_can_send_a_memory_object_seals_one() {
    // The control.
    let lent = memory_object();
    assert_eq!(
        seals_unconfined.run(lent.try_clone().unwrap()).unwrap(),
        Ok(0)
    );
    let error = (&lent).write(b"x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));

    let worker = SandboxPolicy::builtin("worker").unwrap();
    for policy in [&worker, &network_client()] {
        let lent = memory_object();
        let call = denied(seals.sandbox(policy).run(lent.try_clone().unwrap()));
        assert!(
            call.starts_with("fcntl(") && call.contains("F_ADD_SEALS"),
            "{call}"
        );
        assert_eq!((&lent).write(b"x").unwrap(), 1);
    }
    // A sealed object may go up, if the child has a way to make such an object.
    let sent = seals_and_sends.sandbox(&worker).run(memory_object());
    assert!(sent.unwrap().is_ok());
    let pure = SandboxPolicy::builtin("pure").unwrap();
    denied(seals_and_sends.sandbox(&pure).run(memory_object()));
    // And a policy can say so.
    let may =
        policy("extends = [\"worker\"]\n[syscalls]\nallow = [\"fcntl(cmd == F_ADD_SEALS)\"]\n");
    assert_eq!(seals.sandbox(&may).run(memory_object()).unwrap(), Ok(0));
}

/// Options of a socket, and a value that nobody sets by accident.
const TIMEOUTS: [(i32, i32); 3] = [
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
];

/// Sets an option to zero: as `timeval` or as a number.
fn disable(stream: &TcpStream, (level, option): (i32, i32)) -> Result<i64, i32> {
    let zero = [0u8; 16];
    let length = if level == libc::SOL_SOCKET { 16 } else { 4 };
    let (socket, value) = (stream.as_raw_fd(), zero.as_ptr().cast());
    // SAFETY: reads as many bytes of the value.
    result(unsafe { libc::setsockopt(socket, level, option, value, length) }.into())
}

#[func]
fn disables_unconfined(stream: TcpStream, option: (i32, i32)) -> Result<i64, i32> {
    disable(&stream, option)
}

#[func(sandbox = dynamic)]
fn disables(stream: TcpStream, option: (i32, i32)) -> Result<i64, i32> {
    disable(&stream, option)
}

fn the_timeouts_of_a_lent_socket_stay() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let time = Some(Duration::from_secs(77));
    let user_timeout: u32 = 77_000;
    let lend = || {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(time).unwrap();
        stream.set_write_timeout(time).unwrap();
        let (level, option) = TIMEOUTS[2];
        support::raw::set_option(stream.as_raw_fd(), level, option, &user_timeout).unwrap();
        stream
    };
    let left = |stream: &TcpStream| {
        (
            stream.read_timeout().unwrap(),
            stream.write_timeout().unwrap(),
            user_timeout_of(stream),
        )
    };
    for option in TIMEOUTS {
        // The control.
        let stream = lend();
        assert_eq!(left(&stream), (time, time, user_timeout));
        let outside = disables_unconfined.run(stream.try_clone().unwrap(), option);
        assert_eq!(outside.unwrap(), Ok(0));
        assert_ne!(left(&stream), (time, time, user_timeout));

        let stream = lend();
        let client = network_client();
        let inside = disables
            .sandbox(&client)
            .run(stream.try_clone().unwrap(), option);
        assert_eq!(inside.unwrap(), Err(libc::EPERM));
        assert_eq!(left(&stream), (time, time, user_timeout));
    }
}

fn user_timeout_of(stream: &TcpStream) -> u32 {
    let mut value = 0u32;
    let mut length = 4;
    let (socket, (level, option)) = (stream.as_raw_fd(), TIMEOUTS[2]);
    let to = (&raw mut value).cast();
    // SAFETY: writes as many bytes as the number has.
    let asked = unsafe { libc::getsockopt(socket, level, option, to, &raw mut length) };
    assert_eq!(asked, 0);
    value
}

/// Makes a file, and returns what the kernel says.
fn make(path: &Path, way: usize, mode: u32) -> Result<i64, i32> {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let path = path.as_ptr();
    let here = libc::AT_FDCWD;
    let flags = libc::O_CREAT | libc::O_RDWR;
    let temporary = libc::O_TMPFILE | libc::O_RDWR;
    // SAFETY: a path, flags and a mode.
    result(unsafe {
        match way {
            0 => libc::syscall(libc::SYS_openat, here, path, flags, mode),
            1 => libc::syscall(libc::SYS_mknodat, here, path, libc::S_IFREG | mode, 0),
            #[cfg(target_arch = "x86_64")]
            2 => libc::syscall(libc::SYS_open, path, flags, mode),
            #[cfg(target_arch = "x86_64")]
            3 => libc::syscall(libc::SYS_creat, path, mode),
            _ => libc::syscall(libc::SYS_openat, here, c"/tmp".as_ptr(), temporary, mode),
        }
    })
}

#[func]
fn makes_unconfined(path: String, way: usize, mode: u32) -> Result<i64, i32> {
    make(Path::new(&path), way, mode)
}

#[func(sandbox = dynamic)]
fn makes(path: String, way: usize, mode: u32) -> Result<i64, i32> {
    make(Path::new(&path), way, mode)
}

fn no_file_is_made_with_a_set_user_id_bit() {
    let directory = Directory::new();
    let folder = directory.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("file");
    let name = || path.to_str().unwrap().to_owned();
    let creates = policy(&format!(
        "extends = [\"file-reader\"]\n[filesystem]\nread = [\"{0}\", \"/tmp\"]\nwrite = [\"{0}\", \"/tmp\"]\ncreate = [\"{0}\", \"/tmp\"]\n\
         [process]\nuser = \"same\"\n[limits]\nfile_size = \"1MiB\"\n",
        folder.display()
    ));
    let mode = || {
        let mode = std::fs::metadata(&path).map(|made| made.permissions().mode() & 0o7777);
        let _ = std::fs::remove_file(&path);
        mode.ok()
    };
    let ways = if cfg!(target_arch = "x86_64") { 5 } else { 3 };
    for way in 0..ways {
        // A file without a name has no mode to look at.
        let named = way + 1 < ways;
        for marked in [0o4755, 0o2755, 0o6755] {
            // The control.
            assert!(makes_unconfined.run(name(), way, marked).unwrap().is_ok());
            assert_eq!(mode(), named.then_some(marked), "{way}");
            match makes.sandbox(&creates).run(name(), way, marked) {
                Ok(Err(libc::EACCES)) => assert_ne!(way, 1),
                refused => assert!(denied(refused).starts_with("mknodat("), "{way}"),
            }
            assert_eq!(mode(), None, "{way}");
        }
        let made = makes.sandbox(&creates).run(name(), way, 0o640).unwrap();
        assert!(made.is_ok(), "{way}: {made:?}");
        assert_eq!(mode(), named.then_some(0o640), "{way}");
    }
    // If nothing is created, the mode is whatever lies in the register.
    std::fs::write(&path, "text").unwrap();
    let reopened = reopens.sandbox(&creates).run(name()).unwrap();
    assert_eq!(reopened, Ok("text".to_owned()));
}

#[func(sandbox = dynamic)]
fn reopens(path: String) -> Result<String, i32> {
    let path = CString::new(path).unwrap();
    let (here, flags, mode) = (libc::AT_FDCWD, libc::O_RDWR, 0o7777);
    // SAFETY: a path, flags and a mode; then the new descriptor, which nobody else owns.
    let mut file = unsafe {
        let opened = libc::syscall(libc::SYS_openat, here, path.as_ptr(), flags, mode);
        File::from_raw_fd(result(opened)?.try_into().unwrap())
    };
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    Ok(text)
}

fn name_path(path: &str) -> Result<i64, i32> {
    let path = CString::new(path).unwrap();
    let (here, flags) = (libc::AT_FDCWD, libc::O_PATH | libc::O_CLOEXEC);
    // SAFETY: a path and flags.
    result(unsafe { libc::syscall(libc::SYS_openat, here, path.as_ptr(), flags, 0) })
}

#[func]
fn names_unconfined(path: String) -> Result<i64, i32> {
    name_path(&path)
}

#[func(sandbox = dynamic)]
fn names(path: String) -> Result<i64, i32> {
    name_path(&path)
}

fn no_path_is_opened_to_name_it() {
    let directory = Directory::new();
    let granted = directory.path().to_str().unwrap().to_owned();
    for how in ["read", "write", "create"] {
        let policy = policy(&format!(
            "extends = [\"file-reader\"]\n[filesystem]\n{how} = [\"{granted}\"]\n"
        ));
        for path in [granted.clone(), "/etc/shadow".to_owned()] {
            assert!(names_unconfined.run(path.clone()).unwrap().is_ok());
            let named = names.sandbox(&policy).run(path).unwrap();
            assert_eq!(named, Err(libc::EACCES));
        }
    }
}
