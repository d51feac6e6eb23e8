//! `[[expect]]`: what a policy says about itself, to be held against it.

use crate::condition::{Number, number};
use crate::diagnostic::Code;
use crate::names;
use crate::reader::{Node, Reader};
use crate::source::{At, Problem};
use crate::syscalls::{self, Syscall, Width, constants};
use crate::{Arch, syscalls::groups::Soft};

/// One expectation.
#[derive(Clone, Debug)]
pub(crate) enum Expectation {
    /// A call with these arguments, per architecture, ends so.
    Call {
        call: &'static Syscall,
        args: [[u64; 6]; 2],
        is: Outcome,
        text: At<String>,
    },
    /// A path may or may not be used.
    Path {
        path: At<String>,
        write: bool,
        allowed: bool,
    },
    /// Something to try in a real child; the run time knows what.
    Probe { name: At<String>, is: Outcome },
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Allowed,
    Violation,
    Killed,
    Soft(Soft),
}

pub(super) fn read(reader: &mut Reader, node: Node<'_, '_>) -> Vec<Expectation> {
    let items = reader.array(node);
    items
        .into_iter()
        .filter_map(|item| expectation(reader, item))
        .collect()
}

fn expectation(reader: &mut Reader, node: Node<'_, '_>) -> Option<Expectation> {
    let table = reader.table("expect", node)?;
    let syscall = table.string(reader, "syscall");
    let path = table.string(reader, "path");
    let probe = table.string(reader, "probe");
    let access = table.string(reader, "access");
    let is = table.string(reader, "is");
    let place = table.place;
    table.finish(reader);
    let outcome = is.as_ref().and_then(|is| outcome(&is.value));
    let read = match (syscall, path, probe, outcome) {
        (Some(text), None, None, Some(is)) => {
            return match call(&text.value) {
                Ok((call, args)) => Some(Expectation::Call {
                    call,
                    args,
                    is,
                    text,
                }),
                Err(message) => {
                    reader.problem(Problem::new(Code::BadExpectation, text.place, message));
                    None
                }
            };
        }
        (None, Some(path), None, Some(Outcome::Allowed)) => Some((path, true)),
        (None, Some(path), None, Some(Outcome::Violation)) => Some((path, false)),
        (None, Some(path), None, Some(Outcome::Soft(_))) => Some((path, false)),
        (None, None, Some(name), Some(is)) => return Some(Expectation::Probe { name, is }),
        _ => None,
    };
    let write = access
        .as_ref()
        .map_or(Some(false), |access| match access.value.as_str() {
            "read" => Some(false),
            "write" => Some(true),
            _ => None,
        });
    if let (Some((path, allowed)), Some(write)) = (read, write) {
        return Some(Expectation::Path {
            path,
            write,
            allowed,
        });
    }
    let message = "an expectation has one of `syscall`, `path` (with `access` \"read\" or \"write\") \
                   and `probe`, and what it `is`: \"allowed\", \"violation\", \"killed\", \
                   \"emulated\", or an error number";
    reader.problem(Problem::new(Code::BadExpectation, place, message));
    None
}

fn outcome(text: &str) -> Option<Outcome> {
    match text {
        "allowed" => Some(Outcome::Allowed),
        "violation" | "denied" => Some(Outcome::Violation),
        "killed" => Some(Outcome::Killed),
        "emulated" => Some(Outcome::Soft(Soft::Emulate)),
        name => names::errno(name).map(|number| Outcome::Soft(Soft::Errno(number))),
    }
}

/// `socket(AF_INET, SOCK_STREAM, 0)`.
pub(crate) fn call(text: &str) -> Result<(&'static Syscall, [[u64; 6]; 2]), String> {
    let shape = || format!("`{text}` isn't a call such as `socket(AF_INET, SOCK_STREAM, 0)`");
    let (name, rest) = text.split_once('(').ok_or_else(shape)?;
    let list = rest.trim_end().strip_suffix(')').ok_or_else(shape)?;
    let call = syscalls::find(name.trim())
        .ok_or_else(|| format!("unknown system call `{}`", name.trim()))?;
    let mut args = [[0; 6]; 2];
    let written = list.split(',').map(str::trim).filter(|arg| !arg.is_empty());
    for (at, arg) in written.enumerate() {
        if at >= call.args.len() {
            return Err(format!(
                "`{}` takes {} arguments",
                call.name,
                call.args.len()
            ));
        }
        for arch in Arch::ALL {
            let value = arg.split('|').try_fold(0, |sum, part| {
                value(part.trim(), arch).map(|value| sum | value)
            });
            args[arch.index()][at] = value?;
        }
    }
    Ok((call, args))
}

/// A call whose path is written out: `openat(AT_FDCWD, "/etc/passwd", O_RDONLY)`. A filter sees only that there is
/// a pointer.
pub(crate) fn call_with_path(text: &str) -> Result<CallWithPath, String> {
    let Some((before, rest)) = text.split_once('"') else {
        let (call, args) = call(text)?;
        return Ok((call, args, None));
    };
    let unclosed = || format!("`{text}` has a quotation mark that nothing closes");
    let (path, mut rest) = quoted(rest).ok_or_else(unclosed)?;
    let mut numbers = format!("{before}{SOME_POINTER}");
    // A second path, as of a link, is a pointer like any other.
    while let Some((between, second)) = rest.split_once('"') {
        numbers.extend([between, SOME_POINTER]);
        (_, rest) = quoted(second).ok_or_else(unclosed)?;
    }
    numbers.push_str(rest);
    let (call, args) = call(&numbers)?;
    let at = before.matches(',').count();
    match call.args.get(at) {
        Some((_, Width::Pointer)) => Ok((call, args, Some(path))),
        _ => Err(format!(
            "`\"{path}\"` stands where `{}` takes a number",
            call.name
        )),
    }
}

/// Reads a path as reports write it, up to the quotation mark that closes it, and returns it with the rest. Bytes
/// that are no UTF-8 are replaced, which no line of a policy can name.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut bytes = Vec::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let path = String::from_utf8_lossy(&bytes).into_owned();
                return Some((path, text.get(at + 1..)?));
            }
            '\\' => match characters.next()?.1 {
                'x' => {
                    let digits = text.get(at + 2..at + 4)?;
                    bytes.push(u8::from_str_radix(digits, 16).ok()?);
                    characters.nth(1)?;
                }
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                other => bytes.extend(other.to_string().into_bytes()),
            },
            other => bytes.extend(other.to_string().into_bytes()),
        }
    }
    None
}

pub(crate) type CallWithPath = (&'static Syscall, [[u64; 6]; 2], Option<String>);

const SOME_POINTER: &str = "0x1000";

/// `self.pid` is left as a mark that the check replaces.
fn value(text: &str, arch: Arch) -> Result<u64, String> {
    if text.starts_with('"') {
        return Err(format!(
            "`{text}` is a path, and a filter sees no paths: an expectation about a path has `path` instead of \
             `syscall`"
        ));
    }
    let known = match text {
        "NULL" => Some(0),
        "self.pid" => Some(u64::from(crate::bpf::SAMPLE_PID)),
        _ if text.starts_with('-') => text.parse::<i64>().ok().map(|n| n as u64),
        _ if text.starts_with(|c: char| c.is_ascii_digit()) => match number(text) {
            Number::Is(number) => Some(number),
            Number::Octal => {
                let digits = text.trim_start_matches('0');
                return Err(format!(
                    "`{text}` may be octal or decimal: write `0o{digits}` or `{digits}`"
                ));
            }
            Number::Not => None,
        },
        _ => constants::value(text, arch),
    };
    known.ok_or_else(|| format!("unknown constant `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_reports_write_it() {
        let path = |text: &str| call_with_path(text).map(|(.., path)| path.unwrap_or_default());
        for (written, is) in [
            (
                r#"openat(AT_FDCWD, "/a \"b\", c", O_RDONLY)"#,
                r#"/a "b", c"#,
            ),
            (r#"openat(AT_FDCWD, "/a\\b\'\n\t", O_RDONLY)"#, "/a\\b'\n\t"),
            (r#"openat(AT_FDCWD, "/\xc3\xbc", O_RDONLY)"#, "/ü"),
            (r#"openat(AT_FDCWD, "/\xc3", O_RDONLY)"#, "/\u{fffd}"),
            (r#"link("/a\"", "/b\", c")"#, "/a\""),
        ] {
            assert_eq!(path(written), Ok(is.to_owned()), "{written}");
            // What is written of it reads as the same path again.
            let again = crate::compiled::words::quoted(is.as_bytes());
            let call = format!("openat(AT_FDCWD, {again}, O_RDONLY)");
            assert_eq!(path(&call), Ok(is.to_owned()), "{call}");
        }
        for wrong in [
            r#"openat(AT_FDCWD, "/a, O_RDONLY)"#,
            r#"openat(AT_FDCWD, "/a\", O_RDONLY)"#,
            r#"openat(AT_FDCWD, "/a\xg0", O_RDONLY)"#,
            r#"openat(AT_FDCWD, "/a\x"#,
            r#"link("/a", "/b)"#,
        ] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
