//! The lint report, as text and as Markdown.

use std::fmt::Write;

use flowlog_schema::lint::{ComponentLint, Finding, LintReport};

use super::columns::columns;
use super::markdown::escape;
use super::style::Style;
use crate::evidence::{sanitize, summarize_line};

pub(super) fn text(report: &LintReport, style: Style) -> String {
    let mut out = String::new();
    let word = if report.passed { style.green("PASSED") } else { style.red("BELOW THRESHOLD") };
    let _ = writeln!(out, "{word}  {}\n", summary(report));
    let head = ["score", "component", "PIC", "lines", "structured", "spans", "failures"]
        .map(str::to_owned)
        .to_vec();
    let rows = report.components.iter().map(|component| {
        vec![
            format!("{:.2}", component.score),
            sanitize(&component.component, 40),
            sanitize(component.owner.pic.as_deref().unwrap_or("-"), 40),
            component.lines.to_string(),
            structured(component),
            component.spans.to_string(),
            component.failures.to_string(),
        ]
    });
    out.push_str(&columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    for component in report.components.iter().filter(|component| !component.findings.is_empty()) {
        let _ = writeln!(out, "\n{}", style.bold(&sanitize(&component.component, 60)));
        for finding in &component.findings {
            let _ = writeln!(out, "  {}", what(finding));
            for line in &finding.evidence {
                let line_ref = format!("{}:{}", sanitize(&line.source, 200), line.line);
                let _ = writeln!(
                    out,
                    "    {}  {}",
                    style.bold(&line_ref),
                    style.dim(&sanitize(&summarize_line(&line.text), 160))
                );
            }
        }
    }
    out
}

pub(super) fn markdown(report: &LintReport) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "**{}**: {}\n",
        if report.passed { "passed" } else { "below threshold" },
        escape(&summary(report), 300)
    );
    let _ = writeln!(
        out,
        "| score | component | PIC | lines | structured | spans | failures |\n|---:|---|---|---:|---:|---:|---:|"
    );
    for component in &report.components {
        let _ = writeln!(
            out,
            "| {:.2} | {} | {} | {} | {} | {} | {} |",
            component.score,
            escape(&component.component, 60),
            escape(component.owner.pic.as_deref().unwrap_or(""), 60),
            component.lines,
            structured(component),
            component.spans,
            component.failures
        );
    }
    for component in report.components.iter().filter(|component| !component.findings.is_empty()) {
        let _ = writeln!(out, "\n{}:", escape(&component.component, 60));
        for finding in &component.findings {
            let places: Vec<String> = finding
                .evidence
                .iter()
                .map(|line| format!("{}:{}", escape(&line.source, 200), line.line))
                .collect();
            let _ = writeln!(out, "- {} ({})", what(finding), places.join(", "));
        }
    }
    out
}

fn summary(report: &LintReport) -> String {
    let below: Vec<&str> = report
        .components
        .iter()
        .filter(|one| one.score < report.threshold)
        .map(|one| one.component.as_str())
        .collect();
    match below.len() {
        0 => format!(
            "all {} components score at least {}",
            report.components.len(),
            report.threshold
        ),
        some => format!(
            "{some} of {} components score below {}: {}",
            report.components.len(),
            report.threshold,
            sanitize(&below.join(", "), 200)
        ),
    }
}

fn structured(component: &ComponentLint) -> String {
    // Round down, so that only a perfect share is shown as 100.
    let per_mille = component.structured * 1000 / component.lines.max(1);
    format!("{}.{}%", per_mille / 10, per_mille % 10)
}

fn what(finding: &Finding) -> String {
    format!("{} of {}: {}", finding.count, finding.of, finding.rule.as_str())
}
