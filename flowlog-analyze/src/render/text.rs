//! The report as text: the verdict first, then the evidence, then the failures.

use std::fmt::Write;

use flowlog_schema::report::{Evidence, Explanation, Failure, Owner, Report, RunOutcome, Suspect};

use super::columns::columns;
use super::style::Style;
use crate::diagnose::Basis;
use crate::evidence::{sanitize, summarize_line};

/// Maximum number of failures in the table; the rest are counted.
const MAX_ROWS: usize = 20;

/// Maximum number of evidence lines below the verdict; the JSON report has ten.
const MAX_LINES: usize = 5;

/// Maximum number of steps of the explanation; `explain` shows all.
const MAX_STEPS: usize = 6;

pub(super) fn render(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let verdict = &report.verdict;
    let word = verdict.outcome.as_str().to_ascii_uppercase();
    let word = match verdict.outcome {
        RunOutcome::Failed => style.red(&word),
        RunOutcome::Recovered | RunOutcome::Cancelled | RunOutcome::Inconclusive => {
            style.yellow(&word)
        }
        RunOutcome::Healthy => style.green(&word),
    };
    let _ = writeln!(
        out,
        "{word}  {}  {}",
        sanitize(&verdict.summary, 400),
        style.dim(&format!("(confidence {:.0}%)", verdict.confidence * 100.0))
    );
    if let Some(owner) = owner_of(&verdict.owner) {
        let _ = writeln!(out, "PIC     {}", style.bold(&owner));
    }
    let shown = MAX_LINES.min(verdict.evidence.len());
    evidence(&mut out, verdict.evidence.get(..shown).unwrap_or_default(), "  ", style);
    if let Some(first) = report.failures.first().filter(|_| verdict.component.is_some()) {
        why(&mut out, &first.why, MAX_STEPS, style);
    }
    if !report.failures.is_empty() {
        let _ = writeln!(out, "\n{}", style.bold("Failures"));
        table(&mut out, &report.failures);
        for failure in report.failures.iter().skip(1).take(MAX_ROWS) {
            let _ = writeln!(
                out,
                "\n{} {}",
                style.bold(&component_and_instance(failure)),
                style.dim(&failure.fingerprint)
            );
            evidence(
                &mut out,
                failure.evidence.get(..2.min(failure.evidence.len())).unwrap_or_default(),
                "  ",
                style,
            );
        }
        if let Some(first) = report.failures.first() {
            let _ = writeln!(
                out,
                "\n{}",
                style.dim(&format!(
                    "All steps, and what was ruled out: flowlog-analyze explain {} PATH...",
                    first.fingerprint
                ))
            );
        }
        if let Some(example) = report.failures.first().and_then(|failure| failure.examples.first())
        {
            let _ = writeln!(
                out,
                "{}",
                style.dim(&format!(
                    "One flow as a tree: flowlog-analyze show {} PATH...",
                    sanitize(example, 140)
                ))
            );
        }
    }
    if shows_suspects(report) {
        suspects(&mut out, &report.suspects, style);
    }
    footer(&mut out, report, style);
    out
}

/// Returns whether the suspects say more than the verdict: nothing is proven, or one is guessed.
pub(super) fn shows_suspects(report: &Report) -> bool {
    let is_guess = |failure: &Failure| failure.why.rule == Basis::Suspect.rule();
    !report.suspects.is_empty()
        && match report.verdict.outcome {
            RunOutcome::Inconclusive => true,
            RunOutcome::Failed => report.failures.first().is_none_or(is_guess),
            RunOutcome::Healthy | RunOutcome::Recovered | RunOutcome::Cancelled => false,
        }
}

/// Maximum number of suspects; the JSON report has ten.
const MAX_SUSPECTS: usize = 5;

fn suspects(out: &mut String, suspects: &[Suspect], style: Style) {
    let _ = writeln!(out, "\n{}", style.bold("Suspects"));
    for suspect in suspects.iter().take(MAX_SUSPECTS) {
        let name = match &suspect.instance {
            Some(instance) => format!("{}/{instance}", suspect.component),
            None => suspect.component.clone(),
        };
        let score = style.dim(&format!("(score {:.2})", suspect.score));
        let _ = writeln!(out, "  {} {score}", style.bold(&sanitize(&name, 100)));
        for reason in suspect.reasons.iter().take(3) {
            let _ = writeln!(out, "    {}", sanitize(reason, 220));
        }
        let shown = suspect.evidence.get(..2.min(suspect.evidence.len())).unwrap_or_default();
        evidence(out, shown, "    ", style);
    }
    let hint = match suspects.len() {
        0..=MAX_SUSPECTS => String::new(),
        more => format!("; {} more in --format json", more - MAX_SUSPECTS),
    };
    let _ = writeln!(
        out,
        "{}",
        style.dim(&format!(
            "A good run's logs tell what is usual: --baseline PATH. If the run failed: --failed{hint}"
        ))
    );
}

/// Writes the rule of an explanation, and its steps, each with its line.
pub(super) fn why(out: &mut String, why: &Explanation, most: usize, style: Style) {
    let rule = format!("rule {}: docs/rules.md#{0}", why.rule);
    let _ = writeln!(out, "\n{} {}", style.bold("Why"), style.dim(&rule));
    for (number, step) in why.steps.iter().take(most).enumerate() {
        let place = place(step.evidence.as_ref(), style);
        let _ = writeln!(out, "  {}. {}{place}", number + 1, sanitize(&step.text, 300));
    }
    if why.steps.len() > most {
        let _ = writeln!(out, "  ... and {} more steps", why.steps.len() - most);
    }
}

/// Returns the place of a line, to follow what it shows; nothing if there is none.
pub(super) fn place(line: Option<&Evidence>, style: Style) -> String {
    line.map_or_else(String::new, |line| {
        style.dim(&format!("  {}:{}", sanitize(&line.source, 200), line.line))
    })
}

/// Formats an owner, and the name under which it was found.
fn owner_of(owner: &Owner) -> Option<String> {
    let pic = owner.pic.as_deref().unwrap_or("unassigned");
    owner
        .component
        .as_deref()
        .map(|component| format!("{} ({})", sanitize(pic, 60), sanitize(component, 40)))
}

fn component_and_instance(failure: &Failure) -> String {
    let name = match (failure.instances.first(), failure.instances.len()) {
        (Some(instance), 1) => format!("{}/{instance}", failure.component),
        (Some(instance), more) => format!("{}/{instance} +{}", failure.component, more - 1),
        (None, _) => failure.component.clone(),
    };
    sanitize(&name, 60)
}

fn table(out: &mut String, failures: &[Failure]) {
    let owned = failures.iter().any(|failure| failure.owner.component.is_some());
    let head =
        ["flows", "kind", "component", "state", "first", if owned { "PIC" } else { "" }, "what"]
            .map(str::to_owned)
            .to_vec();
    let rows = failures.iter().take(MAX_ROWS).map(|failure| {
        let what = match (&failure.error_type, &failure.message) {
            (Some(kind), Some(message)) => format!("{kind}: {message}"),
            (Some(text), None) | (None, Some(text)) => text.clone(),
            (None, None) => String::new(),
        };
        vec![
            failure.flows.to_string(),
            failure.kind.as_str().to_owned(),
            component_and_instance(failure),
            sanitize(failure.state.as_deref().unwrap_or("-"), 30),
            clock(failure.first.as_deref()),
            if owned {
                sanitize(failure.owner.pic.as_deref().unwrap_or("-"), 30)
            } else {
                String::new()
            },
            sanitize(&what, 90),
        ]
    });
    out.push_str(&columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    if failures.len() > MAX_ROWS {
        let _ = writeln!(
            out,
            "  ... and {} more; use --format json to list all",
            failures.len() - MAX_ROWS
        );
    }
}

/// Returns the time of day of an RFC 3339 timestamp, to the millisecond.
fn clock(stamp: Option<&str>) -> String {
    stamp.and_then(|stamp| stamp.get(11..23)).unwrap_or("-").to_owned()
}

fn evidence(out: &mut String, lines: &[Evidence], indent: &str, style: Style) {
    for line in lines {
        let line_ref = format!("{}:{}", sanitize(&line.source, 200), line.line);
        let _ = writeln!(
            out,
            "{indent}{}  {}",
            style.bold(&line_ref),
            style.dim(&sanitize(&summarize_line(&line.text), 220))
        );
    }
}

fn footer(out: &mut String, report: &Report, style: Style) {
    let flows = &report.flows;
    let _ = writeln!(
        out,
        "\nFlows    {} total: {} ok, {} failed, {} recovered, {} cancelled, {} rejected, {} unfinished",
        flows.total,
        flows.ok,
        flows.failed,
        flows.recovered,
        flows.cancelled,
        flows.rejected,
        flows.unfinished
    );
    let input = &report.input;
    let formats: Vec<String> = input
        .formats
        .iter()
        .filter(|(_, lines)| **lines > 0)
        .map(|(name, lines)| format!("{name} {lines}"))
        .collect();
    let _ = writeln!(
        out,
        "Input    {} source{}, {} bytes, {} lines{}",
        input.sources,
        if input.sources == 1 { "" } else { "s" },
        input.bytes,
        input.lines,
        if formats.is_empty() { String::new() } else { format!(" ({})", formats.join(", ")) }
    );
    for (label, parts) in [("Unread ", &input.read_errors), ("Cut off", &input.incomplete)] {
        for part in parts {
            let _ = writeln!(
                out,
                "{}  {}: {}",
                style.yellow(label),
                sanitize(&part.source, 200),
                sanitize(&part.error, 200)
            );
        }
    }
    let problems = &input.problems;
    let warnings = [
        ("duplicate keys", problems.duplicate_keys),
        ("bad values", problems.bad_values),
        ("lines with invalid UTF-8", problems.invalid_utf8),
        ("truncated lines", problems.truncated_lines),
        ("records dropped by their producer", problems.lost_records),
        ("late records", problems.late_records),
        ("flows evicted to stay within the memory limit", problems.evicted_flows),
    ];
    let warnings: Vec<String> = warnings
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if !warnings.is_empty() {
        let _ = writeln!(out, "Warnings {}", warnings.join(", "));
    }
}
