//! One shard of the table's flows, the work of one thread at a time.

use std::collections::hash_map;
use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

use super::chunk_delta::{ChunkDelta, ShardDelta};
use super::closed_stats::{ClosedStats, NamedStats};
use super::interner::Interner;
use super::row::{FlowRow, Row, RowIds, Scratch};
use super::shard_index::{SHARDS, hash};
use super::spilled::{SpillBatch, SpillRef};
use super::state::FlowState;
use crate::event::FlowKey;
use crate::source::Spill;

/// The table's IDs for those of a chunk; [`Numbers::FULL`] if the table has no room for a name.
pub(super) struct IdMap {
    pub(super) names: Vec<u32>,
    pub(super) writers: Vec<u32>,
}

impl IdMap {
    pub(super) const UNMAPPED: u32 = u32::MAX;

    /// Translates a chunk's numbers; `None` if the table has no number for one of the names.
    #[inline]
    fn translate(&self, ids: RowIds<u16>) -> Option<RowIds<u32>> {
        let writer = *self.writers.get(usize::from(ids.writer))?;
        let state = *self.names.get(usize::from(ids.state))?;
        let callee = *self.names.get(usize::from(ids.callee))?;
        let RowIds { kind, has_versions, .. } = ids;
        (writer != Self::UNMAPPED && state != Self::UNMAPPED && callee != Self::UNMAPPED)
            .then_some(RowIds { writer, state, callee, kind, has_versions })
    }
}

/// Number of flows dropped to stay within the memory limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Flows with a failed span.
    pub failed: u64,
    /// Flows without one.
    pub other: u64,
}

/// One shard of the flows.
#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    pub(super) entries: HashMap<FlowKey, FlowState, FixedState>,
    /// IDs that are one of several of their flow, or were requested: the table closes or keeps
    /// these flows.
    pub(super) aliased: HashSet<FlowKey, FixedState>,
    /// Flows that were written to disk, as far as they were seen by then.
    pub(super) spilled: HashMap<FlowKey, SpillRef, FixedState>,
    /// Approximate size, in bytes, of the flows that the last scan found idle but did not close.
    pub(super) idle_bytes: u64,
    closed: Closed,
    pub(super) stats: ClosedStats<u32, u32>,
    pub(super) named: NamedStats,
    /// Number of records that came after their flow was closed.
    pub(super) late_lines: u64,
    /// Number of flows from which the next scan is worthwhile.
    next_sweep_len: usize,
    /// Row buffers of closed flows, for reuse.
    spare: Vec<Vec<Row<u32>>>,
}

impl Shard {
    /// Merges the delta of a chunk.
    pub(super) fn take(&mut self, delta: &mut ShardDelta, chunk: &ChunkDelta, ids: &IdMap) {
        let mut spare = std::mem::take(&mut self.spare);
        for FlowRow { flow, row } in &delta.rows {
            let Some(entry) = self.entry(FlowKey::Id(*flow), 1) else { continue };
            entry.has_trace_id = true;
            entry.last = entry.last.max(row.time);
            entry.lines += 1;
            let Some(ids) = ids.translate(row.ids) else {
                entry.flow.add_record(&chunk.resolve(row));
                continue;
            };
            if entry.rows.capacity() == 0 {
                entry.rows =
                    spare.pop().unwrap_or_else(|| Vec::with_capacity(INITIAL_ROW_CAPACITY));
            }
            entry.rows.push(row.with_ids(ids));
        }
        self.spare = spare;
        for (key, entry) in delta.entries.drain() {
            if let Some(kept) = self.entry(key, entry.lines) {
                kept.merge(entry);
            }
        }
    }

    /// Returns the state of a flow, creating it if needed. If the flow is closed, counts its lines
    /// as late and returns `None`.
    fn entry(&mut self, key: FlowKey, lines: u64) -> Option<&mut FlowState> {
        match self.entries.entry(key) {
            hash_map::Entry::Occupied(entry) => Some(entry.into_mut()),
            hash_map::Entry::Vacant(entry) => {
                if self.closed.contains(hash(entry.key())) {
                    self.late_lines += lines;
                    return None;
                }
                Some(entry.insert(FlowState::default()))
            }
        }
    }

    /// Returns whether enough flows were added since the last scan that another may close some.
    pub(super) fn should_sweep(&self) -> bool {
        self.entries.len() >= self.next_sweep_len
    }

    /// Closes every flow with a single ID that ended well and has its last line before `before`, if
    /// `closes` is set. Measures the size of the other flows that are as old.
    pub(super) fn close_idle(&mut self, before: i64, closes: bool, interner: &Interner) {
        let mut scratch = Scratch::default();
        let (aliased, spilled, stats, named, closed) =
            (&self.aliased, &self.spilled, &mut self.stats, &mut self.named, &mut self.closed);
        let (spare, mut idle_bytes) = (&mut self.spare, 0);
        self.entries.retain(|key, entry| {
            if !entry.is_older(before) {
                return true;
            }
            // The table closes flows with several IDs, and flows on disk are decided only at the
            // end.
            let is_deferred = (!aliased.is_empty() && aliased.contains(key))
                || (!spilled.is_empty() && spilled.contains_key(key));
            let is_closed =
                closes && !is_deferred && entry.try_close(interner, &mut scratch, stats, named);
            if is_closed {
                closed.insert(hash(key));
                if spare.len() < MAX_SPARE_BUFFERS {
                    entry.rows.clear();
                    spare.push(std::mem::take(&mut entry.rows));
                }
            } else {
                idle_bytes += entry.weight();
            }
            !is_closed
        });
        self.idle_bytes = idle_bytes;
        self.schedule_sweep();
    }

    /// Closes every flow with a single ID that ended well, in memory or on disk, at the end of the
    /// input.
    pub(super) fn close_all(&mut self, interner: &Interner, spill: &Spill) {
        self.close_idle(i64::MAX, true, interner);
        let mut scratch = Scratch::default();
        let (aliased, entries, stats, named) =
            (&self.aliased, &mut self.entries, &mut self.stats, &mut self.named);
        self.spilled.retain(|key, spilled| {
            if aliased.contains(key) {
                return true;
            }
            // A flow that cannot be read again is detected and counted when it is to be classified.
            let Ok(mut entry) = spilled.read(spill) else { return true };
            if let Some(rest) = entries.get(key) {
                entry.merge(rest.clone());
            }
            let is_closed = entry.try_close(interner, &mut scratch, stats, named);
            if is_closed {
                entries.remove(key);
            }
            !is_closed
        });
    }

    /// Schedules the next scan for when the number of flows has doubled: each flow is scanned only
    /// a few times, however many remain.
    fn schedule_sweep(&mut self) {
        self.next_sweep_len = (2 * self.entries.len()).max(MIN_SWEEP_FLOWS);
    }

    /// Collects the flows to write to disk: all with their last line before `before`.
    pub(super) fn spill_batch(&self, before: i64) -> SpillBatch {
        let mut spill_batch = SpillBatch::default();
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.is_older(before)) {
            spill_batch.add(key, entry, self.spilled.get(key));
        }
        spill_batch
    }

    /// Removes the flows that were written to disk, at offset `begin`, from memory.
    pub(super) fn finish_spill(&mut self, spill_batch: SpillBatch, begin: u64) {
        spill_batch.finish_spill(begin, &mut self.entries, &mut self.spilled);
        self.idle_bytes = 0;
        self.schedule_sweep();
    }

    /// Removes one ID of a flow that the table closed, and returns its state.
    pub(super) fn drop_closed(&mut self, key: &FlowKey) -> Option<FlowState> {
        self.aliased.remove(key);
        self.closed.insert(hash(key));
        self.entries.remove(key)
    }

    /// Returns the eviction order and the size in bytes of each flow.
    pub(super) fn weights(&self) -> impl Iterator<Item = ((bool, i64), u64)> {
        self.entries.values().map(|entry| (entry.order(), entry.weight()))
    }

    /// Evicts the flows up to `up_to` in eviction order. Returns how many of them reported a
    /// failure, and how many did not.
    pub(super) fn evict(&mut self, up_to: (bool, i64)) -> Evicted {
        let mut evicted = Evicted::default();
        let (closed, spilled) = (&mut self.closed, &mut self.spilled);
        self.entries.retain(|key, entry| {
            let order = entry.order();
            if order > up_to {
                return true;
            }
            spilled.remove(key);
            let count = if order.0 { &mut evicted.failed } else { &mut evicted.other };
            *count += u64::from(entry.has_spans());
            closed.insert(hash(key));
            false
        });
        self.entries.shrink_to_fit();
        self.spare.clear();
        evicted
    }

    /// Returns whether the flow with this ID was closed or evicted.
    pub(super) fn is_closed(&self, key: &FlowKey) -> bool {
        self.closed.contains(hash(key))
    }
}

/// Initial row capacity of a flow.
const INITIAL_ROW_CAPACITY: usize = 16;

/// Minimum number of flows of a shard for which a scan is worthwhile.
const MIN_SWEEP_FLOWS: usize = 16;

/// Maximum number of row buffers kept for reuse.
const MAX_SPARE_BUFFERS: usize = 256;

/// Hashes of the IDs of closed flows; the oldest are forgotten.
#[derive(Debug, Clone, Default)]
struct Closed {
    young: HashSet<u64, FixedState>,
    old: HashSet<u64, FixedState>,
}

impl Closed {
    /// Half the number of hashes that a shard remembers. All shards together remember a million
    /// closed flows; a line of an older flow would also have to come a minute late to matter.
    const HALF_CAPACITY: usize = (1 << 19) / SHARDS;

    fn insert(&mut self, hash: u64) {
        if self.young.len() >= Self::HALF_CAPACITY {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash);
    }

    fn contains(&self, hash: u64) -> bool {
        self.young.contains(&hash) || self.old.contains(&hash)
    }
}
