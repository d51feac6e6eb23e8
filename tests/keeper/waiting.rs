//! A keeper that is stopped or slow holds no call up, and starts nothing that was given up.

use std::process::Command;
use std::time::Duration;

use crossmist::{Error, func};

use crate::cases;
use crate::functions::{add, kill, long_sleep, parent};
use crate::support::{self, Case, this_program, within};

pub(crate) const CASES: &[Case] = cases![
    a_call_that_was_given_up_is_not_run,
    a_slow_keeper_is_waited_for_while_it_gets_on,
    a_stopped_keeper_holds_a_call_no_longer_than_its_deadline,
    a_keeper_that_starts_slowly_holds_a_call_no_longer_than_its_deadline,
];

pub(crate) const HELPERS: &[Case] = cases![helper_starts_slowly];

fn a_stopped_keeper_holds_a_call_no_longer_than_its_deadline() {
    let child = long_sleep();
    let keeper = parent(child.id().unwrap());
    child.kill().unwrap();
    drop(child);
    kill(keeper, libc::SIGSTOP);
    let result = within(Duration::from_millis(300), || {
        add.builder().deadline(Duration::from_millis(300)).run(5, 7)
    });
    assert!(
        matches!(result, Err(Error::Launch { .. } | Error::Deadline { .. })),
        "{result:?}"
    );
    kill(keeper, libc::SIGCONT);
    assert_eq!(add.run(5, 7).unwrap(), 12);
}

/// Whether this is the keeper of a copy of this program that was told so by a file.
pub(crate) fn start_is_slow() -> bool {
    let is_keeper = std::env::args().nth(1).as_deref() == Some("--crossmist-keeper");
    let program = std::env::current_exe().unwrap();
    is_keeper && program.with_file_name("slow").exists()
}

fn a_keeper_that_starts_slowly_holds_a_call_no_longer_than_its_deadline() {
    let directory = support::Directory::new();
    let program = directory.path().join("program");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    std::fs::write(directory.path().join("slow"), "").unwrap();
    let mut command = this_program("helper_starts_slowly");
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut copy = Command::new(&program);
    copy.args(arguments);
    for (name, value) in command.get_envs() {
        copy.env(name, value.unwrap_or_default());
    }
    assert!(copy.status().unwrap().success());
    // The control: this one isn't slow.
    assert!(command.arg("quickly").status().unwrap().success());
}

fn helper_starts_slowly() {
    // With that feature nothing comes before the entry, and nothing is slow.
    let quickly = support::case_arguments() == ["quickly"] || cfg!(feature = "early-entry");
    // The second waits for the first, and no longer, either.
    let time = Duration::from_millis(if quickly { 60_000 } else { 300 });
    let call = || add.builder().deadline(time).run(5, 7);
    within(Duration::from_secs(2), || {
        std::thread::scope(|scope| {
            let calls = [scope.spawn(call), scope.spawn(call)];
            for result in calls.map(|call| call.join().unwrap()) {
                assert_eq!(result.is_ok(), quickly, "{result:?}");
            }
        });
    });
}

#[func(sandbox = "worker")]
fn marks(file: std::fs::File) {
    use std::io::Write;
    (&file).write_all(b"it ran").unwrap();
}

fn a_call_that_was_given_up_is_not_run() {
    let child = long_sleep();
    let keeper = parent(child.id().unwrap());
    let path = std::env::temp_dir().join(format!("crossmist-late-{}", std::process::id()));
    let marked = || std::fs::read(&path).unwrap();
    let open = || std::fs::File::create(&path).unwrap();
    // The control: it marks the file.
    marks.run(open()).unwrap();
    assert_eq!(marked(), b"it ran");
    kill(keeper, libc::SIGSTOP);
    // Without a deadline, which would end it late, too: what counts is that nobody waits any more.
    let late = marks.run(open());
    kill(keeper, libc::SIGCONT);
    assert!(matches!(late, Err(Error::Launch { .. })), "{late:?}");
    // The keeper serves in order: it has looked at every earlier request.
    assert_eq!(add.run(1, 2).unwrap(), 3);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(marked(), b"");
    // One that was killed isn't made later, either.
    kill(keeper, libc::SIGSTOP);
    let child = marks.spawn(open()).unwrap();
    child.kill().unwrap();
    kill(keeper, libc::SIGCONT);
    within(Duration::from_secs(1), || {
        assert!(matches!(child.join(), Err(Error::Killed)));
    });
    assert_eq!(add.run(1, 2).unwrap(), 3);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(marked(), b"");
    std::fs::remove_file(path).unwrap();
}

fn a_slow_keeper_is_waited_for_while_it_gets_on() {
    let child = long_sleep();
    let keeper = parent(child.id().unwrap());
    kill(keeper, libc::SIGSTOP);
    let spawn = |number| (number, add.spawn(number, 1).unwrap());
    let mut children: Vec<_> = (0..200).map(spawn).collect();
    let (_, last) = children.pop().unwrap();
    // It takes some of the requests, and then none for longer than one of them may wait.
    kill(keeper, libc::SIGCONT);
    let (_, first) = children.remove(0);
    assert_eq!(first.join().unwrap(), 1);
    kill(keeper, libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(11));
    kill(keeper, libc::SIGCONT);
    // It was asked for this one long ago, and has others to start before that.
    assert_eq!(last.join().unwrap(), 200);
    for (number, child) in children {
        assert_eq!(child.join().unwrap(), number + 1);
    }
}
