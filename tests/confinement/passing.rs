//! Values that are passed to a child and come back: files, ends of channels, answers, output.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use crossmist::{Error, SandboxPolicy, channel, func, trusted};

use crate::attempt::{Attempt, attempt, make};
use crate::cases;
use crate::support::{self, Case, Directory, Holdings, raw, this_program, within};

pub(crate) const CASES: &[Case] = cases![
    an_answer_is_held_to_the_policy,
    no_end_for_code_goes_to_a_confined_function,
    files_and_ends_of_channels_work,
    standard_descriptors_are_what_policy_and_caller_say,
    descriptors_that_are_too_many_for_the_moment_are_waited_for needs Root,
];

pub(crate) const HELPERS: &[Case] = cases![helper_in_a_crowd, helper_prints];

#[func(sandbox = "pure", message_bytes = "64KiB")]
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    vec![7; count]
}

#[func(sandbox = "pure")]
fn sends_up(what: Attempt, file: File, _may_send: crossmist::Sender<File>) -> u64 {
    let socket = raw::launch_socket();
    let _ = raw::send_with(socket, &[0; 32], &[file.as_raw_fd()], 0);
    make(what, "").unwrap_or(0)
}

fn an_answer_is_held_to_the_policy() {
    raw::play_a_kernel_that_passes_descriptors();
    let holdings = {
        assert_eq!(bytes.run(60_000).unwrap().len(), 60_000);
        // The thread that ends its channels with the child has a descriptor, and stays.
        let (files, receiver) = channel::<File>().unwrap();
        let sleep = attempt(libc::SYS_getpid, &[]);
        let _ = sends_up.run(sleep, File::open("/etc/passwd").unwrap(), files);
        drop(receiver);
        Holdings::settled()
    };
    let result = bytes.run(70_000);
    let Err(error @ Error::ResultTooLarge { .. }) = result else {
        panic!("{result:?}");
    };
    // The limit is the policy's, so the caller has nothing to raise.
    let error = error.to_string();
    let cure = "allows 65536: raise `[limits.channel] message_bytes` there";
    assert!(
        error.contains("bytes` has 70") && error.contains(cure),
        "{error}"
    );
    // A descriptor that the type doesn't name ends the call, and is closed.
    let sleep = attempt(libc::SYS_getpid, &[]);
    let (files, receiver) = channel::<File>().unwrap();
    let result = sends_up.run(sleep, File::open("/etc/passwd").unwrap(), files);
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    drop(receiver);
    holdings.assert_same();
}

#[func(sandbox = "pure")]
fn takes_an_end(end: crossmist::Sender<u8>) {
    drop(end);
}

#[func]
fn takes_an_end_unconfined(end: crossmist::Sender<u8>) {
    drop(end);
}

fn no_end_for_code_goes_to_a_confined_function() {
    let (sender, _receiver) = trusted::channel::<u8>().unwrap();
    takes_an_end_unconfined.run(sender).unwrap();
    let (sender, _receiver) = trusted::channel::<u8>().unwrap();
    let result = takes_an_end.run(sender);
    let Err(Error::Encode(error)) = result else {
        panic!("{result:?}");
    };
    assert!(error.to_string().contains("trusted"), "{error}");
    let (sender, _receiver) = channel::<u8>().unwrap();
    takes_an_end.run(sender).unwrap();
}

#[func(sandbox = dynamic)]
fn copies(
    mut from: File,
    mut to: File,
    mut progress: crossmist::Sender<u64>,
    mut words: crossmist::Receiver<String>,
) -> Result<(File, Vec<String>), String> {
    let mut buffer = [0; 1000];
    let mut sum = 0;
    loop {
        let count = from.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count])
            .map_err(|error| error.to_string())?;
        sum += count as u64;
        progress.send(&sum).map_err(|error| error.to_string())?;
    }
    let mut heard = Vec::new();
    while let Some(word) = words.recv().map_err(|error| error.to_string())? {
        heard.push(word);
    }
    Ok((from, heard))
}

fn files_and_ends_of_channels_work() {
    let directory = Directory::new();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    std::fs::write(&from, vec![5; 10_000]).unwrap();
    let policy = "format = 1\nextends = [\"parser\"]\n[limits]\nfile_size = \"1MiB\"\n";
    let writer = SandboxPolicy::from_toml("writer", policy).unwrap();
    let reader = SandboxPolicy::builtin("parser").unwrap();
    for (policy, is_allowed) in [(writer, true), (reader, false)] {
        let (progress, mut told) = channel().unwrap();
        let (mut sender, words) = channel::<String>().unwrap();
        let open = File::open(&from).unwrap();
        let child = copies
            .sandbox(&policy)
            .spawn(open, File::create(&to).unwrap(), progress, words)
            .unwrap();
        for word in ["two", "words"] {
            // Nobody may be left to hear it, where the file can't be written.
            assert!(sender.send(&word.to_owned()).is_ok() || !is_allowed);
        }
        drop(sender);
        let result = child.join().unwrap();
        let mut sums = Vec::new();
        while let Some(sum) = told.recv().unwrap() {
            sums.push(sum);
        }
        if is_allowed {
            let (_, heard) = result.unwrap();
            assert_eq!(heard, ["two", "words"]);
            assert_eq!(
                sums,
                (1..=10).map(|count| count * 1000).collect::<Vec<u64>>()
            );
            assert_eq!(std::fs::read(&to).unwrap(), vec![5; 10_000]);
        } else {
            // `parser` lets files be as large as 0 bytes, whoever handed them over.
            assert_eq!(result.unwrap_err(), "File too large (os error 27)");
            assert!(sums.is_empty(), "{sums:?}");
        }
    }
}

#[func(sandbox = "pure")]
fn prints(text: String) {
    println!("out {text}");
    eprintln!("err {text}");
}

fn standard_descriptors_are_what_policy_and_caller_say() {
    let (mut reading, writing) = std::io::pipe().unwrap();
    prints
        .builder()
        .stdout(OwnedFd::from(writing))
        .run("one".to_owned())
        .unwrap();
    let mut text = String::new();
    reading.read_to_string(&mut text).unwrap();
    assert_eq!(text, "out one\n");
    // By the policy, standard error goes through the keeper to that of the program, marked.
    let output = this_program("helper_prints").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let (name, rest) = text.split_once('[').unwrap();
    assert_eq!(name, "prints");
    assert!(rest.ends_with("]: err t\\u{1b}wo\n"), "{text}");
    assert_eq!(output.stdout, b"");
}

/// Starts a call that passes a file, while so many descriptors of this user are in flight that the
/// kernel takes no more for the moment, or for good.
fn helper_in_a_crowd() {
    use std::os::unix::net::UnixDatagram;
    let passes = support::case_arguments() == ["passes"];
    raw::limit_descriptors(64);
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let one = [file.as_raw_fd(); 40];
    for _ in 0..2 {
        raw::send_with(sender.as_raw_fd(), b"x", &one, 0).unwrap();
    }
    // The control: it is so.
    let full = raw::send_with(sender.as_raw_fd(), b"x", &one, 0).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ETOOMANYREFS));
    let free = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        if passes {
            drop(receiver);
        } else {
            std::thread::sleep(support::stays());
        }
    });
    let time = Duration::from_secs(if passes { 30 } else { 1 });
    let call = file_length.builder().deadline(time);
    match call.run(file) {
        Ok(0) if passes => free.join().unwrap(),
        Err(Error::Launch { .. } | Error::Deadline { .. }) if !passes => {}
        other => panic!("{other:?}"),
    }
}

#[func(sandbox = "parser")]
fn file_length(file: File) -> u64 {
    file.metadata().map_or(u64::MAX, |found| found.len())
}

fn descriptors_that_are_too_many_for_the_moment_are_waited_for() {
    for (word, most) in [("passes", 3), ("stays", 3)] {
        within(Duration::from_secs(most), || {
            let mut command = this_program("helper_in_a_crowd");
            // Root may have as many as it likes.
            command.arg(word).uid(65533).gid(65533);
            assert!(command.status().unwrap().success(), "{word}");
        });
    }
}

fn helper_prints() {
    prints.run("t\x1bwo".to_owned()).unwrap();
}
