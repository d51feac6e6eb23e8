//! Files that a child is passed, and paths that it is granted.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use crossmist::{Error, SandboxPolicy, UnusableKind, func};

use crate::cases;
use crate::support::{Case, Directory, raw};

pub(crate) const CASES: &[Case] = cases![
    metadata_of_a_passed_file_is_there_and_of_a_path_is_not,
    a_mapped_file_is_read_and_not_written,
    a_path_is_granted_by_a_variable,
    a_link_leads_nowhere_that_was_not_granted needs Truncation,
];

#[func(sandbox = "pure")]
pub(crate) fn metadata(mut file: File, path: String) -> (u64, bool, Option<i32>, String) {
    let found = file.metadata().unwrap();
    let mut text = String::new();
    file.seek(SeekFrom::Start(2)).unwrap();
    file.read_to_string(&mut text).unwrap();
    let by_path = std::fs::metadata(path)
        .err()
        .and_then(|error| error.raw_os_error());
    (found.len(), found.is_file(), by_path, text)
}

fn metadata_of_a_passed_file_is_there_and_of_a_path_is_not() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, "0123456789").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 10);
    let file = File::open(&path).unwrap();
    let found = metadata
        .run(file, path.to_str().unwrap().to_owned())
        .unwrap();
    assert_eq!(found, (10, true, Some(libc::EACCES), "23456789".to_owned()));
}

#[func(sandbox = "parser")]
fn maps(mut file: File) -> (String, Option<i32>) {
    // Crates map files like this: shared, for reading.
    let mapped = raw::map_shared(&file).unwrap();
    let text = String::from_utf8_lossy(&mapped).into_owned();
    let by_call = file.write_all(b"by a call").err();
    raw::map_and_overwrite(&file, b"by memory");
    let errno = |error: std::io::Error| error.raw_os_error();
    (text, by_call.and_then(errno))
}

fn a_mapped_file_is_read_and_not_written() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    let open = || File::options().read(true).write(true).open(&path).unwrap();
    let start = || std::fs::write(&path, "what it is").unwrap();
    // The control.
    start();
    assert_eq!(maps.call_unconfined(open()).0, "what it is");
    assert_eq!(std::fs::read(&path).unwrap(), b"by memorys");
    start();
    let (text, by_call) = maps.run(open()).unwrap();
    assert_eq!((text.as_str(), by_call), ("what it is", Some(libc::EFBIG)));
    assert_eq!(std::fs::read(&path).unwrap(), b"what it is");
}

#[func(sandbox = dynamic)]
fn reads(paths: Vec<String>) -> Vec<Result<String, Option<i32>>> {
    let read = |path: &String| std::fs::read_to_string(path).map_err(|error| error.raw_os_error());
    paths.iter().map(read).collect()
}

const READER: &str = r#"
    format = 1
    description = "Read one folder"
    extends = ["file-reader"]
    [variables]
    folder = { type = "dir", required = true }
    [filesystem]
    read = ["${folder}"]
    [process]
    user = "same"
"#;

fn a_link_leads_nowhere_that_was_not_granted() {
    let directory = Directory::new();
    let (top, outside) = (
        directory.path().join("top"),
        directory.path().join("outside"),
    );
    std::fs::create_dir_all(top.join("job")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    for folder in [&top.join("job"), &outside] {
        std::fs::write(folder.join("file"), "text").unwrap();
    }
    let folder = directory.path().join("policies");
    std::fs::create_dir(&folder).unwrap();
    let policy = |name: &str, rest: &str| {
        let text = format!("format = 1\nextends = [\"file-reader\"]\n{rest}");
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    };
    let grants = |path: &std::path::Path, how: &str| {
        format!("[filesystem]\n{how} = [\"{}\"]\n", path.display())
    };
    policy("top", &grants(&top, "read"));
    policy(
        "job",
        &format!("within = \"top\"\n{}", grants(&top.join("job"), "read")),
    );
    policy("kernel", &grants(&top.join("link"), "write"));
    let load = |name: &str| SandboxPolicy::load(&folder, name).unwrap();
    let file = top.join("job/file").to_str().unwrap().to_owned();
    let read = || reads.sandbox(&load("job")).run(vec![file.clone()]);
    // The control.
    assert_eq!(read().unwrap(), [Ok("text".to_owned())]);
    // A call before could have left this.
    std::fs::remove_dir_all(top.join("job")).unwrap();
    std::os::unix::fs::symlink(&outside, top.join("job")).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    let error = read().unwrap_err().to_string();
    assert!(error.contains("the ceiling `top` doesn't grant"), "{error}");
    assert!(error.contains(outside.to_str().unwrap()), "{error}");
    // Nor by a ceiling that would be led to the same, nor without one; and by no other name of it.
    let alias = directory.path().join("alias");
    std::os::unix::fs::symlink(top.join("job"), &alias).unwrap();
    for name in [top.join("job"), alias] {
        let both = format!(
            "{}create = [\"{}\"]\n",
            grants(&name, "read"),
            top.display()
        );
        policy("both", &both);
        policy(
            "below",
            &format!("within = \"both\"\n{}", grants(&name, "read")),
        );
        let read = |policy: &str| reads.sandbox(&load(policy)).run(vec![file.clone()]);
        for planted in ["both", "below"] {
            let error = read(planted).unwrap_err().to_string();
            assert!(error.contains("may make links"), "{planted}: {error}");
        }
        // The control: a folder of that name is granted.
        std::fs::remove_file(top.join("job")).unwrap();
        std::fs::create_dir(top.join("job")).unwrap();
        std::fs::write(&file, "text").unwrap();
        for honest in ["both", "below"] {
            assert_eq!(read(honest).unwrap(), [Ok("text".to_owned())], "{honest}");
        }
        std::fs::remove_dir_all(top.join("job")).unwrap();
        std::os::unix::fs::symlink(&outside, top.join("job")).unwrap();
    }
    // A file system of the kernel isn't written to, whatever its name is here.
    std::os::unix::fs::symlink("/proc/self", top.join("link")).unwrap();
    let error = reads.sandbox(&load("kernel")).run(vec![]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("whose files are the kernel itself"),
        "{error}"
    );
    std::fs::remove_file(top.join("link")).unwrap();
    std::os::unix::fs::symlink(&outside, top.join("link")).unwrap();
    assert_eq!(reads.sandbox(&load("kernel")).run(vec![]).unwrap(), []);
}

fn a_path_is_granted_by_a_variable() {
    let directory = Directory::new();
    let folder = directory.path().join("granted");
    std::fs::create_dir(&folder).unwrap();
    let (inside, outside) = (folder.join("a"), directory.path().join("b"));
    std::fs::write(&inside, "inside").unwrap();
    std::fs::write(&outside, "outside").unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let paths = vec![
        text(&inside),
        text(&outside),
        text(&folder.join("link")),
        text(&folder.join("../b")),
        text(&folder.join("missing")),
        "/proc/self/environ".to_owned(),
    ];
    let policy = SandboxPolicy::from_toml("reader", READER).unwrap();
    let found = reads
        .sandbox(&policy)
        .bind("folder", text(&folder))
        .run(paths.clone())
        .unwrap();
    let denied = Err(Some(libc::EACCES));
    assert_eq!(
        found,
        [
            Ok("inside".to_owned()),
            denied.clone(),
            denied.clone(),
            denied.clone(),
            Err(Some(libc::ENOENT)),
            denied,
        ]
    );
    // Unconfined, all that is there can be read.
    let everything = reads.call_unconfined(paths);
    assert_eq!(everything.iter().filter(|read| read.is_ok()).count(), 5);

    let refused = |builder: crossmist::Builder<_, (Vec<String>,)>| match builder.run(Vec::new()) {
        Err(Error::Policy { kind, reason, .. }) => (kind, reason),
        other => panic!("{other:?}"),
    };
    let (kind, unbound) = refused(reads.sandbox(&policy));
    assert_eq!(kind, UnusableKind::Variable);
    assert!(unbound.contains("`folder` has no value"), "{unbound}");
    let (kind, relative) = refused(reads.sandbox(&policy).bind("folder", "granted"));
    assert_eq!(kind, UnusableKind::Variable);
    assert!(relative.contains("absolute"), "{relative}");
    let (kind, missing) = refused(reads.sandbox(&policy).bind("folder", "/nowhere/at/all"));
    assert_eq!(kind, UnusableKind::Grant);
    assert!(
        missing.contains("/nowhere/at/all") && missing.contains("optional"),
        "{missing}"
    );
    let (kind, misspelt) = refused(reads.sandbox(&policy).bind("foldr", "/"));
    assert_eq!(kind, UnusableKind::Variable);
    assert!(misspelt.contains("it has folder"), "{misspelt}");
    let (kind, moved) = refused(
        reads
            .sandbox(&policy)
            .bind("folder", text(&folder))
            .current_dir("/"),
    );
    assert_eq!(kind, UnusableKind::Option);
    assert!(moved.contains("working directory"), "{moved}");
}
