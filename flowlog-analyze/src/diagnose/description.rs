//! Description of a flow's first failure: who failed, in which state, and the lines that prove it.

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::fault::Fault;
use super::topology::{Process, ProcessIndex, RunModel};
use super::tree::Tree;
use crate::flow::{LineRef, LogPosition, SpanStatus};

/// Largest number of evidence lines of one flow.
const MAX_FLOW_EVIDENCE: usize = 4;

/// Returns the processes that had completed the failed span's calls well when it failed.
fn healthy_callees(tree: &Tree<'_>, fault: &Fault<'_>, model: &RunModel) -> Vec<ProcessIndex> {
    let in_time = |at: usize| {
        tree.spans[at]
            .span
            .finished()
            .is_some_and(|end| tree.order(end, at, fault.position, fault.at, model).is_lt())
    };
    let below = (0..tree.spans.len())
        .filter(|at| tree.spans[*at].status == SpanStatus::Ok && tree.is_above(fault.at, *at));
    below.filter(|at| in_time(*at)).filter_map(|at| tree.spans[at].process).collect()
}

/// Maximum distance of an error of the caller in the same process from the failure, in nanoseconds.
const SAME_ERROR_NS: i64 = 1_000_000_000;

/// Returns the message of an error that a span logged before the failure that it reported; or else
/// of the error that its caller in the same process logged at that time.
fn preceding_error(tree: &Tree<'_>, fault: &Fault<'_>, model: &RunModel) -> Box<str> {
    let node = &tree.spans[fault.at];
    let own = fault.preceding_error(node.span);
    if !own.is_empty() || fault.reported().is_none() {
        return own;
    }
    let failed = model.time(fault.position, node.process);
    let near = |position: LogPosition| {
        model
            .time(position, node.process)
            .zip(failed)
            .is_some_and(|(time, failed)| (time - failed).abs() <= SAME_ERROR_NS)
    };
    tree.ancestors(fault.at)
        .take_while(|up| tree.spans[*up].process == node.process)
        .filter_map(|up| tree.spans[up].span.last_error.as_ref())
        .find(|error| near(error.position))
        .map(|error| error.message.clone())
        .unwrap_or_default()
}

/// Returns the instances that a span called, or another span of its process above or below it, and
/// that completed no span of the flow.
fn lost_callees(tree: &Tree<'_>, at: usize, model: &RunModel) -> Vec<CompactString> {
    let mut callees: Vec<CompactString> = Vec::new();
    let process = tree.spans[at].process;
    let is_own = |other: &usize| tree.spans[*other].process == process;
    let own = std::iter::once(at).chain(tree.ancestors(at).take_while(is_own));
    let below = (0..tree.spans.len()).filter(|other| tree.is_above(at, *other) && is_own(other));
    for (_, callee) in own.chain(below).flat_map(|at| &tree.spans[at].span.callees) {
        let is_done = tree
            .spans
            .iter()
            .any(|node| node.span.instance == *callee && node.status == SpanStatus::Ok);
        let is_known = model.of_instance_name(callee).is_some();
        if is_known && !is_done && !callees.contains(callee) {
            callees.push(callee.clone());
        }
    }
    callees
}

/// Returns when a span called its last callee, or else when it began.
fn called_at(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<i64> {
    let node = &tree.spans[at];
    let (position, _) = node.span.callees.last()?;
    model.time(*position, node.process).or(Some(node.opened))
}

/// Describes the first failure of a flow.
pub(super) fn describe(
    tree: &Tree<'_>,
    first: usize,
    faults: &[Fault<'_>],
    model: &RunModel,
) -> FirstFailure {
    let fault = &faults[first];
    let node = &tree.spans[described_span(tree, fault)];
    let engine = fault.reported().and_then(|failure| failure.engine.clone());
    let component = engine.unwrap_or_else(|| node.component(model).clone());
    let instance = node.instance(model).clone();
    let own_process = tree.spans[fault.at].process;
    let first = FirstFailure::new(fault.failure_kind(), component, instance, node.process);
    FirstFailure {
        state: fault.state(node.span).into(),
        error_type: fault.error_type(),
        message: fault.message(),
        preceding_error: preceding_error(tree, fault, model),
        time: match fault.silence() {
            Some(silence) => Some(silence.since),
            None => model.time(fault.position, own_process),
        },
        resolution_ns: i64::from(fault.position.resolution_ns),
        status: fault.reported().and_then(|failure| failure.status),
        callee: tree.spans[fault.at].span.callee().into(),
        callees: lost_callees(tree, fault.at, model),
        called_at: called_at(tree, fault.at, model),
        healthy_callees: healthy_callees(tree, fault, model),
        whole_process: fault.is_whole_process(),
        basis: fault.basis(),
        affected: affected(tree, faults, &first.component, model),
        evidence: evidence(fault, faults, model.process(node.process)),
        ..first
    }
}

/// Returns the span that describes a fault. A dead process is described by its work as a whole: its
/// outermost span on the way up.
fn described_span(tree: &Tree<'_>, fault: &Fault<'_>) -> usize {
    let mut at = fault.at;
    if fault.silence().is_some_and(|silence| silence.whole_process) {
        for up in tree.ancestors(fault.at) {
            let inherited =
                tree.spans[up].span.instance.is_empty() && tree.spans[at].span.instance.is_empty();
            if !inherited || tree.spans[up].process != tree.spans[at].process {
                break;
            }
            at = up;
        }
    }
    at
}

/// Returns the other components that failed in the flow.
fn affected(
    tree: &Tree<'_>,
    faults: &[Fault<'_>],
    component: &CompactString,
    model: &RunModel,
) -> Vec<CompactString> {
    let of_faults = faults.iter().map(|fault| tree.spans[fault.at].component(model).clone());
    let mut affected: Vec<CompactString> = of_faults.filter(|other| other != component).collect();
    affected.sort();
    affected.dedup();
    affected
}

/// Returns the lines that prove a failure, the most direct one first.
fn evidence(fault: &Fault<'_>, faults: &[Fault<'_>], process: &Process) -> Vec<LineRef> {
    let is_dead = fault.is_whole_process() && fault.failure_kind() == FailureKind::Crash;
    let last_line = process.activity.last.filter(|_| is_dead);
    let mut others: Vec<LogPosition> =
        faults.iter().filter(|other| other.at != fault.at).map(|other| other.position).collect();
    others.sort();
    let mut evidence: Vec<LineRef> = Vec::new();
    for position in std::iter::once(fault.position).chain(last_line).chain(others) {
        if evidence.len() < MAX_FLOW_EVIDENCE && !evidence.contains(&position.line) {
            evidence.push(position.line);
        }
    }
    evidence
}
