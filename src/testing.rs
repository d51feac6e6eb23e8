//! Tries in real children what a policy expects of itself.

use crossmist_policy::bpf::SAMPLE_PID;
use crossmist_policy::{Arch, Expected, Folder, Policy, Subject, home};

use crate::confine::SandboxPolicy;
use crate::sys::raw;
use crate::{Error, Object};

/// How long an attempt may take. A call that waits for ever was allowed to.
const PROBE_TIMEOUT: &str = "2s";

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It did what was asked, or ended in another way that is not a denial.
    Happened,
    /// It failed with this error number.
    Failed(i32),
    /// The child was ended for it.
    Violation,
    /// The kernel killed the child, which could say nothing.
    Killed,
    /// The attempt says nothing, for this reason.
    Unknown(String),
}

#[derive(Clone, Debug, Object)]
enum Attempt {
    Call { number: u32, arguments: [u64; 6] },
    Path { path: String, write: bool },
    Probe(String),
}

#[crossmist::func(sandbox = dynamic)]
#[expect(
    unsafe_code,
    reason = "what a policy denies or allows is known by trying it"
)]
fn make(attempt: Attempt) -> Result<i64, i32> {
    match attempt {
        Attempt::Call {
            number,
            mut arguments,
        } => {
            for argument in &mut arguments {
                if *argument == u64::from(SAMPLE_PID) {
                    *argument = std::process::id().into();
                }
            }
            // SAFETY: this process was started to make this call, and ends after it has told the result,
            // which its parent takes as that of an attacker (`judge`).
            unsafe { raw::call(number, arguments) }
        }
        Attempt::Path { path, write } => {
            let opened = std::fs::OpenOptions::new()
                .read(!write)
                .write(write)
                .open(path);
            outcome(opened)
        }
        Attempt::Probe(name) => match name.as_str() {
            "spawn_thread" => outcome(std::thread::Builder::new().spawn(|| ())),
            "spawn_process" => outcome(std::process::Command::new("/proc/self/exe").spawn()),
            "open_socket" => outcome(std::net::UdpSocket::bind("127.0.0.1:0")),
            "allocate" => Ok(i64::from(std::hint::black_box(vec![1u8; 1 << 20])[7])),
            "panic" => {
                outcome(std::panic::catch_unwind(|| panic!("as asked")).map_or(Ok(()), |()| Ok(())))
            }
            _ => Err(libc::ENOSYS),
        },
    }
}

fn outcome<T>(result: std::io::Result<T>) -> Result<i64, i32> {
    match result {
        Ok(_) => Ok(0),
        Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// The values that `[[expect]] probe` may have.
pub const PROBES: &[&str] = &[
    "spawn_thread",
    "spawn_process",
    "open_socket",
    "allocate",
    "panic",
];

/// Tries an expectation in a child under the policy.
pub fn try_out(policy: &SandboxPolicy, expected: &Expected) -> Tried {
    let asked = match &expected.subject {
        Subject::Call { call, .. } => {
            let host = Arch::host().and_then(|arch| Some((arch, call.number(arch)?)));
            let Some((arch, number)) = host else {
                return Tried::Unknown("this architecture has no such call".to_owned());
            };
            Attempt::Call {
                number,
                arguments: expected.subject.arguments(arch),
            }
        }
        Subject::Path { path, write } => {
            if path.contains("${") {
                return Tried::Unknown("its variables have no values here".to_owned());
            }
            if !std::path::Path::new(path).exists() {
                return Tried::Unknown("there is no such path here".to_owned());
            }
            Attempt::Path {
                path: path.clone(),
                write: *write,
            }
        }
        Subject::Probe(name) if PROBES.contains(&name.as_str()) => Attempt::Probe(name.clone()),
        Subject::Probe(name) => {
            let known = PROBES.join(", ");
            return Tried::Unknown(format!("there is no probe `{name}`; there are {known}"));
        }
    };
    // Policies that are stricter than this stay as they are.
    let policy = policy
        .narrow(&[("wall_time", PROBE_TIMEOUT)])
        .unwrap_or_else(|_| policy.clone());
    match make.sandbox(&policy).run(asked) {
        Ok(Ok(_)) => Tried::Happened,
        Ok(Err(errno)) => Tried::Failed(errno),
        Err(Error::Violation(violation)) => match violation.claim {
            Some(_) => Tried::Violation,
            None => Tried::Killed,
        },
        Err(
            error @ (Error::Policy { .. }
            | Error::Confine { .. }
            | Error::Launch { .. }
            | Error::KeeperDied
            | Error::NotEntered
            | Error::Unsupported { .. }),
        ) => Tried::Unknown(error.to_string()),
        // It died of something else, or timed out: nothing prevented it.
        Err(_) => Tried::Happened,
    }
}

/// Returns whether an attempt ended as the policy expects, or the reason why not.
pub fn judge(expected: &Expected, tried: &Tried) -> Result<(), String> {
    let is_path = matches!(expected.subject, Subject::Path { .. });
    let holds = match (expected.is.as_str(), tried) {
        (_, Tried::Unknown(reason)) => return Err(reason.clone()),
        // The call was made. How it ended does not matter.
        ("allowed", Tried::Failed(_)) if is_path => false,
        ("allowed" | "emulated", Tried::Happened | Tried::Failed(_)) => true,
        ("violation", Tried::Violation | Tried::Killed) => true,
        ("killed", Tried::Killed) => true,
        // A denied path returns an error, unless opening any path is a violation.
        ("denied", Tried::Violation | Tried::Killed) => true,
        ("denied", Tried::Failed(errno)) => *errno == libc::EACCES,
        (name, Tried::Failed(errno)) => crossmist_policy::errno(name) == u16::try_from(*errno).ok(),
        _ => false,
    };
    match holds {
        true => Ok(()),
        false => Err(match tried {
            Tried::Happened => "it happened".to_owned(),
            Tried::Failed(errno) => std::io::Error::from_raw_os_error(*errno).to_string(),
            Tried::Violation => "it was a violation".to_owned(),
            Tried::Killed => "the child was killed".to_owned(),
            Tried::Unknown(reason) => reason.clone(),
        }),
    }
}

/// Tests every policy of a crate: what [`policy_tests!`](crate::policy_tests) does.
///
/// Each policy is compiled for all architectures, which checks it against its `[[expect]]`s. If
/// `live` is set, each expectation is also tried in a real child.
pub fn test_policies(manifest: &str, live: bool) -> Result<usize, String> {
    let named = std::env::var_os(home::VARIABLE).filter(|folder| !folder.is_empty());
    let folder = home::find(named.map(Into::into), Some(manifest.into()))?;
    let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", folder.display());
    let mut failures = Vec::new();
    let mut tested = 0usize;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    for path in paths {
        let is_policy = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let Some(name) = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .filter(|_| is_policy)
        else {
            continue;
        };
        let policy = match Policy::load(&Folder::new(&folder), name) {
            Ok(policy) => policy,
            Err(report) => {
                failures.push(format!("the policy `{name}`:\n{report}"));
                continue;
            }
        };
        let sandbox = SandboxPolicy::load(&folder, name).map_err(|error| error.to_string())?;
        for expected in policy.expected() {
            tested = tested.saturating_add(1);
            if !live {
                continue;
            }
            let tried = try_out(&sandbox, &expected);
            match judge(&expected, &tried) {
                Ok(()) => {}
                // An expectation that cannot be tried here is still checked against the filter.
                Err(_) if matches!(&tried, Tried::Unknown(_)) && can_not_be_tried(&expected) => {}
                Err(reason) => failures.push(format!(
                    "{}: `{}` is expected to be {}: {reason}",
                    expected.location, expected.text, expected.is
                )),
            }
        }
    }
    match failures.as_slice() {
        [] => Ok(tested),
        failures => Err(failures.join("\n\n")),
    }
}

/// Returns whether the path does not exist, or has variables in it.
fn can_not_be_tried(expected: &Expected) -> bool {
    matches!(&expected.subject, Subject::Path { path, .. }
        if path.contains("${") || !std::path::Path::new(path).exists())
}
