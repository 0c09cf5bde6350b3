//! Steps: from one line of a flow to the next, and the component that had the time between them.

use std::collections::{BTreeMap, HashSet};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::MAX_FLOW_LINES;
use super::attribution::RunPatterns;
use crate::flow::LineRef;
use crate::traces::FlowLines;

/// Kind of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// Component that the time belongs to: the one that logged both lines, the callee of a call, or
    /// the one that returns.
    pub owner: String,
    /// Component and pattern of the line before.
    pub from: (String, u64),
    /// Component and pattern of the line after.
    pub to: (String, u64),
}

/// Durations of a kind of step, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepStats {
    /// Number of steps.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Median.
    pub median: f64,
    /// Longest.
    pub max: f64,
}

/// Steps of one kind.
#[derive(Debug, Clone)]
pub struct Step {
    /// Summary of their durations.
    pub stats: StepStats,
    /// Their durations in milliseconds, each with the line after it, in ascending order.
    pub durations: Vec<(f64, LineRef)>,
}

impl Step {
    /// Returns the line after the longest step.
    pub fn example(&self) -> LineRef {
        let none = LineRef { source: 0, offset: 0, producer: 0 };
        self.durations.last().map_or(none, |(_, line)| *line)
    }
}

/// Owner, line before and line after of a step: components and patterns.
type Kind<'p> = (&'p str, (&'p str, u64), (&'p str, u64));

/// Returns the steps between neighboring lines of all flows, by kind.
pub fn steps(flows: &FlowLines, patterns: &RunPatterns<'_>) -> BTreeMap<StepKey, Step> {
    let mut all: BTreeMap<Kind<'_>, Vec<(f64, LineRef)>> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| flow.len() <= MAX_FLOW_LINES) {
        let mut seen: HashSet<&str, FixedState> = HashSet::default();
        let mut before: Option<(&str, u64, i64)> = None;
        for row in flow {
            let Some(pattern) = patterns.of_line(row.line, row.pattern) else { continue };
            let component = pattern.component.as_str();
            let is_new = seen.insert(component);
            if let Some((from, from_pattern, time)) = before {
                let owner = if from != component && !is_new { from } else { component };
                #[expect(clippy::cast_precision_loss, reason = "a duration tolerates rounding")]
                let millis = row.time.saturating_sub(time).max(0) as f64 / 1e6;
                all.entry((owner, (from, from_pattern), (component, row.pattern)))
                    .or_default()
                    .push((millis, row.line));
            }
            before = Some((component, row.pattern, row.time));
        }
    }
    all.into_iter()
        .map(|((owner, from, to), mut durations)| {
            durations.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let name = |(component, pattern): (&str, u64)| (component.to_owned(), pattern);
            let key = StepKey { owner: owner.to_owned(), from: name(from), to: name(to) };
            (key, Step { stats: summary(&durations), durations })
        })
        .collect()
}

/// Summarizes durations in ascending order.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
fn summary(durations: &[(f64, LineRef)]) -> StepStats {
    // A few very long ones say nothing about the usual duration.
    let kept = durations.len() - durations.len() / 50;
    let values = || durations.iter().take(kept).map(|(millis, _)| *millis);
    let count = kept.max(1) as f64;
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    let median = durations.get(durations.len() / 2).map_or(0.0, |(millis, _)| *millis);
    let max = durations.last().map_or(0.0, |(millis, _)| *millis);
    StepStats { count: durations.len() as u64, mean, deviation: variance.sqrt(), median, max }
}
