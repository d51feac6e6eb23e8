//! Calls and children: how they are started, how they end, and that nothing is left of them.

mod support;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crossmist::{
    DecodeError, Decoder, Duplex, Encoder, Error, Limits, Object, Sender, Shape, Stdio, channel,
    duplex, func,
};
use support::{
    Directory, Holdings, raw, state, wait_until, wait_until_gone, wait_until_none_is_left, within,
};

#[crossmist::main]
fn main() {
    support::main(
        cases![
            a_call_is_a_call_however_it_is_made,
            arguments_and_results_of_any_length_arrive,
            a_child_calls_functions_itself,
            standard_descriptors_are_null_a_pipe_or_a_file,
            output_is_there_before_the_answer,
            the_environment_is_set_removed_and_cleared,
            the_working_directory_is_set_or_the_error_names_the_step,
            what_cannot_be_passed_to_a_program_is_an_error,
            limits_hold_for_arguments_and_answer,
            raised_limits_hold_in_the_child_too,
            a_child_is_killed_by_its_handle_and_by_a_kill_handle,
            a_kill_after_the_end_does_nothing,
            waiting_for_a_while_gives_nothing_while_the_child_runs,
            waiting_for_a_while_does_not_wait_for_a_child_that_lingers,
            a_dropped_child_runs_on_and_leaves_no_zombie,
            many_dropped_children_leave_no_zombie,
            kill_on_drop_leaves_nothing,
            a_dropped_child_still_has_its_deadline,
            panics_arrive_with_text_and_place,
            a_caught_panic_is_not_taken_for_a_later_one,
            a_panic_without_our_hook_arrives_with_its_text,
            a_panic_of_another_thread_is_no_panic_of_the_function,
            a_panic_in_a_panic_is_an_abort,
            a_panic_while_the_result_is_encoded_arrives,
            a_payload_that_panics_when_dropped_changes_nothing,
            text_of_a_panic_is_bounded_and_shown_escaped,
            exit_codes_are_told_apart,
            signals_are_told_apart,
            a_kill_from_outside_is_a_signal_not_a_request,
            status_zero_without_an_answer_is_a_failure,
            an_answer_counts_though_the_child_lingers,
            an_answer_counts_though_the_child_crashes_after_it,
            a_child_that_closes_its_socket_and_stays_is_ended,
            a_deadline_ends_an_endless_loop,
            a_deadline_ends_a_stopped_child,
            a_deadline_holds_while_arguments_are_sent,
            an_end_is_noticed_while_arguments_are_sent,
            an_end_before_the_arguments_is_an_exit,
            a_deadline_of_zero_and_of_ages_are_deadlines,
            many_calls_at_once_from_many_threads,
            a_thousand_calls_leave_nothing_behind,
            failing_calls_leave_nothing_behind,
            a_failing_case_fails_the_test_binary,
        ],
        cases![helper_that_fails],
    );
}

#[func]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[func]
fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[func]
fn sleep_for(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn a_call_is_a_call_however_it_is_made() {
    let before = Holdings::now();
    assert_eq!(add(5, 7), 12);
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(add.spawn(5, 7).unwrap().join().unwrap(), 12);
    assert_eq!(add.builder().run(5, 7).unwrap(), 12);
    let mut child = add.builder().spawn(5, 7).unwrap();
    let id = child.id();
    assert_eq!(
        child.join_timeout(Duration::from_secs(20)).unwrap(),
        Some(12)
    );
    assert_eq!(state(id), None, "waited for");
    assert!(matches!(child.try_join(), Err(Error::StatusTaken)));
    drop(child);
    before.assert_same();
}

fn arguments_and_results_of_any_length_arrive() {
    // Around one packet, around a run that travels by itself, and far above both.
    for length in [0, 1, 65_535, 65_536, 204_767, 204_768, 204_769, 20 << 20] {
        let mut bytes: Vec<u8> = (0..length).map(|index: u32| (index % 251) as u8).collect();
        let answer = reverse.run(bytes.clone()).unwrap();
        bytes.reverse();
        assert!(answer == bytes, "{length} bytes");
    }
}

#[func]
fn add_further_down(depth: u32) -> Result<u64, String> {
    match depth {
        0 => Ok(1),
        depth => add_further_down
            .run(depth - 1)
            .map_err(|error| error.to_string())?
            .map(|sum| sum + 1),
    }
}

fn a_child_calls_functions_itself() {
    assert_eq!(add_further_down.run(2).unwrap(), Ok(3));
}

#[func]
fn echo_input() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    println!("in: {input}");
    eprintln!("error: {input}");
}

fn standard_descriptors_are_null_a_pipe_or_a_file() {
    let before = Holdings::now();
    let directory = Directory::new();
    let (input, mut to_input) = std::io::pipe().unwrap();
    let (mut output, to_output) = std::io::pipe().unwrap();
    let errors = directory.path().join("errors");
    to_input.write_all(b"hello").unwrap();
    drop(to_input);
    let child = echo_input
        .builder()
        .stdin(input)
        .stdout(to_output)
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "in: hello\n");
    child.join().unwrap();
    assert_eq!(std::fs::read_to_string(errors).unwrap(), "error: hello\n");

    drop(output);
    let (mut output, to_output) = std::io::pipe().unwrap();
    echo_input
        .builder()
        .stdin(Stdio::Null)
        .stdout(to_output)
        .stderr(Stdio::Null)
        .run()
        .unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "in: \n");
    drop(output);
    before.assert_same();
}

/// A result whose drop, which comes after the answer, doesn't end.
#[derive(Debug, Object)]
struct Lingers(u8);

impl Drop for Lingers {
    fn drop(&mut self) {
        if self.0 == 7 && std::env::args().nth(1).is_some_and(|a| a.contains("child")) {
            loop {
                std::thread::park();
            }
        }
    }
}

#[func]
fn print_and_linger() -> Lingers {
    print!("without a line's end");
    Lingers(7)
}

fn output_is_there_before_the_answer() {
    let (mut output, to_output) = std::io::pipe().unwrap();
    // It is killed while it lingers, so nothing is printed on the way out.
    let result = print_and_linger.builder().stdout(to_output).run().unwrap();
    assert_eq!(result.0, 7);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "without a line's end");
}

#[func]
fn environment() -> Vec<(String, String)> {
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    variables
}

fn the_environment_is_set_removed_and_cleared() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut all: Vec<_> = std::env::vars().collect();
    all.sort();
    assert_eq!(environment.run().unwrap(), all);
    let changed = environment
        .builder()
        .env("CROSSMIST_A", "1")
        .env("CROSSMIST_A", "2")
        .env("CROSSMIST_B", "1")
        .env_remove("CROSSMIST_B")
        .env_remove("PATH")
        .run()
        .unwrap();
    assert!(changed.contains(&pair("CROSSMIST_A", "2")));
    assert!(
        !changed
            .iter()
            .any(|(name, _)| name == "PATH" || name == "CROSSMIST_B")
    );
    assert!(all.iter().any(|(name, _)| name == "PATH"), "a control");
    let cleared = environment
        .builder()
        .env("CROSSMIST_A", "1")
        .env_clear()
        .env("CROSSMIST_C", "3")
        .run()
        .unwrap();
    assert_eq!(cleared, [pair("CROSSMIST_C", "3")]);
}

#[func]
fn working_directory() -> String {
    std::env::current_dir().unwrap().display().to_string()
}

fn the_working_directory_is_set_or_the_error_names_the_step() {
    let before = Holdings::now();
    let own = std::env::current_dir().unwrap().display().to_string();
    assert_eq!(working_directory.run().unwrap(), own);
    let there = working_directory.builder().current_dir("/usr").run();
    assert_eq!(there.unwrap(), "/usr");
    let nowhere = working_directory.builder().current_dir("/nowhere").run();
    let Err(Error::Launch { step, source }) = nowhere else {
        panic!("{nowhere:?}");
    };
    assert_eq!(step, "change the working directory");
    assert_eq!(source.raw_os_error(), Some(libc::ENOENT));
    before.assert_same();
}

fn what_cannot_be_passed_to_a_program_is_an_error() {
    let before = Holdings::now();
    for result in [
        add.builder().env("A", "zero \0 byte").run(1, 2),
        add.builder().current_dir("/zero\0byte").run(1, 2),
    ] {
        assert!(matches!(result, Err(Error::Encode(_))), "{result:?}");
    }
    let long = "x".repeat(4 << 20);
    let result = add.builder().env("A", long).run(1, 2);
    let Err(Error::Launch { step, source }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(step, "execute this program again");
    assert_eq!(source.raw_os_error(), Some(libc::E2BIG));
    before.assert_same();
}

fn limits_hold_for_arguments_and_answer() {
    let limits = Limits {
        message_bytes: 1000,
        ..Limits::default()
    };
    let call = |bytes| reverse.builder().limits(limits).run(vec![1; bytes]);
    assert_eq!(call(900).unwrap().len(), 900);
    assert!(matches!(call(1001), Err(Error::Encode(_))));
    // The arguments fit, the answer doesn't.
    let call = repeat.builder().limits(limits);
    let result = call.run(2000);
    let Err(Error::BadResult { reason }) = result else {
        panic!("{result:?}");
    };
    assert!(
        reason.as_raw().contains("1000 are allowed"),
        "{}",
        reason.as_raw()
    );
}

#[func]
fn repeat(count: usize) -> Vec<u8> {
    vec![1; count]
}

#[derive(Debug, PartialEq, Object)]
struct Deep(Option<Box<Deep>>);

#[func]
fn same(deep: Deep) -> Deep {
    deep
}

fn raised_limits_hold_in_the_child_too() {
    let mut deep = Deep(None);
    for _ in 0..200 {
        deep = Deep(Some(Box::new(deep)));
    }
    let limits = Limits {
        nesting: 400,
        ..Limits::default()
    };
    let result = same.builder().limits(limits).run(deep);
    let mut count = 0;
    let mut next = &result.unwrap();
    while let Deep(Some(inner)) = next {
        next = inner;
        count += 1;
    }
    assert_eq!(count, 200);
}

fn a_child_is_killed_by_its_handle_and_by_a_kill_handle() {
    let before = Holdings::now();
    let child = sleep_for.spawn(60_000).unwrap();
    let id = child.id();
    child.kill().unwrap();
    let result = within(Duration::from_secs(5), || child.join());
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");
    assert_eq!(state(id), None);

    let child = sleep_for.spawn(60_000).unwrap();
    let handle = child.kill_handle();
    let result = within(Duration::from_secs(5), || {
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| child.join());
            handle.kill().unwrap();
            joined.join().unwrap()
        })
    });
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");
    drop(handle);
    before.assert_same();
}

fn a_kill_after_the_end_does_nothing() {
    let child = add.spawn(1, 2).unwrap();
    let (handle, id) = (child.kill_handle(), child.id());
    // Dead, and not waited for: the answer was there before.
    wait_until("it has ended", || state(id) == Some('Z'));
    child.kill().unwrap();
    handle.kill().unwrap();
    assert_eq!(child.join().unwrap(), 3);
    handle.kill().unwrap();
}

fn waiting_for_a_while_gives_nothing_while_the_child_runs() {
    let (mut ours, theirs) = duplex::<u32, u32>().unwrap();
    let mut child = answer_one.spawn(theirs).unwrap();
    assert_eq!(
        within(Duration::from_millis(500), || child.try_join()).unwrap(),
        None
    );
    let begun = Instant::now();
    assert_eq!(
        child.join_timeout(Duration::from_millis(100)).unwrap(),
        None
    );
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_ne!(child.id(), 0);
    ours.send(&5).unwrap();
    assert_eq!(
        child.join_timeout(Duration::from_secs(20)).unwrap(),
        Some(6)
    );
}

#[func]
fn answer_one(mut chan: Duplex<u32, u32>) -> u32 {
    chan.recv().unwrap().unwrap() + 1
}

#[func]
fn linger(mut tx: Sender<()>) -> Lingers {
    tx.send(&()).unwrap();
    Lingers(7)
}

fn waiting_for_a_while_does_not_wait_for_a_child_that_lingers() {
    let (tx, mut rx) = channel().unwrap();
    let mut child = linger.spawn(tx).unwrap();
    let id = child.id();
    rx.recv().unwrap();
    // A wait that lasts as long as the child lingers gives the answer at once.
    let mut waited = 0;
    let result = loop {
        let result = within(Duration::from_millis(100), || {
            child.join_timeout(Duration::from_millis(100))
        });
        if let Some(result) = result.unwrap() {
            break result;
        }
        if let Some(result) = child.try_join().unwrap() {
            break result;
        }
        waited += 1;
    };
    assert_eq!(result.0, 7);
    assert!(
        waited > 0,
        "the first wait was as long as the child lingered"
    );
    wait_until_gone(id);
}

fn a_dropped_child_runs_on_and_leaves_no_zombie() {
    let (mut ours, theirs) = duplex::<u32, u32>().unwrap();
    let child = echo_one.spawn(theirs).unwrap();
    let id = child.id();
    drop(child);
    assert!(state(id).is_some_and(|state| state != 'Z'));
    assert_eq!(ours.request(&5).unwrap(), 6);
    wait_until_gone(id);
    assert_eq!(raw::any_child(), None);
}

#[func]
fn echo_one(mut chan: Duplex<u32, u32>) {
    let number = chan.recv().unwrap().unwrap();
    chan.send(&(number + 1)).unwrap();
}

fn many_dropped_children_leave_no_zombie() {
    // Alive when it is dropped, so that the thread for such children is there from here on.
    drop(sleep_for.spawn(50).unwrap());
    wait_until_none_is_left();
    let before = Holdings::now();
    for _ in 0..50 {
        drop(add.spawn(1, 2).unwrap());
    }
    wait_until_none_is_left();
    before.assert_same();
}

fn kill_on_drop_leaves_nothing() {
    let before = Holdings::now();
    let child = sleep_for
        .builder()
        .kill_on_drop(true)
        .spawn(60_000)
        .unwrap();
    let id = child.id();
    within(Duration::from_secs(5), || drop(child));
    wait_until_gone(id);
    before.assert_same();
}

fn a_dropped_child_still_has_its_deadline() {
    let call = sleep_for.builder().deadline(Duration::from_millis(200));
    let child = call.spawn(60_000).unwrap();
    let id = child.id();
    drop(child);
    assert!(state(id).is_some());
    within(Duration::from_secs(5), || wait_until_gone(id));
}

/// A payload that is no text.
struct Payload;

/// Panics in the ways there are.
#[func]
fn panic_in_a_way(way: String) {
    match way.as_str() {
        "str" => panic!("a literal"),
        "string" => panic!("the number {}", 5),
        "payload" => std::panic::panic_any(Payload),
        "empty" => std::panic::panic_any(String::new()),
        "drop" => drop(PanicsWhenDropped),
        "unwrap" => {
            let _: u32 = "x".parse().unwrap();
        }
        "index" => {
            let _ = vec![0u8][way.len()];
        }
        _ => unreachable!("{way}"),
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

fn panics_arrive_with_text_and_place() {
    let before = Holdings::now();
    for (way, text) in [
        ("str", "a literal"),
        ("string", "the number 5"),
        ("payload", "a panic without a text"),
        ("empty", ""),
        ("drop", "dropped"),
        (
            "unwrap",
            "called `Result::unwrap()` on an `Err` value: ParseIntError { kind: InvalidDigit }",
        ),
        (
            "index",
            "index out of bounds: the len is 1 but the index is 5",
        ),
    ] {
        let result = panic_in_a_way
            .builder()
            .stderr(Stdio::Null)
            .run(way.to_owned());
        let Err(Error::Panicked(panic)) = result else {
            panic!("{way}: {result:?}");
        };
        assert_eq!(panic.message.as_raw(), text, "{way}");
        let place = panic.location.as_raw();
        assert!(place.starts_with("tests/calls.rs:"), "{way}: {place}");
    }
    before.assert_same();
}

#[func]
fn panic_again(another: String) {
    let _ = std::panic::catch_unwind(|| panic!("caught"));
    match another.as_str() {
        "resume" => std::panic::resume_unwind(Box::new("resumed".to_owned())),
        "payload" => std::panic::resume_unwind(Box::new(Payload)),
        _ => {}
    }
}

fn a_caught_panic_is_not_taken_for_a_later_one() {
    let call = || panic_again.builder().stderr(Stdio::Null);
    call().run("none".to_owned()).unwrap();
    for (way, text) in [("resume", "resumed"), ("payload", "a panic without a text")] {
        let result = call().run(way.to_owned());
        let Err(Error::Panicked(panic)) = result else {
            panic!("{way}: {result:?}");
        };
        assert_eq!(panic.message.as_raw(), text);
        assert_eq!(panic.location.as_raw(), "an unknown place");
    }
}

#[func]
fn panic_with_another_hook(text: String) {
    std::panic::set_hook(Box::new(|_| {}));
    panic!("{text}");
}

fn a_panic_without_our_hook_arrives_with_its_text() {
    let result = panic_with_another_hook.run("some text".to_owned());
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "some text");
    assert_eq!(panic.location.as_raw(), "an unknown place");
}

#[func]
fn panic_in_a_thread(and_join: bool) -> bool {
    let result = std::thread::spawn(|| panic!("in a thread")).join();
    if and_join {
        result.unwrap();
    }
    true
}

fn a_panic_of_another_thread_is_no_panic_of_the_function() {
    let call = || panic_in_a_thread.builder().stderr(Stdio::Null);
    assert!(call().run(false).unwrap());
    let Err(Error::Panicked(panic)) = call().run(true) else {
        panic!("no panic");
    };
    let text = panic.message.as_raw();
    assert!(text.starts_with("called `Result::unwrap()`"), "{text}");
}

#[func]
fn panic_twice() {
    let _second = PanicsWhenDropped;
    panic!("first");
}

fn a_panic_in_a_panic_is_an_abort() {
    let result = panic_twice.builder().stderr(Stdio::Null).run();
    let Err(Error::Signalled { signal, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(signal, libc::SIGABRT);
}

/// A result that can't be encoded, and says so in the wrong way.
#[derive(Debug)]
struct PanicsWhenEncoded;

impl Object for PanicsWhenEncoded {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&[1, 2, 3]);
        panic!("while encoding");
    }

    fn decode(_: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    fn describe(_: &mut Shape) {}
}

#[func]
fn give_what_panics_when_encoded() -> PanicsWhenEncoded {
    PanicsWhenEncoded
}

fn a_panic_while_the_result_is_encoded_arrives() {
    let call = give_what_panics_when_encoded.builder();
    let result = call.stderr(Stdio::Null).run();
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "while encoding");
}

#[func]
fn panic_with_what_panics_when_dropped() {
    std::panic::panic_any(PanicsWhenDropped);
}

fn a_payload_that_panics_when_dropped_changes_nothing() {
    let call = panic_with_what_panics_when_dropped.builder();
    let result = call.stderr(Stdio::Null).run();
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "a panic without a text");
}

fn text_of_a_panic_is_bounded_and_shown_escaped() {
    let told = |text: String| {
        let result = panic_with_another_hook.run(text);
        let Err(Error::Panicked(panic)) = result else {
            panic!("{result:?}");
        };
        panic.message
    };
    assert_eq!(told("é".repeat(1 << 20)).as_raw(), "é".repeat(2048));
    assert_eq!(told(format!("a{}", "é".repeat(4096))).as_raw().len(), 4095);
    let message = told("a\x1b[31m\r\u{9b}\u{7f}\0\nb \u{202e}c\u{2028}d \\ 'é' 日本".to_owned());
    assert_eq!(
        message.to_string(),
        "a\\u{1b}[31m\\r\\u{9b}\\u{7f}\\0\\nb \\u{202e}c\\u{2028}d \\ 'é' 日本"
    );
    // Nothing of a message looks like another line of a log, and nothing of it is there unseen.
    let unseen = told(
        "a\n2026-11-26 INFO granted\u{200b}\u{feff}\u{ad}\u{e0041}\u{3164}\u{2060}".to_owned(),
    );
    assert_eq!(
        unseen.to_string(),
        "a\\n2026-11-26 INFO granted\\u{200b}\\u{feff}\\u{ad}\\u{e0041}\\u{3164}\\u{2060}"
    );
    // Letters of several characters stay letters.
    assert_eq!(told("नमस्ते é".to_owned()).to_string(), "नमस्ते é");
    assert!(message.as_raw().contains('\x1b'));
    assert!(!format!("{message:?}").contains(['\x1b', '\u{202e}']));
}

/// Ends the process in the ways there are.
#[func]
fn end(way: String, number: i32) -> u64 {
    match way.as_str() {
        "exit" => std::process::exit(number),
        "_exit" => raw::exit(number),
        "raise" => {
            raw::default_action(number);
            let signal = nix::sys::signal::Signal::try_from(number).unwrap();
            let _ = nix::sys::signal::raise(signal);
        }
        "abort" => std::process::abort(),
        "close" => {
            raw::close(raw::launch_socket());
            loop {
                std::thread::park();
            }
        }
        "stop" => {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
        "loop" => loop {
            std::hint::spin_loop();
        },
        "park" => loop {
            std::thread::park();
        },
        _ => unreachable!(),
    }
    99
}

fn ended(way: &str, number: i32) -> Result<u64, Error> {
    end.builder()
        .stderr(Stdio::Null)
        .run(way.to_owned(), number)
}

fn exit_codes_are_told_apart() {
    for code in [1, 2, 101, 102, 127, 255] {
        for way in ["exit", "_exit"] {
            let result = ended(way, code);
            let Err(Error::Exited { status }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(status, code);
        }
    }
}

fn signals_are_told_apart() {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
    for number in [
        libc::SIGABRT,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGSYS,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGPIPE,
        libc::SIGALRM,
    ] {
        let result = ended("raise", number);
        let Err(Error::Signalled { signal, .. }) = result else {
            panic!("{number}: {result:?}");
        };
        assert_eq!(signal, number);
    }
    let result = ended("abort", 0);
    assert!(
        matches!(
            result,
            Err(Error::Signalled {
                signal: libc::SIGABRT,
                ..
            })
        ),
        "{result:?}"
    );
}

fn a_kill_from_outside_is_a_signal_not_a_request() {
    let child = sleep_for.spawn(60_000).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let result = child.join();
    assert!(
        matches!(
            result,
            Err(Error::Signalled {
                signal: libc::SIGKILL,
                core_dumped: false
            })
        ),
        "{result:?}"
    );
}

fn status_zero_without_an_answer_is_a_failure() {
    let result = ended("_exit", 0);
    assert!(
        matches!(result, Err(Error::Exited { status: 0 })),
        "{result:?}"
    );
}

fn an_answer_counts_though_the_child_lingers() {
    let (tx, _rx) = channel().unwrap();
    let child = linger.spawn(tx).unwrap();
    let id = child.id();
    let result = within(Duration::from_secs(5), || child.join());
    assert_eq!(result.unwrap().0, 7);
    wait_until_gone(id);
    // With a deadline it is the earlier of both, and the answer counts all the same. A busy machine
    // may take longer to answer, or to notice: then it is tried again.
    let quick = (0..20).any(|_| {
        let (tx, _rx) = channel().unwrap();
        let begun = Instant::now();
        match linger.builder().deadline(Duration::from_secs(1)).run(tx) {
            Ok(result) => assert_eq!(result.0, 7),
            Err(Error::Deadline { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        // Without a deadline, it lingers for two seconds.
        begun.elapsed() < Duration::from_millis(1800)
    });
    assert!(quick, "no deadline ended the wait for a child that lingers");
}

#[derive(Debug, Object)]
struct AbortsWhenDropped(u8);

impl Drop for AbortsWhenDropped {
    fn drop(&mut self) {
        if std::env::args().nth(1).is_some_and(|a| a.contains("child")) {
            raw::default_action(libc::SIGABRT);
            std::process::abort();
        }
    }
}

#[func]
fn crash_after_the_answer() -> AbortsWhenDropped {
    AbortsWhenDropped(5)
}

fn an_answer_counts_though_the_child_crashes_after_it() {
    assert_eq!(crash_after_the_answer.run().unwrap().0, 5);
}

fn a_child_that_closes_its_socket_and_stays_is_ended() {
    let child = end.spawn("close".to_owned(), 0).unwrap();
    let id = child.id();
    let result = within(Duration::from_secs(5), || child.join());
    assert!(matches!(result, Err(Error::Silent)), "{result:?}");
    wait_until_gone(id);
}

#[track_caller]
fn assert_deadline(way: &str) {
    // The thread that keeps deadlines has a descriptor, once.
    let first = add.builder().deadline(Duration::from_secs(60));
    first.spawn(5, 7).unwrap().join().unwrap();
    wait_until("it has forgotten the first child", || {
        !support::descriptors()
            .values()
            .any(|link| link.contains("pidfd"))
    });
    let before = Holdings::now();
    let time = Duration::from_millis(300);
    let begun = Instant::now();
    let child = end
        .builder()
        .deadline(time)
        .spawn(way.to_owned(), 0)
        .unwrap();
    let id = child.id();
    let result = within(Duration::from_secs(2), || child.join());
    let Err(Error::Deadline { after }) = result else {
        panic!("{way}: {result:?}");
    };
    assert_eq!(after, time);
    assert!(begun.elapsed() >= time);
    wait_until_gone(id);
    before.assert_same();
}

fn a_deadline_ends_an_endless_loop() {
    assert_deadline("loop");
    assert_deadline("park");
    // Not the two seconds that a child has without one.
    assert_deadline("close");
}

fn a_deadline_ends_a_stopped_child() {
    assert_deadline("stop");
    // Nor does it matter whether the answer is waited for at once.
    let call = end.builder().deadline(Duration::from_millis(100));
    let child = call.spawn("stop".to_owned(), 0).unwrap();
    let id = child.id();
    wait_until("it has stopped", || state(id) == Some('T'));
    std::thread::sleep(Duration::from_millis(150));
    let result = within(Duration::from_secs(1), || child.join());
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

/// What a child does before it is at the library's entry, as a constructor of a linked library
/// might: this variable says what.
const BEFORE_ENTRY: &str = "CROSSMIST_TEST_BEFORE_ENTRY";

#[used]
#[unsafe(link_section = ".init_array")]
#[expect(unsafe_code, reason = "a constructor")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn before_entry() {
        match std::env::var(BEFORE_ENTRY).as_deref() {
            Ok("stay") => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            Ok("exit") => raw::exit(7),
            // A process that nobody knows of holds the launch socket.
            Ok("leave another") => raw::leave_another(support::stays(), 7),
            _ => {}
        }
    }
    before_entry
};

fn large() -> Vec<u8> {
    vec![1; 4 << 20]
}

fn a_deadline_holds_while_arguments_are_sent() {
    let before = Holdings::now();
    let result = within(Duration::from_secs(2), || {
        reverse
            .builder()
            .env(BEFORE_ENTRY, "stay")
            .deadline(Duration::from_millis(300))
            .spawn(large())
    });
    assert!(
        matches!(result, Err(Error::Deadline { .. })),
        "{:?}",
        result.map(|child| child.id())
    );
    before.assert_same();
}

fn an_end_is_noticed_while_arguments_are_sent() {
    let before = Holdings::now();
    for way in ["exit", "leave another"] {
        let call = reverse.builder().env(BEFORE_ENTRY, way);
        let result = within(Duration::from_secs(4), || call.run(large()));
        assert!(
            matches!(result, Err(Error::Exited { status: 7 })),
            "{way}: {:?}",
            result.map(|bytes| bytes.len())
        );
    }
    before.assert_same();
}

fn an_end_before_the_arguments_is_an_exit() {
    for way in ["exit", "leave another"] {
        let call = add.builder().env(BEFORE_ENTRY, way);
        let result = within(Duration::from_secs(4), || call.run(1, 2));
        assert!(
            matches!(result, Err(Error::Exited { status: 7 })),
            "{result:?}"
        );
    }
}

fn a_deadline_of_zero_and_of_ages_are_deadlines() {
    let result = sleep_for.builder().deadline(Duration::ZERO).run(1000);
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    assert_eq!(add.builder().deadline(Duration::MAX).run(1, 2).unwrap(), 3);
    let mut child = sleep_for.spawn(20).unwrap();
    assert_eq!(child.join_timeout(Duration::MAX).unwrap(), Some(20));
}

fn many_calls_at_once_from_many_threads() {
    // Alive when it is dropped, so that the thread for such children is there from here on.
    drop(sleep_for.spawn(50).unwrap());
    wait_until_none_is_left();
    let before = Holdings::now();
    std::thread::scope(|scope| {
        for thread in 0..20 {
            scope.spawn(move || {
                for number in 0..10 {
                    let bytes = vec![thread as u8; (number * 40_000) as usize];
                    assert_eq!(add.run(thread, number).unwrap(), thread + number);
                    assert_eq!(reverse.run(bytes.clone()).unwrap(), bytes);
                    drop(add.spawn(1, 2).unwrap());
                }
            });
        }
    });
    wait_until_none_is_left();
    before.assert_same();
}

fn a_thousand_calls_leave_nothing_behind() {
    for _ in 0..50 {
        assert_eq!(add.run(1, 2).unwrap(), 3);
    }
    let before = Holdings::now();
    for number in 0..1000 {
        assert_eq!(add.run(number, 2).unwrap(), number + 2);
    }
    before.assert_same();
    before.assert_memory(1 << 20);
}

fn failing_calls_leave_nothing_behind() {
    let _ = ended("_exit", 3);
    let before = Holdings::now();
    for _ in 0..100 {
        assert!(ended("_exit", 3).is_err());
        assert!(
            panic_in_a_way
                .builder()
                .stderr(Stdio::Null)
                .run("str".to_owned())
                .is_err()
        );
        let result = add.builder().current_dir("/nowhere").run(1, 2);
        assert!(result.is_err());
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer): (OwnedFd, OwnedFd) = (reader.into(), writer.into());
        assert!(reader.as_raw_fd() != writer.as_raw_fd());
        assert!(take.run(reader, writer).is_err());
    }
    before.assert_same();
    before.assert_memory(1 << 20);
}

#[func]
fn take(_a: OwnedFd, _b: OwnedFd) -> u8 {
    raw::exit(3)
}

/// The runner of these tests itself: a failure is a failure of the whole.
fn a_failing_case_fails_the_test_binary() {
    let output = support::this_program("helper_that_fails").output().unwrap();
    assert_eq!(output.status.code(), Some(101));
    // And the runner of cases passes it on: here by a name that matches none, and one that fails.
    let program = std::fs::read_link("/proc/self/exe").unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "what_cannot_be_passed_to_a_program_is_an_error"])
        .env(support::FAIL_ALL, "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(101));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 failed"), "{text}");
}

fn helper_that_fails() {
    panic!("on purpose");
}
