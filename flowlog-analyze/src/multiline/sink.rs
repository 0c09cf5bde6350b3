//! Consumers of events, and the fast path for lines that they recognize.

use super::{NeedsLookbehind, RawEvent};
use crate::envelope::Producer;
use crate::format::Format;

/// Consumer of a chunk's events.
///
/// A closure consumes every event. A sink that recognizes lines can consume them before their
/// envelopes and formats are parsed; by default it recognizes none.
pub trait EventSink<'c> {
    /// Error that stops reading.
    type Error: From<NeedsLookbehind>;

    /// Consumes an event. Called in the order in which the events begin.
    ///
    /// # Errors
    /// Returns an error to stop reading.
    fn on_event(&mut self, event: &RawEvent<'c>) -> Result<(), Self::Error>;

    /// Tries to consume `line` as a complete single-line event without an envelope.
    ///
    /// Returns `true` if consumed, and `false` by default. Only consumes a line that no line before
    /// it can affect. The line may be in the lookbehind, as for
    /// [`accept_template_line`](Self::accept_template_line).
    fn try_record(&mut self, _at: u64, _line: &[u8]) -> bool {
        false
    }

    /// Returns the number of the template that the line matches.
    ///
    /// A template covers lines that show nothing but activity of their producer. The default is
    /// `None`.
    fn match_template(&mut self, _line: &[u8]) -> Option<usize> {
        None
    }

    /// Returns the owner of the lines that match a template. The default is `None`.
    fn template_owner(&self, _number: usize) -> Option<TemplateOwner<'_>> {
        None
    }

    /// Notes the time of a pending event for the lines after it.
    ///
    /// Called with an event that will be consumed later, before a line after it is accepted. The
    /// default does nothing.
    fn note_pending_time(&mut self, _event: &RawEvent<'c>) {}

    /// Tries to consume a line that matches a template as an event.
    ///
    /// Returns `None` if it cannot, which is the default.
    fn accept_template_line(
        &mut self,
        _number: usize,
        _at: u64,
        _line: &[u8],
    ) -> Option<AcceptedLine> {
        None
    }

    /// Undoes the acceptance of a line that continues on another line.
    ///
    /// It will be consumed as the first line of an event. The default does nothing.
    fn retract(&mut self, _counted: AcceptedLine) {}
}

impl<'c, E: From<NeedsLookbehind>, F: FnMut(&RawEvent<'c>) -> Result<(), E>> EventSink<'c> for F {
    type Error = E;

    fn on_event(&mut self, event: &RawEvent<'c>) -> Result<(), E> {
        self(event)
    }
}

/// Owner of a line that matches a template.
#[derive(Debug)]
pub struct TemplateOwner<'s> {
    /// Stream key of the line, from its [`EnvelopeMeta`](crate::envelope::EnvelopeMeta).
    pub stream_key: u64,
    /// Producer of the line.
    pub producer: &'s Producer,
    /// Whether the envelope is one that splits lines. It did not split this one.
    pub splits_lines: bool,
    /// Whether the time of an earlier event may matter, because the line has none or it lacks its
    /// year or zone.
    pub needs_earlier_time: bool,
}

/// Record of an accepted template line.
#[derive(Debug, Clone, Copy)]
pub struct AcceptedLine {
    /// Format that the line was counted under.
    pub format: Format,
    /// Whether the line's timestamp was incomplete.
    pub is_time_inferred: bool,
    /// Whether the line was counted: it is neither in the lookbehind nor outside the requested
    /// times.
    pub in_scope: bool,
    /// Hash of the line's pattern, and the key of its producer.
    pub pattern: (u64, u32),
    /// Time of the line.
    pub time: i64,
}
