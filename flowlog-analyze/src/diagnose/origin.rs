//! What became of a flow, and what failed first in it.

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::confidence::Basis;
use super::loss;
use super::processes::World;
use super::silence::{self, Silence};
use super::tree::Tree;
use crate::flow::{Activity, Fate, Mark, Span};
use crate::format::{is_caller_gone, is_lost};
use crate::sign::is_relay;

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its root ended and no span failed.
    Ok,
    /// Its root ended well though a span failed or fell silent.
    Recovered,
    /// The caller went away before anything failed.
    Cancelled {
        /// The run or the root's process was stopped.
        by_signal: bool,
    },
    /// The caller's fault.
    Rejected,
    /// Its root failed, or it hangs or crashed.
    Failed,
    /// None of these.
    Unfinished,
}

/// Something that went wrong in a span.
#[derive(Debug, Clone, Copy)]
struct Fault<'a> {
    at: usize,
    mark: Mark,
    how: How<'a>,
}

#[derive(Debug, Clone, Copy)]
enum How<'a> {
    Said(&'a crate::flow::Failure),
    Silent(Silence),
}

/// Judges one flow.
pub(super) fn judge(tree: &Tree<'_>, world: &World) -> (Outcome, Option<FirstFailure>) {
    if tree.spans.is_empty() {
        return (Outcome::Unfinished, None);
    }
    let root = tree.root();
    let stop = world.stop_after(root.process, root.opened);
    // The moment that the caller went away, if it did.
    let finished = root.span.finished().and_then(|mark| world.time(mark, root.process));
    let stopped = stop.filter(|stop| {
        root.fate == Fate::Open
            || (root.fate == Fate::Failed && finished.is_some_and(|end| end > *stop))
    });
    let leave = match (root.fate, stopped) {
        (_, Some(stop)) => Some(Leave::Stop(stop)),
        (Fate::Cancelled, None) => Some(Leave::Mark(
            root.span.cancelled.or_else(|| root.span.finished()).unwrap_or(root.span.last),
        )),
        _ => None,
    };
    let moment = match leave {
        Some(Leave::Stop(stop)) => stop,
        Some(Leave::Mark(mark)) => world.time(mark, root.process).unwrap_or(world.end),
        None => world.end,
    };
    let mut silences = silence::of_tree(tree, moment, world);
    // Of a stream that goes on no line tells: who leaves one in the middle proves nothing of those that it came from, but where a whole
    // process was silent.
    if matches!(leave, Some(Leave::Mark(_))) && root.span.streaming && root.span.answered {
        silences
            .iter_mut()
            .for_each(|silence| *silence = silence.filter(|silence| silence.whole_process));
    }
    let mut faults = faults(tree, &silences, leave, moment, world);
    if faults.len() > MAX_FAULTS {
        // The deepest stand last, of them the earliest: they are nearest to an origin.
        faults.sort_by_key(|fault| (tree.depth(fault.at), std::cmp::Reverse(fault.mark)));
        faults.drain(..faults.len() - MAX_FAULTS);
    }
    // A silent call that came back only lost its last line.
    let came_back = |fault: &Fault<'_>| {
        matches!(fault.how, How::Silent(silence) if !silence.whole_process)
            && loss::is_answered(tree, fault.at)
    };
    let retried = |fault: &Fault<'_>| {
        matches!(fault.how, How::Said(_)) || (has_retry(tree, fault.at, world) && !came_back(fault))
    };
    // Who only tells that its caller left, where no caller says anything else, was left.
    let only_left = |fault: &Fault<'_>| matches!(fault.how, How::Said(failure) if is_caller_gone(&failure.kind, &failure.message));
    let fate = tree.fate(world);
    let left = (tree.is_headless() || fate == Fate::Open)
        && !faults.is_empty()
        && faults.iter().all(only_left);
    if left {
        return (Outcome::Cancelled { by_signal: false }, None);
    }
    let failed = |outcome: Outcome, faults: &[Fault<'_>]| match first(tree, faults, world) {
        Some(fault) => (outcome, Some(describe(tree, fault, faults, world))),
        None => (outcome, None),
    };
    match fate {
        Fate::Ok => {
            let carried: Vec<Fault<'_>> =
                faults.into_iter().filter(|fault| retried(fault)).collect();
            // Where nobody says what went wrong, the caller still says that it had to begin anew.
            let anew = root.span.recreated.filter(|_| carried.is_empty()).map(|mark| Fault {
                at: tree.root,
                mark,
                how: recreated(root.span),
            });
            let carried: Vec<Fault<'_>> = carried.into_iter().chain(anew).collect();
            if carried.is_empty() {
                (Outcome::Ok, None)
            } else {
                failed(Outcome::Recovered, &carried)
            }
        }
        Fate::Rejected => {
            if faults.is_empty() {
                (Outcome::Rejected, None)
            } else {
                failed(Outcome::Failed, &faults)
            }
        }
        Fate::Cancelled => {
            if faults.is_empty() {
                (Outcome::Cancelled { by_signal: false }, None)
            } else {
                failed(Outcome::Failed, &faults)
            }
        }
        Fate::Failed => {
            if faults.is_empty() {
                (Outcome::Cancelled { by_signal: true }, None)
            } else {
                failed(Outcome::Failed, &faults)
            }
        }
        Fate::Open => {
            if loss::is_alone(tree, world) && world.lossy.contains(root.component(world)) {
                return (Outcome::Unfinished, None);
            }
            if silences[tree.root].is_some() {
                return failed(Outcome::Failed, &faults);
            }
            if stopped.is_some() {
                return (Outcome::Cancelled { by_signal: true }, None);
            }
            if root.span.ends_recreated() {
                return failed(
                    Outcome::Recovered,
                    &[Fault { at: tree.root, mark: root.span.last, how: recreated(root.span) }],
                );
            }
            (Outcome::Unfinished, None)
        }
    }
}

/// When the caller went away.
#[derive(Debug, Clone, Copy)]
enum Leave {
    /// A line of the root says so.
    Mark(Mark),
    /// Its process was stopped at this moment.
    Stop(i64),
}

/// What a fragment knows whose last word is that its stream is made anew.
fn recreated(span: &Span) -> How<'_> {
    span.distress.as_deref().or(span.failed.as_deref()).map_or(
        How::Silent(Silence {
            kind: FailureKind::Error,
            basis: Basis::LostByCaller,
            whole_process: false,
            since: span.last.time,
        }),
        How::Said,
    )
}

/// Everything that went wrong in a flow before its caller left.
fn faults<'a>(
    tree: &Tree<'a>,
    silences: &[Option<Silence>],
    leave: Option<Leave>,
    moment: i64,
    world: &World,
) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    for (at, node) in tree.spans.iter().enumerate() {
        // Whoever gave it up did so before the caller of all left.
        let given_up = silence::when_given_up(tree, at, world)
            .filter(|given_up| !follows(tree, given_up.by.at, given_up.by.mark, leave, world));
        if let Some(given_up) = given_up {
            faults.push(Fault { at, mark: given_up.last, how: How::Silent(given_up.silence) });
        } else if node.fate == Fate::Failed
            && let Some(failure) = node.span.failure()
            && !follows(tree, at, failure.mark, leave, world)
            && !(leave.is_some() && only_told(tree, at, failure))
        {
            faults.push(Fault { at, mark: failure.mark, how: How::Said(failure) });
        } else if let Some(silence) = silences[at] {
            faults.push(Fault {
                at,
                mark: last_before(node.span, moment, node.process, world),
                how: How::Silent(silence),
            });
        } else if node.fate == Fate::Open
            && lost_by_caller(tree, at, leave, world)
            && tree.spans[at].children.iter().all(|child| tree.spans[*child].fate != Fate::Open)
        {
            let silence = lost(tree, at, world);
            faults.push(Fault { at, mark: node.span.last, how: How::Silent(silence) });
        }
    }
    // Of several that were waited for at once, one that answered after all is not why, where another never did.
    let never = |fault: &Fault<'_>| {
        matches!(fault.how, How::Silent(_)) && tree.spans[fault.at].fate == Fate::Open
    };
    if faults.iter().any(never) {
        faults.retain(|fault| {
            matches!(fault.how, How::Said(_)) || tree.spans[fault.at].fate != Fate::Ok
        });
    }
    faults
}

/// The last line of a span before a moment, as far as it is kept.
fn last_before(span: &Span, moment: i64, process: usize, world: &World) -> Mark {
    if world.time(span.last, process).is_none_or(|last| last <= moment) {
        span.last
    } else {
        span.first
    }
}

/// Whether a failure only follows from the caller's leaving.
fn follows(tree: &Tree<'_>, at: usize, mark: Mark, leave: Option<Leave>, world: &World) -> bool {
    match leave {
        None => false,
        Some(Leave::Mark(left)) => tree.order(mark, at, left, tree.root, world).is_gt(),
        Some(Leave::Stop(stop)) => {
            world.time(mark, tree.spans[at].process).is_none_or(|time| time > stop)
        }
    }
}

/// Whether a failure in a flow that its caller left tells of nothing but that: in its words, or, where no clock orders
/// it, because its own caller was cancelled too and never saw it fail.
fn only_told(tree: &Tree<'_>, at: usize, failure: &crate::flow::Failure) -> bool {
    let caller_cancelled =
        tree.spans[at].parent.is_some_and(|parent| tree.spans[parent].fate == Fate::Cancelled);
    is_caller_gone(&failure.kind, &failure.message) || (failure.mark.clock == 0 && caller_cancelled)
}

/// Whether a caller of an open span, near or far, timed out or lost it.
fn lost_by_caller(tree: &Tree<'_>, at: usize, leave: Option<Leave>, world: &World) -> bool {
    for up in tree.ancestors(at) {
        let node = &tree.spans[up];
        match node.fate {
            Fate::Failed => {
                return node.span.failure().is_some_and(|failure| {
                    let lost = is_lost(&failure.kind, &failure.message, failure.status)
                        || is_gone_by(tree, at, failure.mark, up, world);
                    lost && !follows(tree, up, failure.mark, leave, world)
                });
            }
            Fate::Open => {}
            Fate::Ok | Fate::Rejected | Fate::Cancelled => return false,
        }
    }
    false
}

/// Whether a span's process had said its last word when a caller failed, while others went on for a while.
fn is_gone_by(tree: &Tree<'_>, at: usize, failed: Mark, caller: usize, world: &World) -> bool {
    let process = world.process(tree.spans[at].process);
    let last = process.facts.activity.last().map(|last| last.saturating_sub(process.skew));
    let failed = world.time(failed, tree.spans[caller].process);
    last.zip(failed).is_some_and(|(last, failed)| {
        last < failed && last.saturating_add(Activity::GAP) < world.end
    }) && process.facts.shutdowns.is_empty()
}

/// How a span that its callers lost fell silent: with its process, or alone.
fn lost(tree: &Tree<'_>, at: usize, world: &World) -> Silence {
    let node = &tree.spans[at];
    if let Some(silence) = silence::of_span(tree, at, world.end, world) {
        return Silence { basis: silence.basis.min(Basis::LostByCaller), ..silence };
    }
    let process = world.process(node.process);
    let ended = process.facts.activity.last().is_some_and(|last| {
        node.span.last.time().is_some_and(|time| last <= time.saturating_add(1_000_000_000))
    });
    let timed_out = tree
        .ancestors(at)
        .filter_map(|up| tree.spans[up].span.failure())
        .any(|failure| failure.kind.to_ascii_lowercase().contains("timeout"));
    let kind = if ended && !timed_out { FailureKind::Crash } else { FailureKind::Hang };
    let since = world.time(node.span.last, node.process).unwrap_or(node.opened);
    Silence { kind, basis: Basis::LostByCaller, whole_process: ended, since }
}

/// Whether a later attempt of the same component ended well.
fn has_retry(tree: &Tree<'_>, at: usize, world: &World) -> bool {
    let node = &tree.spans[at];
    tree.spans.iter().enumerate().any(|(other, retry)| {
        other != at
            && retry.span.component == node.span.component
            && retry.fate == Fate::Ok
            && !tree.is_above(other, at)
            && !tree.is_above(at, other)
            && tree.order(node.span.first, at, retry.span.first, other, world).is_lt()
    })
}

/// Most faults of one flow that are compared with each other; a flow of more is no request of anybody's.
const MAX_FAULTS: usize = 512;

/// The causally first of the faults that no other fault explains.
fn first<'f, 'a>(tree: &Tree<'_>, faults: &'f [Fault<'a>], world: &World) -> Option<&'f Fault<'a>> {
    let origins: Vec<&Fault<'_>> = faults
        .iter()
        .filter(|fault| !faults.iter().any(|other| explains(tree, other, fault, world)))
        .collect();
    // Should every fault explain another, the deepest stands.
    let origins = if origins.is_empty() { faults.iter().collect() } else { origins };
    let relays =
        |fault: &Fault<'_>| matches!(fault.how, How::Said(failure) if is_relay(&failure.message));
    origins.into_iter().min_by(|a, b| {
        relays(a)
            .cmp(&relays(b))
            .then_with(|| tree.order_of_failures(a.mark, a.at, b.mark, b.at, world))
            .then(a.at.cmp(&b.at))
    })
}

/// Whether `cause` is why `fault` happened: a caller fails because its callee did, and a callee fails because the
/// caller that failed first is gone.
fn explains(tree: &Tree<'_>, cause: &Fault<'_>, fault: &Fault<'_>, world: &World) -> bool {
    if tree.is_above(fault.at, cause.at) {
        return !is_first(tree, fault, cause, world);
    }
    tree.is_above(cause.at, fault.at) && is_first(tree, cause, fault, world)
}

/// Whether a caller failed on its own, before its callee did.
fn is_first(tree: &Tree<'_>, caller: &Fault<'_>, callee: &Fault<'_>, world: &World) -> bool {
    match (caller.how, callee.how) {
        // Fell silent with it; or timed out, or lost it, by whatever name.
        (_, How::Silent(_)) => false,
        // The callee's failure came first, or its caller would have spoken.
        (How::Silent(_), How::Said(failure)) => {
            is_caller_gone(&failure.kind, &failure.message)
                && tree.order(caller.mark, caller.at, callee.mark, callee.at, world).is_lt()
        }
        (How::Said(caller_says), How::Said(callee_says)) => {
            if is_caller_gone(&callee_says.kind, &callee_says.message)
                && !is_caller_gone(&caller_says.kind, &caller_says.message)
            {
                return true;
            }
            // Without two clocks the structure decides: the deepest failed.
            if caller.mark.clock == 0
                || callee.mark.clock == 0
                || caller.mark.clock > callee.mark.clock
            {
                return false;
            }
            // The caller's failure came first by the clock. One that lost the callee, or passes its words on, still
            // is a victim.
            let passes_on =
                caller_says.kind == callee_says.kind && caller_says.message == callee_says.message;
            !(passes_on
                || is_relay(&caller_says.message)
                || is_lost(&caller_says.kind, &caller_says.message, caller_says.status))
        }
    }
}

/// Processes that had ended well what the failed span called them for when it failed.
fn answered(tree: &Tree<'_>, fault: &Fault<'_>, world: &World) -> Vec<usize> {
    let in_time = |at: usize| {
        tree.spans[at]
            .span
            .finished()
            .is_some_and(|end| tree.order(end, at, fault.mark, fault.at, world).is_lt())
    };
    let below = (0..tree.spans.len())
        .filter(|at| tree.spans[*at].fate == Fate::Ok && tree.is_above(fault.at, *at));
    below.filter(|at| in_time(*at)).map(|at| tree.spans[at].process).collect()
}

fn describe(
    tree: &Tree<'_>,
    fault: &Fault<'_>,
    faults: &[Fault<'_>],
    world: &World,
) -> FirstFailure {
    let mut at = fault.at;
    // A dead process is named by what it does as a whole: its outermost span on the way up.
    if matches!(fault.how, How::Silent(silence) if silence.whole_process) {
        for up in tree.ancestors(fault.at) {
            let inherited =
                tree.spans[up].span.instance.is_empty() && tree.spans[at].span.instance.is_empty();
            if !inherited || tree.spans[up].process != tree.spans[at].process {
                break;
            }
            at = up;
        }
    }
    let node = &tree.spans[at];
    let process = world.process(node.process);
    let mut component = node.component(world).clone();
    let instance = node.instance(world).clone();
    let (kind, basis, whole_process, error_type, message) = match fault.how {
        How::Said(failure) => {
            if let Some(engine) = &failure.engine {
                component = engine.clone();
            }
            let killed =
                matches!(failure.kind.as_str(), "process_killed" | "ProcessKilled" | "Killed");
            let kind = if killed { FailureKind::Crash } else { FailureKind::Error };
            let basis = if fault.mark.clock > 0 { Basis::SaidInOrder } else { Basis::Said };
            (
                kind,
                if killed { Basis::Recorded } else { basis },
                killed,
                failure.kind.clone(),
                failure.message.clone(),
            )
        }
        How::Silent(silence) => {
            let message = match silence.kind {
                FailureKind::Hang if silence.whole_process => {
                    "the process fell silent while others spoke"
                }
                FailureKind::Hang => "silent for longer than any complete span of its kind",
                FailureKind::Crash => "the process ended without shutting down, with this open",
                FailureKind::Error | FailureKind::Run => "the stream broke and was made anew",
            };
            (
                silence.kind,
                silence.basis,
                silence.whole_process,
                CompactString::default(),
                message.into(),
            )
        }
    };
    let mut victims: Vec<CompactString> = faults
        .iter()
        .map(|other| {
            let node = &tree.spans[other.at];
            node.component(world).clone()
        })
        .filter(|victim| *victim != component)
        .collect();
    victims.sort();
    victims.dedup();
    let mut evidence = vec![fault.mark.place];
    // Where a dead process's log ends.
    evidence.extend(
        process
            .facts
            .last
            .filter(|_| whole_process && kind == FailureKind::Crash)
            .map(|mark| mark.place),
    );
    let mut rest: Vec<Mark> =
        faults.iter().filter(|other| other.at != fault.at).map(|other| other.mark).collect();
    rest.sort();
    evidence.extend(rest.into_iter().map(|mark| mark.place));
    let mut seen = Vec::new();
    evidence.retain(|place| {
        !seen.contains(place) && {
            seen.push(*place);
            true
        }
    });
    evidence.truncate(4);
    FirstFailure {
        kind,
        component,
        instance: (!instance.is_empty()).then_some(instance),
        process: node.process,
        state: match fault.how {
            How::Said(_) => node.span.state().into(),
            // Not what it came to later.
            How::Silent(_) => node.span.state_since(fault.mark).into(),
        },
        error_type,
        message,
        told: match fault.how {
            How::Said(failure) => node
                .span
                .distress
                .as_ref()
                .filter(|told| told.mark < failure.mark)
                .map(|told| told.message.clone())
                .unwrap_or_default(),
            How::Silent(_) => Box::default(),
        },
        time: match fault.how {
            How::Said(_) => world.time(fault.mark, tree.spans[fault.at].process),
            How::Silent(silence) => Some(silence.since),
        },
        blur: i64::from(fault.mark.blur),
        status: if let How::Said(failure) = fault.how { failure.status } else { None },
        callee: tree.spans[fault.at].span.callee().into(),
        answered: answered(tree, fault, world),
        whole_process,
        basis,
        victims,
        evidence,
    }
}
