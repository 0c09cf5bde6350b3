//! Conversion of a diagnosis to a report: plain data, with its evidence.

use std::fmt::Write as _;

use flowlog_schema::Time;
use flowlog_schema::report::{
    Alternative, Evidence, Explanation, Failure, FailureKind, FlowFailure, Input, Owner, Report,
    RunOutcome, SCHEMA, Step, Suspect, Verdict,
};

use serde::Serialize;

use crate::diagnose::{self, Basis, Cause, Diagnosis, name_of};
use crate::evidence::{EvidenceLines, sanitize};
use crate::flow::LineRef;
use crate::lines::LineIndex;
use crate::owners::Owners;
use crate::source::Sources;
use crate::suspects::{self, Suspects};

/// Maximum number of evidence lines of one failure.
const MAX_EVIDENCE: usize = 10;

/// Everything that was found.
#[derive(Debug)]
pub struct Findings {
    /// The diagnosis.
    pub diagnosis: Diagnosis,
    /// Suspects.
    pub suspects: Suspects,
    /// Why nothing is proven, if nothing is.
    pub unproven: Option<String>,
}

/// Maximum number of reasons of a suspect.
const MAX_REASONS: usize = 5;

/// Builds the report, with the owner of each failure.
pub fn build(
    input: Input,
    findings: Findings,
    sources: &Sources,
    index: &LineIndex,
    owners: &Owners,
) -> Report {
    let Findings { mut diagnosis, suspects, unproven } = findings;
    let of_suspects = suspects.list.iter().flat_map(|suspect| &suspect.findings);
    let of_suspects = of_suspects.flat_map(|finding| &finding.evidence).map(|line| (*line, ""));
    let places = diagnosis.causes.iter().flat_map(|cause| {
        let reason = cause.evidence.first().map(|line| (*line, &*cause.failure.message));
        let others = cause.evidence.iter().copied().chain(lines_of(&cause.why));
        reason.into_iter().chain(others.map(|line| (line, "")))
    });
    let lines = EvidenceLines::read_reasons(sources, index, places.chain(of_suspects));
    let failures: Vec<Failure> =
        diagnosis.causes.iter().map(|cause| failure(cause, &lines, owners)).collect();
    // A long run has many failed flows: free each one as it is converted.
    let mut flow_failures: Vec<FlowFailure> = std::mem::take(&mut diagnosis.failed_flows)
        .into_iter()
        .map(|flow| FlowFailure {
            flow_id: flow.id.to_string(),
            outcome: flow.outcome,
            kind: flow.failure.kind,
            component: flow.failure.component.to_string(),
            instance: flow.failure.instance.as_ref().map(ToString::to_string),
            state: known(&flow.failure.state),
            error_type: known(&flow.failure.error_type),
            time: flow.failure.time.map(|time| Time(time).to_string()),
            fingerprint: flow.fingerprint.to_string(),
        })
        .collect();
    flow_failures.sort_by(|a, b| a.flow_id.cmp(&b.flow_id));
    let verdict = verdict(&diagnosis, &failures, unproven.as_deref());
    let suspects =
        suspects.list.iter().filter_map(|found| suspect(found, &lines, owners)).collect();
    Report {
        schema: SCHEMA.to_owned(),
        input,
        verdict,
        flows: diagnosis.counts,
        failures,
        flow_failures,
        suspects,
        trends: Vec::new(),
    }
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn failure(cause: &Cause, lines: &EvidenceLines, owners: &Owners) -> Failure {
    let failure = &cause.failure;
    let evidence: Vec<Evidence> = cause
        .evidence
        .iter()
        .filter_map(|place| lines.get(*place).cloned())
        .take(MAX_EVIDENCE)
        .collect();
    Failure {
        fingerprint: cause.fingerprint.to_string(),
        kind: failure.kind,
        component: failure.component.to_string(),
        instances: cause.instances.iter().map(ToString::to_string).collect(),
        state: known(&failure.state),
        error_type: known(&failure.error_type),
        message: known(&failure.message).map(|message| sanitize(&message, 400)),
        flows: cause.failed + cause.recovered,
        first: cause.first.map(|time| Time(time).to_string()),
        last: cause.last.map(|time| Time(time).to_string()),
        owner: owners.of(&failure.component),
        affected: cause.affected.iter().map(ToString::to_string).collect(),
        confidence: (cause.confidence * 1000.0).round() / 1000.0,
        examples: cause.examples.iter().map(ToString::to_string).collect(),
        evidence,
        why: explanation(&cause.why, lines),
    }
}

/// Maximum length of a reason, in bytes.
const MAX_REASON_BYTES: usize = 560;

fn suspect(found: &suspects::Suspect, lines: &EvidenceLines, owners: &Owners) -> Option<Suspect> {
    let best = found.best()?;
    let mut evidence: Vec<Evidence> = Vec::new();
    for line in found.findings.iter().flat_map(|finding| &finding.evidence) {
        if let Some(line) = lines.get(*line)
            && evidence.len() < MAX_EVIDENCE
            && !evidence.contains(line)
        {
            evidence.push(line.clone());
        }
    }
    let reasons = found.findings.iter().take(MAX_REASONS);
    let reasons = reasons.map(|finding| sanitize(&finding.describe(), MAX_REASON_BYTES));
    Some(Suspect {
        component: best.component.to_string(),
        instance: best.instance.as_ref().map(ToString::to_string),
        score: (found.score * 1000.0).round() / 1000.0,
        reasons: reasons.collect(),
        template: best.template.as_deref().map(|template| sanitize(template, 400)),
        count: best.count,
        first: best.first.map(|time| Time(time).to_string()),
        owner: owners.of(&best.component),
        evidence,
    })
}

/// A failure or a flow, and why it ended as it did.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Fingerprint of the failure, or ID of the flow.
    pub id: String,
    /// Outcome, and the component that failed first if any did.
    pub summary: String,
    /// Why.
    pub why: Explanation,
}

/// Explains the failure with this fingerprint, or else the flow that the diagnosis explained.
pub fn explained(
    diagnosis: &Diagnosis,
    fingerprint: &str,
    sources: &Sources,
    index: &LineIndex,
) -> Option<Explained> {
    let cause = diagnosis.causes.iter().find(|cause| cause.fingerprint == fingerprint);
    let convert = |why: &diagnose::Explanation| {
        explanation(why, &EvidenceLines::read(sources, index, lines_of(why)))
    };
    if let Some(cause) = cause {
        let failure = &cause.failure;
        let flows = cause.failed + cause.recovered;
        let what = [&*failure.error_type, &*failure.message].join(" ");
        let name = name_of(&failure.component, failure.instance.as_deref());
        return Some(Explained {
            id: cause.fingerprint.to_string(),
            summary: format!("{name} {}: {}; {flows} flows", failure.kind.as_str(), what.trim()),
            why: convert(&cause.why),
        });
    }
    let flow = diagnosis.explained.as_ref()?;
    let first = flow.first.as_ref().map_or_else(String::new, |(component, instance)| {
        format!(": {} failed first", name_of(component, instance.as_deref()))
    });
    let fingerprint = flow
        .fingerprint
        .as_ref()
        .map_or_else(String::new, |fingerprint| format!(" ({fingerprint})"));
    Some(Explained {
        id: flow.id.to_string(),
        summary: format!("{}{first}{fingerprint}", flow.outcome.as_str()),
        why: convert(&flow.why),
    })
}

/// Returns the lines that an explanation refers to.
fn lines_of(why: &diagnose::Explanation) -> impl Iterator<Item = LineRef> + '_ {
    let steps = why.steps.iter().filter_map(|step| step.line);
    steps.chain(why.rejected.iter().filter_map(|rejected| rejected.line))
}

/// Converts an explanation.
fn explanation(why: &diagnose::Explanation, lines: &EvidenceLines) -> Explanation {
    let evidence = |line: Option<LineRef>| line.and_then(|line| lines.get(line).cloned());
    Explanation {
        rule: why.rule.to_owned(),
        steps: why
            .steps
            .iter()
            .map(|step| Step { text: sanitize(&step.text, 400), evidence: evidence(step.line) })
            .collect(),
        contradicted_by: why.contradicted_by.to_owned(),
        rejected: why
            .rejected
            .iter()
            .map(|rejected| Alternative {
                component: rejected.component.to_string(),
                instance: rejected.instance.as_ref().map(ToString::to_string),
                reason: sanitize(&rejected.reason, 400),
                evidence: evidence(rejected.line),
            })
            .collect(),
    }
}

fn verdict(diagnosis: &Diagnosis, failures: &[Failure], unproven: Option<&str>) -> Verdict {
    let cause = failures
        .first()
        .filter(|_| matches!(diagnosis.outcome, RunOutcome::Failed | RunOutcome::Recovered));
    let counts = &diagnosis.counts;
    let summary = match cause {
        Some(failure) => {
            let who = match failure.instances.first() {
                Some(instance) => format!("{} ({instance})", failure.component),
                None => failure.component.clone(),
            };
            let what = match (&failure.error_type, &failure.message) {
                (Some(kind), Some(message)) => format!("{kind}: {message}"),
                (None, Some(message)) | (Some(message), None) => message.clone(),
                (None, None) => failure.kind.as_str().to_owned(),
            };
            let mut flows = match (counts.failed, counts.recovered) {
                (0, 0) if counts.total == 0 => String::new(),
                (0, 0) => format!("; all {} flows went on", counts.total),
                (0, recovered) => format!("; {recovered} of {} flows recovered", counts.total),
                (failed, 0) => format!("; {failed} of {} flows failed", counts.total),
                (failed, recovered) => {
                    format!("; {failed} of {} flows failed, {recovered} recovered", counts.total)
                }
            };
            if failure.flows < counts.failed + counts.recovered {
                let _ = write!(flows, ", {} of them from this cause", failure.flows);
            }
            let is_guess = failure.why.rule == Basis::Suspect.rule();
            let verb = match failure.kind {
                _ if is_guess => "is the best suspect",
                FailureKind::Slow => "became slow",
                _ => "failed first",
            };
            format!("{who} {verb}: {}{flows}", sanitize(&what, 160))
        }
        None => match diagnosis.outcome {
            RunOutcome::Cancelled if counts.total == 0 => {
                "nothing failed; a caller disconnected, or the run was stopped on request"
                    .to_owned()
            }
            RunOutcome::Cancelled => format!(
                "nothing failed; callers cancelled {} of {} flows",
                counts.cancelled, counts.total
            ),
            RunOutcome::Inconclusive => {
                format!("nothing is proven: {}", unproven.unwrap_or("the logs show too little"))
            }
            RunOutcome::Failed => "the run failed, and no line of its logs is unusual".to_owned(),
            _ if counts.total == 0 => "nothing failed".to_owned(),
            _ => format!("nothing failed in {} flows", counts.total),
        },
    };
    Verdict {
        outcome: diagnosis.outcome,
        component: cause.map(|failure| failure.component.clone()),
        instance: cause.and_then(|failure| failure.instances.first().cloned()),
        owner: cause.map_or_else(Owner::default, |failure| failure.owner.clone()),
        confidence: diagnosis.confidence,
        summary,
        evidence: cause.map(|failure| failure.evidence.clone()).unwrap_or_default(),
    }
}
