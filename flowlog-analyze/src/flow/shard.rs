//! A share of the table's flows: one thread's work at a time.

use std::collections::hash_map;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;

use flowlog_schema::FlowId;
use foldhash::fast::FixedState;

use super::mark::Mark;
use super::notes::{Notes, Share};
use super::roster::Roster;
use super::row::{Kept, Said, Scratch, settle};
use super::settled::Settled;
use super::span::{Fate, Pass, Span};
use super::stats::Stats;
use crate::observation::{FlowKey, Observation};

/// Into how many shares flows are dealt.
pub(super) const SHARDS: usize = 64;

/// The hash of an id: the same in every run, so that a report is.
pub(super) fn hash(key: &FlowKey) -> u64 {
    FixedState::default().hash_one(key)
}

pub(super) fn shard_of(key: &FlowKey) -> usize {
    // The table inside a shard takes the lowest bits and the uppermost.
    usize::try_from(hash(key) >> 40).unwrap_or(0) % SHARDS
}

pub(super) fn shard_of_id(id: FlowId) -> usize {
    shard_of(&FlowKey::Id(id))
}

/// One flow, or a part of one that is known by another of its ids, in full.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Its spans by id.
    pub spans: BTreeMap<u64, Span>,
}

impl Flow {
    pub(super) fn merge(&mut self, other: Self) {
        for (key, span) in other.spans {
            match self.spans.entry(key) {
                std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().merge(span),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(span);
                }
            }
        }
    }

    fn pass(&mut self, pass: &Pass<'_>) {
        self.spans.entry(pass.span).or_insert_with(|| Span::new(pass.span, pass.mark)).pass(pass);
    }
}

/// What is known of a flow under one of its ids.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its ordinary lines.
    rows: Vec<Kept>,
    /// What its other lines say.
    flow: Flow,
    /// The time of its last line; [`Mark::NO_TIME`] where none has one.
    last: i64,
    /// Its lines.
    lines: u64,
    /// The id is a trace id or flow id.
    pub(super) traced: bool,
    /// The id crosses from process to process.
    pub(super) routed: bool,
}

impl Default for Entry {
    fn default() -> Self {
        Self { rows: Vec::new(), flow: Flow::default(), last: Mark::NO_TIME, lines: 0, traced: false, routed: false }
    }
}

impl Entry {
    pub(super) fn note(&mut self, observation: &Observation<'_>, mark: Mark) {
        self.traced |= observation.traced;
        self.routed |= !observation.traced;
        self.last = self.last.max(mark.time);
        self.lines += 1;
        if let Some(reference) = &observation.span {
            self.flow.spans.entry(reference.key).or_insert_with(|| Span::new(reference.key, mark)).note(reference, observation, mark);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.flow.merge(other.flow);
        self.last = self.last.max(other.last);
        self.lines += other.lines;
        self.traced |= other.traced;
        self.routed |= other.routed;
    }

    pub(super) fn has_spans(&self) -> bool {
        !self.rows.is_empty() || !self.flow.spans.is_empty()
    }

    /// The flow in full.
    pub(super) fn unfold(&self, roster: &Roster) -> Flow {
        let mut flow = self.flow.clone();
        for row in &self.rows {
            flow.pass(&row.pass(roster));
        }
        flow
    }

    /// The flow in full, if it ended well. One that failed or was cancelled by its own words is not looked at:
    /// it stays, which costs memory and changes no answer.
    pub(super) fn if_settled(&self, roster: &Roster) -> Option<Flow> {
        let troubled = |span: &Span| span.failed.is_some() || span.cancelled.is_some() || span.recreated.is_some();
        if self.flow.spans.values().any(troubled) {
            return None;
        }
        Some(self.unfold(roster)).filter(is_settled)
    }

    /// About how much memory it takes, in bytes.
    fn weight(&self) -> u64 {
        (size_of::<(FlowKey, Self)>() + self.rows.capacity() * size_of::<Kept>() + self.flow.spans.len() * OF_A_SPAN) as u64
    }

    /// Whether a span failed by its own words.
    fn is_failed(&self) -> bool {
        self.flow.spans.values().any(|span| span.failed.is_some())
    }

    /// The order in which flows are given up: those that did not fail, the oldest first; then those that did, the youngest
    /// first, for what failed first is what is asked for.
    fn order(&self) -> (bool, i64) {
        let failed = self.is_failed();
        (failed, if failed { self.last.saturating_neg() } else { self.last })
    }

    /// Whether its last line was before that moment.
    pub(super) fn is_older(&self, before: i64) -> bool {
        self.last != Mark::NO_TIME && self.last < before
    }
}

/// Whether nothing more can be wrong with a flow: its root and every span ended well.
pub(super) fn is_settled(flow: &Flow) -> bool {
    !flow.spans.is_empty()
        && flow.spans.values().all(|span| span.fate() == Fate::Ok && span.recreated.is_none())
        && flow.spans.values().any(|span| span.parent.is_none())
}

/// The table's numbers for those that a chunk gives; [`Numbers::FULL`] where the table has no room for a name.
pub(super) struct Numbers {
    pub(super) names: Vec<u32>,
    pub(super) writers: Vec<u32>,
}

impl Numbers {
    pub(super) const FULL: u32 = u32::MAX;

    /// Writer, state and callee of a line, where all have numbers.
    #[inline]
    fn of(&self, said: &Said) -> Option<[u32; 3]> {
        let writer = *self.writers.get(usize::from(said.writer))?;
        let (state, callee) = (*self.names.get(usize::from(said.state))?, *self.names.get(usize::from(said.callee))?);
        (writer != Self::FULL && state != Self::FULL && callee != Self::FULL).then_some([writer, state, callee])
    }
}

/// A share of the flows.
#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    pub(super) entries: HashMap<FlowKey, Entry, FixedState>,
    /// Ids that are one of several of their flow: such flows are closed by the table.
    pub(super) aliased: HashSet<FlowKey, FixedState>,
    closed: Closed,
    pub(super) stats: Stats,
    pub(super) settled: Settled,
    /// Records that came after their flow was closed.
    pub(super) late: u64,
    /// How many flows there have to be for closing to be worth a look at each.
    look_at: usize,
    /// Room of rows of flows that were closed.
    spare: Vec<Vec<Kept>>,
}

impl Shard {
    /// Takes what a chunk says of its flows.
    pub(super) fn take(&mut self, share: &mut Share, notes: &Notes, numbers: &Numbers) {
        let mut spare = std::mem::take(&mut self.spare);
        for row in &share.rows {
            let Some(entry) = self.entry(FlowKey::Id(row.flow), 1) else { continue };
            entry.traced = true;
            entry.last = entry.last.max(row.said.time);
            entry.lines += 1;
            let said = &row.said;
            let Some([writer, state, callee]) = numbers.of(said) else {
                entry.flow.pass(&notes.words(said));
                continue;
            };
            if entry.rows.capacity() == 0 {
                entry.rows = spare.pop().unwrap_or_else(|| Vec::with_capacity(FEW));
            }
            entry.rows.push(Kept {
                span: said.span,
                parent: said.parent,
                clock: said.clock,
                time: said.time,
                offset: said.offset,
                writer,
                state,
                callee,
                kind: said.kind,
                has_versions: said.has_versions,
            });
        }
        self.spare = spare;
        for (key, entry) in share.entries.drain() {
            if let Some(kept) = self.entry(key, entry.lines) {
                kept.merge(entry);
            }
        }
    }

    /// The entry of an id, unless its flow is closed: then its lines are late.
    fn entry(&mut self, key: FlowKey, lines: u64) -> Option<&mut Entry> {
        match self.entries.entry(key) {
            hash_map::Entry::Occupied(entry) => Some(entry.into_mut()),
            hash_map::Entry::Vacant(entry) => {
                if self.closed.contains(hash(entry.key())) {
                    self.late += lines;
                    return None;
                }
                Some(entry.insert(Entry::default()))
            }
        }
    }

    /// Whether so many flows have come since the last look that another may close some.
    pub(super) fn is_worth_a_look(&self) -> bool {
        self.entries.len() >= self.look_at
    }

    /// Closes every flow with one id that ended well and whose last line is older than `before`.
    pub(super) fn close(&mut self, before: i64, roster: &Roster) {
        let mut scratch = Scratch::default();
        let (aliased, stats, settled, closed) = (&self.aliased, &mut self.stats, &mut self.settled, &mut self.closed);
        let spare = &mut self.spare;
        self.entries.retain(|key, entry| {
            if !entry.is_older(before) || (!aliased.is_empty() && aliased.contains(key)) {
                return true;
            }
            let told = if entry.flow.spans.is_empty() { settle(&entry.rows, roster, &mut scratch, stats) } else { None };
            let is_closed = told.unwrap_or_else(|| match entry.if_settled(roster) {
                Some(flow) => {
                    settled.ok += 1;
                    settled.keep(&flow);
                    true
                }
                None => false,
            });
            if is_closed {
                closed.insert(hash(key));
                if spare.len() < MOST_SPARE {
                    entry.rows.clear();
                    spare.push(std::mem::take(&mut entry.rows));
                }
            }
            !is_closed
        });
        // Looked at again when as many have come: each flow is looked at a few times, however many stay.
        self.look_at = (2 * self.entries.len()).max(FEW_FLOWS);
    }

    /// Removes a flow that the table closed under one of its ids.
    pub(super) fn drop_closed(&mut self, key: &FlowKey) -> Option<Entry> {
        self.aliased.remove(key);
        self.closed.insert(hash(key));
        self.entries.remove(key)
    }

    /// The weight of each flow, and the order in which it is given up.
    pub(super) fn weights(&self) -> impl Iterator<Item = ((bool, i64), u64)> {
        self.entries.values().map(|entry| (entry.order(), entry.weight()))
    }

    /// Gives up the flows up to one in that order: how many failed by their own words, and how many did not.
    pub(super) fn shed(&mut self, up_to: (bool, i64)) -> [u64; 2] {
        let mut given_up = [0; 2];
        let closed = &mut self.closed;
        self.entries.retain(|key, entry| {
            let order = entry.order();
            if order > up_to {
                return true;
            }
            given_up[usize::from(!order.0)] += u64::from(entry.has_spans());
            closed.insert(hash(key));
            false
        });
        self.entries.shrink_to_fit();
        self.spare.clear();
        given_up
    }

    /// Whether the flow of that id was closed or given up.
    pub(super) fn is_closed(&self, key: &FlowKey) -> bool {
        self.closed.contains(hash(key))
    }
}

/// About what a span takes, with its states and its failure.
const OF_A_SPAN: usize = size_of::<Span>() + 512;

/// Rows that a flow has room for at once.
const FEW: usize = 16;

/// Fewer flows of a shard are not worth a look.
const FEW_FLOWS: usize = 16;

/// Most rooms of rows that are kept for flows to come.
const MOST_SPARE: usize = 256;

/// Ids of flows that were closed, as hashes; the oldest are forgotten.
#[derive(Debug, Clone, Default)]
struct Closed {
    young: HashSet<u64, FixedState>,
    old: HashSet<u64, FixedState>,
}

impl Closed {
    /// Half of what a shard remembers: of a million flows in all, whose lines would have to come a minute late at that.
    const HALF: usize = (1 << 19) / SHARDS;

    fn insert(&mut self, hash: u64) {
        if self.young.len() >= Self::HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash);
    }

    fn contains(&self, hash: u64) -> bool {
        self.young.contains(&hash) || self.old.contains(&hash)
    }
}
