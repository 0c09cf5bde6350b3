//! Joining and grouping of failures with the same cause.
//!
//! A failure that begins while a component it depends on is dead, hung or unreachable belongs to
//! that outage: a request that is refused because the prefill worker is dead is the prefill
//! worker's failure.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::{FailureKind, FlowOutcome};

use super::confidence::Basis;
use super::topology::{Process, ProcessIndex, RunModel};
use super::{Cause, FailedFlow, FirstFailure, fingerprint};
use crate::event::FlowKey;
use crate::flow::{Activity, LineRef};

/// Outage of a process or dependency, from `since` until `until`.
struct Outage {
    failure: FirstFailure,
    since: i64,
    until: i64,
    flows: u64,
}

impl Outage {
    fn covers(&self, time: i64, tolerance: i64) -> bool {
        self.since <= time.saturating_add(tolerance) && time < self.until.saturating_add(tolerance)
    }
}

/// Process and component. For a shared dependency that is not a process of the run, only the name
/// counts; they come last.
type Instance = (bool, Option<ProcessIndex>, CompactString);

fn instance_key(process: Option<ProcessIndex>, component: &CompactString) -> Instance {
    (process.is_none(), process, component.clone())
}

/// Tolerance when comparing two corrected times, in nanoseconds.
const CLOCK_TOLERANCE_NS: i64 = 100_000_000;

/// Tolerance for a failure that names the lost process, in nanoseconds: an unknown clock error is
/// then likelier than a second cause.
const NAMED_CLOCK_TOLERANCE_NS: i64 = 1_000_000_000;

/// Attributes every failure that follows from a dead, hung or unreachable component to that
/// component.
pub(super) fn join(flows: &mut [FailedFlow], run_failures: &[FirstFailure], model: &RunModel) {
    let mut outages: BTreeMap<Instance, Outage> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| flow.failure.whole_process) {
        note(&mut outages, &flow.failure, model);
    }
    for failure in run_failures {
        note(&mut outages, failure, model);
    }
    add_idle(&mut outages, flows, model);
    if outages.is_empty() {
        return;
    }
    for flow in flows
        .iter_mut()
        .filter(|flow| !flow.failure.whole_process && flow.failure.kind != FailureKind::Run)
    {
        let failure = &flow.failure;
        let Some(outage) = outage_behind(failure, &outages, model) else { continue };
        let mut affected = failure.affected.clone();
        affected.push(failure.component.clone());
        affected.retain(|victim| *victim != outage.failure.component);
        affected.sort();
        affected.dedup();
        let mut evidence =
            vec![failure.evidence.first().copied(), outage.failure.evidence.first().copied()];
        evidence.dedup();
        *flow.failure = FirstFailure {
            basis: Basis::Joined,
            time: failure.time,
            affected,
            evidence: evidence.into_iter().flatten().collect(),
            ..outage.failure.clone()
        };
    }
}

fn note(outages: &mut BTreeMap<Instance, Outage>, failure: &FirstFailure, model: &RunModel) {
    let process = model.process(failure.process);
    // A dead process is down from its last line on; a hung one until it logs again.
    let since = failure.time.unwrap_or(i64::MIN);
    let until = process
        .activity
        .activity
        .first_after(since.saturating_add(process.skew).saturating_add(CLOCK_TOLERANCE_NS))
        .filter(|_| failure.kind == FailureKind::Hang);
    let until = until.map_or(i64::MAX, |until| until.saturating_sub(process.skew));
    let outage = outages
        .entry(instance_key(failure.process, &failure.component))
        .or_insert_with(|| Outage { failure: failure.clone(), since, until, flows: 0 });
    outage.flows += 1;
    if since < outage.since {
        outage.failure = failure.clone();
        outage.since = since;
    }
    outage.until = outage.until.max(until);
}

/// Adds outages of processes that died or fell silent with nothing in flight: a failure that names
/// them came after their last line, and before their next if there is one; and they did not shut
/// down.
fn add_idle(outages: &mut BTreeMap<Instance, Outage>, flows: &[FailedFlow], model: &RunModel) {
    for flow in flows {
        let failure = &flow.failure;
        let Some(time) = failure.time else { continue };
        let lost = failure.kind == FailureKind::Error && failure.is_lost();
        if failure.whole_process {
            continue;
        }
        let text = LazyCell::new(|| FailureText::of(failure, model));
        for (index, process) in model.indexed() {
            // Cheapest check first: most processes were active at that time.
            let own = time.saturating_add(process.skew);
            let Some(last) = process.activity.activity.last_before(own) else { continue };
            let next = process.activity.activity.first_after(last);
            let stopped = process.activity.shutdowns.first().is_some_and(|stop| stop <= own);
            let silent_until = next.unwrap_or_else(|| model.end.saturating_add(process.skew));
            if stopped
                || silent_until <= own
                || silent_until.saturating_sub(last) < Activity::GAP_NS
            {
                continue;
            }
            let key = instance_key(Some(index), &process.component);
            if Some(index) == failure.process
                || outages.contains_key(&key)
                || failure.healthy_callees.contains(&index)
            {
                continue;
            }
            let is_missed = (lost || failure.kind == FailureKind::Hang)
                && is_missed(failure, time, process, model);
            if !is_missed && !names(failure, &text, process, model) {
                continue;
            }
            let since = last.saturating_sub(process.skew);
            let (kind, message) = match next {
                Some(_) => (FailureKind::Hang, "process stopped logging while others continued"),
                None => (FailureKind::Crash, "process exited without a shutdown"),
            };
            let (component, instance) = (process.component.clone(), process.instance.clone());
            let last_line = process.activity.last.filter(|_| next.is_none());
            let gone = FirstFailure {
                message: message.into(),
                time: Some(since),
                whole_process: true,
                basis: Basis::Joined,
                evidence: last_line.map(|position| position.line).into_iter().collect(),
                ..FirstFailure::new(kind, component, instance, Some(index))
            };
            let until = next.map_or(i64::MAX, |next| next.saturating_sub(process.skew));
            outages.insert(key, Outage { failure: gone, since, until, flows: 0 });
        }
    }
}

/// Returns whether a failure names a process: by the instance that it called and lost, or in its
/// message.
fn names(failure: &FirstFailure, text: &FailureText, process: &Process, model: &RunModel) -> bool {
    let called = !process.instance.is_empty() && failure.callee == process.instance;
    if called && (failure.kind != FailureKind::Error || failure.is_lost()) {
        return true;
    }
    if text.name("", &process.component) && process.named {
        // A component named in the message is that process if the component has no other instance.
        let only =
            model.processes.iter().filter(|other| other.component == process.component).count()
                == 1;
        return only || text.name(&process.instance, "");
    }
    text.name(&process.instance, "")
}

/// The message, in lower case, in which a failure may name the process that it lost. An error
/// reported before the failure is nearer to its cause: if that names any component of the run, the
/// failure's own message is ignored.
struct FailureText(String);

impl FailureText {
    fn of(failure: &FirstFailure, model: &RunModel) -> Self {
        if failure.kind != FailureKind::Error {
            return Self(String::new());
        }
        let preceding_error = Self(failure.preceding_error.to_ascii_lowercase());
        let names_a_process = !preceding_error.0.is_empty()
            && model
                .processes
                .iter()
                .any(|process| preceding_error.name(&process.instance, &process.component));
        if names_a_process { preceding_error } else { Self(failure.message.to_ascii_lowercase()) }
    }

    /// Returns whether the message names the instance or the component.
    fn name(&self, instance: &str, component: &str) -> bool {
        (is_distinctive(instance) && mentions(&self.0, instance)) || mentions(&self.0, component)
    }
}

/// Returns whether a failure that names no process can be attributed to a process that never logged
/// again and was not asked to stop: either one that the failed component calls directly, silent for
/// more than twice its longest pause before; or one that it depends on, directly or not, if every
/// instance had been silent for a while.
fn is_missed(failure: &FirstFailure, time: i64, process: &Process, model: &RunModel) -> bool {
    let last = |process: &Process| {
        process.activity.activity.last().map_or(i64::MAX, |last| last.saturating_sub(process.skew))
    };
    let stopped =
        |process: &Process| process.activity.shutdowns.last() == process.activity.activity.last();
    let gone = |process: &Process| {
        last(process).saturating_add(Activity::GAP_NS) < time && !stopped(process)
    };
    if !failure.callee.is_empty() || !process.named || stopped(process) {
        return false;
    }
    let unusual = model.end.saturating_sub(last(process))
        > process.activity.activity.longest_gap().saturating_mul(2);
    if calls(&failure.component, &process.component, model) && last(process) < time && unusual {
        return true;
    }
    model.processes.iter().filter(|other| other.component == process.component).all(gone)
        && reachable(&failure.component, model).contains(&process.component)
}

/// Returns whether a component calls another directly.
fn calls(caller: &CompactString, callee: &CompactString, model: &RunModel) -> bool {
    model.calls.contains(&(caller.clone(), callee.clone()))
}

/// Returns whether an instance name is distinctive: a rank or a short number may stand for
/// anything.
fn is_distinctive(instance: &str) -> bool {
    instance.len() >= 3 && (instance.len() >= 6 || instance.bytes().any(|b| !b.is_ascii_digit()))
}

/// Returns whether a message in lower case contains a name as a separate word.
fn mentions(message: &str, name: &str) -> bool {
    if matches!(name, "" | "unknown") || message.len() < name.len() {
        return false;
    }
    let name = name.to_ascii_lowercase();
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    message.match_indices(&name).any(|(at, _)| {
        let before = message.get(..at).and_then(|text| text.chars().next_back());
        let after = message.get(at + name.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

/// Returns the outage that a failure follows from.
fn outage_behind<'d>(
    failure: &FirstFailure,
    outages: &'d BTreeMap<Instance, Outage>,
    model: &RunModel,
) -> Option<&'d Outage> {
    let time = failure.time?;
    let candidates: Vec<&Outage> = outages
        .values()
        .filter(|outage| {
            outage.failure.process != failure.process
                && outage
                    .failure
                    .process
                    .is_none_or(|process| !failure.healthy_callees.contains(&process))
        })
        .filter(|outage| outage.covers(time, NAMED_CLOCK_TOLERANCE_NS + failure.resolution_ns))
        .collect();
    // The message names it, or the call does.
    let text = LazyCell::new(|| FailureText::of(failure, model));
    let by_text = |outage: &&&Outage| {
        text.name(outage.failure.instance.as_deref().unwrap_or_default(), &outage.failure.component)
    };
    let lost = failure.kind != FailureKind::Error || failure.is_lost();
    let by_call = |outage: &&&Outage| {
        lost && outage
            .failure
            .instance
            .as_deref()
            .is_some_and(|instance| !instance.is_empty() && failure.callee == instance)
    };
    let most = |outage: &&&Outage| (outage.flows, std::cmp::Reverse(outage.since));
    if let Some(outage) = candidates
        .iter()
        .filter(by_text)
        .max_by_key(most)
        .or(candidates.iter().filter(by_call).max_by_key(most))
    {
        return Some(outage);
    }
    // Without a name, only a failure that reports a loss can follow from one of these.
    if !lost {
        return None;
    }
    let candidates: Vec<&Outage> = candidates
        .into_iter()
        .filter(|outage| outage.covers(time, CLOCK_TOLERANCE_NS + failure.resolution_ns))
        .collect();
    // Every component depends on shared dependencies.
    if let Some(outage) = candidates.iter().find(|outage| {
        failure.kind == FailureKind::Error
            && outage.failure.kind == FailureKind::Run
            && outage.failure.process.is_none()
    }) {
        return Some(outage);
    }
    // A failure that names another instance belongs to that instance.
    if !failure.callee.is_empty() {
        return None;
    }
    let reachable = reachable(&failure.component, model);
    candidates
        .into_iter()
        .filter(|outage| match failure.kind {
            // A silent hang waits for a component that it calls directly.
            FailureKind::Hang => calls(&failure.component, &outage.failure.component, model),
            _ => reachable.contains(&outage.failure.component),
        })
        .max_by_key(|outage| (outage.flows, std::cmp::Reverse(outage.since)))
}

/// Returns the components that a component depends on, directly or indirectly.
fn reachable(component: &CompactString, model: &RunModel) -> BTreeSet<CompactString> {
    let mut found = BTreeSet::new();
    let mut open = vec![component.clone()];
    while let Some(caller) = open.pop() {
        for (_, callee) in model.calls.iter().filter(|(from, _)| *from == caller) {
            if found.insert(callee.clone()) {
                open.push(callee.clone());
            }
        }
    }
    found
}

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
    let own =
        failures.iter().find(|(failure, _)| failure.basis != Basis::Joined).or(failures.first());
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_whole_words() {
        for (message, name, named) in [
            ("no workers for endpoint dynamo/prefill/generate", "prefill", true),
            ("connection to vllm-0 refused", "vllm-0", true),
            ("connection to vllm-0 refused", "vllm", false),
            ("connection to 10.0.0.7:80 refused", "10.0.0.7:80", true),
            ("Prefill worker gone", "prefill", true),
            ("the backends", "backend", false),
            ("anything", "", false),
        ] {
            assert_eq!(mentions(&message.to_ascii_lowercase(), name), named, "{message} {name}");
        }
        assert!(
            is_distinctive("worker-0")
                && is_distinctive("12808651013936080788")
                && is_distinctive("pod")
        );
        assert!(!is_distinctive("6") && !is_distinctive("f") && !is_distinctive("4096"));
    }
}
