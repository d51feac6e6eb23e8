//! The examples do what they say: their output, and the files that they write.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An example, which cargo has built beside this test.
fn example(name: &str) -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo test --workspace`",
        path.display()
    );
    Command::new(path)
}

fn run(name: &str, arguments: &[&Path]) -> Output {
    example(name).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn data(name: &str) -> PathBuf {
    crossmist_examples::data(name)
}

/// A folder of one's own.
fn folder(name: &str) -> PathBuf {
    let path =
        std::env::temp_dir().join(format!("crossmist-examples-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn thumbnails_of_five_formats_can_be_opened_and_look_alike() {
    let folder = folder("thumbnail");
    let large = (256, 168);
    for (format, size) in [
        ("png", large),
        ("jpg", large),
        ("gif", large),
        ("webp", large),
        // Small enough as it is.
        ("tiff", (200, 131)),
    ] {
        let picture = data(&format!("hills.{format}"));
        let out = folder.join(format!("{format}.png"));
        let output = run("thumbnail", &[&picture, &out]);
        assert!(output.status.success(), "{}", text(&output));
        let small = image::open(&out).unwrap().into_rgb8();
        assert_eq!(small.dimensions(), size, "{format}");
        // The sun is bright and the foot of the hills dark, in each of them.
        let (width, height) = small.dimensions();
        let sun = small.get_pixel(width * 3 / 4, height / 4);
        let foot = small.get_pixel(width / 2, height - 2);
        assert!(sun[0] > 200 && foot[0] < 80, "{format}: {sun:?} {foot:?}");
    }
    let missing = run("thumbnail", &[Path::new("/nowhere.png")]);
    assert!(!missing.status.success() && text(&missing).contains("/nowhere.png"));
    let none = run("thumbnail", &[&data("README.md"), &folder.join("x.png")]);
    assert!(!none.status.success(), "{}", text(&none));
    assert!(!folder.join("x.png").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn c_code_decodes_the_same_and_its_crash_is_an_error() {
    let output = run("webp_c", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("outside of the sandbox: true"));
    assert!(text(&output).contains("SIGSEGV"));
}

#[test]
fn archives_are_extracted_and_stay_in_their_folder() {
    let folder = folder("archive");
    for archive in ["things.zip", "things.tar.gz"] {
        let into = folder.join(archive);
        let output = run("archive", &[&data(archive), &into]);
        assert!(output.status.success(), "{}", text(&output));
        let picture = std::fs::read(into.join("picture.gif")).unwrap();
        assert_eq!(picture, std::fs::read(data("hills.gif")).unwrap());
        let readme = std::fs::read_to_string(into.join("notes/readme.txt")).unwrap();
        assert_eq!(readme, "A small archive.\n".repeat(20));
    }
    let into = folder.join("a/b");
    let output = run("archive", &[&data("hostile.tar.gz"), &into]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("4 entries, 13 bytes, 3 refused"),
        "{}",
        text(&output)
    );
    assert_eq!(
        std::fs::read_to_string(into.join("fine.txt")).unwrap(),
        "fine\n"
    );
    assert!(!folder.join("a/escaped.txt").exists() && !into.join("link").exists());
    assert!(!Path::new("/tmp/absolute.txt").exists());
    // What is there isn't replaced.
    let again = run("archive", &[&data("hostile.tar.gz"), &into]);
    assert!(!again.status.success());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn documents_are_read_both_ways_and_nothing_else_is() {
    let output = run("documents", &[]);
    assert!(output.status.success(), "{}", text(&output));
    let text = text(&output);
    assert_eq!(
        text.matches("\"library.xml\", elements: 25, depth: 3")
            .count(),
        2,
        "{text}"
    );
    assert!(
        text.contains("nobody granted: Err(\"Permission denied (os error 13)\")"),
        "{text}"
    );
}

#[test]
fn the_service_answers_every_upload_rightly() {
    let output = example("service")
        .args(["--load", "8", "12"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("96 of 96 answered"),
        "{}",
        text(&output)
    );
    assert!(text(&output).contains(", 0 wrongly"), "{}", text(&output));
}

#[test]
fn an_attacker_gets_nothing() {
    let output = run("breakout", &[]);
    assert!(output.status.success(), "{}", text(&output));
    let text = text(&output);
    // The control: without a sandbox it succeeds.
    assert!(text.matches("   succeeds   ").count() >= 20, "{text}");
    assert!(
        !text.lines().any(|line| line.ends_with("succeeds")),
        "{text}"
    );
}
