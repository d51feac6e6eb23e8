use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_path_by_way_of_an_open_file_is_that_files() {
    use std::os::fd::AsRawFd;

    let name = format!("crossmist-by-fd-{}", std::process::id());
    let folder = std::env::temp_dir().canonicalize().unwrap().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let at = folder.join("file");
    std::fs::write(&at, "").unwrap();
    let file = File::open(&at).unwrap();
    let open = File::open(&folder).unwrap();
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let thread = thread
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let seen = |path: String| by_own_links(Path::new(&path), thread, true);
    let cwd = std::env::current_dir().unwrap();
    for link in ["/proc/self/fd", "/proc/thread-self/fd", "/dev/fd"] {
        assert_eq!(seen(format!("{link}/{}", file.as_raw_fd())), at);
        assert_eq!(seen(format!("{link}/{}/file", open.as_raw_fd())), at);
    }
    assert_eq!(seen("/proc/self/cwd/x".to_owned()), cwd.join("x"));
    // What has no path keeps the one by which it was opened, and so does what is no link of this kind.
    std::fs::remove_file(&at).unwrap();
    let removed = format!("/proc/self/fd/{}", file.as_raw_fd());
    for path in [
        &removed,
        "/proc/self/status",
        "/proc/selfish/fd/0",
        "/proc/self/fd/x",
        "/dev/null",
    ] {
        assert_eq!(seen(path.to_owned()), Path::new(path));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_link_of_each_process_is_what_a_call_names_that_is_about_the_link() {
    let thread = nix::unistd::gettid().as_raw().unsigned_abs();
    let seen =
        |path: &str, follows| settled(&by_own_links(Path::new(path), thread, follows), follows);
    for link in [
        "/proc/self/exe",
        "/proc/self/cwd",
        "/proc/self/root",
        "/proc/self/fd/0",
        "/proc/thread-self/exe",
        "/dev/fd/0",
        "/dev/stdin",
    ] {
        assert_eq!(seen(link, false), Path::new(link));
    }
    // In any spelling.
    for (path, link) in [
        ("/dev//stdin", "/dev/stdin"),
        ("/dev/./fd/0", "/dev/fd/0"),
        ("/proc//self/./fd//0", "/proc/self/fd/0"),
    ] {
        for follows in [true, false] {
            assert_eq!(settled(Path::new(path), follows), Path::new(link));
        }
    }
    // Whether it is there is asked of the process that names it.
    // It ends with this process, whatever comes of the test.
    let other = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut other = other.unwrap();
    let is_there = |path: String, thread| {
        let paths = Paths {
            path: Some(path.into_bytes()),
            ..Paths::default()
        };
        paths.is_there_for(thread)
    };
    for (own, asks) in [(thread, other.id()), (other.id(), thread)] {
        let path = format!("/proc/self/task/{own}");
        assert_eq!(is_there(path.clone(), own), Some(true));
        assert_eq!(is_there(path, asks), Some(false));
    }
    for path in ["/dev/fd/0", "/dev/stdin", "/proc/self/fd/0"] {
        assert_eq!(is_there(path.to_owned(), other.id()), Some(true));
    }
    other.kill().unwrap();
    other.wait().unwrap();
    // The controls: a call that follows it, and a path that goes on.
    let program = std::env::current_exe().unwrap().canonicalize().unwrap();
    assert_eq!(seen("/proc/self/exe", true), program);
    let cwd = std::env::current_dir().unwrap().canonicalize().unwrap();
    assert_eq!(seen("/proc/self/cwd/x", false), cwd.join("x"));
}

#[test]
fn a_process_is_not_named_by_its_number_in_its_own_entry() {
    let thread = nix::unistd::gettid().as_raw().unsigned_abs();
    let process = std::process::id();
    for (path, own) in [
        (format!("/proc/{process}/status"), "/proc/self/status"),
        (format!("/proc/{thread}/fd"), "/proc/self/fd"),
        (format!("/proc/{process}"), "/proc/self"),
        // Another one, and no number.
        (
            format!("/proc/{}/status", u32::MAX),
            "/proc/4294967295/status",
        ),
        ("/proc/meminfo".to_owned(), "/proc/meminfo"),
    ] {
        assert_eq!(by_self(Path::new(&path), thread), Path::new(own));
    }
    // A link leads the reader to its own.
    let name = format!("crossmist-own-entry-{process}");
    let link = std::env::temp_dir().join(name);
    for target in [
        "/proc/self/mounts",
        "/proc/thread-self/mounts",
        "/proc/meminfo",
    ] {
        symlink(target, &link).unwrap();
        assert_eq!(settled(&link, true), Path::new(target));
        std::fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_path_from_an_open_folder_of_proc_is_by_no_number() {
    use std::os::fd::AsRawFd;

    let folder = File::open("/proc/self/fd").unwrap();
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    let name = std::ffi::CString::new(program.as_raw_fd().to_string()).unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let asks = |call: &str| {
        let call = crossmist_policy::syscalls::find(call).unwrap();
        let asked = Asked::of(
            nix::unistd::gettid().as_raw().unsigned_abs(),
            [folder.as_raw_fd() as u64, name.as_ptr() as u64, 0, 0, 0, 0],
        );
        let path = Paths::of(&memory, &asked, call).path.unwrap();
        PathBuf::from(OsStr::from_bytes(&path))
    };
    // About the link, and about what it leads to.
    let link = format!("/proc/self/fd/{}", program.as_raw_fd());
    assert_eq!(asks("readlinkat"), Path::new(&link));
    let target = std::env::current_exe().unwrap().canonicalize().unwrap();
    assert_eq!(asks("openat"), target);
}

#[test]
fn a_file_that_is_mapped_as_code_is_told_from_one_that_is_not() {
    use std::os::fd::AsRawFd;

    let thread = nix::unistd::gettid().as_raw().unsigned_abs();
    let program = std::env::current_exe().unwrap().canonicalize().unwrap();
    let is_code = |path: &Path| is_mapped_as_code(path.as_os_str().as_bytes(), thread);
    assert_eq!(is_code(&program), Some(true));
    // The end of its path is the path of nothing that is mapped.
    assert_eq!(
        is_code(Path::new(program.file_name().unwrap())),
        Some(false)
    );
    assert_eq!(is_code(Path::new("/etc/passwd")), Some(false));
    // A list that can't be read, or not to its end, may have it.
    assert_eq!(is_mapped_as_code(b"/etc/passwd", u32::MAX), None);
    let line = b"55d0-55d1 r-xp 00000000 fd:00 7   /usr/lib/libz.so.1\n";
    let long = line.repeat(usize::try_from(MAPS_BYTES).unwrap() / line.len() + 1);
    let other = b"/usr/lib/libm.so.6";
    assert_eq!(lists_as_code(other, long.as_slice()), None);
    assert_eq!(lists_as_code(other, &line[..]), Some(false));
    for list in [&line[..], &long] {
        assert_eq!(lists_as_code(b"/usr/lib/libz.so.1", list), Some(true));
    }
    // What is to be mapped is known by its descriptor.
    let file = File::open(&program).unwrap();
    assert_eq!(mapped_file(thread, file.as_raw_fd()), Some(program));
    assert_eq!(mapped_file(thread, -1), None);
}

#[test]
fn a_path_is_settled_as_the_call_follows_it() {
    let folder = std::env::temp_dir().join(format!("crossmist-settled-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("real")).unwrap();
    let folder = folder.canonicalize().unwrap();
    std::fs::write(folder.join("real/file"), "").unwrap();
    symlink("real", folder.join("folder")).unwrap();
    symlink("real/file", folder.join("link")).unwrap();
    symlink("folder/none", folder.join("dangling")).unwrap();
    symlink("loop", folder.join("loop")).unwrap();
    for (path, followed, not_followed) in [
        ("folder/file", "real/file", "real/file"),
        ("link", "real/file", "link"),
        ("dangling", "real/none", "dangling"),
        ("folder/new", "real/new", "real/new"),
        ("loop", "loop", "loop"),
    ] {
        let path = folder.join(path);
        assert_eq!(settled(&path, true), folder.join(followed), "{path:?}");
        assert_eq!(settled(&path, false), folder.join(not_followed), "{path:?}");
    }
    let there = |path: &str, follows| {
        let path = folder.join(path).into_os_string().into_encoded_bytes();
        let paths = Paths {
            path: Some(path),
            follows,
            ..Paths::default()
        };
        paths.is_there()
    };
    for (path, follows, is_there) in [
        ("dangling", false, Some(true)),
        ("dangling", true, Some(false)),
        ("link", true, Some(true)),
        ("link", false, Some(true)),
        ("none", false, Some(false)),
        ("real/file/below", false, Some(false)),
        // What lies at the end of these is not known.
        ("loop", true, None),
        (&"real/".repeat(2000), false, None),
    ] {
        assert_eq!(there(path, follows), is_there, "{path}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
