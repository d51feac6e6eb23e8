//! An entry of `[syscalls]` that allows a call with the arguments that were seen, and no others.

use crate::Arch;
use crate::compiled::words;
use crate::file::parse_entry;
use crate::syscalls::{Syscall, Width};

/// The arguments that say what a call is to do, rather than with what.
pub(crate) const SELECTORS: &[&str] = &[
    "advice", "clockid", "cmd", "domain", "flags", "level", "op", "option", "optname", "prot",
    "protocol", "request", "resource", "type", "which", "who",
];

/// The tests that arguments pass, one for each that says what the call is to do. `None` if one of them
/// has no name that a reader could look up.
pub(crate) fn tests(
    call: &Syscall,
    arch: Arch,
    args: &[u64; 6],
) -> Option<Vec<(&'static str, String)>> {
    let selects = |(_, (name, width)): &(usize, &(&'static str, Width))| {
        SELECTORS.contains(name) && *width != Width::Pointer
    };
    let selectors = call.args.iter().enumerate().filter(selects);
    let tests = selectors.map(|(at, (name, _))| {
        let word = words::argument(call, arch, args, at, None);
        let is_named = !word.contains("0x") && !word.starts_with('-');
        is_named.then_some((*name, word))
    });
    tests.collect()
}

/// An entry for one call. `None` if it can't be written with names alone.
pub(crate) fn exactly(call: &Syscall, arch: Arch, args: &[u64; 6]) -> Option<String> {
    together(call, &[tests(call, arch, args)?])
}

/// One entry for several ways of making a call: alternatives, or a list if they differ in one argument.
pub(crate) fn together(call: &Syscall, ways: &[Vec<(&'static str, String)>]) -> Option<String> {
    let mut ways = ways.to_vec();
    ways.sort();
    ways.dedup();
    let first = ways.first()?;
    let differ = |at: &usize| ways.iter().any(|way| way[*at] != first[*at]);
    let differing: Vec<_> = (0..first.len()).filter(differ).collect();
    let equal = |(name, word): &(&str, String)| format!("{name} == {word}");
    let condition = match differing.as_slice() {
        [at] => {
            let words: Vec<_> = ways.iter().map(|way| way[*at].1.as_str()).collect();
            let test = |(index, pair): (usize, &(&str, String))| match index == *at {
                true => format!("{} in {{{}}}", pair.0, words.join(", ")),
                false => equal(pair),
            };
            let tests: Vec<_> = first.iter().enumerate().map(test).collect();
            tests.join(" && ")
        }
        _ => {
            let one = |way: &Vec<_>| way.iter().map(equal).collect::<Vec<_>>().join(" && ");
            ways.iter().map(one).collect::<Vec<_>>().join(" || ")
        }
    };
    let entry = match condition.as_str() {
        "" => call.name.to_owned(),
        condition => format!("{}({condition})", call.name),
    };
    parse_entry(&entry).is_ok().then_some(entry)
}
