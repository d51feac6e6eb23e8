//! Entry points for the fuzz targets, for what no public interface decodes by itself: what a
//! confined child reports about itself, pieces in shared memory, and the packets between program and keeper.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::call::Confined;
use crate::child::{Numbered, Reply};
use crate::confine::SandboxPolicy;
use crate::error::{BacktraceFrame, DeniedCall, Error};
use crate::keeper;
use crate::object::{Limits, Trust};
use crate::sys::process::Ended;
use crate::sys::shared;
use crate::sys::socket::{self, Wait};
use crate::transport::{Arrival, Inbox, Slots};
use crate::wire::{self, DenialReport, Message};

/// Decodes a child's report on a denied call, from its packet up to the text of the error.
pub fn note(packet: &[u8], policy: &SandboxPolicy) {
    let Ok(note) = DenialReport::parse(packet) else {
        return;
    };
    let mut call = Confined::new("fuzzed", policy, keeper::Piped::default(), false);
    let _ = call.hear(Reply::<()>::Confined(Box::default()));
    if note.denial.errno != 0 {
        // Nobody has asked for it.
        assert!(call.note(note).is_err());
        return;
    }
    assert!(call.note(note.clone()).is_ok() && call.note(note).is_err());
    let parting = keeper::Outcome::ended(Ended::Signalled {
        signal: libc::SIGSYS,
        core_dumped: false,
    });
    match call.verdict(
        &Ok(Ended::Signalled {
            signal: libc::SIGSYS,
            core_dumped: false,
        }),
        Some(parting),
        1,
        &Arc::default(),
        Duration::ZERO,
    ) {
        Some(error @ Error::Violation(_)) => {
            let text = error.to_string();
            let is_shown = |c: char| c == '\n' || !c.is_control();
            assert!(text.chars().all(is_shown), "{text:?}");
            assert!(text.len() < 16 << 10, "{} bytes", text.len());
        }
        other => panic!("{other:?}"),
    }
}

/// Unwinds a stack by registers, both as a child could report them. An odd word stands for an address in the code of
/// this program, or of a library that it has loaded, so that there is something to unwind.
#[cfg(any(feature = "backtrace", crossmist_learn))]
pub fn walk(input: &[u8]) {
    use crate::places::{Layout, MOST_STEPS, Registers, Stack, walk};
    use crate::sys::mappings::{Mapping, code_of_files};
    static MAPS: LazyLock<Vec<u8>> = LazyLock::new(|| code_of_files(1 << 20));
    let base = crate::sys::image::image().map_or(0, |image| image.base() as u64);
    // The first of them is this program's.
    let code: Vec<_> = Mapping::all(&MAPS).map(|code| code.range).collect();
    let libraries = code.len().max(2) as u64 - 1;
    let words = input.as_chunks::<8>().0.iter().map(|word| {
        let word = u64::from_le_bytes(*word);
        let (kind, rest) = (word % 4, word / 4);
        let which = match kind {
            1 => 0,
            3 => usize::try_from(1 + rest % libraries).unwrap_or(0),
            _ => return word,
        };
        let code = code.get(which).cloned().unwrap_or(0..1);
        code.start + rest % (code.end - code.start).max(1)
    });
    let words: Vec<u64> = words.collect();
    let Some((registers, stack)) = words.split_first_chunk() else {
        return;
    };
    let registers = Registers::of_report(registers);
    let pointer = registers.stack_pointer().unwrap_or(0);
    let walk = walk(
        &Layout::with_base(base, &MAPS),
        registers,
        &Stack::new(pointer, stack),
    );
    assert!(
        walk.frames.len() <= MOST_STEPS,
        "{} steps",
        walk.frames.len()
    );
    assert!(stack.ends_with(walk.rest), "{:?}", walk.rest);
}

/// Reads a file of code as if it were mapped into a child: its tables, the names of its functions, and the callers of
/// those that its index has.
#[cfg(any(feature = "backtrace", crossmist_learn))]
pub fn code_file(file: std::fs::File) {
    crate::places::read_any(file);
}

/// Returns the place that a search of the whole stack would find, as if there were nothing to unwind it by.
#[must_use]
pub fn found_by_search(claim: &DeniedCall) -> Option<BacktraceFrame> {
    claim.place.found_by_search()
}

/// Decodes a child's messages, each as one string of bytes: the report on its confinement, and its
/// answer. An answer is also decoded as that of a child that answers several calls.
pub fn replies(messages: &[&[u8]], policy: &SandboxPolicy) {
    for has_number in [false, true] {
        replies_to_a_call(messages, policy, has_number);
    }
}

fn replies_to_a_call(messages: &[&[u8]], policy: &SandboxPolicy, has_number: bool) {
    let mut call = Confined::new("fuzzed", policy, keeper::Piped::default(), false);
    let limits = Limits::default();
    let mut is_confined = false;
    for message in messages {
        let Ok(mut assembly) = wire::split(message, &limits, Trust::Data) else {
            return;
        };
        let message = assembly.message();
        let reply = match has_number && is_confined {
            false => message.decode::<Reply<Vec<String>>>(limits, Trust::Data),
            true => message
                .decode::<Numbered<Vec<String>>>(limits, Trust::Data)
                .map(|answer| answer.reply),
        };
        let Ok(reply) = reply else { return };
        let announces = matches!(reply, Reply::Confined(_));
        match call.hear(reply) {
            Ok(None) => {
                assert!(announces && !is_confined, "confined twice");
                is_confined = true;
            }
            Ok(Some(_)) => assert!(is_confined, "an answer of somebody unconfined"),
            Err(error) => {
                let _ = error.to_string();
                return;
            }
        }
    }
}

/// Receives packets as a program does from a child with which it shares memory. `memory` is at the memory's
/// beginning, where the two say what they do with the rest.
///
/// # Errors
///
/// Those of the system, if there are no sockets or no memory.
pub fn slots(packets: &[&[u8]], memory: &[u8]) -> io::Result<()> {
    let (ours, theirs) = socket::pair()?;
    let (program, child) = Slots::pair()?;
    shared::write(child.memory().words(), memory);
    for packet in packets {
        let part = [IoSlice::new(packet)];
        if socket::send(theirs.as_fd(), &part, &[], Wait::Never).is_err() {
            break;
        }
    }
    drop(theirs);
    let mut inbox = Inbox::new(true);
    inbox.use_slots(Some(program));
    let limits = Limits {
        message_bytes: 4 << 20,
        ..Limits::default()
    };
    let read = |message: Message<'_>| message.decode::<Vec<Vec<u8>>>(limits, Trust::Data);
    loop {
        match inbox.advance(ours.as_fd(), &limits, Trust::Data, Wait::Never, read) {
            Ok(Arrival::Message(Ok(value))) => {
                let bytes = value.iter().map(Vec::len).sum::<usize>();
                assert!(bytes <= limits.message_bytes, "{bytes} bytes");
            }
            Ok(Arrival::Message(Err(_)) | Arrival::DenialReport(_) | Arrival::Partly) => {}
            Ok(Arrival::End) | Err(_) => return Ok(()),
        }
    }
}

/// Decodes a packet between program and keeper.
pub fn keeper(packet: &[u8]) {
    keeper::parse_any(packet);
}
