//! A database, archives and fonts.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crossmist::func;

use crate::support::{Case, Directory};
use crate::{denied, recipe};

pub(crate) const CASES: &[Case] = cases![
    a_database_is_kept_in_its_folder_and_no_other_is_opened,
    an_archive_is_unpacked_into_its_folder_and_makes_no_links,
    an_archive_makes_no_pipes_on_which_a_reader_would_wait,
    fonts_are_read_from_the_folders_of_fonts_and_nowhere_else,
];

/// A folder that children of any user may write to.
fn open_folder(directory: &Directory, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    path
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Adds a note in a transaction, and returns how many there are.
fn add_note(path: &str, note: &str) -> rusqlite::Result<u32> {
    let mut connection = rusqlite::Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)", ())?;
    transaction.execute("INSERT INTO notes VALUES (?1)", [note])?;
    transaction.commit()?;
    connection.query_row("SELECT count(*) FROM notes", (), |row| row.get(0))
}

#[func(sandbox = dynamic)]
fn adds_note(path: String, note: String) -> Result<u32, String> {
    add_note(&path, &note).map_err(|error| error.to_string())
}

fn a_database_is_kept_in_its_folder_and_no_other_is_opened() {
    let policy = recipe("A SQLite database");
    let directory = Directory::new();
    let (own, other) = (
        open_folder(&directory, "own"),
        open_folder(&directory, "other"),
    );
    let add = |folder: &Path| {
        let builder = adds_note.sandbox(&policy).bind("database", text(&own));
        let path = folder.join("notes.db");
        builder.run(text(&path), "a note".to_owned()).unwrap()
    };
    assert_eq!(add(&own), Ok(1));
    // Each child has a user of its own if this is root, so what one leaves the next one cannot write to.
    if nix::unistd::geteuid().is_root() {
        let path = own.join("notes.db");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
    }
    assert_eq!(add(&own), Ok(2));
    // The control: without confinement, the other folder takes a database.
    assert_eq!(add_note(&text(&other.join("notes.db")), "a note"), Ok(1));
    let path = other.join("notes.db");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(
        add(&other),
        Err("unable to open database file".to_owned()
            + &format!(": {}", text(&other.join("notes.db"))))
    );
}

/// Unpacks, as `tar` does for somebody who doesn't care for times.
fn unpack(archive: File, folder: &str) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    archive.set_preserve_mtime(false);
    archive.unpack(folder)
}

#[func(sandbox = dynamic)]
fn unpacks(archive: File, folder: String) -> Result<(), String> {
    unpack(archive, &folder).map_err(|error| {
        let whole: &dyn std::error::Error = &error;
        let chain = std::iter::successors(Some(whole), |error| error.source());
        chain
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    })
}

/// An archive of a file in a folder, and of a link if that is wanted.
fn archive(directory: &Directory, link: bool) -> File {
    let path = directory.path().join("archive.tar.gz");
    let file = File::create(&path).unwrap();
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(file, Default::default()));
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o755);
    builder
        .append_data(&mut header, "some/folder/file", &b"hello"[..])
        .unwrap();
    if link {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder
            .append_link(&mut header, "some/link", "/etc")
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
    File::open(path).unwrap()
}

fn an_archive_is_unpacked_into_its_folder_and_makes_no_links() {
    let policy = recipe("Unpacking an archive into a folder");
    let directory = Directory::new();
    let (own, other) = (
        open_folder(&directory, "own"),
        open_folder(&directory, "other"),
    );
    let run = |folder: &Path, link| {
        let builder = unpacks.sandbox(&policy).bind("folder", text(&own));
        builder.run(archive(&directory, link), text(folder))
    };
    assert_eq!(run(&own, false).unwrap(), Ok(()));
    let file = own.join("some/folder/file");
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
    let refused = run(&other, false).unwrap().unwrap_err();
    assert!(
        refused.ends_with("Permission denied (os error 13)"),
        "{refused}"
    );
    let again = open_folder(&directory, "own/again");
    let call = denied(run(&again, true));
    assert!(call.starts_with("symlink"), "{call}");
    // The control: without confinement, both are done.
    unpack(archive(&directory, true), &text(&other)).unwrap();
    assert_eq!(
        std::fs::read_link(other.join("some/link")).unwrap(),
        Path::new("/etc")
    );
}

fn make_pipe(path: &str) -> Result<(), std::io::Error> {
    nix::unistd::mkfifo(Path::new(path), nix::sys::stat::Mode::S_IRUSR)?;
    Ok(())
}

#[func(sandbox = dynamic)]
fn makes_pipe(path: String) -> Result<(), std::io::Error> {
    make_pipe(&path)
}

fn an_archive_makes_no_pipes_on_which_a_reader_would_wait() {
    const TITLE: &str = "Unpacking an archive into a folder";
    let directory = Directory::new();
    let own = open_folder(&directory, "own");
    let path = own.join("pipe");
    let confined = makes_pipe.sandbox(&recipe(TITLE));
    let confined = confined.bind("folder", text(&own)).run(text(&path));
    let error = confined.unwrap().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EACCES));
    assert!(!path.exists());
    // The control: without confinement, it is made.
    make_pipe(&text(&path)).unwrap();
    assert!(path.exists());
}

/// The families of the fonts in a folder.
fn families(folder: &str) -> Vec<String> {
    let mut fonts = fontdb::Database::new();
    fonts.load_fonts_dir(folder);
    let names = fonts.faces().flat_map(|face| face.families.clone());
    names.map(|(name, _)| name).collect()
}

#[func(sandbox = dynamic)]
fn finds_families(folder: String) -> Vec<String> {
    families(&folder)
}

fn fonts_are_read_from_the_folders_of_fonts_and_nowhere_else() {
    let policy = recipe("Fonts");
    let directory = Directory::new();
    let (own, other) = (
        open_folder(&directory, "own"),
        open_folder(&directory, "other"),
    );
    for folder in [&own, &other] {
        let copy = folder.join("square.ttf");
        std::fs::copy(crossmist_examples::data("square.ttf"), copy).unwrap();
    }
    let find = |folder: &Path| {
        let builder = finds_families.sandbox(&policy).bind("fonts", text(&own));
        builder.run(text(folder)).unwrap()
    };
    assert_eq!(find(&own), ["Square"]);
    assert_eq!(find(&other), [""; 0]);
    // The control.
    assert_eq!(families(&text(&other)), ["Square"]);
}
