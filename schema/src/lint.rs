//! The analyzer's report on the quality of the logs themselves, version 1.

use serde::{Deserialize, Serialize};

use crate::report::{Evidence, Owner};

/// Value of [`LintReport::schema`].
pub const SCHEMA: &str = "flowlog.lint.v1";

/// Result of checking how well the logs of each component follow the structure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "json-schema", schemars(title = "flowlog lint report, version 1"))]
pub struct LintReport {
    /// Always `flowlog.lint.v1`.
    pub schema: String,
    /// Minimum score that passes.
    pub threshold: f64,
    /// Whether every component reaches the threshold.
    pub passed: bool,
    /// All components that appear in the logs, lowest score first.
    pub components: Vec<ComponentLint>,
}

/// Result for the logs of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct ComponentLint {
    /// Name of the component.
    pub component: String,
    /// Owner of the component.
    pub owner: Owner,
    /// Score from 0 to 100: the percentage that remains after subtracting the share of violations
    /// of the most violated rule.
    pub score: f64,
    /// Number of lines of the component.
    pub lines: u64,
    /// Number of lines that name a flow or a process in a structured form: flowlog records,
    /// Dynamo's JSON.
    pub structured: u64,
    /// Number of spans of the component.
    pub spans: u64,
    /// Number of failures of the component.
    pub failures: u64,
    /// Violated rules, the worst first. Rules without a violation are omitted.
    pub findings: Vec<Finding>,
}

/// A violated rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// Rule that is violated.
    pub rule: LintRule,
    /// Number of violations.
    pub count: u64,
    /// Number of lines, records, spans, starts or failures to which the rule applies.
    pub of: u64,
    /// Example lines, at most 5.
    pub evidence: Vec<Evidence>,
}

/// A requirement on the logs of a component. Each variant is named after the violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LintRule {
    /// A line must be a structured record.
    UnstructuredLine,
    /// A span made of records must begin with a `start`.
    MissingStart,
    /// A span must end if its caller ended well, or if it is the root of its flow and all of its
    /// calls ended.
    MissingEnd,
    /// A start and a failure must name versions.
    MissingVersions,
    /// A failure must name the state it occurred in.
    MissingState,
    /// A failure must have a type, or a status that implies one.
    MissingErrorType,
    /// A start, a state, an end or a failure must name its flow.
    MissingId,
    /// A flow ID must appear in the logs of other processes if flows of the same kind usually reach
    /// them, or if the flow's root names a caller.
    UnpropagatedId,
}

impl LintRule {
    /// All rules.
    pub const ALL: [Self; 8] = [
        Self::UnstructuredLine,
        Self::MissingStart,
        Self::MissingEnd,
        Self::MissingVersions,
        Self::MissingState,
        Self::MissingErrorType,
        Self::MissingId,
        Self::UnpropagatedId,
    ];

    /// Returns a human-readable description of the violation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnstructuredLine => "lines without structure",
            Self::MissingStart => "spans without a start",
            Self::MissingEnd => "spans without an end",
            Self::MissingVersions => "starts and failures without versions",
            Self::MissingState => "failures without a state",
            Self::MissingErrorType => "failures without a type",
            Self::MissingId => "span records without a flow id",
            Self::UnpropagatedId => "flow ids that appear in no other process",
        }
    }
}
