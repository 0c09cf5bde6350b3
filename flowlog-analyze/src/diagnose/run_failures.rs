//! Failures that need no flow: rule matches, evaluated by time, component and frequency.
//!
//! Some of them fail a run whatever its flows show: a process that could not start, panicked or
//! died, or a dependency that is gone. The others count only if no flow shows the outcome of the
//! run, as in logs without IDs and in excerpts. There, an error counts if it was not handled and no
//! stop came before it; a relayed error only if nothing else is left; then waiting without
//! progress; and finally a stop without a signal.

use std::collections::BTreeSet;

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::match_context::{
    Candidate, MatchContext, SECOND_NS, SHUTDOWN_NOISE_WINDOW_NS, Severity,
};
use super::topology::RunModel;
use crate::flow::{LineRef, Table};
use crate::rules::RuleClass;

/// Maximum time by which a reported error precedes the death of a process that it may explain, in
/// nanoseconds.
const PRE_CRASH_ERROR_WINDOW_NS: i64 = 10 * SECOND_NS;

/// Findings from lines outside flows.
#[derive(Debug, Default)]
pub(super) struct RunFindings {
    /// Failures, starting with the first failure.
    pub failures: Vec<FirstFailure>,
    /// Something that was lost and is available again, if nothing failed.
    pub recovered: Option<FirstFailure>,
    /// Whether a caller disconnected, or the run was cancelled.
    pub caller_gone: bool,
    /// Whether the run was cancelled as a whole, or asked to stop.
    pub was_stopped: bool,
}

/// Evaluates all rule matches outside flows. `judged` is whether flows show the outcome of the run.
pub(super) fn find(table: &Table, model: &RunModel, has_classified_flows: bool) -> RunFindings {
    let signals = signals(table, model);
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut findings = RunFindings::default();
    let mut recovered: Option<FirstFailure> = None;
    for context in MatchContext::every(table, model) {
        if context.is_of_unknown_program() && !context.is_of_ended_process() && !context.is_of_job()
        {
            continue;
        }
        if let Some(severity) = context.severity(has_classified_flows, &signals) {
            candidates.push(context.candidate(severity));
        }
        findings.caller_gone |= context.class == RuleClass::CallerGone && !has_classified_flows;
        findings.was_stopped |= context.class == RuleClass::StopRequested
            || context.match_stats.first.2 == "job_cancelled";
        let lost = || {
            matches!(context.class, RuleClass::Unreachable | RuleClass::Infrastructure)
                && context.recovered_later(&[RuleClass::Healthy])
        };
        let has_recovered = if has_classified_flows {
            context.healed()
        } else {
            context.class == RuleClass::Recovered || lost()
        };
        if recovered.is_none() && has_recovered {
            recovered = Some(FirstFailure { kind: FailureKind::Error, ..context.failure() });
        }
    }
    if !has_classified_flows && candidates.is_empty() {
        candidates.extend(first_stop(table, model, &signals));
    }
    findings.failures = in_causal_order(candidates);
    if findings.failures.is_empty() {
        findings.recovered = recovered;
    }
    findings
}

/// Returns the first failure, then the others in order of time, once for each process and each
/// dependency.
///
/// More severe failures come first, but an error reported shortly before a process died is why it
/// died. Within one clock tick, the deeper layer came first. A component that only relays a failure
/// from elsewhere was affected by it, as was one that lost a dependency that is gone.
fn in_causal_order(mut candidates: Vec<Candidate>) -> Vec<FirstFailure> {
    candidates.sort_by(|a, b| {
        (a.from, a.relay, a.layer, &a.failure.evidence).cmp(&(
            b.from,
            b.relay,
            b.layer,
            &b.failure.evidence,
        ))
    });
    let Some(severity) = candidates.iter().map(|candidate| candidate.severity).min() else {
        return Vec::new();
    };
    let heaviest = candidates
        .iter()
        .find(|candidate| candidate.severity == severity)
        .map_or(i64::MIN, |candidate| candidate.from);
    let may_be_reason = |candidate: &Candidate| {
        candidate.severity == severity
            || (candidate.severity == Severity::Reported
                && !candidate.relay
                && candidate.from.saturating_add(PRE_CRASH_ERROR_WINDOW_NS) >= heaviest
                && candidate.from <= heaviest)
    };
    let first_until = candidates
        .iter()
        .filter(|candidate| may_be_reason(candidate))
        .map(|candidate| candidate.until)
        .min()
        .unwrap_or(i64::MIN);
    let rank = |candidate: &Candidate| {
        (
            candidate.relay,
            candidate.layer,
            candidate.severity,
            candidate.from,
            candidate.failure.evidence.clone(),
        )
    };
    let first = (0..candidates.len())
        .filter(|at| may_be_reason(&candidates[*at]) && candidates[*at].from < first_until)
        .min_by_key(|at| rank(&candidates[*at]));
    let Some(first) = first else { return Vec::new() };
    let mut first = candidates.remove(first);
    attribute_to_step(&mut first, &candidates);
    let outage = first.failure.process.is_none()
        || candidates.iter().any(|candidate| candidate.failure.process.is_none());
    let mut failures = vec![first.failure];
    let mut affected: Vec<CompactString> = Vec::new();
    for candidate in candidates {
        let failure = candidate.failure;
        let same = |known: &FirstFailure| {
            known.process == failure.process
                && (known.component == failure.component
                    || (known.process.is_some() && known.instance.is_some()))
        };
        // Less severe failures, and processes that could not start because a dependency is gone,
        // did not fail first.
        let follows = candidate.severity > severity
            || candidate.relay
            || (outage && failure.process.is_some() && follows_outage(&failure));
        if !failures.iter().any(same) {
            if follows { affected.push(failure.component) } else { failures.push(failure) }
        }
    }
    affected.sort();
    affected.dedup();
    if let Some(first) = failures.first_mut() {
        affected.retain(|victim| *victim != first.component);
        first.affected = affected;
    }
    failures
}

/// Maximum time between the failure of a step of a CI job and that of a program that it runs, in
/// nanoseconds. A test runner prints the output of a test after its result.
const STEP_WINDOW_NS: i64 = 60 * SECOND_NS;

/// Attributes the failure of a program without a name to the step of the CI job that failed with it:
/// a compiler that crashes in the build of an image belongs to the build.
fn attribute_to_step(first: &mut Candidate, others: &[Candidate]) {
    const STEPS: [&str; 2] = ["docker_build", "test_fail"];
    let log = |candidate: &Candidate| candidate.failure.evidence.first().map(|line| line.source);
    if first.failure.component != "unknown" || log(first).is_none() {
        return;
    }
    let (from, until) =
        (first.from.saturating_sub(STEP_WINDOW_NS), first.from.saturating_add(STEP_WINDOW_NS));
    let step = others
        .iter()
        .filter(|other| log(other) == log(first) && (from..=until).contains(&other.from))
        // Errors that nothing else explains belong to the tests, so that a build says more.
        .filter_map(|other| STEPS.iter().position(|step| other.failure.component == *step))
        .min();
    if let Some(step) = step.and_then(|step| STEPS.get(step)) {
        first.failure.component = CompactString::const_new(step);
    }
}

fn follows_outage(failure: &FirstFailure) -> bool {
    let message = failure.message.to_ascii_lowercase();
    message.contains("etcd") || message.contains("nats") || failure.message.contains("Traceback")
}

/// Returns the times at which a process was asked to stop, by the common clock, and the line that
/// first reports it.
fn signals(table: &Table, model: &RunModel) -> Vec<(Option<i64>, LineRef)> {
    let stops = table.producers_by_id.iter().flat_map(|(producer_id, activity)| {
        let skew = model.process(model.of_producer(*producer_id)).skew;
        let matches =
            activity.matches.iter().filter(|((class, ..), _)| *class == RuleClass::StopRequested);
        matches.flat_map(move |(_, match_stats)| {
            let first = (
                match_stats.first.0.time().map(|time| time.saturating_sub(skew)),
                match_stats.first.0.line,
            );
            let later = match_stats
                .times
                .iter()
                .skip(1)
                .map(move |time| (Some(time.saturating_sub(skew)), first.1));
            std::iter::once(first).chain(later)
        })
    });
    stops.collect()
}

/// Returns a stop that precedes every other stop, with work in flight and before any signal to
/// stop.
fn first_stop(
    table: &Table,
    model: &RunModel,
    signals: &[(Option<i64>, LineRef)],
) -> Option<Candidate> {
    let context = |class: RuleClass| {
        MatchContext::every(table, model).filter(move |context| context.class == class)
    };
    let mut stops: Vec<(i64, MatchContext<'_>)> =
        context(RuleClass::Stop).filter_map(|stop| Some((stop.time()?, stop))).collect();
    stops.sort_by_key(|(time, stop)| (*time, stop.match_stats.first.0));
    // A component that is asked to stop stops, too.
    let others: BTreeSet<CompactString> = stops
        .iter()
        .map(|(_, stop)| stop.producer_process().0)
        .chain(context(RuleClass::StopRequested).map(|stop| stop.producer_process().0))
        .collect();
    let (time, first) = stops.into_iter().next()?;
    let component = first.producer_process().0;
    let in_flight = context(RuleClass::WorkInFlight).any(|work| {
        work.time().is_some_and(|at| at.saturating_sub(time) < SHUTDOWN_NOISE_WINDOW_NS)
    });
    let ordered = signals.iter().any(|(signal, _)| signal.is_none_or(|signal| signal <= time));
    (in_flight && !ordered && others.len() > 1 && component != "unknown")
        .then(|| first.candidate(Severity::Stop))
}
