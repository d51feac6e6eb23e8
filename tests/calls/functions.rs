//! Functions that several modules call in a child.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crossmist::{Error, Object, Sender, Stdio, func};

use crate::support::{self, raw};
use crate::values::Deep;

#[func]
pub(crate) fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[func]
pub(crate) fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[func]
pub(crate) fn sleep_for(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// A result whose drop, which comes after the answer, doesn't end.
#[derive(Debug, Object)]
pub(crate) struct Lingers(pub(crate) u8);

impl Drop for Lingers {
    fn drop(&mut self) {
        if self.0 == 7 && std::env::args().nth(1).is_some_and(|a| a.contains("child")) {
            loop {
                std::thread::park();
            }
        }
    }
}

#[func]
pub(crate) fn repeat(count: usize) -> Vec<u8> {
    vec![1; count]
}

#[func]
pub(crate) fn same(deep: Deep) -> Deep {
    deep
}

#[func]
pub(crate) fn linger(mut tx: Sender<()>) -> Lingers {
    tx.send(&()).unwrap();
    Lingers(7)
}

/// Ends the process in the ways there are.
#[func]
pub(crate) fn end(way: String, number: i32) -> u64 {
    match way.as_str() {
        "exit" => std::process::exit(number),
        "_exit" => raw::exit(number),
        "raise" => {
            raw::default_action(number);
            let signal = nix::sys::signal::Signal::try_from(number).unwrap();
            let _ = nix::sys::signal::raise(signal);
        }
        "abort" => std::process::abort(),
        "close" => {
            raw::close(raw::launch_socket());
            loop {
                std::thread::park();
            }
        }
        "stop" => {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
        "loop" => loop {
            std::hint::spin_loop();
        },
        "park" => loop {
            std::thread::park();
        },
        _ => unreachable!(),
    }
    99
}

pub(crate) fn ended(way: &str, number: i32) -> Result<u64, Error> {
    end.builder()
        .stderr(Stdio::Null)
        .run(way.to_owned(), number)
}

/// Makes a child do something before it is at the library's entry, as a constructor of a linked library
/// might: this variable says what.
pub(crate) const BEFORE_ENTRY: &str = "CROSSMIST_TEST_BEFORE_ENTRY";

#[used]
#[unsafe(link_section = ".init_array")]
#[expect(unsafe_code, reason = "a constructor")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn before_entry() {
        match std::env::var(BEFORE_ENTRY).as_deref() {
            Ok("stay") => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            Ok("exit") => raw::exit(7),
            // A process that nobody knows of holds the launch socket.
            Ok("leave another") => raw::leave_another(support::stays(), 7),
            _ => {}
        }
    }
    before_entry
};

#[func]
pub(crate) fn take(_a: OwnedFd, _b: OwnedFd) -> u8 {
    raw::exit(3)
}
