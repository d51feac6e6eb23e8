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
fn several_thumbnails_are_made_at_once_and_a_broken_picture_is_an_error() {
    let folder = folder("thumbnails");
    let pictures = ["png", "jpg", "gif"].map(|format| data(&format!("hills.{format}")));
    let [png, jpg, gif] = &pictures;
    let output = run("thumbnail", &[png, jpg, gif, &folder]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("3 in "), "{}", text(&output));
    for name in ["hills.png.png", "hills.jpg.png", "hills.gif.png"] {
        let small = image::open(folder.join(name)).unwrap();
        assert_eq!((small.width(), small.height()), (256, 168), "{name}");
    }
    let broken = run("thumbnail", &[png, &data("README.md"), &folder]);
    assert!(!broken.status.success(), "{}", text(&broken));
    let nowhere = run("thumbnail", &[png, jpg, &folder.join("file.png")]);
    assert!(text(&nowhere).contains("no folder"), "{}", text(&nowhere));
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
        text(&output).contains("4 entries, 13 bytes, 3 refused, read to 100 %"),
        "{}",
        text(&output)
    );
    assert_eq!(
        std::fs::read_to_string(into.join("fine.txt")).unwrap(),
        "fine\n"
    );
    assert!(!folder.join("a/escaped.txt").exists() && !into.join("link").exists());
    assert!(!Path::new("/tmp/absolute.txt").exists());
    // An existing file isn't replaced.
    let again = run("archive", &[&data("hostile.tar.gz"), &into]);
    assert!(!again.status.success());
    std::fs::remove_dir_all(folder).unwrap();
}

/// A file's name, and the program that makes it from nothing.
fn make(folder: &Path, script: &str) {
    let made = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
}

#[test]
fn an_archive_that_explodes_is_stopped() {
    let folder = folder("bomb");
    // Small archives of much: a thousandth of what they unpack to.
    make(
        &folder,
        "truncate -s 300M zeros; tar -czf bomb.tar.gz zeros; truncate -s 200M zeros; tar -czf large.tar.gz zeros",
    );
    let bomb = folder.join("bomb.tar.gz");
    assert!(bomb.metadata().unwrap().len() < 1 << 20);
    let output = run("archive", &[&bomb]);
    assert!(!output.status.success());
    assert!(
        text(&output).contains("unpacks to more than it may"),
        "{}",
        text(&output)
    );
    // An archive that is just large is read.
    let output = run("archive", &[&folder.join("large.tar.gz")]);
    assert!(
        text(&output).contains("1 entries, 209715200 bytes"),
        "{}",
        text(&output)
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// A PNG that announces this many pixels each way and has none.
fn announcing(side: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(data);
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&length[..], kind, data, &sum.sum().to_be_bytes()].concat()
    };
    let size = [side.to_be_bytes(), side.to_be_bytes()].concat();
    let header = [&size[..], &[8, 2, 0, 0, 0]].concat();
    let mut pixels = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(
        &mut pixels,
        &vec![0; (side as usize * 3 + 1) * side.min(64) as usize],
    )
    .unwrap();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"IDAT", &pixels.finish().unwrap()),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

#[test]
fn a_picture_that_announces_too_much_is_an_error() {
    let folder = folder("announce");
    let (small, large, out) = (
        folder.join("s.png"),
        folder.join("l.png"),
        folder.join("o.png"),
    );
    std::fs::write(&small, announcing(64)).unwrap();
    let output = run("thumbnail", &[&small, &out]);
    assert!(output.status.success(), "{}", text(&output));
    std::fs::remove_file(&out).unwrap();
    std::fs::write(&large, announcing(12_000)).unwrap();
    let output = run("thumbnail", &[&large, &out]);
    assert!(
        !output.status.success() && !out.exists(),
        "{}",
        text(&output)
    );
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
    assert_eq!(text.matches("ends within an element").count(), 2, "{text}");
    // The control: it is there, and readable.
    assert!(std::fs::read("/etc/passwd").is_ok());
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
