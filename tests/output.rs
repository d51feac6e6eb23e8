//! The output of a function that has returned, and threads that keep the locks of standard output.
#![expect(unsafe_code, reason = "C code prints and locks, too")]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use crossmist::func;
use support::{Holdings, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            what_was_printed_is_there_when_the_call_returns,
            a_thread_that_keeps_stdout_locked_does_not_keep_the_answer,
            a_thread_that_keeps_the_lock_of_c_does_not_keep_the_answer,
            a_thread_that_keeps_stdout_locked_does_not_keep_a_panic,
            a_thread_that_keeps_stdout_locked_does_not_keep_a_dropped_child,
        ],
        cases![helper_prints, helper_prints_confined],
    );
}

unsafe extern "C" {
    static stdout: *mut libc::FILE;
    fn flockfile(file: *mut libc::FILE);
}

/// Prints two ways, and ends no line.
#[func]
fn prints() -> u32 {
    print!("from Rust");
    // SAFETY: a C string, and the stream that every program has.
    unsafe { libc::fputs(c", from C".as_ptr(), stdout) };
    7
}

#[func(sandbox = "parser")]
fn prints_confined() -> u32 {
    prints()
}

fn helper_prints() {
    assert_eq!(prints.run().unwrap(), 7);
    eprintln!("returned");
    std::io::stderr().flush().unwrap();
}

fn helper_prints_confined() {
    let (mut output, to_output) = std::io::pipe().unwrap();
    let call = prints_confined.builder().stdout(to_output);
    assert_eq!(call.run().unwrap(), 7);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    print!("{text}");
    eprintln!("returned");
}

fn what_was_printed_is_there_when_the_call_returns() {
    for helper in ["helper_prints", "helper_prints_confined"] {
        // Both go to one pipe, so that the order shows.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = support::this_program(helper);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut program = command.spawn().unwrap();
        drop(command);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(program.wait().unwrap().success(), "{helper}: {text}");
        if helper == "helper_prints" {
            assert_eq!(text, "from Rust, from Creturned\n");
        } else {
            assert!(text.contains("from Rust, from C"), "{text}");
        }
    }
}

/// Starts a thread that takes something and keeps it.
fn keep<T>(take: impl FnOnce() -> T + Send + 'static) {
    let (taken, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _kept = take();
        taken.send(()).unwrap();
        std::thread::sleep(Duration::from_secs(3600));
    });
    told.recv().unwrap();
}

#[func]
fn keeps_stdout_locked() -> u32 {
    println!("before");
    keep(|| std::io::stdout().lock());
    7
}

#[func(sandbox = "parser")]
fn keeps_stdout_locked_confined() -> u32 {
    keeps_stdout_locked()
}

fn a_thread_that_keeps_stdout_locked_does_not_keep_the_answer() {
    assert_eq!(prints_confined.run().unwrap(), 7);
    let before = Holdings::now();
    let (mut output, to_output) = std::io::pipe().unwrap();
    let call = keeps_stdout_locked.builder().stdout(to_output);
    let result = within(Duration::from_secs(2), || call.run());
    assert_eq!(result.unwrap(), 7);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before\n");
    drop(output);
    let result = within(Duration::from_secs(2), || {
        keeps_stdout_locked_confined.run()
    });
    assert_eq!(result.unwrap(), 7);
    before.assert_same();
}

#[func]
fn keeps_the_lock_of_c() -> u32 {
    keep(|| {
        // SAFETY: the stream that every program has.
        unsafe { flockfile(stdout) }
    });
    7
}

#[func(sandbox = "parser")]
fn keeps_the_lock_of_c_confined() -> u32 {
    keeps_the_lock_of_c()
}

fn a_thread_that_keeps_the_lock_of_c_does_not_keep_the_answer() {
    let result = within(Duration::from_secs(2), || keeps_the_lock_of_c.run());
    assert_eq!(result.unwrap(), 7);
    let result = within(Duration::from_secs(2), || {
        keeps_the_lock_of_c_confined.run()
    });
    assert_eq!(result.unwrap(), 7);
}

#[func]
fn panics_with_stdout_locked() {
    keep(|| std::io::stdout().lock());
    panic!("as it must");
}

fn a_thread_that_keeps_stdout_locked_does_not_keep_a_panic() {
    let call = panics_with_stdout_locked
        .builder()
        .stderr(crossmist::Stdio::Null);
    let result = within(Duration::from_secs(2), || call.run());
    let Err(crossmist::Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "as it must");
}

#[func]
fn keeps_stdout_locked_and_answers(mut answer: crossmist::Sender<u32>) {
    // An alarm of the function's own changes nothing.
    support::raw::ignore(libc::SIGALRM);
    answer.send(&keeps_stdout_locked()).unwrap();
}

fn a_thread_that_keeps_stdout_locked_does_not_keep_a_dropped_child() {
    let (sender, mut receiver) = crossmist::channel().unwrap();
    let call = keeps_stdout_locked_and_answers.builder();
    let call = call.stdout(crossmist::Stdio::Null);
    let child = call.stderr(crossmist::Stdio::Null).spawn(sender).unwrap();
    let id = child.id().unwrap();
    drop(child);
    assert_eq!(receiver.recv().unwrap(), Some(7));
    support::wait_until_gone(id);
}
