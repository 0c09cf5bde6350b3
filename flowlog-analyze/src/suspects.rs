//! Suspects: components whose lines are unusual, where no rule and no flow proves a failure.
//!
//! Each [`Finding`] is one reason. `messages` finds errors, and messages that are new, missing or
//! more frequent than usual; `timing` finds components that became slower, `order` those whose work took
//! another way; `silence` finds those that stopped logging or started again. `callees` moves suspicion from the component that reports a lost call to
//! the one that it names. A suspect is a component with all its findings.

mod callees;
mod messages;
mod order;
mod relatives;
mod silence;
mod timing;

use std::collections::BTreeMap;

use compact_str::CompactString;

use callees::{Calls, Successors};

use crate::diagnose::RunModel;
use crate::event::truncate;
use crate::flow::LineRef;
use crate::ingest::Ingested;
use crate::profile::{self, EarlierPart, Profile, RunPatterns};

pub use timing::Slowdown;

/// What is unusual about a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// An error, or another message.
    Message,
    /// Messages that are missing, or come in another order.
    EndsEarly,
    /// It became slower.
    Slow,
    /// It logs less than usual.
    Less,
    /// It stopped logging, or started again.
    Stopped,
    /// Another component reports that its call failed.
    Reported,
    /// State of a Kubernetes object.
    Object,
}

impl FindingKind {
    /// Returns the least score with which a component is taken for the one that others miss. What a
    /// component logs less may be because nobody calls it.
    fn least_of_callee(self) -> f64 {
        match self {
            Self::Stopped | Self::Object => 0.3,
            Self::Slow => 0.45,
            Self::Message | Self::EndsEarly | Self::Less | Self::Reported => f64::INFINITY,
        }
    }
}

/// One reason to suspect a component.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What is unusual.
    pub kind: FindingKind,
    /// Component.
    pub component: CompactString,
    /// Instance of the component, if known.
    pub instance: Option<CompactString>,
    /// How suspicious it is by itself, from 0 to 1.
    pub score: f64,
    /// The reason as a sentence.
    pub reason: String,
    /// Message without its variable parts, if the reason is one.
    pub template: Option<String>,
    /// Root cause of the exception in the message, as it is printed; empty if there is none.
    pub root_cause: String,
    /// Number of lines.
    pub count: u64,
    /// Time of the first line, in nanoseconds.
    pub first: Option<i64>,
    /// Lines that show it.
    pub evidence: Vec<LineRef>,
}

impl Finding {
    /// Returns the reason as a sentence, with its message.
    pub fn describe(&self) -> String {
        let mut text = self.reason.clone();
        if let Some(template) = &self.template {
            text = format!("{text}: {}", truncate(template, MAX_TEMPLATE_BYTES));
        }
        if !self.root_cause.is_empty() {
            text = format!("{text} (root cause: {})", self.root_cause);
        }
        text
    }
}

/// A component and why it is suspicious.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// How suspicious it is, from 0 to 1.
    pub score: f64,
    /// Findings, the strongest first; there is at least one.
    pub findings: Vec<Finding>,
}

impl Suspect {
    /// Returns the strongest finding.
    pub fn best(&self) -> Option<&Finding> {
        self.findings.first()
    }
}

/// Maximum length of a message in a reason, in bytes.
const MAX_TEMPLATE_BYTES: usize = 200;

/// Maximum number of suspects.
const MAX_SUSPECTS: usize = 10;

/// Result of the search for suspects.
#[derive(Debug, Clone, Default)]
pub struct Suspects {
    /// Suspects, the most suspicious first.
    pub list: Vec<Suspect>,
    /// The component that became slower, if one clearly did.
    pub slowdown: Option<Slowdown>,
}

/// Ranks the components of a run. `baselines` are profiles of good runs, if there are any.
pub fn rank(
    ingested: &Ingested,
    patterns: &RunPatterns<'_>,
    model: &RunModel,
    baselines: &[Profile],
    others: Vec<Finding>,
) -> Suspects {
    let seconds = profile::seconds(model);
    let flows = ingested.traces.flows();
    let earlier =
        baselines.is_empty().then(|| profile::earlier_part(&flows, patterns, model)).flatten();
    let run = messages::Run { patterns, model, flows: &flows, earlier: earlier.as_ref(), seconds };
    let mut findings = messages::find(&run, baselines);
    let steps = profile::steps(&flows, patterns);
    let (slow, slowdown) = timing::find(&steps, baselines, IN_BASELINE);
    findings.extend(slow);
    if !baselines.is_empty() {
        findings.extend(order::find(&profile::sequences(&flows, patterns), baselines, IN_BASELINE));
    }
    if let Some(earlier) = &earlier {
        findings.extend(since_earlier(earlier, patterns));
    }
    findings.extend(silence::find(model, baselines, patterns, &ingested.incomplete, seconds));
    let calls = Calls::of(&steps, baselines, patterns);
    let successors = Successors::of(&steps, baselines);
    let unanswered = callees::unanswered(&flows, patterns, &successors);
    callees::move_to_callees(&mut findings, patterns, &calls, &unanswered);
    findings.extend(others);
    Suspects { list: ranked(findings), slowdown }
}

/// What other runs are, in a reason.
const IN_BASELINE: &str = "in the baseline";

/// What the earlier part of the run is, in a reason.
const EARLIER_IN_RUN: &str = "earlier in the run";

/// Factor for findings against the earlier part of a run, in which the failure may have begun.
const EARLIER: f64 = 0.85;

/// Finds what changed since the earlier part of a run, which is its baseline if there is no other.
fn since_earlier(earlier: &EarlierPart, patterns: &RunPatterns<'_>) -> Vec<Finding> {
    let usual = std::slice::from_ref(&earlier.profile);
    let flows = &earlier.later_flows;
    let (mut findings, _) = timing::find(&profile::steps(flows, patterns), usual, EARLIER_IN_RUN);
    findings.extend(order::find(&profile::sequences(flows, patterns), usual, EARLIER_IN_RUN));
    findings.iter_mut().for_each(|finding| finding.score *= EARLIER);
    findings
}

/// Groups findings by component, and orders them.
fn ranked(findings: Vec<Finding>) -> Vec<Suspect> {
    let mut by_component: BTreeMap<CompactString, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        by_component.entry(finding.component.clone()).or_default().push(finding);
    }
    let mut list: Vec<Suspect> = by_component
        .into_values()
        .map(|mut findings| {
            findings.sort_by(|a, b| {
                b.score
                    .total_cmp(&a.score)
                    .then_with(|| a.first.cmp(&b.first))
                    .then_with(|| a.reason.cmp(&b.reason))
            });
            // The second and third reason add less and less.
            let at = |index: usize| findings.get(index).map_or(0.0, |finding| finding.score);
            let score = (at(0) + 0.12 * at(1) + 0.05 * at(2)).min(0.99);
            Suspect { score, findings }
        })
        .collect();
    let first = |suspect: &Suspect| suspect.best().and_then(|finding| finding.first);
    list.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| first(a).unwrap_or(i64::MAX).cmp(&first(b).unwrap_or(i64::MAX)))
            .then_with(|| {
                let name = |suspect: &Suspect| suspect.best().map(|best| best.component.clone());
                name(a).cmp(&name(b))
            })
    });
    list.truncate(MAX_SUSPECTS);
    list
}
