//! The written form of conditions: `prot only PROT_READ|PROT_WRITE && flags has MAP_PRIVATE`.

use super::number::{Number, number};
use super::tokens::Token;
use super::{Condition, Conjunction, Mistake, Relation, Test, contradiction};
use crate::Arch;
use crate::diagnostic::{Code, nearest};
use crate::syscalls::{Syscall, Width, constants};

/// The most alternatives, and the most tests in one. Enough for any sane filter.
const MAX_PARTS: usize = 32;

/// Reads a condition on the arguments of `call`.
pub(crate) fn parse(text: &str, call: &'static Syscall) -> Result<Condition, Mistake> {
    let read = |arch| {
        let mut parser = Parser {
            text,
            at: 0,
            call,
            arch,
        };
        parser.alternatives()
    };
    Ok(Condition {
        text: text.trim().to_owned(),
        alternatives: [read(Arch::X86_64)?, read(Arch::Aarch64)?],
    })
}

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    call: &'static Syscall,
    arch: Arch,
}

impl<'t> Parser<'t> {
    fn alternatives(&mut self) -> Result<Vec<Conjunction>, Mistake> {
        let mut alternatives = vec![self.conjunction()?];
        while self.accept("||") {
            alternatives.push(self.conjunction()?);
        }
        if let Some(token) = self.peek() {
            return Err(self.unexpected(token, "`&&`, `||` or the end"));
        }
        if alternatives.len() > MAX_PARTS {
            return Err(self.whole(format!("more than {MAX_PARTS} alternatives")));
        }
        Ok(alternatives)
    }

    fn conjunction(&mut self) -> Result<Conjunction, Mistake> {
        let start = self.at;
        let mut tests = vec![self.test()?];
        while self.accept("&&") {
            tests.push(self.test()?);
        }
        if tests.len() > MAX_PARTS {
            return Err(self.whole(format!("more than {MAX_PARTS} tests in one alternative")));
        }
        if let Some(places) = contradiction::find(&tests) {
            let mut numbers: Vec<_> = places.iter().map(|at| (at + 1).to_string()).collect();
            let last = numbers.pop().unwrap_or_default();
            let message = match numbers.is_empty() {
                true => format!("this is never true: no value passes its test {last}"),
                false => format!(
                    "this is never true: its tests {} and {last} exclude each other",
                    numbers.join(", ")
                ),
            };
            let start = start + self.text[start..].len() - self.text[start..].trim_start().len();
            return Err(self.mistake(Code::BadOperand, start, self.at, &message));
        }
        Ok(tests)
    }

    fn test(&mut self) -> Result<Test, Mistake> {
        let name = self.word("the name of an argument")?;
        let (arg, width) = self.argument(name)?;
        let mut mask = width.mask();
        if self.accept("&") {
            let start = self.at;
            if width == Width::Pointer {
                return Err(self.pointer(name));
            }
            mask &= self.flags(width)?;
            if mask == 0 {
                return Err(self.mistake(
                    Code::BadOperand,
                    start,
                    self.at,
                    "this mask hides every bit",
                ));
            }
        }
        let Some(operator) = self.next() else {
            let end = Token {
                text: "",
                start: self.text.len(),
            };
            return Err(self.unexpected(end, "a comparison"));
        };
        if width == Width::Pointer {
            return self.null_test(arg, name, operator);
        }
        let relation = match operator.text {
            "==" => self.member(width, mask)?,
            "!=" => negate(self.member(width, mask)?),
            "in" => self.set(width, mask)?,
            "only" | "has" | "lacks" => {
                let start = self.at;
                let flags = self.flags(width)?;
                if operator.text == "has" {
                    self.is_seen(flags, mask, start)?;
                }
                let wanted = match operator.text {
                    "only" => (mask & !flags, 0),
                    "has" => (mask & flags, flags),
                    _ => (mask & flags, 0),
                };
                mask = wanted.0;
                Relation::OneOf {
                    values: vec![wanted.1],
                    own_pid: false,
                }
            }
            "<" | "<=" | ">" | ">=" => self.order(operator, name, width)?,
            _ => {
                return Err(
                    self.unexpected(operator, "==, !=, in, only, has, lacks, <, <=, > or >=")
                );
            }
        };
        if relation.is_certain(mask) {
            let message = "this is true of every value";
            return Err(self.mistake(Code::BadOperand, name.start, self.at, message));
        }
        Ok(Test {
            arg,
            width,
            mask,
            relation,
        })
    }

    fn null_test(
        &mut self,
        arg: u8,
        name: Token<'t>,
        operator: Token<'t>,
    ) -> Result<Test, Mistake> {
        let null = self.next().is_some_and(|token| token.text == "NULL");
        let set = (vec![0], false);
        let relation = match operator.text {
            "==" if null => Relation::OneOf {
                values: set.0,
                own_pid: set.1,
            },
            "!=" if null => Relation::NoneOf {
                values: set.0,
                own_pid: set.1,
            },
            _ => return Err(self.pointer(name)),
        };
        Ok(Test {
            arg,
            width: Width::Pointer,
            mask: u64::MAX,
            relation,
        })
    }

    /// One value, or the process's own id.
    fn member(&mut self, width: Width, mask: u64) -> Result<Relation, Mistake> {
        let start = self.at;
        if self.accept("self.pid") {
            if mask != 0xffff_ffff {
                let message = "only a whole 32-bit argument can be compared with the process id";
                return Err(self.mistake(Code::BadOperand, start, self.at, message));
            }
            return Ok(Relation::OneOf {
                values: Vec::new(),
                own_pid: true,
            });
        }
        let value = self.flags(width)?;
        self.is_seen(value, mask, start)?;
        Ok(Relation::OneOf {
            values: vec![value],
            own_pid: false,
        })
    }

    /// Refuses a value that no masked part can have.
    fn is_seen(&self, value: u64, mask: u64, start: usize) -> Result<(), Mistake> {
        if value & !mask == 0 {
            return Ok(());
        }
        let message = "this is never true: the value has bits that the mask hides";
        Err(self.mistake(Code::BadOperand, start, self.at, message))
    }

    /// `{a, b, c}`.
    fn set(&mut self, width: Width, mask: u64) -> Result<Relation, Mistake> {
        let mut values = Vec::new();
        let mut own_pid = false;
        self.require("{")?;
        loop {
            if let Relation::OneOf {
                values: more,
                own_pid: own,
            } = self.member(width, mask)?
            {
                values.extend(more);
                own_pid |= own;
            }
            if !self.accept(",") {
                break;
            }
        }
        self.require("}")?;
        values.sort_unstable();
        values.dedup();
        Ok(Relation::OneOf { values, own_pid })
    }

    fn order(
        &mut self,
        operator: Token<'t>,
        name: Token<'t>,
        width: Width,
    ) -> Result<Relation, Mistake> {
        if width == Width::Int {
            let message = format!(
                "`{}` is signed, and the kernel's filters compare without a sign",
                name.text
            );
            let help = "name the values with `in {…}`, or test bits with `lacks`";
            let mistake = self.mistake(Code::SignedOrder, name.start, name.end(), &message);
            return Err(Mistake {
                help: Some(help.into()),
                ..mistake
            });
        }
        let start = self.at;
        let value = self.flags(width)?;
        let (relation, constant) = match operator.text {
            "<" => (Relation::Below(value), value == 0),
            ">=" => (Relation::AtLeast(value), value == 0),
            "<=" => (
                Relation::Below(value.wrapping_add(1)),
                value == width.mask(),
            ),
            _ => (
                Relation::AtLeast(value.wrapping_add(1)),
                value == width.mask(),
            ),
        };
        if constant {
            let message = "this comparison doesn't depend on the argument";
            return Err(self.mistake(Code::BadOperand, start, self.at, message));
        }
        Ok(relation)
    }

    /// `A | B | 0x10`.
    fn flags(&mut self, width: Width) -> Result<u64, Mistake> {
        let mut flags = self.value(width)?;
        while self.accept("|") {
            flags |= self.value(width)?;
        }
        Ok(flags)
    }

    fn value(&mut self, width: Width) -> Result<u64, Mistake> {
        let token = self.word("a number or a constant")?;
        let value = if token.text.starts_with(|c: char| c.is_ascii_digit()) {
            match number(token.text) {
                Number::Is(value) => Some(value),
                Number::Octal => return Err(self.octal(token)),
                Number::Not => None,
            }
        } else {
            constants::value(token.text, self.arch)
        };
        let Some(value) = value else {
            let message = if token.text == "NULL" {
                "only pointers are compared with `NULL`".to_owned()
            } else {
                format!("unknown constant `{}`", token.text)
            };
            let mistake = self.mistake(Code::UnknownConstant, token.start, token.end(), &message);
            let near = nearest(token.text, constants::names());
            return Err(suggest(mistake, near));
        };
        // A negative constant such as AT_FDCWD fits a 32-bit argument by its low half.
        let negative = value > u64::MAX - 0x8000_0000;
        if value & !width.mask() != 0 && !(negative && width == Width::Int) {
            let bits = width.mask().count_ones();
            let message = format!("the kernel looks at {bits} bits of this argument only");
            return Err(self.mistake(Code::BadOperand, token.start, token.end(), &message));
        }
        Ok(value & width.mask())
    }

    /// A leading zero, which means octal in C and nothing elsewhere.
    fn octal(&self, token: Token<'t>) -> Mistake {
        let digits = token.text.trim_start_matches('0');
        let message = format!("`{}` may be octal or decimal", token.text);
        let mistake = self.mistake(Code::BadOperand, token.start, token.end(), &message);
        let is_octal =
            !digits.is_empty() && digits.bytes().all(|digit| (b'0'..b'8').contains(&digit));
        let help = match is_octal {
            true => format!("write `0o{digits}` for an octal number, `{digits}` for a decimal one"),
            false => "write a number without a zero ahead".to_owned(),
        };
        Mistake {
            help: Some(help),
            ..mistake
        }
    }

    fn argument(&self, name: Token<'t>) -> Result<(u8, Width), Mistake> {
        let args = self.call.args;
        let position = match name.text.as_bytes() {
            [b'a', digit @ b'0'..=b'5'] => Some(usize::from(digit - b'0')),
            _ => args.iter().position(|(known, _)| *known == name.text),
        };
        if let Some(at) = position
            && let Some((_, width)) = args.get(at)
        {
            return Ok((u8::try_from(at).unwrap_or(u8::MAX), *width));
        }
        let message = format!("`{}` has no argument `{}`", self.call.name, name.text);
        let mistake = self.mistake(Code::UnknownArgument, name.start, name.end(), &message);
        match nearest(name.text, args.iter().map(|(name, _)| *name)) {
            Some(near) => Err(suggest(mistake, Some(near))),
            None => {
                let names: Vec<_> = args.iter().map(|(name, _)| *name).collect();
                let help = match names.is_empty() {
                    true => "it takes none".to_owned(),
                    false => format!("its arguments are {}", names.join(", ")),
                };
                Err(Mistake {
                    help: Some(help),
                    ..mistake
                })
            }
        }
    }

    fn pointer(&self, name: Token<'t>) -> Mistake {
        let message = format!(
            "`{}` is a pointer: it can only be compared with NULL",
            name.text
        );
        let help = "a filter sees the address, not what lies there, and another thread could \
                    change that after the filter has looked";
        let mistake = self.mistake(Code::PointerCompared, name.start, name.end(), &message);
        Mistake {
            help: Some(help.into()),
            ..mistake
        }
    }
}

fn negate(relation: Relation) -> Relation {
    match relation {
        Relation::OneOf { values, own_pid } => Relation::NoneOf { values, own_pid },
        other => other,
    }
}

fn suggest(mistake: Mistake, near: Option<&str>) -> Mistake {
    Mistake {
        help: near.map(|near| format!("did you mean `{near}`?")),
        ..mistake
    }
}
