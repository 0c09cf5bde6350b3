//! Plain lines, which have no structure that names a flow: a message, a level, a module.

use std::borrow::Cow;

use flowlog_schema::Level;

use super::{ids, lifecycle};
use crate::event::ParsedEvent;
use crate::timestamp::Timestamp;

/// Parts of a line as its logger wrote them.
#[derive(Default)]
pub(super) struct PlainLine<'a> {
    pub time: Option<Timestamp>,
    pub level: Option<Level>,
    /// Component that the format belongs to; empty if any program may use the format.
    pub component: &'static str,
    /// Whether the component is a server of its own, not a library in the producer's process.
    pub server: bool,
    pub target: &'a str,
    pub message: &'a str,
    /// Error beside the message.
    pub error: Option<Cow<'a, str>>,
}

impl<'a> PlainLine<'a> {
    pub(super) fn into_event(self) -> ParsedEvent<'a> {
        ParsedEvent {
            time: self.time,
            level: self.level,
            // A server numbers its own connections, routes and calls.
            flows: if self.server { Vec::new() } else { ids::in_line(self.message) },
            component: (!self.component.is_empty()).then_some(Cow::Borrowed(self.component)),
            is_library: !self.server,
            target: Cow::Borrowed(self.target),
            process: lifecycle::of_message(self.message),
            message: Cow::Borrowed(self.message),
            error: self.error,
            ..ParsedEvent::default()
        }
    }
}

/// Creates an event with a level and a message only.
pub(super) fn leveled(level: Level, text: &str) -> ParsedEvent<'_> {
    PlainLine { level: Some(level), message: text, ..PlainLine::default() }.into_event()
}

/// Returns the first bytes of a line, enough to classify its start, up to the first that is not
/// UTF-8.
pub(super) fn beginning(line: &[u8], max_bytes: usize) -> &str {
    let head = line.get(..max_bytes).unwrap_or(line);
    // `from_utf8` reads ASCII a word at a time; `utf8_chunks` does not.
    std::str::from_utf8(head).unwrap_or_else(|error| {
        head.get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .unwrap_or_default()
    })
}

/// Splits the text behind an opening quote at the closing one. Returns the value as written, and the
/// rest.
pub(super) fn split_quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// Resolves the escapes in a quoted value, if there are any.
pub(super) fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    // A quoted string in Go is close enough to one in JSON.
    serde_json::from_str(&format!("\"{value}\"")).map_or(Cow::Borrowed(value), Cow::Owned)
}

/// Parses a level by any of its names: in full, cut to three or four letters, or an initial.
pub(super) fn level(name: &str) -> Option<Level> {
    Some(match name.to_ascii_uppercase().as_str() {
        "TRACE" | "TRC" | "T" | "DATA" | "FUNC" | "POLL" | "ASYNC" | "REQ" => Level::Trace,
        "DEBUG" | "DBG" | "D" | "V" | "VERBOSE" | "DIAG" => Level::Debug,
        "INFO" | "INF" | "I" | "NOTICE" | "N" | "PRINT" => Level::Info,
        "WARN" | "WARNING" | "WRN" | "W" => Level::Warn,
        "ERROR" | "ERR" | "E" | "CRITICAL" | "C" | "FATAL" | "FTL" | "F" | "PANIC" | "DPANIC"
        | "EXCEPTION" => Level::Error,
        _ => return None,
    })
}

/// Returns whether the text is `FILE:LINE`.
pub(super) fn is_source_location(text: &str) -> bool {
    let Some((file, line)) = text.rsplit_once(':') else { return false };
    !line.is_empty()
        && line.bytes().all(|b| b.is_ascii_digit())
        && !file.is_empty()
        && !file.contains(' ')
}

/// Returns whether a line starts like a JSON object on one line, unlike Python's and YAML's
/// objects.
pub(super) fn is_object(line: &[u8]) -> bool {
    line.strip_prefix(b"{")
        .is_some_and(|rest| rest.trim_ascii_start().first().is_some_and(|b| *b == b'"'))
}
