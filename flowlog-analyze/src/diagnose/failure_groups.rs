//! Grouping of failures with the same cause.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::{FailureKind, FlowOutcome};

use super::explanation::Explanation;
use super::{Cause, FailedFlow, FirstFailure, fingerprint};
use crate::event::FlowKey;
use crate::flow::LineRef;

/// A failure, with its flow and the flow's outcome if it belongs to one.
type Member<'a> = (&'a FirstFailure, Option<(&'a FlowKey, FlowOutcome)>);

/// Groups failures by fingerprint. The group with the most flows comes first; ties are resolved by
/// causal order, in which the run's own failures already are, then by fingerprint.
pub(super) fn merged(flows: &mut [FailedFlow], run_failures: &[FirstFailure]) -> Vec<Cause> {
    let mut causes: BTreeMap<CompactString, Vec<Member<'_>>> = BTreeMap::new();
    for flow in flows.iter_mut() {
        flow.fingerprint = fingerprint::of(&flow.failure);
    }
    for flow in flows.iter() {
        causes
            .entry(flow.fingerprint.clone())
            .or_default()
            .push((&flow.failure, Some((&flow.id, flow.outcome))));
    }
    // The given order of the run's failures is more reliable than their times.
    let mut order: BTreeMap<CompactString, usize> = BTreeMap::new();
    for (at, failure) in run_failures.iter().enumerate() {
        let fingerprint = fingerprint::of(failure);
        order.entry(fingerprint.clone()).or_insert(at);
        causes.entry(fingerprint).or_default().push((failure, None));
    }
    let mut causes: Vec<Cause> =
        causes.into_iter().map(|(fingerprint, failures)| cause(fingerprint, failures)).collect();
    let run = |cause: &Cause| cause.failure.kind == FailureKind::Run;
    causes.sort_by(|a, b| {
        let rank = |cause: &Cause| (cause.failed, run(cause) && cause.failed == 0, cause.recovered);
        let order = |cause: &Cause| {
            order.get(&cause.fingerprint).copied().filter(|_| run(cause) && cause.failed == 0)
        };
        rank(b)
            .cmp(&rank(a))
            .then(order(a).cmp(&order(b)))
            .then(a.first.cmp(&b.first))
            .then(a.fingerprint.cmp(&b.fingerprint))
    });
    causes
}

fn cause(fingerprint: CompactString, mut failures: Vec<Member<'_>>) -> Cause {
    failures.sort_by(|a, b| (a.0.time, a.0.basis, a.1).cmp(&(b.0.time, b.0.basis, b.1)));
    let count = |outcome| {
        failures.iter().filter(|(_, flow)| flow.is_some_and(|(_, o)| o == outcome)).count() as u64
    };
    let mut instances: BTreeMap<CompactString, (u64, usize)> = BTreeMap::new();
    for (at, (failure, _)) in failures.iter().enumerate() {
        if let Some(instance) = &failure.instance {
            let entry = instances.entry(instance.clone()).or_insert((0, at));
            entry.0 += 1;
        }
    }
    let mut instances: Vec<(CompactString, (u64, usize))> = instances.into_iter().collect();
    instances.sort_by_key(|(_, (flows, at))| (std::cmp::Reverse(*flows), *at));
    let affected: BTreeSet<CompactString> =
        failures.iter().flat_map(|(failure, _)| failure.affected.iter().cloned()).collect();
    // The earliest failure's lines first, then one line of each other failure.
    let mut evidence: Vec<LineRef> = Vec::new();
    let lines = failures
        .iter()
        .take(1)
        .flat_map(|(failure, _)| failure.evidence.iter())
        .chain(failures.iter().skip(1).filter_map(|(failure, _)| failure.evidence.first()));
    for line in lines {
        if evidence.len() < 10 && !evidence.contains(line) {
            evidence.push(*line);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "the mean of ratios tolerates rounding")]
    let confidence = failures.iter().map(|(failure, _)| failure.basis.confidence()).sum::<f64>()
        / failures.len().max(1) as f64;
    // A failure that was not joined to the cause describes it best.
    let own = failures.iter().find(|(failure, _)| !failure.basis.is_joined()).or(failures.first());
    Cause {
        fingerprint,
        failure: own.map_or_else(|| failures[0].0.clone(), |(failure, _)| (*failure).clone()),
        instances: instances.into_iter().map(|(instance, _)| instance).collect(),
        failed: count(FlowOutcome::Failed),
        recovered: count(FlowOutcome::Recovered),
        first: failures.iter().filter_map(|(failure, _)| failure.time).min(),
        last: failures.iter().filter_map(|(failure, _)| failure.time).max(),
        examples: failures
            .iter()
            .filter_map(|(_, flow)| flow.map(|(id, _)| id.clone()))
            .take(5)
            .collect(),
        affected: affected.into_iter().collect(),
        evidence,
        confidence,
        flow: own.and_then(|(_, flow)| flow.map(|(id, _)| id.clone())),
        why: Explanation::default(),
    }
}
