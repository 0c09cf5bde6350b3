//! Components that became slower: the time between neighboring lines of a flow, compared with the
//! baseline.
//!
//! Time between two lines of one component is its own. Time between lines of two components is
//! that of a call or a response, and may be either one's: a component gets as much of it as the
//! share of its calls and responses that became slower. A slow callee is slow for every caller, and
//! a caller with a slow network calls everything slowly.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::{Finding, FindingKind};
use crate::flow::LineRef;
use crate::profile::{Profile, Step, StepKey, StepStats};

/// Score of a component with all of the additional time.
const SLOW: f64 = 0.76;

/// Minimum number of standard errors by which the mean must be longer.
const MIN_DEVIATIONS: f64 = 4.0;

/// Minimum factor by which the mean must be longer.
const MIN_FACTOR: f64 = 1.5;

/// Minimum additional time of a step, in milliseconds.
const MIN_MILLIS: f64 = 3.0;

/// Minimum number of steps of a kind in the baseline.
const MIN_USUAL: f64 = 5.0;

/// Minimum share of all time in flows that is additional, for full weight.
const MIN_SHARE_OF_ALL: f64 = 0.04;

/// Minimum share of the additional time for a component to be the one that is slow.
const MIN_SHARE: f64 = 0.5;

/// A component that became slower than in the baseline.
#[derive(Debug, Clone)]
pub struct Slowdown {
    /// Component.
    pub component: CompactString,
    /// Durations in the run of the step with the most additional time.
    pub stats: StepStats,
    /// Durations of that step in the baseline.
    pub usual: StepStats,
    /// Share of the additional time that the component had, from 0 to 1.
    pub share: f64,
    /// Number of steps that became slower.
    pub count: u64,
    /// A slow line.
    pub evidence: LineRef,
}

/// Additional time of a component.
#[derive(Default)]
struct Excess {
    own: f64,
    /// Additional time of calls and responses, how many became slower, and how many there are.
    crossing: f64,
    slow: f64,
    all: f64,
    /// Number of steps that became slower.
    count: u64,
    /// Additional time and durations of the worst step.
    worst: Option<(f64, StepStats, StepStats, LineRef)>,
}

impl Excess {
    fn blame(&self) -> f64 {
        self.own + self.crossing * (self.slow / self.all.max(1.0))
    }

    fn add(
        &mut self,
        millis: f64,
        count: f64,
        is_crossing: bool,
        worst: Option<(StepStats, StepStats, LineRef)>,
    ) {
        if is_crossing {
            self.crossing += millis;
            self.slow += count;
        } else {
            self.own += millis;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let slow = count as u64;
        self.count += slow;
        if let Some((stats, usual, line)) = worst
            && self.worst.as_ref().is_none_or(|(most, ..)| millis > *most)
        {
            self.worst = Some((millis, stats, usual, line));
        }
    }
}

/// Finds components that became slower, and the one that clearly is the slow one. `when` says in
/// words what the baselines are.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
pub(super) fn find(
    found: &BTreeMap<StepKey, Step>,
    baselines: &[Profile],
    when: &str,
) -> (Vec<Finding>, Option<Slowdown>) {
    let usual = usual(baselines);
    if usual.is_empty() {
        return (Vec::new(), None);
    }
    let mut by_component: BTreeMap<&str, Excess> = BTreeMap::new();
    let mut all = 0.0;
    for (key, step) in found {
        let count = step.stats.count as f64;
        all += step.stats.mean * count;
        let Some(usual) = usual.get(key).filter(|usual| usual.count >= MIN_USUAL) else { continue };
        let (millis, slow) = excess(step, usual);
        let is_crossing = key.from.0 != key.to.0;
        let owners: &[&str] = if is_crossing { &[&key.from.0, &key.to.0] } else { &[&key.owner] };
        for owner in owners {
            let excess = by_component.entry(owner).or_default();
            if is_crossing {
                excess.all += count;
            }
            if millis > 0.0 {
                let worst = (step.stats, usual.stats, step.example());
                excess.add(millis, slow, is_crossing, Some(worst));
            }
        }
    }
    let blamed: f64 = by_component.values().map(Excess::blame).sum();
    let mut findings = Vec::new();
    let mut slowdown: Option<Slowdown> = None;
    for (component, excess) in by_component {
        let Some((_, stats, usual, line)) = excess.worst else { continue };
        let share = excess.blame() / f64::max(blamed, 1e-9);
        let of_all = (excess.blame() / f64::max(all, 1e-9)).min(1.0);
        let weight = 0.55 + 0.45 * (of_all / MIN_SHARE_OF_ALL).min(1.0);
        let certainty = 1.0 - (-(excess.count as f64) / 4.0).exp();
        findings.push(Finding {
            kind: FindingKind::Slow,
            component: CompactString::from(component),
            instance: None,
            score: SLOW * share.sqrt() * weight * certainty,
            reason: format!(
                "its work takes longer than {when}, {} times: up to {:.1} ms instead of \
                 {:.1} ms on average; {:.0} % of all additional time",
                excess.count,
                stats.max,
                usual.mean,
                share * 100.0
            ),
            template: None,
            root_cause: String::new(),
            count: excess.count,
            first: None,
            evidence: vec![line],
        });
        if share >= MIN_SHARE && of_all >= MIN_SHARE_OF_ALL {
            slowdown = Some(Slowdown {
                component: CompactString::from(component),
                stats,
                usual,
                share,
                count: excess.count,
                evidence: line,
            });
        }
    }
    (findings, slowdown)
}

/// Returns the additional time of a step in milliseconds, and how many are slower: all of them if
/// the mean is longer, or else those that are longer than any in the baseline.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
fn excess(step: &Step, usual: &Usual) -> (f64, f64) {
    let count = step.stats.count as f64;
    let more = step.stats.mean - usual.stats.mean;
    let error = (step.stats.deviation.powi(2) / count
        + usual.stats.deviation.powi(2) / usual.count
        + usual.spread.powi(2)
        + (0.03 * usual.stats.mean).powi(2))
    .sqrt()
    .max(1e-6);
    let is_slower = count >= MIN_USUAL
        && more >= MIN_MILLIS
        && step.stats.mean >= MIN_FACTOR * usual.most
        && more / error >= MIN_DEVIATIONS;
    if is_slower {
        return (more * count, count);
    }
    // The fewer the baseline has, the less its longest says.
    let margin = 1.3 + 4.0 / usual.count.sqrt();
    let limit = usual.stats.max * margin + MIN_MILLIS;
    let slow: Vec<f64> = step
        .durations
        .iter()
        .rev()
        .map(|(millis, _)| *millis)
        .take_while(|millis| *millis > limit)
        .collect();
    (slow.iter().map(|millis| millis - usual.stats.mean).sum(), slow.len() as f64)
}

/// A step in all baselines.
struct Usual {
    stats: StepStats,
    count: f64,
    /// Standard deviation of the baselines' means.
    spread: f64,
    /// Longest mean.
    most: f64,
}

#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
fn usual(baselines: &[Profile]) -> BTreeMap<&StepKey, Usual> {
    let mut all: BTreeMap<&StepKey, Vec<&StepStats>> = BTreeMap::new();
    for (key, stats) in baselines.iter().flat_map(|profile| &profile.steps) {
        all.entry(key).or_default().push(stats);
    }
    all.into_iter()
        .map(|(key, stats)| {
            let count: f64 = stats.iter().map(|stats| stats.count as f64).sum();
            let weighted = |value: fn(&StepStats) -> f64| {
                stats.iter().map(|one| value(one) * one.count as f64).sum::<f64>() / count
            };
            let mean = weighted(|one| one.mean);
            let max = stats.iter().map(|one| one.max).fold(0.0, f64::max);
            let variance =
                stats.iter().map(|one| (one.mean - mean).powi(2)).sum::<f64>() / stats.len() as f64;
            // A mean of a few steps may be long by chance.
            let most =
                stats.iter().filter(|one| one.count >= 5).map(|one| one.mean).fold(mean, f64::max);
            let summary = StepStats {
                count: stats.iter().map(|one| one.count).sum(),
                mean,
                deviation: weighted(|one| one.deviation),
                median: weighted(|one| one.median),
                max,
            };
            (key, Usual { stats: summary, count, spread: variance.sqrt(), most })
        })
        .collect()
}
