//! A source's condition in the words of a policy, for the bits that the kernel looks at.

use super::logic::{Conjunction, Narrow, Op, Test};
use crate::Arch;
use crate::condition;
use crate::syscalls::{Syscall, Width};

/// The largest bound of a signed argument that is written as a list of values.
const LISTED: u64 = 16;

/// Returns the part of all the tests that the kernel sees: a condition, empty for every call; `None` for
/// none.
///
/// A program chooses the bits that the kernel doesn't look at, so one choice that meets the tests is
/// enough: none of these bits, or all of them, as in a negative number.
///
/// # Errors
///
/// Why it can't be said.
pub(super) fn allowed(
    call: &'static Syscall,
    tests: &Conjunction,
) -> Result<Option<String>, String> {
    let mut parts = Vec::new();
    for (arg, tests) in by_argument(tests) {
        let (name, width) = argument(call, arg)?;
        let unseen = [0, !width.mask()];
        let possible = unseen.iter().find(|unseen| {
            let never =
                |test: &&Test, arch| test.narrow(arch, width.mask(), **unseen) == Narrow::Never;
            !arches(call).any(|arch| tests.iter().any(|test| never(test, arch)))
        });
        let Some(unseen) = possible else {
            return Ok(None);
        };
        for test in tests {
            parts.extend(words(call, name, width, test, *unseen)?);
        }
    }
    checked(call, parts).map(Some)
}

/// The same for calls that are to be denied: those without a bit that the kernel doesn't look at.
pub(super) fn denied(
    call: &'static Syscall,
    tests: &Conjunction,
) -> Result<Option<String>, String> {
    let mut parts = Vec::new();
    for (arg, tests) in by_argument(tests) {
        let (name, width) = argument(call, arg)?;
        for test in tests {
            // A test that is met on no architecture lets no call happen. One that fails on a single
            // architecture can't be expressed.
            if arches(call).all(|arch| test.narrow(arch, width.mask(), 0) == Narrow::Never) {
                return Ok(None);
            }
            parts.extend(words(call, name, width, test, 0)?);
        }
    }
    checked(call, parts).map(Some)
}

/// The architectures that have the call.
pub(super) fn arches(call: &Syscall) -> impl Iterator<Item = Arch> {
    let own = Arch::ALL.map(|arch| call.number(arch).is_some());
    Arch::ALL.into_iter().filter(move |arch| own[arch.index()])
}

fn by_argument(tests: &Conjunction) -> Vec<(usize, Vec<&Test>)> {
    let mut found: Vec<(usize, Vec<&Test>)> = Vec::new();
    for test in tests {
        match found.iter_mut().find(|(arg, _)| *arg == test.arg) {
            Some((_, same)) => same.push(test),
            None => found.push((test.arg, vec![test])),
        }
    }
    found
}

fn argument(call: &'static Syscall, arg: usize) -> Result<(&'static str, Width), String> {
    call.args
        .get(arg)
        .copied()
        .ok_or_else(|| format!("`{}` has no argument {arg}", call.name))
}

/// One condition that the reader of policies takes.
fn checked(call: &'static Syscall, mut parts: Vec<String>) -> Result<String, String> {
    parts.dedup();
    let text = parts.join(" && ");
    if text.is_empty() {
        return Ok(text);
    }
    match condition::parse(&text, call) {
        Ok(_) => Ok(text),
        Err(mistake) => Err(mistake.message),
    }
}

/// A test in words; none if it always holds.
fn words(
    call: &'static Syscall,
    name: &str,
    width: Width,
    test: &Test,
    unseen: u64,
) -> Result<Option<String>, String> {
    let narrowed: Vec<_> = arches(call)
        .map(|arch| test.narrow(arch, width.mask(), unseen))
        .collect();
    let is_same = narrowed.windows(2).all(|pair| pair[0] == pair[1]);
    let is_test = |narrow: &Narrow| matches!(narrow, Narrow::Test { .. });
    if let Some(spelled) = &test.spelled
        && narrowed.iter().all(is_test)
        && width != Width::Pointer
    {
        let text = format!("{name} {spelled}");
        if condition::parse(&text, call).is_ok() {
            return Ok(Some(text));
        }
    }
    let first = narrowed.first().copied().unwrap_or(Narrow::Never);
    if !is_same {
        return Err("a value differs between architectures".to_owned());
    }
    let (mask, value) = match first {
        Narrow::Always => return Ok(None),
        Narrow::Never => return Err("it is never true".to_owned()),
        Narrow::Test { mask, value } => (mask, value),
    };
    let whole = mask == width.mask();
    if width == Width::Pointer {
        return match (test.op, whole && value == 0) {
            (Op::Same, true) => Ok(Some(format!("{name} == NULL"))),
            (Op::Other, true) => Ok(Some(format!("{name} != NULL"))),
            _ => Err(format!(
                "`{name}` is a pointer, which is compared with NULL only"
            )),
        };
    }
    let is_signed = width == Width::Int;
    Ok(Some(match test.op {
        Op::Same if whole => format!("{name} == {value:#x}"),
        Op::Same if value == 0 => format!("{name} lacks {mask:#x}"),
        Op::Same if value == mask => format!("{name} has {mask:#x}"),
        Op::Same => format!("{name} & {mask:#x} == {value:#x}"),
        Op::Other if whole => format!("{name} != {value:#x}"),
        Op::Other => format!("{name} & {mask:#x} != {value:#x}"),
        Op::Below | Op::AtLeast if !whole => {
            return Err(format!("it compares a part of `{name}` by order"));
        }
        Op::Below if !is_signed => format!("{name} < {value:#x}"),
        Op::AtLeast if !is_signed => format!("{name} >= {value:#x}"),
        // Below a power of two there is no bit from it on, whatever the sign means.
        Op::Below if value.is_power_of_two() => format!("{name} lacks {:#x}", mask & !(value - 1)),
        Op::AtLeast if value.is_power_of_two() => {
            format!("{name} & {:#x} != 0", mask & !(value - 1))
        }
        Op::Below if value <= LISTED => {
            let values: Vec<_> = (0..value).map(|value| value.to_string()).collect();
            format!("{name} in {{{}}}", values.join(", "))
        }
        Op::AtLeast if value <= LISTED => {
            let tests: Vec<_> = (0..value)
                .map(|value| format!("{name} != {value}"))
                .collect();
            tests.join(" && ")
        }
        Op::Below | Op::AtLeast => {
            return Err(format!(
                "`{name}` is signed, and filters compare without a sign"
            ));
        }
    }))
}
