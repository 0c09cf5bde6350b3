//! What lines tell that belong to no flow by their structure: words, a level, a module.

use std::borrow::Cow;

use flowlog_schema::Level;

use super::{ids, process};
use crate::observation::Observation;
use crate::stamp::Stamp;

/// The parts of a line as a logger wrote it.
#[derive(Default)]
pub(super) struct Words<'a> {
    pub time: Option<Stamp>,
    pub level: Option<Level>,
    /// The component whose format it is; empty where the format is everybody's.
    pub component: &'static str,
    /// The component is a server of its own, not a library in whatever process speaks.
    pub server: bool,
    pub target: &'a str,
    pub message: &'a str,
    /// An error beside the words.
    pub error: Option<Cow<'a, str>>,
}

impl<'a> Words<'a> {
    pub(super) fn observe(self) -> Observation<'a> {
        Observation {
            time: self.time,
            level: self.level,
            // A server numbers its own connections, routes and calls.
            flows: if self.server { Vec::new() } else { ids::in_words(self.message) },
            component: (!self.component.is_empty()).then_some(Cow::Borrowed(self.component)),
            embedded: !self.server,
            target: Cow::Borrowed(self.target),
            process: process::of_message(self.message),
            message: Cow::Borrowed(self.message),
            error: self.error,
            ..Observation::default()
        }
    }
}

/// An event of which no more is told than how bad it is.
pub(super) fn told(level: Level, text: &str) -> Observation<'_> {
    Words { level: Some(level), message: text, ..Words::default() }.observe()
}

/// The first bytes of a line, enough to tell how it begins; empty where they are no text.
pub(super) fn beginning(line: &[u8], most: usize) -> &str {
    std::str::from_utf8(line.get(..most).unwrap_or(line)).unwrap_or_default()
}

/// A level by any of its names: whole, cut to three or four letters, or an initial.
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

/// `FILE:LINE`, with a source file's ending.
pub(super) fn is_source_place(text: &str) -> bool {
    let Some((file, line)) = text.rsplit_once(':') else { return false };
    !line.is_empty()
        && line.bytes().all(|b| b.is_ascii_digit())
        && !file.is_empty()
        && !file.contains(' ')
}

/// Whether a line begins as an object of JSON does that stands on one line; Python's and YAML's are no JSON.
pub(super) fn is_object(line: &[u8]) -> bool {
    line.strip_prefix(b"{")
        .is_some_and(|rest| rest.trim_ascii_start().first().is_some_and(|b| *b == b'"'))
}
