//! Spans: one component's part of one flow.

use std::borrow::Cow;

use compact_str::CompactString;
use flowlog_schema::Level;
use serde::{Deserialize, Serialize};

use super::position::{LogPosition, keep_max, keep_min};
use crate::event::{ErrorDetail, ParsedEvent, SpanRef, SpanUpdate, truncate};
use crate::format::{ClientFault, client_fault, is_lost, ownership, reports_failed_call};

use super::resolved_row::{Kind, ResolvedRow};

/// Maximum number of states kept per span, the latest; and of callees, the first.
pub(super) const MAX_STATES: usize = 16;

/// Maximum length of an error message, in bytes.
pub(super) const MAX_MESSAGE_BYTES: usize = 400;

/// An error that a span reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// Position of the error.
    pub position: LogPosition,
    /// Error type; empty if unknown.
    pub kind: CompactString,
    /// Error message.
    pub message: Box<str>,
    /// HTTP status reported with the error.
    pub status: Option<u16>,
    /// Whether the error came with a stack trace.
    pub traceback: bool,
    /// Engine that the stack trace names.
    pub engine: Option<CompactString>,
}

/// Status of a span, according to its own lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanStatus {
    /// The span ended well.
    Ok,
    /// The span failed.
    Failed,
    /// The span failed through the caller's fault.
    Rejected,
    /// The caller went away.
    Cancelled,
    /// The span neither ended nor failed.
    Open,
}

/// Parts of the record structure that the lines of a span provide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
pub struct FieldCoverage {
    /// Whether any line is a flowlog record.
    pub record: bool,
    /// Whether the start was logged.
    pub start: bool,
    /// Whether the start record names versions.
    pub start_versions: bool,
    /// Whether the failure record names versions.
    pub fail_versions: bool,
    /// Whether the failure names a state.
    pub fail_state: bool,
    /// Whether the failure has an error type, or a status that stands for one.
    pub fail_type: bool,
}

impl FieldCoverage {
    fn note(&mut self, event: &ParsedEvent<'_>) {
        let versions = event.versions == Some(true);
        self.record |= event.versions.is_some();
        match &event.update {
            SpanUpdate::Start => {
                self.start = true;
                self.start_versions |= versions;
            }
            SpanUpdate::Fail(error_detail) => {
                self.fail_versions |= versions;
                self.fail_state |=
                    event.state.as_deref().is_some_and(|state| !matches!(state, "" | "-"));
                self.fail_type |= !matches!(error_detail.kind.as_ref(), "" | "Unknown")
                    || error_detail.status.is_some();
            }
            _ => {}
        }
    }

    fn merge(&mut self, other: Self) {
        self.record |= other.record;
        self.start |= other.start;
        self.start_versions |= other.start_versions;
        self.fail_versions |= other.fail_versions;
        self.fail_state |= other.fail_state;
        self.fail_type |= other.fail_type;
    }
}

/// One span, as far as it was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Span {
    /// Span ID.
    pub key: u64,
    /// Whether its lines name the span. If not, it stands for a process that logged lines of the
    /// flow outside of spans.
    pub has_id: bool,
    /// Whether no line names the span: it stands for what one process logged of the flow.
    pub is_inferred: bool,
    /// Span ID of the caller.
    pub parent: Option<u64>,
    /// Component; empty if only the source identifies it.
    pub component: CompactString,
    /// Instance; empty if only the source identifies it.
    pub instance: CompactString,
    /// Instances that the span calls, in the order in which it first names them.
    pub callees: Vec<(LogPosition, CompactString)>,
    /// First line.
    pub first: LogPosition,
    /// Last line.
    pub last: LogPosition,
    /// Last line other than a bare close.
    pub last_message: Option<LogPosition>,
    /// Last line that did not end the span.
    pub last_nonterminal: Option<LogPosition>,
    /// Parts of the record structure that its lines provide.
    pub coverage: FieldCoverage,
    /// End of the span.
    pub ended: Option<LogPosition>,
    /// Close of the span, which does not imply success.
    pub closed: Option<LogPosition>,
    /// Cancellation, because the caller went away.
    pub cancelled: Option<LogPosition>,
    /// Failure of the span.
    pub failed: Option<Box<Failure>>,
    /// Last error reported without failing the span.
    pub last_error: Option<Box<Failure>>,
    /// First report that another component was lost, other than its failure.
    pub first_loss: Option<Box<Failure>>,
    /// Last restart of its stream.
    pub restarted_at: Option<LogPosition>,
    /// Whether it responded.
    pub answered: bool,
    /// Whether its response is a stream.
    pub streaming: bool,
    /// States of its work with their positions, latest last.
    pub states: Vec<(LogPosition, CompactString)>,
}

impl Span {
    pub(super) fn new(key: u64, position: LogPosition) -> Self {
        Self {
            key,
            has_id: true,
            is_inferred: true,
            parent: None,
            component: CompactString::default(),
            instance: CompactString::default(),
            callees: Vec::new(),
            first: position,
            last: position,
            last_message: None,
            last_nonterminal: None,
            coverage: FieldCoverage::default(),
            ended: None,
            closed: None,
            cancelled: None,
            failed: None,
            last_error: None,
            first_loss: None,
            restarted_at: None,
            answered: false,
            streaming: false,
            states: Vec::new(),
        }
    }

    /// Adds an ordinary record.
    pub(super) fn add_record(&mut self, row: &ResolvedRow<'_>) {
        self.is_inferred = false;
        keep_max(&mut self.parent, Some(row.parent).filter(|parent| *parent != 0));
        keep_longer(&mut self.component, Some(row.component));
        keep_longer(&mut self.instance, row.instance);
        self.note_message(row.position, row.callee, row.state);
        keep_max(&mut self.last_message, Some(row.position));
        if !matches!(row.kind, Kind::End) {
            keep_max(&mut self.last_nonterminal, Some(row.position));
        }
        self.coverage.record = true;
        match row.kind {
            Kind::Start => {
                self.coverage.start = true;
                self.coverage.start_versions |= row.has_versions;
            }
            Kind::State => {}
            Kind::End => keep_min(&mut self.ended, Some(row.position)),
        }
    }

    /// Adds the position of a line, and the callee and the state that it names.
    fn note_message(&mut self, position: LogPosition, callee: Option<&str>, state: Option<&str>) {
        if let Some(callee) = callee.filter(|callee| !callee.is_empty()) {
            self.callees.push((position, CompactString::from(callee)));
            self.trim_callees();
        }
        self.first = self.first.min(position);
        self.last = self.last.max(position);
        if let Some(state) = state {
            self.states.push((position, CompactString::from(state)));
            self.trim_states();
        }
    }

    pub(super) fn note(
        &mut self,
        reference: &SpanRef<'_>,
        event: &ParsedEvent<'_>,
        position: LogPosition,
    ) {
        self.is_inferred &= reference.is_inferred;
        keep_max(&mut self.parent, reference.parent);
        keep_longer(&mut self.component, reference.component.as_deref());
        keep_longer(&mut self.instance, reference.instance.as_deref());
        self.note_message(position, reference.callee.as_deref(), event.state.as_deref());
        if !matches!(event.update, SpanUpdate::Closed) {
            keep_max(&mut self.last_message, Some(position));
        }
        if !matches!(
            event.update,
            SpanUpdate::Closed | SpanUpdate::End | SpanUpdate::Cancel | SpanUpdate::Fail(_)
        ) {
            keep_max(&mut self.last_nonterminal, Some(position));
        }
        self.coverage.note(event);
        let failure = |error_detail: &ErrorDetail<'_>, traceback: bool| {
            Box::new(Failure {
                position,
                kind: CompactString::from(error_detail.kind.as_ref()),
                message: truncate(&error_detail.message, MAX_MESSAGE_BYTES).into(),
                status: error_detail.status,
                traceback,
                engine: ownership::of_stack(&event.message)
                    .or_else(|| event.error.as_deref().and_then(ownership::of_stack))
                    .map(CompactString::from),
            })
        };
        let loss = || {
            let (kind, message) = (Cow::Borrowed(""), Cow::Borrowed(&*event.message));
            failure(&ErrorDetail { kind, message, status: None }, false)
        };
        match &event.update {
            SpanUpdate::Start => {}
            SpanUpdate::Message => {
                let is_warning = event.level.is_some_and(|level| level >= Level::Warn);
                if is_warning && reports_failed_call(&event.message) {
                    keep_min(&mut self.first_loss, Some(loss()));
                }
            }
            SpanUpdate::Streaming => self.streaming = true,
            SpanUpdate::Responded => self.answered = true,
            SpanUpdate::Restarted => {
                keep_max(&mut self.restarted_at, Some(position));
                keep_min(&mut self.first_loss, Some(loss()));
            }
            SpanUpdate::Closed => keep_min(&mut self.closed, Some(position)),
            SpanUpdate::End => keep_min(&mut self.ended, Some(position)),
            SpanUpdate::Cancel => keep_min(&mut self.cancelled, Some(position)),
            SpanUpdate::Fail(error_detail) => self.fail(failure(error_detail, false)),
            SpanUpdate::ErrorLogged { error_detail, traceback } => {
                let error = failure(error_detail, *traceback);
                if is_lost(&error.kind, &error.message, error.status) {
                    keep_min(&mut self.first_loss, Some(error.clone()));
                }
                keep_max(&mut self.last_error, Some(error));
            }
        }
    }

    /// Keeps the earliest failure. Its status is the lowest that any failure line reports.
    fn fail(&mut self, failure: Box<Failure>) {
        let status = self
            .failed
            .as_ref()
            .and_then(|kept| kept.status)
            .into_iter()
            .chain(failure.status)
            .min();
        keep_min(&mut self.failed, Some(failure));
        if let Some(kept) = &mut self.failed {
            kept.status = status;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.is_inferred &= other.is_inferred;
        keep_max(&mut self.parent, other.parent);
        keep_longer(&mut self.component, Some(&other.component));
        keep_longer(&mut self.instance, Some(&other.instance));
        self.callees.extend(other.callees);
        self.trim_callees();
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        keep_max(&mut self.last_message, other.last_message);
        keep_max(&mut self.last_nonterminal, other.last_nonterminal);
        self.coverage.merge(other.coverage);
        keep_min(&mut self.ended, other.ended);
        keep_min(&mut self.closed, other.closed);
        keep_min(&mut self.cancelled, other.cancelled);
        if let Some(failure) = other.failed {
            self.fail(failure);
        }
        keep_max(&mut self.last_error, other.last_error);
        keep_min(&mut self.first_loss, other.first_loss);
        keep_max(&mut self.restarted_at, other.restarted_at);
        self.answered |= other.answered;
        self.streaming |= other.streaming;
        self.states.extend(other.states);
        self.trim_states();
    }

    /// Keeps the latest position of each state, and only the latest states.
    fn trim_states(&mut self) {
        if self.states.len() < 2 {
            return;
        }
        self.states.sort_unstable_by(|a, b| (&a.1, b.0).cmp(&(&b.1, a.0)));
        self.states.dedup_by(|later, kept| later.1 == kept.1);
        self.states.sort_unstable();
        let surplus = self.states.len().saturating_sub(MAX_STATES);
        self.states.drain(..surplus);
    }

    /// Keeps the first position of each callee, and only the first callees.
    fn trim_callees(&mut self) {
        if self.callees.len() > 1 {
            self.callees.sort_unstable_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
            self.callees.dedup_by(|later, kept| later.1 == kept.1);
            self.callees.sort_unstable();
            self.callees.truncate(MAX_STATES);
        }
    }

    /// Returns the latest callee; empty if the span named none.
    pub fn callee(&self) -> &str {
        self.callees.last().map_or("", |(_, callee)| callee)
    }

    /// Returns the latest state; empty if the span named none.
    pub fn state(&self) -> &str {
        self.states.last().map_or("", |(_, state)| state)
    }

    /// Returns the state in which the span has been silent since `mark`. The line that ends the
    /// span later repeats that state, if it names one.
    pub fn state_since(&self, position: LogPosition) -> &str {
        let ended_in = self.states.last().filter(|(last, _)| Some(*last) == self.finished());
        let state =
            ended_in.or_else(|| self.states.iter().rev().find(|(since, _)| *since <= position));
        state.map_or("", |(_, state)| state)
    }

    /// Returns the status of the span, according to its own lines.
    ///
    /// The first terminal line decides. Without one, an exception with a stack trace fails the
    /// span, and so does an error that is its last message.
    pub fn status(&self) -> SpanStatus {
        let ended = self.ended;
        let failed = self.failed.as_ref().map(|failure| failure.position);
        let cancelled = self.cancelled;
        let before = |a: Option<LogPosition>, b: Option<LogPosition>| {
            a.is_some_and(|a| b.is_none_or(|b| a <= b))
        };
        if before(failed, ended) && before(failed, cancelled) {
            return self.status_of_failure();
        }
        if before(cancelled, ended) {
            return SpanStatus::Cancelled;
        }
        if ended.is_some() {
            return SpanStatus::Ok;
        }
        if self.last_error().is_some() {
            return self.status_of_failure();
        }
        if self.closed.is_some() || (self.answered && !self.streaming) {
            SpanStatus::Ok
        } else {
            SpanStatus::Open
        }
    }

    fn status_of_failure(&self) -> SpanStatus {
        match self.failure().and_then(|failure| client_fault(&failure.kind, failure.status)) {
            Some(ClientFault::BadRequest) => SpanStatus::Rejected,
            Some(ClientFault::Disconnected) => SpanStatus::Cancelled,
            None => SpanStatus::Failed,
        }
    }

    /// Returns the failure that determines the status, even if the caller caused it.
    pub fn failure(&self) -> Option<&Failure> {
        self.failed.as_deref().or_else(|| self.last_error())
    }

    /// Returns the last error if it proves a failure: it has a stack trace, or no later message
    /// follows.
    fn last_error(&self) -> Option<&Failure> {
        self.last_error.as_deref().filter(|last_error| {
            last_error.traceback || Some(last_error.position) == self.last_message
        })
    }

    /// Returns when the span ended, failed, was cancelled or closed, whichever came first.
    pub fn finished(&self) -> Option<LogPosition> {
        let failed = self.failed.as_ref().map(|failure| failure.position);
        [self.ended, failed, self.cancelled, self.closed].into_iter().flatten().min()
    }

    /// Returns whether its last message reports a restart of its stream.
    pub fn ends_restarted(&self) -> bool {
        self.restarted_at.is_some() && self.restarted_at == self.last_message
    }

    /// Returns the time from its first line to its end or close, in nanoseconds.
    pub fn duration(&self) -> Option<i64> {
        let end = self.ended.or(self.closed)?.time()?;
        Some(end.saturating_sub(self.first.time()?))
    }
}

/// Keeps the longer of two names, or the greater if both are equally long: the result does not
/// depend on the order, and any name replaces an empty one.
fn keep_longer(slot: &mut CompactString, value: Option<&str>) {
    if let Some(value) = value
        && (value.len(), value) > (slot.len(), slot.as_str())
    {
        *slot = CompactString::from(value);
    }
}
