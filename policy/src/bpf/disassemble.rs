//! Programs in words, for golden files and for people.

use std::fmt::Write;

use crate::{Arch, syscalls};

use super::{ARCHITECTURE, ARGUMENTS, Action, NUMBER, Program, op};

/// One line an instruction, with the places that jumps lead to.
pub fn disassemble(program: &Program) -> String {
    lines(program).fold(String::new(), |mut text, line| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{line}");
        text
    })
}

/// The same with what the numbers mean: the names of calls, and of the arguments of those that a
/// condition is about.
pub fn annotate(program: &Program) -> String {
    let mut text = String::new();
    let known = known(program);
    for (line, known) in lines(program).zip(known) {
        let _ = match known {
            Some(known) => writeln!(text, "{line:56}  # {known}"),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

/// Returns the name of the call that each instruction is about, if it is about one.
///
/// Programs have no jumps backwards, so one pass sees every way to an instruction before it.
fn known(program: &Program) -> Vec<Option<String>> {
    let length = program.code.len();
    // The calls that lead there: from the first to the last number, and whether the number is loaded.
    let mut ways: Vec<Option<(u32, u32, bool)>> = vec![None; length];
    let mut notes = vec![None; length];
    if let Some(first) = ways.first_mut() {
        *first = Some((0, u32::MAX, false));
    }
    for (at, i) in program.code.iter().enumerate() {
        let Some((least, most, is_number)) = ways[at] else {
            continue;
        };
        let mut lead = |to: usize, (least, most, is_number): (u32, u32, bool)| {
            if let Some(way) = ways.get_mut(to)
                && least <= most
            {
                *way = Some(match *way {
                    // A leaf that several calls share belongs to none of them.
                    Some((a, b, n)) => (a.min(least), b.max(most), n && is_number),
                    None => (least, most, is_number),
                });
            }
        };
        let (yes, no) = (at + 1 + usize::from(i.jt), at + 1 + usize::from(i.jf));
        match i.code {
            op::LOAD => {
                if i.k >= ARGUMENTS && least == most {
                    notes[at] = argument(program.arch, least, i.k);
                }
                lead(at + 1, (least, most, i.k == NUMBER));
            }
            op::JUMP => lead(at + 1 + i.k as usize, (least, most, is_number)),
            op::AT_LEAST if is_number => {
                notes[at] = name(program.arch, i.k).map(|name| format!("{name} and above"));
                lead(yes, (least.max(i.k), most, true));
                lead(no, (least, most.min(i.k.saturating_sub(1)), true));
            }
            op::EQUAL if is_number => {
                notes[at] = name(program.arch, i.k).map(str::to_owned);
                lead(yes, (i.k, i.k, true));
                lead(no, (least, most, true));
            }
            op::RETURN => {
                notes[at] = (least == most)
                    .then(|| name(program.arch, least))
                    .flatten()
                    .map(str::to_owned);
            }
            op::EQUAL | op::GREATER | op::AT_LEAST | op::ANY_BIT => {
                lead(yes, (least, most, is_number));
                lead(no, (least, most, is_number));
            }
            _ => lead(at + 1, (least, most, is_number)),
        }
    }
    notes
}

fn name(arch: Arch, number: u32) -> Option<&'static str> {
    syscalls::by_number(arch, number).map(|call| call.name)
}

/// The name of the argument at an offset.
fn argument(arch: Arch, number: u32, offset: u32) -> Option<String> {
    let call = syscalls::by_number(arch, number)?;
    let at = usize::try_from((offset - ARGUMENTS) / 8).ok()?;
    let (argument, _) = call.args.get(at)?;
    Some(format!("{}: {argument}", call.name))
}

fn lines(program: &Program) -> impl Iterator<Item = String> {
    program.code.iter().enumerate().map(|(at, i)| {
        let to = |skipped: u8| at + 1 + usize::from(skipped);
        let own = match u16::try_from(at) {
            Ok(at) if program.own_pid.contains(&at) => " (own pid)",
            _ => "",
        };
        let jump = |sign: &str| {
            format!(
                "if {sign} {:#x}{own} goto {} else {}",
                i.k,
                to(i.jt),
                to(i.jf)
            )
        };
        let line = match i.code {
            op::LOAD => format!("load {}", field(i.k)),
            op::AND => format!("and {:#x}", i.k),
            op::JUMP => format!("goto {}", at + 1 + i.k as usize),
            op::EQUAL => jump("=="),
            op::GREATER => jump(">"),
            op::AT_LEAST => jump(">="),
            op::ANY_BIT => jump("&"),
            op::RETURN => answer(i.k),
            code => format!("unknown {code:#x} {:#x}", i.k),
        };
        format!("{at:4}  {line}")
    })
}

fn field(offset: u32) -> String {
    match offset {
        NUMBER => "number".to_owned(),
        ARCHITECTURE => "architecture".to_owned(),
        _ => {
            let at = offset.saturating_sub(ARGUMENTS);
            let half = if at.is_multiple_of(8) { "low" } else { "high" };
            format!("args[{}].{half}", at / 8)
        }
    }
}

fn answer(value: u32) -> String {
    match Action::from_return(value) {
        Some(Action::Allow) => "allow".to_owned(),
        Some(Action::Notify) => "ask the supervisor".to_owned(),
        Some(Action::KillProcess) => "kill the process".to_owned(),
        Some(Action::Trap(data)) => format!("trap {data}"),
        Some(Action::Errno(number)) => match crate::names::errno_name(number) {
            Some(name) => format!("errno {name}"),
            None => format!("errno {number}"),
        },
        None => format!("return {value:#x}"),
    }
}
