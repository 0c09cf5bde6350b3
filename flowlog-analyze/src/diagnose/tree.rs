//! A flow's structure: who called whom, and which span is the root.

use std::cmp::Ordering;
use std::collections::HashMap;

use compact_str::CompactString;

use super::processes::World;
use crate::flow::{Fate, Flow, Mark, Span};

/// A flow's spans as a tree.
#[derive(Debug)]
pub struct Tree<'a> {
    /// Every span, in the order of their ids.
    pub spans: Vec<Node<'a>>,
    /// The root: the span whose parent is absent, else one whose parent never appears; of several, the causally first.
    pub root: usize,
    /// When a walk through the tree enters and leaves each span.
    reach: Vec<(usize, usize)>,
    depth: Vec<usize>,
}

/// One span in its place.
#[derive(Debug)]
pub struct Node<'a> {
    /// The span.
    pub span: &'a Span,
    /// What became of it by its own words.
    pub fate: Fate,
    /// The caller, where it appears.
    pub parent: Option<usize>,
    /// Those it called, in causal order.
    pub children: Vec<usize>,
    /// Its process.
    pub process: usize,
    /// When it opened, by the common clock.
    pub opened: i64,
}

impl Node<'_> {
    /// The component that the span names, else its process's.
    pub fn component<'n>(&'n self, world: &'n World) -> &'n CompactString {
        if self.span.component.is_empty() {
            &world.process(self.process).component
        } else {
            &self.span.component
        }
    }

    /// The instance that the span names, else its process's; empty where neither is known.
    pub fn instance<'n>(&'n self, world: &'n World) -> &'n CompactString {
        if self.span.instance.is_empty() {
            &world.process(self.process).instance
        } else {
            &self.span.instance
        }
    }
}

impl<'a> Tree<'a> {
    /// Gives a flow its structure.
    pub fn new(flow: &'a Flow, world: &World) -> Self {
        let index: HashMap<u64, usize> =
            flow.spans.keys().enumerate().map(|(at, key)| (*key, at)).collect();
        let mut spans: Vec<Node<'a>> = flow
            .spans
            .values()
            .map(|span| {
                let process = world.of_span(span);
                let opened = world.time(span.first, process).unwrap_or(i64::MIN);
                Node {
                    span,
                    fate: span.fate(),
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
        open_circles(&mut spans);
        let mut tree = Self { spans, root: 0, reach: Vec::new(), depth: Vec::new() };
        let causally = |tree: &Self, a: usize, b: usize| {
            tree.order(tree.spans[a].span.first, a, tree.spans[b].span.first, b, world)
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
        // Who names no caller is a root; who names one that never appears may have lost it with the beginning of a log.
        let called = |at: usize| tree.spans[at].span.parent.is_some();
        let roots = (0..tree.spans.len()).filter(|at| tree.spans[*at].parent.is_none());
        tree.root = roots
            .min_by(|a, b| called(*a).cmp(&called(*b)).then_with(|| causally(&tree, *a, *b)))
            .unwrap_or(0);
        tree
    }

    /// The root's node.
    pub fn root(&self) -> &Node<'a> {
        &self.spans[self.root]
    }

    /// What became of the whole by its own words: of the root, or, where that is missing, of the one that was called last.
    pub fn fate(&self, world: &World) -> Fate {
        self.spans[self.last_called(world)].fate
    }

    /// The root; of several spans whose callers are missing the last.
    fn last_called(&self, world: &World) -> usize {
        let called = (0..self.spans.len())
            .filter(|at| self.is_headless() && self.spans[*at].parent.is_none());
        let last = |at: usize| self.spans[at].span.finished().unwrap_or(self.spans[at].span.last);
        called.max_by(|a, b| self.order(last(*a), *a, last(*b), *b, world)).unwrap_or(self.root)
    }

    /// Whether the root's own caller is missing.
    pub fn is_headless(&self) -> bool {
        self.root().span.parent.is_some()
    }

    /// Callers of a span, the nearest first.
    pub fn ancestors(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.spans[at].parent, |up| self.spans[*up].parent)
    }

    /// How many callers a span has, near and far.
    pub fn depth(&self, at: usize) -> usize {
        self.depth[at]
    }

    /// Whether `above` is a caller of `at`, near or far.
    pub fn is_above(&self, above: usize, at: usize) -> bool {
        let ((enter, leave), (own, _)) = (self.reach[above], self.reach[at]);
        enter < own && own < leave
    }

    /// Causal order of what two spans said: by clock where both have one, else by the common clock.
    pub fn order(&self, a: Mark, a_at: usize, b: Mark, b_at: usize, world: &World) -> Ordering {
        if a.clock > 0 && b.clock > 0 && a.clock != b.clock {
            return a.clock.cmp(&b.clock);
        }
        let time =
            |mark: Mark, at: usize| world.time(mark, self.spans[at].process).unwrap_or(i64::MIN);
        (time(a, a_at), a.place).cmp(&(time(b, b_at), b.place))
    }

    /// Causal order of two failures: by clock; without one a callee fails before its caller, and of two attempts
    /// the one that began first; by the common clock last.
    pub fn order_of_failures(
        &self,
        a: Mark,
        a_at: usize,
        b: Mark,
        b_at: usize,
        world: &World,
    ) -> Ordering {
        if a.clock > 0 && b.clock > 0 {
            return self.order(a, a_at, b, b_at, world);
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
        // The caller of both knows whom it called first.
        if let Some(caller) = fork.checked_sub(1).and_then(|at| a_path.get(at)) {
            let called = |at: Option<&usize>| {
                let instance = &self.spans[*at?].span.instance;
                self.spans[*caller]
                    .span
                    .callees
                    .iter()
                    .find(|(_, callee)| callee == instance)
                    .map(|(mark, _)| *mark)
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
        self.order(a, a_at, b, b_at, world)
    }
}

/// Ids that call each other in a circle are no structure: one of each circle, the first that is met, has no parent.
fn open_circles(spans: &mut [Node<'_>]) {
    // Of each span the walk that met it.
    let mut met: Vec<usize> = vec![usize::MAX; spans.len()];
    for start in 0..spans.len() {
        let mut at = start;
        while met[at] == usize::MAX {
            met[at] = start;
            match spans[at].parent {
                Some(up) if met[up] == start => spans[at].parent = None,
                Some(up) => at = up,
                None => break,
            }
        }
    }
}

/// When a walk through the tree enters and leaves each span, and how deep that lies: a caller is entered before and left
/// after all that it called.
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
