//! File systems that are mounted beneath a folder that a policy grants.

mod support;

use std::path::Path;

use crossmist::{Error, SandboxPolicy, func};
use nix::mount::{MsFlags, mount, umount};
use support::Directory;

fn main() {
    crossmist::init();
    support::main(
        cases![a_folder_does_not_grant_kernel_file_systems_beneath_it needs Root Truncation],
        cases![],
    );
}

fn write_to(path: &str, text: &str) -> Result<(), Option<i32>> {
    let mut options = std::fs::File::options();
    let file = options.write(true).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|error| error.raw_os_error())
}

#[func(sandbox = dynamic)]
fn writes(path: String, text: String) -> Result<(), Option<i32>> {
    write_to(&path, &text)
}

#[func(sandbox = dynamic)]
fn reads(path: String) -> bool {
    std::fs::read(path).is_ok()
}

/// A mount of nothing but its type, such as `proc`.
fn mount_new(kind: &str, on: &Path) {
    mount(Some(kind), on, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
}

fn a_folder_does_not_grant_kernel_file_systems_beneath_it() {
    // Nobody else sees the mounts.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let directory = Directory::new();
    let out = directory.path().join("out");
    let point = out.join("a folder/deep");
    std::fs::create_dir_all(&point).unwrap();
    std::fs::write(out.join("file"), "").unwrap();
    let policy = |how: &str| {
        let text = format!(
            "format = 1\nextends = [\"file-reader\"]\n[filesystem]\n{how} = [\"{}\"]\n\
             [process]\nuser = \"same\"\n[limits]\nfile_size = \"1MiB\"\n",
            out.display()
        );
        SandboxPolicy::from_toml("own", &text).unwrap()
    };
    let (file, score) = (out.join("file"), point.join("self/oom_score_adj"));
    let (file, score) = (file.to_str().unwrap(), score.to_str().unwrap());
    let write = |path: &str, text: &str| {
        let (path, text) = (path.to_owned(), text.to_owned());
        writes.sandbox(&policy("write")).run(path, text)
    };
    // Controls.
    assert_eq!(write(file, "text").unwrap(), Ok(()));
    mount_new("tmpfs", &point);
    assert_eq!(write(file, "text").unwrap(), Ok(()));
    umount(&point).unwrap();
    mount_new("proc", &point);
    assert_eq!(write_to(score, "7"), Ok(()));

    for how in ["write", "create"] {
        let refused = writes
            .sandbox(&policy(how))
            .run(score.to_owned(), "8".to_owned());
        let Err(Error::Policy { .. }) = &refused else {
            panic!("{refused:?}")
        };
        let text = refused.unwrap_err().to_string();
        let place = format!("mounted beneath it, proc on `{}`", point.display());
        assert!(text.contains(&place), "{text}");
        assert!(text.contains("unmount that"), "{text}");
    }
    assert_eq!(std::fs::read_to_string(score).unwrap(), "7\n");
    // To read it is another matter.
    assert!(reads.sandbox(&policy("read")).run(file.to_owned()).unwrap());
    // By a name of the folder that doesn't show it.
    let other = directory.path().join("other");
    std::os::unix::fs::symlink(&out, &other).unwrap();
    let text = format!(
        "format = 1\nextends = [\"file-reader\"]\n[filesystem]\nwrite = [\"{}\"]\n",
        other.display()
    );
    let linked = SandboxPolicy::from_toml("linked", &text).unwrap();
    let refused = writes.sandbox(&linked).run(file.to_owned(), "8".to_owned());
    assert!(refused.unwrap_err().to_string().contains("proc on"));
    umount(&point).unwrap();
    assert_eq!(write(file, "text").unwrap(), Ok(()));
}
