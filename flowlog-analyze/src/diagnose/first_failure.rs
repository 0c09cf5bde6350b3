//! Outcome and first failure of a flow.

use flowlog_schema::report::FailureKind;

use super::attempts;
use super::caller_exit::CallerExit;
use super::fault::{Fault, FaultKind};
use super::faults;
use super::missing_lines;
use super::topology::RunModel;
use super::tree::Tree;
use crate::flow::SpanStatus;
use crate::format::{is_caller_gone, is_lost, is_timeout};
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

impl Outcome {
    /// Returns the outcome as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Recovered => "recovered",
            Self::Cancelled { .. } => "cancelled",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Outcome of a flow, its faults, and the first of them.
#[derive(Debug)]
pub(super) struct Classification<'a> {
    pub outcome: Outcome,
    /// Everything that went wrong in the flow, if the outcome is failed or recovered.
    pub faults: Vec<Fault<'a>>,
    /// Index of the first fault.
    pub first: Option<usize>,
}

impl Classification<'_> {
    fn without_fault(outcome: Outcome) -> Self {
        Self { outcome, faults: Vec::new(), first: None }
    }
}

/// Determines the outcome and the first failure of a flow.
pub(super) fn classify_flow<'a>(tree: &Tree<'a>, model: &RunModel) -> Classification<'a> {
    if tree.spans.is_empty() || !tree.root().span.has_id {
        return Classification::without_fault(Outcome::Unfinished);
    }
    let caller_exit = CallerExit::of(tree, model);
    let faults = limited(faults::of_tree(tree, caller_exit, model), tree);
    if all_left(tree, &faults, model) {
        return Classification::without_fault(Outcome::Cancelled { by_signal: false });
    }
    let failed = |outcome: Outcome, faults: Vec<Fault<'a>>| {
        let first = first(tree, &faults, model);
        Classification { outcome, faults, first }
    };
    match tree.status(model) {
        SpanStatus::Ok => {
            let carried = carried_by_a_retry(tree, faults, model);
            if carried.is_empty() {
                Classification::without_fault(Outcome::Ok)
            } else {
                failed(Outcome::Recovered, carried)
            }
        }
        SpanStatus::Rejected if faults.is_empty() => {
            Classification::without_fault(Outcome::Rejected)
        }
        SpanStatus::Cancelled if faults.is_empty() => {
            Classification::without_fault(Outcome::Cancelled { by_signal: false })
        }
        SpanStatus::Failed if faults.is_empty() => {
            Classification::without_fault(Outcome::Cancelled { by_signal: true })
        }
        SpanStatus::Rejected | SpanStatus::Cancelled | SpanStatus::Failed => {
            failed(Outcome::Failed, faults)
        }
        SpanStatus::Open => {
            let root = tree.root();
            if missing_lines::only_root_unfinished(tree, model)
                && model.components_losing_lines.contains(root.component(model))
            {
                return Classification::without_fault(Outcome::Unfinished);
            }
            if faults.iter().any(|fault| fault.at == tree.root) {
                return failed(Outcome::Failed, faults);
            }
            if matches!(caller_exit, Some(CallerExit::Stop(_))) {
                return Classification::without_fault(Outcome::Cancelled { by_signal: true });
            }
            if root.span.ends_restarted() {
                return failed(
                    Outcome::Recovered,
                    vec![Fault::restarted(tree.root, root.span.last, root.span)],
                );
            }
            Classification::without_fault(Outcome::Unfinished)
        }
    }
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
///
/// A span that reports a failure failed, whatever came after. A silent span failed only if a caller
/// reports that it lost it, another attempt replaced it, or its process was frozen when its caller
/// ended: if not, its caller received a response, and only the span's last line
/// is missing. So did a process without spans that logged an error: if nothing was tried again, the
/// error was handled.
fn carried_by_a_retry<'a>(
    tree: &Tree<'a>,
    faults: Vec<Fault<'a>>,
    model: &RunModel,
) -> Vec<Fault<'a>> {
    let mut carried = faults;
    carried.retain(|fault| {
        (fault.reported().is_some() && tree.spans[fault.at].is_tracked)
            || attempts::retry_of(tree, fault, model).is_some()
            || attempts::is_reported_lost(tree, fault.at, model)
            || faults::outlived_frozen(tree, fault.at, model).is_some()
            || faults::lost_by_caller(tree, fault.at, None, model)
    });
    // If no fault explains a restart of the root's stream, the restart still proves a recovery.
    let root = tree.root().span;
    if let Some(position) = root.restarted_at.filter(|_| carried.is_empty()) {
        carried.push(Fault::restarted(tree.root, position, root));
    }
    carried
}

/// Maximum number of faults of one flow that are compared with each other; no real request has
/// more.
const MAX_FAULTS: usize = 512;

/// Returns the causally first of the faults that no other fault explains.
fn first(tree: &Tree<'_>, faults: &[Fault<'_>], model: &RunModel) -> Option<usize> {
    let origins: Vec<usize> = (0..faults.len())
        .filter(|at| !faults.iter().any(|other| explains(tree, other, &faults[*at], model)))
        .collect();
    // If each fault is explained by another, all are candidates, and the deepest comes first.
    let origins = if origins.is_empty() { (0..faults.len()).collect() } else { origins };
    let relays =
        |fault: &Fault<'_>| fault.reported().is_some_and(|failure| is_relay(&failure.message));
    origins.into_iter().min_by(|a, b| {
        let (a, b) = (&faults[*a], &faults[*b]);
        relays(a)
            .cmp(&relays(b))
            .then_with(|| tree.order_of_failures(a.position, a.at, b.position, b.at, model))
            .then(a.at.cmp(&b.at))
    })
}

/// Returns whether `cause` is why `fault` happened: a caller fails because its callee did, and a
/// callee fails because the caller that failed first is gone.
pub(super) fn explains(
    tree: &Tree<'_>,
    cause: &Fault<'_>,
    fault: &Fault<'_>,
    model: &RunModel,
) -> bool {
    if let Some(passes_on) = passes_on(tree, cause, fault) {
        return passes_on;
    }
    if tree.is_above(fault.at, cause.at) {
        return !is_first(tree, fault, cause, model);
    }
    tree.is_above(cause.at, fault.at) && is_first(tree, cause, fault, model)
}

/// Returns whether a fault passes on the message of another one, with more words, if the calls do not
/// tell: one of them is in a process without spans. `None` if neither passes on the other's.
fn passes_on(tree: &Tree<'_>, cause: &Fault<'_>, fault: &Fault<'_>) -> Option<bool> {
    if tree.spans[cause.at].span.has_id && tree.spans[fault.at].span.has_id {
        return None;
    }
    let gave_up = |fault: &Fault<'_>| {
        fault
            .reported()
            .is_some_and(|failure| is_timeout(&failure.kind, &failure.message, failure.status))
    };
    // Who reports a timeout waited for the span that is silent.
    match (cause.silence(), fault.silence()) {
        (Some(_), None) if gave_up(fault) => return Some(true),
        (None, Some(_)) if gave_up(cause) => return Some(false),
        _ => {}
    }
    let (cause, fault) = (&*cause.reported()?.message, &*fault.reported()?.message);
    if cause.len() < MIN_MESSAGE_BYTES || fault.len() < MIN_MESSAGE_BYTES || cause == fault {
        return None;
    }
    match (fault.contains(cause), cause.contains(fault)) {
        (false, false) => None,
        (passes_on, _) => Some(passes_on),
    }
}

/// Maximum time in which a callee detects that its caller's process died, in nanoseconds.
const LOST_CALLER_NS: i64 = 2_000_000_000;

/// Minimum length of a message that another one may pass on, in bytes.
const MIN_MESSAGE_BYTES: usize = 8;

/// Returns whether a caller failed on its own, before its callee did.
fn is_first(tree: &Tree<'_>, caller: &Fault<'_>, callee: &Fault<'_>, model: &RunModel) -> bool {
    match (caller.kind, callee.kind) {
        // The caller fell silent with its callee, timed out or lost it, whatever error it reports.
        (_, FaultKind::Silent(_)) => false,
        // The callee failed first, or its caller would have logged something; unless the callee
        // reports that its caller is gone.
        (FaultKind::Silent(silence), FaultKind::Reported(failure)) => {
            // A callee that lost its connection when its caller's process died lost its caller.
            let has_died = silence.kind == FailureKind::Crash && silence.whole_process;
            let failed = model.time(callee.position, tree.spans[callee.at].process);
            let lost = has_died
                && is_lost(&failure.kind, &failure.message, failure.status)
                && failed.is_some_and(|failed| {
                    (0..=LOST_CALLER_NS).contains(&failed.saturating_sub(silence.since))
                });
            lost || is_caller_gone(&failure.kind, &failure.message)
                && tree.order(caller.position, caller.at, callee.position, callee.at, model).is_lt()
        }
        (FaultKind::Reported(caller_failure), FaultKind::Reported(callee_failure)) => {
            if is_caller_gone(&callee_failure.kind, &callee_failure.message)
                && !is_caller_gone(&caller_failure.kind, &caller_failure.message)
            {
                return true;
            }
            // Without clocks on both sides, or if responses carry none, the structure decides: the
            // deepest span failed first.
            if caller.position.clock == 0
                || callee.position.clock == 0
                || !tree.is_ordered_by_clock(caller.at, callee.at, model)
                || caller.position.clock > callee.position.clock
            {
                return false;
            }
            // By the clock, the caller failed first. A caller that lost the callee, or relays its
            // error, was still only affected.
            let passes_on = if callee_failure.message.is_empty() {
                caller_failure.kind == callee_failure.kind && caller_failure.message.is_empty()
            } else {
                caller_failure.message.contains(&*callee_failure.message)
            };
            !(passes_on
                || is_relay(&caller_failure.message)
                || is_lost(&caller_failure.kind, &caller_failure.message, caller_failure.status))
        }
    }
}
