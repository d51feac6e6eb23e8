//! An attacker takes over a parser: what do they get? `cargo run --example breakout`
//!
//! Each line is something that an attacker would try with the process of a parser, as native code:
//! once in a child without a sandbox, and once under the policy `parser`. The program fails if a
//! confined attempt succeeds.
#![expect(unsafe_code, reason = "it plays the attacker")]

use std::error::Error;
use std::ffi::CString;
use std::io;

use crossmist::{Object, func};

/// An attempt of the attacker.
#[derive(Clone, Copy, Debug, Object)]
struct Attempt {
    index: usize,
    /// The program that called the parser.
    program: u32,
}

#[func]
fn unconfined(attempt: Attempt) -> Result<(), i32> {
    (ATTEMPTS[attempt.index].1)(attempt.program)
}

#[func(sandbox = "parser", wall_time = "2s")]
fn confined(attempt: Attempt) -> Result<(), i32> {
    (ATTEMPTS[attempt.index].1)(attempt.program)
}

type Trick = fn(u32) -> Result<(), i32>;

const ATTEMPTS: &[(&str, Trick)] = &[
    ("read /etc/passwd", |_| open(c"/etc/passwd", libc::O_RDONLY)),
    ("write a new file", |_| {
        open(c"/tmp/crossmist-breakout", libc::O_CREAT | libc::O_WRONLY)
    }),
    ("list the root directory", |_| open(c"/", libc::O_DIRECTORY)),
    ("look at a file's size", |_| {
        let mut stat = [0u64; 64];
        call(
            libc::SYS_newfstatat,
            [
                -100,
                addr(c"/etc/passwd"),
                stat.as_mut_ptr() as i64,
                0,
                0,
                0,
            ],
        )
    }),
    ("make a file readable for all", |_| {
        call(
            libc::SYS_fchmodat,
            [-100, addr(c"/tmp/crossmist-breakout"), 0o644, 0, 0, 0],
        )
    }),
    ("delete a file", |_| {
        call(
            libc::SYS_unlinkat,
            [-100, addr(c"/tmp/crossmist-breakout"), 0, 0, 0, 0],
        )
    }),
    ("open a TCP socket", |_| {
        socket(libc::AF_INET, libc::SOCK_STREAM)
    }),
    ("open a UDP socket", |_| {
        socket(libc::AF_INET, libc::SOCK_DGRAM)
    }),
    ("open a Unix socket", |_| {
        socket(libc::AF_UNIX, libc::SOCK_STREAM)
    }),
    ("execute a shell", |_| {
        let shell = CString::new("/bin/true").map_err(|_| 0)?;
        let arguments = [shell.as_ptr(), std::ptr::null()];
        let pid = call_for(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0]);
        let execute = || {
            call(
                libc::SYS_execve,
                [shell.as_ptr() as i64, arguments.as_ptr() as i64, 0, 0, 0, 0],
            )
        };
        match pid {
            Ok(0) => {
                let _ = execute();
                // SAFETY: ends the copy.
                unsafe { libc::_exit(1) }
            }
            Ok(_) => Ok(()),
            // Then replace this process itself.
            Err(_) => execute(),
        }
    }),
    ("fork", |_| {
        match call_for(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0])? {
            // SAFETY: ends the copy.
            0 => unsafe { libc::_exit(0) },
            _ => Ok(()),
        }
    }),
    ("signal the program", |program| {
        call(libc::SYS_kill, [program.into(), 0, 0, 0, 0, 0])
    }),
    ("read the program's memory", |program| {
        let mut byte = [0u8; 8];
        let here = [byte.as_mut_ptr() as u64, 8];
        let there = [here.as_ptr() as u64, 8];
        match call(
            libc::SYS_process_vm_readv,
            [
                program.into(),
                here.as_ptr() as i64,
                1,
                there.as_ptr() as i64,
                1,
                0,
            ],
        ) {
            // It may look, but there was nothing at this address.
            Err(libc::EFAULT) => Ok(()),
            result => result,
        }
    }),
    ("trace the program", |program| {
        const SEIZE: i64 = 0x4206;
        call(libc::SYS_ptrace, [SEIZE, program.into(), 0, 0, 0, 0])
    }),
    ("memory that is writable and code", |_| {
        call(libc::SYS_mmap, [0, 4096, 7, 0x22, -1, 0])
    }),
    ("a program in memory (memfd)", |_| {
        call(libc::SYS_memfd_create, [addr(c"x"), 0, 0, 0, 0, 0])
    }),
    ("io_uring", |_| {
        let mut parameters = [0u64; 32];
        call(
            libc::SYS_io_uring_setup,
            [1, parameters.as_mut_ptr() as i64, 0, 0, 0, 0],
        )
    }),
    ("user namespace", |_| {
        call(
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0, 0],
        )
    }),
    ("userfaultfd", |_| {
        call(libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0])
    }),
    ("outlive the program", |_| {
        call(
            libc::SYS_prctl,
            [libc::PR_SET_PDEATHSIG.into(), 0, 0, 0, 0, 0],
        )
    }),
    ("take root's user id", |_| {
        call(libc::SYS_setresuid, [0, 0, 0, 0, 0, 0])
    }),
    ("a call of i386", |_| old_call()),
    ("a forged answer: garbage", |_| forge(&[0x41; 200])),
    ("a forged answer: code", |_| {
        // A header that announces a code reference, and one that leads somewhere.
        let mut packet = vec![0xC1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        packet.resize(32, 0);
        packet.push(0);
        packet.extend(0x1000u64.to_le_bytes());
        forge(&packet)
    }),
];

fn call_for(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> Result<i64, i32> {
    // SAFETY: whatever it does to this process, the process is there for it.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        result => Ok(result),
    }
}

fn call(number: i64, arguments: [i64; 6]) -> Result<(), i32> {
    call_for(number, arguments).map(drop)
}

fn addr(text: &std::ffi::CStr) -> i64 {
    text.as_ptr() as i64
}

fn open(path: &std::ffi::CStr, flags: i32) -> Result<(), i32> {
    call(
        libc::SYS_openat,
        [-100, addr(path), flags.into(), 0o600, 0, 0],
    )
}

fn socket(domain: i32, kind: i32) -> Result<(), i32> {
    call(libc::SYS_socket, [domain.into(), kind.into(), 0, 0, 0, 0])
}

#[cfg(target_arch = "x86_64")]
fn old_call() -> Result<(), i32> {
    let result: i64;
    // SAFETY: call 20 of i386 is `getpid`, which changes nothing.
    unsafe { std::arch::asm!("int 0x80", inlateout("rax") 20i64 => result, options(nostack)) };
    match result {
        result if result > 0 => Ok(()),
        error => Err(-error as i32),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn old_call() -> Result<(), i32> {
    Err(libc::ENOSYS)
}

/// Sends bytes over every socket, where the answer is expected, and exits.
fn forge(packet: &[u8]) -> Result<(), i32> {
    for descriptor in 3..64 {
        let packet = (packet.as_ptr() as i64, packet.len() as i64);
        let _ = call(
            libc::SYS_sendto,
            [descriptor, packet.0, packet.1, 0x4000, 0, 0],
        );
    }
    // SAFETY: ends the process, before the library could answer.
    unsafe { libc::_exit(0) }
}

/// Says how an attempt ended, and whether the attacker gained anything.
fn describe(result: Result<Result<(), i32>, crossmist::Error>) -> (String, bool) {
    use crossmist::Error;
    match result {
        Ok(Ok(())) => ("succeeds".to_owned(), true),
        Ok(Err(errno)) => {
            let error = io::Error::from_raw_os_error(errno).to_string();
            let (text, _) = error.split_once(" (").unwrap_or((&error, ""));
            (text.to_owned(), false)
        }
        Err(Error::Violation(violation)) => match violation.claim {
            Some(claim) => {
                let name = claim.call.split('(').next().unwrap_or_default().to_owned();
                (format!("ended for {name}"), false)
            }
            None => ("killed at once".to_owned(), false),
        },
        Err(Error::Malformed(_) | Error::Decode(_)) => ("refused by the caller".to_owned(), false),
        Err(Error::Exited { .. }) => ("the process is replaced".to_owned(), true),
        Err(error) => (error.to_string(), false),
    }
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:34} {:28} under `parser`",
        "the attacker tries to", "without a sandbox"
    );
    let mut escaped = 0;
    for (index, (name, _)) in ATTEMPTS.iter().enumerate() {
        let attempt = Attempt {
            index,
            program: std::process::id(),
        };
        let (outside, _) = describe(unconfined.run(attempt));
        let (inside, got_through) = describe(confined.run(attempt));
        println!("{name:34} {outside:28} {inside}");
        escaped += usize::from(got_through);
    }
    // Remove what the unconfined attempts may have left.
    let _ = std::fs::remove_file("/tmp/crossmist-breakout");
    match escaped {
        0 => Ok(()),
        _ => Err(format!("{escaped} attempts succeeded in the sandbox").into()),
    }
}
