//! Records how calls end, so that `cargo crossmist learn --verify` can compare two runs of a program.
//!
//! Only with `--cfg crossmist_learn`, and only if the environment names a folder: that of a watched run
//! (`watch.rs`), or that of a run that is confined as always.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use super::watch;
use crate::error::Error;
use crate::object::{Encoder, Limits, Object, Trust};
use crate::sys::privileges;

/// The variable that names the folder of a confined run.
const VARIABLE: &str = "CROSSMIST_VERIFY";

/// The file that this process writes to.
fn file() -> Option<&'static File> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let named = std::env::var_os(VARIABLE).filter(|_| !privileges::is_privileged());
        let folder = watch::folder().or(named.as_deref().map(Path::new))?;
        let path = folder.join(format!("{}.outcomes", std::process::id()));
        // A new file, whatever is in the folder: no link is followed.
        let opened = OpenOptions::new().create_new(true).append(true).open(path);
        opened.ok()
    });
    file.as_ref()
}

/// Records that a call has returned a value.
pub(super) fn returned<T: Object>(function: &str, policy: &str, value: &T) {
    if file().is_some() {
        let is = format!("returned {:016x}", digest(value));
        record(function, policy, &is, "");
    }
}

/// Records that a call has failed.
pub(super) fn failed(function: &str, policy: &str, error: &Error) {
    if file().is_some() {
        record(function, policy, &kind(error), &error.to_string());
    }
}

fn record(function: &str, policy: &str, is: &str, text: &str) {
    let Some(mut file) = file() else { return };
    let [function, policy, is, text] = [function, policy, is, text].map(watch::quoted);
    let line =
        format!("{{\"function\":{function},\"policy\":{policy},\"is\":{is},\"text\":{text}}}\n");
    // The tool finds that a call is missing.
    let _ = file.write_all(line.as_bytes());
}

/// The bytes of a value as a message would have them, in short.
fn digest<T: Object>(value: &T) -> u64 {
    let mut encoder = Encoder::new(Vec::new(), Limits::default(), Trust::Data);
    value.encode(&mut encoder);
    let mut hasher = DefaultHasher::new();
    if let Ok(encoded) = encoder.finish() {
        hasher.write(&encoded.bytes);
        encoded.bulk.iter().for_each(|run| hasher.write(run));
        hasher.write_usize(encoded.descriptors.len());
    }
    hasher.finish()
}

/// Returns the kind of failure that an error is, without the parts that differ from run to run.
fn kind(error: &Error) -> String {
    let kind = match error {
        Error::Violation(_) => "violation",
        Error::Confine { .. } | Error::Policy { .. } => "not confined",
        Error::Limit { .. } => "limit",
        Error::Panicked(panic) => return format!("panicked {}", panic.message.as_raw()),
        Error::Exited { status } => return format!("exited {status}"),
        Error::Signalled { signal, .. } => return format!("signal {signal}"),
        Error::Deadline { .. } => "deadline",
        _ => "failed",
    };
    kind.to_owned()
}
