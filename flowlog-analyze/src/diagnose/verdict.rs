//! Outcome of the run.

use flowlog_schema::report::{FailureKind, FlowCounts, RunOutcome};

use super::Cause;

/// Returns the outcome, and the estimated probability that it and its cause are right. The cause is
/// the first in the list.
pub(super) fn of(causes: &[Cause], counts: &FlowCounts, left_by_signal: u64) -> (RunOutcome, f64) {
    let outcome =
        if counts.failed > 0 || causes.iter().any(|cause| cause.failure.kind == FailureKind::Run) {
            RunOutcome::Failed
        } else if counts.recovered > 0 || !causes.is_empty() {
            RunOutcome::Recovered
        } else if left_by_signal > 0 || (counts.cancelled > 0 && counts.rejected == 0) {
            RunOutcome::Cancelled
        } else {
            RunOutcome::Healthy
        };
    let confidence = match (causes.first(), outcome) {
        (Some(first), RunOutcome::Failed | RunOutcome::Recovered) => {
            first.confidence * lead(first, causes.get(1)) * named(&first.failure.component)
        }
        // No failure was found, but flows that never ended may hide one.
        _ if counts.total == 0 => 0.5,
        #[expect(clippy::cast_precision_loss, reason = "a ratio tolerates rounding")]
        _ => 0.99 - 0.5 * counts.unfinished as f64 / counts.total as f64,
    };
    (outcome, (confidence * 1000.0).round() / 1000.0)
}

/// Returns the factor for a second cause that comes close: the two may be one.
fn lead(first: &Cause, second: Option<&Cause>) -> f64 {
    let weight = |cause: &Cause| cause.failed * 1_000 + cause.recovered;
    let Some(second) = second else { return 1.0 };
    // Failures without flows are in causal order already, and most later ones are consequences.
    if weight(first) == 0 {
        return 0.9;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio tolerates rounding")]
    let ratio = weight(second) as f64 / weight(first).max(weight(second)) as f64;
    1.0 - 0.5 * ratio
}

/// Returns the factor for a component that is not known: nobody owns it.
fn named(component: &str) -> f64 {
    if component == "unknown" { 0.5 } else { 1.0 }
}
