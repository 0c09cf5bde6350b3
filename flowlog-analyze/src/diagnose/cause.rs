//! Failures that are one.
//!
//! A failure that begins while a component it depends on is dead, hung or unreachable belongs to that cause: a
//! request that is refused because the prefill worker is dead is the prefill worker's failure.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::{FailureKind, FlowOutcome};

use super::confidence::Basis;
use super::processes::{Process, World};
use super::{Cause, FailedFlow, FirstFailure, fingerprint};
use crate::flow::{Activity, Place};
use crate::observation::FlowKey;

/// A process that is dead or silent, and since when.
struct Down {
    failure: FirstFailure,
    since: i64,
    until: i64,
    flows: u64,
}

impl Down {
    fn is_down_at(&self, time: i64, tolerance: i64) -> bool {
        self.since <= time.saturating_add(tolerance) && time < self.until.saturating_add(tolerance)
    }
}

/// A process, or a shared dependency that is none of the run's processes, by its name.
type Who = (usize, CompactString);

/// How far two corrected times may be off and still be in order, in nanoseconds.
const TOLERANCE: i64 = 100_000_000;

/// The same where the failure names who it lost: clocks that are off by more than is known are likelier than a second
/// reason.
const TOLERANCE_NAMED: i64 = 1_000_000_000;

/// Gives every failure that follows from a dead, hung or unreachable component to that component.
pub(super) fn join(flows: &mut [FailedFlow], run_failures: &[FirstFailure], world: &World) {
    let mut downs: BTreeMap<Who, Down> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| flow.failure.whole_process) {
        note(&mut downs, &flow.failure, world);
    }
    for failure in run_failures {
        note(&mut downs, failure, world);
    }
    add_idle(&mut downs, flows, world);
    if downs.is_empty() {
        return;
    }
    for flow in flows
        .iter_mut()
        .filter(|flow| !flow.failure.whole_process && flow.failure.kind != FailureKind::Run)
    {
        let failure = &flow.failure;
        let Some(down) = blamed(failure, &downs, world) else { continue };
        let mut victims = failure.victims.clone();
        victims.push(failure.component.clone());
        victims.retain(|victim| *victim != down.failure.component);
        victims.sort();
        victims.dedup();
        let mut evidence =
            vec![failure.evidence.first().copied(), down.failure.evidence.first().copied()];
        evidence.dedup();
        *flow.failure = FirstFailure {
            basis: Basis::Joined,
            time: failure.time,
            victims,
            evidence: evidence.into_iter().flatten().collect(),
            ..down.failure.clone()
        };
    }
}

fn note(downs: &mut BTreeMap<Who, Down>, failure: &FirstFailure, world: &World) {
    let process = world.process(failure.process);
    // A dead process is so from its last word on; one that speaks again was silent until then.
    let since = failure.time.unwrap_or(i64::MIN);
    let until = process
        .facts
        .activity
        .first_after(since.saturating_add(process.skew).saturating_add(TOLERANCE))
        .filter(|_| failure.kind == FailureKind::Hang);
    let until = until.map_or(i64::MAX, |until| until.saturating_sub(process.skew));
    let down = downs.entry((failure.process, failure.component.clone())).or_insert_with(|| Down {
        failure: failure.clone(),
        since,
        until,
        flows: 0,
    });
    down.flows += 1;
    if since < down.since {
        down.failure = failure.clone();
        down.since = since;
    }
    down.until = down.until.max(until);
}

/// Processes that died or fell silent with nothing in flight: a failure that names them came after their last word,
/// and before their next if there is one; and they did not shut down.
fn add_idle(downs: &mut BTreeMap<Who, Down>, flows: &[FailedFlow], world: &World) {
    for flow in flows {
        let failure = &flow.failure;
        let Some(time) = failure.time else { continue };
        let lost = failure.kind == FailureKind::Error && failure.is_lost();
        if failure.whole_process {
            continue;
        }
        let words = LazyCell::new(|| Words::of(failure, world));
        for (index, process) in world.processes.iter().enumerate() {
            // What costs least is asked first: most processes spoke at that moment.
            let own = time.saturating_add(process.skew);
            let Some(last) = process.facts.activity.last_before(own) else { continue };
            let next = process.facts.activity.first_after(last);
            let stopped = process.facts.shutdowns.first().is_some_and(|stop| stop <= own);
            let silent_until = next.unwrap_or_else(|| world.end.saturating_add(process.skew));
            if stopped || silent_until <= own || silent_until.saturating_sub(last) < Activity::GAP {
                continue;
            }
            let who = (index, process.component.clone());
            if index == failure.process
                || downs.contains_key(&who)
                || failure.answered.contains(&index)
            {
                continue;
            }
            let is_missed = (lost || failure.kind == FailureKind::Hang)
                && is_missed(failure, time, process, world);
            if !is_missed && !names(failure, &words, process, world) {
                continue;
            }
            let since = last.saturating_sub(process.skew);
            let (kind, message) = match next {
                Some(_) => (FailureKind::Hang, "the process fell silent while others spoke"),
                None => (FailureKind::Crash, "the process ended without shutting down"),
            };
            let gone = FirstFailure {
                kind,
                component: process.component.clone(),
                instance: (!process.instance.is_empty()).then(|| process.instance.clone()),
                process: index,
                state: CompactString::default(),
                error_type: CompactString::default(),
                message: message.into(),
                told: Box::default(),
                time: Some(since),
                blur: 0,
                status: None,
                callee: CompactString::default(),
                answered: Vec::new(),
                whole_process: true,
                basis: Basis::Joined,
                victims: Vec::new(),
                evidence: process
                    .facts
                    .last
                    .filter(|_| next.is_none())
                    .map(|mark| mark.place)
                    .into_iter()
                    .collect(),
            };
            let until = next.map_or(i64::MAX, |next| next.saturating_sub(process.skew));
            downs.insert(who, Down { failure: gone, since, until, flows: 0 });
        }
    }
}

/// Whether a failure names a process: by the instance that it called and lost, or in its words.
fn names(failure: &FirstFailure, words: &Words, process: &Process, world: &World) -> bool {
    let called = !process.instance.is_empty() && failure.callee == process.instance;
    if called && (failure.kind != FailureKind::Error || failure.is_lost()) {
        return true;
    }
    if words.name("", &process.component) && process.named {
        // A component that the words name is that process where there is no other instance of it.
        let only =
            world.processes.iter().filter(|other| other.component == process.component).count()
                == 1;
        return only || words.name(&process.instance, "");
    }
    words.name(&process.instance, "")
}

/// The words of a failure that name whom it lost, in lower case. What was told before the failure is nearer to its cause:
/// where that names any component of the run, the failure's own words do not count.
struct Words(String);

impl Words {
    fn of(failure: &FirstFailure, world: &World) -> Self {
        if failure.kind != FailureKind::Error {
            return Self(String::new());
        }
        let told = Self(failure.told.to_ascii_lowercase());
        let tells = !told.0.is_empty()
            && world
                .processes
                .iter()
                .any(|process| told.name(&process.instance, &process.component));
        if tells { told } else { Self(failure.message.to_ascii_lowercase()) }
    }

    /// Whether they name an instance or a component.
    fn name(&self, instance: &str, component: &str) -> bool {
        (is_telling(instance) && mentions(&self.0, instance)) || mentions(&self.0, component)
    }
}

/// Whether a failure that names nobody can be put down to a process that never spoke again, and that nobody told to
/// stop: one that the failed component calls itself, silent for longer than ever before; or one that it needs, near or
/// far, where every instance had been silent for a while.
fn is_missed(failure: &FirstFailure, time: i64, process: &Process, world: &World) -> bool {
    let last = |process: &Process| {
        process.facts.activity.last().map_or(i64::MAX, |last| last.saturating_sub(process.skew))
    };
    let stopped =
        |process: &Process| process.facts.shutdowns.last() == process.facts.activity.last();
    let gone =
        |process: &Process| last(process).saturating_add(Activity::GAP) < time && !stopped(process);
    if !failure.callee.is_empty() || !process.named || stopped(process) {
        return false;
    }
    let unusual = world.end.saturating_sub(last(process))
        > process.facts.activity.longest_gap().saturating_mul(2);
    if calls(&failure.component, &process.component, world) && last(process) < time && unusual {
        return true;
    }
    world.processes.iter().filter(|other| other.component == process.component).all(gone)
        && reachable(&failure.component, world).contains(&process.component)
}

/// Whether a component calls another itself.
fn calls(caller: &CompactString, callee: &CompactString, world: &World) -> bool {
    world.calls.contains(&(caller.clone(), callee.clone()))
}

/// Whether an instance's name says which it is: a rank or a short number may stand for anything.
fn is_telling(instance: &str) -> bool {
    instance.len() >= 3 && (instance.len() >= 6 || instance.bytes().any(|b| !b.is_ascii_digit()))
}

/// Whether a message in lower case has a name as a word of its own.
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

/// The dead or silent process that a failure follows from.
fn blamed<'d>(
    failure: &FirstFailure,
    downs: &'d BTreeMap<Who, Down>,
    world: &World,
) -> Option<&'d Down> {
    let time = failure.time?;
    let candidates: Vec<&Down> = downs
        .values()
        .filter(|down| {
            down.failure.process != failure.process
                && !failure.answered.contains(&down.failure.process)
        })
        .filter(|down| down.is_down_at(time, TOLERANCE_NAMED + failure.blur))
        .collect();
    // The words name it; or the call did.
    let words = LazyCell::new(|| Words::of(failure, world));
    let by_words = |down: &&&Down| {
        words.name(down.failure.instance.as_deref().unwrap_or_default(), &down.failure.component)
    };
    let lost = failure.kind != FailureKind::Error || failure.is_lost();
    let by_call = |down: &&&Down| {
        lost && down
            .failure
            .instance
            .as_deref()
            .is_some_and(|instance| !instance.is_empty() && failure.callee == instance)
    };
    let most = |down: &&&Down| (down.flows, std::cmp::Reverse(down.since));
    if let Some(down) = candidates
        .iter()
        .filter(by_words)
        .max_by_key(most)
        .or(candidates.iter().filter(by_call).max_by_key(most))
    {
        return Some(down);
    }
    // Without a name, only one that lost somebody has lost one of these.
    if !lost {
        return None;
    }
    let candidates: Vec<&Down> = candidates
        .into_iter()
        .filter(|down| down.is_down_at(time, TOLERANCE + failure.blur))
        .collect();
    // Everybody depends on what is shared.
    if let Some(down) = candidates.iter().find(|down| {
        failure.kind == FailureKind::Error
            && down.failure.kind == FailureKind::Run
            && down.failure.process == usize::MAX
    }) {
        return Some(down);
    }
    // A failure that names another instance is that instance's.
    if !failure.callee.is_empty() {
        return None;
    }
    let reachable = reachable(&failure.component, world);
    candidates
        .into_iter()
        .filter(|down| match failure.kind {
            // What hangs without a word waits for one that it calls itself.
            FailureKind::Hang => calls(&failure.component, &down.failure.component, world),
            _ => reachable.contains(&down.failure.component),
        })
        .max_by_key(|down| (down.flows, std::cmp::Reverse(down.since)))
}

/// Components that a component depends on, near or far.
fn reachable(component: &CompactString, world: &World) -> BTreeSet<CompactString> {
    let mut found = BTreeSet::new();
    let mut open = vec![component.clone()];
    while let Some(caller) = open.pop() {
        for (_, callee) in world.calls.iter().filter(|(from, _)| *from == caller) {
            if found.insert(callee.clone()) {
                open.push(callee.clone());
            }
        }
    }
    found
}

/// A failure with the flow that it befell, if it befell one.
type Member<'a> = (&'a FirstFailure, Option<(&'a FlowKey, FlowOutcome)>);

/// Groups failures by fingerprint; the one with most flows first, ties by causal order (the run's own failures come in it),
/// then by fingerprint.
pub(super) fn group(flows: &mut [FailedFlow], run_failures: &[FirstFailure]) -> Vec<Cause> {
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
    // Which of the run's failures came first is known better than by their times.
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
    let victims: BTreeSet<CompactString> =
        failures.iter().flat_map(|(failure, _)| failure.victims.iter().cloned()).collect();
    // The earliest failure's lines first, then one line of each other flow.
    let mut evidence: Vec<Place> = Vec::new();
    let lines = failures
        .iter()
        .take(1)
        .flat_map(|(failure, _)| failure.evidence.iter())
        .chain(failures.iter().skip(1).filter_map(|(failure, _)| failure.evidence.first()));
    for place in lines {
        if evidence.len() < 10 && !evidence.contains(place) {
            evidence.push(*place);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean of shares")]
    let confidence = failures.iter().map(|(failure, _)| failure.basis.confidence()).sum::<f64>()
        / failures.len().max(1) as f64;
    // What it says is said best by one that was not joined to it.
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
        victims: victims.into_iter().collect(),
        evidence,
        confidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
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
        assert!(is_telling("worker-0") && is_telling("12808651013936080788") && is_telling("pod"));
        assert!(!is_telling("6") && !is_telling("f") && !is_telling("4096"));
    }
}
