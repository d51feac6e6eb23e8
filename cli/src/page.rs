//! Writes a policy as a page for a browser: one file that needs no other files and no network.

use crossmist_policy::Kernel;
use crossmist_policy::bpf::Action;
use crossmist_policy::landlock::kernel_of_abi;
use crossmist_policy::overview::{Area, Grant, Overview};
use crossmist_policy::steps::SecondNet;

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#cf222e;--some:#bc4c00;--mid:#9a6700;--soft:#57606a}
@media (prefers-color-scheme:dark){:root{--good:#3fb950;--bad:#f85149;--some:#f0883e;--mid:#d29922;--soft:#8b949e}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{margin-bottom:0}h2{margin-top:2rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;width:100%}
td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line)}
td:empty{padding:0}td:first-child{min-width:7rem}
code{font:13px/1.4 ui-monospace,monospace}.soft{color:var(--soft)}
.good{color:var(--good)}.bad{color:var(--bad)}.some{color:var(--some)}.mid{color:var(--mid)}
.open{border-left:.3rem solid var(--bad);padding-left:.75rem}.open h2{margin-top:1rem}
.bar{display:flex;height:1.4rem;border-radius:.3rem;overflow:hidden;margin:.5rem 0}.bar span{display:block}
.bar .good{background:var(--good)}.bar .some{background:var(--some)}.bar .mid{background:var(--mid)}.bar .soft{background:var(--soft)}
input{font:inherit;padding:.3rem .5rem;width:20rem;max-width:100%}
@media (min-width:40.01rem){.open td:first-child{min-width:11rem}td>.soft:only-child{white-space:nowrap}#calls td:first-child,.settings td:first-child{white-space:nowrap}}
@media (max-width:40rem){body{margin-top:1rem}
table,tbody,tr,td{display:block}tr{padding:.4rem 0;border-bottom:1px solid var(--line)}
td{padding:0;border:0}td:empty{display:none}tr[hidden]{display:none}}
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
    rows(
        &mut body,
        "",
        facts
            .iter()
            .map(|(name, value)| [(*name).to_owned(), value.clone()]),
    );
    // A reviewer reads the weak points first.
    body.push_str("<section class=open>\n");
    body.push_str("<h2>Not protected</h2>\n<p>What an attacker inside may still do.</p>\n");
    residual(&mut body, overview, true);
    dangers(&mut body, overview);
    body.push_str("</section>\n");
    for (area, title) in [
        (Area::Files, "Files"),
        (Area::Network, "Network"),
        (Area::Processes, "Processes"),
    ] {
        body.push_str(&format!("<h2>{title}</h2>\n"));
        let grants = overview.grants.iter().filter(|grant| grant.area == area);
        rows(&mut body, "", grants.map(cells_of_grant));
    }
    calls(&mut body, overview);
    body.push_str("<h2>Limits and setup</h2>\n");
    rows(
        &mut body,
        "settings",
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
    if !overview.allowed_lints.is_empty() {
        body.push_str("<h2>Advice not followed</h2>\n");
        let allowed = overview.allowed_lints.iter();
        rows(
            &mut body,
            "",
            allowed.map(|allowed| {
                let about = allowed.about.as_deref().unwrap_or("all of the file");
                [
                    allowed.code.to_string(),
                    escaped(about),
                    escaped(&allowed.why),
                    format!(
                        "<span class=soft>{}</span>",
                        escaped(&allowed.location.to_string())
                    ),
                ]
            }),
        );
    }
    let mut asked = Vec::new();
    for need in &overview.needs {
        let since = kernel_of_abi(need.abi);
        let what = format!(
            "{} by Landlock ABI {} ({since}), because of {}",
            need.what, need.abi, need.location
        );
        asked.push(("needs", escaped(&what)));
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
        asked.push((
            "second net",
            format!(
                "<code>{net}</code> ({}, {}){insists}: {word}",
                escaped(step.asks_for),
                step.since
            ),
        ));
    }
    if !asked.is_empty() {
        body.push_str("<h2>Asked of the kernel</h2>\n");
        let asked = asked.iter();
        rows(
            &mut body,
            "",
            asked.map(|(name, value)| [(*name).to_owned(), value.clone()]),
        );
    }
    body.push_str("<h2>Closed</h2>\n<p>What an attacker inside may not do.</p>\n");
    residual(&mut body, overview, false);
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width\">\n\
         <title>Policy {}</title>\n<style>{STYLE}</style>\n{body}<script>{FILTER}</script>\n</html>\n",
        escaped(&overview.name)
    )
}

/// Lists what is open, or what is closed.
fn residual(body: &mut String, overview: &Overview, is_open: bool) {
    let listed = overview
        .residual
        .iter()
        .filter(|residual| residual.is_open == is_open);
    let class = match is_open {
        true => "bad",
        false => "good",
    };
    rows(
        body,
        "",
        listed.map(|residual| {
            [
                format!("<b class={class}>{}</b>", escaped(residual.what)),
                with_code(&residual.note),
            ]
        }),
    );
}

/// Lists the grants that need a reason: dangerous calls, kept capabilities, and layers that are off.
fn dangers(body: &mut String, overview: &Overview) {
    let grants = overview.grants.iter();
    let grants = grants.filter(|grant| grant.is_dangerous);
    let grants: Vec<[String; 4]> = grants
        .map(|grant| {
            let [what, subject, _, place, why] = cells_of_grant(grant);
            [what, subject, place, why]
        })
        .collect();
    let calls = overview.calls.iter().flat_map(|call| {
        let clauses = call.clauses.iter();
        let dangerous = clauses.filter(|clause| clause.is_dangerous);
        dangerous.map(|clause| {
            let when = clause.condition.as_deref().unwrap_or("always");
            [
                format!("<code>{}</code>", call.name),
                format!("<code>{}</code>", escaped(when)),
                format!("<span class=soft>{}</span>", escaped(&clause.from)),
                escaped(clause.why.as_deref().unwrap_or_default()),
            ]
        })
    });
    let all: Vec<_> = grants.into_iter().chain(calls).collect();
    if !all.is_empty() {
        body.push_str(
            "<h2>Dangerous grants</h2>\n<p>With the reasons that the policy gives.</p>\n",
        );
        rows(body, "", all.into_iter());
    }
}

fn cells_of_grant(grant: &Grant) -> [String; 5] {
    let class = match grant.what.as_str() {
        "denied" => "good",
        _ => "some",
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
        match place.as_str() {
            "" => String::new(),
            place => format!("<span class=soft>{}</span>", escaped(place)),
        },
        escaped(grant.why.as_deref().unwrap_or_default()),
    ]
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
        "",
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

fn rows<const N: usize>(body: &mut String, class: &str, rows: impl Iterator<Item = [String; N]>) {
    body.push_str(&format!("<table class=\"{class}\">\n"));
    for row in rows {
        body.push_str("<tr>");
        for cell in row {
            body.push_str(&format!("<td>{cell}</td>"));
        }
        body.push('\n');
    }
    body.push_str("</table>\n");
}

/// Escapes a text for the page, and sets what stands between backticks as code.
fn with_code(text: &str) -> String {
    let parts = escaped(text);
    let parts = parts.split('`').enumerate();
    let parts = parts.map(|(at, part)| match at % 2 {
        1 => format!("<code>{part}</code>"),
        _ => part.to_owned(),
    });
    parts.collect()
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
