//! Departure of a flow's caller: what comes after it is no failure.

use super::topology::RunModel;
use super::tree::Tree;
use crate::flow::{LogPosition, SpanStatus};

/// Departure of the caller.
#[derive(Debug, Clone, Copy)]
pub(super) enum CallerExit {
    /// A line of the root reports it.
    Position(LogPosition),
    /// The root's process, or the run, was stopped at this time.
    Stop(i64),
}

impl CallerExit {
    /// Returns when the caller of a flow went away, if it did.
    pub(super) fn of(tree: &Tree<'_>, model: &RunModel) -> Option<Self> {
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

/// Returns whether a failure only follows from the caller's departure.
pub(super) fn follows(
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
