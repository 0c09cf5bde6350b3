//! Everything that went wrong in a flow: what its spans report, and who fell silent.

use flowlog_schema::report::FailureKind;

use super::attempts;
use super::availability::{DownKind, Downtime};
use super::caller_exit::{CallerExit, follows};
use super::confidence::Basis;
use super::fault::Fault;
use super::names::names_dependency;
use super::silence::{self, Silence};
use super::topology::{ProcessIndex, RunModel};
use super::tree::Tree;
use crate::flow::{Activity, Failure, LogPosition, Span, SpanStatus};
use crate::format::{is_caller_gone, is_lost, is_own, is_timeout};
use crate::rules::is_relay;

/// Collects everything that went wrong in a flow before its caller went away.
pub(super) fn of_tree<'a>(
    tree: &Tree<'a>,
    caller_exit: Option<CallerExit>,
    model: &RunModel,
) -> Vec<Fault<'a>> {
    // A client that leaves a frozen process leaves because of that.
    let root_freeze = frozen_itself(tree, tree.root, model);
    let caller_exit = caller_exit.filter(|_| root_freeze.is_none());
    let until = match caller_exit {
        Some(CallerExit::Stop(stop)) => stop,
        Some(CallerExit::Position(position)) => {
            model.time(position, tree.root().process).unwrap_or(model.end)
        }
        None => model.end,
    };
    let silences = silences(tree, caller_exit, until, model);
    let mut faults = Vec::new();
    for (at, silence) in silences.into_iter().enumerate() {
        faults.extend(of_span(tree, at, silence, caller_exit, until, model));
    }
    // A process without spans may have finished its part; a span that fell silent did not.
    if faults.iter().any(|fault| fault.silence().is_some() && tree.spans[fault.at].is_tracked) {
        faults.retain(|fault| {
            let is_weak = fault.silence().is_some_and(|silence| !silence.whole_process);
            tree.spans[fault.at].is_tracked || !is_weak
        });
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

/// Returns what went wrong in one span.
fn of_span<'a>(
    tree: &Tree<'a>,
    at: usize,
    silence: Option<Silence>,
    caller_exit: Option<CallerExit>,
    until: i64,
    model: &RunModel,
) -> Option<Fault<'a>> {
    let node = &tree.spans[at];
    if !node.is_tracked {
        return of_participant(tree, at, caller_exit, until, model);
    }
    // A timeout counts only if it came before the root's caller went away.
    let abandoned = silence::when_abandoned(tree, at, model).filter(|abandoned| {
        !follows(tree, abandoned.by.at, abandoned.by.position, caller_exit, model)
    });
    if let Some(abandoned) = abandoned {
        return Some(Fault::silent_at(at, abandoned.last, abandoned.silence));
    }
    if let Some(down) = frozen_itself(tree, at, model) {
        return Some(frozen_at(tree, at, down, model));
    }
    if node.status == SpanStatus::Failed
        && let Some(failure) = node.span.failure()
        && !follows(tree, at, failure.position, caller_exit, model)
        && !(caller_exit.is_some() && only_reported(tree, at, failure))
    {
        return Some(Fault::reported_at(at, failure));
    }
    if let Some(down) =
        replaced_while_down(tree, at, model).or_else(|| outlived_frozen(tree, at, model))
    {
        return Some(frozen_at(tree, at, down, model));
    }
    let returned = || silence::is_open(tree, at) && attempts::must_have_returned(tree, at, model);
    if let Some(silence) = silence.filter(|silence| silence.whole_process || !returned()) {
        let last = last_before(node.span, until, node.process, model);
        return Some(Fault::silent_at(at, last, silence));
    }
    let is_open = silence::is_open(tree, at);
    if is_open && attempts::replacement_of(tree, at, model).is_some() {
        let since = model.time(node.span.last, node.process).unwrap_or(node.opened);
        let basis = Basis::LostByCaller;
        let silence = Silence { kind: FailureKind::Hang, basis, whole_process: false, since };
        return Some(Fault::silent_at(at, node.span.last, silence));
    }
    let is_lost = is_open
        && node.children.iter().all(|child| !silence::is_open(tree, *child))
        && lost_by_caller(tree, at, caller_exit, model);
    is_lost.then(|| Fault::silent_at(at, node.span.last, lost(tree, at, model)))
}

/// Returns what went wrong in a process that logged lines of the flow outside of spans.
///
/// An error line is a failure of the process that logged it, unless its caller succeeded, or a span
/// of the same process tells what became of it. Without an error, the process failed if it died or
/// froze after its last line, and a caller lost it or timed out.
fn of_participant<'a>(
    tree: &Tree<'a>,
    at: usize,
    caller_exit: Option<CallerExit>,
    until: i64,
    model: &RunModel,
) -> Option<Fault<'a>> {
    let node = &tree.spans[at];
    let caller = &tree.spans[node.parent?];
    let is_own_span = node.process.is_some() && caller.process == node.process;
    if is_own_span && caller.status != SpanStatus::Open {
        return None;
    }
    if node.status == SpanStatus::Failed
        && let Some(failure) = node.span.failure()
    {
        let is_teardown = is_caller_gone(&failure.kind, &failure.message)
            || follows(tree, at, failure.position, caller_exit, model);
        return (!is_teardown).then(|| Fault::reported_at(at, failure));
    }
    if is_own_span || node.status != SpanStatus::Open {
        return None;
    }
    if let Some(down) = replaced_while_down(tree, at, model) {
        return Some(frozen_at(tree, at, down, model));
    }
    // The caller handled the loss of a process that was down.
    let process = model.process(node.process);
    let went_well = caller.status == SpanStatus::Ok
        || !caller.is_tracked && tree.root().status == SpanStatus::Ok;
    let has_handled = went_well && caller.span.first_loss.is_some();
    if has_handled {
        let until = node.opened.saturating_add(CLOCK_TOLERANCE_NS);
        let down = process.downtime_within(caller.opened, until)?;
        return (down.kind != DownKind::Stopped).then(|| frozen_at(tree, at, down, model));
    }
    // A client may leave without waiting for an answer, so only certain evidence counts.
    let left = matches!(caller_exit, Some(CallerExit::Position(_)));
    let waits = tree.root().status == SpanStatus::Open || left;
    if left && until.saturating_sub(node.opened) < PROMPT_NS {
        return None;
    }
    // The caller reports that a shared dependency kept it from the process.
    let errors = [caller.span.failure(), caller.span.last_error.as_deref()];
    let own_process = tree.ancestors(at).take_while(|up| tree.spans[*up].process == caller.process);
    let above = own_process.filter_map(|up| tree.spans[up].span.last_error.as_deref());
    if errors.into_iter().flatten().chain(above).any(|error| names_dependency(&error.message)) {
        return None;
    }
    let lost_at = lost_since(tree, at, caller_exit, model).or(waits.then_some(until))?;
    let down = process
        .downtime_within(node.opened, lost_at)
        .filter(|down| down.kind != DownKind::Stopped && (!waits || down.is_certain))
        .filter(|down| !waits || may_have_been_open(tree, at, *down, model));
    match down {
        Some(down) => Some(frozen_at(tree, at, down, model)),
        None => hung_participant(tree, at, lost_at, model),
    }
}

/// Returns whether a flow that still waits may have waited for a process when that went down: no
/// longer after its last line about the flow than any flow took.
fn may_have_been_open(tree: &Tree<'_>, at: usize, down: Downtime, model: &RunModel) -> bool {
    let node = &tree.spans[at];
    let last = model.time(node.span.last, node.process).unwrap_or(node.opened);
    silence::longest_peer(tree, tree.root, model)
        .is_none_or(|longest| down.since.saturating_sub(last) <= longest)
}

/// Returns the hang of a process without spans that had begun to work on a call, and was silent about
/// it for most of the time until its caller timed out.
fn hung_participant<'a>(
    tree: &Tree<'a>,
    at: usize,
    lost_at: i64,
    model: &RunModel,
) -> Option<Fault<'a>> {
    let node = &tree.spans[at];
    let caller = &tree.spans[node.parent?];
    let timed_out = caller
        .span
        .failure()
        .is_some_and(|failure| is_timeout(&failure.kind, &failure.message, failure.status));
    let last = model.time(node.span.last, node.process)?;
    let waited = lost_at.saturating_sub(node.opened);
    // A process that logged nothing of the flow may be busy, or not have been reached.
    let logged_itself = node.span.parent.is_none();
    let is_silent = lost_at.saturating_sub(last).saturating_mul(2) >= waited;
    (timed_out && logged_itself && is_silent).then(|| {
        let basis = Basis::LostByCaller;
        let silence = Silence { kind: FailureKind::Hang, basis, whole_process: false, since: last };
        Fault::silent_at(at, node.span.last, silence)
    })
}

/// Tolerance when comparing corrected times of two hosts, in nanoseconds.
const CLOCK_TOLERANCE_NS: i64 = 50_000_000;

/// Returns the freeze of a span's process during which its caller ended well without it.
pub(super) fn outlived_frozen(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<Downtime> {
    let node = &tree.spans[at];
    let caller = node.parent.map(|parent| &tree.spans[parent])?;
    if caller.status != SpanStatus::Ok || caller.process == node.process {
        return None;
    }
    let (caller_end, end) = (caller.span.finished()?, node.span.finished()?);
    // By the logical clocks, the callee ended first: the hosts' clocks are wrong, not the caller.
    if end.clock != 0 && end.clock < caller_end.clock {
        return None;
    }
    let down = model.process(node.process).downtime_at(model.time(caller_end, caller.process)?)?;
    let finished = model.time(end, node.process)?;
    (down.kind == DownKind::Frozen && finished >= down.until).then_some(down)
}

/// Creates the fault of a span whose process was down.
fn frozen_at<'a>(tree: &Tree<'a>, at: usize, down: Downtime, model: &RunModel) -> Fault<'a> {
    let node = &tree.spans[at];
    let last = last_before(node.span, down.since, node.process, model);
    Fault::silent_at(at, last, Silence::of_downtime(down, Basis::ProcessSilent))
}

/// Maximum time between the first line of a process after a freeze and its reaction to what
/// happened meanwhile, in nanoseconds.
const WAKE_NS: i64 = 1_000_000_000;

/// Maximum time in which a process detects that a client left before, in nanoseconds.
const AT_ONCE_NS: i64 = 100_000_000;

/// Returns the freeze of a span's own process that made its callers leave or its timers expire: the
/// span was cancelled, timed out or lost its callee right after its process had been silent as a
/// whole, and nothing below it explains the wait.
fn frozen_itself(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<Downtime> {
    let node = &tree.spans[at];
    let is_reaction = match node.status {
        // A callee that is cancelled after a silence answers its caller.
        SpanStatus::Cancelled => at == tree.root,
        SpanStatus::Failed => node.span.failure().is_some_and(|failure| {
            is_timeout(&failure.kind, &failure.message, failure.status)
                || is_lost(&failure.kind, &failure.message, failure.status)
                || is_caller_gone(&failure.kind, &failure.message)
        }),
        SpanStatus::Ok | SpanStatus::Rejected | SpanStatus::Open => false,
    };
    if !is_reaction {
        return None;
    }
    let finished = model.time(node.span.finished()?, node.process)?;
    let down = model.process(node.process).downtimes.iter().find(|down| {
        down.kind == DownKind::Frozen
            && down.until <= finished
            && finished <= down.until.saturating_add(WAKE_NS)
            && (node.opened <= down.since.saturating_add(WAKE_NS) || down.until <= node.opened)
    })?;
    // Only a client that had left before is gone at once.
    if down.until <= node.opened {
        let is_at_once = finished.saturating_sub(node.opened) <= AT_ONCE_NS;
        return (node.status == SpanStatus::Cancelled && is_at_once).then_some(*down);
    }
    let below = |other: usize| tree.is_above(at, other) && tree.spans[other].is_tracked;
    let logged = |position: LogPosition, other: usize| {
        model.time(position, tree.spans[other].process).is_some_and(|time| {
            down.since.saturating_add(WAKE_NS / 2) < time
                && time < down.until.saturating_sub(WAKE_NS / 2)
        })
    };
    // Callees that went on while the process was silent show that they did not keep it waiting.
    let went_on = (0..tree.spans.len()).filter(|other| below(*other)).any(|other| {
        let span = tree.spans[other].span;
        let is_other_process = tree.spans[other].process != node.process;
        is_other_process
            && [Some(span.first), span.last_nonterminal, span.finished()]
                .into_iter()
                .flatten()
                .any(|position| logged(position, other))
    });
    let waits = (0..tree.spans.len()).any(|other| {
        below(other)
            && tree.spans[other].opened < down.until
            && silence::is_open_at(tree, other, down.until, model)
    });
    (went_on || !waits).then_some(*down)
}

/// Maximum time in which a process that goes on after a freeze logs the start of the calls that it
/// had received, in nanoseconds.
const BACKLOG_NS: i64 = 5_000_000_000;

/// Returns the downtime of a span's process in which its caller called another process of the same
/// component instead, which succeeded. A frozen process logs the start of the call only when it goes
/// on.
fn replaced_while_down(tree: &Tree<'_>, at: usize, model: &RunModel) -> Option<Downtime> {
    let node = &tree.spans[at];
    let siblings = node.parent.map(|parent| &tree.spans[parent].children)?;
    siblings.iter().find_map(|other| {
        let retry = &tree.spans[*other];
        let is_retry = *other != at
            && retry.status == SpanStatus::Ok
            && retry.process != node.process
            && retry.component(model) == node.component(model);
        let was_open = retry.opened > node.opened
            && (!node.is_tracked || silence::is_open_at(tree, at, retry.opened, model));
        model.process(node.process).downtimes.iter().copied().find(|down| {
            let starts_late = down.until <= node.opened
                && node.opened <= down.until.saturating_add(BACKLOG_NS)
                && node.status != SpanStatus::Ok
                && down.since <= retry.opened;
            is_retry
                && (was_open && down.covers(retry.opened) || starts_late)
                && down.kind != DownKind::Stopped
                && down.is_certain
        })
    })
}

/// Finds the silent spans.
///
/// A callee that answers the cancellation promptly was alive, however long it had worked. A stream
/// in progress logs nothing, so a client that disconnects mid-stream implicates no callee, except a
/// process that was silent as a whole.
fn silences(
    tree: &Tree<'_>,
    caller_exit: Option<CallerExit>,
    until: i64,
    model: &RunModel,
) -> Vec<Option<Silence>> {
    let mut silences = silence::of_tree(tree, until, model);
    let root = tree.root().span;
    if !matches!(caller_exit, Some(CallerExit::Position(_))) {
        return silences;
    }
    let is_stream = root.streaming && root.answered;
    for (at, silence) in silences.iter_mut().enumerate() {
        let node = &tree.spans[at];
        let answer = node.span.finished().and_then(|end| model.time(end, node.process));
        // A callee that began only after its caller had left was called before.
        let called = if node.opened > until { tree.root().opened } else { node.opened };
        let waited = until.saturating_sub(called);
        let answers = answer.is_some_and(|answer| answer <= until.saturating_add(PROMPT_NS));
        let is_prompt = answers && node.opened <= until || waited < PROMPT_NS;
        // Where lines are missing, that of the end of a call may be, too.
        let counts_alone = !is_stream && !model.loses_lines;
        *silence = silence.filter(|silence| !is_prompt && (silence.whole_process || counts_alone));
    }
    silences
}

/// Maximum time in which a process that is alive acknowledges a cancellation, in nanoseconds.
const PROMPT_NS: i64 = 1_000_000_000;

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

/// Returns whether a failure in a flow that its caller left reports only that: by its message, or,
/// if no clock orders it, because its own caller was cancelled too and never saw it fail.
fn only_reported(tree: &Tree<'_>, at: usize, failure: &Failure) -> bool {
    let caller_cancelled = tree.spans[at]
        .parent
        .is_some_and(|parent| tree.spans[parent].status == SpanStatus::Cancelled);
    is_caller_gone(&failure.kind, &failure.message)
        || (failure.position.clock == 0 && caller_cancelled)
}

/// Returns whether a direct or indirect caller of an open span timed out or lost it.
pub(super) fn lost_by_caller(
    tree: &Tree<'_>,
    at: usize,
    caller_exit: Option<CallerExit>,
    model: &RunModel,
) -> bool {
    lost_since(tree, at, caller_exit, model).is_some()
}

/// Returns when the nearest failed caller of an open span timed out or lost it.
fn lost_since(
    tree: &Tree<'_>,
    at: usize,
    caller_exit: Option<CallerExit>,
    model: &RunModel,
) -> Option<i64> {
    for up in tree.ancestors(at) {
        let node = &tree.spans[up];
        match node.status {
            SpanStatus::Failed => {
                let failure = node.span.failure()?;
                // A callee that is only named may never have got the call. `Internal` is any error.
                let is_own = |kind: &str| is_own(kind) && !kind.eq_ignore_ascii_case("internal");
                let lost = is_lost(&failure.kind, &failure.message, failure.status)
                    || is_relay(&failure.message)
                    || (tree.spans[at].is_tracked || !is_own(&failure.kind))
                        && is_gone_by(tree, at, failure.position, up, model);
                let counts = lost && !follows(tree, up, failure.position, caller_exit, model);
                return model.time(failure.position, node.process).filter(|_| counts);
            }
            SpanStatus::Open => {}
            SpanStatus::Ok | SpanStatus::Rejected | SpanStatus::Cancelled => return None,
        }
    }
    None
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
        .any(|failure| is_timeout(&failure.kind, "", None));
    let kind = if ended && !timed_out { FailureKind::Crash } else { FailureKind::Hang };
    let since = model.time(node.span.last, node.process).unwrap_or(node.opened);
    Silence { kind, basis: Basis::LostByCaller, whole_process: ended, since }
}
