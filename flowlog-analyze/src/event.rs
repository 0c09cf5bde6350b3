//! Parsed events, independent of the log format.

use std::borrow::Cow;
use std::hash::Hasher;

use compact_str::CompactString;
use flowlog_schema::{FlowId, Level, Problems};

use crate::timestamp::Timestamp;

/// Identifier of a flow: a UUID (or trace ID), or an external ID as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowKey {
    /// ID of 16 bytes.
    Id(FlowId),
    /// Any other ID, shortened to [`FlowKey::MAX`] bytes.
    External(CompactString),
    /// Number that counts one process's requests, and the index of the only source in which it is
    /// valid.
    SourceLocal(u32, CompactString),
}

impl FlowKey {
    /// Maximum length of an external ID in bytes.
    pub const MAX: usize = 128;

    /// Parses an ID; returns `None` for an empty one and for the text `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text == "None" {
            return None;
        }
        match FlowId::parse(text) {
            Ok(id) => Some(Self::Id(id)),
            Err(_) => {
                let end = text
                    .char_indices()
                    .map(|(at, c)| at + c.len_utf8())
                    .take_while(|end| *end <= Self::MAX)
                    .last();
                Some(Self::External(CompactString::from(
                    text.get(..end.unwrap_or(0)).unwrap_or_default(),
                )))
            }
        }
    }
}

impl FlowKey {
    /// Sets the source of a source-local ID. Other IDs do not change.
    pub fn set_source(&mut self, source: u32) {
        if let Self::SourceLocal(own, _) = self {
            *own = source;
        }
    }
}

impl std::fmt::Display for FlowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::External(text) | Self::SourceLocal(_, text) => text.fmt(f),
        }
    }
}

/// Span that an event belongs to.
#[derive(Debug, Clone)]
pub struct SpanRef<'a> {
    /// Span ID, or a hash of the values that stand in for one.
    pub key: u64,
    /// Whether the line names no span, so that the key stands for the process that logged it.
    pub is_inferred: bool,
    /// Span of the caller.
    pub parent: Option<u64>,
    /// Component, if the span itself names it.
    pub component: Option<Cow<'a, str>>,
    /// Instance, if the span itself names it.
    pub instance: Option<Cow<'a, str>>,
    /// Instance that the span calls.
    pub callee: Option<Cow<'a, str>>,
}

/// Error as a line describes it.
#[derive(Debug, Clone, Default)]
pub struct ErrorDetail<'a> {
    /// Type of the error; empty if it is not known.
    pub kind: Cow<'a, str>,
    /// Message of the error.
    pub message: Cow<'a, str>,
    /// HTTP status reported with the error.
    pub status: Option<u16>,
}

/// Update of a span's state.
#[derive(Debug, Clone)]
pub enum SpanUpdate<'a> {
    /// The span started.
    Start,
    /// The span logged a message.
    Message,
    /// The span logged a message that shows it waits for the end of a stream before it is done.
    Streaming,
    /// The span logged a message that is its last, unless it streams.
    Responded,
    /// The span logged an error that may be its last message and does not prove failure.
    ErrorLogged {
        /// Logged error.
        error_detail: ErrorDetail<'a>,
        /// Whether it is an exception with a stack, which fails the span even if other messages
        /// follow.
        traceback: bool,
    },
    /// The span's stream was restarted elsewhere.
    Restarted,
    /// The span closed, successfully or not.
    Closed,
    /// The span ended successfully.
    End,
    /// The span failed.
    Fail(ErrorDetail<'a>),
    /// The span's caller disconnected.
    Cancel,
}

/// Lifecycle event of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEvent {
    /// The process started.
    Start,
    /// The process shuts down in order, or was requested to.
    Shutdown,
    /// The process was killed.
    Kill,
}

/// Parsed event of a log.
#[derive(Debug, Clone)]
pub struct ParsedEvent<'a> {
    /// Time of the event.
    pub time: Option<Timestamp>,
    /// Hybrid logical clock; zero if there is none.
    pub clock: u64,
    /// Severity.
    pub level: Option<Level>,
    /// All IDs of the flow in the line. The first is the one to display.
    pub flows: Vec<FlowKey>,
    /// Whether the first ID is a trace ID or flow ID rather than a request ID.
    pub has_trace_id: bool,
    /// Span of the event.
    pub span: Option<SpanRef<'a>>,
    /// Update of the span's state.
    pub update: SpanUpdate<'a>,
    /// Component that logged the event, if the line names it.
    pub component: Option<Cow<'a, str>>,
    /// Whether the component is a library, which does not identify the process that it runs in.
    pub is_library: bool,
    /// Instance that logged the event, if the line names it.
    pub instance: Option<Cow<'a, str>>,
    /// State of the component's work.
    pub state: Option<Cow<'a, str>>,
    /// Module that logged the event.
    pub target: Cow<'a, str>,
    /// Message of the event.
    pub message: Cow<'a, str>,
    /// Error logged in addition to the message.
    pub error: Option<Cow<'a, str>>,
    /// Lifecycle event of the process.
    pub process: Option<ProcessEvent>,
    /// Whether a flowlog record names versions; `None` for other formats.
    pub versions: Option<bool>,
    /// Number of records that the producer reports as dropped.
    pub lost: u64,
    /// Problems found in the line.
    pub problems: Problems,
}

impl ParsedEvent<'_> {
    /// Returns the message, followed by the error unless the message contains it.
    pub fn full_message(&self) -> Cow<'_, str> {
        match self.error.as_deref() {
            Some(error) if self.message.is_empty() => Cow::Borrowed(error),
            Some(error) if !error.is_empty() && !self.message.contains(error) => {
                Cow::Owned(format!("{}: {error}", self.message))
            }
            _ => Cow::Borrowed(&self.message),
        }
    }
}

impl Default for ParsedEvent<'_> {
    fn default() -> Self {
        Self {
            time: None,
            clock: 0,
            level: None,
            flows: Vec::new(),
            has_trace_id: false,
            span: None,
            update: SpanUpdate::Message,
            component: None,
            is_library: false,
            instance: None,
            state: None,
            target: Cow::Borrowed(""),
            message: Cow::Borrowed(""),
            error: None,
            process: None,
            versions: None,
            lost: 0,
            problems: Problems::default(),
        }
    }
}

/// Returns a span key from values that stand in for a span ID. Never returns zero.
pub fn span_key(parts: &[&str]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish().max(1)
}

/// Returns the beginning of a text, of at most that many bytes.
pub(crate) fn truncate(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
}
