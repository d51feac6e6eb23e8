//! The threads of this process.

use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;

use super::system_files;
use super::system_files::read_proc;

/// How many threads are named.
const NAMED: usize = 8;

/// Describes the threads that this process has besides the calling one, for an error: how many, and
/// their names.
pub(crate) fn others() -> String {
    match names_of_others() {
        Ok(names) if names.is_empty() => "threads beside its first one".to_owned(),
        Ok(names) => list(&names),
        Err(error) => {
            format!("threads beside its first one (/proc/self/task would name them: {error})")
        }
    }
}

fn list(names: &[String]) -> String {
    let mut text = match names.len() {
        1 => "1 thread beside its first one: ".to_owned(),
        count => format!("{count} threads beside its first one: "),
    };
    for (index, name) in names.iter().take(NAMED).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}`{}`", name.escape_debug());
    }
    if names.len() > NAMED {
        text.push_str(", …");
    }
    text
}

fn names_of_others() -> io::Result<Vec<String>> {
    let own = nix::unistd::gettid().to_string();
    let tasks = nix::dir::Dir::openat(
        system_files::proc()?.as_fd(),
        "self/task",
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let mut names = Vec::new();
    for entry in tasks {
        let id = entry?.file_name().to_string_lossy().into_owned();
        if id.starts_with('.') || id == own {
            continue;
        }
        // It may have ended meanwhile.
        if let Ok(name) = read_proc(&format!("/proc/self/task/{id}/comm")) {
            names.push(name.trim_end().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_is_counted_and_named() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (started, is_started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("counted\u{1b}".to_owned());
        let thread = thread
            .spawn(move || {
                started.send(()).unwrap();
                stopped.recv()
            })
            .unwrap();
        is_started.recv().unwrap();
        // Among those of other tests.
        let names = super::names_of_others().unwrap();
        let name = "counted\u{1b}".to_owned();
        assert!(names.contains(&name), "{names:?}");
        assert!(super::others().contains("beside its first one: `"));
        drop(stop);
        let _ = thread.join().unwrap();

        let text = super::list(&[name]);
        assert_eq!(text, r"1 thread beside its first one: `counted\u{1b}`");
        let text = super::list(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(text, "2 threads beside its first one: `a`, `b`");
        let text = super::list(&[const { String::new() }; super::NAMED + 1]);
        assert!(text.ends_with("``, …"), "{text}");
    }
}
