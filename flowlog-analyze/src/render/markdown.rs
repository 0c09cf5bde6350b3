//! The report as Markdown, for a pull request or an issue.

use std::fmt::Write;

use flowlog_schema::report::{Evidence, Report};

use super::text::shows_suspects;
use crate::evidence::{sanitize, summarize_line};

/// Maximum number of failures in the table.
const MAX_ROWS: usize = 20;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let verdict = &report.verdict;
    let _ = writeln!(out, "**{}**: {}\n", verdict.outcome.as_str(), escape(&verdict.summary, 400));
    let pic = verdict
        .owner
        .pic
        .as_deref()
        .map(|pic| format!(" PIC: {}.", escape(pic, 60)))
        .unwrap_or_default();
    let _ = writeln!(out, "Confidence {:.0}%.{pic}\n", verdict.confidence * 100.0);
    evidence(&mut out, &verdict.evidence);
    if let Some(first) = report.failures.first().filter(|_| verdict.component.is_some()) {
        let _ = writeln!(out, "Why (rule `{}`):\n", first.why.rule);
        for step in &first.why.steps {
            let place = step.evidence.as_ref().map_or_else(String::new, |line| {
                format!(" ({}:{})", escape(&line.source, 200), line.line)
            });
            let _ = writeln!(out, "1. {}{place}", escape(&step.text, 300));
        }
        out.push('\n');
    }
    if !report.failures.is_empty() {
        let _ = writeln!(
            out,
            "| flows | kind | component | instance | PIC | state | first | what |\n|---:|---|---|---|---|---|---|---|"
        );
        for failure in report.failures.iter().take(MAX_ROWS) {
            let what = [failure.error_type.as_deref(), failure.message.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ");
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                failure.flows,
                failure.kind.as_str(),
                escape(&failure.component, 60),
                escape(failure.instances.first().map_or("", String::as_str), 60),
                escape(failure.owner.pic.as_deref().unwrap_or(""), 60),
                escape(failure.state.as_deref().unwrap_or(""), 40),
                escape(failure.first.as_deref().unwrap_or(""), 40),
                escape(&what, 120)
            );
        }
        if report.failures.len() > MAX_ROWS {
            let _ = writeln!(
                out,
                "\n{} more failures are in the JSON report.",
                report.failures.len() - MAX_ROWS
            );
        }
        out.push('\n');
    }
    if shows_suspects(report) {
        out.push_str("Suspects:\n\n");
        for suspect in &report.suspects {
            let instance = suspect.instance.as_deref().unwrap_or_default();
            let _ = writeln!(
                out,
                "- {} {} (score {:.2}): {}",
                escape(&suspect.component, 60),
                escape(instance, 60),
                suspect.score,
                escape(&suspect.reasons.join("; "), 400)
            );
        }
        out.push('\n');
    }
    let flows = &report.flows;
    let _ = writeln!(
        out,
        "{} flows: {} ok, {} failed, {} recovered, {} cancelled, {} rejected, {} unfinished. {} lines from {} sources.",
        flows.total,
        flows.ok,
        flows.failed,
        flows.recovered,
        flows.cancelled,
        flows.rejected,
        flows.unfinished,
        report.input.lines,
        report.input.sources
    );
    let input = &report.input;
    for (label, parts) in [("Not read", &input.read_errors), ("Incomplete", &input.incomplete)] {
        for part in parts {
            let (source, error) = (escape(&part.source, 200), escape(&part.error, 200));
            let _ = writeln!(out, "\n{label}: {source} ({error})");
        }
    }
    out
}

/// Writes evidence in a code block, with a fence longer than any run of backticks inside.
fn evidence(out: &mut String, lines: &[Evidence]) {
    if lines.is_empty() {
        return;
    }
    let texts: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "{}:{}: {}",
                sanitize(&line.source, 200),
                line.line,
                sanitize(&summarize_line(&line.text), 300)
            )
        })
        .collect();
    let longest =
        texts.iter().flat_map(|text| text.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(out, "{fence}text\n{}\n{fence}\n", texts.join("\n"));
}

/// Escapes text, so that nothing in a log becomes markup, a mention, a link or HTML.
pub(super) fn escape(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in sanitize(text, max).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A zero-width space keeps `@name` and `#1` from becoming mentions.
            '@' | '#' => {
                out.push(c);
                out.push('\u{200b}');
            }
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '!' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.replace("://", ":\u{200b}//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        assert_eq!(
            escape("<b>|x| [a](http://b) @me #1 `c`", 100),
            "&lt;b&gt;\\|x\\| \\[a\\]\\(http:\u{200b}//b\\) @\u{200b}me #\u{200b}1 \\`c\\`"
        );
        let mut out = String::new();
        evidence(&mut out, &[Evidence { source: "a".into(), line: 1, text: "````x".into() }]);
        assert!(out.starts_with("`````text\n"), "{out}");
    }
}
