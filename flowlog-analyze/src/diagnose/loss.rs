//! Lines that got lost, and what their absence must not be taken for.
//!
//! A span whose last line is missing looks as one that hangs. Where its caller ended well it did not: the answer came back.
//! How often that is so tells how many last lines these logs lost, and so how many roots may seem to hang, each
//! alone in its flow, for no other reason.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;
use rayon::prelude::*;

use super::processes::World;
use super::silence;
use super::tree::Tree;
use crate::flow::{Fate, Group, Table};

/// Components whose roots that fall silent alone lost a line rather than hang.
pub(super) fn of(table: &Table, groups: &[Group], world: &World) -> BTreeSet<CompactString> {
    let of_group = |group: &Group| {
        let flow = table.flow(group)?;
        let tree = Tree::new(&flow, world);
        let lost = (0..tree.spans.len()).filter(|at| is_answered(&tree, *at)).count() as u64;
        let root = tree.root();
        let alone = is_alone(&tree, world)
            .then(|| (root.component(world).clone(), CompactString::from(root.span.state())));
        Some((lost, alone))
    };
    let found: Vec<(u64, Option<(CompactString, CompactString)>)> =
        groups.par_iter().filter_map(of_group).collect();
    let lost: u64 = found.iter().map(|(lost, _)| lost).sum();
    let mut alone: BTreeMap<(CompactString, CompactString), u64> = BTreeMap::new();
    for name in found.into_iter().filter_map(|(_, alone)| alone) {
        *alone.entry(name).or_default() += 1;
    }
    let complete = world.complete();
    // Three times as many as are to be expected, and two: small numbers scatter.
    let may_be_lost = |(component, state): &(CompactString, CompactString), count: u64| {
        count <= 3 * lost * world.ended_in(component, state) / complete.max(1) + 2
    };
    alone
        .into_iter()
        .filter(|(name, count)| lost > 0 && may_be_lost(name, *count))
        .map(|((component, _), _)| component)
        .collect()
}

/// Whether a span is open though its caller ended well, with nothing open below: its last line is missing.
pub(super) fn is_answered(tree: &Tree<'_>, at: usize) -> bool {
    let node = &tree.spans[at];
    let answered = node.parent.is_some_and(|parent| tree.spans[parent].fate == Fate::Ok);
    answered
        && node.fate == Fate::Open
        && node.children.iter().all(|child| tree.spans[*child].fate != Fate::Open)
}

/// Whether nothing is wrong with a flow but that its root never ended: everything that it called came back, and it was in
/// the state in which its like end.
pub(super) fn is_alone(tree: &Tree<'_>, world: &World) -> bool {
    let root = tree.root();
    let below = || {
        tree.spans
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != tree.root)
            .all(|(_, node)| matches!(node.fate, Fate::Ok | Fate::Cancelled))
    };
    root.fate == Fate::Open
        && below()
        && world.ends_in(root.component(world), root.span.state())
        && silence::of_span(tree, tree.root, world.end, world)
            .is_some_and(|silence| silence.kind == FailureKind::Hang && !silence.whole_process)
}
