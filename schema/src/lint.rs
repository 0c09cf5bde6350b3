//! What the analyzer says of the logs themselves: the lint report, version 1.

use serde::{Deserialize, Serialize};

use crate::report::{Evidence, Owner};

/// The value of [`LintReport::schema`].
pub const SCHEMA: &str = "flowlog.lint.v1";

/// How well the logs of each component follow the structure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "json-schema", schemars(title = "flowlog lint report, version 1"))]
pub struct LintReport {
    /// Always `flowlog.lint.v1`.
    pub schema: String,
    /// The least score that passes.
    pub threshold: f64,
    /// Whether every component reaches it.
    pub passed: bool,
    /// Every component that speaks; the worst first.
    pub components: Vec<ComponentLint>,
}

/// How well the logs of one component follow the structure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct ComponentLint {
    /// The component.
    pub component: String,
    /// Whose it is.
    pub owner: Owner,
    /// 0 to 100: what is left of 100 percent after the worst rule's share of findings.
    pub score: f64,
    /// Its lines.
    pub lines: u64,
    /// Those that name flow or process in a structure: flowlog records, Dynamo's JSON.
    pub structured: u64,
    /// Spans that it took part in.
    pub spans: u64,
    /// Failures that it told.
    pub failures: u64,
    /// What is missing, the worst first; no rule that holds everywhere.
    pub findings: Vec<Finding>,
}

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// The rule.
    pub rule: LintRule,
    /// How often it is broken,
    pub count: u64,
    /// of how many lines, spans, starts or failures.
    pub of: u64,
    /// Where, at most 5 places.
    pub evidence: Vec<Evidence>,
}

/// What a log must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LintRule {
    /// A line is a record.
    UnstructuredLine,
    /// A span of records begins with a start.
    MissingStart,
    /// A span whose caller ended well, or that is its flow's root and whose calls all ended, ends too.
    MissingEnd,
    /// A start and a failure name versions.
    MissingVersions,
    /// A failure says in which state.
    MissingState,
    /// A failure has a type, or a status that stands for one.
    MissingErrorType,
    /// A start, a state, an end or a failure names its flow.
    MissingId,
    /// A flow's id is mentioned by those whom its component's flows reach otherwise.
    LonelyId,
}

impl LintRule {
    /// Every rule.
    pub const ALL: [Self; 8] = [
        Self::UnstructuredLine,
        Self::MissingStart,
        Self::MissingEnd,
        Self::MissingVersions,
        Self::MissingState,
        Self::MissingErrorType,
        Self::MissingId,
        Self::LonelyId,
    ];

    /// What is wrong, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnstructuredLine => "lines without structure",
            Self::MissingStart => "spans without a start",
            Self::MissingEnd => "spans without an end",
            Self::MissingVersions => "starts and failures without versions",
            Self::MissingState => "failures without a state",
            Self::MissingErrorType => "failures without a type",
            Self::MissingId => "records of spans without a flow id",
            Self::LonelyId => "flow ids that nobody else mentions",
        }
    }
}
