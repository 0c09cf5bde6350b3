//! Events as rows of a table, for other programs to inspect.

use compact_str::{CompactString, ToCompactString};
use flowlog_schema::Level;

use super::alert::name_of;
use crate::envelope::Producer;
use crate::event::{ParsedEvent, SpanUpdate, truncate};
use crate::flow::{LineRef, LogPosition};
use crate::secrets;

/// One event of a log. Unknown values are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Location of its first line.
    pub line: LineRef,
    /// Time in nanoseconds since the epoch.
    pub time: Option<i64>,
    /// Severity.
    pub level: Option<Level>,
    /// Name of the format that accepted the event; empty if none did.
    pub format: &'static str,
    /// Component of the producer, from the line, its envelope or the file's name.
    pub component: CompactString,
    /// Logger, module or program that wrote the line.
    pub target: CompactString,
    /// Instance of the component, from the line or its envelope.
    pub instance: CompactString,
    /// Display ID of the flow.
    pub flow: CompactString,
    /// Span event: `start`, `state`, `end`, `fail`, `cancel`; empty if the event concerns no span.
    pub event: &'static str,
    /// State that the component is in.
    pub state: CompactString,
    /// Error type.
    pub error_type: CompactString,
    /// Message, with the error.
    pub message: Box<str>,
}

/// Maximum length of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;

impl EventRow {
    pub(super) fn of(
        format: &'static str,
        event: &ParsedEvent<'_>,
        of_file: Option<&str>,
        producer: &Producer,
        position: LogPosition,
    ) -> Self {
        let span = event.span.as_ref();
        let component =
            span.and_then(|span| span.component.as_deref()).or(event.component.as_deref());
        let component =
            component.filter(|name| !name.is_empty()).or_else(|| producer.component()).or(of_file);
        let component = component.or_else(|| {
            Some(producer.process.as_str()).filter(|name| !name.is_empty() && !name.contains(' '))
        });
        let instance = span.and_then(|span| span.instance.as_deref()).or(event.instance.as_deref());
        let (event_name, error_detail) = match &event.update {
            SpanUpdate::Start => ("start", None),
            SpanUpdate::Closed | SpanUpdate::End => ("end", None),
            SpanUpdate::Fail(error_detail) => ("fail", Some(error_detail)),
            SpanUpdate::ErrorLogged { error_detail, .. } => ("state", Some(error_detail)),
            SpanUpdate::Cancel => ("cancel", None),
            SpanUpdate::Message
            | SpanUpdate::Streaming
            | SpanUpdate::Responded
            | SpanUpdate::Restarted
                if span.is_some() =>
            {
                ("state", None)
            }
            SpanUpdate::Message
            | SpanUpdate::Streaming
            | SpanUpdate::Responded
            | SpanUpdate::Restarted => ("", None),
        };
        let words = event.full_message();
        let words = error_detail
            .map(|error_detail| error_detail.message.as_ref())
            .filter(|_| words.is_empty())
            .unwrap_or(&words);
        Self {
            line: position.line,
            time: position.time(),
            level: event.level,
            format,
            component: component.unwrap_or_default().into(),
            target: event.target.as_ref().into(),
            instance: instance.unwrap_or_else(|| name_of(producer)).into(),
            flow: event.flows.first().map(|flow| flow.to_compact_string()).unwrap_or_default(),
            event: event_name,
            state: event.state.as_deref().unwrap_or_default().into(),
            error_type: error_detail
                .map(|error_detail| error_detail.kind.as_ref().into())
                .unwrap_or_default(),
            message: secrets::mask(truncate(words, MAX_MESSAGE_BYTES)).into(),
        }
    }
}
