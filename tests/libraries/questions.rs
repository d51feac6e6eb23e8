//! Questions that libraries ask, at sizes that matter, and the answers that they get.

#![expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "it asks the C library directly; what a line of the table passes lives as long as the call"
)]

use std::ffi::CStr;
use std::ptr;

use libc::{c_int, c_long, c_void};

/// Something that a library does of its own accord.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) ask: fn() -> Result<i64, i32>,
    pub(crate) outside: Expected,
    /// Under `pure`, and under every other policy that has nothing else to say.
    inside: Expected,
    others: &'static [(&'static str, Expected)],
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Exactly this.
    Is(i64),
    /// A number that isn't below this one.
    AtLeast(i64),
    /// This error.
    Fails(i32),
    /// An answer, or this error: what there is depends on the machine.
    OrFails(i32),
    /// Some error.
    AnyError,
}
use Expected::{AnyError, AtLeast, Fails, Is, OrFails};

impl Expected {
    pub(crate) fn allows(&self, found: Result<i64, i32>) -> bool {
        match (self, found) {
            (Is(value), Ok(found)) => found == *value,
            (AtLeast(least), Ok(found)) => found >= *least,
            (Fails(errno) | OrFails(errno), Err(found)) => found == *errno,
            (OrFails(_), Ok(_)) | (AnyError, Err(_)) => true,
            _ => false,
        }
    }
}

impl Question {
    pub(crate) fn under(&self, policy: &str) -> &Expected {
        let other = self.others.iter().find(|(name, _)| *name == policy);
        other.map_or(&self.inside, |(_, expected)| expected)
    }
}

const fn same(
    name: &'static str,
    ask: fn() -> Result<i64, i32>,
    outside: Expected,
    inside: Expected,
) -> Question {
    Question {
        name,
        ask,
        outside,
        inside,
        others: &[],
    }
}

const fn apart(
    name: &'static str,
    ask: fn() -> Result<i64, i32>,
    outside: Expected,
    inside: Expected,
    others: &'static [(&'static str, Expected)],
) -> Question {
    Question {
        name,
        ask,
        outside,
        inside,
        others,
    }
}

/// Calls that start threads.
const THREADS: &[(&str, Expected)] = &[
    ("parser", Is(0)),
    ("file-reader", Is(0)),
    ("worker", Is(0)),
    ("network-client", Is(0)),
];

#[rustfmt::skip]
pub(crate) const QUESTIONS: &[Question] = &[
    // Sorting, memory, buffers.
    same("qsort of 300 elements", || sorts(300), Is(1), Is(1)),
    same("qsort of 100,000 elements", || sorts(100_000), Is(1), Is(1)),
    #[cfg(target_env = "gnu")]
    same("malloc_trim", || { free_much(); done(unsafe { libc::malloc_trim(0) }).map(|_| 0) }, Is(0), Is(0)),
    same("memory that is filled at once", populated, Is(0), Is(0)),
    same("printf to a standard output that is closed", prints_to_nothing, Fails(libc::EBADF), Fails(libc::EBADF)),
    // Descriptors.
    same("isatty", || if unsafe { libc::isatty(0) } == 1 { Ok(1) } else { Err(errno()) }, Fails(libc::ENOTTY), Fails(libc::ENOTTY)),
    same("isatty of glibc 2.42", || syscall(libc::SYS_ioctl, [0, 0x802c_542a, 0, 0, 0]), Fails(libc::ENOTTY), Fails(libc::ENOTTY)),
    same("tcgetpgrp", || done(unsafe { libc::tcgetpgrp(0) }), Fails(libc::ENOTTY), Fails(libc::ENOTTY)),
    same("F_GETPIPE_SZ of what is no pipe", || done(unsafe { libc::fcntl(0, libc::F_GETPIPE_SZ) }), Fails(libc::EBADF), Fails(libc::EINVAL)),
    same("fpathconf", || Ok(unsafe { libc::fpathconf(0, libc::_PC_NAME_MAX) }), Is(255), Is(255)),
    same("select as a way to sleep", sleeps_by_select, Is(0), Is(0)),
    // The process.
    same("every sysconf there is", || { (0..400).for_each(|n| { unsafe { libc::sysconf(n) }; }); Ok(0) }, Is(0), Is(0)),
    same("sysconf of open files", || Ok(unsafe { libc::sysconf(libc::_SC_OPEN_MAX) }), AtLeast(1), AtLeast(1)),
    same("sysconf of memory", || Ok(unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) }), AtLeast(1024), AtLeast(1024)),
    same("sysconf of processors", || Ok(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }), AtLeast(1), AtLeast(1)),
    same("sysconf of processors that are switched off", || Ok(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }), AtLeast(1), AtLeast(1)),
    same("getdtablesize", || Ok(unsafe { libc::getdtablesize() }.into()), AtLeast(1), AtLeast(1)),
    same("getuid and relatives", ids, AtLeast(0), AtLeast(0)),
    same("getgroups", || done(unsafe { libc::getgroups(0, ptr::null_mut()) }), AtLeast(0), AtLeast(0)),
    same("getpgrp, getsid and getppid", || Ok(i64::from(unsafe { libc::getpgrp() | libc::getsid(0) | libc::getppid() } >= 0)), Is(1), Is(1)),
    same("getpriority", || Ok(unsafe { libc::getpriority(libc::PRIO_PROCESS as _, 0) }.into()), AtLeast(-20), AtLeast(-20)),
    same("ioprio_get", || syscall(libc::SYS_ioprio_get, [1, 0, 0, 0, 0]), AtLeast(0), AtLeast(0)),
    same("sched_getscheduler", || done(unsafe { libc::sched_getscheduler(0) }), Is(0), Is(0)),
    same("sched_getparam", || { let mut own: libc::sched_param = zeroed(); done(unsafe { libc::sched_getparam(0, &raw mut own) }) }, Is(0), Is(0)),
    same("sched_getattr of GLib's pools", || { let mut own = [0u64; 16]; let size = size_of_val(&own); syscall(libc::SYS_sched_getattr, [std::process::id().into(), own.as_mut_ptr() as _, size as _, 0, 0]) }, Is(0), Is(0)),
    same("sched_rr_get_interval", || { let mut time: libc::timespec = zeroed(); done(unsafe { libc::sched_rr_get_interval(0, &raw mut time) }) }, Is(0), Is(0)),
    same("sched_get_priority_max and min", || Ok(unsafe { libc::sched_get_priority_max(libc::SCHED_FIFO) - libc::sched_get_priority_min(libc::SCHED_FIFO) }.into()), Is(98), Is(98)),
    same("getcpu", || done(unsafe { libc::sched_getcpu() }), AtLeast(0), AtLeast(0)),
    same("getcpu without the vDSO", || { let mut own = [0u32; 2]; syscall(libc::SYS_getcpu, [own.as_mut_ptr() as _, 0, 0, 0, 0]) }, Is(0), Is(0)),
    same("get_mempolicy of libnuma", || syscall(libc::SYS_get_mempolicy, [0; 5]), OrFails(libc::ENOSYS), Fails(libc::ENOSYS)),
    same("getrusage", || { let mut own: libc::rusage = zeroed(); done(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut own) })?; Ok(own.ru_maxrss) }, AtLeast(1), AtLeast(1)),
    same("times", || { let mut own: libc::tms = zeroed(); Ok((unsafe { libc::times(&raw mut own) } != -1).into()) }, Is(1), Is(1)),
    same("getitimer", || { let mut time: libc::itimerval = zeroed(); done(unsafe { libc::getitimer(libc::ITIMER_REAL, &raw mut time) }) }, Is(0), Is(0)),
    same("sigpending", || { let mut set: libc::sigset_t = zeroed(); done(unsafe { libc::sigpending(&raw mut set) }) }, Is(0), Is(0)),
    same("umask, asked by setting it", || { let own = unsafe { libc::umask(0o077) }; unsafe { libc::umask(own) }; Ok((own <= 0o777).into()) }, Is(1), Is(1)),
    same("PR_GET_NAME", || { let mut name = [0u8; 16]; done(unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) })?; Ok((name[0] != 0).into()) }, Is(1), Is(1)),
    same("PR_GET_DUMPABLE", || done(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }), AtLeast(0), Is(0)),
    same("PR_GET_SECCOMP", || done(unsafe { libc::prctl(libc::PR_GET_SECCOMP) }), AtLeast(0), Is(2)),
    same("PR_GET_NO_NEW_PRIVS", || done(unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) }), AtLeast(0), Is(1)),
    same("PR_GET_THP_DISABLE", || done(unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) }), AtLeast(0), AtLeast(0)),
    same("capget", || { let header = [0x2008_0522u32, 0]; let mut sets = [0u32; 6]; syscall(libc::SYS_capget, [header.as_ptr() as _, sets.as_mut_ptr() as _, 0, 0, 0]) }, Is(0), Fails(libc::EPERM)),
    #[cfg(target_arch = "x86_64")]
    same("the matrix unit of x86", || syscall(libc::SYS_arch_prctl, [0x1022, &mut 0u64 as *mut u64 as _, 0, 0, 0]), OrFails(libc::EINVAL), Fails(libc::EINVAL)),
    same("personality, to ask", || done(unsafe { libc::personality(0xffff_ffff) }), AtLeast(0), AtLeast(0)),
    same("wait for children that there are none of", || done(unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) }), Fails(libc::ECHILD), Fails(libc::ECHILD)),
    same("a processor clock of another process", || { let mut clock = 0; done(unsafe { libc::clock_getcpuclockid(1, &raw mut clock) }).and_then(|n| if n == 0 { Ok(0) } else { Err(n as i32) }) }, Is(0), OrFails(libc::ESRCH)),
    same("msync of libunwind", || { let here = (ptr::from_ref(QUESTIONS).cast::<c_void>() as usize & !4095) as *mut c_void; done(unsafe { libc::msync(here, 1, libc::MS_ASYNC) }) }, Is(0), Is(0)),
    same("mincore of libunwind", mincore, Is(0), Fails(libc::ENOSYS)),
    // The machine.
    apart("gethostname", host_name, AtLeast(1), AtLeast(1), &[]),
    apart("uname's release", release, AtLeast(5), Is(5), &[("worker", AtLeast(5)), ("network-client", AtLeast(5))]),
    apart("sysinfo's count of processes", processes, AtLeast(2), Is(1), &[("worker", AtLeast(2)), ("network-client", AtLeast(2))]),
    apart("getloadavg", || { let mut loads = [0.0; 3]; Ok(unsafe { libc::getloadavg(loads.as_mut_ptr(), 3) }.into()) }, Is(3), AtLeast(-1), &[]),
    // Users, names, places, texts.
    apart("getpwuid", || Ok((!unsafe { libc::getpwuid(0) }.is_null()).into()), Is(1), Is(0), &[]),
    apart("getgrgid", || Ok((!unsafe { libc::getgrgid(0) }.is_null()).into()), Is(1), Is(0), &[]),
    same("getaddrinfo of a number", || addresses(c"127.0.0.1"), Is(0), Is(0)),
    same("localtime", || { let time = 0; Ok((!unsafe { libc::localtime(&raw const time) }.is_null()).into()) }, Is(1), Is(1)),
    same("setlocale", || Ok((!unsafe { libc::setlocale(libc::LC_ALL, c"C".as_ptr()) }.is_null()).into()), Is(1), Is(1)),
    same("a locale that isn't there", || Ok((!unsafe { libc::setlocale(libc::LC_ALL, c"xx_XX.UTF-8".as_ptr()) }.is_null()).into()), OrFails(0), OrFails(0)),
    same("iconv", converts, Is(3), Is(3)),
    same("gettimeofday", || { let mut time: libc::timeval = zeroed(); done(unsafe { libc::gettimeofday(&raw mut time, ptr::null_mut()) }) }, Is(0), Is(0)),
    same("random bytes of the best kind", || { let mut bytes = [0u8; 16]; done(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), 16, libc::GRND_RANDOM) } as c_int) }, Is(16), Is(16)),
    same("syslog", || { unsafe { libc::syslog(libc::LOG_DEBUG, c"a test".as_ptr()) }; Ok(0) }, Is(0), Is(0)),
    same("a library that isn't there", || Ok((!unsafe { libc::dlopen(c"libnot-there.so.1".as_ptr(), libc::RTLD_NOW) }.is_null()).into()), Is(0), Is(0)),
    same("a temporary file", temporary_file, Is(0), Fails(libc::EACCES)),
    // Programs.
    // Its error is the C library's own, where a pipe can be made.
    apart("popen", popens, Is(0), Fails(libc::EPERM), &[("worker", AnyError), ("network-client", AnyError)]),
    same("system", || { let status = unsafe { libc::system(c"true".as_ptr()) }; if status == -1 { Err(errno()) } else { Ok(status.into()) } }, Is(0), OrFails(libc::EAGAIN)),
    // Locks and threads.
    same("a lock that inherits priority", inheriting_lock, Is(0), Is(libc::ENOTSUP as i64)),
    apart("a thread that asks about itself", || in_a_thread(thread_asks), Is(0), Fails(libc::EAGAIN), THREADS),
    apart("arenas for many threads", || { for _ in 0..12 { in_a_thread(|| { free_much(); 0 })?; } Ok(0) }, Is(0), Fails(libc::EAGAIN), THREADS),
];

fn errno() -> i32 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default()
}

fn done(result: c_int) -> Result<i64, i32> {
    match result {
        -1 => Err(errno()),
        result => Ok(result.into()),
    }
}

fn syscall(number: c_long, [a, b, c, d, e]: [u64; 5]) -> Result<i64, i32> {
    // SAFETY: the questions pass what the call wants; it changes nothing but what it answers into.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => Err(errno()),
        result => Ok(result),
    }
}

/// A structure of the system's that is plain numbers and addresses.
fn zeroed<T: Copy>() -> T {
    // SAFETY: the types that it is used with are valid as zeros.
    unsafe { std::mem::zeroed() }
}

extern "C" fn compare(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: `qsort` passes elements of the vector.
    let (a, b) = unsafe { (*a.cast::<u64>(), *b.cast::<u64>()) };
    a.cmp(&b) as c_int
}

/// More than a kilobyte: glibc up to 2.41 asks how much memory there is, for a copy.
fn sorts(count: usize) -> Result<i64, i32> {
    let mut state = 1u64;
    let mut values: Vec<u64> = (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 20
        })
        .collect();
    // SAFETY: as many elements of that size as there are.
    unsafe { libc::qsort(values.as_mut_ptr().cast(), count, 8, Some(compare)) };
    Ok(values.is_sorted().into())
}

fn free_much() {
    for size in [100, 10_000, 1_000_000] {
        // SAFETY: nothing but an allocation, which is freed.
        unsafe { libc::free(libc::malloc(size)) };
    }
}

fn populated() -> Result<i64, i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping.
    let found = unsafe { libc::mmap(ptr::null_mut(), 1 << 20, prot, flags, -1, 0) };
    if found == libc::MAP_FAILED {
        return Err(errno());
    }
    // SAFETY: the one just made.
    done(unsafe { libc::munmap(found, 1 << 20) })
}

fn prints_to_nothing() -> Result<i64, i32> {
    // SAFETY: nothing here uses standard output but this.
    unsafe {
        libc::close(1);
        libc::printf(c"%d words\n".as_ptr(), 3);
        done(libc::fflush(ptr::null_mut()))
    }
}

fn sleeps_by_select() -> Result<i64, i32> {
    let mut time = libc::timeval {
        tv_sec: 0,
        tv_usec: 100,
    };
    let none = ptr::null_mut();
    // SAFETY: no sets, and a time.
    done(unsafe { libc::select(0, none, none, none, &raw mut time) })
}

fn ids() -> Result<i64, i32> {
    let mut ids = [0; 6];
    let [a, b, c, d, e, f] = &mut ids;
    // SAFETY: each has its place.
    unsafe {
        done(libc::getresuid(a, b, c))?;
        done(libc::getresgid(d, e, f))?;
    }
    // SAFETY: take nothing.
    let own = unsafe {
        [
            libc::getuid(),
            libc::geteuid(),
            libc::getgid(),
            libc::getegid(),
        ]
    };
    assert_eq!(own, [ids[0], ids[1], ids[3], ids[4]]);
    Ok(ids[0].into())
}

fn mincore() -> Result<i64, i32> {
    let here = (std::ptr::from_ref(QUESTIONS) as *const c_void as u64) & !4095;
    let mut answer = [0u8; 16];
    syscall(
        libc::SYS_mincore,
        [here, 1, answer.as_mut_ptr() as u64, 0, 0],
    )
}

fn host_name() -> Result<i64, i32> {
    let mut name = [0u8; 256];
    // SAFETY: of that length.
    done(unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) })?;
    let name = CStr::from_bytes_until_nul(&name).expect("an end");
    Ok(i64::try_from(name.to_bytes().len()).unwrap())
}

/// The first number of the kernel's release.
fn release() -> Result<i64, i32> {
    let mut own: libc::utsname = zeroed();
    // SAFETY: what it asks for.
    done(unsafe { libc::uname(&raw mut own) })?;
    // SAFETY: the kernel, or what answers for it, has put an end there.
    let release = unsafe { CStr::from_ptr(own.release.as_ptr()) };
    let release = release.to_str().expect("text");
    let first = release.split('.').next().unwrap_or_default();
    Ok(first.parse().expect("a number"))
}

fn processes() -> Result<i64, i32> {
    let mut own: libc::sysinfo = zeroed();
    // SAFETY: what it asks for.
    done(unsafe { libc::sysinfo(&raw mut own) })?;
    assert!(own.totalram > 0 && own.mem_unit > 0 && own.uptime > 0);
    assert!(own.freeram <= own.totalram);
    Ok(own.procs.into())
}

fn addresses(name: &CStr) -> Result<i64, i32> {
    let mut hints: libc::addrinfo = zeroed();
    hints.ai_flags = libc::AI_NUMERICHOST | libc::AI_ADDRCONFIG;
    let mut found = ptr::null_mut();
    // SAFETY: what it asks for; the list is not used.
    Ok(
        unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut found) }
            .into(),
    )
}

/// A text of one letter that takes two bytes, and how long it is in UTF-8 with its end.
fn converts() -> Result<i64, i32> {
    // Forms that every C library has built in.
    // SAFETY: two names.
    let with = unsafe { libc::iconv_open(c"UTF-8".as_ptr(), c"UCS-4LE".as_ptr()) };
    if with as isize == -1 {
        return Err(errno());
    }
    let mut from = [0xe9u8, 0, 0, 0, b'!', 0, 0, 0];
    let mut to = [0u8; 8];
    let (mut input, mut output) = (from.as_mut_ptr().cast(), to.as_mut_ptr().cast());
    let (mut left, mut room) = (from.len(), to.len());
    // SAFETY: the buffers are as long as it is told.
    unsafe {
        libc::iconv(
            with,
            &raw mut input,
            &raw mut left,
            &raw mut output,
            &raw mut room,
        );
        libc::iconv_close(with);
    }
    Ok(i64::try_from(to.len() - room).unwrap())
}

fn temporary_file() -> Result<i64, i32> {
    // SAFETY: takes nothing; what it made is closed.
    unsafe {
        let file = libc::tmpfile();
        if file.is_null() {
            // It may say that there is no such folder.
            return match errno() {
                libc::ENOENT => Err(libc::EACCES),
                other => Err(other),
            };
        }
        libc::fclose(file);
    }
    Ok(0)
}

fn popens() -> Result<i64, i32> {
    // SAFETY: texts; what it made is closed.
    unsafe {
        let stream = libc::popen(c"exit 0".as_ptr(), c"r".as_ptr());
        if stream.is_null() {
            return Err(errno());
        }
        Ok(libc::pclose(stream).into())
    }
}

/// The C library tries at its first use whether the kernel has such locks.
fn inheriting_lock() -> Result<i64, i32> {
    let mut attributes: libc::pthread_mutexattr_t = zeroed();
    let mut lock: libc::pthread_mutex_t = zeroed();
    // SAFETY: initialised in order, and not moved.
    unsafe {
        libc::pthread_mutexattr_init(&raw mut attributes);
        libc::pthread_mutexattr_setprotocol(&raw mut attributes, libc::PTHREAD_PRIO_INHERIT);
        Ok(libc::pthread_mutex_init(&raw mut lock, &raw const attributes).into())
    }
}

/// Runs it in a thread that is started without `std`.
fn in_a_thread(work: fn() -> i64) -> Result<i64, i32> {
    extern "C" fn run(work: *mut c_void) -> *mut c_void {
        // SAFETY: the function that was passed.
        let work: fn() -> i64 = unsafe { std::mem::transmute(work) };
        work() as *mut c_void
    }
    let mut thread = zeroed();
    // SAFETY: `run` takes what is passed.
    let failed =
        unsafe { libc::pthread_create(&raw mut thread, ptr::null(), run, work as *mut c_void) };
    if failed != 0 {
        return Err(failed);
    }
    let mut result = ptr::null_mut();
    // SAFETY: the thread just made.
    unsafe { libc::pthread_join(thread, &raw mut result) };
    Ok(result as i64)
}

/// Asks for its stack, its name, and its scheduling; the last may stay unknown.
fn thread_asks() -> i64 {
    let mut attributes: libc::pthread_attr_t = zeroed();
    let (mut stack, mut size) = (ptr::null_mut(), 0);
    let mut name = [0u8; 16];
    let (mut policy, mut parameters) = (0, zeroed());
    // SAFETY: each has its place; the attributes are initialised by the first.
    unsafe {
        let own = libc::pthread_self();
        let failed = libc::pthread_getattr_np(own, &raw mut attributes);
        if failed != 0 {
            return failed.into();
        }
        libc::pthread_attr_getstack(&raw const attributes, &raw mut stack, &raw mut size);
        assert!(!stack.is_null() && size > 0);
        let failed = libc::pthread_getname_np(own, name.as_mut_ptr().cast(), name.len());
        if failed != 0 {
            return failed.into();
        }
        libc::pthread_getschedparam(own, &raw mut policy, &raw mut parameters);
    }
    0
}
