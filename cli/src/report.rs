//! Findings, written for people, for programs, and for code hosts.

use anstream::{eprintln, println};
use anstyle::{AnsiColor, Style};
use crossmist_policy::{Code, Diagnostic, Severity};
use serde_json::{Value, json};

use crate::args::Format;

/// There are findings.
pub(crate) const FINDINGS: u8 = 1;
/// Something other than the policies is wrong.
pub(crate) const ENVIRONMENT: u8 = 3;

/// The text of an error.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl<T: std::fmt::Display> From<T> for Failure {
    fn from(reason: T) -> Self {
        Self(reason.to_string())
    }
}

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const BLUE: Style = AnsiColor::Blue.on_default().bold();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// Returns a text in a style.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints an error.
pub(crate) fn error(message: &str) {
    eprintln!("{}: {message}", paint(RED, "error"));
}

fn color(severity: Severity) -> Style {
    match severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
    }
}

/// Returns a finding as the macro writes it, with colours.
fn drawn(finding: &Diagnostic) -> String {
    let style = color(finding.code.severity());
    let text = finding.to_string();
    let lines = text.lines().enumerate().map(|(at, line)| {
        let is_caret = line.trim_start().starts_with('|') && line.contains('^');
        match (at, line.split_once(": ")) {
            (0, Some((kind, message))) => {
                format!("{}: {}", paint(style, kind), paint(BOLD, message))
            }
            _ if is_caret => paint(style, line),
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes findings. For people they go to standard error, since standard output may hold something
/// else.
pub(crate) fn write(findings: &[Diagnostic], format: Format) {
    match format {
        Format::Human => {
            for finding in findings {
                eprintln!("{}\n", drawn(finding));
            }
        }
        Format::Json => println!(
            "{:#}",
            json!({ "findings": findings.iter().map(object).collect::<Vec<_>>() })
        ),
        Format::Sarif => println!("{:#}", sarif(findings)),
    }
}

fn object(finding: &Diagnostic) -> Value {
    json!({
        "code": finding.code.as_str(),
        "severity": finding.code.severity().to_string(),
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "length": finding.length,
        "message": finding.message,
        "help": finding.help,
    })
}

/// Static Analysis Results Interchange Format, version 2.1.0.
fn sarif(findings: &[Diagnostic]) -> Value {
    let rule = |code: &Code| {
        let help = code.help();
        let example = match help.example {
            "" => String::new(),
            example => format!("\n\n```toml\n{example}\n```"),
        };
        json!({
            "id": code.as_str(),
            "shortDescription": { "text": help.meaning },
            "help": {
                "text": format!("{} {}", help.meaning, help.cure),
                "markdown": format!("{}{example}\n\n{}", help.meaning, help.cure),
            },
        })
    };
    let result = |finding: &Diagnostic| {
        let message = match &finding.help {
            Some(help) => format!("{}. {help}", finding.message),
            None => finding.message.clone(),
        };
        json!({
            "ruleId": finding.code.as_str(),
            "ruleIndex": Code::ALL.iter().position(|code| *code == finding.code),
            "level": match finding.code.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "message": { "text": message },
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": { "uri": finding.file },
                    "region": {
                        "startLine": finding.line,
                        "startColumn": finding.column,
                        "endColumn": finding.column.saturating_add(finding.length),
                    },
                },
            }],
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cargo-crossmist",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Code::ALL.iter().map(rule).collect::<Vec<_>>(),
            } },
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// Returns a number with the word for it.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
