//! For a person: the verdict first, then what failed, then the lines that prove it.

use std::fmt::Write;

use flowlog_schema::report::{Evidence, Failure, Owner, Report, RunOutcome};

use super::paint::Paint;
use super::table::columns;
use crate::evidence::{digest, printable};

/// Most failures in the table; the rest are counted.
const MAX_ROWS: usize = 20;

/// Most lines of evidence below the verdict; the JSON report has ten.
const MAX_LINES: usize = 5;

pub(super) fn render(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    let verdict = &report.verdict;
    let word = verdict.outcome.as_str().to_ascii_uppercase();
    let word = match verdict.outcome {
        RunOutcome::Failed => paint.red(&word),
        RunOutcome::Recovered | RunOutcome::Cancelled => paint.yellow(&word),
        RunOutcome::Healthy => paint.green(&word),
    };
    let _ = writeln!(
        out,
        "{word}  {}  {}",
        printable(&verdict.summary, 400),
        paint.dim(&format!("(confidence {:.0} %)", verdict.confidence * 100.0))
    );
    if let Some(owner) = owner_of(&verdict.owner) {
        let _ = writeln!(out, "PIC     {}", paint.bold(&owner));
    }
    let shown = MAX_LINES.min(verdict.evidence.len());
    evidence(&mut out, verdict.evidence.get(..shown).unwrap_or_default(), "  ", paint);
    if !report.failures.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Failures"));
        table(&mut out, &report.failures);
        for failure in report.failures.iter().skip(1).take(MAX_ROWS) {
            let _ = writeln!(
                out,
                "\n{} {}",
                paint.bold(&who(failure)),
                paint.dim(&failure.fingerprint)
            );
            evidence(
                &mut out,
                failure.evidence.get(..2.min(failure.evidence.len())).unwrap_or_default(),
                "  ",
                paint,
            );
        }
        if let Some(example) = report.failures.first().and_then(|failure| failure.examples.first())
        {
            let _ = writeln!(
                out,
                "\n{}",
                paint.dim(&format!(
                    "One flow as a tree: flowlog-analyze flow {} PATH...",
                    printable(example, 140)
                ))
            );
        }
    }
    footer(&mut out, report, paint);
    out
}

/// Whose something is, and under which name it was found.
fn owner_of(owner: &Owner) -> Option<String> {
    let pic = owner.pic.as_deref().unwrap_or("nobody yet");
    owner
        .component
        .as_deref()
        .map(|component| format!("{} ({})", printable(pic, 60), printable(component, 40)))
}

fn who(failure: &Failure) -> String {
    let name = match (failure.instances.first(), failure.instances.len()) {
        (Some(instance), 1) => format!("{}/{instance}", failure.component),
        (Some(instance), more) => format!("{}/{instance} +{}", failure.component, more - 1),
        (None, _) => failure.component.clone(),
    };
    printable(&name, 60)
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
            who(failure),
            printable(failure.state.as_deref().unwrap_or("-"), 30),
            clock(failure.first.as_deref()),
            if owned {
                printable(failure.owner.pic.as_deref().unwrap_or("-"), 30)
            } else {
                String::new()
            },
            printable(&what, 90),
        ]
    });
    out.push_str(&columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    if failures.len() > MAX_ROWS {
        let _ = writeln!(
            out,
            "  ... and {} more; --format json has them all",
            failures.len() - MAX_ROWS
        );
    }
}

/// The time of day of an RFC 3339 stamp, to the millisecond.
fn clock(stamp: Option<&str>) -> String {
    stamp.and_then(|stamp| stamp.get(11..23)).unwrap_or("-").to_owned()
}

fn evidence(out: &mut String, lines: &[Evidence], indent: &str, paint: Paint) {
    for line in lines {
        let place = format!("{}:{}", printable(&line.source, 200), line.line);
        let _ = writeln!(
            out,
            "{indent}{}  {}",
            paint.bold(&place),
            paint.dim(&printable(&digest(&line.text), 220))
        );
    }
}

fn footer(out: &mut String, report: &Report, paint: Paint) {
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
        "Input    {} sources, {} bytes, {} lines ({})",
        input.sources,
        input.bytes,
        input.lines,
        formats.join(", ")
    );
    for unread in &input.unread {
        let _ = writeln!(
            out,
            "{}   {}: {}",
            paint.yellow("Unread"),
            printable(&unread.source, 200),
            printable(&unread.error, 200)
        );
    }
    let problems = &input.problems;
    let odd = [
        ("duplicate keys", problems.duplicate_keys),
        ("bad values", problems.bad_values),
        ("lines not UTF-8", problems.invalid_utf8),
        ("lines cut", problems.long_lines),
        ("records lost by their writer", problems.lost_records),
        ("late records", problems.late_records),
        ("flows given up to stay within the memory limit", problems.given_up_flows),
    ];
    let odd: Vec<String> = odd
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if !odd.is_empty() {
        let _ = writeln!(out, "Odd      {}", odd.join(", "));
    }
}
