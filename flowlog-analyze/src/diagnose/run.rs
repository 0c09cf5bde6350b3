//! Failures that need no flow: what lines say of the run, weighed by when, by whom and how often they say it.
//!
//! Some of it fails a run whatever its flows say: a process that could not start, panicked or died, a dependency that is
//! gone. The rest is asked only where no flow says what became of it: logs without ids, excerpts. There an error counts that
//! nobody dealt with and that no stop came before; a relay only where nothing else is left; then waiting without
//! progress; at last a stop that nobody ordered.

use std::collections::BTreeSet;

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::processes::World;
use super::spoken::{GOING_DOWN, SECOND, Spoken, Suspect, Weight};
use crate::flow::{Place, Table};
use crate::sign::Class;

/// How long before a process died an error that it told may have been the reason, in nanoseconds.
const REASON: i64 = 10 * SECOND;

/// What the run's lines say beside its flows.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Failures, the first first.
    pub failures: Vec<FirstFailure>,
    /// What was lost and is there again, where nothing failed.
    pub recovered: Option<FirstFailure>,
    /// Somebody left, or called the run off.
    pub left: bool,
}

/// Weighs everything that was said beside flows. `judged` says that flows tell what became of the run.
pub(super) fn told(table: &Table, world: &World, judged: bool) -> Told {
    let signals = signals(table, world);
    let mut suspects: Vec<Suspect> = Vec::new();
    let mut told = Told::default();
    let mut recovered: Option<FirstFailure> = None;
    for spoken in Spoken::every(table, world) {
        if let Some(weight) = spoken.weight(judged, &signals) {
            suspects.push(spoken.suspect(weight));
        }
        told.left |= spoken.class == Class::Left && !judged;
        let lost = || {
            matches!(spoken.class, Class::Unreachable | Class::Infrastructure)
                && spoken.outlived(&[Class::Works])
        };
        if !judged && recovered.is_none() && (spoken.class == Class::Recovered || lost()) {
            recovered = Some(FirstFailure { kind: FailureKind::Error, ..spoken.failure() });
        }
    }
    if !judged && suspects.is_empty() {
        suspects.extend(first_stop(table, world, &signals));
    }
    told.failures = in_causal_order(suspects);
    if told.failures.is_empty() {
        told.recovered = recovered;
    }
    told
}

/// The first of all failures, then the rest in the order of time, each process's and each dependency's once.
///
/// The heavier goes before the lighter, but an error that was told shortly before a process died is why it died. Within
/// one tick of the clock the deeper came first. Who only passes on what failed elsewhere is a victim of any failure; so is who lost what is
/// gone.
fn in_causal_order(mut suspects: Vec<Suspect>) -> Vec<FirstFailure> {
    suspects.sort_by(|a, b| {
        (a.from, a.relay, a.layer, &a.failure.evidence).cmp(&(
            b.from,
            b.relay,
            b.layer,
            &b.failure.evidence,
        ))
    });
    let Some(weight) = suspects.iter().map(|suspect| suspect.weight).min() else {
        return Vec::new();
    };
    let heaviest = suspects
        .iter()
        .find(|suspect| suspect.weight == weight)
        .map_or(i64::MIN, |suspect| suspect.from);
    let may_be_reason = |suspect: &Suspect| {
        suspect.weight == weight
            || (suspect.weight == Weight::Told
                && !suspect.relay
                && suspect.from.saturating_add(REASON) >= heaviest
                && suspect.from <= heaviest)
    };
    let first_until = suspects
        .iter()
        .filter(|suspect| may_be_reason(suspect))
        .map(|suspect| suspect.until)
        .min()
        .unwrap_or(i64::MIN);
    let rank = |suspect: &Suspect| {
        (
            suspect.relay,
            suspect.layer,
            suspect.weight,
            suspect.from,
            suspect.failure.evidence.clone(),
        )
    };
    let first = (0..suspects.len())
        .filter(|at| may_be_reason(&suspects[*at]) && suspects[*at].from < first_until)
        .min_by_key(|at| rank(&suspects[*at]));
    let Some(first) = first else { return Vec::new() };
    let first = suspects.remove(first);
    let outage = first.failure.process == usize::MAX
        || suspects.iter().any(|suspect| suspect.failure.process == usize::MAX);
    let mut failures = vec![first.failure];
    let mut victims: Vec<CompactString> = Vec::new();
    for suspect in suspects {
        let failure = suspect.failure;
        let same = |known: &FirstFailure| {
            known.process == failure.process
                && (known.component == failure.component
                    || (known.process != usize::MAX && known.instance.is_some()))
        };
        // What somebody says later, or who could not start because a dependency is gone, did not fail first.
        let follows = suspect.weight > weight
            || suspect.relay
            || (outage && failure.process != usize::MAX && follows_outage(&failure));
        if !failures.iter().any(same) {
            if follows { victims.push(failure.component) } else { failures.push(failure) }
        }
    }
    victims.sort();
    victims.dedup();
    if let Some(first) = failures.first_mut() {
        victims.retain(|victim| *victim != first.component);
        first.victims = victims;
    }
    failures
}

fn follows_outage(failure: &FirstFailure) -> bool {
    let message = failure.message.to_ascii_lowercase();
    message.contains("etcd") || message.contains("nats") || failure.message.contains("Traceback")
}

/// Every moment at which somebody was told to stop, by the common clock, and where that is first said.
fn signals(table: &Table, world: &World) -> Vec<(Option<i64>, Place)> {
    let told = table.voices.iter().flat_map(|(voice, facts)| {
        let skew = world.process(world.of_voice(*voice)).skew;
        let signs = facts.signs.iter().filter(|((class, ..), _)| *class == Class::Signal);
        signs.flat_map(move |(_, sign)| {
            let first =
                (sign.first.0.time().map(|time| time.saturating_sub(skew)), sign.first.0.place);
            let later = sign
                .moments
                .iter()
                .skip(1)
                .map(move |time| (Some(time.saturating_sub(skew)), first.1));
            std::iter::once(first).chain(later)
        })
    });
    told.collect()
}

/// A stop that precedes every other stop, while work is in flight and before anybody was told to.
fn first_stop(table: &Table, world: &World, signals: &[(Option<i64>, Place)]) -> Option<Suspect> {
    let spoken =
        |class: Class| Spoken::every(table, world).filter(move |spoken| spoken.class == class);
    let mut stops: Vec<(i64, Spoken<'_>)> =
        spoken(Class::Stop).filter_map(|stop| Some((stop.time()?, stop))).collect();
    stops.sort_by_key(|(time, stop)| (*time, stop.sign.first.0));
    // Who is told to stop stops too.
    let others: BTreeSet<CompactString> = stops
        .iter()
        .map(|(_, stop)| stop.who().0)
        .chain(spoken(Class::Signal).map(|told| told.who().0))
        .collect();
    let (time, first) = stops.into_iter().next()?;
    let component = first.who().0;
    let in_flight = spoken(Class::InFlight)
        .any(|work| work.time().is_some_and(|at| at.saturating_sub(time) < GOING_DOWN));
    let ordered = signals.iter().any(|(signal, _)| signal.is_none_or(|signal| signal <= time));
    (in_flight && !ordered && others.len() > 1 && component != "unknown")
        .then(|| first.suspect(Weight::Stop))
}
