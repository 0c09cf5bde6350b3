//! The record: what one line says.

use std::borrow::Cow;

use crate::{Clock, FlowId, Scalar, SpanId, Time};

/// How loud a line is. It proves nothing about success or failure.
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
    /// Every level, from quiet to loud.
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The upper-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    /// Reads a level by name, in either case; `WARNING` counts as `WARN`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("WARNING") {
            return Some(Self::Warn);
        }
        Self::ALL.into_iter().find(|level| text.eq_ignore_ascii_case(level.as_str()))
    }
}

/// What happened to the span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(rename_all = "lowercase")
)]
pub enum Event {
    /// The component took the flow up.
    Start,
    /// It came to another state of its work.
    State,
    /// Its share ended well.
    End,
    /// Its share failed.
    Fail,
    /// Its caller went away.
    Cancel,
    /// Readings of the process as numeric fields.
    Sample,
    /// The process started or stopped.
    Process,
    /// A sink dropped records; field `count` says how many.
    Lost,
}

impl Event {
    /// Every event.
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

    /// The lower-case name.
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

    /// Reads an event by its exact name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

/// Why a span failed or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct ErrorInfo<'a> {
    /// A `DynamoError` name (`Unavailable`, `Disconnected`, ...) or another error's; `Unknown` where none is known.
    #[cfg_attr(
        feature = "json-schema",
        schemars(rename = "type", regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.:]*$"))
    )]
    pub kind: Cow<'a, str>,
    /// What it says.
    pub message: Cow<'a, str>,
    /// What it was caused by, outermost first.
    #[cfg_attr(feature = "json-schema", schemars(default))]
    pub causes: Vec<Cow<'a, str>>,
}

/// The type of an error that names none.
pub(crate) const UNKNOWN: &str = "Unknown";

impl<'a> ErrorInfo<'a> {
    /// Splits `<Type>: <message>`; without such a type, the type is `Unknown`.
    pub fn from_text(text: &'a str) -> Self {
        let (kind, message) = split_type(text).unwrap_or((UNKNOWN, text));
        Self { kind: Cow::Borrowed(kind), message: Cow::Borrowed(message), causes: Vec::new() }
    }
}

/// Splits at the first `: ` (or a closing `:`) where what stands before it has the shape of a type.
pub(crate) fn split_type(text: &str) -> Option<(&str, &str)> {
    let (kind, message) = match text.split_once(": ") {
        Some(parts) => parts,
        None => (text.strip_suffix(':')?, ""),
    };
    is_error_type(kind).then_some((kind, message))
}

/// Whether the text has the shape of an error's type: `[A-Za-z_][A-Za-z0-9_.:]*`.
pub fn is_error_type(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':'))
}

/// The error types that Dynamo itself names. The set is open; these are the ones a reader knows without a suffix.
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
/// Normal form, which both encoders write and both decoders read back: `component` is lower-case and not empty,
/// `instance`, `state` and strings of that kind are `None` rather than empty, whole numbers are [`Scalar::Int`]
/// where they fit, times are whole microseconds, and no field has the name of a known key.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "json-schema",
    derive(schemars::JsonSchema),
    schemars(title = "flowlog record, version 1")
)]
pub struct Record<'a> {
    /// Wall clock, RFC 3339 UTC with microseconds.
    #[cfg_attr(
        feature = "json-schema",
        schemars(default, with = "Option<crate::json::schema::TimeText>")
    )]
    pub time: Option<Time>,
    /// How loud.
    pub level: Option<Level>,
    /// The module that spoke.
    pub target: Option<Cow<'a, str>>,
    /// Source file.
    pub file: Option<Cow<'a, str>>,
    /// Line in the source file.
    pub line: Option<u32>,
    /// Free words.
    pub message: Option<Cow<'a, str>>,
    /// The component: a letter, then `[a-z0-9_.-]*`.
    #[cfg_attr(feature = "json-schema", schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9_.-]*$")))]
    pub component: Cow<'a, str>,
    /// Pod, worker id or rank.
    pub instance: Option<Cow<'a, str>>,
    /// The flow.
    #[cfg_attr(
        feature = "json-schema",
        schemars(with = "Option<crate::json::schema::FlowIdText>")
    )]
    pub flow_id: Option<FlowId>,
    /// The kind of flow: `chat_completion`, `kv_transfer`, `worker_start`, ...
    pub flow: Option<Cow<'a, str>>,
    /// What happened to the span.
    pub event: Event,
    /// Where in its work the component is: `[A-Za-z0-9_.:-]+`.
    pub state: Option<Cow<'a, str>>,
    /// Versions by name; at least on `start` and `fail`.
    #[cfg_attr(
        feature = "json-schema",
        schemars(default, with = "std::collections::BTreeMap<String, String>")
    )]
    pub versions: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The span: one component's share of the flow.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<crate::json::schema::Hex16>"))]
    pub span_id: Option<SpanId>,
    /// The caller's span.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<crate::json::schema::Hex16>"))]
    pub parent_id: Option<SpanId>,
    /// Reading of the hybrid logical clock.
    #[cfg_attr(feature = "json-schema", schemars(with = "Option<crate::json::schema::Hex16>"))]
    pub clock: Option<Clock>,
    /// Why it failed; readers also take a string.
    pub error: Option<ErrorInfo<'a>>,
    /// Any other key.
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
    /// A record with the two keys that every record has.
    pub fn new(component: impl Into<Cow<'a, str>>, event: Event) -> Self {
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

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Scalar<'a>> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Whether the text can stand as a component: a letter, then letters, digits, `_`, `.` and `-`.
pub fn is_component(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Lower-cases a component without a copy where it is lower-case already.
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
    fn levels_and_events_read_their_own_names() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!(Level::parse("warning"), Some(Level::Warn));
        assert_eq!(Level::parse("FATAL"), None);
        for event in Event::ALL {
            assert_eq!(Event::parse(event.as_str()), Some(event));
        }
        assert_eq!(Event::parse("Start"), None);
    }

    #[test]
    fn error_types_split() {
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
