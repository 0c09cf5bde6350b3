//! Profiles of runs: which messages each component logs and how often, and how long it works
//! between the lines of a flow. A run is compared with the profiles of good ones.

mod attribution;
mod sequences;
mod steps;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnose::{Process, RunModel};
use crate::flow::LogPosition;
use crate::ingest::Ingested;
use crate::patterns::masked;
use crate::traces::FlowLines;

pub use attribution::{RunPattern, RunPatterns};
pub use sequences::{Sequence, SequenceKey, sequences};
pub use steps::{Step, StepKey, StepStats, steps};

/// Version of the profile's form. Another version cannot be compared.
const VERSION: u32 = 1;

/// What a run usually logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Always `flowlog.profile`.
    schema: String,
    version: u32,
    /// Time from the first line to the last, in seconds.
    pub seconds: f64,
    /// Components by name.
    pub components: BTreeMap<String, ComponentProfile>,
    /// Time between neighboring lines of a flow.
    pub steps: Vec<(StepKey, StepStats)>,
    /// How often a component's lines follow each other in a flow.
    pub sequences: Vec<(SequenceKey, u64)>,
}

/// What a component usually logs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ComponentProfile {
    /// Number of lines.
    pub lines: u64,
    /// Message patterns by their hash.
    pub patterns: BTreeMap<u64, PatternProfile>,
}

/// A message pattern in a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatternProfile {
    /// Number of lines.
    pub count: u64,
    /// Message without its variable parts.
    pub text: String,
    /// Whether it is an error.
    #[serde(default)]
    pub is_error: bool,
}

/// A profile that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The text is not a profile.
    #[error("not a profile: {0}")]
    Syntax(#[from] serde_json::Error),
    /// The profile is of another version.
    #[error("profile of version {0}, but this program reads version {VERSION}: make it again")]
    Version(u32),
}

impl Profile {
    /// Makes the profile of a run.
    pub fn of(ingested: &Ingested, patterns: &RunPatterns<'_>, seconds: f64) -> Self {
        Self::of_part(&ingested.traces.flows(), patterns, seconds, i64::MAX)
    }

    /// Makes the profile of the part of a run before a time, of the flows in that part.
    fn of_part(flows: &FlowLines, patterns: &RunPatterns<'_>, seconds: f64, until: i64) -> Self {
        let mut components: BTreeMap<String, ComponentProfile> = BTreeMap::new();
        for pattern in patterns.iter() {
            let count = match until {
                i64::MAX => pattern.stats.count,
                _ => pattern.stats.rate.within(i64::MIN, until),
            };
            if count == 0 {
                continue;
            }
            let component = components.entry(pattern.component.to_string()).or_default();
            component.lines += count;
            component
                .patterns
                .entry(pattern.key.1)
                .and_modify(|known| known.is_error |= pattern.stats.is_error)
                .or_insert_with(|| PatternProfile {
                    count: 0,
                    text: crate::secrets::mask(&masked(&pattern.stats.first.1)).into_owned(),
                    is_error: pattern.stats.is_error,
                })
                .count += count;
        }
        let mut sequences: Vec<(SequenceKey, u64)> = sequences(flows, patterns)
            .into_iter()
            .map(|(key, sequence)| (key, sequence.count))
            .collect();
        sequences.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sequences.truncate(MAX_STEPS);
        let mut steps: Vec<(StepKey, StepStats)> =
            steps(flows, patterns).into_iter().map(|(key, step)| (key, step.stats)).collect();
        // The rarest say the least.
        steps.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
        steps.truncate(MAX_STEPS);
        Self { schema: SCHEMA.to_owned(), version: VERSION, seconds, components, steps, sequences }
    }

    /// Reads a profile that [`Profile::to_json`] wrote.
    ///
    /// # Errors
    /// Returns an error if the text is not a profile of this version.
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = serde_json::from_str(text)?;
        if profile.version == VERSION {
            Ok(profile)
        } else {
            Err(ProfileError::Version(profile.version))
        }
    }

    /// Writes the profile.
    ///
    /// # Errors
    /// Returns an error if a number cannot be written.
    pub fn to_json(&self) -> Result<String, ProfileError> {
        Ok(serde_json::to_string(self)?)
    }

    /// Returns whether a text begins like a profile.
    pub fn is_profile(head: &[u8]) -> bool {
        head.starts_with(PREFIX.as_bytes())
    }

    /// Returns the number of lines of a component with a pattern.
    pub fn count(&self, component: &str, pattern: u64) -> u64 {
        self.components
            .get(component)
            .and_then(|component| component.patterns.get(&pattern))
            .map_or(0, |pattern| pattern.count)
    }

    /// Returns the number of lines of a component.
    pub fn lines(&self, component: &str) -> u64 {
        self.components.get(component).map_or(0, |component| component.lines)
    }
}

/// Maximum number of lines of one flow: an ID that occurs more often is not that of a request.
const MAX_FLOW_LINES: usize = 2_000;

/// Maximum number of kinds of steps and of sequences in a profile.
const MAX_STEPS: usize = 20_000;

const SCHEMA: &str = "flowlog.profile";

/// Beginning of a profile.
const PREFIX: &str = "{\"schema\":\"flowlog.profile\"";

/// The earlier part of a run as a baseline of the later part.
pub struct EarlierPart {
    /// Profile of the earlier part.
    pub profile: Profile,
    /// Flows that ended later.
    pub later_flows: FlowLines,
    /// End of the earlier part, in nanoseconds.
    pub until: i64,
}

impl EarlierPart {
    /// Scales a number of lines of the earlier part to the duration of the later part.
    #[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
    pub fn expected_later(&self, lines: u64) -> f64 {
        lines as f64 * (1.0 - EARLIER) / EARLIER
    }
}

/// Share of the run that is its earlier part.
const EARLIER: f64 = 0.3;

/// Minimum duration of the earlier part, in seconds.
const MIN_EARLIER_SECONDS: f64 = 15.0;

/// Returns the earlier part of a run, if it is long enough to say what is usual.
pub fn earlier_part(
    flows: &FlowLines,
    patterns: &RunPatterns<'_>,
    model: &RunModel,
) -> Option<EarlierPart> {
    let seconds = EARLIER * seconds(model);
    if seconds < MIN_EARLIER_SECONDS {
        return None;
    }
    let begin = first_time(model)?;
    #[expect(clippy::cast_possible_truncation, reason = "less than the duration of the run")]
    let until = begin.saturating_add((seconds * 1e9) as i64);
    let (earlier, later_flows): (FlowLines, FlowLines) =
        flows.iter().cloned().partition(|flow| flow.last().is_some_and(|last| last.time < until));
    let profile = Profile::of_part(&earlier, patterns, seconds, until);
    Some(EarlierPart { profile, later_flows, until })
}

/// Returns the time of the first line of a run.
fn first_time(model: &RunModel) -> Option<i64> {
    let first = |process: &Process| process.activity.first.and_then(LogPosition::time);
    model.processes.iter().filter_map(first).min()
}

/// Returns the time from the first line to the last, in seconds.
pub fn seconds(model: &RunModel) -> f64 {
    let first = first_time(model);
    #[expect(clippy::cast_precision_loss, reason = "a duration tolerates rounding")]
    first.map_or(0.0, |first| model.end.saturating_sub(first).max(0) as f64 / 1e9)
}
