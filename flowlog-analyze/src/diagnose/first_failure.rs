//! Outcome and first failure of a flow.

use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::confidence::Basis;
use super::description::describe;
use super::fault::{Fault, FaultKind};
use super::missing_lines;
use super::silence::{self, Silence};
use super::topology::{ProcessIndex, RunModel};
use super::tree::Tree;
use crate::flow::{Activity, LogPosition, Span, SpanStatus};
use crate::format::{is_caller_gone, is_lost};
use crate::rules::is_relay;

/// Outcome of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The root ended, and no span failed.
    Ok,
    /// The root ended well although a span failed or fell silent.
    Recovered,
    /// The caller went away before anything failed.
    Cancelled {
        /// Whether the run or the root's process was stopped.
        by_signal: bool,
    },
    /// The failure is the caller's fault.
    Rejected,
    /// The root failed, or the flow hangs or crashed.
    Failed,
    /// None of these.
    Unfinished,
}

/// Determines the outcome and the first failure of a flow.
pub(super) fn classify_flow(tree: &Tree<'_>, model: &RunModel) -> (Outcome, Option<FirstFailure>) {
    if tree.spans.is_empty() {
        return (Outcome::Unfinished, None);
    }
    let caller_exit = CallerExit::of(tree, model);
    let until = match caller_exit {
        Some(CallerExit::Stop(stop)) => stop,
        Some(CallerExit::Position(position)) => {
            model.time(position, tree.root().process).unwrap_or(model.end)
        }
        None => model.end,
    };
    let silences = silences(tree, caller_exit, until, model);
    let faults = limited(faults(tree, &silences, caller_exit, until, model), tree);
    if all_left(tree, &faults, model) {
        return (Outcome::Cancelled { by_signal: false }, None);
    }
    let failed = |outcome: Outcome, faults: &[Fault<'_>]| {
        let first = first(tree, faults, model);
        (outcome, first.map(|fault| describe(tree, fault, faults, model)))
    };
    match tree.status(model) {
        SpanStatus::Ok => {
            let carried = carried_by_a_retry(tree, faults, model);
            if carried.is_empty() {
                (Outcome::Ok, None)
            } else {
                failed(Outcome::Recovered, &carried)
            }
        }
        SpanStatus::Rejected if faults.is_empty() => (Outcome::Rejected, None),
        SpanStatus::Cancelled if faults.is_empty() => {
            (Outcome::Cancelled { by_signal: false }, None)
        }
        SpanStatus::Failed if faults.is_empty() => (Outcome::Cancelled { by_signal: true }, None),
        SpanStatus::Rejected | SpanStatus::Cancelled | SpanStatus::Failed => {
            failed(Outcome::Failed, &faults)
        }
        SpanStatus::Open => {
            let root = tree.root();
            if missing_lines::only_root_unfinished(tree, model)
                && model.components_losing_lines.contains(root.component(model))
            {
                return (Outcome::Unfinished, None);
            }
            if silences[tree.root].is_some() {
                return failed(Outcome::Failed, &faults);
            }
            if matches!(caller_exit, Some(CallerExit::Stop(_))) {
                return (Outcome::Cancelled { by_signal: true }, None);
            }
            if root.span.ends_restarted() {
                return failed(
                    Outcome::Recovered,
                    &[Fault::restarted(tree.root, root.span.last, root.span)],
                );
            }
            (Outcome::Unfinished, None)
        }
    }
}

/// Finds the silent spans. A stream in progress logs nothing, so a client that disconnects
/// mid-stream implicates no callee, except a process that was silent as a whole.
fn silences(
    tree: &Tree<'_>,
    caller_exit: Option<CallerExit>,
    until: i64,
    model: &RunModel,
) -> Vec<Option<Silence>> {
    let mut silences = silence::of_tree(tree, until, model);
    let root = tree.root().span;
    if matches!(caller_exit, Some(CallerExit::Position(_))) && root.streaming && root.answered {
        for silence in &mut silences {
            *silence = silence.filter(|silence| silence.whole_process);
        }
    }
    silences
}

/// Keeps the deepest faults, and of these the earliest: they are nearest to the origin.
fn limited<'a>(mut faults: Vec<Fault<'a>>, tree: &Tree<'_>) -> Vec<Fault<'a>> {
    if faults.len() > MAX_FAULTS {
        faults.sort_by_key(|fault| (tree.depth(fault.at), std::cmp::Reverse(fault.position)));
        faults.drain(..faults.len() - MAX_FAULTS);
    }
    faults
}

/// Returns whether all faults only report that the caller went away, and the root's caller is
/// missing or the flow is still open. Such a flow was cancelled.
fn all_left(tree: &Tree<'_>, faults: &[Fault<'_>], model: &RunModel) -> bool {
    let only_left = |fault: &Fault<'_>| {
        fault.reported().is_some_and(|failure| is_caller_gone(&failure.kind, &failure.message))
    };
    (tree.is_headless() || tree.status(model) == SpanStatus::Open)
        && !faults.is_empty()
        && faults.iter().all(only_left)
}

/// Returns the faults of a flow that ended well which a retry made up for.
fn carried_by_a_retry<'a>(
    tree: &Tree<'a>,
    faults: Vec<Fault<'a>>,
    model: &RunModel,
) -> Vec<Fault<'a>> {
    // A silent call that returned only lost its last line.
    let came_back = |fault: &Fault<'_>| {
        fault.silence().is_some_and(|silence| !silence.whole_process)
            && missing_lines::caller_ended_well(tree, fault.at)
    };
    let mut carried = faults;
    carried.retain(|fault| {
        fault.reported().is_some() || (has_retry(tree, fault.at, model) && !came_back(fault))
    });
    // If no fault explains a restart of the root's stream, the restart still proves a recovery.
    let root = tree.root().span;
    if let Some(position) = root.restarted_at.filter(|_| carried.is_empty()) {
        carried.push(Fault::restarted(tree.root, position, root));
    }
    carried
}

/// Departure of the caller.
#[derive(Debug, Clone, Copy)]
enum CallerExit {
    /// A line of the root reports it.
    Position(LogPosition),
    /// The root's process, or the run, was stopped at this time.
    Stop(i64),
}

impl CallerExit {
    /// Returns when the caller of a flow went away, if it did.
    fn of(tree: &Tree<'_>, model: &RunModel) -> Option<Self> {
        let root = tree.root();
        let finished = root.span.finished().and_then(|position| model.time(position, root.process));
        let stop = model.stop_after(root.process, root.opened).filter(|stop| {
            root.status == SpanStatus::Open
                || (root.status == SpanStatus::Failed && finished.is_some_and(|end| end > *stop))
        });
        match (root.status, stop) {
            (_, Some(stop)) => Some(Self::Stop(stop)),
            (SpanStatus::Cancelled, None) => {
                let cancelled = root.span.cancelled.or_else(|| root.span.finished());
                Some(Self::Position(cancelled.unwrap_or(root.span.last)))
            }
            _ => None,
        }
    }
}

/// Collects everything that went wrong in a flow before its caller went away.
fn faults<'a>(
    tree: &Tree<'a>,
    silences: &[Option<Silence>],
    caller_exit: Option<CallerExit>,
    until: i64,
    model: &RunModel,
) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    for (at, node) in tree.spans.iter().enumerate() {
        // A timeout counts only if it came before the root's caller went away.
        let abandoned = silence::when_abandoned(tree, at, model).filter(|abandoned| {
            !follows(tree, abandoned.by.at, abandoned.by.position, caller_exit, model)
        });
        if let Some(abandoned) = abandoned {
            faults.push(Fault::silent_at(at, abandoned.last, abandoned.silence));
        } else if node.status == SpanStatus::Failed
            && let Some(failure) = node.span.failure()
            && !follows(tree, at, failure.position, caller_exit, model)
            && !(caller_exit.is_some() && only_reported(tree, at, failure))
        {
            faults.push(Fault::reported_at(at, failure));
        } else if let Some(silence) = silences[at] {
            let last = last_before(node.span, until, node.process, model);
            faults.push(Fault::silent_at(at, last, silence));
        } else if node.status == SpanStatus::Open
            && lost_by_caller(tree, at, caller_exit, model)
            && node.children.iter().all(|child| tree.spans[*child].status != SpanStatus::Open)
        {
            faults.push(Fault::silent_at(at, node.span.last, lost(tree, at, model)));
        }
    }
    // If several callees were awaited at once and one never responded, a callee that did respond is
    // not the cause.
    let never = |fault: &Fault<'_>| {
        fault.silence().is_some() && tree.spans[fault.at].status == SpanStatus::Open
    };
    if faults.iter().any(never) {
        faults.retain(|fault| {
            fault.reported().is_some() || tree.spans[fault.at].status != SpanStatus::Ok
        });
    }
    faults
}

/// Returns the last line of a span if it is before a moment, or else the first: no other is kept.
fn last_before(
    span: &Span,
    until: i64,
    process: Option<ProcessIndex>,
    model: &RunModel,
) -> LogPosition {
    if model.time(span.last, process).is_none_or(|last| last <= until) {
        span.last
    } else {
        span.first
    }
}

/// Returns whether a failure only follows from the caller's departure.
fn follows(
    tree: &Tree<'_>,
    at: usize,
    position: LogPosition,
    caller_exit: Option<CallerExit>,
    model: &RunModel,
) -> bool {
    match caller_exit {
        None => false,
        Some(CallerExit::Position(left)) => {
            tree.order(position, at, left, tree.root, model).is_gt()
        }
        Some(CallerExit::Stop(stop)) => {
            model.time(position, tree.spans[at].process).is_none_or(|time| time > stop)
        }
    }
}

/// Returns whether a failure in a flow that its caller left reports only that: by its message, or,
/// if no clock orders it, because its own caller was cancelled too and never saw it fail.
fn only_reported(tree: &Tree<'_>, at: usize, failure: &crate::flow::Failure) -> bool {
    let caller_cancelled = tree.spans[at]
        .parent
        .is_some_and(|parent| tree.spans[parent].status == SpanStatus::Cancelled);
    is_caller_gone(&failure.kind, &failure.message)
        || (failure.position.clock == 0 && caller_cancelled)
}

/// Returns whether a direct or indirect caller of an open span timed out or lost it.
fn lost_by_caller(
    tree: &Tree<'_>,
    at: usize,
    caller_exit: Option<CallerExit>,
    model: &RunModel,
) -> bool {
    for up in tree.ancestors(at) {
        let node = &tree.spans[up];
        match node.status {
            SpanStatus::Failed => {
                return node.span.failure().is_some_and(|failure| {
                    let lost = is_lost(&failure.kind, &failure.message, failure.status)
                        || is_gone_by(tree, at, failure.position, up, model);
                    lost && !follows(tree, up, failure.position, caller_exit, model)
                });
            }
            SpanStatus::Open => {}
            SpanStatus::Ok | SpanStatus::Rejected | SpanStatus::Cancelled => return false,
        }
    }
    false
}

/// Returns whether a span's process had logged its last line when a caller failed, without shutting
/// down, while others went on for a while.
fn is_gone_by(
    tree: &Tree<'_>,
    at: usize,
    failed: LogPosition,
    caller: usize,
    model: &RunModel,
) -> bool {
    let process = model.process(tree.spans[at].process);
    let last = process.activity.activity.last().map(|last| last.saturating_sub(process.skew));
    let failed = model.time(failed, tree.spans[caller].process);
    last.zip(failed).is_some_and(|(last, failed)| {
        last < failed && last.saturating_add(Activity::GAP_NS) < model.end
    }) && process.activity.shutdowns.is_empty()
}

/// Returns how a span that its callers lost fell silent: with its whole process, or only the span.
fn lost(tree: &Tree<'_>, at: usize, model: &RunModel) -> Silence {
    let node = &tree.spans[at];
    if let Some(silence) = silence::of_span(tree, at, model.end, model) {
        return Silence { basis: silence.basis.min(Basis::LostByCaller), ..silence };
    }
    let process = model.process(node.process);
    let ended = process.activity.activity.last().is_some_and(|last| {
        node.span.last.time().is_some_and(|time| last <= time.saturating_add(1_000_000_000))
    });
    let timed_out = tree
        .ancestors(at)
        .filter_map(|up| tree.spans[up].span.failure())
        .any(|failure| failure.kind.to_ascii_lowercase().contains("timeout"));
    let kind = if ended && !timed_out { FailureKind::Crash } else { FailureKind::Hang };
    let since = model.time(node.span.last, node.process).unwrap_or(node.opened);
    Silence { kind, basis: Basis::LostByCaller, whole_process: ended, since }
}

/// Returns whether a later attempt of the same component ended well.
fn has_retry(tree: &Tree<'_>, at: usize, model: &RunModel) -> bool {
    let node = &tree.spans[at];
    tree.spans.iter().enumerate().any(|(other, retry)| {
        other != at
            && retry.span.component == node.span.component
            && retry.status == SpanStatus::Ok
            && !tree.is_above(other, at)
            && !tree.is_above(at, other)
            && tree.order(node.span.first, at, retry.span.first, other, model).is_lt()
    })
}

/// Maximum number of faults of one flow that are compared with each other; no real request has
/// more.
const MAX_FAULTS: usize = 512;

/// Returns the causally first of the faults that no other fault explains.
fn first<'f, 'a>(
    tree: &Tree<'_>,
    faults: &'f [Fault<'a>],
    model: &RunModel,
) -> Option<&'f Fault<'a>> {
    let origins: Vec<&Fault<'_>> = faults
        .iter()
        .filter(|fault| !faults.iter().any(|other| explains(tree, other, fault, model)))
        .collect();
    // If each fault is explained by another, all are candidates, and the deepest comes first.
    let origins = if origins.is_empty() { faults.iter().collect() } else { origins };
    let relays =
        |fault: &Fault<'_>| fault.reported().is_some_and(|failure| is_relay(&failure.message));
    origins.into_iter().min_by(|a, b| {
        relays(a)
            .cmp(&relays(b))
            .then_with(|| tree.order_of_failures(a.position, a.at, b.position, b.at, model))
            .then(a.at.cmp(&b.at))
    })
}

/// Returns whether `cause` is why `fault` happened: a caller fails because its callee did, and a
/// callee fails because the caller that failed first is gone.
fn explains(tree: &Tree<'_>, cause: &Fault<'_>, fault: &Fault<'_>, model: &RunModel) -> bool {
    if tree.is_above(fault.at, cause.at) {
        return !is_first(tree, fault, cause, model);
    }
    tree.is_above(cause.at, fault.at) && is_first(tree, cause, fault, model)
}

/// Returns whether a caller failed on its own, before its callee did.
fn is_first(tree: &Tree<'_>, caller: &Fault<'_>, callee: &Fault<'_>, model: &RunModel) -> bool {
    match (caller.kind, callee.kind) {
        // The caller fell silent with its callee, timed out or lost it, whatever error it reports.
        (_, FaultKind::Silent(_)) => false,
        // The callee failed first, or its caller would have logged something; unless the callee
        // reports that its caller is gone.
        (FaultKind::Silent(_), FaultKind::Reported(failure)) => {
            is_caller_gone(&failure.kind, &failure.message)
                && tree.order(caller.position, caller.at, callee.position, callee.at, model).is_lt()
        }
        (FaultKind::Reported(caller_failure), FaultKind::Reported(callee_failure)) => {
            if is_caller_gone(&callee_failure.kind, &callee_failure.message)
                && !is_caller_gone(&caller_failure.kind, &caller_failure.message)
            {
                return true;
            }
            // Without clocks on both sides, the structure decides: the deepest span failed first.
            if caller.position.clock == 0
                || callee.position.clock == 0
                || caller.position.clock > callee.position.clock
            {
                return false;
            }
            // By the clock, the caller failed first. A caller that lost the callee, or relays its
            // error, was still only affected.
            let passes_on = caller_failure.kind == callee_failure.kind
                && caller_failure.message == callee_failure.message;
            !(passes_on
                || is_relay(&caller_failure.message)
                || is_lost(&caller_failure.kind, &caller_failure.message, caller_failure.status))
        }
    }
}
