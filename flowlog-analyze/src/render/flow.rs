//! One flow as an indented tree with times, components, and the place where it broke.

use std::fmt::Write;

use flowlog_schema::{Time, report};

use super::paint::Paint;
use crate::diagnose::{FirstFailure, Outcome, Tree, World};
use crate::evidence::{Lines, digest, printable};
use crate::flow::{Fate, Place};
use crate::lines::LineIndex;
use crate::source::Sources;

/// A flow as it is shown.
#[derive(Debug)]
pub struct FlowPicture<'a> {
    /// The id to show.
    pub id: String,
    /// Its spans.
    pub tree: Tree<'a>,
    /// What became of it.
    pub outcome: Outcome,
    /// What failed first.
    pub failure: Option<FirstFailure>,
}

/// Draws a flow.
pub fn picture(
    flow: &FlowPicture<'_>,
    world: &World,
    sources: &Sources,
    index: &LineIndex,
    paint: Paint,
) -> String {
    let mut out = String::new();
    let places: Vec<Place> = flow
        .tree
        .spans
        .iter()
        .flat_map(|node| {
            node.span.failure().map(|f| f.mark.place).into_iter().chain([node.span.last.place])
        })
        .collect();
    let lines = Lines::read(
        sources,
        index,
        places
            .into_iter()
            .chain(flow.failure.iter().flat_map(|failure| failure.evidence.iter().copied())),
    );
    let word = match flow.outcome {
        Outcome::Ok => paint.green("ok"),
        Outcome::Recovered => paint.yellow("recovered"),
        Outcome::Cancelled { .. } => paint.yellow("cancelled"),
        Outcome::Rejected => paint.yellow("rejected"),
        Outcome::Failed => paint.red("failed"),
        Outcome::Unfinished => paint.yellow("unfinished"),
    };
    let begin = flow.tree.spans.iter().map(|node| node.opened).min().unwrap_or(0);
    let _ = writeln!(out, "{} {}  {}", paint.bold(&printable(&flow.id, 140)), word, Time(begin));
    let mut roots: Vec<usize> =
        (0..flow.tree.spans.len()).filter(|at| flow.tree.spans[*at].parent.is_none()).collect();
    roots.sort_by_key(|at| (*at != flow.tree.root, flow.tree.spans[*at].opened));
    let mut stack: Vec<(usize, usize)> = roots.into_iter().rev().map(|at| (at, 0)).collect();
    while let Some((at, depth)) = stack.pop() {
        span(&mut out, flow, at, depth, begin, world, &lines, paint);
        stack.extend(flow.tree.spans[at].children.iter().rev().map(|child| (*child, depth + 1)));
    }
    if let Some(failure) = &flow.failure {
        let _ = writeln!(out, "\nfirst failure: {}", paint.red(&printable(&blame(failure), 300)));
        for place in &failure.evidence {
            if let Some(report::Evidence { source, line, text }) = lines.get(*place) {
                let _ = writeln!(
                    out,
                    "  {}  {}",
                    paint.bold(&format!("{}:{line}", printable(source, 200))),
                    paint.dim(&printable(&digest(text), 220))
                );
            }
        }
    }
    out
}

fn blame(failure: &FirstFailure) -> String {
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

/// Deepest indentation that is drawn.
const MAX_DEPTH: usize = 40;

#[expect(clippy::too_many_arguments, reason = "one line of the picture needs all of the picture")]
fn span(
    out: &mut String,
    flow: &FlowPicture<'_>,
    at: usize,
    depth: usize,
    begin: i64,
    world: &World,
    lines: &Lines,
    paint: Paint,
) {
    let node = &flow.tree.spans[at];
    let component = node.component(world);
    let instance = node.instance(world);
    let end = node.span.finished().unwrap_or(node.span.last);
    let took = world.time(end, node.process).map_or(0, |end| end.saturating_sub(node.opened));
    let broke = flow.failure.as_ref().is_some_and(|failure| {
        failure.process == node.process
            && (failure.evidence.first().is_some_and(|place| is_place(node.span, *place)))
    });
    let fate = match node.fate {
        Fate::Ok => paint.green("ok"),
        Fate::Failed => paint.red("failed"),
        Fate::Rejected => paint.yellow("rejected"),
        Fate::Cancelled => paint.yellow("cancelled"),
        Fate::Open => paint.yellow("open"),
    };
    let mut name = component.to_string();
    if !instance.is_empty() {
        let _ = write!(name, "/{instance}");
    }
    let states: Vec<&str> = node.span.states.iter().map(|(_, state)| state.as_str()).collect();
    let states = if states.is_empty() {
        String::new()
    } else {
        format!(" [{}]", printable(&states.join(" > "), 120))
    };
    let indent = "  ".repeat(depth.min(MAX_DEPTH));
    let _ = write!(
        out,
        "{} {indent}{}{states} {fate} {}",
        paint.dim(&format!("+{:>9.3}s", seconds(node.opened.saturating_sub(begin)))),
        paint.bold(&printable(&name, 100)),
        paint.dim(&format!("{:.3}s", seconds(took)))
    );
    if let Some(failure) = node.span.failure().filter(|_| node.fate != Fate::Ok) {
        let words = if failure.kind.is_empty() {
            failure.message.to_string()
        } else {
            format!("{}: {}", failure.kind, failure.message)
        };
        let _ = write!(out, "  {}", printable(&words, 120));
    }
    if let Some(report::Evidence { source, line, .. }) =
        lines.get(node.span.failure().map_or(node.span.last.place, |failure| failure.mark.place))
    {
        let _ = write!(out, "  {}", paint.dim(&format!("{}:{line}", printable(source, 200))));
    }
    if broke {
        let _ = write!(out, "  {}", paint.red("<-- broke here"));
    }
    out.push('\n');
}

fn is_place(span: &crate::flow::Span, place: Place) -> bool {
    span.last.place == place
        || span.first.place == place
        || span.failure().is_some_and(|failure| failure.mark.place == place)
}

fn seconds(nanos: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown to the millisecond")]
    let nanos = nanos as f64;
    nanos / 1e9
}
