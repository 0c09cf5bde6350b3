//! Participants of a flow: processes whose lines carry the flow's ID outside of spans.

use compact_str::CompactString;
use flowlog_schema::Level;
use serde::{Deserialize, Serialize};

use super::position::{LogPosition, keep_max, keep_min};
use super::span::{Failure, MAX_MESSAGE_BYTES, Span};
use crate::event::{ParsedEvent, SpanUpdate, span_key, truncate};
use crate::format::{error_of, is_lost, line_error, ownership, reports_failed_call, stack};
use crate::rules::is_relay;

/// A process that logged lines of a flow outside of spans.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Participant {
    /// Component that the lines name; empty if only the source identifies it.
    component: CompactString,
    /// Instance that the lines name; empty if only the source identifies it.
    instance: CompactString,
    /// Span that called the process, if it is known.
    caller: Option<u64>,
    first: LogPosition,
    last: LogPosition,
    /// First error that does not only relay another one, or else the first error.
    pub(super) error: Option<Box<Failure>>,
    /// First warning that another component was lost.
    pub(super) loss: Option<Box<Failure>>,
}

impl Participant {
    /// Returns the hash of the identity of the process that logged a line.
    pub(super) fn key_of(event: &ParsedEvent<'_>, position: LogPosition) -> u64 {
        let producer = position.line.producer_id();
        span_key(&[
            "participant",
            named_component(event),
            event.instance.as_deref().unwrap_or_default(),
            &format!("{}:{}", producer.source, producer.producer),
        ])
    }

    pub(super) fn new(event: &ParsedEvent<'_>, position: LogPosition) -> Self {
        Self {
            component: named_component(event).into(),
            instance: event.instance.as_deref().unwrap_or_default().into(),
            caller: None,
            first: position,
            last: position,
            error: None,
            loss: None,
        }
    }

    /// Creates a process that logged nothing of the flow, with its caller and the line that names it.
    pub(super) fn of_callee(
        component: CompactString,
        instance: CompactString,
        caller: u64,
        position: LogPosition,
    ) -> Self {
        let caller = Some(caller);
        Self {
            component,
            instance,
            caller,
            first: position,
            last: position,
            error: None,
            loss: None,
        }
    }

    /// Adds a line.
    pub(super) fn note(&mut self, event: &ParsedEvent<'_>, position: LogPosition) {
        self.first = self.first.min(position);
        self.last = self.last.max(position);
        let Some(error) = error_in(event, position) else { return };
        if error.traceback || event.level == Some(Level::Error) {
            self.add_error(Box::new(error));
        } else if is_lost(&error.kind, &error.message, error.status)
            || reports_failed_call(&error.message)
        {
            keep_min(&mut self.loss, Some(Box::new(error)));
        }
    }

    fn add_error(&mut self, error: Box<Failure>) {
        let rank = |error: &Failure| (is_relay(&error.message), error.position);
        if self.error.as_ref().is_none_or(|kept| rank(&error) < rank(kept)) {
            self.error = Some(error);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        if let Some(error) = other.error {
            self.add_error(error);
        }
        keep_min(&mut self.loss, other.loss);
    }

    /// Returns the participant as a span without an ID. It never ends: nothing shows when the
    /// process had finished its work.
    pub(super) fn into_span(self, key: u64) -> Span {
        let mut span = Span::new(key, self.first);
        span.has_id = false;
        span.parent = self.caller;
        span.component = self.component;
        span.instance = self.instance;
        span.last = self.last;
        keep_max(&mut span.last_message, Some(self.last));
        keep_max(&mut span.last_nonterminal, Some(self.last));
        span.failed = self.error;
        span.first_loss = self.loss;
        span
    }
}

/// Returns the component that a line names, if it is not a library's.
fn named_component<'e>(event: &'e ParsedEvent<'_>) -> &'e str {
    event.component.as_deref().filter(|_| !event.is_library).unwrap_or_default()
}

/// Returns the error that a line outside of spans reports: an exception with its stack, or a
/// message at error level or, as the report of a loss may be, at the level of a warning.
fn error_in(event: &ParsedEvent<'_>, position: LogPosition) -> Option<Failure> {
    let full = event.full_message();
    let has_stack = stack::of(&full).is_some();
    if !has_stack && event.level.is_none_or(|level| level < Level::Warn) {
        return None;
    }
    let (kind, message, status) = match &event.update {
        SpanUpdate::ErrorLogged { error_detail, .. } | SpanUpdate::Fail(error_detail) => {
            (error_detail.kind.to_string(), error_detail.message.to_string(), error_detail.status)
        }
        _ if !has_stack => {
            let (kind, message) = line_error(full.lines().next().unwrap_or_default());
            (kind.to_owned(), message.to_owned(), None)
        }
        _ => {
            let error = error_of(&full);
            (error.kind.to_owned(), error.message.into_owned(), None)
        }
    };
    Some(Failure {
        position,
        kind: kind.into(),
        message: truncate(&message, MAX_MESSAGE_BYTES).into(),
        status,
        traceback: has_stack,
        engine: ownership::of_stack(&full).map(CompactString::from),
    })
}
