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

/// Describes the first failure of a flow.
pub(super) fn describe(
    tree: &Tree<'_>,
    fault: &Fault<'_>,
    faults: &[Fault<'_>],
    model: &RunModel,
) -> FirstFailure {
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
        preceding_error: fault.preceding_error(node.span),
        time: match fault.silence() {
            Some(silence) => Some(silence.since),
            None => model.time(fault.position, own_process),
        },
        resolution_ns: i64::from(fault.position.resolution_ns),
        status: fault.reported().and_then(|failure| failure.status),
        callee: tree.spans[fault.at].span.callee().into(),
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
