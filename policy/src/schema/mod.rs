//! The format as a JSON Schema, for editors: they complete names and mark mistakes as one types.
//!
//! Draft 7, the one that editors know. It says what can be said of a file by itself; what files mean
//! together, and whether a condition makes sense, only the reader knows.

mod json;

use json::Json;

use crate::diagnostic::Code;
use crate::file::{RELAXATIONS, can_be_allowed};
use crate::keys::{self, Shape, TABLES};
use crate::landlock::FsRights;
use crate::settings::{Kind, Setting};
use crate::steps::SecondNet;
use crate::syscalls::{self, groups};
use crate::{landlock, library, names};

/// The schema's text.
pub fn schema() -> String {
    let mut tables = Vec::new();
    for (table, about) in TABLES {
        let (path, name) = table.rsplit_once('.').unwrap_or(("", table));
        if !name.is_empty() && path.is_empty() && *table != "variables" {
            tables.push((name, self::table(table, about)));
        }
    }
    let mut root = properties("");
    root.extend(
        tables
            .into_iter()
            .map(|(name, table)| (name.to_owned(), table)),
    );
    let schema = Json::object([
        (
            "$schema",
            Json::text("http://json-schema.org/draft-07/schema#"),
        ),
        ("title", Json::text("A policy of crossmist")),
        (
            "description",
            Json::text("What a confined function may do. What isn't named is denied."),
        ),
        ("type", Json::text("object")),
        ("required", Json::texts(["format"])),
        ("additionalProperties", Json::Bool(false)),
        ("properties", Json::Object(root)),
    ]);
    format!("{schema}\n")
}

fn table(table: &str, about: &str) -> Json {
    let mut properties = properties(table);
    // The one table within a table.
    if table == "limits" {
        let (name, about) = TABLES
            .iter()
            .find(|(name, _)| *name == "limits.channel")
            .unwrap_or(&("", ""));
        properties.push(("channel".to_owned(), self::table(name, about)));
    }
    Json::object([
        ("type", Json::text("object")),
        ("description", Json::text(about)),
        ("additionalProperties", Json::Bool(false)),
        ("properties", Json::Object(properties)),
    ])
}

fn properties(table: &str) -> Vec<(String, Json)> {
    let (keys, settings) = keys::of(table);
    let described = |about: &str, shape: Json| match shape {
        Json::Object(mut fields) => {
            fields.insert(0, ("description".to_owned(), Json::text(about)));
            Json::Object(fields)
        }
        other => other,
    };
    let keys = keys.map(|key| (key.name.to_owned(), described(key.about, shape(key.shape))));
    let settings = settings.map(|setting| {
        let about = format!("{} Without it: `{}`.", setting.about, setting.default);
        (setting.key.to_owned(), described(&about, value(setting)))
    });
    keys.chain(settings).collect()
}

fn value(setting: &Setting) -> Json {
    match setting.kind {
        Kind::Size => Json::pattern(r"^([0-9_]+ ?(B|KiB|MiB|GiB|TiB)|none)$"),
        Kind::Time => Json::pattern(r"^([0-9_]+ ?(ms|s|min|h)|none)$"),
        Kind::Count(most) => integer(0, most),
        Kind::Choice(words) => Json::one_of(words.iter().copied()),
        Kind::Switch(_) | Kind::Neutral => Json::object([("type", Json::text("boolean"))]),
    }
}

fn integer(least: u64, most: u64) -> Json {
    Json::object([
        ("type", Json::text("integer")),
        ("minimum", Json::Number(least)),
        ("maximum", Json::Number(most)),
    ])
}

fn any(schemas: impl IntoIterator<Item = Json>) -> Json {
    Json::object([("anyOf", Json::Array(schemas.into_iter().collect()))])
}

fn list(items: Json) -> Json {
    Json::object([("type", Json::text("array")), ("items", items)])
}

fn record<const N: usize>(required: &[&'static str], fields: [(&'static str, Json); N]) -> Json {
    Json::object([
        ("type", Json::text("object")),
        ("required", Json::texts(required.iter().copied())),
        ("additionalProperties", Json::Bool(false)),
        ("properties", Json::object(fields)),
    ])
}

fn map(values: Json) -> Json {
    Json::object([
        ("type", Json::text("object")),
        ("additionalProperties", values),
    ])
}

fn string() -> Json {
    Json::object([("type", Json::text("string"))])
}

fn boolean() -> Json {
    Json::object([("type", Json::text("boolean"))])
}

fn shape(shape: Shape) -> Json {
    match shape {
        Shape::Format => Json::object([
            ("type", Json::text("integer")),
            ("enum", Json::Array(vec![Json::Number(1)])),
        ]),
        Shape::Text => string(),
        Shape::Date => Json::Object(Vec::new()),
        Shape::Policy => policy_name(),
        Shape::Policies => list(policy_name()),
        Shape::Variables => map(record(
            &["type"],
            [
                ("type", Json::one_of(["dir", "file", "port"])),
                ("required", boolean()),
                ("default", any([string(), integer(0, 65_535)])),
                ("from_env", string()),
            ],
        )),
        Shape::Paths => list(any([
            Json::pattern(r"^(/|\$\{)"),
            record(
                &["path"],
                [
                    ("path", Json::pattern(r"^(/|\$\{)")),
                    ("rights", list(Json::one_of(FsRights::names()))),
                    ("optional", boolean()),
                    ("why", string()),
                    ("comment", string()),
                ],
            ),
        ])),
        Shape::Ports => list(any([
            integer(0, 65_535),
            Json::pattern(r"^\$\{[a-z0-9_]+\}$"),
            record(
                &["from", "to"],
                [("from", integer(0, 65_535)), ("to", integer(0, 65_535))],
            ),
        ])),
        Shape::Word(word) => Json::one_of([word]),
        Shape::No => Json::object([
            ("type", Json::text("boolean")),
            ("enum", Json::Array(vec![Json::Bool(false)])),
        ]),
        Shape::Entries => list(any([
            entry(),
            record(
                &["call"],
                [("call", entry()), ("why", string()), ("comment", string())],
            ),
        ])),
        Shape::Calls => list(Json::one_of(syscalls::all().iter().map(|call| call.name))),
        Shape::Answers => {
            let answers = names::errno_names().map(|name| (name.to_owned(), list(entry())));
            Json::object([
                ("type", Json::text("object")),
                ("additionalProperties", Json::Bool(false)),
                ("properties", Json::Object(answers.collect())),
            ])
        }
        Shape::Texts => map(string()),
        Shape::OnViolation => any([
            Json::one_of(["kill", "kill-silent", "trap"]),
            Json::pattern("^errno:E[A-Z0-9]+$"),
        ]),
        Shape::Capabilities => {
            let bare = names::capability_names().map(str::to_owned);
            let full = names::capability_names().map(|name| format!("CAP_{name}"));
            let all = bare.chain(full).chain(["*".to_owned()]);
            list(Json::one_of(all))
        }
        Shape::Names => list(string()),
        Shape::Landlock => any([
            Json::one_of(["auto", "off"]),
            integer(1, landlock::NEWEST_ABI.into()),
        ]),
        Shape::Relaxations => list(record(
            &["what", "reason"],
            [
                ("what", Json::one_of(RELAXATIONS.iter().copied())),
                ("reason", string()),
            ],
        )),
        Shape::SecondNets => list(Json::one_of(
            SecondNet::ALL.into_iter().map(SecondNet::name),
        )),
        Shape::Allowances => list(record(
            &["lint", "why"],
            [
                (
                    "lint",
                    Json::one_of(
                        Code::ALL
                            .iter()
                            .filter(|code| can_be_allowed(**code))
                            .map(|code| code.as_str()),
                    ),
                ),
                ("about", string()),
                ("why", string()),
            ],
        )),
        Shape::Expectations => list(record(
            &["is"],
            [
                ("syscall", Json::pattern(r"^[a-z0-9_]+ *\(.*\) *$")),
                ("path", string()),
                ("access", Json::one_of(["read", "write"])),
                ("probe", string()),
                (
                    "is",
                    any([
                        Json::one_of(["allowed", "violation", "denied", "killed", "emulated"]),
                        Json::one_of(names::errno_names()),
                    ]),
                ),
            ],
        )),
    }
}

fn policy_name() -> Json {
    any([
        Json::one_of(library::BUILTIN.iter().map(|(name, _)| *name)),
        Json::pattern("^[A-Za-z0-9_-]{1,64}$"),
    ])
}

/// A group, a call, or a call with a condition and perhaps an answer.
fn entry() -> Json {
    let calls: Vec<_> = syscalls::all().iter().map(|call| call.name).collect();
    let group = |group: &groups::Group| {
        Json::object([
            ("const", Json::text(group.name)),
            ("description", Json::text(group.about)),
        ])
    };
    any(groups::all().iter().map(group).chain([
        Json::one_of(calls.iter().copied()),
        Json::pattern(&format!(
            r"^({}) *\(.*\) *(: *E[A-Z0-9]+)?$",
            calls.join("|")
        )),
    ]))
}

/// The reference of every key, in Markdown: a table for each table of the format.
pub fn reference() -> String {
    let mut text = String::new();
    for (table, about) in TABLES {
        let title = match *table {
            "" => "At the top".to_owned(),
            table => format!("`[{table}]`"),
        };
        text.push_str(&format!("### {title}\n\n{about}\n\n"));
        let (keys, settings) = keys::of(table);
        let keys = keys.map(|key| (key.name, words(key.shape), "", key.about));
        let settings = settings.map(|setting| {
            (
                setting.key,
                kind(setting.kind),
                setting.default,
                setting.about,
            )
        });
        let rows: Vec<_> = keys.chain(settings).collect();
        if !rows.is_empty() {
            text.push_str("| key | value | default | |\n|---|---|---|---|\n");
        }
        for (name, takes, default, about) in &rows {
            let default = match *default {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let takes = takes.replace('|', "\\|");
            text.push_str(&format!("| `{name}` | {takes} | {default} | {about} |\n"));
        }
        if !rows.is_empty() {
            text.push('\n');
        }
    }
    let kernels =
        (1..=landlock::NEWEST_ABI).map(|abi| format!("{abi}: {}", landlock::kernel_of_abi(abi)));
    let kernels: Vec<_> = kernels.collect();
    text.push_str(&format!(
        "Landlock's ABIs by kernel: {}.\n",
        kernels.join(", ")
    ));
    text
}

/// The page of a group, in Markdown: each call, when it is allowed, and what for.
pub fn group_page(group: &groups::Group) -> String {
    let mut text = format!("## {}\n\nFor {}.\n\n", group.name, group.about);
    let (others, calls): (Vec<&&str>, Vec<&&str>) = group
        .entries
        .iter()
        .partition(|entry| entry.starts_with('@'));
    if group.entries.is_empty() {
        text.push_str("Its calls are not listed, because it has all of them.\n\n");
    }
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(|name| format!("`{name}`")).collect();
        text.push_str(&format!("All of {}.\n\n", others.join(", ")));
    }
    if !calls.is_empty() {
        text.push_str("| call | when | what for |\n|---|---|---|\n");
    }
    for entry in &calls {
        let (name, when) = match entry.split_once('(') {
            Some((name, when)) => (name, format!("`{}`", when.trim_end_matches(')'))),
            None => (**entry, "always".to_owned()),
        };
        let when = when.replace('|', "\\|");
        let about = syscalls::about(name).unwrap_or_default();
        text.push_str(&format!("| `{name}` | {when} | {about} |\n"));
    }
    if !calls.is_empty() {
        text.push('\n');
    }
    text
}

/// Returns the page of all calls, in Markdown: what each results in under the baseline, and why.
pub fn verdict_page() -> String {
    use syscalls::verdicts::{self, Answer};

    let answers = |answers: &[Answer]| {
        let words = answers.iter().map(|answer| match answer {
            Answer::Allowed => "allowed".to_owned(),
            Answer::Errno(name) => format!("`{name}`"),
            Answer::Emulated => "emulated".to_owned(),
            Answer::Violation => "violation".to_owned(),
            Answer::Killed => "killed".to_owned(),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let mut text = String::from(
        "## Every call\n\nWhat each call results in under `pure`, and why. If there are several \
         answers, the arguments decide. Other policies allow more: `cargo crossmist explain POLICY \
         --syscall CALL` shows the answer there.\n\n\
         | calls | answer | why |\n|---|---|---|\n",
    );
    for verdict in verdicts::all() {
        let calls: Vec<_> = verdict
            .calls
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let mut answer = answers(verdict.pure);
        if let Some(parser) = verdict.parser {
            answer.push_str(&format!("; under `parser` {}", answers(parser)));
        }
        text.push_str(&format!(
            "| {} | {answer} | {} |\n",
            calls.join(", "),
            verdict.why
        ));
    }
    text
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Size => "a size, such as `\"64KiB\"`, or `\"none\"`".to_owned(),
        Kind::Time => "a time, such as `\"500ms\"`, or `\"none\"`".to_owned(),
        Kind::Count(_) => "a whole number".to_owned(),
        Kind::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Switch(_) | Kind::Neutral => "`true` or `false`".to_owned(),
    }
}

fn words(shape: Shape) -> String {
    match shape {
        Shape::Format => "`1`",
        Shape::Text => "a text",
        Shape::Date => "a date",
        Shape::Policy => "a policy's name",
        Shape::Policies => "a list of policies' names",
        Shape::Variables => "a table",
        Shape::Paths => "a list of paths",
        Shape::Ports => "a list of ports",
        Shape::Word(word) => return format!("`\"{word}\"`"),
        Shape::No => "`false`",
        Shape::Entries => "a list of entries",
        Shape::Calls => "a list of calls",
        Shape::Answers => "lists of entries by error number",
        Shape::Texts => "texts by name",
        Shape::OnViolation => "`\"kill\"`, `\"kill-silent\"`, `\"trap\"`, `\"errno:…\"`",
        Shape::Capabilities => "a list of capabilities",
        Shape::Names => "a list of names",
        Shape::Landlock => return format!("`\"auto\"`, `\"off\"`, 1 to {}", landlock::NEWEST_ABI),
        Shape::Relaxations => "a list of tables",
        Shape::SecondNets => {
            let names = SecondNet::ALL.map(|net| format!("`\"{net}\"`"));
            return format!("a list of {}", names.join(", "));
        }
        Shape::Expectations => "tables: `[[expect]]`",
        Shape::Allowances => "tables: `[[allow_lint]]`",
    }
    .to_owned()
}
