// The table and its work, for each program that runs it with an allocator of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime};

use crossmist::{Error, Object, Receiver, SandboxPolicy, Sender, channel, func};
use support::memory::MIB;

fn main() {
    crossmist::init();
    support::main(
        cases![
            honest_work_comes_out_the_same_under_every_policy,
            ends_are_what_they_are_outside,
            passed_files_and_sockets_work_under_every_policy,
            an_event_loop_runs_in_a_worker,
            a_child_writes_as_much_memory_as_its_policy_says_and_no_more,
            memory_that_ends_is_told_as_the_limit_that_it_is,
            a_client_reaches_the_ports_that_are_granted_and_no_other needs Ports,
        ],
        cases![],
    );
}

/// The built-in policies, as they are: no allocator needs other ones.
const POLICIES: [&str; 5] = ["pure", "parser", "worker", "file-reader", "unconfined"];

/// A built-in policy with another limit on memory.
fn with_memory(name: &str, memory: &str) -> SandboxPolicy {
    support::in_time(name, Duration::from_secs(60), &format!("memory = \"{memory}\""))
}

/// A piece of work.
#[derive(Clone, Copy, Debug, Object, PartialEq)]
enum Work {
    GrowAndSort,
    MapsAndText,
    CatchAPanic,
    Clocks,
    Random,
    Threads,
    ThreadNames,
    WaitForEachOther,
    OpenAFile,
    ListAFolder,
    StartAProgram,
    ConnectSomewhere,
    CountProcessors,
    Print,
    Backtrace,
}

const ALL: [Work; 15] = [
    Work::GrowAndSort,
    Work::MapsAndText,
    Work::CatchAPanic,
    Work::Clocks,
    Work::Random,
    Work::Threads,
    Work::ThreadNames,
    Work::WaitForEachOther,
    Work::OpenAFile,
    Work::ListAFolder,
    Work::StartAProgram,
    Work::ConnectSomewhere,
    Work::CountProcessors,
    Work::Print,
    Work::Backtrace,
];

fn errno<T>(result: std::io::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => failed(&error),
    }
}

/// The number of an error, which says more than its kind.
fn failed(error: &std::io::Error) -> String {
    format!("error {}", error.raw_os_error().unwrap_or(0))
}

#[func(sandbox = dynamic)]
fn work(what: Work) -> String {
    match what {
        Work::GrowAndSort => {
            let mut numbers: Vec<u64> = Vec::new();
            for number in 0..200_000u64 {
                numbers.push(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            }
            numbers.sort_unstable();
            let large = vec![1u8; 40 << 20];
            let sum: u64 = large.iter().step_by(4096).map(|byte| u64::from(*byte)).sum();
            format!("{} {}", numbers[1000], sum)
        }
        Work::MapsAndText => {
            let mut counts: HashMap<String, usize> = HashMap::new();
            for number in 0..10_000 {
                *counts.entry(format!("key {}", number % 97)).or_default() += 1;
            }
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort();
            format!("{} {:?}", counts.len(), counts[3])
        }
        Work::CatchAPanic => {
            let caught = std::panic::catch_unwind(|| {
                let empty: [u8; 0] = [];
                std::hint::black_box(&empty)[std::hint::black_box(3)]
            });
            format!("{}", caught.is_err())
        }
        Work::Clocks => {
            let begun = Instant::now();
            std::thread::sleep(Duration::from_millis(5));
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            format!("{} {}", begun.elapsed() >= Duration::from_millis(5), since.as_secs() > 1 << 30)
        }
        Work::Random => {
            use std::hash::{BuildHasher, RandomState};
            let first = RandomState::new().hash_one(1);
            format!("{}", first != RandomState::new().hash_one(1))
        }
        Work::Threads => {
            let (sender, receiver) = mpsc::channel();
            for number in 0..4 {
                let sender = sender.clone();
                let thread = std::thread::Builder::new().spawn(move || {
                    let memory = vec![number; 100_000];
                    sender.send(memory.iter().sum::<u64>()).unwrap();
                });
                if let Err(error) = thread {
                    return failed(&error);
                }
            }
            drop(sender);
            format!("{}", receiver.iter().sum::<u64>())
        }
        Work::ThreadNames => {
            let named = std::thread::Builder::new()
                .name("named".to_owned())
                .spawn(|| std::thread::current().name().map(str::to_owned));
            match named {
                Ok(thread) => format!("{:?}", thread.join().unwrap()),
                Err(error) => failed(&error),
            }
        }
        Work::WaitForEachOther => {
            let shared = Arc::new((Mutex::new(false), Condvar::new()));
            let other = Arc::clone(&shared);
            let thread = std::thread::Builder::new().spawn(move || {
                *other.0.lock().unwrap() = true;
                other.1.notify_one();
            });
            if let Err(error) = thread {
                return failed(&error);
            }
            let mut ready = shared.0.lock().unwrap();
            while !*ready {
                ready = shared.1.wait_timeout(ready, Duration::from_secs(1)).unwrap().0;
            }
            "met".to_owned()
        }
        Work::OpenAFile => errno(File::open("/etc/passwd")),
        Work::ListAFolder => errno(std::fs::read_dir("/")),
        Work::StartAProgram => errno(std::process::Command::new("/bin/true").status()),
        Work::ConnectSomewhere => match UnixStream::pair() {
            Ok((mut ours, mut theirs)) => {
                ours.write_all(b"x").unwrap();
                let mut byte = [0];
                theirs.read_exact(&mut byte).unwrap();
                "paired".to_owned()
            }
            Err(error) => failed(&error),
        },
        Work::CountProcessors => match std::thread::available_parallelism() {
            Ok(_) => "counted".to_owned(),
            Err(error) => failed(&error),
        },
        Work::Print => {
            let mut out = std::io::stdout();
            let written = out.write_all(b"printed\n").and_then(|()| out.flush());
            errno(written.and_then(|()| std::io::stderr().write_all(b"printed\n")))
        }
        Work::Backtrace => {
            let text = std::backtrace::Backtrace::force_capture().to_string();
            format!("{}", !text.is_empty())
        }
    }
}

/// Returns a policy's answer that differs from that of the world outside of it.
fn otherwise(policy: &str, what: Work) -> Option<&'static str> {
    let no_threads = policy == "pure";
    Some(match (what, policy) {
        (_, "unconfined") => return None,
        (Work::Threads | Work::ThreadNames | Work::WaitForEachOther, _) if no_threads => {
            "error 11"
        }
        (Work::OpenAFile | Work::ListAFolder, _) => "error 13",
        (Work::StartAProgram, _) => "error 11",
        (Work::ConnectSomewhere, policy) if policy != "worker" => "error 1",
        _ => return None,
    })
}

fn honest_work_comes_out_the_same_under_every_policy() {
    let mut wrong = Vec::new();
    for name in POLICIES {
        let policy = support::builtin(name);
        for what in ALL {
            let outside = work.call_unconfined(what);
            let expected = otherwise(name, what).unwrap_or(&outside);
            match work.sandbox(&policy).run(what) {
                Ok(found) if found == expected => {}
                // A machine's processors can't be counted without files; std says so.
                Ok(found) if what == Work::CountProcessors && found == "error 1" => {}
                Ok(found) => wrong.push(format!("{name}: {what:?}: {found}, not {expected}")),
                Err(error) => wrong.push(format!("{name}: {what:?}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[derive(Clone, Copy, Debug, Object)]
enum End {
    Panic,
    Abort,
    WriteToNull,
}

#[func(sandbox = dynamic)]
#[expect(unsafe_code, reason = "what C code does wrong")]
fn end(how: End) {
    match how {
        End::Panic => panic!("honestly"),
        End::Abort => std::process::abort(),
        // SAFETY: never: the fault is what is wanted.
        End::WriteToNull => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
    }
}

fn ends_are_what_they_are_outside() {
    for name in POLICIES {
        let policy = support::builtin(name);
        for (how, signal) in [(End::Abort, libc::SIGABRT), (End::WriteToNull, libc::SIGSEGV)] {
            match end.sandbox(&policy).run(how) {
                Err(Error::Signalled { signal: found, .. }) if found == signal => {}
                other => panic!("{name}: {how:?}: {other:?}"),
            }
        }
        let Err(Error::Panicked(panic)) = end.sandbox(&policy).env("RUST_BACKTRACE", "1").run(End::Panic)
        else {
            panic!("{name}: no panic");
        };
        assert_eq!(panic.message.as_raw(), "honestly");
    }
}

#[func(sandbox = dynamic)]
fn use_what_was_passed(
    mut file: File,
    mut stream: UnixStream,
    mut up: Sender<u64>,
    mut down: Receiver<u64>,
) -> Result<(String, u64), String> {
    let mut talk = || -> std::io::Result<(String, u64)> {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        file.seek(SeekFrom::Start(0))?;
        let length = file.try_clone()?.metadata()?.len();
        let mut question = [0; 4];
        stream.read_exact(&mut question)?;
        stream.write_all(b"pong")?;
        while let Some(number) = down.recv()? {
            up.send(&(number * 2))?;
        }
        Ok((text + std::str::from_utf8(&question).unwrap_or("?"), length))
    };
    talk().map_err(|error| error.to_string())
}

fn passed_files_and_sockets_work_under_every_policy() {
    let directory = support::Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, "twelve bytes").unwrap();
    for name in POLICIES {
        let policy = support::builtin(name);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (up, mut doubled) = channel().unwrap();
        let (mut numbers, down) = channel().unwrap();
        let child = use_what_was_passed
            .sandbox(&policy)
            .spawn(File::open(&path).unwrap(), theirs, up, down)
            .unwrap();
        ours.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        ours.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
        for number in 1..=5u64 {
            numbers.send(&number).unwrap();
            assert_eq!(doubled.recv().unwrap(), Some(number * 2), "{name}");
        }
        drop(numbers);
        let found = child.join().unwrap().unwrap();
        assert_eq!(found, ("twelve bytesping".to_owned(), 12), "{name}");
    }
}

/// Writes to all the memory that it is given, at most so much, and tells how much that was.
#[func(sandbox = dynamic)]
fn fill(most: usize) -> usize {
    support::memory::fill(most)
}

/// The same, but it takes for granted that it is given memory.
#[func(sandbox = dynamic)]
fn fill_without_a_doubt(most: usize) -> usize {
    support::memory::fill_without_a_doubt(most)
}

fn a_child_writes_as_much_memory_as_its_policy_says_and_no_more() {
    for name in ["pure", "parser", "worker", "file-reader"] {
        for launch in ["fork", "exec"] {
            let allowed = |memory: &str| {
                let policy = with_memory(name, memory);
                let policy = policy.narrow(&[("launch", launch)]).unwrap();
                fill.sandbox(&policy).run(200 * MIB).unwrap()
            };
            // The control: it is the limit that ends it.
            assert_eq!(allowed("512MiB"), 200 * MIB, "{name}, {launch}");
            let written = allowed("64MiB");
            // Allocators take memory in pieces, of which some is left.
            assert!(
                (LEAST_WRITTEN..=64 * MIB).contains(&written),
                "{name}, {launch}: {written}"
            );
        }
    }
}

fn memory_that_ends_is_told_as_the_limit_that_it_is() {
    let policy = with_memory("parser", "64MiB");
    assert_eq!(fill_without_a_doubt.sandbox(&policy).run(30 * MIB).unwrap(), 30 * MIB);
    let result = fill_without_a_doubt.sandbox(&policy).run(200 * MIB);
    assert!(
        matches!(
            result,
            Err(Error::Limit { resource: crossmist::Resource::Memory, .. })
        ),
        "{result:?}"
    );
}

#[func(sandbox = dynamic)]
fn event_loop(threads: bool) -> u64 {
    let mut runtime = match threads {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..10u64)
            .map(|number| {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(number)).await;
                    number
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    })
}

fn an_event_loop_runs_in_a_worker() {
    let worker = support::builtin("worker");
    assert_eq!(event_loop.sandbox(&worker).run(false).unwrap(), 45);
    assert_eq!(event_loop.sandbox(&worker).run(true).unwrap(), 45);
}

#[func(sandbox = dynamic)]
fn connect(port: u16) -> Result<String, Option<i32>> {
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.raw_os_error())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.raw_os_error())?;
    Ok(text)
}

fn a_client_reaches_the_ports_that_are_granted_and_no_other() {
    let servers = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = servers.each_ref().map(|server| server.local_addr().unwrap().port());
    for server in servers {
        std::thread::spawn(move || {
            for stream in server.incoming() {
                let _ = stream.unwrap().write_all(b"hello");
            }
        });
    }
    let policy = r#"
        format = 1
        description = "Talk to one port"
        extends = ["network-client"]
        [variables]
        port = { type = "port", required = true }
        [network]
        tcp_connect = ["${port}"]
        [limits]
        wall_time = "10min"
    "#;
    let policy = SandboxPolicy::from_toml("client", policy).unwrap();
    let call = |port| {
        let bound = connect.sandbox(&policy).bind("port", ports[0].to_string());
        bound.run(port).unwrap()
    };
    assert_eq!(connect.call_unconfined(ports[1]), Ok("hello".to_owned()));
    assert_eq!(call(ports[0]), Ok("hello".to_owned()));
    assert_eq!(call(ports[1]), Err(Some(libc::EACCES)));
}
