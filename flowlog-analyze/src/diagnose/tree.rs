//! Structure of a flow: its calls, and its root.

use std::cmp::Ordering;
use std::collections::HashMap;

use compact_str::CompactString;

use super::topology::{ProcessIndex, RunModel};
use crate::flow::{Flow, LogPosition, Span, SpanStatus};

/// Spans of a flow as a tree.
#[derive(Debug)]
pub struct Tree<'a> {
    /// All spans, in the order of their IDs.
    pub spans: Vec<Node<'a>>,
    /// Index of the root: the span without a parent, or else one with a parent that never appears;
    /// of several, the causally first.
    pub root: usize,
    /// When a walk through the tree enters and leaves each span.
    reach: Vec<(usize, usize)>,
    depth: Vec<usize>,
}

/// A span and its position in the tree.
#[derive(Debug)]
pub struct Node<'a> {
    /// The span.
    pub span: &'a Span,
    /// Status of the span, according to its own lines.
    pub status: SpanStatus,
    /// Index of the caller, if it appears.
    pub parent: Option<usize>,
    /// Indexes of the callees, in causal order.
    pub children: Vec<usize>,
    /// Process that the span runs in, if it is known.
    pub process: Option<ProcessIndex>,
    /// Start of the span, by the common clock.
    pub opened: i64,
    /// Whether lines show when the span ends: they name it, or it or others of its component ended. If
    /// not, it only stands for a process that took part in the flow.
    pub is_tracked: bool,
}

impl Node<'_> {
    /// Returns the component that the span names, or else that of its process.
    pub fn component<'n>(&'n self, model: &'n RunModel) -> &'n CompactString {
        if self.span.component.is_empty() {
            &model.process(self.process).component
        } else {
            &self.span.component
        }
    }

    /// Returns the instance that the span names, or else that of its process; empty if neither is
    /// known.
    pub fn instance<'n>(&'n self, model: &'n RunModel) -> &'n CompactString {
        if self.span.instance.is_empty() {
            &model.process(self.process).instance
        } else {
            &self.span.instance
        }
    }
}

impl<'a> Tree<'a> {
    /// Builds the tree of a flow.
    pub fn new(flow: &'a Flow, model: &RunModel) -> Self {
        let index: HashMap<u64, usize> =
            flow.spans.keys().enumerate().map(|(at, key)| (*key, at)).collect();
        let mut spans: Vec<Node<'a>> = flow
            .spans
            .values()
            .map(|span| {
                let process = model.of_span(span);
                let opened = model.time(span.first, process).unwrap_or(i64::MIN);
                let status = span.status();
                let is_tracked = span.has_id
                    && (status != SpanStatus::Open
                        || !span.is_inferred
                        || model.has_ends(&span.component));
                Node {
                    span,
                    status,
                    is_tracked,
                    parent: None,
                    children: Vec::new(),
                    process,
                    opened,
                }
            })
            .collect();
        for (at, node) in spans.iter_mut().enumerate() {
            node.parent = node
                .span
                .parent
                .and_then(|key| index.get(&key).copied())
                .filter(|parent| *parent != at);
        }
        break_cycles(&mut spans);
        place_participants(&mut spans, model);
        let mut tree = Self { spans, root: 0, reach: Vec::new(), depth: Vec::new() };
        let causally = |tree: &Self, a: usize, b: usize| {
            tree.order(tree.spans[a].span.first, a, tree.spans[b].span.first, b, model)
        };
        for at in 0..tree.spans.len() {
            if let Some(parent) = tree.spans[at].parent {
                tree.spans[parent].children.push(at);
            }
        }
        for at in 0..tree.spans.len() {
            let mut children = std::mem::take(&mut tree.spans[at].children);
            children.sort_by(|a, b| causally(&tree, *a, *b));
            tree.spans[at].children = children;
        }
        (tree.reach, tree.depth) = reach(&tree.spans);
        // A span that names no caller is a root; one that names a caller that never appears may
        // have lost it with the beginning of a log.
        let called = |at: usize| tree.spans[at].span.parent.is_some();
        let roots = (0..tree.spans.len())
            .filter(|at| tree.spans[*at].parent.is_none() && tree.spans[*at].span.has_id);
        let rank = |at: usize| (!tree.spans[at].is_tracked, called(at));
        tree.root = roots
            .min_by(|a, b| rank(*a).cmp(&rank(*b)).then_with(|| causally(&tree, *a, *b)))
            .unwrap_or(0);
        tree
    }

    /// Returns the root's node.
    pub fn root(&self) -> &Node<'a> {
        &self.spans[self.root]
    }

    /// Returns the status of the whole flow, according to its own lines: of the root, or, if its
    /// caller is missing, of the parentless span that finished last.
    pub fn status(&self, model: &RunModel) -> SpanStatus {
        self.spans[self.last_called(model)].status
    }

    /// Returns the index of the root; of several spans with missing callers, of the one that
    /// finished last.
    fn last_called(&self, model: &RunModel) -> usize {
        let called = (0..self.spans.len()).filter(|at| {
            self.is_headless() && self.spans[*at].parent.is_none() && self.spans[*at].is_tracked
        });
        let last = |at: usize| self.spans[at].span.finished().unwrap_or(self.spans[at].span.last);
        called.max_by(|a, b| self.order(last(*a), *a, last(*b), *b, model)).unwrap_or(self.root)
    }

    /// Returns whether the root's own caller is missing.
    pub fn is_headless(&self) -> bool {
        self.root().span.parent.is_some()
    }

    /// Returns the direct and indirect callers of a span, the nearest first.
    pub fn ancestors(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.spans[at].parent, |up| self.spans[*up].parent)
    }

    /// Returns the number of direct and indirect callers of a span.
    pub fn depth(&self, at: usize) -> usize {
        self.depth[at]
    }

    /// Returns whether `above` is a direct or indirect caller of `at`.
    pub fn is_above(&self, above: usize, at: usize) -> bool {
        let ((enter, caller_exit), (own, _)) = (self.reach[above], self.reach[at]);
        enter < own && own < caller_exit
    }

    /// Returns the causal order of lines of two spans: by clock if both have one, else by the
    /// common clock.
    pub fn order(
        &self,
        a: LogPosition,
        a_at: usize,
        b: LogPosition,
        b_at: usize,
        model: &RunModel,
    ) -> Ordering {
        if a.clock > 0 && b.clock > 0 && a.clock != b.clock {
            return a.clock.cmp(&b.clock);
        }
        let time = |position: LogPosition, at: usize| {
            model.time(position, self.spans[at].process).unwrap_or(i64::MIN)
        };
        (time(a, a_at), a.line).cmp(&(time(b, b_at), b.line))
    }

    /// Returns whether each response from a span to a direct or indirect caller carries a logical
    /// clock.
    pub fn is_ordered_by_clock(&self, caller: usize, at: usize, model: &RunModel) -> bool {
        let path = std::iter::once(at).chain(self.ancestors(at).take_while(|up| *up != caller));
        path.zip(self.ancestors(at)).all(|(callee, caller)| {
            // The caller of an inferred span is not known to have called it.
            if self.spans[callee].span.is_inferred {
                return false;
            }
            let component = |at: usize| self.spans[at].component(model).clone();
            !model.without_response_clock.contains(&(component(caller), component(callee)))
        })
    }

    /// Returns the causal order of two failures: by clock if one is the other's caller; without
    /// one, a callee fails before its caller, and of two attempts the one that began first; by the
    /// common clock last, because no message orders two spans that run at the same time.
    pub fn order_of_failures(
        &self,
        a: LogPosition,
        a_at: usize,
        b: LogPosition,
        b_at: usize,
        model: &RunModel,
    ) -> Ordering {
        let has_clocks = a.clock > 0 && b.clock > 0;
        if self.is_above(a_at, b_at) {
            return if has_clocks && self.is_ordered_by_clock(a_at, b_at, model) {
                a.clock.cmp(&b.clock)
            } else {
                Ordering::Greater
            };
        }
        if self.is_above(b_at, a_at) {
            return if has_clocks && self.is_ordered_by_clock(b_at, a_at, model) {
                a.clock.cmp(&b.clock)
            } else {
                Ordering::Less
            };
        }
        let (fork, a_head, b_head) = self.fork(a_at, b_at);
        // The common caller names its callees in the order of its calls.
        let calls = fork.and_then(|caller| {
            let called = |at: usize| {
                let callees = &self.spans[caller].span.callees;
                let named =
                    callees.iter().find(|(_, callee)| *callee == self.spans[at].span.instance);
                named.map(|(position, _)| *position)
            };
            Some((called(a_head)?, called(b_head)?)).filter(|(a, b)| a != b)
        });
        if let Some((a_call, b_call)) = calls {
            // A call that came after the other one was over is another attempt.
            let first = if a_call < b_call { a_head } else { b_head };
            let span = self.spans[first].span;
            let end = span.finished().unwrap_or(span.last);
            let length = end.time().zip(span.first.time()).map(|(end, first)| end - first);
            let between = a_call.time().zip(b_call.time()).map(|(a, b)| a.abs_diff(b));
            if between.zip(length).is_some_and(|(between, length)| {
                i64::try_from(between).is_ok_and(|between| between >= length)
            }) {
                return a_call.cmp(&b_call);
            }
        }
        let common =
            |position: LogPosition, at: usize| model.time(position, self.spans[at].process);
        if self.spans[a_at].process != self.spans[b_at].process
            && let (Some(a_time), Some(b_time)) = (common(a, a_at), common(b, b_at))
            && a_time.abs_diff(b_time) > CONCURRENT_NS
        {
            return a_time.cmp(&b_time);
        }
        if has_clocks && a.clock != b.clock {
            return a.clock.cmp(&b.clock);
        }
        if let Some((a_call, b_call)) = calls {
            return a_call.cmp(&b_call);
        }
        let (a_node, b_node) = (&self.spans[a_head], &self.spans[b_head]);
        if fork.is_some() && a_node.process == b_node.process && a_node.opened != b_node.opened {
            return a_node.opened.cmp(&b_node.opened);
        }
        self.order(a, a_at, b, b_at, model)
    }

    /// Returns the nearest common caller of two spans, and the direct callees of it that lead to
    /// them.
    pub(super) fn fork(&self, a_at: usize, b_at: usize) -> (Option<usize>, usize, usize) {
        let path = |at: usize| {
            let mut path: Vec<usize> = std::iter::once(at).chain(self.ancestors(at)).collect();
            path.reverse();
            path
        };
        let (a_path, b_path) = (path(a_at), path(b_at));
        let fork = a_path.iter().zip(&b_path).take_while(|(a, b)| a == b).count();
        let head = |path: &[usize], at: usize| path.get(fork).copied().unwrap_or(at);
        let caller = fork.checked_sub(1).and_then(|at| a_path.get(at).copied());
        (caller, head(&a_path, a_at), head(&b_path, b_at))
    }
}

/// Maximum distance of two events on different hosts that their corrected clocks do not order, in
/// nanoseconds.
const CONCURRENT_NS: u64 = 2_000_000;

/// Largest number of comparisons for the callers of participants; past it, the first root is the
/// caller of all.
const MAX_COMPARISONS: usize = 1 << 20;

/// Sets the parent of every span without an ID: the span of its own process that was open when it
/// logged first, or else the span that names its instance as its callee, or else the deepest span
/// that was open. Then sets the parent of every span whose caller logged no span, if the flow has a
/// root: the process without spans that logged last before it, or else the root. Processes that pass
/// on the flow's ID only begin spans without a parent: those within the root are called by it.
fn place_participants(spans: &mut [Node<'_>], model: &RunModel) {
    // A process that no span stands for, beside others that do, takes part in the same way.
    let has_tracked = spans.iter().any(|node| node.is_tracked);
    let is_real = |node: &Node<'_>| {
        node.span.has_id && (node.is_tracked || node.span.parent.is_some() || !has_tracked)
    };
    let participants: Vec<usize> = (0..spans.len())
        .filter(|at| !is_real(&spans[*at]) && spans[*at].parent.is_none())
        .collect();
    let real: Vec<usize> = (0..spans.len()).filter(|at| is_real(&spans[*at])).collect();
    if participants.len().saturating_mul(real.len()) > MAX_COMPARISONS {
        return;
    }
    // A flow that was begun outside the logs has a root that names a caller, too.
    let is_root = |at: &usize| {
        spans[*at].span.parent.is_none()
            || spans[*at].parent.is_none() && model.is_root_component(spans[*at].component(model))
    };
    let root = real
        .iter()
        .copied()
        .filter(is_root)
        .min_by_key(|at| (spans[*at].span.parent.is_some(), spans[*at].opened, *at));
    let depths = depths(spans);
    for at in participants {
        let node = &spans[at];
        let instance = node.instance(model);
        let duration = length(node.span.first, node.span.last);
        // A caller is open while its callee works, as far as their clocks are known.
        let is_open = |other: &Node<'_>| {
            let end = other.span.finished();
            let ends = end.and_then(|end| model.time(end, other.process)).unwrap_or(i64::MAX);
            let lasts = end.is_none_or(|end| {
                length(other.span.first, end).saturating_add(TEXT_RESOLUTION_NS) >= duration
            });
            lasts
                && other.opened.saturating_sub(TEXT_CLOCK_TOLERANCE_NS) <= node.opened
                && node.opened <= ends.saturating_add(TEXT_CLOCK_TOLERANCE_NS)
        };
        let rank = |other: usize| {
            let caller = &spans[other];
            let is_own = node.process.is_some() && caller.process == node.process;
            let names = !instance.is_empty()
                && caller.span.callees.iter().any(|(_, callee)| callee == instance);
            let is_open = is_open(caller);
            // If no span was open, the outermost one is the most likely caller.
            let depth = if is_open { depths[other] } else { -depths[other] };
            (is_own, names, is_open, depth, caller.opened, other)
        };
        spans[at].parent = real.iter().copied().max_by_key(|other| rank(*other));
    }
    let Some(root) = root else { return };
    let ended = spans[root].span.finished().and_then(|end| model.time(end, spans[root].process));
    let is_within = |at: usize| ended.is_none_or(|ended| spans[at].opened <= ended);
    let orphans: Vec<usize> = real
        .into_iter()
        .filter(|at| {
            *at != root
                && spans[*at].parent.is_none()
                && (spans[*at].span.parent.is_some() || is_within(*at))
        })
        .collect();
    for at in orphans {
        let caller = (0..spans.len())
            .filter(|other| {
                let caller = &spans[*other];
                !caller.is_tracked
                    && caller.span.parent.is_none()
                    && caller.process != spans[at].process
                    && caller.opened <= spans[at].opened
                    && !is_below(spans, at, *other)
            })
            .max_by_key(|other| (spans[*other].opened, *other));
        spans[at].parent = Some(caller.unwrap_or(root)).filter(|caller| *caller != at);
    }
}

/// Tolerance when comparing the corrected times of spans with those of lines without a span, whose
/// clocks are known less well, in nanoseconds.
const TEXT_CLOCK_TOLERANCE_NS: i64 = 20_000_000;

/// Resolution of timestamps in text, in nanoseconds.
const TEXT_RESOLUTION_NS: i64 = 1_000_000;

/// Returns the time from one line of a process to another, in nanoseconds.
fn length(first: LogPosition, last: LogPosition) -> i64 {
    last.time.saturating_sub(first.time)
}

/// Returns whether `below` is `above` or one of its direct or indirect callees.
fn is_below(spans: &[Node<'_>], above: usize, below: usize) -> bool {
    std::iter::successors(Some(below), |at| spans[*at].parent)
        .take(spans.len() + 1)
        .any(|at| at == above)
}

/// Returns the number of direct and indirect callers of each span.
fn depths(spans: &[Node<'_>]) -> Vec<i64> {
    let mut depths: Vec<Option<i64>> = vec![None; spans.len()];
    let mut path = Vec::new();
    for start in 0..spans.len() {
        let mut at = start;
        while depths[at].is_none() {
            path.push(at);
            match spans[at].parent {
                Some(up) => at = up,
                None => break,
            }
        }
        let mut depth = depths[at].map_or(0, |depth| depth + 1);
        while let Some(at) = path.pop() {
            depths[at] = Some(depth);
            depth += 1;
        }
    }
    depths.into_iter().map(Option::unwrap_or_default).collect()
}

/// Breaks cycles of spans that call each other: one span of each cycle, the one at which a walk
/// closes it, loses its parent.
fn break_cycles(spans: &mut [Node<'_>]) {
    // The walk that first visited each span.
    let mut visited_by: Vec<usize> = vec![usize::MAX; spans.len()];
    for start in 0..spans.len() {
        let mut at = start;
        while visited_by[at] == usize::MAX {
            visited_by[at] = start;
            match spans[at].parent {
                Some(up) if visited_by[up] == start => spans[at].parent = None,
                Some(up) => at = up,
                None => break,
            }
        }
    }
}

/// Returns when a walk through the tree enters and leaves each span, and how deep the span is: a
/// caller is entered before and left after all spans that it called.
fn reach(spans: &[Node<'_>]) -> (Vec<(usize, usize)>, Vec<usize>) {
    let (mut reach, mut depth) = (vec![(0, 0); spans.len()], vec![0; spans.len()]);
    let mut clock = 0;
    for root in (0..spans.len()).filter(|at| spans[*at].parent.is_none()) {
        let mut stack = vec![(root, false)];
        while let Some((at, done)) = stack.pop() {
            clock += 1;
            if done {
                reach[at].1 = clock;
                continue;
            }
            reach[at].0 = clock;
            depth[at] = spans[at].parent.map_or(0, |parent| depth[parent] + 1);
            stack.push((at, true));
            stack.extend(spans[at].children.iter().map(|child| (*child, false)));
        }
    }
    (reach, depth)
}
