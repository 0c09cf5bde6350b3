//! What hangs and what crashed.

use flowlog_schema::report::FailureKind;

use super::confidence::Basis;
use super::processes::World;
use super::tree::Tree;
use crate::flow::{Fate, Mark};
use crate::format::{is_caller_gone, is_timeout};

/// A span that fell silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// Hang or crash.
    pub kind: FailureKind,
    /// How it is known.
    pub basis: Basis,
    /// The whole process is dead or silent.
    pub whole_process: bool,
    /// The last word before it, by the common clock: the span's, or the process's.
    pub since: i64,
}

/// Whether a span was still open at a moment: it never finished, or did so later.
pub(super) fn is_open_at(tree: &Tree<'_>, at: usize, moment: i64, world: &World) -> bool {
    let node = &tree.spans[at];
    if node.fate == Fate::Open {
        return true;
    }
    node.span
        .finished()
        .and_then(|mark| world.time(mark, node.process))
        .is_some_and(|finished| finished > moment)
}

/// Every span's silence at a moment, by index.
///
/// An open span hangs when it was silent for longer than the longest complete span of its component and state (three
/// at least), or when its process was silent for that long while others spoke. It crashed when a kill of its
/// process is on record, or when its process ended without shutting down while others went on. A span that waits for
/// an open call which is not silent itself only waits; one whose call fell silent fell silent with it.
pub(super) fn of_tree(tree: &Tree<'_>, moment: i64, world: &World) -> Vec<Option<Silence>> {
    let mut silences: Vec<Option<Silence>> = vec![None; tree.spans.len()];
    // Callees before callers: a span is judged after everything below it.
    let mut order: Vec<usize> = Vec::with_capacity(tree.spans.len());
    let mut stack: Vec<usize> =
        (0..tree.spans.len()).filter(|at| tree.spans[*at].parent.is_none()).collect();
    while let Some(at) = stack.pop() {
        order.push(at);
        stack.extend(&tree.spans[at].children);
    }
    for at in order.iter().copied().rev() {
        if !is_open_at(tree, at, moment, world) {
            continue;
        }
        let open_calls: Vec<usize> = tree.spans[at]
            .children
            .iter()
            .copied()
            .filter(|child| is_open_at(tree, *child, moment, world))
            .collect();
        silences[at] = if open_calls.is_empty() {
            of_span(tree, at, moment, world)
        } else if open_calls.iter().any(|child| silences[*child].is_none()) {
            None
        } else {
            open_calls.iter().find_map(|child| silences[*child])
        };
    }
    // A call in a state that no complete span knows has no peers to judge it. Its callers have: where one of them was
    // silent for too long, everything open below it that cannot be judged fell silent.
    for at in order {
        if silences[at].is_some()
            || !is_open_at(tree, at, moment, world)
            || !outlasts(tree, at, moment, world)
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
                    .filter(|child| is_open_at(tree, *child, moment, world)),
            );
        }
        if open.iter().all(|span| {
            *span == at
                || silences[*span].is_some()
                || longest_peer(tree, *span, world).is_none()
                || outlasts(tree, *span, moment, world)
        }) {
            for span in open {
                let since = world
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

/// The longest complete span of a span's component and state.
fn longest_peer(tree: &Tree<'_>, at: usize, world: &World) -> Option<i64> {
    let node = &tree.spans[at];
    world.longest_peer(node.component(world), node.span.state())
}

/// Whether a span has been silent for longer than its peers took.
fn outlasts(tree: &Tree<'_>, at: usize, moment: i64, world: &World) -> bool {
    let node = &tree.spans[at];
    let last = world
        .time(node.span.last, node.process)
        .filter(|last| *last <= moment)
        .unwrap_or(node.opened);
    longest_peer(tree, at, world).is_some_and(|longest| moment.saturating_sub(last) > longest)
}

/// How long a process has to be silent at least, to be over.
const OVER: i64 = 2_000_000_000;

/// A span's own silence, whatever it calls.
pub(super) fn of_span(tree: &Tree<'_>, at: usize, moment: i64, world: &World) -> Option<Silence> {
    let node = &tree.spans[at];
    let process = world.process(node.process);
    let last = world
        .time(node.span.last, node.process)
        .filter(|last| *last <= moment)
        .unwrap_or(node.opened);
    let spoke = process
        .facts
        .activity
        .last_before(moment.saturating_add(process.skew))
        .map_or(last, |time| time.saturating_sub(process.skew).max(last));
    let silent = moment.saturating_sub(last);
    let process_silent = moment.saturating_sub(spoke);
    let speaks_again =
        process.facts.activity.first_after(spoke.saturating_add(process.skew)).is_some();
    let own = |time: i64| time.saturating_add(process.skew);

    if process.facts.kills.first_after(own(last).saturating_sub(1)).is_some() {
        return Some(Silence {
            kind: FailureKind::Crash,
            basis: Basis::Recorded,
            whole_process: true,
            since: last,
        });
    }
    if process.facts.starts.first_after(own(last)).is_some_and(|start| start <= own(moment)) {
        return Some(Silence {
            kind: FailureKind::Crash,
            basis: Basis::Recorded,
            whole_process: true,
            since: last,
        });
    }
    let shut_down = process
        .facts
        .shutdowns
        .first_after(own(node.opened).saturating_sub(1))
        .is_some_and(|stop| stop <= own(moment));
    let component = node.component(world);
    let longest = longest_peer(tree, at, world);
    // Without peers, the process must have been silent for longer than anything took, and than it ever was before.
    let patience = longest.unwrap_or_else(|| {
        world
            .longest_of_any(component)
            .unwrap_or(i64::MAX)
            .max(2 * process.facts.activity.longest_gap())
    });
    let kind = if speaks_again || shut_down { FailureKind::Hang } else { FailureKind::Crash };
    if process_silent > patience && !shut_down && world.end > spoke {
        return Some(Silence {
            kind,
            basis: Basis::ProcessSilent,
            whole_process: true,
            since: spoke,
        });
    }
    if longest.is_some_and(|longest| silent > longest) {
        // It may never have been heard again: then it did not hang.
        let is_over = !speaks_again
            && !shut_down
            && process_silent > process.facts.activity.longest_gap().saturating_mul(2).max(OVER);
        if is_over && world.end > spoke {
            return Some(Silence {
                kind: FailureKind::Crash,
                basis: Basis::ProcessSilent,
                whole_process: true,
                since: spoke,
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

/// A span that was given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenUp {
    /// Its last word before.
    pub last: Mark,
    /// How it was silent.
    pub silence: Silence,
    /// The first word of giving it up, and whose.
    pub by: Said,
}

/// Whether a span was given up: it was open, with nothing open below it, when a caller in another process had waited long enough; what
/// became of it later - cancelled, or ended when nobody waited any more - follows from that.
///
/// It was silent for longer than its peers take; where there are none, for half the time that the caller waited.
pub(super) fn when_given_up(tree: &Tree<'_>, at: usize, world: &World) -> Option<GivenUp> {
    let node = &tree.spans[at];
    let only_left =
        node.span.failure().is_some_and(|failure| is_caller_gone(&failure.kind, &failure.message));
    if !(matches!(node.fate, Fate::Ok | Fate::Cancelled) || node.fate == Fate::Failed && only_left)
    {
        return None;
    }
    let (caller, by) = who_gave_up(tree, at, world)?;
    let caller = &tree.spans[caller];
    let gave_up = world.time(by.mark, tree.spans[by.at].process)?;
    let waited = gave_up.saturating_sub(caller.opened);
    // A little before: two hosts' clocks are known no better, and what is tidied up at once follows from the giving up.
    let moment = gave_up.saturating_sub(CLOSE.min(waited / 10));
    // Nobody sends a clock with giving up: by their clocks what both did since the call is in no order.
    let before = |mark: Mark, at: usize| {
        world.time(mark, tree.spans[at].process).filter(|time| *time < moment)
    };
    let was_open = |at: usize| {
        let node = &tree.spans[at];
        // Whoever is cancelled below it, is for that.
        let is_done = node.fate != Fate::Cancelled
            && node.span.finished().is_some_and(|end| before(end, at).is_some());
        before(node.span.first, at).is_some() && !is_done
    };
    if node.process == caller.process
        || !was_open(at)
        || node.children.iter().any(|child| was_open(*child))
    {
        return None;
    }
    let words = std::iter::once(node.span.first)
        .chain(node.span.states.iter().map(|(mark, _)| *mark))
        .chain(node.span.spoke);
    let last = words.filter(|mark| before(*mark, at).is_some()).max()?;
    // An answer is a sign of life, too.
    let answers = node
        .children
        .iter()
        .filter_map(|child| before(tree.spans[*child].span.finished()?, *child));
    let since = answers.chain(before(last, at)).max()?;
    let silent = moment.saturating_sub(since);
    let is_silent = longest_peer(tree, at, world)
        .map_or(silent.saturating_mul(2) >= waited, |longest| silent > longest);
    let silence = Silence {
        kind: FailureKind::Hang,
        basis: Basis::LostByCaller,
        whole_process: false,
        since,
    };
    is_silent.then_some(GivenUp { last, silence, by })
}

/// What a span said, and which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub mark: Mark,
    pub at: usize,
}

/// How far apart what happens on two hosts has to be for its order to be told by their clocks.
const CLOSE: i64 = 50_000_000;

/// How long before a caller's failure its own calls are cancelled for it: it drops them, then says so.
const AT_ONCE: i64 = 1_000_000_000;

/// The nearest caller that failed with a timeout, where all between were cancelled with it, and the first word of its giving up: its failure, or
/// that of one between.
fn who_gave_up(tree: &Tree<'_>, at: usize, world: &World) -> Option<(usize, Said)> {
    let mut between: Vec<Said> = Vec::new();
    for up in tree.ancestors(at) {
        let node = &tree.spans[up];
        match node.fate {
            Fate::Cancelled => {
                between.extend(node.span.finished().map(|mark| Said { mark, at: up }))
            }
            Fate::Failed => {
                let failure = node.span.failure().filter(|failure| {
                    is_timeout(&failure.kind, &failure.message, failure.status)
                })?;
                let failed = world.time(failure.mark, node.process)?;
                let said = |said: &Said| {
                    world.time(said.mark, tree.spans[said.at].process).unwrap_or(failed)
                };
                // One that was cancelled long before was cancelled for another reason.
                if between.iter().any(|cancelled| said(cancelled) < failed.saturating_sub(AT_ONCE))
                {
                    return None;
                }
                let by = between
                    .into_iter()
                    .chain([Said { mark: failure.mark, at: up }])
                    .min_by_key(|one| (said(one), one.mark, one.at))?;
                return Some((up, by));
            }
            Fate::Open => {}
            Fate::Ok | Fate::Rejected => return None,
        }
    }
    None
}
