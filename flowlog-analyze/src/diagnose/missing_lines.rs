//! Lost lines, and what their absence must not be mistaken for.
//!
//! A span with a missing last line looks like one that hangs. If its caller ended well, it does
//! not: the response came back. The number of such spans shows how many last lines these logs lost,
//! and thus how many roots, each the only unfinished span of its flow, may seem to hang for no
//! other reason.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;
use rayon::prelude::*;

use super::silence;
use super::topology::RunModel;
use super::tree::Tree;
use crate::flow::{MergedFlow, SpanStatus, Table};

/// Returns the components with roots that are the only silent span of their flow because they lost
/// a line rather than hang.
pub(super) fn of(
    table: &Table,
    merged_flows: &[MergedFlow],
    model: &RunModel,
) -> BTreeSet<CompactString> {
    let of_group = |merged: &MergedFlow| {
        let flow = table.flow(merged)?;
        let tree = Tree::new(&flow, model);
        let lost = (0..tree.spans.len())
            .filter(|at| caller_ended_well(&tree, *at) && !has_sibling(&tree, *at, model))
            .count() as u64;
        let root = tree.root();
        let alone = only_root_unfinished(&tree, model)
            .then(|| (root.component(model).clone(), CompactString::from(root.span.state())));
        Some((lost, alone))
    };
    // Logs of records that lose lines lose those that start a span, too.
    if model.has_records && !model.loses_lines {
        return BTreeSet::new();
    }
    let found: Vec<(u64, Option<(CompactString, CompactString)>)> =
        merged_flows.par_iter().filter_map(of_group).collect();
    let lost: u64 = found.iter().map(|(lost, _)| lost).sum();
    let mut alone: BTreeMap<(CompactString, CompactString), u64> = BTreeMap::new();
    for name in found.into_iter().filter_map(|(_, alone)| alone) {
        *alone.entry(name).or_default() += 1;
    }
    let complete = model.complete();
    // Three times the expected number, plus up to two: small numbers vary.
    let may_be_lost = |(component, state): &(CompactString, CompactString), count: u64| {
        let expected = (lost * model.ended_in(component, state)).div_ceil(complete.max(1));
        let spare = if model.loses_lines { 2 } else { lost.min(2) };
        count <= 3 * expected + spare
    };
    alone
        .into_iter()
        .filter(|(name, count)| (lost > 0 || model.loses_lines) && may_be_lost(name, *count))
        .map(|((component, _), _)| component)
        .collect()
}

/// Returns whether a span is open although its caller ended well, with nothing open below it: its
/// last line is missing.
pub(super) fn caller_ended_well(tree: &Tree<'_>, at: usize) -> bool {
    let node = &tree.spans[at];
    let answered = node.parent.is_some_and(|parent| tree.spans[parent].status == SpanStatus::Ok);
    answered
        && node.is_tracked
        && node.status == SpanStatus::Open
        && node.children.iter().all(|child| tree.spans[*child].status != SpanStatus::Open)
}

/// Returns whether the caller of a span called its component again: the span may have been given up.
fn has_sibling(tree: &Tree<'_>, at: usize, model: &RunModel) -> bool {
    let siblings = tree.spans[at].parent.map(|parent| &tree.spans[parent].children);
    siblings.into_iter().flatten().any(|other| {
        *other != at && tree.spans[*other].component(model) == tree.spans[at].component(model)
    })
}

/// Returns whether the only problem of a flow is that its root never ended: everything that it
/// called came back, and it was in the state in which its component's spans usually end.
pub(super) fn only_root_unfinished(tree: &Tree<'_>, model: &RunModel) -> bool {
    let root = tree.root();
    let below = || {
        tree.spans.iter().enumerate().filter(|(at, _)| *at != tree.root).all(|(_, node)| {
            !node.is_tracked || matches!(node.status, SpanStatus::Ok | SpanStatus::Cancelled)
        })
    };
    root.status == SpanStatus::Open
        && below()
        && model.ends_in(root.component(model), root.span.state())
        && silence::of_span(tree, tree.root, model.end, model)
            .is_some_and(|silence| silence.kind == FailureKind::Hang && !silence.whole_process)
}
