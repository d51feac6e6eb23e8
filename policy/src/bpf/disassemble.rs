//! Programs in words, for golden files and for people.

use std::fmt::Write;

use super::{ARCHITECTURE, ARGUMENTS, Action, NUMBER, Program, op};

/// One line an instruction, with the places that jumps lead to.
pub fn disassemble(program: &Program) -> String {
    let mut text = String::new();
    for (at, i) in program.code.iter().enumerate() {
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
        // Writing to a string can't fail.
        let _ = writeln!(text, "{at:4}  {line}");
    }
    text
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
