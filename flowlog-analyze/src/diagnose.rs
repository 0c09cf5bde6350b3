//! First failures, per flow and per run.
//!
//! Implements `docs/how-it-decides.md`, in this order: `topology` identifies the processes and how
//! far their clocks are off, `tree` builds the structure of a flow, `silence` detects hangs and
//! crashes, `first_failure` determines the outcome and first failure of a flow, which `description`
//! describes, `failure_groups` joins failures, `run_failures` finds failures that need no flow, and
//! `verdict` summarizes.

mod failure_groups;
mod names;
mod outage_evidence;
mod outages;
mod confidence;
mod fingerprint;
mod identity;
mod explanation;
mod missing_lines;
mod fault;
mod description;
mod attempts;
mod caller_exit;
mod faults;
mod first_failure;
mod availability;
mod callees;
mod clock_skew;
mod topology;
mod run_failures;
mod silence;
mod match_context;
mod tree;
mod verdict;

use compact_str::CompactString;
use flowlog_schema::report::{FailureKind, FlowCounts, FlowOutcome, RunOutcome};
use rayon::prelude::*;

use crate::event::FlowKey;
use crate::flow::{Evicted, Flow, LineRef, MergedFlow, NamedStats, Table};
use crate::format::is_lost;
use crate::rules::{RuleClass, is_relay};
use crate::source::Sources;

use outages::Outages;

pub use confidence::Basis;
pub use explanation::{Alternative, Explanation, Step, name_of};
pub use fingerprint::mask;
pub use first_failure::Outcome;
pub use topology::{Process, ProcessIndex, RunModel};
pub use tree::Tree;

/// The first failure of one flow, or of the run.
#[derive(Debug, Clone)]
pub struct FirstFailure {
    /// Kind of failure.
    pub kind: FailureKind,
    /// Component that failed.
    pub component: CompactString,
    /// Instance of the component.
    pub instance: Option<CompactString>,
    /// The component's process; `None` if it is not known, or if the component is a shared
    /// dependency that is not a process of the run.
    pub process: Option<ProcessIndex>,
    /// State in which it failed; empty if unknown.
    pub state: CompactString,
    /// Error type; empty if unknown.
    pub error_type: CompactString,
    /// Error message; empty if unknown.
    pub message: Box<str>,
    /// Last error that the component, or its caller in the same process, reported around the failure;
    /// empty if none.
    pub preceding_error: Box<str>,
    /// Time of the failure, in nanoseconds, corrected for clock skew.
    pub time: Option<i64>,
    /// Resolution of the time, in nanoseconds: timestamps have a limited number of digits, so the
    /// failure may have happened this much later.
    pub resolution_ns: i64,
    /// HTTP status reported with the failure.
    pub status: Option<u16>,
    /// Instance that the component called last; empty if unknown.
    pub callee: CompactString,
    /// All instances that the flow's spans called without a response.
    pub callees: Vec<CompactString>,
    /// When the component called it, or else when its work began, corrected for clock skew.
    pub called_at: Option<i64>,
    /// Processes that responded to the component in this flow.
    pub healthy_callees: Vec<ProcessIndex>,
    /// Whether the whole process is dead or silent, rather than only this span.
    pub whole_process: bool,
    /// Basis of the attribution.
    pub basis: Basis,
    /// Rule that a line outside flows matched.
    pub line_rule: Option<&'static str>,
    /// Components that failed because of this failure.
    pub affected: Vec<CompactString>,
    /// Lines that prove the failure, the most direct one first.
    pub evidence: Vec<LineRef>,
}

impl FirstFailure {
    /// Creates a failure of a component, with everything else unknown. An empty instance is none.
    fn new(
        kind: FailureKind,
        component: CompactString,
        instance: CompactString,
        process: Option<ProcessIndex>,
    ) -> Self {
        Self {
            kind,
            component,
            instance: (!instance.is_empty()).then_some(instance),
            process,
            state: CompactString::default(),
            error_type: CompactString::default(),
            message: Box::default(),
            preceding_error: Box::default(),
            time: None,
            resolution_ns: 0,
            status: None,
            callee: CompactString::default(),
            callees: Vec::new(),
            called_at: None,
            healthy_callees: Vec::new(),
            whole_process: false,
            basis: Basis::Reported,
            line_rule: None,
            affected: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// Returns the name of the rule that decides, under which `docs/rules.md` describes it.
    pub fn rule(&self) -> &'static str {
        self.line_rule.unwrap_or_else(|| self.basis.rule())
    }

    /// Returns the error that is nearest to the cause.
    fn text(&self) -> &str {
        if self.preceding_error.is_empty() { &self.message } else { &self.preceding_error }
    }

    /// Returns whether the failure reports, by message, type or status, that another process was
    /// lost; or says nothing, so that its cause depends on what is known of other processes.
    fn is_lost(&self) -> bool {
        let is_unspecific = matches!(self.error_type.as_str(), "" | "Unknown" | "error")
            && (self.message.is_empty() || is_relay(&self.message));
        is_unspecific
            || is_lost(&self.error_type, &self.message, self.status)
            || is_lost("", &self.preceding_error, None)
    }
}

/// A failed or recovered flow.
#[derive(Debug, Clone)]
pub struct FailedFlow {
    /// ID of the flow.
    pub id: FlowKey,
    /// Outcome of the flow.
    pub outcome: FlowOutcome,
    /// First failure of the flow.
    pub failure: Box<FirstFailure>,
    /// Fingerprint of its first failure.
    pub fingerprint: CompactString,
}

/// Failures with the same fingerprint.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Fingerprint of the failures.
    pub fingerprint: CompactString,
    /// Earliest failure; preferably one that was not joined to another.
    pub failure: FirstFailure,
    /// Instances, those with the most flows first.
    pub instances: Vec<CompactString>,
    /// Number of failed flows.
    pub failed: u64,
    /// Number of recovered flows.
    pub recovered: u64,
    /// Time of the first failure, in nanoseconds.
    pub first: Option<i64>,
    /// Time of the last failure, in nanoseconds.
    pub last: Option<i64>,
    /// Examples of its flows.
    pub examples: Vec<FlowKey>,
    /// Components that failed because of this cause.
    pub affected: Vec<CompactString>,
    /// Lines that prove the failures.
    pub evidence: Vec<LineRef>,
    /// Estimated probability that the attribution is right.
    pub confidence: f64,
    /// Flow of the failure that describes the cause, if it belongs to one.
    pub flow: Option<FlowKey>,
    /// Why the failure is attributed to its component.
    pub why: Explanation,
}

/// A failure that is found without flows and rules.
#[derive(Debug, Clone)]
pub struct Unusual {
    /// Kind of failure.
    pub kind: FailureKind,
    /// Component.
    pub component: CompactString,
    /// Instance of the component, if known.
    pub instance: Option<CompactString>,
    /// Message.
    pub message: String,
    /// Time of the first line, in nanoseconds.
    pub time: Option<i64>,
    /// Basis of the attribution.
    pub basis: Basis,
    /// Estimated probability that the attribution is right.
    pub confidence: f64,
    /// Reasons as sentences, and the line that shows each.
    pub reasons: Vec<(String, Option<LineRef>)>,
    /// Lines that show the failure.
    pub evidence: Vec<LineRef>,
}

impl Cause {
    /// Creates the cause of a failure that is found without flows and rules.
    pub fn of_unusual(unusual: Unusual) -> Self {
        let Unusual { kind, component, instance, message, time, basis, confidence, .. } = unusual;
        let mut failure =
            FirstFailure::new(kind, component, instance.clone().unwrap_or_default(), None);
        failure.message = message.into();
        failure.time = time;
        failure.basis = basis;
        failure.evidence.clone_from(&unusual.evidence);
        let steps = unusual.reasons.into_iter().map(|(text, line)| Step { text, line }).collect();
        Self {
            fingerprint: fingerprint::of(&failure),
            instances: instance.into_iter().collect(),
            failed: 0,
            recovered: 0,
            first: time,
            last: time,
            examples: Vec::new(),
            affected: Vec::new(),
            evidence: unusual.evidence,
            confidence,
            flow: None,
            why: Explanation {
                rule: basis.rule(),
                steps,
                contradicted_by: basis.contradicted_by(),
                rejected: Vec::new(),
            },
            failure,
        }
    }
}

/// The whole diagnosis.
#[derive(Debug)]
pub struct Diagnosis {
    /// Outcome of the run.
    pub outcome: RunOutcome,
    /// Estimated probability that the outcome and its cause are right.
    pub confidence: f64,
    /// Number of flows by outcome.
    pub counts: FlowCounts,
    /// Causes; the first is the verdict's.
    pub causes: Vec<Cause>,
    /// Failed and recovered flows, in the order of their IDs.
    pub failed_flows: Vec<FailedFlow>,
    /// Number of flows that were evicted, or could not be read again.
    pub evicted: u64,
    /// The requested flow, explained.
    pub explained: Option<ExplainedFlow>,
    /// Whether a process reported that it was ready or worked, or tests passed.
    pub shows_success: bool,
    /// Whether the run was cancelled as a whole, or asked to stop.
    pub was_stopped: bool,
    /// Processes, clocks and usual durations.
    pub model: RunModel,
}

/// A flow with its outcome and the reason for it.
#[derive(Debug)]
pub struct ExplainedFlow {
    /// ID of the flow.
    pub id: FlowKey,
    /// Outcome of the flow.
    pub outcome: Outcome,
    /// Fingerprint of its first failure, if it failed or recovered.
    pub fingerprint: Option<CompactString>,
    /// Component and instance that failed first, if any.
    pub first: Option<(CompactString, Option<CompactString>)>,
    /// Why.
    pub why: Explanation,
}

/// Maximum number of causes that are explained.
const MAX_EXPLAINED: usize = 100;

/// Diagnoses everything in the table. If `only` is not empty, only flows with one of these IDs are
/// included. `explain` is the ID of a flow to explain, whatever its outcome.
pub fn diagnose(
    table: &mut Table,
    sources: &Sources,
    only: &[FlowKey],
    explain: Option<&FlowKey>,
) -> Diagnosis {
    let (mut merged_flows, model) = build_run_model(table, sources);
    let table = &*table;
    let Evicted { failed: evicted, other: unknown } = table.evicted;
    let mut counts = FlowCounts::default();
    if only.is_empty() {
        counts = FlowCounts {
            total: table.closed.ok + evicted + unknown,
            ok: table.closed.ok,
            failed: evicted,
            unfinished: unknown,
            ..counts
        };
    } else {
        merged_flows.retain(|merged| merged.keys.iter().any(|key| only.contains(key)));
    }
    let mut failed_flows = Vec::new();
    let (mut left, mut unreadable) = (0u64, 0u64);
    let judge_group = |merged| {
        let flow = flow_with_callees(table, merged, &model)?;
        let (_, outcome, failure) = classify_flow(&flow, &model);
        Some((outcome, failure.map(Box::new)))
    };
    let has_classified_flows: Vec<Option<(Outcome, Option<Box<FirstFailure>>)>> =
        merged_flows.par_iter().map(judge_group).collect();
    for (merged, has_classified_flows) in merged_flows.iter().zip(has_classified_flows) {
        counts.total += 1;
        let Some((outcome, failure)) = has_classified_flows else {
            counts.unfinished += 1;
            unreadable += 1;
            continue;
        };
        match outcome {
            Outcome::Ok => counts.ok += 1,
            Outcome::Recovered => counts.recovered += 1,
            Outcome::Cancelled { by_signal } => {
                counts.cancelled += 1;
                left += u64::from(by_signal);
            }
            Outcome::Rejected => counts.rejected += 1,
            Outcome::Failed => counts.failed += 1,
            Outcome::Unfinished => counts.unfinished += 1,
        }
        let outcome = match outcome {
            Outcome::Failed => FlowOutcome::Failed,
            Outcome::Recovered => FlowOutcome::Recovered,
            _ => continue,
        };
        if let Some(failure) = failure {
            failed_flows.push(FailedFlow {
                id: merged.id.clone(),
                outcome,
                failure,
                fingerprint: CompactString::default(),
            });
        }
    }
    let is_judged = counts.total > counts.unfinished;
    // Failures outside the requested flows are not reported.
    let findings = if only.is_empty() {
        run_failures::find(table, &model, is_judged)
    } else {
        run_failures::RunFindings::default()
    };
    let outages = Outages::find(&failed_flows, &findings.failures, &model);
    outages::join(&mut failed_flows, &outages, &model);
    let run_failures: Vec<FirstFailure> =
        findings.failures.into_iter().chain(findings.recovered).collect();
    let mut causes = failure_groups::merged(&mut failed_flows, &run_failures);
    let explanation_of = |merged: &MergedFlow| {
        let flow = flow_with_callees(table, merged, &model)?;
        let tree = Tree::new(&flow, &model);
        let found = first_failure::classify_flow(&tree, &model);
        Some((found.outcome, Explanation::of_flow(&tree, &found, &outages, &model)))
    };
    for cause in causes.iter_mut().take(MAX_EXPLAINED) {
        let merged = cause.flow.as_ref().and_then(|id| {
            let at = merged_flows.binary_search_by(|merged| merged.id.cmp(id)).ok()?;
            merged_flows.get(at)
        });
        cause.why = merged
            .and_then(explanation_of)
            .map_or_else(|| Explanation::of_run(&cause.failure, &model), |(_, why)| why);
    }
    let explained = explain.and_then(|wanted| {
        let merged = merged_flows.iter().find(|merged| merged.keys.contains(wanted))?;
        let (outcome, why) = explanation_of(merged)?;
        let failed = failed_flows.iter().find(|failed| failed.id == merged.id);
        Some(ExplainedFlow {
            id: merged.id.clone(),
            outcome,
            fingerprint: failed.map(|failed| failed.fingerprint.clone()),
            first: failed
                .map(|failed| (failed.failure.component.clone(), failed.failure.instance.clone())),
            why,
        })
    });
    let (outcome, confidence) =
        verdict::of(&causes, &counts, left + u64::from(findings.caller_gone));
    Diagnosis {
        outcome,
        confidence,
        counts,
        causes,
        failed_flows,
        evicted: evicted + unknown + unreadable,
        explained,
        shows_success: shows_success(table),
        was_stopped: findings.was_stopped,
        model,
    }
}

/// Returns whether a process reported that it was ready, worked or was stopped in order, or tests
/// passed.
fn shows_success(table: &Table) -> bool {
    // A service that rejects a request works, and so does one that stops when it is asked to.
    table.producers_by_id.values().flat_map(|activity| activity.matches.keys()).any(
        |(class, ..)| {
            matches!(
                class,
                RuleClass::Ready
                    | RuleClass::Healthy
                    | RuleClass::Client
                    | RuleClass::StopRequested
            )
        },
    )
}

/// Returns the statistics of complete spans, both of closed flows and of those still in the table.
fn closed_stats(table: &Table, merged_flows: &[MergedFlow]) -> NamedStats {
    let here = merged_flows
        .par_iter()
        .fold(NamedStats::default, |mut closed, merged| {
            table.flow(merged).iter().for_each(|flow| closed.add_flow(flow));
            closed
        })
        .reduce(NamedStats::default, |mut joined, closed| {
            joined.merge(closed);
            joined
        });
    let mut closed = table.closed.clone();
    closed.merge(here);
    closed
}

/// Returns every flow, and the model of the run that classifying or displaying one requires.
pub fn build_run_model(table: &mut Table, sources: &Sources) -> (Vec<MergedFlow>, RunModel) {
    let merged_flows = table.merged_flows();
    let mut model = RunModel::new(table, closed_stats(table, &merged_flows), sources);
    model.components_losing_lines = missing_lines::of(table, &merged_flows, &model);
    (merged_flows, model)
}

/// Returns a flow with all processes that its spans call by name, even if they logged nothing of
/// it; `None` if it cannot be read again.
pub fn flow_with_callees(table: &Table, merged: &MergedFlow, model: &RunModel) -> Option<Flow> {
    let mut flow = table.flow(merged)?;
    callees::add_silent(&mut flow, model);
    Some(flow)
}

/// Returns whether a span's last line is missing, rather than still to come: its caller ended well,
/// or it is the root and all spans that it called ended.
pub fn lacks_end(tree: &Tree<'_>, at: usize, model: &RunModel) -> bool {
    missing_lines::caller_ended_well(tree, at)
        || (at == tree.root && missing_lines::only_root_unfinished(tree, model))
}

/// Returns the structure, outcome and first failure of one flow.
pub fn classify_flow<'a>(
    flow: &'a Flow,
    model: &RunModel,
) -> (Tree<'a>, Outcome, Option<FirstFailure>) {
    let tree = Tree::new(flow, model);
    let found = first_failure::classify_flow(&tree, model);
    let failure =
        found.first.map(|first| description::describe(&tree, first, &found.faults, model));
    let outcome = found.outcome;
    (tree, outcome, failure)
}
