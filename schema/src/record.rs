//! The record: the content of one line.

use std::borrow::Cow;

use crate::{Clock, FlowId, Scalar, SpanId, Time};

/// Severity of a line. It does not determine success or failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(rename_all = "UPPERCASE")
)]
pub enum Level {
    /// `TRACE`
    Trace,
    /// `DEBUG`
    Debug,
    /// `INFO`
    Info,
    /// `WARN`
    Warn,
    /// `ERROR`
    Error,
}

impl Level {
    /// All levels, by increasing severity.
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Returns the upper-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    /// Parses a level name, ignoring case. `WARNING` is an alias of `WARN`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("WARNING") {
            return Some(Self::Warn);
        }
        Self::ALL.into_iter().find(|level| text.eq_ignore_ascii_case(level.as_str()))
    }
}

/// Kind of event that a record reports about its span or process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(rename_all = "lowercase")
)]
pub enum EventKind {
    /// The component started to work on the flow.
    Start,
    /// The span entered another state.
    State,
    /// The span ended successfully.
    End,
    /// The span failed.
    Fail,
    /// The caller of the span went away.
    Cancel,
    /// Readings of the process, as numeric fields.
    Sample,
    /// The process started or stopped.
    Process,
    /// A sink dropped records. The field `count` holds their number.
    Lost,
}

impl EventKind {
    /// All kinds of events.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::State,
        Self::End,
        Self::Fail,
        Self::Cancel,
        Self::Sample,
        Self::Process,
        Self::Lost,
    ];

    /// Returns the lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::State => "state",
            Self::End => "end",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
            Self::Sample => "sample",
            Self::Process => "process",
            Self::Lost => "lost",
        }
    }

    /// Parses the exact name of an event.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// Reason why a span failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct ErrorInfo<'a> {
    /// Error type: the name of a `DynamoError` (`Unavailable`, `Disconnected`, ...) or of another
    /// error; `Unknown` if the type is not known.
    #[cfg_attr(
        feature = "json-schema",
        schemars(rename = "type", regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.:]*$"))
    )]
    pub kind: Cow<'a, str>,
    /// Error message.
    pub message: Cow<'a, str>,
    /// Causes of the error, outermost first.
    #[cfg_attr(feature = "json-schema", schemars(default))]
    pub causes: Vec<Cow<'a, str>>,
}

/// Type of an error that does not name one.
pub(crate) const UNKNOWN: &str = "Unknown";

impl<'a> ErrorInfo<'a> {
    /// Splits `<Type>: <message>`. Without such a type, the type is `Unknown` and the message is
    /// the whole text.
    pub fn from_text(text: &'a str) -> Self {
        let (kind, message) = split_type(text).unwrap_or((UNKNOWN, text));
        Self { kind: Cow::Borrowed(kind), message: Cow::Borrowed(message), causes: Vec::new() }
    }
}

/// Splits at the first `: `, or at a trailing `:`, if the text before it has the shape of an error
/// type.
pub(crate) fn split_type(text: &str) -> Option<(&str, &str)> {
    let (kind, message) = match text.split_once(": ") {
        Some(parts) => parts,
        None => (text.strip_suffix(':')?, ""),
    };
    is_error_type(kind).then_some((kind, message))
}

/// Returns whether the text has the shape of an error type: `[A-Za-z_][A-Za-z0-9_.:]*`.
pub fn is_error_type(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':'))
}

/// Error types that Dynamo itself defines. The set is open; readers recognize these names without a
/// suffix such as `Error`.
pub const DYNAMO_ERROR_TYPES: [&str; 16] = [
    "Unknown",
    "CannotConnect",
    "Disconnected",
    "ConnectionTimeout",
    "ResponseTimeout",
    "InvalidArgument",
    "ResourceExhausted",
    "Unavailable",
    "Cancelled",
    "Internal",
    "BackendProtocol",
    "BackendEngineShutdown",
    "Backend",
    "NotFound",
    "Unauthorized",
    "Overloaded",
];

/// One line: what happened, to which flow, in which component.
///
/// A record in normal form survives encoding and decoding unchanged, in both forms. In normal form,
/// `component` is lower-case and not empty, optional strings such as `instance` and `state` are
/// `None` rather than empty, integers are [`Scalar::Int`] if they fit, times are whole
/// microseconds, and no field has the name of a known key.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(title = "flowlog record, version 1")
)]
pub struct Record<'a> {
    /// Wall-clock time: RFC 3339 in UTC, with microseconds.
    #[cfg_attr(
        feature = "json-schema",
        schemars(default, with = "Option<crate::json::schema::TimeText>")
    )]
    pub time: Option<Time>,
    /// Severity.
    pub level: Option<Level>,
    /// Module that emitted the record.
    pub target: Option<Cow<'a, str>>,
    /// Source file.
    pub file: Option<Cow<'a, str>>,
    /// Line number in the source file.
    pub line: Option<u32>,
    /// Free-form message.
    pub message: Option<Cow<'a, str>>,
    /// Component name: a letter, then `[a-z0-9_.-]*`.
    #[cfg_attr(feature = "json-schema", schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9_.-]*$")))]
    pub component: Cow<'a, str>,
    /// Instance of the component: pod, worker ID or rank.
    pub instance: Option<Cow<'a, str>>,
    /// Flow ID.
    #[cfg_attr(
        feature = "json-schema",
        schemars(with = "Option<crate::json::schema::FlowIdText>")
    )]
    pub flow_id: Option<FlowId>,
    /// Kind of flow: `chat_completion`, `kv_transfer`, `worker_start`, ...
    pub flow: Option<Cow<'a, str>>,
    /// Kind of event.
    pub event: EventKind,
    /// State of the component's work: `[A-Za-z0-9_.:-]+`.
    pub state: Option<Cow<'a, str>>,
    /// Versions by name, present at least on `start` and `fail`.
    #[cfg_attr(
        feature = "json-schema",
        schemars(default, with = "std::collections::BTreeMap<String, String>")
    )]
    pub versions: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Id of the span, which is one component's share of the flow.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<crate::json::schema::Hex16>"))]
    pub span_id: Option<SpanId>,
    /// Id of the caller's span.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<crate::json::schema::Hex16>"))]
    pub parent_id: Option<SpanId>,
    /// Reading of the hybrid logical clock.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<crate::json::schema::Hex16>"))]
    pub clock: Option<Clock>,
    /// Reason for the failure or cancellation. Readers also accept a string.
    pub error: Option<ErrorInfo<'a>>,
    /// All other keys.
    #[cfg_attr(
        feature = "json-schema",
        schemars(
            flatten,
            with = "std::collections::BTreeMap<String, crate::json::schema::AnyScalar>"
        )
    )]
    pub fields: Vec<(Cow<'a, str>, Scalar<'a>)>,
}

impl<'a> Record<'a> {
    /// Creates a record with only the two mandatory keys.
    pub fn new(component: impl Into<Cow<'a, str>>, event: EventKind) -> Self {
        Self {
            time: None,
            level: None,
            target: None,
            file: None,
            line: None,
            message: None,
            component: component.into(),
            instance: None,
            flow_id: None,
            flow: None,
            event,
            state: None,
            versions: Vec::new(),
            span_id: None,
            parent_id: None,
            clock: None,
            error: None,
            fields: Vec::new(),
        }
    }

    /// Returns the field with this name.
    pub fn field(&self, name: &str) -> Option<&Scalar<'a>> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Returns whether the text is a valid component name: a letter, then letters, digits, `_`, `.` and
/// `-`.
pub fn is_component(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Lower-cases a component name, without a copy if it already is lower-case.
pub(crate) fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_events_parse_their_own_names() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!(Level::parse("warning"), Some(Level::Warn));
        assert_eq!(Level::parse("FATAL"), None);
        for event in EventKind::ALL {
            assert_eq!(EventKind::parse(event.as_str()), Some(event));
        }
        assert_eq!(EventKind::parse("Start"), None);
    }

    #[test]
    fn error_type_is_split_from_message() {
        for (text, kind, message) in [
            ("Unavailable: no ready worker", "Unavailable", "no ready worker"),
            ("std::io::Error: gone: away", "std::io::Error", "gone: away"),
            ("RuntimeError:", "RuntimeError", ""),
            ("the worker died: why", "Unknown", "the worker died: why"),
            ("", "Unknown", ""),
        ] {
            let error = ErrorInfo::from_text(text);
            assert_eq!((error.kind.as_ref(), error.message.as_ref()), (kind, message), "{text}");
        }
    }
}
