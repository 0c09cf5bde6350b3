//! Events that may continue, and which of the lines after them they accept.

use super::RawEvent;
use super::line::Line;
use crate::envelope::peel_whole;
use crate::format::{EventStart, classify_start, stack};
use crate::lines::MAX_EVENT_BYTES;

/// Maximum bytes of other producers' lines between two lines of one event.
pub(super) const MAX_REORDER_BYTES: u64 = 64 * 1024;

/// Maximum time between two lines of one event, in nanoseconds.
///
/// An event is written at once but may be collected slowly.
const MAX_PAUSE_NS: i64 = 2_000_000_000;

/// Event that may continue.
pub(super) struct PendingEvent<'c> {
    pub(super) event: RawEvent<'c>,
    kind: Kind,
    /// Offset at which the last line ends.
    pub(super) end: u64,
    /// Time at which the last line was read, if an envelope has it.
    last: Option<i64>,
    /// Whether the last line is blank.
    blank: bool,
    /// Whether the last line that is not blank belongs to a stack.
    in_stack: bool,
    /// Whether the last line is a stack frame with its source line still to come.
    shows_source: bool,
    /// Whether the last line ends as if more follows.
    expects_more: bool,
    /// Whether the next stack in the event is the cause, or the consequence, of the last.
    chained: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Event of a single line.
    Whole,
    /// Event from a logger, with the properties of its header.
    Logged { header: u64, may_have_stack: bool, repeats_header: bool },
    /// Stack, panic or other last output that bypasses loggers.
    Raw,
}

impl<'c> PendingEvent<'c> {
    /// Creates an event that begins with one line, with its message at `body`.
    pub(super) fn new(event: RawEvent<'c>, kind: Kind, end: u64, body: usize) -> Self {
        let last = event.meta.complete_time();
        let (blank, in_stack, shows_source, expects_more, chained) =
            (false, false, false, false, false);
        let mut open =
            Self { event, kind, end, last, blank, in_stack, shows_source, expects_more, chained };
        let text = open.event.text.clone();
        open.inspect(text.get(body..).unwrap_or_default());
        open
    }

    /// Returns the offset in `line` from which it continues this event; `None` if it does not.
    pub(super) fn accepts(
        &self,
        offset: u64,
        time: Option<i64>,
        start: Option<EventStart>,
        line: &[u8],
    ) -> Option<usize> {
        if !self.reaches(offset) || !within_pause(self.last, time) {
            return None;
        }
        let goes_on = match (self.kind, start) {
            (Kind::Whole, _) | (_, Some(EventStart::Whole)) => return None,
            (Kind::Logged { header, .. }, Some(EventStart::Logged { header: own, body, .. }))
                if header == own && body > 0 =>
            {
                let words = line.get(body..).unwrap_or_default();
                return stack::goes_on(words, self.in_stack).then_some(body);
            }
            (_, Some(EventStart::Logged { .. } | EventStart::Panic)) => return None,
            // A traceback follows the message that expects it, not any message that came before.
            (Kind::Logged { may_have_stack, .. }, Some(EventStart::Stack | EventStart::Part)) => {
                may_have_stack || self.in_stack || self.expects_more
            }
            (Kind::Raw, Some(EventStart::Part)) => true,
            (Kind::Raw, Some(EventStart::Stack)) => {
                self.chained || self.in_stack && stack::continues_chain(line)
            }
            (_, None) => self.accepts_text(line),
        };
        goes_on.then_some(0)
    }

    /// Returns whether a line that begins no event continues this one.
    fn accepts_text(&self, line: &[u8]) -> bool {
        let Some(first) = line.first() else { return true };
        if first.is_ascii_whitespace() || self.expects_more {
            return true;
        }
        // Other text follows a blank line, and also a stack.
        let Kind::Logged { may_have_stack, repeats_header, .. } = self.kind else {
            return self.in_stack && (stack::is_last(line) || stack::continues_chain(line));
        };
        if self.in_stack && (stack::is_last(line) || stack::continues_chain(line)) {
            return true;
        }
        // The lines of syslog are whole.
        if repeats_header || !self.event.meta.producer.host.is_empty() {
            return false;
        }
        let cut = first.is_ascii_lowercase()
            || matches!(first, b'_' | b',' | b')' | b']' | b'}' | b'"' | b'\'');
        !self.blank
            && (may_have_stack || cut)
            && self.event.lines < MAX_CONTINUATION_LINES
            && !stack::is_new(line)
    }

    /// Returns whether an event may extend to `offset`.
    fn reaches(&self, offset: u64) -> bool {
        let near =
            offset.checked_sub(self.event.at).is_some_and(|since| since <= MAX_EVENT_BYTES as u64);
        near && offset.saturating_sub(self.end) <= MAX_REORDER_BYTES
    }

    pub(super) fn add(&mut self, line: &Line<'_>, body: usize) {
        let words = line.text.get(body..).unwrap_or_default();
        let text = self.event.text.to_mut();
        text.push(b'\n');
        text.extend_from_slice(words);
        self.event.lines += line.lines;
        self.end = line.end;
        self.last = line.meta.complete_time().or(self.last);
        self.inspect(words);
    }

    fn inspect(&mut self, line: &[u8]) {
        self.blank = line.trim_ascii().is_empty();
        if !self.blank {
            self.in_stack = stack::is_inside(line) || self.shows_source;
            self.chained = stack::is_chain(line) || self.chained && !stack::is_start(line);
        }
        self.shows_source = stack::shows_source(line);
        let opens =
            line.trim_ascii_end().last().is_some_and(|b| matches!(b, b':' | b'{' | b'[' | b'('));
        self.expects_more = opens || self.shows_source;
    }
}

/// Returns whether a line was read soon enough after another to belong to the same event.
pub(super) fn within_pause(last: Option<i64>, time: Option<i64>) -> bool {
    last.zip(time).is_none_or(|(last, time)| time.abs_diff(last) <= MAX_PAUSE_NS.unsigned_abs())
}

/// Maximum number of lines of an event that continues with plain text.
const MAX_CONTINUATION_LINES: u64 = 40;

/// Returns whether a line could continue an event before it.
pub(super) fn may_continue(start: Option<EventStart>, line: &[u8]) -> bool {
    match start {
        Some(EventStart::Whole | EventStart::Panic) => false,
        Some(EventStart::Logged { body, .. }) => {
            stack::goes_on(line.get(body..).unwrap_or_default(), true)
        }
        Some(EventStart::Stack | EventStart::Part) | None => true,
    }
}

/// Rebuilds the event that begins with a line matched by a template.
pub(super) fn rebuild(at: u64, line: &[u8], starts_in_chunk: bool) -> Option<PendingEvent<'_>> {
    let (text, meta) = peel_whole(line);
    let Some(EventStart::Logged { header, body, may_have_stack, repeats_header }) =
        classify_start(&text)
    else {
        return None;
    };
    let event = RawEvent { at, lines: 1, text, meta, starts_in_chunk };
    Some(PendingEvent::new(
        event,
        Kind::Logged { header, may_have_stack, repeats_header },
        at + line.len() as u64,
        body,
    ))
}
