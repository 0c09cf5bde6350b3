//! What the analyzer answers: the report, version 1.
//!
//! Plain data. What is unknown is `null`. The report does not depend on the number of threads, the chunk size or
//! the order of the inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of [`Report::schema`].
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
    /// The whole answer.
    #[cfg_attr(feature = "json-schema", schemars(title = "flowlog report, version 1"))]
    pub struct Report {
        /// Always `flowlog.report.v1`.
        pub schema: String,
        /// What was read.
        pub input: Input,
        /// What became of the run.
        pub verdict: Verdict,
        /// How many flows came to which outcome.
        pub flows: FlowCounts,
        /// Failures, grouped by fingerprint; most flows first.
        pub failures: Vec<Failure>,
        /// Every failed and every recovered flow.
        pub flow_failures: Vec<FlowFailure>,
        /// Leaks, starvation and stalls.
        pub trends: Vec<Trend>,
    }

    /// What was read, and how well.
    #[derive(Default)]
    pub struct Input {
        /// How many sources were read.
        pub sources: u64,
        /// Bytes read.
        pub bytes: u64,
        /// Lines read.
        pub lines: u64,
        /// Records found in them.
        pub records: u64,
        /// Lines by format; adds up to `lines`.
        pub formats: BTreeMap<String, u64>,
        /// Sources that could not be read.
        pub unread: Vec<Unread>,
        /// The earliest time in the logs.
        pub first: Option<String>,
        /// The latest time in the logs.
        pub last: Option<String>,
        /// What was odd.
        pub problems: InputProblems,
    }

    /// Oddities that were counted and passed over.
    #[derive(Default)]
    pub struct InputProblems {
        /// Keys that came twice in one record; the first won.
        pub duplicate_keys: u64,
        /// Values that did not fit their key.
        pub bad_values: u64,
        /// Lines with bytes that are not UTF-8.
        pub invalid_utf8: u64,
        /// Lines longer than the cap; what lies past it was not looked at.
        pub long_lines: u64,
        /// Records that a writer says it had to drop.
        pub lost_records: u64,
        /// Records of a flow that was already closed when they came.
        pub late_records: u64,
        /// Flows that were given up for want of memory: counted, but not judged nor listed.
        pub given_up_flows: u64,
        /// Stamps without a year or a zone: those of the lines around them were taken.
        pub guessed_times: u64,
    }

    /// A source that could not be read, or not to its end.
    pub struct Unread {
        /// Its path as given.
        pub source: String,
        /// Why.
        pub error: String,
    }

    /// What became of the run.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum RunOutcome {
        /// A flow failed, or a process or a shared dependency did.
        Failed,
        /// Something failed, and every flow was carried by a retry.
        Recovered,
        /// Ended from outside, or all that went wrong follows a caller's leaving.
        Cancelled,
        /// Nothing failed.
        Healthy,
    }

    /// The answer in short.
    pub struct Verdict {
        /// What became of the run.
        pub outcome: RunOutcome,
        /// The component that failed first.
        pub component: Option<String>,
        /// Its instance.
        pub instance: Option<String>,
        /// Whose it is.
        pub owner: Owner,
        /// How likely it is that outcome, component and instance are right; 0 to 1.
        pub confidence: f64,
        /// The answer in one sentence.
        pub summary: String,
        /// The lines that prove it, at most 10.
        pub evidence: Vec<Evidence>,
    }

    /// Whose a component is.
    #[derive(Default, Eq)]
    pub struct Owner {
        /// The component or area that the owner was found under.
        pub component: Option<String>,
        /// Point of contact.
        pub pic: Option<String>,
    }

    /// One line of a log.
    #[derive(Eq)]
    pub struct Evidence {
        /// The source's path as given.
        pub source: String,
        /// Line number, from 1.
        pub line: u64,
        /// The line, escaped and cut.
        pub text: String,
    }

    /// How many flows came to which outcome.
    #[derive(Default, Copy, Eq)]
    pub struct FlowCounts {
        /// All flows.
        pub total: u64,
        /// Ended well.
        pub ok: u64,
        /// Failed.
        pub failed: u64,
        /// Failed somewhere and ended well all the same.
        pub recovered: u64,
        /// The caller went away.
        pub cancelled: u64,
        /// The caller's fault.
        pub rejected: u64,
        /// None of these when the logs end.
        pub unfinished: u64,
    }

    /// How something failed.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum FailureKind {
        /// It said so.
        Error,
        /// It fell silent while its process lived.
        Hang,
        /// Its process ended.
        Crash,
        /// The run failed without a flow.
        Run,
    }

    /// Failures with one fingerprint.
    pub struct Failure {
        /// `v1:` and 16 hex digits of the masked failure.
        pub fingerprint: String,
        /// How it failed.
        pub kind: FailureKind,
        /// The component that failed first.
        pub component: String,
        /// Its instances, most flows first.
        pub instances: Vec<String>,
        /// Where in its work it was.
        pub state: Option<String>,
        /// The error's type.
        pub error_type: Option<String>,
        /// What the first one said.
        pub message: Option<String>,
        /// How many flows it failed or delayed.
        pub flows: u64,
        /// When it first happened.
        pub first: Option<String>,
        /// When it last happened.
        pub last: Option<String>,
        /// Whose it is.
        pub owner: Owner,
        /// Components that failed because of it.
        pub victims: Vec<String>,
        /// How likely it is that component and instance are right; 0 to 1.
        pub confidence: f64,
        /// Flows that show it, at most 5.
        pub examples: Vec<String>,
        /// The lines that prove it, at most 10.
        pub evidence: Vec<Evidence>,
    }

    /// What became of a flow that something went wrong with.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum FlowOutcome {
        /// It failed.
        Failed,
        /// A retry carried it.
        Recovered,
    }

    /// One failed or recovered flow.
    #[derive(Eq)]
    pub struct FlowFailure {
        /// A UUID where it is one, else the foreign id as written.
        pub flow_id: String,
        /// What became of it.
        pub outcome: FlowOutcome,
        /// How it failed.
        pub kind: FailureKind,
        /// The component that failed first.
        pub component: String,
        /// Its instance.
        pub instance: Option<String>,
        /// Where in its work it was.
        pub state: Option<String>,
        /// The error's type.
        pub error_type: Option<String>,
        /// When it failed.
        pub time: Option<String>,
        /// The failure that it belongs to.
        pub fingerprint: String,
    }

    /// What kind of trend.
    #[derive(Copy, Eq, PartialOrd, Ord, Hash)]
    #[serde(rename_all = "lowercase")]
    pub enum TrendKind {
        /// A reading that only grows.
        Leak,
        /// Work that waits ever longer.
        Starvation,
        /// Work that no longer moves.
        Stall,
    }

    /// What changes over hours and days; keys that do not apply are left out.
    pub struct Trend {
        /// What kind of trend.
        pub kind: TrendKind,
        /// The component.
        pub component: String,
        /// Its instance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub instance: Option<String>,
        /// The reading.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub series: Option<String>,
        /// Where the work waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub state: Option<String>,
        /// The kind of flow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub flow: Option<String>,
        /// Change an hour, in `unit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub slope_per_hour: Option<f64>,
        /// The reading's unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unit: Option<String>,
        /// When it begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<String>,
        /// When it ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to: Option<String>,
        /// When the resource runs out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub exhausts_at: Option<String>,
        /// How sure; 0 to 1.
        pub confidence: f64,
        /// The trend in one sentence.
        pub summary: String,
        /// Whose it is.
        pub owner: Owner,
        /// The lines that prove it.
        pub evidence: Vec<Evidence>,
    }
}

impl RunOutcome {
    /// The lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Cancelled => "cancelled",
            Self::Healthy => "healthy",
        }
    }
}

impl FailureKind {
    /// The lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::Run => "run",
        }
    }
}
