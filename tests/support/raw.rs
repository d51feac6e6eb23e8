//! System calls as an attacker makes them, and as a test asks the kernel.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The socket that this child was started with.
pub(crate) fn launch_socket() -> RawFd {
    match std::env::args().nth(1).as_deref() {
        Some("--crossmist-child") => {
            let number = std::env::args().nth(2).expect("this is a child");
            number.parse().expect("the number of a descriptor")
        }
        // A copy of the keeper, whose arguments it has: the first descriptor that it was left with.
        _ => (3..1024).find(|fd| is_open(*fd)).expect("a descriptor"),
    }
}

/// Ends this process as it stands: no answer, no destructors.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

fn map(length: usize, protection: i32, flags: i32, fd: RawFd) -> std::io::Result<*mut u8> {
    // SAFETY: a new mapping, placed by the kernel.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) };
    match at {
        libc::MAP_FAILED => Err(std::io::Error::last_os_error()),
        at => Ok(at.cast()),
    }
}

/// Writes to new memory, makes it read-only, and leaves it there.
pub(crate) fn hoard(length: usize) -> std::io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let at = map(
        length,
        protection,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
    )?;
    // SAFETY: the mapping made above, in which nobody else has a part.
    unsafe { at.write_bytes(1, length) };
    // SAFETY: as above.
    check(unsafe { libc::mprotect(at.cast(), length, libc::PROT_READ) }).map(drop)
}

/// A file's bytes, by a shared mapping for reading.
pub(crate) fn map_shared(file: &std::fs::File) -> std::io::Result<Vec<u8>> {
    let length = file.metadata()?.len() as usize;
    let at = map(length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())?;
    // SAFETY: as many bytes as the file has, which nobody changes meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(at, length) }.to_vec())
}

/// Overwrites a file by what was a mapping for reading.
pub(crate) fn map_and_overwrite(file: &std::fs::File, bytes: &[u8]) {
    let at = map(4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    // SAFETY: the mapping made above, in which nobody else has a part.
    check(unsafe { libc::mprotect(at.cast(), 4096, libc::PROT_READ | libc::PROT_WRITE) }).unwrap();
    // SAFETY: the file's one page.
    unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// Makes this process a real-time one.
pub(crate) fn be_important() {
    let priority: i32 = 1;
    // The raw call, as musl's function of this name does nothing.
    // SAFETY: reads the structure, which is this number.
    let set = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_FIFO,
            &raw const priority,
        )
    };
    assert_eq!(set, 0);
}

/// Prints as C code does, to the buffer of its standard output.
pub(crate) fn print_into_a_buffer(text: &std::ffi::CStr) {
    // SAFETY: a C string, and a format that takes one.
    unsafe { libc::printf(c"%s".as_ptr(), text.as_ptr()) };
}

/// Has this process print something at its end.
pub(crate) fn print_at_exit() {
    extern "C" fn print() {
        // SAFETY: seven bytes.
        unsafe { libc::write(1, c"at exit".as_ptr().cast(), 7) };
    }
    // SAFETY: the function takes nothing and stays.
    unsafe { libc::atexit(print) };
}

/// Sends one packet with descriptors in as many control messages as there are slices.
pub(crate) fn send_with(
    socket: RawFd,
    bytes: &[u8],
    rights: &[RawFd],
    flags: i32,
) -> std::io::Result<()> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = vec![0u64; 256];
    // SAFETY: all-zero is a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if !rights.is_empty() {
        let length = size_of_val(rights) as u32;
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: arithmetic.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as usize;
        // SAFETY: the header describes `control`, which has room for 253 descriptors.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        // SAFETY: as above.
        let message = unsafe { &mut *first };
        message.cmsg_level = libc::SOL_SOCKET;
        message.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: arithmetic.
        message.cmsg_len = unsafe { libc::CMSG_LEN(length) } as usize;
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(first) };
        // SAFETY: as many bytes as the control message was sized for.
        unsafe { data.copy_from_nonoverlapping(rights.as_ptr().cast(), length as usize) };
    }
    // SAFETY: reads what the header describes.
    let sent = unsafe { libc::sendmsg(socket, &raw const header, flags | libc::MSG_NOSIGNAL) };
    check(sent as i32).map(drop)
}

/// Sends one packet.
pub(crate) fn send(socket: RawFd, bytes: &[u8]) -> std::io::Result<()> {
    // SAFETY: reads the bytes, whose number it is told.
    let sent = unsafe {
        libc::send(
            socket,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    check(sent as i32).map(drop)
}

/// Sends one packet with this process's credentials.
pub(crate) fn send_credentials(socket: RawFd, bytes: &[u8]) -> std::io::Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixCredentials, sendmsg};
    let credentials = UnixCredentials::new();
    let control = [ControlMessage::ScmCredentials(&credentials)];
    let parts = [std::io::IoSlice::new(bytes)];
    sendmsg::<()>(socket, &parts, &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

pub(crate) fn set_option<T>(
    socket: RawFd,
    level: i32,
    name: i32,
    value: &T,
) -> std::io::Result<()> {
    // SAFETY: reads the value, whose size it is told.
    check(unsafe {
        libc::setsockopt(
            socket,
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    })
    .map(drop)
}

/// A TCP socket whose close waits for `seconds`: its peer doesn't read, so data is left to send.
pub(crate) fn lingering_socket(seconds: i32) -> (OwnedFd, [OwnedFd; 2]) {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let (peer, _) = listener.accept().expect("its other end");
    stream.set_nonblocking(true).expect("a mode");
    while stream.write(&[0; 65536]).is_ok() {}
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: seconds,
    };
    set_option(
        stream.as_raw_fd(),
        libc::SOL_SOCKET,
        libc::SO_LINGER,
        &linger,
    )
    .expect("SO_LINGER");
    (stream.into(), [peer.into(), listener.into()])
}

/// A child of this process, if there is any, dead or alive. Takes no status.
pub(crate) fn any_child() -> Option<i32> {
    // SAFETY: all-zero is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: writes into the structure.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    if result == -1 {
        return None;
    }
    // SAFETY: filled in, or zero.
    Some(unsafe { info.si_pid() })
}

/// Gives a signal its default action.
pub(crate) fn default_action(signal: i32) {
    // SAFETY: not a function.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores a signal.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: not a function.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

extern "C" fn handler(_: i32) {}

/// Handles a signal by doing nothing.
pub(crate) fn handle(signal: i32) {
    let function = handler as extern "C" fn(i32);
    // SAFETY: the function is safe to call at any time.
    unsafe { libc::signal(signal, function as libc::sighandler_t) };
}

/// Takes over a descriptor by its number.
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller is a test that knows who owns what.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: takes no pointer; whoever owned it is a test, or the library under attack.
    unsafe { libc::close(fd) };
}

/// Runs a part of a test in a forked copy of this process, and gives the copy's number.
pub(crate) fn fork(work: impl FnOnce()) -> nix::unistd::Pid {
    // SAFETY: the tests that fork have one thread, and that of the library's reaper.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Child => {
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            exit(if worked.is_ok() { 0 } else { 101 })
        }
        nix::unistd::ForkResult::Parent { child } => child,
    }
}

/// Waits for a process and gives its exit status.
pub(crate) fn exit_status(pid: nix::unistd::Pid) -> i32 {
    match nix::sys::wait::waitpid(pid, None).expect("waited") {
        nix::sys::wait::WaitStatus::Exited(_, status) => status,
        other => panic!("{other:?}"),
    }
}

/// Runs a part of a test in a forked copy of this process, and gives its exit status.
pub(crate) fn in_fork(work: impl FnOnce()) -> i32 {
    exit_status(fork(work))
}

/// A value that the original of this forked copy still has.
pub(crate) fn copy_in_fork<T>(value: &T) -> T {
    // SAFETY: the copy never uses the one that it was read from.
    unsafe { std::ptr::read(value) }
}

/// Lets programs that are started inherit a descriptor.
pub(crate) fn keep_open(fd: RawFd) {
    // SAFETY: takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
}

/// Handles a signal by doing nothing, and lets it interrupt system calls.
pub(crate) fn handle_interrupting(signal: i32) {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let action = SigAction::new(
        SigHandler::Handler(handler),
        SaFlags::empty(),
        SigSet::empty(),
    );
    let signal = Signal::try_from(signal).expect("a signal");
    // SAFETY: the function is safe to call at any time.
    unsafe { sigaction(signal, &action) }.expect("a handler");
}

/// Moves this process into a mount namespace of its own that has no `/proc`.
pub(crate) fn lose_proc() -> std::io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: the paths are C strings, and nothing else is read.
    check(unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, flags, none.cast()) })?;
    // SAFETY: as above.
    check(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) })?;
    Ok(())
}

/// Runs this in the new process, first of all. It makes system calls only.
pub(crate) fn before_exec(command: &mut std::process::Command, begin: fn() -> std::io::Result<()>) {
    use std::os::unix::process::CommandExt;
    // SAFETY: system calls only.
    unsafe { command.pre_exec(begin) };
}

/// Starts a program so.
pub(crate) fn without_proc(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: system calls only.
    unsafe { command.pre_exec(lose_proc) };
}

/// Leaves a process behind that holds what this one holds, and ends this one.
pub(crate) fn leave_another(time: std::time::Duration, status: i32) -> ! {
    // SAFETY: whoever calls it has one thread.
    if let Ok(nix::unistd::ForkResult::Child) = unsafe { nix::unistd::fork() } {
        // A reader of the test's output need not wait for this one.
        (0..3).for_each(close);
        std::thread::sleep(time);
        exit(0);
    }
    exit(status)
}

/// Gives CAP_NET_RAW to a program file, as `setcap cap_net_raw+ep` does.
pub(crate) fn give_file_capability(program: &std::path::Path) {
    use std::os::unix::ffi::OsStrExt;
    const CAP_NET_RAW: u32 = 13;
    // capabilities(7): revision 2 with the effective bit; what is permitted and inheritable, in two halves.
    let words = [0x0200_0001u32, 1 << CAP_NET_RAW, 0, 0, 0];
    let value = words.map(u32::to_le_bytes).concat();
    let path = std::ffi::CString::new(program.as_os_str().as_bytes()).expect("a path");
    // SAFETY: both names end, and the value is as long as it is said to be.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    check(result).expect("a file system with capabilities");
}

/// Another descriptor of what is open under a number.
pub(crate) fn copy_of(fd: RawFd) -> OwnedFd {
    // SAFETY: takes numbers only.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    adopt(check(copy).expect("a copy"))
}

/// Sets the limit of open descriptors.
pub(crate) fn limit_descriptors(limit: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).expect("a limit");
}

pub(crate) fn check(result: i32) -> std::io::Result<i32> {
    if result == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Makes a system call with these registers.
pub(crate) fn call(number: libc::c_long, arguments: [u64; 6]) -> std::io::Result<libc::c_long> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers' calls write to no memory.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(std::io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// How `clone3(2)` fails that starts nothing.
pub(crate) fn clone3() -> Option<i32> {
    // SAFETY: a size of 0 is refused before anything is read.
    let result = unsafe { libc::syscall(libc::SYS_clone3, 0, 0) };
    let error = (result == -1).then(std::io::Error::last_os_error);
    error.and_then(|error| error.raw_os_error())
}

pub(crate) fn effective_user() -> u32 {
    // SAFETY: can't fail.
    unsafe { libc::geteuid() }
}

/// Ends this thread alone, without its destructors.
pub(crate) fn exit_thread() -> ! {
    loop {
        // SAFETY: ends the thread; its stack stays.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Starts a child that traces this process and never waits for it. It ends after `time`.
pub(crate) fn be_traced_by_a_child(mut until: std::io::PipeReader) {
    use std::io::Read;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let this = std::process::id();
    // Needed under Yama; elsewhere this fails and isn't needed. SAFETY: takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    // SAFETY: whoever calls it has one thread.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Child => {
            drop(reader);
            // SAFETY: no pointers.
            let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, this as i32, 0, 0) };
            if seized != 0 {
                exit(1);
            }
            let _ = std::io::Write::write(&mut &writer, &[1]);
            let _ = until.read(&mut [0]);
            exit(0)
        }
        nix::unistd::ForkResult::Parent { .. } => {
            drop(writer);
            if reader.read(&mut [0]).unwrap_or(0) == 0 {
                exit(9);
            }
        }
    }
}

/// The processor time that this process has used.
pub(crate) fn processor_time() -> std::time::Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .expect("a time")
        .into()
}

/// Sends packets in as few system calls as it takes.
pub(crate) fn send_many(socket: RawFd, packets: &[Vec<u8>]) -> std::io::Result<()> {
    let mut parts: Vec<libc::iovec> = packets
        .iter()
        .map(|packet| libc::iovec {
            iov_base: packet.as_ptr().cast_mut().cast(),
            iov_len: packet.len(),
        })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all-zero is a valid `mmsghdr`.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    let mut rest = &mut headers[..];
    while !rest.is_empty() {
        let count = rest.len() as u32;
        // SAFETY: reads what the headers describe, and writes into them.
        let sent =
            check(unsafe { libc::sendmmsg(socket, rest.as_mut_ptr(), count, libc::MSG_NOSIGNAL) })?;
        rest = &mut rest[sent as usize..];
    }
    Ok(())
}

/// Receives one packet, without its descriptors.
pub(crate) fn receive(socket: RawFd) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    // SAFETY: writes at most as many bytes as there are.
    let count = unsafe { libc::recv(socket, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    bytes.truncate(usize::try_from(count).expect("a packet"));
    bytes
}

/// Gives up the privileges of a set-user-ID program for good.
pub(crate) fn drop_privileges() {
    // SAFETY: can't fail, takes nothing.
    let user = unsafe { libc::getuid() };
    // SAFETY: takes no pointer.
    check(unsafe { libc::setresuid(user, user, user) }).expect("dropped");
}

/// Whether a descriptor is open.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Has a seccomp filter answer a call with an error, in this process and what it starts; needs root.
pub(crate) fn refuse(call: i64, errno: i32) {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (load, equal, ret) = (0x20, 0x15, 0x06);
    let refusal = libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let mut program = [
        instruction(load, 0, 0, 0),
        instruction(equal, 0, 1, u32::try_from(call).unwrap()),
        instruction(ret, 0, 0, refusal),
        instruction(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    load_filter(&mut program);
}

/// Loads a seccomp filter; needs root.
pub(crate) fn load_filter(program: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog {
        len: program.len().try_into().unwrap(),
        filter: program.as_mut_ptr(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: reads the structure, and as many instructions as it says.
    let loaded = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) };
    assert_eq!(loaded, 0, "{}", std::io::Error::last_os_error());
}

/// A system call that this process is answered as by a kernel that doesn't know it.
#[derive(Clone, Copy)]
pub(crate) struct Refused {
    number: i64,
    /// Only where the argument of this place has this value, in its lower half.
    argument: Option<(u32, u32)>,
    errno: i32,
}

impl Refused {
    pub(crate) const fn call(number: i64, errno: i32) -> Self {
        Self {
            number,
            argument: None,
            errno,
        }
    }

    pub(crate) const fn with(number: i64, place: u32, value: u32, errno: i32) -> Self {
        Self {
            number,
            argument: Some((place, value)),
            errno,
        }
    }

    /// Falls through where it is another call. The offsets are those of `seccomp_data`.
    fn filter(&self) -> Vec<libc::sock_filter> {
        let load = |k| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, k);
        let equal = |k, past| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, past, k);
        let errno = libc::SECCOMP_RET_ERRNO | self.errno.unsigned_abs();
        let number = self.number as u32;
        let answer = step(libc::BPF_RET | libc::BPF_K, 0, 0, errno);
        match self.argument {
            None => vec![load(0), equal(number, 1), answer],
            Some((place, value)) => vec![
                load(0),
                equal(number, 3),
                load(16 + 8 * place),
                equal(value, 1),
                answer,
            ],
        }
    }
}

fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

/// Has these calls refused, in this process and in all that it starts, for good.
pub(crate) fn play_a_kernel_without(calls: &[Refused]) {
    let mut filter: Vec<_> = calls.iter().flat_map(Refused::filter).collect();
    let allow = libc::SECCOMP_RET_ALLOW;
    filter.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, allow));
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).unwrap();
    // SAFETY: the kernel copies the structure and the instructions that it tells of.
    check(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    })
    .unwrap();
}

/// Has sockets take all descriptors, as before Linux 6.16, for tests of what else refuses them.
pub(crate) fn play_a_kernel_that_passes_descriptors() {
    play_a_kernel_without(&[Refused::with(
        libc::SYS_setsockopt,
        2,
        SO_PASSRIGHTS as u32,
        libc::ENOPROTOOPT,
    )]);
}

/// Whether private memory can be mapped with this protection.
pub(crate) fn can_map(protection: i32) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    map(4096, protection, flags, -1).is_ok()
}

/// Whether memory can be mapped for sharing.
pub(crate) fn can_share() -> bool {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    map(4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1).is_ok()
}

/// Whether this process may make user namespaces. It must have one thread.
pub(crate) fn has_user_namespaces() -> bool {
    // SAFETY: as the caller says, there is one thread.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Child => {
            let made = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
            exit(i32::from(made.is_err()))
        }
        nix::unistd::ForkResult::Parent { child } => {
            let ended = nix::sys::wait::waitpid(child, None).expect("its child");
            ended == nix::sys::wait::WaitStatus::Exited(child, 0)
        }
    }
}

/// Maps the first page of a file privately. Whether it can be read shows when it is.
pub(crate) fn map_private(file: &std::fs::File) -> usize {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    map(4096, access, libc::MAP_PRIVATE, file.as_raw_fd()).unwrap() as usize
}

/// Writes bytes from a mapping of [`map_private`], and returns how many, or -1.
pub(crate) fn write_from(fd: RawFd, at: usize, count: usize) -> isize {
    // SAFETY: the kernel finds out itself what is there.
    unsafe { libc::write(fd, at as *const libc::c_void, count) }
}

const SO_PASSRIGHTS: i32 = 83;

/// Whether the kernel lets a socket refuse descriptors (Linux 6.16).
pub(crate) fn refuses_descriptors() -> bool {
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, &0i32).is_ok()
}

fn abstract_address(name: &str) -> std::io::Result<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    std::os::unix::net::SocketAddr::from_abstract_name(name)
}

/// Listens on an abstract Unix socket.
pub(crate) fn listen_by_abstract_name(
    name: &str,
) -> std::io::Result<std::os::unix::net::UnixListener> {
    std::os::unix::net::UnixListener::bind_addr(&abstract_address(name)?)
}

/// Connects to an abstract Unix socket.
pub(crate) fn connect_by_abstract_name(name: &str) -> Result<(), i32> {
    let address = abstract_address(name).map_err(|error| error.raw_os_error().unwrap_or(0))?;
    let connected = std::os::unix::net::UnixStream::connect_addr(&address);
    connected
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// Forks, and has each copy fork as long as it lives. Returns whether there is one.
pub(crate) fn fork_without_end() -> bool {
    // SAFETY: this is the only thread, and the copies only fork.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => loop {
            // SAFETY: as above.
            let _ = unsafe { nix::unistd::fork() };
        },
        forked => forked.is_ok(),
    }
}

/// Reads one byte if there is one, or finds that nobody can write any more.
pub(crate) fn read_without_waiting(fd: &impl std::os::fd::AsFd) -> Result<usize, nix::Error> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_SETFL(flags))?;
    nix::unistd::read(fd.as_fd(), &mut [0])
}

/// Finds a message queue of System V.
pub(crate) fn find_queue(key: i32) -> Result<(), i32> {
    // SAFETY: takes numbers only.
    match unsafe { libc::msgget(key, 0) } {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        _ => Ok(()),
    }
}

/// A message queue of System V that everybody may use, until it is dropped.
pub(crate) struct Queue(i32);

impl Queue {
    pub(crate) fn new(key: i32) -> Self {
        // SAFETY: takes numbers only.
        let queue = unsafe { libc::msgget(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o666) };
        assert!(queue >= 0, "{}", std::io::Error::last_os_error());
        Self(queue)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: takes numbers, and a null pointer that isn't read.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// Has closing a socket wait for its peer.
pub(crate) fn linger(socket: RawFd, seconds: i32) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: seconds,
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger).unwrap();
}

/// Receives into a mapping of [`map_private`], or doesn't.
pub(crate) fn receive_into(socket: RawFd, at: usize, count: usize) {
    // SAFETY: the kernel finds out itself what is there.
    unsafe { libc::recv(socket, at as *mut libc::c_void, count, 0) };
}

/// Sets an extended attribute.
pub(crate) fn set_attribute(
    path: &std::path::Path,
    name: &std::ffi::CStr,
    value: &[u8],
) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let (bytes, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: two C strings, and as many bytes as it is told.
    check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), bytes, length, 0) }).map(drop)
}

/// Returns which control groups of version 2 can be mounted: 0 for none that end all at once, 1 for some, 2
/// for some with controllers for memory and processes.
pub(crate) fn control_groups() -> i32 {
    use nix::mount::{MsFlags, mount};
    let release = nix::sys::utsname::uname().expect("a name");
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    if (next(), next()) < (Some(5), Some(14)) {
        return 0;
    }
    // In a copy, whose mounts nobody else sees.
    let pid = fork(|| {
        let mounted = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).and_then(|()| {
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
            // What is mounted there already may be the same, which the kernel refuses on top of itself.
            for kind in [Some("tmpfs"), Some("cgroup2")] {
                mount(kind, "/sys/fs/cgroup", kind, MsFlags::empty(), None::<&str>)?;
            }
            Ok(())
        });
        let has_both = |list: &str| {
            let has = |name| list.split_whitespace().any(|one| one == name);
            has("memory") && has("pids")
        };
        let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
        // In a container, processes can be where controllers are to be handed on.
        let enable = || std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids");
        exit(match (mounted, controllers) {
            (Ok(()), Ok(list)) if has_both(&list) && enable().is_ok() => 2,
            (Ok(()), Ok(_)) => 1,
            _ => 0,
        })
    });
    exit_status(pid)
}

/// The memory that this process shares with another one for long values, as words, if there is some.
pub(crate) fn shared_slots() -> Option<&'static [std::sync::atomic::AtomicU64]> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps
        .lines()
        .find(|line| line.contains("memfd:crossmist-slots"))?;
    let (range, _) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap());
    let words = (end - start) / 8;
    // SAFETY: a mapping that stays as long as the process does in the tests that use this; its words are only
    // ever used as atomics.
    Some(unsafe { std::slice::from_raw_parts(start as *const _, words) })
}

/// Gives the pages of shared memory back to the system, whoever else has mapped them.
pub(crate) fn punch_out(words: &'static [std::sync::atomic::AtomicU64]) -> std::io::Result<()> {
    let at = words.as_ptr().cast_mut().cast();
    // SAFETY: the pages read as zero from here on, which atomics may.
    check(unsafe { libc::madvise(at, size_of_val(words), libc::MADV_REMOVE) }).map(drop)
}
