//! The written form of conditions: `prot only PROT_READ|PROT_WRITE && flags has MAP_PRIVATE`.

use super::{Condition, Conjunction, Mistake, Relation, Test};
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

struct Parser<'t> {
    text: &'t str,
    at: usize,
    call: &'static Syscall,
    arch: Arch,
}

/// A run of characters that belong together, and where it begins.
#[derive(Clone, Copy)]
struct Token<'t> {
    text: &'t str,
    start: usize,
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
        let mut tests = vec![self.test()?];
        while self.accept("&&") {
            tests.push(self.test()?);
        }
        if tests.len() > MAX_PARTS {
            return Err(self.whole(format!("more than {MAX_PARTS} tests in one alternative")));
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
                let flags = self.flags(width)?;
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
        if mask == 0 {
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
        if value & !mask != 0 {
            let message = "this is never true: the value has bits that the mask hides";
            return Err(self.mistake(Code::BadOperand, start, self.at, message));
        }
        Ok(Relation::OneOf {
            values: vec![value],
            own_pid: false,
        })
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
        let (digits, radix) = match token.text.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None => (token.text, 10),
        };
        let value = if token.text.starts_with(|c: char| c.is_ascii_digit()) {
            u64::from_str_radix(&digits.replace('_', ""), radix).ok()
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

    fn word(&mut self, what: &str) -> Result<Token<'t>, Mistake> {
        match self.next() {
            Some(token) if token.text.starts_with(is_word) => Ok(token),
            Some(token) => Err(self.unexpected(token, what)),
            None => Err(self.unexpected(
                Token {
                    text: "",
                    start: self.text.len(),
                },
                what,
            )),
        }
    }

    fn require(&mut self, text: &str) -> Result<(), Mistake> {
        match self.peek() {
            _ if self.accept(text) => Ok(()),
            Some(token) => Err(self.unexpected(token, &format!("`{text}`"))),
            None => {
                let end = Token {
                    text: "",
                    start: self.text.len(),
                };
                Err(self.unexpected(end, &format!("`{text}`")))
            }
        }
    }

    fn accept(&mut self, text: &str) -> bool {
        match self.peek() {
            Some(token) if token.text == text => {
                self.at = token.end();
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        self.at = token.end();
        Some(token)
    }

    fn peek(&self) -> Option<Token<'t>> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        let start = self.at + (rest.len() - trimmed.len());
        let first = trimmed.chars().next()?;
        let length = if is_word(first) {
            trimmed.find(|c| !is_word(c)).unwrap_or(trimmed.len())
        } else {
            let pairs = ["==", "!=", "<=", ">=", "&&", "||"];
            if pairs.iter().any(|pair| trimmed.starts_with(pair)) {
                2
            } else {
                first.len_utf8()
            }
        };
        Some(Token {
            text: &trimmed[..length],
            start,
        })
    }

    fn unexpected(&self, token: Token<'_>, wanted: &str) -> Mistake {
        let found = match token.text {
            "" => "the end".to_owned(),
            text => format!("`{text}`"),
        };
        let message = format!("expected {wanted}, found {found}");
        let mistake = self.mistake(Code::BadCondition, token.start, token.end(), &message);
        match token.text {
            "(" => Mistake {
                help: Some("alternatives are `a && b || c && d`, without brackets".into()),
                ..mistake
            },
            "=" => Mistake {
                help: Some("equality is written `==`".into()),
                ..mistake
            },
            _ => mistake,
        }
    }

    fn whole(&self, message: String) -> Mistake {
        self.mistake(Code::BadCondition, 0, self.text.len(), &message)
    }

    fn mistake(&self, code: Code, start: usize, end: usize, message: &str) -> Mistake {
        let skipped = self.text[start..end].len() - self.text[start..end].trim_start().len();
        Mistake {
            code,
            start: start + skipped,
            end,
            message: message.to_owned(),
            help: None,
        }
    }
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls;

    fn read(call: &str, text: &str) -> Result<Condition, Code> {
        parse(text, syscalls::find(call).unwrap()).map_err(|mistake| mistake.code)
    }

    fn holds(call: &str, text: &str, args: [u64; 6]) -> bool {
        read(call, text).unwrap().holds(Arch::X86_64, &args, 4711)
    }

    #[test]
    fn only_has_and_lacks_look_at_all_bits_of_the_argument() {
        let prot = |text, prot| holds("mprotect", text, [0, 0, prot, 0, 0, 0]);
        assert!(prot("prot only PROT_READ|PROT_WRITE", 3));
        assert!(!prot("prot only PROT_READ|PROT_WRITE", 7));
        assert!(!prot("prot only PROT_READ|PROT_WRITE", 1 << 40));
        assert!(prot("prot has PROT_READ", 5));
        assert!(!prot("prot has PROT_READ|PROT_WRITE", 5));
        assert!(!prot("prot lacks PROT_EXEC", 5));
    }

    #[test]
    fn a_32_bit_argument_is_compared_as_the_kernel_reads_it() {
        let garbage_above = [0xdead_beef_0000_0001, 1, 0, 0, 0, 0];
        assert!(holds("socket", "domain == AF_UNIX", garbage_above));
        assert!(!holds("socket", "domain != AF_UNIX", garbage_above));
        assert!(holds(
            "openat",
            "dirfd == AT_FDCWD",
            [(-100i64) as u64, 0, 0, 0, 0, 0]
        ));
    }

    #[test]
    fn alternatives_sets_masks_and_the_own_pid_mean_what_they_say() {
        let text = "op & FUTEX_CMD_MASK in {FUTEX_WAIT, FUTEX_WAKE} || val == 7";
        assert!(holds("futex", text, [0, 0x81, 0, 0, 0, 0]));
        assert!(!holds("futex", text, [0, 6, 0, 0, 0, 0]));
        assert!(holds("futex", text, [0, 6, 7, 0, 0, 0]));
        assert!(holds(
            "tgkill",
            "tgid == self.pid && sig == SIGABRT",
            [4711, 1, 6, 0, 0, 0]
        ));
        assert!(!holds(
            "tgkill",
            "tgid == self.pid && sig == SIGABRT",
            [4712, 1, 6, 0, 0, 0]
        ));
        assert!(holds("read", "count < 10", [0, 0, 9, 0, 0, 0]));
        assert!(!holds("read", "count <= 9", [0, 0, 10, 0, 0, 0]));
    }

    #[test]
    fn constants_differ_by_architecture() {
        let condition = read("openat", "flags == O_DIRECTORY").unwrap();
        assert!(condition.holds(Arch::X86_64, &[0, 0, 0x10000, 0, 0, 0], 1));
        assert!(condition.holds(Arch::Aarch64, &[0, 0, 0x4000, 0, 0, 0], 1));
    }

    #[test]
    fn what_cannot_be_judged_is_refused_with_the_reason() {
        let code = |call, text| read(call, text).unwrap_err();
        assert_eq!(code("openat", "path == 3"), Code::PointerCompared);
        assert_eq!(code("openat", "path & 3 == 3"), Code::PointerCompared);
        assert_eq!(code("openat", "pathh == NULL"), Code::UnknownArgument);
        assert_eq!(code("clock_gettime", "clockid < 3"), Code::SignedOrder);
        assert_eq!(
            code("openat", "flags only O_RDONLYY"),
            Code::UnknownConstant
        );
        assert_eq!(code("openat", "flags == 0x100000000"), Code::BadOperand);
        assert_eq!(
            code("openat", "flags & O_CREAT == O_EXCL"),
            Code::BadOperand
        );
        assert_eq!(code("openat", "flags has 0"), Code::BadOperand);
        assert_eq!(code("openat", "(flags == 0)"), Code::BadCondition);
        assert_eq!(code("openat", "flags = 0"), Code::BadCondition);
        assert_eq!(code("openat", "flags == 0 &&"), Code::BadCondition);
        assert_eq!(code("openat", ""), Code::BadCondition);
        assert_eq!(code("openat", "flags == é"), Code::BadCondition);
    }

    #[test]
    fn implication_is_seen_where_values_decide_and_never_claimed_otherwise() {
        let implies = |narrow: &str, wide: &str| {
            let wide = read("mmap", wide).unwrap();
            read("mmap", narrow)
                .unwrap()
                .implies(Arch::X86_64, &[&wide])
        };
        assert!(implies(
            "prot only PROT_READ",
            "prot only PROT_READ|PROT_WRITE"
        ));
        assert!(!implies(
            "prot only PROT_READ|PROT_WRITE",
            "prot only PROT_READ"
        ));
        assert!(implies(
            "prot == PROT_READ && flags == 2",
            "prot lacks PROT_EXEC"
        ));
        assert!(!implies("flags == 2", "prot lacks PROT_EXEC"));
        assert!(implies("flags in {1, 2}", "flags in {1, 2, 3}"));
    }
}
