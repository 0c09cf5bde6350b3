//! State of a flow under one of its IDs.

use serde::{Deserialize, Serialize};

use super::closed_stats::{ClosedStats, NamedStats};
use super::closing::is_closed;
use super::interner::Interner;
use super::participant::Participant;
use super::position::LogPosition;
use super::row::{self, Row, Scratch};
use super::span::Span;
use super::spans::Flow;
use crate::event::{FlowKey, ParsedEvent};

/// State of a flow under one of its IDs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FlowState {
    /// Ordinary records, as rows.
    pub(super) rows: Vec<Row<u32>>,
    /// Spans from all other lines.
    pub(super) flow: Flow,
    /// Time of the last line; [`LogPosition::NO_TIME`] if no line has one.
    pub(super) last: i64,
    /// Number of lines.
    pub(super) lines: u64,
    /// Whether the ID is a trace ID or flow ID.
    pub(super) has_trace_id: bool,
    /// Whether the ID is passed from process to process.
    pub(super) routed: bool,
}

impl Default for FlowState {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            flow: Flow::default(),
            last: LogPosition::NO_TIME,
            lines: 0,
            has_trace_id: false,
            routed: false,
        }
    }
}

impl FlowState {
    pub(super) fn note(&mut self, event: &ParsedEvent<'_>, position: LogPosition) {
        self.has_trace_id |= event.has_trace_id;
        self.routed |= !event.has_trace_id;
        self.last = self.last.max(position.time);
        self.lines += 1;
        if let Some(reference) = &event.span {
            self.flow
                .spans
                .entry(reference.key)
                .or_insert_with(|| Box::new(Span::new(reference.key, position)))
                .note(reference, event, position);
        } else {
            self.flow.add_line(event, position);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.flow.merge(other.flow);
        self.last = self.last.max(other.last);
        self.lines += other.lines;
        self.has_trace_id |= other.has_trace_id;
        self.routed |= other.routed;
    }

    pub(super) fn has_spans(&self) -> bool {
        !self.rows.is_empty() || !self.flow.spans.is_empty()
    }

    /// Returns the flow in full, with its rows and participants turned into spans.
    pub(super) fn unfold(&self, interner: &Interner) -> Flow {
        let mut flow = self.flow.clone();
        for row in &self.rows {
            flow.add_record(&row.resolve(interner));
        }
        flow.participants_to_spans();
        flow
    }

    /// Returns the flow in full if it ended well. A flow that reports a failure, a cancellation or
    /// a stream restart is not examined: it stays in the table, which costs memory and changes no
    /// result.
    pub(super) fn if_closed(&self, interner: &Interner) -> Option<Flow> {
        if self.flow.spans.values().any(|span| {
            span.failed.is_some()
                || span.cancelled.is_some()
                || span.restarted_at.is_some()
                || span.first_loss.is_some()
        }) || self.flow.has_participant_error()
        {
            return None;
        }
        Some(self.unfold(interner)).filter(is_closed)
    }

    /// Records the statistics of the flow if it ended well. Returns whether it did.
    pub(super) fn try_close(
        &self,
        interner: &Interner,
        scratch: &mut Scratch,
        stats: &mut ClosedStats<u32, u32>,
        named: &mut NamedStats,
    ) -> bool {
        let by_rows = if self.flow.spans.is_empty() && self.flow.participants.is_empty() {
            row::try_close(&self.rows, interner, scratch, stats)
        } else {
            None
        };
        by_rows.unwrap_or_else(|| {
            let flow = self.if_closed(interner);
            if let Some(flow) = &flow {
                named.ok += 1;
                named.add_flow(flow);
            }
            flow.is_some()
        })
    }

    /// Returns the approximate memory use, in bytes.
    pub(super) fn weight(&self) -> u64 {
        (size_of::<(FlowKey, Self)>()
            + self.rows.capacity() * size_of::<Row<u32>>()
            + self.flow.spans.len() * SPAN_BYTES
            + self.flow.participants.len() * PARTICIPANT_BYTES) as u64
    }

    /// Returns whether any span reported a failure.
    fn is_failed(&self) -> bool {
        self.flow.spans.values().any(|span| span.failed.is_some())
    }

    /// Returns the eviction order: first flows that did not fail, oldest first; then failed flows,
    /// newest first, because the report needs the first failure.
    pub(super) fn order(&self) -> (bool, i64) {
        let failed = self.is_failed();
        (failed, if failed { self.last.saturating_neg() } else { self.last })
    }

    /// Returns whether the last line is older than `before`; `false` if no line has a time.
    pub(super) fn is_older(&self, before: i64) -> bool {
        self.last != LogPosition::NO_TIME && self.last < before
    }
}

/// Approximate size of a span with its states and its failure, in bytes.
const SPAN_BYTES: usize = size_of::<Span>() + 512;

/// Approximate size of a participant with its error, in bytes.
const PARTICIPANT_BYTES: usize = size_of::<Participant>() + 256;
