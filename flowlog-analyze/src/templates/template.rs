//! A template: what its lines have in common, and where their timestamps are.

use super::timestamp_slots::TimestampSlot;
use crate::envelope::{EnvelopeMeta, Producer, peel_whole};
use crate::event::truncate;
use crate::format::{self, EventStart, Format, stack};
use crate::patterns::{pattern_hash, without_line};
use crate::rules::{self, Severity};
use crate::timestamp::Timestamp;

use flowlog_schema::Level;

/// Properties of a line without information.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Format of the line.
    pub format: Format,
    /// Component that the line names; empty if none.
    pub component: String,
    /// Whether the component is a library.
    pub is_library: bool,
    /// Instance that the line names; empty if none.
    pub instance: String,
    /// Logger of the line, without the line of its source file.
    pub target: String,
    /// Severity of the line.
    pub level: Option<Level>,
    /// How serious the line is, by itself.
    pub severity: Severity,
    /// Hash of the line's pattern.
    pub pattern: u64,
    /// Message of the line that was learned; others differ in digits.
    pub message: Sample,
    pub(super) meta: EnvelopeMeta,
    pub(super) start: EventStart,
    pub(super) own_slot: Option<TimestampSlot>,
    pub(super) envelope_slot: Option<TimestampSlot>,
    /// Whether the line's time has a year and a zone.
    pub(super) has_complete_time: bool,
    /// Stream key of the line.
    pub(super) stream_key: u64,
}

/// Text of one of several equivalent lines, so that any two are equal.
#[derive(Debug, Clone)]
pub struct Sample(pub Box<str>);

impl PartialEq for Sample {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Template {
    /// Returns the producer of the line, as its envelopes name it.
    pub fn producer(&self) -> &Producer {
        &self.meta.producer
    }

    /// Returns whether another template has the same meaning, wherever its timestamps are.
    pub(super) fn is_same_as(&self, other: Self) -> bool {
        Self { own_slot: self.own_slot.clone(), envelope_slot: self.envelope_slot.clone(), ..other }
            == *self
    }
}

/// Maximum length of the message that a template keeps, in bytes.
const MAX_SAMPLE_BYTES: usize = 400;

/// Returns the meaning of a line that shows nothing but activity of its producer.
///
/// Also returns its own timestamp and that of its envelope.
pub(super) fn read(line: &[u8]) -> Option<(Template, [Option<Timestamp>; 2])> {
    // Zero bytes at the start are not part of a line (see `lines`), and the fast path does not find
    // where they end.
    if memchr::memchr(0, line).is_some() {
        return None;
    }
    let (text, meta) = peel_whole(line);
    if meta.partial || meta.is_continuation || meta.marks_continuations {
        return None;
    }
    let start = format::classify_start(&text)?;
    match start {
        EventStart::Whole => {}
        EventStart::Logged { body, .. }
            if !stack::goes_on(text.get(body..).unwrap_or_default(), true) => {}
        EventStart::Logged { .. } | EventStart::Panic | EventStart::Stack | EventStart::Part => {
            return None;
        }
    }
    let text = std::str::from_utf8(&text).ok()?.trim_end();
    let (format, event) = format::read(text);
    let event = event?;
    let is_uneventful = event.flows.is_empty()
        && event.span.is_none()
        && event.process.is_none()
        && event.lost == 0
        && event.clock == 0
        && event.problems.is_empty()
        && rules::of(format.name(), &event, &meta.producer.process).is_none();
    let template = Template {
        format,
        component: event.component.as_deref().unwrap_or_default().to_owned(),
        is_library: event.is_library,
        instance: event.instance.as_deref().unwrap_or_default().to_owned(),
        target: without_line(&event.target).to_owned(),
        level: event.level,
        severity: rules::severity_of(format.name(), &event),
        pattern: pattern_hash(without_line(&event.target), &event.full_message()),
        message: Sample(truncate(&event.full_message(), MAX_SAMPLE_BYTES).into()),
        start,
        own_slot: None,
        envelope_slot: None,
        has_complete_time: event.time.or(meta.time).is_some_and(Timestamp::is_complete),
        stream_key: meta.stream_key(),
        meta: EnvelopeMeta { time: None, ..meta.clone() },
    };
    is_uneventful.then_some((template, [event.time, meta.time]))
}
