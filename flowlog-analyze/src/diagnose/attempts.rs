//! Attempts at the same call: which one replaced another.

use super::fault::Fault;
use super::names::names_instance;
use super::silence::CROSS_HOST_CLOCK_TOLERANCE_NS;
use super::topology::RunModel;
use super::tree::Tree;
use crate::flow::SpanStatus;

/// Returns the attempt that replaced a failed span: another span of the same component that did not
/// fail, and that began after the fault. An attempt that fell silent was given up: the other one
/// began while its process was down, or after a longer silence than any of its peers took.
pub(super) fn retry_of(tree: &Tree<'_>, fault: &Fault<'_>, model: &RunModel) -> Option<usize> {
    let node = &tree.spans[fault.at];
    let since = match fault.silence() {
        Some(silence) if silence.whole_process => silence.since,
        Some(_) => given_up(tree, fault.at, model)?,
        None => model.time(fault.position, node.process)?,
    };
    other_attempt(tree, fault.at, since, model)
}

/// Returns whether another process reports by name that it lost the process of a span.
pub(super) fn is_reported_lost(tree: &Tree<'_>, at: usize, model: &RunModel) -> bool {
    let node = &tree.spans[at];
    tree.spans
        .iter()
        .filter(|other| other.process != node.process)
        .filter_map(|other| other.span.first_loss.as_ref())
        .any(|loss| names_instance(&loss.message, node.instance(model)))
}

/// Returns the attempt that replaced a span that never finished, although its caller did.
pub(super) fn replacement_of(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<usize> {
    let node = &tree.spans[at];
    let caller = &tree.spans[node.parent?];
    caller.span.finished()?;
    other_attempt(tree, at, given_up(tree, at, model)?, model)
}

/// Returns whether a span that never finished must have returned: its caller, which usually calls the
/// component several times, went on to call it again, not at the same time, and reports no loss.
pub(super) fn must_have_returned(tree: &Tree<'_>, at: usize, model: &RunModel) -> bool {
    let node = &tree.spans[at];
    let siblings = node.parent.map(|parent| &tree.spans[parent].children);
    given_up(tree, at, model).is_none()
        && siblings.into_iter().flatten().any(|other| {
            let other = &tree.spans[*other];
            other.opened > node.opened.saturating_add(CROSS_HOST_CLOCK_TOLERANCE_NS)
                && other.component(model) == node.component(model)
        })
}

/// Returns another attempt at the same call that did not fail, and that began after a time.
fn other_attempt(tree: &Tree<'_>, at: usize, since: i64, model: &RunModel) -> Option<usize> {
    let node = &tree.spans[at];
    (0..tree.spans.len()).find(|other| {
        let retry = &tree.spans[*other];
        let went_well = match retry.status {
            SpanStatus::Ok => true,
            SpanStatus::Open => !retry.is_tracked && retry.process != node.process,
            _ => false,
        };
        *other != at
            && went_well
            && retry.component(model) == node.component(model)
            && !tree.is_above(*other, at)
            && !tree.is_above(at, *other)
            && is_same_call(tree, at, *other, model)
            && retry.opened.saturating_add(CROSS_HOST_CLOCK_TOLERANCE_NS) >= since
    })
}

/// Returns whether two spans belong to two attempts at the same call: their nearest common caller
/// called the same component both times. The callers of untracked spans are not known so well.
fn is_same_call(tree: &Tree<'_>, at: usize, other: usize, model: &RunModel) -> bool {
    if !tree.spans[at].is_tracked || !tree.spans[other].is_tracked {
        return true;
    }
    let (caller, own, others) = tree.fork(at, other);
    caller.is_some() && tree.spans[own].component(model) == tree.spans[others].component(model)
}

/// Returns the earliest time at which the caller of a silent span may have called another process
/// instead: when it reported a loss, or, if it calls the component only once in flows that ended
/// well, at any time after the span began.
fn given_up(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<i64> {
    let node = &tree.spans[at];
    let caller = &tree.spans[node.parent?];
    let reported = caller.span.first_loss.as_ref().and_then(|loss| {
        model.time(loss.position, caller.process).filter(|time| *time >= node.opened)
    });
    let calls_once = !model.calls_repeatedly(caller.component(model), node.component(model));
    reported.or(calls_once.then_some(node.opened.saturating_add(CROSS_HOST_CLOCK_TOLERANCE_NS)))
}
