//! The words of a condition, and what is said when one is out of place.

use super::Mistake;
use super::parse::Parser;
use crate::diagnostic::Code;

/// A run of characters that belong together, and where it begins.
#[derive(Clone, Copy)]
pub(super) struct Token<'t> {
    pub(super) text: &'t str,
    pub(super) start: usize,
}
impl<'t> Parser<'t> {
    pub(super) fn word(&mut self, what: &str) -> Result<Token<'t>, Mistake> {
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

    pub(super) fn require(&mut self, text: &str) -> Result<(), Mistake> {
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

    pub(super) fn accept(&mut self, text: &str) -> bool {
        match self.peek() {
            Some(token) if token.text == text => {
                self.at = token.end();
                true
            }
            _ => false,
        }
    }

    pub(super) fn next(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        self.at = token.end();
        Some(token)
    }

    pub(super) fn peek(&self) -> Option<Token<'t>> {
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

    pub(super) fn unexpected(&self, token: Token<'_>, wanted: &str) -> Mistake {
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

    pub(super) fn whole(&self, message: String) -> Mistake {
        self.mistake(Code::BadCondition, 0, self.text.len(), &message)
    }

    pub(super) fn mistake(&self, code: Code, start: usize, end: usize, message: &str) -> Mistake {
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
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}
