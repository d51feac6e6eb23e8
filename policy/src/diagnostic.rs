//! Mistakes in a policy: a code, a place, a message, a cure.
//!
//! All mistakes of a file are collected in a [`Report`], so that one build shows them all.

use std::fmt;

/// The stable name of a kind of mistake. It never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// P001: not TOML.
    Syntax,
    /// P002: a key that doesn't exist.
    UnknownKey,
    /// P003: a value of the wrong type, or out of its range.
    BadValue,
    /// P004: `format` is missing or unknown.
    Format,
    /// P005: a file that can't be read, is too large, or isn't UTF-8.
    Unreadable,
    /// P006: a part of the format that this version doesn't do.
    Unsupported,
    /// P010: no such system call.
    UnknownSyscall,
    /// P011: a system call of other architectures only.
    ForeignSyscall,
    /// P012: no such group.
    UnknownGroup,
    /// P013: a group of systemd's.
    SystemdGroup,
    /// P014: no such constant.
    UnknownConstant,
    /// P015: no such argument.
    UnknownArgument,
    /// P016: a pointer compared with something other than NULL.
    PointerCompared,
    /// P017: a signed argument compared by order.
    SignedOrder,
    /// P018: a condition that can't be read.
    BadCondition,
    /// P019: a value that its argument can't have, or a condition that is always or never true.
    BadOperand,
    /// P020: the same thing allowed and denied.
    AllowedAndDenied,
    /// P021: a condition without effect.
    ConditionWithoutEffect,
    /// P022: two answers for one call.
    AnswerConflict,
    /// P023: allowed although an ancestor denies it.
    DeniedByAncestor,
    /// P030: policies that extend each other in a circle.
    Cycle,
    /// P031: no such parent.
    UnknownParent,
    /// P032: two parents disagree.
    ParentsDisagree,
    /// P033: more than the ceiling allows.
    NotWithin,
    /// P034: too many generations, or too many files.
    TooDeep,
    /// P040: not a usable path.
    BadPath,
    /// P041: a variable that isn't declared, or a bad declaration.
    BadVariable,
    /// P042: a path can't be denied.
    PathDenied,
    /// P043: not a port.
    BadPort,
    /// P044: writing into the kernel's own trees.
    WritesKernelTree,
    /// P050: a system call that no policy may allow.
    NeverAllowed,
    /// P051: something dangerous without a reason.
    MissingReason,
    /// P060: the kernel can't be asked for less than the policy needs.
    LandlockTooLow,
    /// P061: an unknown relaxation, or one without a reason.
    BadRelaxation,
    /// P062: an unknown second net, or one that the policy does without.
    BadRequirement,
    /// P070: a filter that is longer than the kernel takes.
    FilterTooLong,
    /// P080: the name of a built-in policy.
    ReservedName,
    /// P090: an expectation that doesn't hold.
    ExpectationFailed,
    /// P091: an expectation that can't be read.
    BadExpectation,
    /// P092: an allowance of advice that can't be read, or has no reason.
    BadAllowance,
    /// C001: no description.
    NoDescription,
    /// C010: a call that only one architecture has.
    OneArchitecture,
    /// C011: allowed whatever its arguments, if a group has a condition.
    Unconditional,
    /// C012: an entry that a group says already.
    InGroup,
    /// C020: a path that others can change.
    ForeignPath,
    /// C021: a path that holds much of the machine.
    BroadPath,
    /// C030: no limit on time.
    NoTimeLimit,
    /// C031: no limit on memory.
    NoMemoryLimit,
    /// C033: shared memory, which the limit on memory doesn't count.
    UncountedMemory,
    /// C040: something that Landlock doesn't restrict.
    LandlockGap,
    /// C041: a port that a network of its own puts out of reach.
    UnreachablePort,
    /// C050: a policy that nothing uses.
    Unused,
    /// C051: a policy without expectations.
    NoExpectations,
    /// C052: an allowance of advice that isn't given.
    UnusedAllowance,
    /// C060: a function that names no policy that there is.
    UnknownSandbox,
    /// C061: a function that raises limits of its policy.
    Raised,
}

impl Code {
    /// All of them, as they are printed in order.
    pub const ALL: &[Self] = &[
        Self::Syntax,
        Self::UnknownKey,
        Self::BadValue,
        Self::Format,
        Self::Unreadable,
        Self::Unsupported,
        Self::UnknownSyscall,
        Self::ForeignSyscall,
        Self::UnknownGroup,
        Self::SystemdGroup,
        Self::UnknownConstant,
        Self::UnknownArgument,
        Self::PointerCompared,
        Self::SignedOrder,
        Self::BadCondition,
        Self::BadOperand,
        Self::AllowedAndDenied,
        Self::ConditionWithoutEffect,
        Self::AnswerConflict,
        Self::DeniedByAncestor,
        Self::Cycle,
        Self::UnknownParent,
        Self::ParentsDisagree,
        Self::NotWithin,
        Self::TooDeep,
        Self::BadPath,
        Self::BadVariable,
        Self::PathDenied,
        Self::BadPort,
        Self::WritesKernelTree,
        Self::NeverAllowed,
        Self::MissingReason,
        Self::LandlockTooLow,
        Self::BadRelaxation,
        Self::BadRequirement,
        Self::FilterTooLong,
        Self::ReservedName,
        Self::ExpectationFailed,
        Self::BadExpectation,
        Self::BadAllowance,
        Self::NoDescription,
        Self::OneArchitecture,
        Self::Unconditional,
        Self::InGroup,
        Self::ForeignPath,
        Self::BroadPath,
        Self::NoTimeLimit,
        Self::NoMemoryLimit,
        Self::UncountedMemory,
        Self::LandlockGap,
        Self::UnreachablePort,
        Self::Unused,
        Self::NoExpectations,
        Self::UnusedAllowance,
        Self::UnknownSandbox,
        Self::Raised,
    ];

    /// The code as it is printed, such as `P010`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "P001",
            Self::UnknownKey => "P002",
            Self::BadValue => "P003",
            Self::Format => "P004",
            Self::Unreadable => "P005",
            Self::Unsupported => "P006",
            Self::UnknownSyscall => "P010",
            Self::ForeignSyscall => "P011",
            Self::UnknownGroup => "P012",
            Self::SystemdGroup => "P013",
            Self::UnknownConstant => "P014",
            Self::UnknownArgument => "P015",
            Self::PointerCompared => "P016",
            Self::SignedOrder => "P017",
            Self::BadCondition => "P018",
            Self::BadOperand => "P019",
            Self::AllowedAndDenied => "P020",
            Self::ConditionWithoutEffect => "P021",
            Self::AnswerConflict => "P022",
            Self::DeniedByAncestor => "P023",
            Self::Cycle => "P030",
            Self::UnknownParent => "P031",
            Self::ParentsDisagree => "P032",
            Self::NotWithin => "P033",
            Self::TooDeep => "P034",
            Self::BadPath => "P040",
            Self::BadVariable => "P041",
            Self::PathDenied => "P042",
            Self::BadPort => "P043",
            Self::WritesKernelTree => "P044",
            Self::NeverAllowed => "P050",
            Self::MissingReason => "P051",
            Self::LandlockTooLow => "P060",
            Self::BadRelaxation => "P061",
            Self::BadRequirement => "P062",
            Self::FilterTooLong => "P070",
            Self::ReservedName => "P080",
            Self::ExpectationFailed => "P090",
            Self::BadExpectation => "P091",
            Self::BadAllowance => "P092",
            Self::NoDescription => "C001",
            Self::OneArchitecture => "C010",
            Self::Unconditional => "C011",
            Self::InGroup => "C012",
            Self::ForeignPath => "C020",
            Self::BroadPath => "C021",
            Self::NoTimeLimit => "C030",
            Self::NoMemoryLimit => "C031",
            Self::UncountedMemory => "C033",
            Self::LandlockGap => "C040",
            Self::UnreachablePort => "C041",
            Self::Unused => "C050",
            Self::NoExpectations => "C051",
            Self::UnusedAllowance => "C052",
            Self::UnknownSandbox => "C060",
            Self::Raised => "C061",
        }
    }

    /// The code that is printed so.
    pub fn find(name: &str) -> Option<Self> {
        let found = Self::ALL
            .iter()
            .find(|code| code.as_str().eq_ignore_ascii_case(name));
        found.copied()
    }

    /// Whether it is a mistake, or advice.
    pub fn severity(self) -> Severity {
        match self.as_str().starts_with('P') || self == Self::UnknownSandbox {
            true => Severity::Error,
            false => Severity::Warning,
        }
    }
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Advice: the policy works, and could be better.
    Warning,
    /// A mistake: the policy can't be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One mistake, with everything that is needed to show it.
///
/// `Display` draws it with the line it is in and a caret; the fields are for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of mistake.
    pub code: Code,
    /// The file as it was named: a path, or `builtin:NAME`.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters are meant, at least 1.
    pub length: u32,
    /// The text of that line, cut if it is very long.
    pub source_line: String,
    /// The message.
    pub message: String,
    /// The cure, if there is one.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let lead: String = (self.source_line.chars())
            .take(self.column as usize - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let carets = "^".repeat(self.length as usize);
        writeln!(
            f,
            "{}[{}]: {}",
            self.code.severity(),
            self.code,
            self.message
        )?;
        writeln!(f, "{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", self.source_line)?;
        write!(f, "{margin} | {lead}{carets}")?;
        if let Some(help) = &self.help {
            write!(f, "\n{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a policy and the files it is made of. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        let key = |d: &Diagnostic| (d.file.clone(), d.line, d.column, d.code);
        diagnostics.sort_by_key(key);
        diagnostics.dedup();
        Self { diagnostics }
    }

    /// The mistakes, by file and line.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.diagnostics.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// A known name so close to `written` that it was probably meant.
pub fn nearest(
    written: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    let allowed = if written.len() < 4 { 1 } else { 2 };
    let possible =
        |name: &&str| name.len().abs_diff(written.len()) <= allowed || name.starts_with(written);
    known
        .into_iter()
        .filter(possible)
        .map(|name| (distance(written, name), name))
        .filter(|(far, name)| *far <= allowed || (written.len() > 3 && name.starts_with(written)))
        .min()
        .map(|(_, name)| name)
}

/// How many single-character edits, exchanges of neighbours among them, lie between two names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let swap = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + swap);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_finds_the_name_that_was_meant() {
        let known = ["openat", "open", "close", "mmap"];
        assert_eq!(nearest("opennat", known), Some("openat"));
        assert_eq!(nearest("clsoe", known), Some("close"));
        assert_eq!(nearest("gettimeofday", known), None);
    }
}
