//! One flow as an indented tree, with times, components, and the first failure.

use std::fmt::Write;

use flowlog_schema::{Time, report};

use super::style::Style;
use crate::diagnose::{FirstFailure, Outcome, RunModel, Tree};
use crate::evidence::{EvidenceLines, sanitize, summarize_line};
use crate::flow::{LineRef, SpanStatus};
use crate::lines::LineIndex;
use crate::source::Sources;

/// A flow to render as a tree.
#[derive(Debug)]
pub struct FlowTree<'a> {
    /// ID to show.
    pub id: String,
    /// Spans of the flow.
    pub tree: Tree<'a>,
    /// Outcome of the flow.
    pub outcome: Outcome,
    /// First failure, if any.
    pub failure: Option<FirstFailure>,
}

/// Renders a flow.
pub fn render_flow_tree(
    flow: &FlowTree<'_>,
    model: &RunModel,
    sources: &Sources,
    index: &LineIndex,
    style: Style,
) -> String {
    let mut out = String::new();
    let places: Vec<LineRef> = flow
        .tree
        .spans
        .iter()
        .flat_map(|node| {
            node.span.failure().map(|f| f.position.line).into_iter().chain([node.span.last.line])
        })
        .collect();
    let lines = EvidenceLines::read(
        sources,
        index,
        places
            .into_iter()
            .chain(flow.failure.iter().flat_map(|failure| failure.evidence.iter().copied())),
    );
    let word = match flow.outcome {
        Outcome::Ok => style.green(flow.outcome.as_str()),
        Outcome::Failed => style.red(flow.outcome.as_str()),
        _ => style.yellow(flow.outcome.as_str()),
    };
    let begin = flow.tree.spans.iter().map(|node| node.opened).min().unwrap_or(0);
    let _ = writeln!(out, "{} {}  {}", style.bold(&sanitize(&flow.id, 140)), word, Time(begin));
    let mut roots: Vec<usize> =
        (0..flow.tree.spans.len()).filter(|at| flow.tree.spans[*at].parent.is_none()).collect();
    roots.sort_by_key(|at| (*at != flow.tree.root, flow.tree.spans[*at].opened));
    let mut stack: Vec<(usize, usize)> = roots.into_iter().rev().map(|at| (at, 0)).collect();
    while let Some((at, depth)) = stack.pop() {
        span(&mut out, flow, at, depth, begin, model, &lines, style);
        stack.extend(flow.tree.spans[at].children.iter().rev().map(|child| (*child, depth + 1)));
    }
    if let Some(failure) = &flow.failure {
        let _ = writeln!(
            out,
            "\nfirst failure: {}",
            style.red(&sanitize(&describe_failure(failure), 300))
        );
        for line_ref in &failure.evidence {
            if let Some(report::Evidence { source, line, text }) = lines.get(*line_ref) {
                let _ = writeln!(
                    out,
                    "  {}  {}",
                    style.bold(&format!("{}:{line}", sanitize(source, 200))),
                    style.dim(&sanitize(&summarize_line(text), 220))
                );
            }
        }
    }
    out
}

fn describe_failure(failure: &FirstFailure) -> String {
    let mut text = failure.component.to_string();
    if let Some(instance) = &failure.instance {
        let _ = write!(text, "/{instance}");
    }
    let _ = write!(text, " ({})", failure.kind.as_str());
    if !failure.error_type.is_empty() {
        let _ = write!(text, " {}", failure.error_type);
    }
    if !failure.message.is_empty() {
        let _ = write!(text, ": {}", failure.message);
    }
    text
}

/// Maximum depth of indentation.
const MAX_DEPTH: usize = 40;

#[expect(clippy::too_many_arguments, reason = "one line of the tree needs the whole context")]
fn span(
    out: &mut String,
    flow: &FlowTree<'_>,
    at: usize,
    depth: usize,
    begin: i64,
    model: &RunModel,
    lines: &EvidenceLines,
    style: Style,
) {
    let node = &flow.tree.spans[at];
    let component = node.component(model);
    let instance = node.instance(model);
    let end = node.span.finished().unwrap_or(node.span.last);
    let took = model.time(end, node.process).map_or(0, |end| end.saturating_sub(node.opened));
    let broke = flow.failure.as_ref().is_some_and(|failure| {
        failure.process == node.process
            && (failure
                .evidence
                .first()
                .is_some_and(|line_ref| is_position_of(node.span, *line_ref)))
    });
    let status = match node.status {
        SpanStatus::Ok => style.green("ok"),
        SpanStatus::Failed => style.red("failed"),
        SpanStatus::Rejected => style.yellow("rejected"),
        SpanStatus::Cancelled => style.yellow("cancelled"),
        SpanStatus::Open => style.yellow("open"),
    };
    let mut name = component.to_string();
    if !instance.is_empty() {
        let _ = write!(name, "/{instance}");
    }
    let states: Vec<&str> = node.span.states.iter().map(|(_, state)| state.as_str()).collect();
    let states = if states.is_empty() {
        String::new()
    } else {
        format!(" [{}]", sanitize(&states.join(" > "), 120))
    };
    let indent = "  ".repeat(depth.min(MAX_DEPTH));
    let _ = write!(
        out,
        "{} {indent}{}{states} {status} {}",
        style.dim(&format!("+{:>9.3}s", seconds(node.opened.saturating_sub(begin)))),
        style.bold(&sanitize(&name, 100)),
        style.dim(&format!("{:.3}s", seconds(took)))
    );
    if let Some(failure) = node.span.failure().filter(|_| node.status != SpanStatus::Ok) {
        let words = if failure.kind.is_empty() {
            failure.message.to_string()
        } else {
            format!("{}: {}", failure.kind, failure.message)
        };
        let _ = write!(out, "  {}", sanitize(&words, 120));
    }
    if let Some(report::Evidence { source, line, .. }) =
        lines.get(node.span.failure().map_or(node.span.last.line, |failure| failure.position.line))
    {
        let _ = write!(out, "  {}", style.dim(&format!("{}:{line}", sanitize(source, 200))));
    }
    if broke {
        let _ = write!(out, "  {}", style.red("<-- first failure"));
    }
    out.push('\n');
}

fn is_position_of(span: &crate::flow::Span, line_ref: LineRef) -> bool {
    span.last.line == line_ref
        || span.first.line == line_ref
        || span.failure().is_some_and(|failure| failure.position.line == line_ref)
}

fn seconds(nanos: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown to the millisecond")]
    let nanos = nanos as f64;
    nanos / 1e9
}
