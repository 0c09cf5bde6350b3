//! Ordinary records of flows, as rows of IDs.
//!
//! Only the count, the durations and the calls matter of a flow that ends well. Records that the
//! fast path decodes are therefore stored as rows of IDs, and converted to spans only for flows
//! that need them.

use compact_str::CompactString;
use flowlog_schema::FlowId;
use serde::{Deserialize, Serialize};

use super::closed_stats::{ClosedStats, SkewBounds, is_without_clock};
use super::closing::ended_well;
use super::interner::{Interner, StringInterner};
use super::position::{LineRef, LogPosition};
use super::resolved_row::{Kind, ResolvedRow};
use super::span::MAX_STATES;

/// A row of a chunk and the flow that it belongs to. One cache line long.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowRow {
    pub(super) flow: FlowId,
    pub(super) row: Row<u16>,
}

/// One ordinary record of a flow. Its names are numbers: of its chunk (`u16`) or of the table
/// (`u32`).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Row<Id> {
    pub(super) span: u64,
    /// Span ID of the parent; zero if there is none.
    pub(super) parent: u64,
    pub(super) clock: u64,
    pub(super) time: i64,
    pub(super) offset: u64,
    pub(super) ids: RowIds<Id>,
}

/// The part of a row that many rows share: its names, as numbers, and its event.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct RowIds<Id> {
    pub(super) writer: Id,
    pub(super) state: Id,
    pub(super) callee: Id,
    pub(super) kind: Kind,
    pub(super) has_versions: bool,
}

impl<Id> Row<Id> {
    /// Returns the same row with other numbers.
    pub(super) fn with_ids<Other>(self, ids: RowIds<Other>) -> Row<Other> {
        let Self { span, parent, clock, time, offset, .. } = self;
        Row { span, parent, clock, time, offset, ids }
    }

    /// Returns the row's position in its source, written by `producer`.
    pub(super) fn position(&self, source: u32, producer: u32) -> LogPosition {
        LogPosition {
            clock: self.clock,
            time: self.time,
            line: LineRef { source, offset: self.offset, producer },
            resolution_ns: 1,
        }
    }
}

impl Row<u32> {
    /// Resolves the row's numbers to names.
    pub(super) fn resolve<'r>(&self, interner: &'r Interner) -> ResolvedRow<'r> {
        let writer = interner.writer_of(self.ids.writer);
        let name = |number| {
            Some(interner.names.resolve(number))
                .filter(|text| !text.is_empty())
                .map(CompactString::as_str)
        };
        ResolvedRow {
            span: self.span,
            parent: self.parent,
            position: self.position(writer.producer_id.source, writer.producer_id.producer),
            component: interner.names.resolve(writer.component),
            instance: name(writer.instance),
            state: name(self.ids.state),
            callee: name(self.ids.callee),
            kind: self.ids.kind,
            has_versions: self.ids.has_versions,
        }
    }

    /// Returns the sort key of the row, given the source of its writer.
    fn order(&self, source: u32) -> Order {
        // The sign bit of the time is flipped, so that the order of the bits is that of the times.
        let moment =
            u128::from(self.clock) << 64 | u128::from(self.time.cast_unsigned() ^ (1 << 63));
        (moment, source, self.offset)
    }
}

/// Sort key of a row: clock and time, source, offset. The other fields of a log position never
/// decide the order of rows.
type Order = (u128, u32, u64);

/// Returns the time that a sort key contains.
fn time_of(order: Order) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the time")]
    let bits = order.0 as u64;
    (bits ^ (1 << 63)).cast_signed()
}

/// Returns the clock that a sort key contains.
fn clock_of(order: Order) -> u64 {
    u64::try_from(order.0 >> 64).unwrap_or(u64::MAX)
}

/// Sort key after all others.
const NO_ORDER: Order = (u128::MAX, u32::MAX, u64::MAX);

/// The fields of a span that closing a flow needs.
#[derive(Debug)]
struct SpanSummary {
    key: u64,
    parent: u64,
    component: u32,
    /// ID of the service instance.
    instance: u32,
    /// Interned ID of the instance name.
    instance_name: u32,
    first: Order,
    /// Whether the start was logged.
    has_start: bool,
    /// [`NO_ORDER`] if the span did not end.
    ended: Order,
}

/// Buffers for the spans of one flow, reused for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    spans: Vec<SpanSummary>,
    /// Latest position of each state of each span: index of the span, state, sort key.
    states: Vec<(usize, u32, Order)>,
    /// Instances that each span calls: index of the span, interned ID of the instance name.
    callees: Vec<(usize, u32)>,
}

/// Records a flow in `stats` if it ended well, judged by its rows alone, and returns whether it
/// did.
///
/// Returns `None` if the rows do not suffice: the caller must build spans and judge those.
pub(super) fn try_close(
    rows: &[Row<u32>],
    interner: &Interner,
    scratch: &mut Scratch,
    stats: &mut ClosedStats<u32, u32>,
) -> Option<bool> {
    summarize(rows, interner, scratch)?;
    let Scratch { spans, .. } = &*scratch;
    if !ended_well(spans.iter().map(|span| (span.ended != NO_ORDER, span.parent == 0))) {
        return Some(false);
    }
    if has_retry(scratch) {
        return Some(false);
    }
    let Scratch { spans, states, .. } = scratch;
    stats.ok += 1;
    stats.has_records = true;
    for (at, span) in spans.iter().enumerate() {
        stats.without_start += u64::from(!span.has_start);
        let (first, end) = (time_of(span.first), time_of(span.ended));
        let own_states = || states.iter().filter(|(of, _, _)| *of == at);
        let earliest = own_states().map(|(_, _, order)| *order).min();
        let last = own_states()
            .max_by_key(|(_, state, order)| (*order, *state))
            .map_or(StringInterner::NONE, |(_, state, _)| *state);
        let initial =
            earliest.is_none_or(|earliest| earliest > span.first).then_some(&StringInterner::NONE);
        let passed = own_states().map(|(_, state, _)| state).chain(initial);
        stats.add_span(&span.component, passed, &last, end.saturating_sub(first));
        if span.parent == 0 {
            stats.add_root(&span.component, first);
        } else if let Some(parent) = spans.iter().find(|other| other.key == span.parent) {
            // A parent whose start is missing began earlier.
            let upper = parent.has_start.then(|| first.saturating_sub(time_of(parent.first)));
            let lower = end.saturating_sub(time_of(parent.ended));
            let is_repeated = spans.iter().any(|other| {
                other.key != span.key
                    && other.parent == span.parent
                    && other.component == span.component
            });
            let key = (parent.component, span.component);
            stats.call_counts.entry(key).or_default().add(is_repeated);
            let without_response_clock =
                is_without_clock(clock_of(span.ended), clock_of(parent.ended));
            let bounds = SkewBounds::of_call(upper, Some(lower), without_response_clock);
            stats.add_call((parent.instance, span.instance), bounds);
        }
    }
    Some(true)
}

/// Returns whether an attempt may have been retried without a line that reports its failure: a span
/// called several instances, of which some logged nothing; or one of several attempts outlived its
/// caller. Such a flow is judged by its spans.
fn has_retry(scratch: &Scratch) -> bool {
    let Scratch { spans, callees, .. } = scratch;
    let responded = |callee: u32| spans.iter().any(|span| span.instance_name == callee);
    let called_in_vain = || {
        callees.iter().any(|(caller, callee)| {
            !responded(*callee)
                && callees.iter().any(|(other, callee)| other == caller && responded(*callee))
        })
    };
    let duration = |span: &SpanSummary| time_of(span.ended).saturating_sub(time_of(span.first));
    let outlived = || {
        spans.iter().any(|span| {
            let parent = spans.iter().find(|other| other.key == span.parent);
            parent.is_some_and(|parent| duration(span) > duration(parent))
                && spans.iter().any(|other| {
                    other.key != span.key
                        && other.parent == span.parent
                        && other.component == span.component
                })
        })
    };
    callees.len() > 1 && called_in_vain() || outlived()
}

/// Collects the spans of a flow and their states. `None` if a flow is too large or a span has two
/// writers.
fn summarize(rows: &[Row<u32>], interner: &Interner, scratch: &mut Scratch) -> Option<()> {
    scratch.spans.clear();
    scratch.states.clear();
    scratch.callees.clear();
    for row in rows {
        let writer = interner.writer_of(row.ids.writer);
        let order = row.order(writer.producer_id.source);
        let found = scratch.spans.iter().position(|span| span.key == row.span);
        let at = found.unwrap_or(scratch.spans.len());
        if found.is_none() {
            if at == MAX_ROW_SPANS {
                return None;
            }
            scratch.spans.push(SpanSummary {
                key: row.span,
                parent: 0,
                component: writer.component,
                instance: writer.service_instance,
                instance_name: writer.instance,
                first: order,
                has_start: false,
                ended: NO_ORDER,
            });
        }
        let span = scratch.spans.get_mut(at)?;
        if span.instance != writer.service_instance {
            return None;
        }
        span.parent = span.parent.max(row.parent);
        span.first = span.first.min(order);
        span.has_start |= row.ids.kind == Kind::Start;
        if row.ids.kind == Kind::End {
            span.ended = span.ended.min(order);
        }
        if row.ids.callee != StringInterner::NONE
            && !scratch.callees.contains(&(at, row.ids.callee))
        {
            scratch.callees.push((at, row.ids.callee));
        }
        if row.ids.state != StringInterner::NONE {
            let known = scratch
                .states
                .iter_mut()
                .find(|(of, state, _)| *of == at && *state == row.ids.state);
            match known {
                Some((_, _, latest)) => *latest = order.max(*latest),
                None => scratch.states.push((at, row.ids.state, order)),
            }
        }
    }
    // A span keeps at most that many states; past them the two ways could differ.
    (scratch.states.len() <= MAX_STATES).then_some(())
}

/// Largest number of spans per flow that are searched linearly.
const MAX_ROW_SPANS: usize = 24;
