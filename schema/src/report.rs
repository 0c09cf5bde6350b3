//! The analyzer's report, version 1.
//!
//! The types are plain data. Unknown values are `null`. The report does not depend on the number of
//! threads, the chunk size or the order of the inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Value of [`Report::schema`].
pub const SCHEMA: &str = "flowlog.report.v1";

macro_rules! plain {
    ($($(#[$meta:meta])* pub $kind:ident $name:ident $body:tt)*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        $(#[$meta])*
        pub $kind $name $body
    )*};
}

plain! {
    /// Result of an analysis.
    #[cfg_attr(feature = "json-schema", schemars(title = "flowlog report, version 1"))]
    pub struct Report {
        /// Always `flowlog.report.v1`.
        pub schema: String,
        /// Input that was read.
        pub input: Input,
        /// Verdict on the run.
        pub verdict: Verdict,
        /// Number of flows by outcome.
        pub flows: FlowCounts,
        /// Failures, grouped by fingerprint; those with the most flows first.
        pub failures: Vec<Failure>,
        /// All failed and recovered flows.
        pub flow_failures: Vec<FlowFailure>,
        /// What to look at where nothing is proven, the most suspicious first; at most 10.
        #[serde(default)]
        pub suspects: Vec<Suspect>,
        /// Leaks, starvation and stalls.
        pub trends: Vec<Trend>,
    }

    /// Amount and quality of the input.
    #[derive(Default)]
    pub struct Input {
        /// Number of sources read.
        pub sources: u64,
        /// Number of bytes read.
        pub bytes: u64,
        /// Number of lines read.
        pub lines: u64,
        /// Number of records found in the lines.
        pub records: u64,
        /// Number of lines by format. The values add up to `lines`.
        pub formats: BTreeMap<String, u64>,
        /// Sources that could not be read completely.
        pub read_errors: Vec<ReadError>,
        /// Sources that were read, but whose end is missing: what follows their last line is unknown.
        #[serde(default)]
        pub incomplete: Vec<ReadError>,
        /// Earliest time in the logs.
        pub first: Option<String>,
        /// Latest time in the logs.
        pub last: Option<String>,
        /// Irregularities in the input.
        pub problems: InputProblems,
    }

    /// Irregularities that were counted and otherwise ignored.
    #[derive(Default)]
    pub struct InputProblems {
        /// Number of keys repeated within a record. The first value wins.
        pub duplicate_keys: u64,
        /// Number of values that did not fit their key.
        pub bad_values: u64,
        /// Number of lines with invalid UTF-8.
        pub invalid_utf8: u64,
        /// Number of lines longer than the limit. The rest of such a line is ignored.
        pub truncated_lines: u64,
        /// Number of records that their producers report as dropped.
        pub lost_records: u64,
        /// Number of records that arrived after their flow was closed.
        pub late_records: u64,
        /// Number of flows evicted to stay within the memory limit. They are counted, but neither
        /// classified nor listed.
        pub evicted_flows: u64,
        /// Number of timestamps without a year or a time zone, which was inferred from nearby
        /// lines.
        pub inferred_timestamps: u64,
    }

    /// A source that could not be read, or only in part.
    pub struct ReadError {
        /// Path of the source, as given.
        pub source: String,
        /// Reason.
        pub error: String,
    }

    /// Outcome of the run.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum RunOutcome {
        /// A flow, a process or a shared dependency failed.
        Failed,
        /// Something failed, but retries completed every affected flow.
        Recovered,
        /// The run was stopped from outside, or everything that went wrong follows from a caller
        /// that left.
        Cancelled,
        /// Work was done, and nothing failed.
        Healthy,
        /// The logs show neither a failure nor that the run went well.
        Inconclusive,
    }

    /// Summary of the result.
    pub struct Verdict {
        /// Outcome of the run.
        pub outcome: RunOutcome,
        /// Component that failed first.
        pub component: Option<String>,
        /// Instance of that component.
        pub instance: Option<String>,
        /// Owner of that component.
        pub owner: Owner,
        /// Probability that outcome, component and instance are right, from 0 to 1.
        pub confidence: f64,
        /// The result in one sentence.
        pub summary: String,
        /// Lines that support the verdict, at most 10.
        pub evidence: Vec<Evidence>,
    }

    /// Owner of a component.
    #[derive(Default, Eq)]
    pub struct Owner {
        /// Component or area under which the owner is listed.
        pub component: Option<String>,
        /// Point of contact.
        pub pic: Option<String>,
    }

    /// A log line.
    #[derive(Eq)]
    pub struct Evidence {
        /// Path of the source, as given.
        pub source: String,
        /// Line number, starting at 1.
        pub line: u64,
        /// Text of the line, escaped and truncated.
        pub text: String,
    }

    /// Number of flows by outcome.
    #[derive(Default, Copy, Eq)]
    pub struct FlowCounts {
        /// All flows.
        pub total: u64,
        /// Flows that ended well.
        pub ok: u64,
        /// Flows that failed.
        pub failed: u64,
        /// Flows in which something failed and that ended well nevertheless.
        pub recovered: u64,
        /// Flows that their caller abandoned.
        pub cancelled: u64,
        /// Flows rejected because of an error of the caller.
        pub rejected: u64,
        /// Flows with none of these outcomes when the logs end.
        pub unfinished: u64,
    }

    /// How something failed.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum FailureKind {
        /// An error was reported.
        Error,
        /// The span fell silent while its process was running.
        Hang,
        /// The process ended.
        Crash,
        /// The run failed outside of any flow.
        Run,
        /// The component became slower than in the baseline.
        Slow,
    }

    /// Failures with the same fingerprint.
    pub struct Failure {
        /// Hash of the masked failure: `v1:` and 16 hex digits.
        pub fingerprint: String,
        /// How the component failed.
        pub kind: FailureKind,
        /// Component that failed first.
        pub component: String,
        /// Instances of that component, those with the most flows first.
        pub instances: Vec<String>,
        /// State that the component was in.
        pub state: Option<String>,
        /// Error type.
        pub error_type: Option<String>,
        /// Message of the first failure.
        pub message: Option<String>,
        /// Number of flows that failed or were delayed.
        pub flows: u64,
        /// Time of the first failure.
        pub first: Option<String>,
        /// Time of the last failure.
        pub last: Option<String>,
        /// Owner of the component.
        pub owner: Owner,
        /// Components that failed as a consequence.
        pub affected: Vec<String>,
        /// Probability that component and instance are right, from 0 to 1.
        pub confidence: f64,
        /// Ids of affected flows, at most 5.
        pub examples: Vec<String>,
        /// Lines that support the finding, at most 10.
        pub evidence: Vec<Evidence>,
        /// Why the failure is attributed to this component.
        pub why: Explanation,
    }

    /// Why a failure is attributed to a component.
    #[derive(Default, Eq)]
    pub struct Explanation {
        /// Name of the rule that decides; `docs/rules.md` describes it.
        pub rule: String,
        /// Steps of the reasoning, in order.
        pub steps: Vec<Step>,
        /// What would have contradicted the attribution; empty if nothing is known.
        pub contradicted_by: String,
        /// Alternatives that were considered and rejected.
        pub rejected: Vec<Alternative>,
    }

    /// One step of an explanation.
    #[derive(Eq)]
    pub struct Step {
        /// What happened.
        pub text: String,
        /// Line that shows it.
        pub evidence: Option<Evidence>,
    }

    /// A component that could have failed first, but did not.
    #[derive(Eq)]
    pub struct Alternative {
        /// Component.
        pub component: String,
        /// Instance of the component.
        pub instance: Option<String>,
        /// Why it is not the first failure.
        pub reason: String,
        /// Line that concerns it.
        pub evidence: Option<Evidence>,
    }

    /// Outcome of a flow in which something went wrong.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum FlowOutcome {
        /// The flow failed.
        Failed,
        /// A retry completed the flow.
        Recovered,
    }

    /// A failed or recovered flow.
    #[derive(Eq)]
    pub struct FlowFailure {
        /// Flow ID: a UUID, or an external ID as written.
        pub flow_id: String,
        /// Outcome of the flow.
        pub outcome: FlowOutcome,
        /// How the flow failed.
        pub kind: FailureKind,
        /// Component that failed first.
        pub component: String,
        /// Instance of that component.
        pub instance: Option<String>,
        /// State that the component was in.
        pub state: Option<String>,
        /// Error type.
        pub error_type: Option<String>,
        /// Time of the failure.
        pub time: Option<String>,
        /// Fingerprint of the group of failures that the flow belongs to.
        pub fingerprint: String,
    }

    /// A component whose lines are unusual, though nothing proves that it failed.
    pub struct Suspect {
        /// Component that wrote the lines, or that they name.
        pub component: String,
        /// Instance of that component.
        pub instance: Option<String>,
        /// How suspicious it is, from 0 to 1.
        pub score: f64,
        /// Reasons, each a sentence; the strongest first.
        pub reasons: Vec<String>,
        /// Message of the most suspicious lines, without their variable parts.
        pub template: Option<String>,
        /// Number of these lines.
        pub count: u64,
        /// Time of the first of these lines.
        pub first: Option<String>,
        /// Owner of the component.
        pub owner: Owner,
        /// Lines that support the suspicion, at most 10.
        pub evidence: Vec<Evidence>,
    }

    /// Kind of trend.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum TrendKind {
        /// A reading that only grows.
        Leak,
        /// Work that waits longer and longer.
        Starvation,
        /// Work that has stopped progressing.
        Stall,
    }

    /// A change over hours or days. Keys that do not apply are omitted.
    pub struct Trend {
        /// Kind of trend.
        pub kind: TrendKind,
        /// Name of the component.
        pub component: String,
        /// Instance of the component.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub instance: Option<String>,
        /// Name of the reading.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub series: Option<String>,
        /// State in which the work waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub state: Option<String>,
        /// Kind of flow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub flow: Option<String>,
        /// Change per hour, in `unit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub slope_per_hour: Option<f64>,
        /// Unit of the reading.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unit: Option<String>,
        /// Start of the trend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<String>,
        /// End of the trend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to: Option<String>,
        /// Time at which the resource runs out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub exhausts_at: Option<String>,
        /// Confidence, from 0 to 1.
        pub confidence: f64,
        /// The trend in one sentence.
        pub summary: String,
        /// Owner of the component.
        pub owner: Owner,
        /// Lines that support the finding.
        pub evidence: Vec<Evidence>,
    }
}

impl RunOutcome {
    /// Returns the lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Cancelled => "cancelled",
            Self::Healthy => "healthy",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl FailureKind {
    /// Returns the lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::Run => "run",
            Self::Slow => "slow",
        }
    }
}
