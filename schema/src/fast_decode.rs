//! Fast path for records of ordinary progress, which parses by position.
//!
//! Nearly every line of a healthy system is a span's `start`, `state` or `end`, written by our own
//! encoder: its keys come in a known order and its values need no unescaping.
//! [`json::decode_fast`](crate::json::decode_fast) and
//! [`text::decode_fast`](crate::text::decode_fast) assume this, check it byte by byte and borrow
//! the fields from the line without allocating. They return what the full decoder of their form
//! would return, or `None`, which only means that the full decoder has to parse the line.

use crate::{Clock, EventKind, FlowId, SpanId, Time};

/// A `start`, `state` or `end` of a flow's span, without an error or an irregularity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastRecord<'a> {
    /// Wall-clock time, with microseconds.
    pub time: Time,
    /// Component, in lower case.
    pub component: &'a str,
    /// Instance of the component: pod, worker ID or rank.
    pub instance: Option<&'a str>,
    /// Flow ID.
    pub flow_id: FlowId,
    /// `Start`, `State` or `End`.
    pub event: EventKind,
    /// State of the component's work.
    pub state: Option<&'a str>,
    /// Whether the record names versions.
    pub has_versions: bool,
    /// Span ID.
    pub span_id: SpanId,
    /// Id of the caller's span.
    pub parent_id: Option<SpanId>,
    /// Reading of the hybrid logical clock.
    pub clock: Option<Clock>,
    /// Free-form message; empty if there is none.
    pub message: &'a str,
}

/// Maximum number of fields besides the known keys in a line for the fast path. Each name is
/// compared with all earlier ones.
const MAX_FIELDS: usize = 8;

/// Names of the fields in a line.
#[derive(Default)]
pub(crate) struct SeenKeys<'a> {
    names: [&'a [u8]; MAX_FIELDS],
    count: usize,
}

impl<'a> SeenKeys<'a> {
    /// Adds a name. Returns `false` if it occurred before, or if there are too many names.
    pub(crate) fn is_new(&mut self, name: &'a [u8]) -> bool {
        if self.names.iter().take(self.count).any(|earlier| *earlier == name) {
            return false;
        }
        let Some(slot) = self.names.get_mut(self.count) else { return false };
        *slot = name;
        self.count += 1;
        true
    }
}

/// Offsets in a line that separate the parts that differ in every line from the runs between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldOffsets {
    /// Start of the message in JSON, which follows the code location; same as `producer` in text.
    pub(crate) message: usize,
    /// Closing quote of the message in JSON; end of the time in text.
    pub(crate) producer: usize,
    pub(crate) flow_id: usize,
    /// Start of the trace ID in JSON, of the span ID in text.
    pub(crate) middle_end: usize,
    /// End of the last ID.
    pub(crate) tail: usize,
}

/// Returns whether all bytes are printable ASCII.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    // Without an early exit, the loop compiles to operations on sixteen bytes at a time.
    bytes.iter().fold(true, |plain, byte| plain & (byte.wrapping_sub(b' ') < 0x5f))
}

/// Returns whether the text is a component as encoders write it: a lower-case letter, then
/// `[a-z0-9_.-]*`.
pub(crate) fn is_lower_component(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_lowercase)
        && text.iter().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-')
        })
}
