//! A share of the table's flows: one thread's work at a time.

use std::collections::hash_map;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use flowlog_schema::FlowId;
use foldhash::fast::FixedState;

use super::entry::Entry;
use super::notes::{Notes, Share};
use super::roster::Roster;
use super::row::{Kept, Said, Scratch};
use super::settled::Settled;
use super::spilled::{Outgoing, Spilled};
use super::stats::Stats;
use crate::observation::FlowKey;
use crate::source::Spill;

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
        let (state, callee) =
            (*self.names.get(usize::from(said.state))?, *self.names.get(usize::from(said.callee))?);
        (writer != Self::FULL && state != Self::FULL && callee != Self::FULL)
            .then_some([writer, state, callee])
    }
}

/// A share of the flows.
#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    pub(super) entries: HashMap<FlowKey, Entry, FixedState>,
    /// Ids that are one of several of their flow, or are asked for: the table closes such flows, or keeps them.
    pub(super) aliased: HashSet<FlowKey, FixedState>,
    /// Flows that were written to disk, as far as they were seen by then.
    pub(super) spilled: HashMap<FlowKey, Spilled, FixedState>,
    /// About how many bytes those took, at the last look, that are open to question and were silent for long.
    pub(super) stale: u64,
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

    /// Closes every flow with one id that ended well and whose last line is older than `before`, if flows may be closed, and
    /// weighs the others that are as old.
    pub(super) fn sweep(&mut self, before: i64, closes: bool, roster: &Roster) {
        let mut scratch = Scratch::default();
        let (aliased, spilled, stats, settled, closed) =
            (&self.aliased, &self.spilled, &mut self.stats, &mut self.settled, &mut self.closed);
        let (spare, mut stale) = (&mut self.spare, 0);
        self.entries.retain(|key, entry| {
            if !entry.is_older(before) {
                return true;
            }
            // The table closes those of several ids, and of what lies on disk only the end can tell.
            let is_part = (!aliased.is_empty() && aliased.contains(key))
                || (!spilled.is_empty() && spilled.contains_key(key));
            let is_closed =
                closes && !is_part && entry.settle(roster, &mut scratch, stats, settled);
            if is_closed {
                closed.insert(hash(key));
                if spare.len() < MOST_SPARE {
                    entry.rows.clear();
                    spare.push(std::mem::take(&mut entry.rows));
                }
            } else {
                stale += entry.weight();
            }
            !is_closed
        });
        self.stale = stale;
        self.look_later();
    }

    /// Closes every flow with one id that ended well, on disk or not: nothing more is to come.
    pub(super) fn close_all(&mut self, roster: &Roster, spill: &Spill) {
        self.sweep(i64::MAX, true, roster);
        let mut scratch = Scratch::default();
        let (aliased, entries, stats, settled) =
            (&self.aliased, &mut self.entries, &mut self.stats, &mut self.settled);
        self.spilled.retain(|key, spilled| {
            if aliased.contains(key) {
                return true;
            }
            // What cannot be read again is found out, and counted, when it is to be judged.
            let Ok(mut entry) = spilled.read(spill) else { return true };
            if let Some(rest) = entries.get(key) {
                entry.merge(rest.clone());
            }
            let is_closed = entry.settle(roster, &mut scratch, stats, settled);
            if is_closed {
                entries.remove(key);
            }
            !is_closed
        });
    }

    /// Looks again when as many have come: each flow is looked at a few times, however many stay.
    fn look_later(&mut self) {
        self.look_at = (2 * self.entries.len()).max(FEW_FLOWS);
    }

    /// What is to go to disk: every flow that [`Shard::sweep`] weighed.
    pub(super) fn outgoing(&self, before: i64) -> Outgoing {
        let mut outgoing = Outgoing::default();
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.is_older(before)) {
            outgoing.add(key, entry, self.spilled.get(key));
        }
        outgoing
    }

    /// Lets go of what was written to disk, from that place on.
    pub(super) fn leave(&mut self, outgoing: Outgoing, begin: u64) {
        outgoing.leave(begin, &mut self.entries, &mut self.spilled);
        self.stale = 0;
        self.look_later();
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
        let (closed, spilled) = (&mut self.closed, &mut self.spilled);
        self.entries.retain(|key, entry| {
            let order = entry.order();
            if order > up_to {
                return true;
            }
            spilled.remove(key);
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
