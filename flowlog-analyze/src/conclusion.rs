//! Conclusion: what the diagnosis and the suspects say together.
//!
//! A failure that flows or rules prove stands. Where nothing is proven, a run is healthy only with
//! evidence that it went well, and inconclusive without. If the run is known to have failed, the
//! best suspect is named.

use flowlog_schema::report::{FailureKind, Input, RunOutcome};

use crate::diagnose::{Basis, Cause, Diagnosis, Unusual};
use crate::format::Format;
use crate::ingest::Ingested;
use crate::source::Incomplete;
use crate::suspects::{Finding, Suspect, Suspects};

/// What the caller knows about the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// The run failed.
    pub has_failed: bool,
    /// There are profiles of good runs to compare with.
    pub has_baseline: bool,
}

/// Minimum score of a suspect against which no other evidence makes a run healthy.
const STRONG: f64 = 0.6;

/// The same for a run that was asked to stop: a shutdown is loud.
const STRONG_AT_STOP: f64 = 0.72;

/// Minimum share of lines that must be understood.
const MIN_UNDERSTOOD: f64 = 0.5;

/// Minimum share of lines that must be understood if flows ended well, which says more.
const MIN_UNDERSTOOD_WITH_FLOWS: f64 = 0.1;

/// Maximum score of the best suspect of a run that is like its baseline.
const WEAK: f64 = 0.45;

/// Minimum share of the additional time of a slowdown that is a failure by itself.
const CLEAR_SHARE: f64 = 0.6;

/// Minimum factor by which the slowest step of a slowdown that is a failure by itself is slower.
const CLEAR_FACTOR: f64 = 3.0;

/// Concludes. Changes the diagnosis's outcome, and adds the failure that the suspects show. Returns
/// why nothing is proven, if nothing is.
pub fn conclude(
    diagnosis: &mut Diagnosis,
    suspects: &Suspects,
    objects: Option<Unusual>,
    ingested: &Ingested,
    known: Known,
) -> Option<String> {
    let input = &ingested.input;
    if let Some(failure) = objects
        && (diagnosis.outcome != RunOutcome::Failed || is_text_only(diagnosis))
    {
        diagnosis.confidence = failure.confidence;
        diagnosis.causes.insert(0, Cause::of_unusual(failure));
        diagnosis.outcome = RunOutcome::Failed;
        return None;
    }
    if diagnosis.outcome == RunOutcome::Failed {
        prefer_suspect(diagnosis, suspects, known);
        return None;
    }
    let best = suspects.list.first();
    let score = best.map_or(0.0, |suspect| suspect.score);
    if diagnosis.outcome != RunOutcome::Recovered
        && let Some(slow) = &suspects.slowdown
        && slow.share >= CLEAR_SHARE
        && slow.stats.mean > CLEAR_FACTOR * slow.usual.mean
        && best.and_then(Suspect::best).is_none_or(|best| best.component == slow.component)
    {
        let message = format!(
            "its slowest step takes {:.1} ms on average instead of {:.1} ms (median {:.1} ms instead \
             of {:.1} ms)",
            slow.stats.mean, slow.usual.mean, slow.stats.median, slow.usual.median
        );
        fail(diagnosis, FailureKind::Slow, Basis::Slower, 0.6 * slow.share, message, best);
        return None;
    }
    if known.has_failed {
        if diagnosis.outcome == RunOutcome::Recovered {
            return None;
        }
        diagnosis.outcome = RunOutcome::Failed;
        diagnosis.confidence = 0.05;
        diagnosis.causes.clear();
        if let Some(best) = best {
            let confidence = confidence(suspects);
            let kind = match &suspects.slowdown {
                Some(slow)
                    if best.best().is_some_and(|first| {
                        first.component == slow.component && first.template.is_none()
                    }) =>
                {
                    FailureKind::Slow
                }
                _ => FailureKind::Run,
            };
            let message = best.best().map(Finding::describe).unwrap_or_default();
            fail(diagnosis, kind, Basis::Suspect, confidence, message, Some(best));
        }
        return None;
    }
    // One client that disconnects explains no other error.
    let is_only_a_client = diagnosis.outcome == RunOutcome::Cancelled
        && diagnosis.counts.total == 0
        && !diagnosis.was_stopped
        && score >= STRONG;
    if diagnosis.outcome != RunOutcome::Healthy && !is_only_a_client {
        return None;
    }
    let strong = if diagnosis.was_stopped { STRONG_AT_STOP } else { STRONG };
    let understood = understood(input);
    let has_flows = diagnosis.counts.ok + diagnosis.counts.rejected > 0;
    let went_well = has_flows
        || diagnosis.shows_success
        || score < WEAK && (known.has_baseline || known_share(input) >= 0.5);
    let cut_at_limit = ingested
        .incomplete
        .values()
        .zip(&input.incomplete)
        .find_map(|(why, cut)| (*why == Incomplete::SizeLimit).then_some(cut));
    let reason = if input.lines == 0 {
        "there are no log lines".to_owned()
    } else if understood < if has_flows { MIN_UNDERSTOOD_WITH_FLOWS } else { MIN_UNDERSTOOD } {
        format!("{:.0} % of the lines are in no known format", (1.0 - understood) * 100.0)
    } else if let Some(cut) = cut_at_limit {
        format!("{}: {}", cut.source, cut.error)
    } else if !went_well {
        "no flow ended, no service reported that it was ready, and no test passed".to_owned()
    } else if score >= strong && !has_flows {
        "there are errors, and nothing shows what became of them".to_owned()
    } else {
        return None;
    };
    diagnosis.outcome = RunOutcome::Inconclusive;
    diagnosis.confidence = 0.0;
    Some(reason)
}

/// Returns whether the failure is known only from the text of a line.
fn is_text_only(diagnosis: &Diagnosis) -> bool {
    let text = [Basis::ErrorText, Basis::Relay, Basis::Pattern, Basis::RuleMatch];
    rests_on(diagnosis, &text)
}

/// Returns whether no flow failed, and the first cause rests on one of these bases.
fn rests_on(diagnosis: &Diagnosis, bases: &[Basis]) -> bool {
    diagnosis.counts.failed == 0
        && diagnosis.causes.first().is_some_and(|cause| bases.contains(&cause.failure.basis))
}

/// Puts the best suspect first if the failure is known only from the text of a line, and the
/// baseline has that line, too, or shows something more unusual.
fn prefer_suspect(diagnosis: &mut Diagnosis, suspects: &Suspects, known: Known) {
    let Some(best) = suspects.list.first() else { return };
    let is_weak = rests_on(diagnosis, &[Basis::ErrorText, Basis::Relay, Basis::Pattern]);
    let component = diagnosis.causes.first().map(|cause| cause.failure.component.clone());
    let own = suspects
        .list
        .iter()
        .find(|suspect| suspect.best().map(|first| &first.component) == component.as_ref());
    let own_score = own.map_or(0.0, |suspect| suspect.score);
    if known.has_baseline && is_weak && best.score > own_score + 0.15 {
        let message = best.best().map(Finding::describe).unwrap_or_default();
        let confidence = confidence(suspects);
        fail(diagnosis, FailureKind::Run, Basis::Suspect, confidence, message, Some(best));
    }
}

/// Makes the outcome a failure of the suspect's component.
fn fail(
    diagnosis: &mut Diagnosis,
    kind: FailureKind,
    basis: Basis,
    confidence: f64,
    message: String,
    suspect: Option<&Suspect>,
) {
    let Some(first) = suspect.and_then(Suspect::best) else { return };
    let reasons = suspect
        .map(|suspect| suspect.findings.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|finding| (finding.describe(), finding.evidence.first().copied()))
        .collect();
    diagnosis.outcome = RunOutcome::Failed;
    diagnosis.confidence = confidence;
    diagnosis.causes.insert(
        0,
        Cause::of_unusual(Unusual {
            kind,
            component: first.component.clone(),
            instance: first.instance.clone(),
            message,
            time: first.first,
            basis,
            confidence,
            reasons,
            evidence: first.evidence.clone(),
        }),
    );
}

/// Returns the confidence in the best suspect: less than its score, and less if the second comes
/// close.
fn confidence(suspects: &Suspects) -> f64 {
    let score = |at: usize| suspects.list.get(at).map_or(0.0, |suspect| suspect.score);
    let lead = ((score(0) - score(1)) / 0.3).clamp(0.0, 1.0);
    let confidence = score(0) * (0.35 + 0.4 * lead);
    (confidence * 1000.0).round() / 1000.0
}

/// Returns the share of lines in formats of known programs, whose failures the rules know.
fn known_share(input: &Input) -> f64 {
    share_of(input, |format| !format.is_of_any_program())
}

/// Returns the share of lines in some formats.
fn share_of(input: &Input, is_counted: impl Fn(Format) -> bool) -> f64 {
    let counted = Format::all().filter(|format| is_counted(*format));
    let lines: u64 = counted.filter_map(|format| input.formats.get(format.name())).sum();
    #[expect(clippy::cast_precision_loss, reason = "a ratio tolerates rounding")]
    let share = lines as f64 / input.lines.max(1) as f64;
    share
}

/// Returns the share of lines that some format accepts.
fn understood(input: &Input) -> f64 {
    1.0 - share_of(input, |format| format == Format::UNRECOGNISED)
}
