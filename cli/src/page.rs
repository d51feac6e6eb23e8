//! Writes a policy as a page for a browser: one file that needs no other files and no network.

use crossmist_policy::Kernel;
use crossmist_policy::bpf::Action;
use crossmist_policy::landlock::kernel_of_abi;
use crossmist_policy::overview::{Area, Overview};
use crossmist_policy::steps::SecondNet;

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#cf222e;--some:#bc4c00;--mid:#9a6700;--soft:#57606a}
@media (prefers-color-scheme:dark){:root{--good:#3fb950;--bad:#f85149;--some:#f0883e;--mid:#d29922;--soft:#8b949e}}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}h2{margin-top:2rem;border-bottom:1px solid var(--line)}
#calls td:first-child code{white-space:nowrap}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line)}
code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}.soft{color:var(--soft)}
.good{color:var(--good)}.bad{color:var(--bad)}.some{color:var(--some)}.mid{color:var(--mid)}
.bar{display:flex;height:1.4rem;border-radius:.3rem;overflow:hidden;margin:.5rem 0}.bar span{display:block}
.bar .good{background:var(--good)}.bar .some{background:var(--some)}.bar .mid{background:var(--mid)}.bar .soft{background:var(--soft)}
input{font:inherit;padding:.3rem .5rem;width:20rem;max-width:100%}
";

/// Hides the rows that do not contain the typed text.
const FILTER: &str = "
const field=document.querySelector('input');
field.addEventListener('input',()=>{for(const row of document.querySelectorAll('#calls tr'))
row.hidden=!row.textContent.includes(field.value)});
";

/// Returns the page. `verdict` says whether the kernel enforces the policy.
pub(crate) fn page(
    overview: &Overview,
    release: &str,
    kernel: &Kernel,
    lacks: &[SecondNet],
    verdict: &Result<(), String>,
) -> String {
    let mut body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n",
        escaped(&overview.name),
        escaped(&overview.description)
    );
    let verdict = match verdict {
        Ok(()) => "<b class=good>enforced</b>".to_owned(),
        Err(reason) => format!("<b class=bad>can't be enforced</b>: {}", escaped(reason)),
    };
    let mut facts = vec![
        ("made of", escaped(&overview.made_of.join(" → "))),
        ("runs on", escaped(&overview.runs_on())),
        (
            "on this kernel",
            format!(
                "{}, Landlock ABI {}: {verdict}",
                escaped(release),
                kernel.landlock_abi
            ),
        ),
    ];
    if !overview.within.is_empty() {
        facts.push(("within", escaped(&overview.within.join(", "))));
    }
    for need in &overview.needs {
        let since = kernel_of_abi(need.abi);
        let what = format!(
            "{} by Landlock ABI {} ({since}), because of {}",
            need.what, need.abi, need.location
        );
        facts.push(("needs", escaped(&what)));
    }
    for (net, insists) in &overview.second_nets {
        let step = net.step();
        let word = match lacks.contains(net) {
            true => "<b class=some>missing</b>",
            false => "<b class=good>there</b>",
        };
        let insists = match insists {
            Some(line) => format!(", required by {}", escaped(line)),
            None => String::new(),
        };
        facts.push((
            "second net",
            format!(
                "<code>{net}</code> ({}, {}){insists}: {word}",
                escaped(step.asks_for),
                step.since
            ),
        ));
    }
    rows(
        &mut body,
        facts
            .iter()
            .map(|(name, value)| [(*name).to_owned(), value.clone()]),
    );
    for (area, title) in [
        (Area::Files, "Files"),
        (Area::Network, "Network"),
        (Area::Processes, "Processes"),
    ] {
        body.push_str(&format!("<h2>{title}</h2>\n"));
        let grants = overview.grants.iter().filter(|grant| grant.area == area);
        rows(
            &mut body,
            grants.map(|grant| {
                let class = if grant.what == "denied" {
                    "good"
                } else {
                    "some"
                };
                let place = grant
                    .location
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                [
                    format!("<span class={class}>{}</span>", escaped(&grant.what)),
                    format!("<code>{}</code>", escaped(&grant.subject)),
                    escaped(&grant.layer),
                    format!("<span class=soft>{}</span>", escaped(&place)),
                    escaped(grant.why.as_deref().unwrap_or_default()),
                ]
            }),
        );
    }
    calls(&mut body, overview);
    body.push_str("<h2>Limits and setup</h2>\n");
    rows(
        &mut body,
        overview.settings.iter().map(|setting| {
            let place = setting
                .location
                .as_ref()
                .map_or_else(|| "default".to_owned(), ToString::to_string);
            [
                format!("<code>{}</code>", escaped(&setting.name)),
                format!("<code>{}</code>", escaped(&setting.value)),
                escaped(setting.about),
                format!("<span class=soft>{}</span>", escaped(&place)),
            ]
        }),
    );
    body.push_str("<h2>Not protected</h2>\n<p>What an attacker inside may still do.</p>\n");
    rows(
        &mut body,
        overview.residual.iter().map(|residual| {
            let (class, word) = if residual.is_open {
                ("bad", "open")
            } else {
                ("good", "closed")
            };
            [
                format!("<span class={class}>{word}</span>"),
                escaped(residual.what),
                escaped(&residual.note),
            ]
        }),
    );
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width\">\n\
         <title>Policy {}</title>\n<style>{STYLE}</style>\n{body}<script>{FILTER}</script>\n</html>\n",
        escaped(&overview.name)
    )
}

fn calls(body: &mut String, overview: &Overview) {
    let all = crossmist_policy::syscalls::all().len();
    let count = |allowed| {
        overview
            .calls
            .iter()
            .filter(|call| call.allowed() == allowed)
            .count()
    };
    let (always, sometimes, answered) = (count(Some(true)), count(Some(false)), count(None));
    let rest = all.saturating_sub(always + sometimes + answered);
    body.push_str(&format!(
        "<h2>System calls</h2>\n<p>Of {all}, <span class=some>{always} always</span>, \
         <span class=mid>{sometimes} by their arguments</span>, \
         <span class=soft>{answered} answered harmlessly</span>, \
         <span class=good>{rest} violations</span>.</p>\n<div class=bar>"
    ));
    for (class, count) in [
        ("some", always),
        ("mid", sometimes),
        ("soft", answered),
        ("good", rest),
    ] {
        body.push_str(&format!(
            "<span class={class} style=\"flex:{count}\" title={count}></span>"
        ));
    }
    body.push_str(
        "</div>\n<p><input placeholder=\"a call, a group, a file\"></p>\n<div id=calls>\n",
    );
    rows(
        body,
        overview.calls.iter().map(|call| {
            let (class, word) = match call.allowed() {
                Some(true) => ("some", "always".to_owned()),
                Some(false) => ("mid", "by arguments".to_owned()),
                None => ("soft", call.otherwise.to_string()),
            };
            let clauses: Vec<_> = call
                .clauses
                .iter()
                .map(|clause| {
                    let when = clause.condition.as_deref().unwrap_or("always");
                    let answer = match clause.answer {
                        Action::Allow => String::new(),
                        other => format!("{other}: "),
                    };
                    let why = clause
                        .why
                        .as_ref()
                        .map(|why| format!(" – {why}"))
                        .unwrap_or_default();
                    format!(
                        "{answer}<code>{}</code> <span class=soft>{}{}</span>",
                        escaped(when),
                        escaped(&clause.from),
                        escaped(&why)
                    )
                })
                .collect();
            [
                format!("<code>{}</code>", call.name),
                format!("<span class={class}>{}</span>", escaped(&word)),
                clauses.join("<br>"),
            ]
        }),
    );
    body.push_str("</div>\n");
}

fn rows<const N: usize>(body: &mut String, rows: impl Iterator<Item = [String; N]>) {
    body.push_str("<table>\n");
    for row in rows {
        body.push_str("<tr>");
        for cell in row {
            body.push_str(&format!("<td>{cell}"));
        }
        body.push('\n');
    }
    body.push_str("</table>\n");
}

/// Escapes a text for the page.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
