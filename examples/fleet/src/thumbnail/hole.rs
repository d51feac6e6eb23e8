//! A format with a hole in its decoder, as an exploit would use it: the picture says what the process does.
//!
//! The feature `hole` is for the tests. Whoever uploads such a picture runs code in the confined process.

use super::Pixels;

/// How such a picture begins. The rest is a word.
pub const MAGIC: &[u8] = b"HOLE ";

/// Attacks, and a part of the report on each.
pub const ATTACKS: [(&str, &str); 13] = [
    ("connect", "socket("),
    ("execute", "a system call that its policy denies"),
    ("allocate", "it used up the"),
    ("overflow", "signal 6"),
    ("abort", "signal 6"),
    ("panic", "panicked"),
    ("exit", "exited with status 0"),
    ("long", "more than a thumbnail"),
    ("lie", "another number of pixels"),
    ("garbage", "no picture"),
    ("nul", "no picture: \\0"),
    ("chatter", "aaaaaaaa…"),
    ("flood", "the caller allows 9437184"),
];

/// Does what the picture says.
pub(super) fn run(payload: &[u8]) -> Result<Pixels, String> {
    let word = String::from_utf8_lossy(payload);
    let (word, _) = word.split_once(' ').unwrap_or((&word, ""));
    match word {
        "connect" => {
            let stream = std::net::TcpStream::connect("127.0.0.1:22");
            Err(format!("connected: {stream:?}"))
        }
        "execute" => {
            use std::os::unix::process::CommandExt;

            let error = std::process::Command::new("/bin/true").exec();
            Err(format!("not executed: {error}"))
        }
        "allocate" => {
            let memory = std::hint::black_box(vec![1u8; 1 << 30]);
            Err(format!("allocated: {}", memory.len()))
        }
        "overflow" => Err(format!("returned: {}", deep(1))),
        "abort" => std::process::abort(),
        "panic" => panic!("<script>alert(1)</script>"),
        "exit" => std::process::exit(0),
        "spin" => loop {
            std::hint::black_box(0);
        },
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_secs(2));
            Ok(one_pixel(&[7; 4]))
        }
        "long-sleep" => {
            std::thread::sleep(std::time::Duration::from_secs(8));
            Ok(one_pixel(&[7; 4]))
        }
        "long" => Ok(Pixels {
            width: 1 << 20,
            height: 1,
            bytes: Vec::new(),
        }),
        "lie" => Ok(one_pixel(&[7; 3])),
        "nul" => Err("\0".to_owned()),
        "chatter" => Err("a".repeat(8 << 20)),
        "flood" => Ok(one_pixel(&vec![7; 64 << 20])),
        _ => Err(format!("no such attack: {word}")),
    }
}

fn one_pixel(bytes: &[u8]) -> Pixels {
    Pixels {
        width: 1,
        height: 1,
        bytes: bytes.to_vec(),
    }
}

/// Calls itself until the stack ends.
fn deep(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    match depth {
        0 => 0,
        _ => deep(depth + 1).wrapping_add(frame[3]),
    }
}
