//! All flows and processes of the input.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use compact_str::CompactString;
use rayon::prelude::*;

use super::activity_log::{ProcessActivity, ProducerActivity};
use super::chunk_delta::{ChunkDelta, ShardDelta};
use super::closed_stats::NamedStats;
use super::interner::Interner;
use super::position::ProducerId;
use super::shard::{Evicted, IdMap, Shard};
use super::shard_index::{SHARDS, shard_of};
use super::spans::Flow;
use super::spilled::{SpillBatch, SpillRef};
use super::state::FlowState;
use crate::event::FlowKey;
use crate::source::Spill;

/// One flow under all its IDs.
#[derive(Debug)]
pub struct MergedFlow {
    /// ID to show.
    pub id: FlowKey,
    /// All IDs.
    pub keys: Vec<FlowKey>,
    entry: FlowState,
    /// Parts on disk.
    spilled: Vec<SpillRef>,
}

impl MergedFlow {
    fn new(id: FlowKey, entry: FlowState, spilled: Option<SpillRef>) -> Self {
        Self { keys: vec![id.clone()], id, entry, spilled: spilled.into_iter().collect() }
    }

    fn is_traced(&self) -> bool {
        self.entry.has_trace_id || self.spilled.iter().any(|flow| flow.has_trace_id)
    }

    fn is_routed(&self) -> bool {
        self.entry.routed || self.spilled.iter().any(|flow| flow.routed)
    }
}

/// All flows and processes of the input.
#[derive(Debug, Clone)]
pub struct Table {
    shards: Vec<Shard>,
    interner: Interner,
    /// Pairs of IDs that name the same flow.
    aliases: BTreeSet<(FlowKey, FlowKey)>,
    /// Number of aliases from which flows with aliases are checked for closing.
    next_sweep_len: usize,
    /// IDs of flows that are kept to the end; see [`Table::retain`].
    retained_ids: BTreeSet<FlowKey>,
    spill: Spill,
    /// Whether all writes to disk have succeeded so far.
    can_spill: bool,
    /// Processes that their own lines name.
    pub processes: BTreeMap<(CompactString, CompactString), ProcessActivity>,
    /// Activity of each producer, by its ID.
    pub producers_by_id: BTreeMap<ProducerId, ProducerActivity>,
    /// Statistics of closed flows; complete once [`Table::merged_flows`] was called.
    pub closed: NamedStats,
    /// Number of records that came after their flow was closed; complete once
    /// [`Table::merged_flows`] was called.
    pub late_lines: u64,
    /// Flows evicted to save memory: how many reported a failure, and how many did not.
    pub evicted: Evicted,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            interner: Interner::default(),
            aliases: BTreeSet::new(),
            next_sweep_len: 0,
            retained_ids: BTreeSet::new(),
            spill: Spill::default(),
            can_spill: true,
            processes: BTreeMap::new(),
            producers_by_id: BTreeMap::new(),
            closed: NamedStats::default(),
            late_lines: 0,
            evicted: Evicted::default(),
        }
    }
}

impl Table {
    /// Merges the deltas of some chunks, in any order.
    pub fn take(&mut self, chunks: &mut [ChunkDelta]) {
        let mut id_maps: Vec<IdMap> = Vec::with_capacity(chunks.len());
        for delta in chunks.iter_mut() {
            delta.flush_writers();
            id_maps.push(self.map_ids(delta));
            for (name, meta) in std::mem::take(&mut delta.processes) {
                self.processes.entry(name).or_default().merge(&meta);
            }
            for (producer_id, meta) in std::mem::take(&mut delta.producers_by_id) {
                self.producers_by_id.entry(producer_id).or_default().merge(meta);
            }
            for alias in std::mem::take(&mut delta.aliases) {
                self.add_alias(alias);
            }
        }
        // Regroup by shard what is grouped by chunk, so that threads share neither.
        let mut by_shard: Vec<Vec<ShardDelta>> =
            (0..SHARDS).map(|_| Vec::with_capacity(chunks.len())).collect();
        for chunk in chunks.iter_mut() {
            for (deltas, delta) in by_shard.iter_mut().zip(chunk.shards.drain(..)) {
                deltas.push(delta);
            }
        }
        let all = &*chunks;
        self.shards.par_iter_mut().zip(&mut by_shard).for_each(|(shard, deltas)| {
            for ((delta, chunk), ids) in deltas.iter_mut().zip(all).zip(&id_maps) {
                shard.take(delta, chunk, ids);
            }
        });
        for deltas in by_shard {
            for (chunk, delta) in chunks.iter_mut().zip(deltas) {
                chunk.shards.push(delta);
            }
        }
    }

    /// Maps the chunk's IDs to the table's.
    fn map_ids(&mut self, delta: &ChunkDelta) -> IdMap {
        let names = delta.names.iter().map(|text| {
            self.interner.names.get_or_intern(text, Interner::MAX_NAMES).unwrap_or(IdMap::UNMAPPED)
        });
        let names: Vec<u32> = names.collect();
        let name = |number: u32| {
            names.get(number as usize).copied().filter(|name| *name != IdMap::UNMAPPED)
        };
        let mut writers = Vec::with_capacity(delta.writers.len());
        for writer in &delta.writers {
            let named = name(writer.component).zip(name(writer.instance));
            let writer = named.map(|(component, instance)| {
                self.interner.writer(writer.producer_id(delta.source), component, instance)
            });
            writers.push(writer.unwrap_or(IdMap::UNMAPPED));
        }
        IdMap { names, writers }
    }

    fn add_alias(&mut self, (a, b): (FlowKey, FlowKey)) {
        // An ID that comes after its flow was closed is not an alias of that flow.
        if [&a, &b].iter().any(|key| self.shards[shard_of(key)].is_closed(key)) {
            return;
        }
        for key in [&a, &b] {
            let shard = &mut self.shards[shard_of(key)];
            if !shard.aliased.contains(key) {
                shard.aliased.insert(key.clone());
            }
        }
        self.aliases.insert((a, b));
    }

    /// Closes idle flows, or moves them to disk.
    ///
    /// If `closes` is set, closes every flow that ended well and has its last line before `before`:
    /// only its count, the durations of its spans and its calls are kept. Lines that come later are
    /// counted, but not read. If the other flows that are as old use more than about `most` bytes,
    /// they go to disk until the end.
    ///
    /// Scanning all flows takes time, so a shard is scanned only after many flows were added since
    /// the last scan.
    pub fn close_idle(&mut self, before: i64, closes: bool, most: u64) {
        let interner = &self.interner;
        self.shards
            .par_iter_mut()
            .filter(|shard| shard.should_sweep())
            .for_each(|shard| shard.close_idle(before, closes, interner));
        if closes && !self.aliases.is_empty() && self.aliases.len() >= self.next_sweep_len {
            self.close_aliased(before);
            self.next_sweep_len = (2 * self.aliases.len()).max(MIN_ALIAS_SWEEP_LEN);
        }
        self.spill(before, most);
    }

    /// Moves the idle flows that were not closed to disk, if they use more than `most` bytes.
    fn spill(&mut self, before: i64, most: u64) {
        if !self.can_spill || self.shards.iter().map(|shard| shard.idle_bytes).sum::<u64>() <= most
        {
            return;
        }
        let spill_batch: Vec<SpillBatch> =
            self.shards.par_iter().map(|shard| shard.spill_batch(before)).collect();
        for (shard, spill_batch) in self.shards.iter_mut().zip(spill_batch) {
            match self.spill.append(&spill_batch.bytes) {
                Ok(begin) => shard.finish_spill(spill_batch, begin),
                // Keep the flows in memory. If memory is limited, too, flows are evicted, and the
                // report counts them.
                Err(_) => self.can_spill = false,
            }
        }
    }

    /// Keeps the flows within about `most` bytes.
    ///
    /// Of the flows that have been idle for a short time, those that ended well are closed, if
    /// `closes` is set, and the others go to disk. Then flows are evicted until three quarters of
    /// `most` are used.
    pub fn evict(&mut self, most: u64, reached: i64, closes: bool) {
        let weigh = |shards: &[Shard]| {
            shards
                .par_iter()
                .map(|shard| shard.weights().map(|(_, weight)| weight).sum::<u64>())
                .sum::<u64>()
        };
        if weigh(&self.shards) <= most {
            return;
        }
        let (interner, before) =
            (&self.interner, reached.saturating_sub(LOW_MEMORY_CLOSE_AFTER_NS));
        self.shards.par_iter_mut().for_each(|shard| shard.close_idle(before, closes, interner));
        self.spill(before, 0);
        let mut accumulator = weigh(&self.shards);
        let mut weights: Vec<((bool, i64), u64)> =
            self.shards.iter().flat_map(Shard::weights).collect();
        weights.sort_unstable();
        let mut up_to = None;
        for (order, weight) in weights {
            if accumulator <= most / 4 * 3 {
                break;
            }
            accumulator -= weight;
            up_to = Some(order);
        }
        let Some(up_to) = up_to else { return };
        let evicted: Vec<Evicted> =
            self.shards.par_iter_mut().map(|shard| shard.evict(up_to)).collect();
        for Evicted { failed, other } in evicted {
            self.evicted.failed += failed;
            self.evicted.other += other;
        }
        self.drop_closed_aliases();
    }

    /// Keeps the flows with these IDs to the end, whatever their outcome.
    pub fn retain(&mut self, ids: &[FlowKey]) {
        self.retained_ids = ids.iter().cloned().collect();
        for id in ids {
            self.shards[shard_of(id)].aliased.insert(id.clone());
        }
    }

    /// Returns the number of flows held: flows in progress, and flows that did not end well.
    pub fn retained(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len() + shard.spilled.len()).sum()
    }

    /// Closes every flow that ended well, at the end of the input.
    pub fn close_all(&mut self) {
        let (interner, spill) = (&self.interner, &self.spill);
        self.shards.par_iter_mut().for_each(|shard| shard.close_all(interner, spill));
    }

    /// Closes flows with several IDs: under all of them or not at all.
    fn close_aliased(&mut self, before: i64) {
        for keys in self.aliased() {
            if keys.iter().any(|key| self.retained_ids.contains(key)) {
                continue;
            }
            let entries =
                || keys.iter().filter_map(|key| self.shards[shard_of(key)].entries.get(key));
            let is_spilled =
                keys.iter().any(|key| self.shards[shard_of(key)].spilled.contains_key(key));
            let is_closed = !is_spilled
                && entries().count() > 0
                && entries().all(|entry| {
                    entry.is_older(before) && entry.if_closed(&self.interner).is_some()
                });
            if !is_closed {
                continue;
            }
            let mut flow = Flow::default();
            for key in &keys {
                if let Some(entry) = self.shards[shard_of(key)].drop_closed(key) {
                    flow.merge(entry.unfold(&self.interner));
                }
            }
            self.closed.ok += 1;
            self.closed.add_flow(&flow);
        }
        self.drop_closed_aliases();
    }

    fn drop_closed_aliases(&mut self) {
        let shards = &self.shards;
        self.aliases
            .retain(|(a, b)| ![a, b].iter().any(|key| shards[shard_of(key)].is_closed(key)));
    }

    /// Returns all IDs of flows that have several, grouped by flow.
    fn aliased(&self) -> Vec<Vec<FlowKey>> {
        let keys: BTreeSet<&FlowKey> = self.aliases.iter().flat_map(|(a, b)| [a, b]).collect();
        let keys: Vec<&FlowKey> = keys.into_iter().collect();
        let index: HashMap<&FlowKey, usize> =
            keys.iter().enumerate().map(|(at, key)| (*key, at)).collect();
        let mut union = Union::new(keys.len());
        // A group has at most one trace ID: a client may send the same request ID twice, but those
        // are two flows.
        for (at, key) in keys.iter().enumerate() {
            let shard = &self.shards[shard_of(key)];
            union.has_trace_id[at] =
                shard.entries.get(*key).is_some_and(|entry| entry.has_trace_id)
                    || shard.spilled.get(*key).is_some_and(|flow| flow.has_trace_id);
        }
        for (a, b) in &self.aliases {
            if let (Some(a), Some(b)) = (index.get(a), index.get(b)) {
                union.join(*a, *b);
            }
        }
        let mut merged_flows: BTreeMap<usize, Vec<FlowKey>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            merged_flows.entry(union.root(at)).or_default().push((*key).clone());
        }
        merged_flows.into_values().collect()
    }

    /// Removes and returns every remaining flow, under all its IDs, in the order of the IDs.
    pub fn merged_flows(&mut self) -> Vec<MergedFlow> {
        let mut merged_flows: Vec<MergedFlow> = Vec::new();
        for keys in self.aliased() {
            let mut parts: Vec<MergedFlow> = Vec::new();
            for key in &keys {
                let shard = &mut self.shards[shard_of(key)];
                let (entry, spilled) = (shard.entries.remove(key), shard.spilled.remove(key));
                if entry.is_some() || spilled.is_some() {
                    parts.push(MergedFlow::new(key.clone(), entry.unwrap_or_default(), spilled));
                }
            }
            let Some(id) = [MergedFlow::is_traced, MergedFlow::is_routed]
                .iter()
                .find_map(|is| parts.iter().find(|part| is(part)))
            else {
                continue;
            };
            let id = id.id.clone();
            let mut whole = MergedFlow { keys, ..MergedFlow::new(id, FlowState::default(), None) };
            for part in parts {
                whole.entry.merge(part.entry);
                whole.spilled.extend(part.spilled);
            }
            merged_flows.push(whole);
        }
        for shard in &mut self.shards {
            let mut spilled = std::mem::take(&mut shard.spilled);
            for (id, entry) in std::mem::take(&mut shard.entries) {
                let of_it = spilled.remove(&id);
                merged_flows.push(MergedFlow::new(id, entry, of_it));
            }
            merged_flows.extend(
                spilled
                    .into_iter()
                    .map(|(id, of_it)| MergedFlow::new(id, FlowState::default(), Some(of_it))),
            );
            self.closed.merge(std::mem::take(&mut shard.named));
            self.closed.merge(std::mem::take(&mut shard.stats).resolve(&self.interner));
            self.late_lines += std::mem::take(&mut shard.late_lines);
        }
        merged_flows.retain(|merged| {
            merged.entry.has_spans() || merged.spilled.iter().any(|flow| flow.has_spans)
        });
        merged_flows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        merged_flows
    }

    /// Returns a flow in full; `None` if a part on disk cannot be read again.
    pub fn flow(&self, merged: &MergedFlow) -> Option<Flow> {
        let mut flow = merged.entry.unfold(&self.interner);
        for spilled in &merged.spilled {
            flow.merge(spilled.read(&self.spill).ok()?.unfold(&self.interner));
        }
        Some(flow)
    }
}

/// Time that a flow that ended well waits for late lines when memory is short, in nanoseconds.
const LOW_MEMORY_CLOSE_AFTER_NS: i64 = 5_000_000_000;

/// Minimum number of aliases for which a scan is worthwhile.
const MIN_ALIAS_SWEEP_LEN: usize = 1024;

/// Disjoint sets with at most one traced member each.
struct Union {
    parent: Vec<usize>,
    has_trace_id: Vec<bool>,
}

impl Union {
    fn new(len: usize) -> Self {
        Self { parent: (0..len).collect(), has_trace_id: vec![false; len] }
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b || (self.has_trace_id[a] && self.has_trace_id[b]) {
            return;
        }
        self.parent[a.max(b)] = a.min(b);
        self.has_trace_id[a.min(b)] |= self.has_trace_id[a.max(b)];
    }
}
