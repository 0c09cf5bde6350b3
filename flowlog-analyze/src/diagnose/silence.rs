//! Detection of hangs and crashes.

use flowlog_schema::report::FailureKind;

use super::availability::{DownKind, Downtime};
use super::confidence::Basis;
use super::topology::RunModel;
use super::tree::Tree;
use crate::flow::{LogPosition, SpanStatus};
use crate::format::{is_caller_gone, is_lost, is_timeout};

/// Silence of a span that hangs or crashed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// Hang or crash.
    pub kind: FailureKind,
    /// Basis of the attribution.
    pub basis: Basis,
    /// Whether the whole process is dead or silent.
    pub whole_process: bool,
    /// Time of the last line before the silence, by the common clock: of the span, or of the
    /// process.
    pub since: i64,
}

impl Silence {
    /// Returns the silence of a process that was down.
    pub(super) fn of_downtime(down: Downtime, basis: Basis) -> Self {
        let kind = match down.kind {
            DownKind::Died | DownKind::Stopped => FailureKind::Crash,
            DownKind::Frozen => FailureKind::Hang,
        };
        Self { kind, basis, whole_process: true, since: down.since }
    }
}

/// Returns whether a span never finished.
pub(super) fn is_open(tree: &Tree<'_>, at: usize) -> bool {
    tree.spans[at].is_tracked && tree.spans[at].status == SpanStatus::Open
}

/// Returns whether a span was still open at a moment: it never finished, or finished later.
pub(super) fn is_open_at(tree: &Tree<'_>, at: usize, until: i64, model: &RunModel) -> bool {
    let node = &tree.spans[at];
    // Nothing shows when an untracked span ends.
    if !node.is_tracked {
        return false;
    }
    if node.status == SpanStatus::Open {
        return true;
    }
    node.span
        .finished()
        .and_then(|position| model.time(position, node.process))
        .is_some_and(|finished| finished > until)
}

/// Returns the silence of every span at a moment, by span index.
///
/// An open span hangs when it was silent for longer than the longest complete span of its component
/// and state (if there are at least three), or when its process was silent for that long while
/// others were active. It crashed when a kill or restart of its process is on record, or when its
/// process ended without shutting down while others went on. A span with an open call that is not
/// silent only waits; a span with only silent open calls fell silent with them.
pub(super) fn of_tree(tree: &Tree<'_>, until: i64, model: &RunModel) -> Vec<Option<Silence>> {
    let mut silences: Vec<Option<Silence>> = vec![None; tree.spans.len()];
    // Callees before callers: the result for a span depends on everything below it.
    let mut order: Vec<usize> = Vec::with_capacity(tree.spans.len());
    let mut stack: Vec<usize> =
        (0..tree.spans.len()).filter(|at| tree.spans[*at].parent.is_none()).collect();
    while let Some(at) = stack.pop() {
        order.push(at);
        stack.extend(&tree.spans[at].children);
    }
    for at in order.iter().copied().rev() {
        if !is_open_at(tree, at, until, model) {
            continue;
        }
        let open_calls: Vec<usize> = tree.spans[at]
            .children
            .iter()
            .copied()
            .filter(|child| is_open_at(tree, *child, until, model))
            .collect();
        silences[at] = if open_calls.is_empty() {
            of_span(tree, at, until, model)
        } else if open_calls.iter().any(|child| silences[*child].is_none()) {
            None
        } else {
            open_calls.iter().find_map(|child| silences[*child])
        };
    }
    // A call in a state without complete spans has no peers to compare with, but its callers have.
    // If a caller was silent for too long, every open call below it without peers fell silent, too.
    for at in order {
        if silences[at].is_some()
            || !is_open_at(tree, at, until, model)
            || !outlasts(tree, at, until, model)
        {
            continue;
        }
        let mut below: Vec<usize> = vec![at];
        let mut open: Vec<usize> = Vec::new();
        while let Some(next) = below.pop() {
            open.push(next);
            below.extend(
                tree.spans[next]
                    .children
                    .iter()
                    .copied()
                    .filter(|child| is_open_at(tree, *child, until, model)),
            );
        }
        if open.iter().all(|span| {
            *span == at
                || silences[*span].is_some()
                || longest_peer(tree, *span, model).is_none()
                || outlasts(tree, *span, until, model)
        }) {
            for span in open {
                let since = model
                    .time(tree.spans[span].span.last, tree.spans[span].process)
                    .unwrap_or(tree.spans[span].opened);
                silences[span].get_or_insert(Silence {
                    kind: FailureKind::Hang,
                    basis: Basis::OutlastedPeers,
                    whole_process: false,
                    since,
                });
            }
        }
    }
    silences
}

/// Returns the duration of the longest complete span of a span's component and state.
pub(super) fn longest_peer(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<i64> {
    let node = &tree.spans[at];
    model.longest_peer(node.component(model), node.span.state())
}

/// Returns whether a span has been silent for longer than any of its peers took.
fn outlasts(tree: &Tree<'_>, at: usize, until: i64, model: &RunModel) -> bool {
    let node = &tree.spans[at];
    // What follows the last line is unknown.
    if model.process(node.process).has_incomplete_log {
        return false;
    }
    let last = model
        .time(node.span.last, node.process)
        .filter(|last| *last <= until)
        .unwrap_or(node.opened);
    longest_peer(tree, at, model).is_some_and(|longest| until.saturating_sub(last) > longest)
}

/// Minimum silence of a process that is considered ended, in nanoseconds.
const MIN_CRASH_SILENCE_NS: i64 = 2_000_000_000;

/// Returns a span's own silence, regardless of its calls.
pub(super) fn of_span(tree: &Tree<'_>, at: usize, until: i64, model: &RunModel) -> Option<Silence> {
    let node = &tree.spans[at];
    let process = model.process(node.process);
    let last = model
        .time(node.span.last, node.process)
        .filter(|last| *last <= until)
        .unwrap_or(node.opened);
    let last_active = process
        .activity
        .activity
        .last_before(until.saturating_add(process.skew))
        .map_or(last, |time| time.saturating_sub(process.skew).max(last));
    let silent = until.saturating_sub(last);
    let process_silent = until.saturating_sub(last_active);
    let logs_again =
        process.activity.activity.first_after(last_active.saturating_add(process.skew)).is_some();
    let own = |time: i64| time.saturating_add(process.skew);

    // A kill or a restart is the reason if the span could still be open then.
    let longest = longest_peer(tree, at, model);
    let in_flight = |died: i64| {
        longest.is_none_or(|longest| died.saturating_sub(own(last)) <= longest)
            || model.process(node.process).downtime_at(last).is_some()
    };
    let killed = process.activity.kills.first_after(own(last).saturating_sub(1));
    let restarted =
        process.activity.starts.first_after(own(last)).filter(|start| *start <= own(until));
    let ended = killed.into_iter().chain(restarted).min();
    let died = ended.map(|ended| {
        process.activity.activity.last_before(ended.saturating_sub(1)).unwrap_or(ended)
    });
    if let Some(died) = died.filter(|died| in_flight(*died)) {
        return Some(Silence {
            kind: FailureKind::Crash,
            basis: Basis::Recorded,
            whole_process: true,
            since: died.saturating_sub(process.skew).max(last),
        });
    }
    let shut_down = process
        .activity
        .shutdowns
        .first_after(own(node.opened).saturating_sub(1))
        .is_some_and(|stop| stop <= own(until));
    let component = node.component(model);
    // A span that its caller had given up before its process died had hung.
    let had_hung = |since: i64| {
        longest.is_some_and(|longest| since.saturating_sub(last) > longest)
            && caller_of(tree, at)
                .and_then(|caller| model.time(caller.span.finished()?, caller.process))
                .is_some_and(|end| end < since)
    };
    let down = process
        .downtime_at(until)
        .filter(|down| down.is_certain && down.kind != DownKind::Stopped && !had_hung(down.since));
    if let Some(down) = down {
        return Some(Silence::of_downtime(down, Basis::ProcessSilent));
    }
    // Without peers, the process must have been silent for longer than the longest span of its
    // component (or else of any), and for more than twice its longest pause before.
    let silence_limit = longest.unwrap_or_else(|| {
        model
            .longest_of_any(component)
            .unwrap_or(i64::MAX)
            .max(2 * process.activity.activity.longest_gap())
    });
    let kind = if logs_again || shut_down { FailureKind::Hang } else { FailureKind::Crash };
    // A caller that lost its connection when the process logged for the last time saw it end.
    let saw_end = || {
        lost_connection(tree, at, model).is_some_and(|lost| {
            let seen = last_active..last_active.saturating_add(MIN_CRASH_SILENCE_NS);
            seen.contains(&lost.saturating_add(CROSS_HOST_CLOCK_TOLERANCE_NS))
        })
    };
    if !logs_again && !shut_down && model.end > last_active && saw_end() {
        return Some(Silence {
            kind: FailureKind::Crash,
            basis: Basis::LostByCaller,
            whole_process: true,
            since: last_active,
        });
    }
    // What the process logged afterwards is missing.
    if process.has_incomplete_log && !logs_again {
        return None;
    }
    let hung_before = had_hung(last_active);
    let has_fallen_silent = process_silent > silence_limit && !shut_down && !hung_before;
    if has_fallen_silent && (logs_again || model.goes_on_after(last_active)) {
        return Some(Silence {
            kind,
            basis: Basis::ProcessSilent,
            whole_process: true,
            since: last_active,
        });
    }
    if longest.is_some_and(|longest| silent > longest) {
        // If the process never logged again, it crashed rather than hung.
        let has_ended = !logs_again
            && !shut_down
            && !hung_before
            && process_silent
                > process
                    .activity
                    .activity
                    .longest_gap()
                    .saturating_mul(2)
                    .max(MIN_CRASH_SILENCE_NS);
        if has_ended && model.goes_on_after(last_active) {
            return Some(Silence {
                kind: FailureKind::Crash,
                basis: Basis::ProcessSilent,
                whole_process: true,
                since: last_active,
            });
        }
        return Some(Silence {
            kind: FailureKind::Hang,
            basis: Basis::OutlastedPeers,
            whole_process: false,
            since: last,
        });
    }
    None
}

/// Returns when the nearest failed caller of a span lost it, other than by a timeout.
fn lost_connection(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<i64> {
    let caller = tree.ancestors(at).find(|up| tree.spans[*up].status == SpanStatus::Failed)?;
    let node = &tree.spans[caller];
    let failure = node.span.failure().filter(|failure| {
        is_lost(&failure.kind, &failure.message, failure.status)
            && !is_timeout(&failure.kind, &failure.message, failure.status)
    })?;
    model.time(failure.position, node.process)
}

/// A span that its caller abandoned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abandoned {
    /// Last line of the span before that.
    pub last: LogPosition,
    /// Silence of the span.
    pub silence: Silence,
    /// First line that shows that a caller timed out, and the span that logged it.
    pub by: Departure,
}

/// Returns how a span was abandoned, if it was: it was open, with no open call below it, when a
/// caller in another process had waited long enough. Its later outcome (cancelled, or ended when no
/// caller was waiting any more) follows from that.
///
/// The span was silent for longer than its peers take; without peers, for at least half the time
/// that the caller waited.
pub(super) fn when_abandoned(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<Abandoned> {
    let node = &tree.spans[at];
    let only_left =
        node.span.failure().is_some_and(|failure| is_caller_gone(&failure.kind, &failure.message));
    if !(matches!(node.status, SpanStatus::Ok | SpanStatus::Cancelled)
        || node.status == SpanStatus::Failed && only_left)
    {
        return None;
    }
    let (caller, by) = abandoning_caller(tree, at, model)?;
    let caller = &tree.spans[caller];
    let gave_up = model.time(by.position, tree.spans[by.at].process)?;
    let waited = gave_up.saturating_sub(caller.opened);
    // Look slightly before the timeout: the clocks of two hosts are not known more precisely, and
    // immediate cleanup follows from the timeout.
    let until = gave_up.saturating_sub(CROSS_HOST_CLOCK_TOLERANCE_NS.min(waited / 10));
    // A timeout sends no message, so the logical clocks do not order what both sides did since the
    // call. Use corrected times.
    let before = |position: LogPosition, at: usize| {
        model.time(position, tree.spans[at].process).filter(|time| *time < until)
    };
    let was_open = |at: usize| {
        let node = &tree.spans[at];
        // A cancelled call below was cancelled because of the timeout, so it counts as open.
        let is_done = node.status != SpanStatus::Cancelled
            && node.span.finished().is_some_and(|end| before(end, at).is_some());
        before(node.span.first, at).is_some() && !is_done
    };
    if node.process == caller.process {
        return None;
    }
    let down_at = |process| {
        let down = model.process(process).downtime_at(until)?;
        (down.is_certain && down.kind != DownKind::Stopped).then_some(down)
    };
    // A process that was silent as a whole kept its callers waiting, whatever it had called. It may
    // log the start of the call only when it goes on.
    if let Some(down) = down_at(node.process) {
        let last = words_before(tree, at, before).unwrap_or(node.span.first);
        let silence = Silence::of_downtime(down, Basis::LostByCaller);
        return (was_open(at) || node.opened >= down.until).then_some(Abandoned {
            last,
            silence,
            by,
        });
    }
    // A frozen caller does not see the response of a callee that is alive.
    let is_caller_frozen = tree.ancestors(at).any(|up| {
        let is_waiting = tree.spans[up].opened <= gave_up;
        is_waiting && down_at(tree.spans[up].process).is_some_and(|down| down.since < until)
    });
    if is_caller_frozen {
        return None;
    }
    // The callee began only after the caller had given up.
    if node.opened > gave_up {
        let called = caller_of(tree, at).map_or(caller.opened, |caller| caller.opened);
        let process = model.process(node.process);
        let own = |time: i64| time.saturating_add(process.skew);
        let since = process
            .activity
            .activity
            .last_before(own(node.opened.saturating_sub(1)))
            .map_or(called, |last| last.saturating_sub(process.skew));
        let whole_process = since <= called.saturating_add(CROSS_HOST_CLOCK_TOLERANCE_NS);
        let silence = Silence {
            kind: FailureKind::Hang,
            basis: Basis::LostByCaller,
            whole_process,
            since: since.min(gave_up),
        };
        return Some(Abandoned { last: node.span.first, silence, by });
    }
    if !was_open(at) || node.children.iter().any(|child| was_open(*child)) {
        return None;
    }
    let last = words_before(tree, at, before)?;
    // A response from a callee is activity, too.
    let answers = node
        .children
        .iter()
        .filter_map(|child| before(tree.spans[*child].span.finished()?, *child));
    let since = answers.chain(before(last, at)).max()?;
    let silent = until.saturating_sub(since);
    let is_silent = longest_peer(tree, at, model)
        .map_or(silent.saturating_mul(2) >= waited, |longest| silent > longest);
    let silence = Silence {
        kind: FailureKind::Hang,
        basis: Basis::LostByCaller,
        whole_process: false,
        since,
    };
    is_silent.then_some(Abandoned { last, silence, by })
}

/// Returns the direct caller of a span.
fn caller_of<'t, 'a>(tree: &'t Tree<'a>, at: usize) -> Option<&'t super::tree::Node<'a>> {
    tree.spans[at].parent.map(|parent| &tree.spans[parent])
}

/// Returns the last line of a span that is `before` a moment.
fn words_before(
    tree: &Tree<'_>,
    at: usize,
    before: impl Fn(LogPosition, usize) -> Option<i64>,
) -> Option<LogPosition> {
    let span = tree.spans[at].span;
    let words = std::iter::once(span.first)
        .chain(span.states.iter().map(|(position, _)| *position))
        .chain(span.last_nonterminal);
    words.filter(|position| before(*position, at).is_some()).max()
}

/// A line of a span, and the index of that span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    pub position: LogPosition,
    pub at: usize,
}

/// Minimum distance between events on two hosts for their clocks to order them, in nanoseconds.
pub(super) const CROSS_HOST_CLOCK_TOLERANCE_NS: i64 = 50_000_000;

/// Maximum time by which the cancellation of calls precedes the failure of the caller that causes
/// it, in nanoseconds: the caller drops its calls, then reports its failure.
const MAX_CANCELLATION_LEAD_NS: i64 = 1_000_000_000;

/// Returns the nearest caller that failed with a timeout, if every finished span between was
/// cancelled with it, and the first line that shows the timeout: that of the caller, or of a span
/// between.
fn abandoning_caller(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<(usize, Departure)> {
    let mut between: Vec<Departure> = Vec::new();
    for up in tree.ancestors(at) {
        let node = &tree.spans[up];
        match node.status {
            SpanStatus::Cancelled => {
                between.extend(node.span.finished().map(|position| Departure { position, at: up }));
            }
            SpanStatus::Failed => {
                let failure = node.span.failure().filter(|failure| {
                    is_timeout(&failure.kind, &failure.message, failure.status)
                })?;
                let failed = model.time(failure.position, node.process)?;
                let departure = |departure: &Departure| {
                    model
                        .time(departure.position, tree.spans[departure.at].process)
                        .unwrap_or(failed)
                };
                // A span that was cancelled long before was cancelled for another reason.
                if between.iter().any(|cancelled| {
                    departure(cancelled) < failed.saturating_sub(MAX_CANCELLATION_LEAD_NS)
                }) {
                    return None;
                }
                let by = between
                    .into_iter()
                    .chain([Departure { position: failure.position, at: up }])
                    .min_by_key(|one| (departure(one), one.position, one.at))?;
                return Some((up, by));
            }
            SpanStatus::Open => {}
            SpanStatus::Ok | SpanStatus::Rejected => return None,
        }
    }
    None
}
