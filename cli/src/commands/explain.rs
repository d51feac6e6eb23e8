//! `explain`: shows what a policy allows, which lines allow it, and what it leaves open.

use std::collections::BTreeMap;
use std::process::ExitCode;

use crossmist_policy::bpf::{Action, interpret};
use crossmist_policy::landlock::kernel_of_abi;
use crossmist_policy::overview::{Area, Call, Grant, Overview, parse_call_with_path};
use crossmist_policy::{Arch, ByPath, Compiled, Explanation, Policy, Raised, syscalls};
use serde_json::{Value, json};

use super::kernel::{Kernel, kernel};
use super::{Outcome, no_sarif, print, refused};
use crate::args::{Arguments, Explain, Format};
use crate::report::{BOLD, DIM, FINDINGS, GREEN, RED, YELLOW, paint};
use crate::table::{Table, wrap};
use crate::{names, page, sources, workspace};

/// The width of lists of names.
const WIDTH: usize = 72;

pub(super) fn run(arguments: &Arguments, options: &Explain) -> Outcome {
    no_sarif(arguments)?;
    if options.name.starts_with('@') {
        let group = names::group(&options.name)?;
        print(&crossmist_policy::group_page(group));
        return Ok(ExitCode::SUCCESS);
    }
    let (policy, compiled) = match workspace::compile(arguments, &options.name)? {
        Ok(both) => both,
        Err(report) => return Ok(refused(arguments, &report)),
    };
    let kernel = kernel(options.kernel.as_deref())?;
    if let Some(call) = &options.syscall {
        return about_call(arguments, &policy, &compiled, &kernel, call);
    }
    if let Some(path) = &options.path {
        return about_path(arguments, &policy, path);
    }
    let overview = policy.overview();
    let verdict = policy
        .check_kernel(&kernel.offer)
        .map_err(|error| error.to_string());
    if let Some(file) = &options.html {
        let used: Vec<_> = overview.second_nets.iter().map(|(net, _)| *net).collect();
        let lacks = kernel.lacks(&used);
        let text = page::page(&overview, &kernel.release, &kernel.offer, &lacks, &verdict);
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        print(&format!("{} written\n", file.display()));
    } else if arguments.format == Format::Json {
        let mut object = object(&overview, &kernel, &verdict);
        object["raised"] = raised(arguments, &options.name)
            .map(|(function, raised)| {
                let Raised { key, from, to } = raised;
                json!({ "function": function, "key": key, "from": from, "to": to })
            })
            .collect();
        print(&format!("{object:#}\n"));
    } else {
        print(&drawn(&overview, &kernel, &verdict, options));
        for (function, raised) in raised(arguments, &options.name) {
            print(&format!("`{function}` raises {raised}\n"));
        }
    }
    Ok(ExitCode::from(if verdict.is_err() { FINDINGS } else { 0 }))
}

/// Returns what functions of the workspace raise of a policy.
fn raised(arguments: &Arguments, policy: &str) -> impl Iterator<Item = (String, Raised)> {
    let packages = workspace::packages().unwrap_or_default();
    packages.into_iter().flat_map(move |package| {
        let folder = arguments.policies.clone().unwrap_or(package.policies);
        let library = workspace::library(&folder);
        let uses = sources::scan(&package.targets).into_iter();
        let uses = uses.filter(|found| found.policy == policy);
        let raised = uses.flat_map(|found| {
            let raised = sources::raised(&library, &found).into_iter();
            raised.map(move |raised| (found.function.clone(), raised))
        });
        raised.collect::<Vec<_>>()
    })
}

fn about_call(
    arguments: &Arguments,
    policy: &Policy,
    compiled: &Compiled,
    kernel: &Kernel,
    text: &str,
) -> Outcome {
    let name = text.split('(').next().unwrap_or(text).trim();
    let call = names::call(name)?;
    let row = policy.call(call);
    let mut answers = Vec::new();
    if text.contains('(') {
        for arch in Arch::ALL {
            let (call, args, path) = parse_call_with_path(text, arch)?;
            let bytes = path.as_deref().map(str::as_bytes);
            let (Some(number), Some(program)) = (call.number(arch), compiled.program(arch)) else {
                continue;
            };
            let action =
                interpret::answer(&program.code, &interpret::Call::new(arch, number, args));
            let explanation = compiled.explain_on(Some(&kernel.offer), arch, number, args, bytes);
            let landlock = policy.by_path(arch, call, args, path.as_deref());
            answers.push((arch, action, explanation, landlock));
        }
    }
    if arguments.format == Format::Json {
        let answers = answers.iter().map(|(arch, action, explanation, landlock)| {
            json!({
                "arch": arch.to_string(),
                "call": explanation.call,
                "is": action.to_string(),
                "landlock": match (action, landlock) {
                    (Action::Allow, ByPath::Granted) => Some("granted"),
                    (Action::Allow, ByPath::Denied) => Some("denied"),
                    (Action::Allow, ByPath::Unknown) => Some("unknown"),
                    _ => None,
                },
                "denied_by": (*action != Action::Allow).then_some(&explanation.denied_by),
                "allow_with": (*action != Action::Allow).then_some(&explanation.allow_with),
                "caution": (*action != Action::Allow).then_some(explanation.caution),
                "answer_with": (*action != Action::Allow).then_some(&explanation.answer_with),
                "instead": (*action != Action::Allow).then_some(explanation.instead),
            })
        });
        print(&format!(
            "{:#}\n",
            json!({
                "name": call.name,
                "rules": row.as_ref().map(call_object),
                "answers": answers.collect::<Vec<_>>(),
            })
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let mut told = None;
    for (arch, action, explanation, landlock) in &answers {
        // One line does where the architectures agree.
        if told == Some((action, &explanation.call)) {
            continue;
        }
        told = Some((action, &explanation.call));
        let is = match (action, landlock) {
            (Action::Allow, ByPath::Unknown) => {
                paint(GREEN, "allowed by the filter") + "; Landlock decides by the path"
            }
            (Action::Allow, ByPath::Denied) => {
                paint(RED, "denied by Landlock")
                    + ": the filter lets it pass, and nothing grants what it does there"
            }
            (Action::Allow, _) => paint(GREEN, action),
            _ => paint(RED, action),
        };
        print(&format!("{} is {is} (on {arch})\n", explanation.call));
        if *action != Action::Allow {
            print(&format!(
                "  {}\n{}",
                explanation.denied_by,
                advice(explanation)
            ));
        }
    }
    match &row {
        None => print(&format!(
            "{name} is {}: nothing in {} allows it\n",
            paint(RED, "a violation"),
            policy.name()
        )),
        Some(row) => print(&rules(row)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns advice about a denied call.
fn advice(explanation: &Explanation) -> String {
    let mut text = String::new();
    let mut say = |what: &str, lines: &str| {
        text.push_str(&format!("  {what}:\n"));
        lines
            .lines()
            .for_each(|line| text.push_str(&format!("    {line}\n")));
    };
    if let Some(lines) = &explanation.allow_with {
        say("to allow it", lines);
    }
    if let Some(lines) = &explanation.answer_with {
        say("to have it fail with an error instead", lines);
    }
    if let Some(caution) = explanation.caution {
        text.push_str(&format!("  {}: {caution}\n", paint(YELLOW, "careful")));
    }
    if let Some(instead) = explanation.instead {
        text.push_str(&format!("  instead: {instead}\n"));
    }
    text
}

/// Returns the policy's lines about one call, one line each.
fn rules(row: &Call) -> String {
    let mut table = Table::default();
    for clause in &row.clauses {
        let when = clause.condition.as_deref().unwrap_or("always");
        let why = clause
            .why
            .as_ref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        table.row([
            row.name,
            &clause.answer.to_string(),
            when,
            &format!("{}{why}", clause.from),
        ]);
    }
    if row.clauses.iter().all(|clause| clause.condition.is_some()) {
        table.row([row.name, &row.otherwise.to_string(), "otherwise", ""]);
    }
    table.draw(0)
}

fn about_path(arguments: &Arguments, policy: &Policy, path: &str) -> Outcome {
    if !path.starts_with('/') && !path.starts_with("${") {
        return Err(format!("`{path}` isn't an absolute path").into());
    }
    let mut parts = path.split('/');
    if path.contains("//") || parts.any(|part| part == "." || part == "..") {
        return Err(format!(
            "`{path}` has `.`, `..` or `//` in it: write the path that it leads to"
        )
        .into());
    }
    let grants = policy.grants_of_path(path);
    if arguments.format == Format::Json {
        let grants = grants.iter().map(grant_object).collect::<Vec<_>>();
        print(&format!(
            "{:#}\n",
            json!({ "path": path, "grants": grants })
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if grants.is_empty() {
        let open = syscalls::find("openat").and_then(|call| policy.call(call));
        let answer = open.map_or_else(
            || "a violation".to_owned(),
            |open| match open.allowed() {
                // The filter lets it pass, and Landlock denies it.
                Some(_) => "answered EACCES".to_owned(),
                None => open.otherwise.to_string(),
            },
        );
        print(&format!(
            "{path}: {}; opening it is {answer}\n",
            paint(RED, "nothing grants it")
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::default();
    for grant in &grants {
        let place = grant
            .location
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        table.row([&grant.what, &grant.subject, &grant.layer, &place]);
    }
    print(&table.draw(0));
    Ok(ExitCode::SUCCESS)
}

fn heading(name: &str, rest: &str) -> String {
    format!("\n{}  {rest}\n", paint(BOLD, name))
}

fn drawn(
    overview: &Overview,
    kernel: &Kernel,
    verdict: &Result<(), String>,
    options: &Explain,
) -> String {
    let why = options.why;
    let mut text = format!(
        "{}  {}\n",
        paint(BOLD, format!("policy {}", overview.name)),
        overview.description
    );
    text.push_str(&format!("made of    {}\n", overview.made_of.join(" → ")));
    if !overview.within.is_empty() {
        text.push_str(&format!("within     {}\n", overview.within.join(", ")));
    }
    text.push_str(&format!("runs on    {}\n", overview.runs_on()));
    let which = if kernel.is_here {
        "this kernel"
    } else {
        "that kernel"
    };
    text.push_str(&format!(
        "{which:10} {}, Landlock ABI {}: {}\n",
        kernel.release,
        kernel.offer.landlock_abi,
        match verdict {
            Ok(()) => paint(GREEN, "enforced"),
            Err(reason) => format!("{}: {reason}", paint(RED, "can't be enforced")),
        }
    ));
    for need in &overview.needs {
        let has = if need.abi <= kernel.offer.landlock_abi {
            paint(GREEN, "✓")
        } else {
            paint(RED, "✗")
        };
        text.push_str(&format!(
            "           {has} {} needs ABI {} ({}), by {}\n",
            need.what,
            need.abi,
            kernel_of_abi(need.abi),
            need.location
        ));
    }
    for (net, insists) in &overview.second_nets {
        let step = net.step();
        let has = kernel.offer.has(*net);
        let (sign, note) = match (has, insists) {
            (true, _) => (paint(GREEN, "✓"), String::new()),
            (false, Some(_)) => (paint(RED, "✗"), String::new()),
            (false, None) => (paint(YELLOW, "-"), format!("; without it {}", step.purpose)),
        };
        let insists = match insists {
            Some(line) => format!(", required by {line}"),
            None => String::new(),
        };
        text.push_str(&format!(
            "           {sign} second net {net} ({}, {}){insists}{note}\n",
            step.asks_for, step.since
        ));
    }
    // A reviewer reads the weak points first.
    text.push_str(&heading(
        "NOT PROTECTED",
        "what an attacker inside may still do",
    ));
    text.push_str(&residual(overview, true));
    for (area, name) in [
        (Area::Files, "FILES"),
        (Area::Network, "NETWORK"),
        (Area::Processes, "PROCESSES"),
    ] {
        text.push_str(&heading(name, ""));
        let mut table = Table::default();
        for grant in overview.grants.iter().filter(|grant| grant.area == area) {
            let place = grant
                .location
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            table.row([&grant.what, &grant.subject, &grant.layer, &place]);
            if let (true, Some(reason)) = (why, &grant.why) {
                table.row(["", &format!("because {reason}")]);
            }
        }
        text.push_str(&table.draw(2));
    }
    text.push_str(&heading("CLOSED", "what an attacker inside may not do"));
    text.push_str(&residual(overview, false));
    text.push_str(&calls(&overview.calls, options));
    text.push_str(&heading("LIMITS AND SETUP", ""));
    let mut table = Table::default();
    for setting in &overview.settings {
        let place = match &setting.location {
            Some(location) => location.to_string(),
            None if options.all => "default".to_owned(),
            None => continue,
        };
        table.row([&setting.name, &setting.value, &place]);
    }
    text.push_str(&table.draw(2));
    if !overview.allowed_lints.is_empty() {
        text.push_str(&heading("ADVICE NOT FOLLOWED", "by `[[allow_lint]]`"));
        let mut table = Table::default();
        for allowed in &overview.allowed_lints {
            let about = allowed.about.as_deref().unwrap_or("all of the file");
            table.row([
                allowed.code.as_str(),
                about,
                &allowed.why,
                &allowed.location.to_string(),
            ]);
        }
        text.push_str(&table.draw(2));
    }
    if !options.all {
        text.push_str("\n`--all` lists every system call and every setting\n");
    }
    text
}

/// Lists what is open, or what is closed.
fn residual(overview: &Overview, is_open: bool) -> String {
    let mut table = Table::default();
    let sign = if is_open { "!" } else { "closed" };
    for residual in overview
        .residual
        .iter()
        .filter(|residual| residual.is_open == is_open)
    {
        table.row([sign, residual.what, &residual.note]);
    }
    table.draw(2)
}

/// Returns whether the arguments of a call decide its result, on some architecture.
fn by_arguments(call: &Call) -> bool {
    call.clauses.iter().any(|clause| clause.condition.is_some())
}

/// Returns whether a line of a policy that is not built in says so.
fn is_own(from: &str) -> bool {
    !from.starts_with("builtin:") && !from.starts_with("every policy")
}

/// Lists the calls: those that are always allowed by group, and the others one by one. Without `--all`, only what
/// the policy's own files say.
fn calls(calls: &[Call], options: &Explain) -> String {
    let shows = |from: &str| options.all || is_own(from);
    let always: Vec<_> = calls
        .iter()
        .filter(|call| call.allowed() == Some(true))
        .collect();
    let sometimes: Vec<_> = calls
        .iter()
        .filter(|call| call.allowed() == Some(false))
        .collect();
    let answered: Vec<_> = calls
        .iter()
        .filter(|call| call.allowed().is_none())
        .collect();
    let mut text = heading(
        "SYSTEM CALLS",
        &format!(
            "{} allowed, {} allowed by their arguments, {} answered harmlessly; any other is a violation",
            always.len(),
            sometimes.len(),
            answered.len()
        ),
    );
    let mut by_source = BTreeMap::<&str, Vec<&str>>::new();
    for call in &always {
        let from = call
            .clauses
            .iter()
            .find(|clause| clause.answer == Action::Allow && clause.condition.is_none());
        by_source
            .entry(from.map_or("", |clause| clause.from.as_str()))
            .or_default()
            .push(call.name);
    }
    for (source, names) in by_source.into_iter().filter(|(source, _)| shows(source)) {
        text.push_str(&format!(
            "  {} {}\n",
            paint(GREEN, "always"),
            paint(DIM, source)
        ));
        for line in wrap(names, WIDTH) {
            text.push_str(&format!("      {line}\n"));
        }
    }
    for call in sometimes
        .into_iter()
        .chain(answered.iter().copied().filter(|call| by_arguments(call)))
    {
        for clause in call.clauses.iter().filter(|clause| shows(&clause.from)) {
            let word = match clause.answer {
                Action::Allow => paint(YELLOW, "when"),
                other => paint(RED, other),
            };
            let condition = clause.condition.as_deref().unwrap_or("otherwise");
            text.push_str(&format!(
                "  {word} {} {}\n      {condition}\n",
                paint(BOLD, call.name),
                paint(DIM, &clause.from)
            ));
            if let (true, Some(reason)) = (options.why, &clause.why) {
                text.push_str(&format!("      because {reason}\n"));
            }
        }
    }
    let mut by_answer = BTreeMap::<String, Vec<&str>>::new();
    let unconditional = answered.iter().filter(|call| !by_arguments(call));
    for call in unconditional
        .filter(|call| options.all || call.clauses.iter().any(|clause| is_own(&clause.from)))
    {
        by_answer
            .entry(call.otherwise.to_string())
            .or_default()
            .push(call.name);
    }
    for (answer, names) in by_answer {
        text.push_str(&format!("  {answer}\n"));
        for line in wrap(names, WIDTH) {
            text.push_str(&format!("      {line}\n"));
        }
    }
    text
}

fn grant_object(grant: &Grant) -> Value {
    json!({
        "area": match grant.area {
            Area::Files => "files",
            Area::Network => "network",
            Area::Processes => "processes",
        },
        "what": grant.what,
        "subject": grant.subject,
        "layer": grant.layer,
        "location": grant.location.as_ref().map(ToString::to_string),
        "why": grant.why,
        "dangerous": grant.is_dangerous,
    })
}

fn call_object(call: &Call) -> Value {
    let clause = |clause: &crossmist_policy::overview::Clause| {
        json!({
            "is": clause.answer.to_string(),
            "condition": clause.condition,
            "from": clause.from,
            "why": clause.why,
            "dangerous": clause.is_dangerous,
        })
    };
    json!({
        "name": call.name,
        "otherwise": call.otherwise.to_string(),
        "clauses": call.clauses.iter().map(clause).collect::<Vec<_>>(),
    })
}

fn object(overview: &Overview, kernel: &Kernel, verdict: &Result<(), String>) -> Value {
    json!({
        "name": overview.name,
        "description": overview.description,
        "made_of": overview.made_of,
        "within": overview.within,
        "required_landlock_abi": overview.required_abi,
        "kernel": { "release": kernel.release, "landlock_abi": kernel.offer.landlock_abi },
        "enforced": verdict.is_ok(),
        "reason": verdict.as_ref().err(),
        "needs": overview.needs.iter().map(|need| json!({
            "what": need.what, "landlock_abi": need.abi, "location": need.location.to_string(),
        })).collect::<Vec<_>>(),
        "second_nets": overview.second_nets.iter().map(|(net, insists)| json!({
            "name": net.name(), "since": net.step().since.to_string(), "there": kernel.offer.has(*net),
            "required_by": insists,
        })).collect::<Vec<_>>(),
        "grants": overview.grants.iter().map(grant_object).collect::<Vec<_>>(),
        "calls": overview.calls.iter().map(call_object).collect::<Vec<_>>(),
        "settings": overview.settings.iter().map(|setting| json!({
            "name": setting.name,
            "value": setting.value,
            "location": setting.location.as_ref().map(ToString::to_string),
        })).collect::<Vec<_>>(),
        "residual": overview.residual.iter().map(|residual| json!({
            "what": residual.what, "open": residual.is_open, "note": residual.note,
        })).collect::<Vec<_>>(),
        "allowed_lints": overview.allowed_lints.iter().map(|allowed| json!({
            "lint": allowed.code.as_str(), "about": allowed.about, "why": allowed.why,
            "location": allowed.location.to_string(),
        })).collect::<Vec<_>>(),
        "relaxed": overview.relaxed.iter().map(|(what, reason)| json!({ "what": what, "reason": reason })).collect::<Vec<_>>(),
    })
}
