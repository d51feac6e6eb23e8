//! Calls that a policy answers with an error number: a program or a policy can ask to be told of them.

mod support;

use std::ffi::CString;
use std::process::{Command, Output};

use crossmist::{Error, Pool, SandboxPolicy, func};
use support::raw;

fn main() {
    crossmist::init();
    support::main(
        cases![
            nobody_is_told_unless_the_program_asks,
            a_policy_can_ask_for_itself_alone,
            each_denied_call_is_told_once_with_its_count_and_its_cure,
            what_a_child_names_forges_no_line,
            a_report_of_a_call_that_the_filter_does_not_answer_so_is_dropped,
            a_dangerous_cure_is_told_with_its_danger,
            different_calls_beyond_a_few_are_counted_in_one_line,
            a_policy_that_traps_is_not_traced,
            a_child_gets_the_same_errors_whether_it_is_traced_or_not,
            a_traced_child_starts_threads,
            a_violation_is_one_as_before,
            very_many_denials_harm_nobody,
            children_of_a_pool_are_traced,
            a_denial_in_the_middle_of_an_answer_does_not_end_it,
        ],
        cases![
            helper_opens,
            helper_opens_traced,
            helper_forges,
            helper_reports_falsely,
            helper_writes,
            helper_opens_different,
            helper_traps,
            helper_answers,
            helper_threads,
            helper_violates,
            helper_many,
            helper_pool,
            helper_meanwhile,
        ],
    );
}

/// Runs a helper with a value of the variable, and returns what it printed.
#[track_caller]
fn output(helper: &str, value: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--case", helper]);
    command.env_remove("CROSSMIST_TRACE_DENIALS");
    command.envs(value.map(|value| ("CROSSMIST_TRACE_DENIALS", value)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Returns the lines about denied calls.
fn told(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let ours = text.lines().filter(|line| line.contains(" was answered "));
    ours.map(str::to_owned).collect()
}

#[func(sandbox = "parser")]
fn open(path: String, times: u32) -> i32 {
    let mut last = 0;
    for _ in 0..times {
        let error = std::fs::File::open(&path).unwrap_err();
        last = error.raw_os_error().unwrap_or(0);
    }
    last
}

fn helper_opens() {
    let path = "/usr/share/fonts".to_owned();
    assert_eq!(open.run(path, 3).unwrap(), libc::EACCES);
}

fn nobody_is_told_unless_the_program_asks() {
    for value in [None, Some(""), Some("0")] {
        assert_eq!(told(&output("helper_opens", value)), [""; 0], "{value:?}");
    }
    // The control.
    assert_eq!(told(&output("helper_opens", Some("1"))).len(), 1);
}

#[func(sandbox = "parser", trace_denials = true)]
fn open_traced(path: String) -> i32 {
    let error = std::fs::File::open(path).unwrap_err();
    error.raw_os_error().unwrap_or(0)
}

fn helper_opens_traced() {
    let path = "/usr/share/fonts".to_owned();
    assert_eq!(open_traced.run(path).unwrap(), libc::EACCES);
    assert_eq!(open.run("/of/another".to_owned(), 1).unwrap(), libc::EACCES);
}

fn a_policy_can_ask_for_itself_alone() {
    for value in [None, Some("0")] {
        let told = told(&output("helper_opens_traced", value));
        let [line] = told.as_slice() else {
            panic!("{value:?}: {told:?}");
        };
        assert!(line.contains("traced_denials::open_traced`"), "{line}");
    }
    // The control: by the environment, all are told.
    assert_eq!(told(&output("helper_opens_traced", Some("1"))).len(), 2);
}

fn each_denied_call_is_told_once_with_its_count_and_its_cure() {
    let told = told(&output("helper_opens", Some("1")));
    let [line] = told.as_slice() else {
        panic!("{told:?}");
    };
    for part in [
        "traced_denials::open` under the policy `parser`: openat(",
        "/usr/share/fonts",
        "was answered EACCES at least 3 times; to allow it: [filesystem] read = [\"/usr/share/fonts\"]",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

fn helper_forges() {
    let path = "/a\nwas answered EPERM\u{1b}[2J".to_owned();
    assert_eq!(open.run(path, 1).unwrap(), libc::EACCES);
}

fn what_a_child_names_forges_no_line() {
    let output = output("helper_forges", Some("1"));
    let told = told(&output);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("crossmist: "), "{told:?}");
    assert!(!output.stderr.contains(&0x1b));
}

/// Returns the packet by which a handler would report a call that failed with an error number.
fn report(arch: u32, number: i64, errno: i32, path: &str) -> Vec<u8> {
    let mut packet = vec![0xC3, u8::try_from(errno).unwrap()];
    packet.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
    packet.extend(u32::try_from(number).unwrap().to_le_bytes());
    packet.extend(arch.to_le_bytes());
    packet.resize(208, 0);
    packet.extend(path.as_bytes());
    packet
}

/// Writes packets to the socket of its reports.
#[func(sandbox = "parser")]
fn reports(packets: Vec<Vec<u8>>) -> u8 {
    for packet in packets {
        raw::send(raw::launch_socket(), &packet).unwrap();
    }
    7
}

fn helper_reports_falsely() {
    const ARCH: u32 = match cfg!(target_arch = "x86_64") {
        true => 0xc000_003e,
        false => 0xc000_00b7,
    };
    let packets = vec![
        // The filter kills a process that makes this call.
        report(ARCH, libc::SYS_execve, libc::EPERM, "/bin/sh"),
        // It allows this one.
        report(ARCH, libc::SYS_read, libc::EACCES, ""),
        // It answers this one with another number.
        report(ARCH, libc::SYS_openat, libc::EPERM, "/forged"),
        // It kills a process that makes a call of another architecture.
        report(7, libc::SYS_openat, libc::EACCES, "/foreign"),
        // The control: it answers this one so.
        report(ARCH, libc::SYS_openat, libc::EACCES, "/believed"),
    ];
    assert_eq!(reports.run(packets).unwrap(), 7);
}

fn a_report_of_a_call_that_the_filter_does_not_answer_so_is_dropped() {
    let told = told(&output("helper_reports_falsely", Some("1")));
    let [line] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(line.contains("/believed"), "{line}");
}

#[func(sandbox = "parser")]
fn write(path: String) -> i32 {
    let error = std::fs::File::create(path).unwrap_err();
    error.raw_os_error().unwrap_or(0)
}

fn helper_writes() {
    assert_eq!(write.run("/tmp/log".to_owned()).unwrap(), libc::EACCES);
}

fn a_dangerous_cure_is_told_with_its_danger() {
    let danger = "; careful: hostile input decides what is ";
    let writes = told(&output("helper_writes", Some("1")));
    let [line] = writes.as_slice() else {
        panic!("{writes:?}");
    };
    assert!(line.contains("; to allow it: "), "{line}");
    assert!(line.contains(danger), "{line}");
    // The control: reading a file is no such danger.
    let reads = told(&output("helper_opens", Some("1")));
    assert!(!reads.concat().contains("careful"), "{reads:?}");
}

#[func(sandbox = "parser")]
fn open_different(count: u32) -> usize {
    let refused = |number: &u32| std::fs::File::open(format!("/{number}")).is_err();
    (0..count).filter(refused).count()
}

fn helper_opens_different() {
    assert_eq!(open_different.run(40).unwrap(), 40);
}

fn different_calls_beyond_a_few_are_counted_in_one_line() {
    let output = output("helper_opens_different", Some("1"));
    let lines = told(&output);
    assert_eq!(lines.len(), 8, "{lines:?}");
    for (number, line) in lines.iter().enumerate() {
        assert!(line.contains(&format!("\"/{number}\"")), "{line}");
    }
    let text = String::from_utf8(output.stderr).unwrap();
    let rest = "traced_denials::open_different` under the policy `parser`: at least 32 other calls \
                failed with an error number";
    assert_eq!(text.matches(rest).count(), 1, "{text}");
}

/// Opens a file that may not be opened.
#[func(sandbox = dynamic)]
fn open_trapped(path: String) -> i32 {
    let error = std::fs::File::open(path).unwrap_err();
    error.raw_os_error().unwrap_or(0)
}

fn helper_traps() {
    for word in ["trap", "kill"] {
        let text =
            format!("format = 1\nextends = [\"parser\"]\n[syscalls]\non_violation = \"{word}\"\n");
        let policy = SandboxPolicy::from_toml(word, &text).unwrap();
        let result = open_trapped.sandbox(&policy).run("/trapped".to_owned());
        assert_eq!(result.unwrap(), libc::EACCES);
    }
}

fn a_policy_that_traps_is_not_traced() {
    let told = told(&output("helper_traps", Some("1")));
    // The control: the other policy is.
    let [line] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(line.contains("under the policy `kill`"), "{line}");
}

/// The results of calls that no parser needs.
#[func(sandbox = "parser")]
fn ask() -> Vec<(i64, i32)> {
    let path = CString::new("/nothing").unwrap();
    let path = path.as_ptr() as u64;
    let at = libc::AT_FDCWD as u64;
    [
        (libc::SYS_openat, [at, path, 0, 0, 0, 0]),
        (libc::SYS_faccessat, [at, path, 0, 0, 0, 0]),
        (libc::SYS_clone3, [0, 0, 0, 0, 0, 0]),
        (libc::SYS_getpid, [0; 6]),
        // At an address that cannot be read.
        (libc::SYS_openat, [at, 8, 0, 0, 0, 0]),
    ]
    .into_iter()
    .map(|(number, arguments)| match raw::call(number, arguments) {
        Ok(_) => (0, 0),
        Err(error) => (-1, error.raw_os_error().unwrap_or(0)),
    })
    .collect()
}

fn helper_answers() {
    println!("{:?}", ask.run());
}

fn a_child_gets_the_same_errors_whether_it_is_traced_or_not() {
    let [plain, traced] = [None, Some("1")].map(|value| output("helper_answers", value));
    assert_eq!(
        String::from_utf8_lossy(&plain.stdout),
        String::from_utf8_lossy(&traced.stdout)
    );
    assert!(plain.stdout.starts_with(b"Ok("), "{plain:?}");
    let told = told(&traced);
    // `clone3` is not among them: C libraries try it while they block all signals.
    for call in ["openat(", "faccessat("] {
        assert!(told.iter().any(|line| line.contains(call)), "{told:?}");
    }
    assert!(!told.iter().any(|line| line.contains("clone3")), "{told:?}");
}

#[func(sandbox = "parser")]
fn thread() -> u32 {
    std::thread::spawn(|| 7).join().unwrap()
}

fn helper_threads() {
    assert_eq!(thread.run().unwrap(), 7);
}

fn a_traced_child_starts_threads() {
    output("helper_threads", Some("1"));
}

#[func(sandbox = "parser")]
fn violate(path: String) {
    let _ = std::fs::File::open(path);
    let _ = raw::call(libc::SYS_socket, [2, 1, 0, 0, 0, 0]);
}

fn helper_violates() {
    let result = violate.run("/somewhere".to_owned());
    let Err(Error::Violation(violation)) = result else {
        panic!("{result:?}");
    };
    let claim = violation.claim.unwrap();
    assert!(claim.call.starts_with("socket("), "{claim:?}");
}

fn a_violation_is_one_as_before() {
    assert_eq!(told(&output("helper_violates", None)), [""; 0]);
    let told = told(&output("helper_violates", Some("1")));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("/somewhere"), "{told:?}");
}

#[func(sandbox = "parser")]
fn open_many() -> usize {
    let refused = |number: &u32| std::fs::File::open(format!("/{number}")).is_err();
    (0..20_000).filter(refused).count()
}

fn helper_many() {
    assert_eq!(open_many.run().unwrap(), 20_000);
}

fn very_many_denials_harm_nobody() {
    let told = told(&output("helper_many", Some("1")));
    assert!((1..=8).contains(&told.len()), "{} lines", told.len());
}

fn helper_pool() {
    let pool = Pool::of(open).workers(1).spares(1).build().unwrap();
    for number in 0..3 {
        let path = format!("/in/a/pool/{number}");
        assert_eq!(pool.run(path, 1).unwrap(), libc::EACCES);
    }
}

fn children_of_a_pool_are_traced() {
    let told = told(&output("helper_pool", Some("1")));
    assert_eq!(told.len(), 3, "{told:?}");
}

const LENGTH: usize = 8 << 20;

#[func(sandbox = "parser")]
fn answers_beside_denials() -> Vec<u8> {
    std::thread::spawn(|| {
        for number in 0..200 {
            let _ = std::fs::File::open(format!("/beside/{}", number % 8));
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
    });
    vec![7; LENGTH]
}

fn helper_meanwhile() {
    for _ in 0..20 {
        let answer = answers_beside_denials.run().unwrap();
        assert_eq!(answer.len(), LENGTH);
        assert!(answer.iter().all(|byte| *byte == 7));
    }
}

fn a_denial_in_the_middle_of_an_answer_does_not_end_it() {
    let told = told(&output("helper_meanwhile", Some("1")));
    assert!(
        told.iter().any(|line| line.contains("/beside/")),
        "{told:?}"
    );
}
