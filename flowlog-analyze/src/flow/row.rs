//! Ordinary lines of flows, as numbers.
//!
//! Of a flow that ends well only its count, its durations and its calls matter. So what a glance at a line tells is kept as
//! a row of numbers, and made into spans only for a flow that turns out to be worth it.

use compact_str::CompactString;
use flowlog_schema::{Event, FlowId};
use serde::{Deserialize, Serialize};

use super::mark::{Mark, Place};
use super::roster::{Names, Roster};
use super::settled::{PeerStats, SkewBounds};
use super::span::{MAX_STATES, Pass};
use super::stats::Stats;

/// A line of a chunk, with the numbers that its chunk gives names. A cache line long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) flow: FlowId,
    pub(super) said: Said,
}

/// What an ordinary line says of its span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) span: u64,
    /// Zero where there is none.
    pub(super) parent: u64,
    pub(super) clock: u64,
    pub(super) time: i64,
    pub(super) offset: u64,
    pub(super) writer: u16,
    pub(super) state: u16,
    pub(super) callee: u16,
    pub(super) kind: Kind,
    pub(super) has_versions: bool,
}

/// What an ordinary line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Start,
    State,
    End,
}

impl Kind {
    pub(super) fn of(event: Event) -> Option<Self> {
        match event {
            Event::Start => Some(Self::Start),
            Event::State => Some(Self::State),
            Event::End => Some(Self::End),
            _ => None,
        }
    }
}

/// A line of a flow, with the table's numbers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) span: u64,
    pub(super) parent: u64,
    pub(super) clock: u64,
    pub(super) time: i64,
    pub(super) offset: u64,
    pub(super) writer: u32,
    pub(super) state: u32,
    pub(super) callee: u32,
    pub(super) kind: Kind,
    pub(super) has_versions: bool,
}

impl Kept {
    /// The line in words.
    pub(super) fn pass<'r>(&self, roster: &'r Roster) -> Pass<'r> {
        let writer = roster.writer_of(self.writer);
        let name = |number| {
            Some(roster.names.text(number))
                .filter(|text| !text.is_empty())
                .map(CompactString::as_str)
        };
        Pass {
            span: self.span,
            parent: self.parent,
            mark: Mark {
                clock: self.clock,
                time: self.time,
                place: Place {
                    source: writer.voice.source,
                    offset: self.offset,
                    speaker: writer.voice.speaker,
                },
                blur: 1,
            },
            component: roster.names.text(writer.component),
            instance: name(writer.instance),
            state: name(self.state),
            callee: name(self.callee),
            kind: self.kind,
            has_versions: self.has_versions,
        }
    }

    /// Its place in the order of marks, by its writer's source.
    fn order(&self, source: u32) -> Order {
        // The time with its sign turned, so that the order of the bits is that of the times.
        let moment =
            u128::from(self.clock) << 64 | u128::from(self.time.cast_unsigned() ^ (1 << 63));
        (moment, source, self.offset)
    }
}

/// A mark's order, without what never decides it among rows: clock and time, source, offset.
type Order = (u128, u32, u64);

/// The time in an order.
fn time_of(order: Order) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the time")]
    let bits = order.0 as u64;
    (bits ^ (1 << 63)).cast_signed()
}

/// After every moment.
const NEVER: Order = (u128::MAX, u32::MAX, u64::MAX);

/// A span as far as its settling asks for it.
#[derive(Debug)]
struct Brief {
    key: u64,
    parent: u64,
    component: u32,
    party: u32,
    first: Order,
    /// [`NEVER`] where it did not.
    ended: Order,
}

/// Room for the spans of one flow, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    spans: Vec<Brief>,
    /// The latest mark of each state of each span.
    states: Vec<(usize, u32, Order)>,
}

/// Whether a flow of these rows alone ended well, in every span; if so, `stats` keeps what matters of it. `None` where the
/// rows do not tell, and spans made of them have to.
///
/// It says what [`is_settled`](super::entry::is_settled) and [`Settled::keep`](super::Settled::keep) say of the spans.
pub(super) fn settle(
    rows: &[Kept],
    roster: &Roster,
    scratch: &mut Scratch,
    stats: &mut Stats,
) -> Option<bool> {
    scratch.spans.clear();
    scratch.states.clear();
    for row in rows {
        let writer = roster.writer_of(row.writer);
        let order = row.order(writer.voice.source);
        let found = scratch.spans.iter().position(|span| span.key == row.span);
        let at = found.unwrap_or(scratch.spans.len());
        if found.is_none() {
            if at == MOST_SPANS {
                return None;
            }
            let (component, party) = (writer.component, writer.party);
            scratch.spans.push(Brief {
                key: row.span,
                parent: 0,
                component,
                party,
                first: order,
                ended: NEVER,
            });
        }
        let span = scratch.spans.get_mut(at)?;
        if span.party != writer.party {
            return None;
        }
        span.parent = span.parent.max(row.parent);
        span.first = span.first.min(order);
        if row.kind == Kind::End {
            span.ended = span.ended.min(order);
        }
        if row.state != Names::NONE {
            match scratch.states.iter_mut().find(|(of, state, _)| *of == at && *state == row.state)
            {
                Some((_, _, latest)) => *latest = order.max(*latest),
                None => scratch.states.push((at, row.state, order)),
            }
        }
    }
    // A span keeps but so many, and a flow of more is no request of anybody's.
    if scratch.states.len() > MAX_STATES {
        return None;
    }
    let ended = scratch.spans.iter().all(|span| span.ended != NEVER)
        && scratch.spans.iter().any(|span| span.parent == 0);
    if !ended || scratch.spans.is_empty() {
        return Some(false);
    }
    stats.ok += 1;
    for (at, span) in scratch.spans.iter().enumerate() {
        let (first, end) = (time_of(span.first), time_of(span.ended));
        let duration = end.saturating_sub(first);
        let of_span = || scratch.states.iter().filter(|(of, _, _)| *of == at);
        let earliest = of_span().map(|(_, _, order)| *order).min();
        let last = of_span()
            .max_by_key(|(_, state, order)| (*order, *state))
            .map_or(Names::NONE, |(_, state, _)| *state);
        for (_, state, _) in of_span() {
            peer(stats, span.component, *state).add(duration, *state == last);
        }
        if earliest.is_none_or(|earliest| earliest > span.first) {
            peer(stats, span.component, Names::NONE).add(duration, last == Names::NONE);
        }
        if span.parent != 0
            && let Some(parent) = scratch.spans.iter().find(|other| other.key == span.parent)
        {
            let upper = first.saturating_sub(time_of(parent.first));
            let lower = end.saturating_sub(time_of(parent.ended));
            call(stats, parent.party, span.party).add(Some(upper), Some(lower));
        }
    }
    Some(true)
}

/// Most spans of a flow that are looked for one after the other.
const MOST_SPANS: usize = 24;

fn peer(stats: &mut Stats, component: u32, state: u32) -> &mut PeerStats {
    stats.peers.entry((component, state)).or_default()
}

fn call(stats: &mut Stats, caller: u32, callee: u32) -> &mut SkewBounds {
    stats.calls.entry((caller, callee)).or_default()
}
