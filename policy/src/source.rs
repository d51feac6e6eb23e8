//! The texts that a policy is made of, and places in them.

use crate::diagnostic::{Code, Diagnostic, Report};

/// The most bytes that a policy file may have.
pub const MAX_FILE: usize = 256 * 1024;

/// The most of a source line that a diagnostic shows.
const MAX_SHOWN: usize = 160;

/// A piece of one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) file: u16,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Place {
    pub(crate) fn new(file: u16, span: std::ops::Range<usize>) -> Self {
        // Files are at most `MAX_FILE` long.
        let small = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            file,
            start: small(span.start),
            end: small(span.end),
        }
    }

    /// The part of this place from `start` to `end`, counted from behind its opening quote.
    pub(crate) fn within(self, start: usize, end: usize) -> Self {
        let base = self.start as usize + 1;
        let place = Self::new(self.file, base + start..base + end);
        if place.end < self.end { place } else { self }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// One file: what it is called in messages, and its text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) label: String,
    pub(crate) text: String,
}

/// A place in words: file, line, column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file as it was named: a path, or `builtin:NAME`.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A mistake on its way to becoming a [`Diagnostic`].
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: Code,
    place: Place,
    message: String,
    help: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            place,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn did_you_mean(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// All files of a policy; a file's number is its place in the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Takes a file in. `None` if there are more files than can be counted.
    pub(crate) fn add(&mut self, source: Source) -> Option<u16> {
        let number = u16::try_from(self.files.len()).ok()?;
        self.files.push(source);
        Some(number)
    }

    pub(crate) fn file(&self, number: u16) -> &Source {
        &self.files[usize::from(number)]
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|source| source.label.as_str())
    }

    pub(crate) fn text_at(&self, place: Place) -> &str {
        let text = &self.file(place.file).text;
        text.get(place.start as usize..place.end as usize)
            .unwrap_or("")
    }

    pub(crate) fn locate(&self, place: Place) -> Location {
        let source = self.file(place.file);
        let (line, column, _) = position(&source.text, place.start as usize);
        Location {
            file: source.label.clone(),
            line,
            column,
        }
    }

    pub(crate) fn report(&self, problems: Vec<Problem>) -> Report {
        Report::new(
            problems
                .into_iter()
                .map(|problem| self.diagnose(problem))
                .collect(),
        )
    }

    fn diagnose(&self, problem: Problem) -> Diagnostic {
        let source = self.file(problem.place.file);
        let (line, column, whole) = position(&source.text, problem.place.start as usize);
        let source_line: String = whole.chars().take(MAX_SHOWN).collect();
        let shown = u32::try_from(source_line.chars().count()).unwrap_or(u32::MAX);
        let meant = self
            .text_at(problem.place)
            .lines()
            .next()
            .unwrap_or("")
            .chars()
            .count();
        let room = shown.saturating_sub(column - 1).max(1);
        Diagnostic {
            code: problem.code,
            file: source.label.clone(),
            line,
            column,
            length: u32::try_from(meant).unwrap_or(u32::MAX).clamp(1, room),
            source_line,
            message: problem.message,
            help: problem.help,
        }
    }
}

/// Line, column and the text of the line of an offset, for any offset.
fn position(text: &str, offset: usize) -> (u32, u32, &str) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let line = text[..start].matches('\n').count() + 1;
    let column = text[start..offset].chars().count() + 1;
    let whole = text[start..].lines().next().unwrap_or("");
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (small(line), small(column), whole)
}
