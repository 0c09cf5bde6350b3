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
                Node {
                    span,
                    status: span.status(),
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
        let roots = (0..tree.spans.len()).filter(|at| tree.spans[*at].parent.is_none());
        tree.root = roots
            .min_by(|a, b| called(*a).cmp(&called(*b)).then_with(|| causally(&tree, *a, *b)))
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
        let called = (0..self.spans.len())
            .filter(|at| self.is_headless() && self.spans[*at].parent.is_none());
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

    /// Returns the causal order of two failures: by clock; without one, a callee fails before its
    /// caller, and of two attempts the one that began first; by the common clock last.
    pub fn order_of_failures(
        &self,
        a: LogPosition,
        a_at: usize,
        b: LogPosition,
        b_at: usize,
        model: &RunModel,
    ) -> Ordering {
        if a.clock > 0 && b.clock > 0 {
            return self.order(a, a_at, b, b_at, model);
        }
        if self.is_above(a_at, b_at) {
            return Ordering::Greater;
        }
        if self.is_above(b_at, a_at) {
            return Ordering::Less;
        }
        let path = |at: usize| {
            let mut path: Vec<usize> = std::iter::once(at).chain(self.ancestors(at)).collect();
            path.reverse();
            path
        };
        let (a_path, b_path) = (path(a_at), path(b_at));
        let fork = a_path.iter().zip(&b_path).take_while(|(a, b)| a == b).count();
        // The common caller names its callees in the order of its calls.
        if let Some(caller) = fork.checked_sub(1).and_then(|at| a_path.get(at)) {
            let called = |at: Option<&usize>| {
                let instance = &self.spans[*at?].span.instance;
                self.spans[*caller]
                    .span
                    .callees
                    .iter()
                    .find(|(_, callee)| callee == instance)
                    .map(|(position, _)| *position)
            };
            if let (Some(a), Some(b)) = (called(a_path.get(fork)), called(b_path.get(fork)))
                && a != b
            {
                return a.cmp(&b);
            }
        }
        if let (Some(a), Some(b)) = (a_path.get(fork), b_path.get(fork))
            && fork > 0
            && self.spans[*a].process == self.spans[*b].process
            && self.spans[*a].opened != self.spans[*b].opened
        {
            return self.spans[*a].opened.cmp(&self.spans[*b].opened);
        }
        self.order(a, a_at, b, b_at, model)
    }
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
