//! A file in a file system that answers every question but one: what is in the file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A mounted file of one page. A reader waits until this is dropped.
pub(crate) struct Hanging {
    path: PathBuf,
    /// The threads that have begun to read.
    pub(crate) readers: Receiver<u32>,
}

impl Hanging {
    pub(crate) fn new() -> Self {
        let name = format!("crossmist-hanging-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        File::create(&path).unwrap();
        let server = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let server = server.unwrap();
        let number = server.as_raw_fd();
        let options = format!("fd={number},rootmode=100644,user_id=0,group_id=0,allow_other");
        mount(
            Some("hanging"),
            &path,
            Some("fuse"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(options.as_str()),
        )
        .unwrap();
        let (told, readers) = channel();
        std::thread::spawn(move || {
            let mut server = server;
            let mut request = vec![0; 1 << 17];
            // It fails when the file system is gone.
            while let Ok(length) = server.read(&mut request) {
                let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
                let (operation, thread) = (word(4), word(32));
                assert!(length >= 40);
                let answer = match operation {
                    FORGET | INTERRUPT | BATCH_FORGET => continue,
                    READ => {
                        let _ = told.send(thread);
                        continue;
                    }
                    INIT => Ok([words(&[7, 31, 0, 0, 0x10, 0x10_000, 1]), vec![0; 36]].concat()),
                    GETATTR => Ok(attributes()),
                    OPEN => Ok(words(&[1, 0, 2, 0])),
                    FLUSH | RELEASE => Ok(Vec::new()),
                    _ => Err(-libc::ENOSYS),
                };
                let (error, body) = match answer {
                    Ok(body) => (0, body),
                    Err(error) => (error, Vec::new()),
                };
                let mut reply = words(&[16 + body.len() as u32, error as u32]);
                reply.extend_from_slice(&request[8..16]);
                reply.extend_from_slice(&body);
                let _ = server.write(&reply);
            }
        });
        Self { path, readers }
    }

    pub(crate) fn open(&self) -> File {
        let file = File::open(&self.path).unwrap();
        // Once somebody asks, the kernel knows how long it is.
        assert_eq!(file.metadata().unwrap().len(), 0x10_000);
        file
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // A reader that still waits for an answer gets an error.
        umount2(&self.path, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
        let _ = std::fs::remove_file(&self.path);
    }
}

// From the kernel's uapi/linux/fuse.h.
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Of a regular file of 64 KiB, which are good for an hour.
fn attributes() -> Vec<u8> {
    let valid = [3600, 0, 0, 0];
    let (inode, size, blocks) = ([1, 0], [0x10_000, 0], [128, 0]);
    let times = [0; 9];
    let (mode, links, owner, device, block_size) = (0o100_644, 1, [0, 0], 0, 4096);
    let tail = [mode, links, owner[0], owner[1], device, block_size, 0];
    [&valid[..], &inode, &size, &blocks, &times, &tail]
        .iter()
        .flat_map(|part| words(part))
        .collect()
}
