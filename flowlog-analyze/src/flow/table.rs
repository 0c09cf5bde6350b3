//! All flows of the input, and all processes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use compact_str::CompactString;
use rayon::prelude::*;

use super::entry::{Entry, Flow};
use super::mark::Voice;
use super::notes::{Notes, Share};
use super::process::{ProcessFacts, VoiceFacts};
use super::roster::Roster;
use super::settled::Settled;
use super::shard::{Numbers, SHARDS, Shard, shard_of};
use super::spilled::{Outgoing, Spilled};
use crate::observation::FlowKey;
use crate::source::Spill;

/// One flow under all its ids.
#[derive(Debug)]
pub struct Group {
    /// The id to show.
    pub id: FlowKey,
    /// Every id.
    pub keys: Vec<FlowKey>,
    entry: Entry,
    /// What lies on disk of it.
    spilled: Vec<Spilled>,
}

impl Group {
    fn new(id: FlowKey, entry: Entry, spilled: Option<Spilled>) -> Self {
        Self { keys: vec![id.clone()], id, entry, spilled: spilled.into_iter().collect() }
    }

    fn is_traced(&self) -> bool {
        self.entry.traced || self.spilled.iter().any(|flow| flow.traced)
    }

    fn is_routed(&self) -> bool {
        self.entry.routed || self.spilled.iter().any(|flow| flow.routed)
    }
}

/// All flows of the input, and all processes.
#[derive(Debug, Clone)]
pub struct Table {
    shards: Vec<Shard>,
    roster: Roster,
    /// Two ids of one flow.
    aliases: BTreeSet<(FlowKey, FlowKey)>,
    /// How many of them there have to be for closing to be worth a look at each.
    look_at: usize,
    /// See [`Table::keep`].
    kept_ids: BTreeSet<FlowKey>,
    spill: Spill,
    /// The disk took all that was given to it.
    spills: bool,
    /// Processes that name themselves.
    pub processes: BTreeMap<(CompactString, CompactString), ProcessFacts>,
    /// Who speaks in which source.
    pub voices: BTreeMap<Voice, VoiceFacts>,
    /// What is kept of closed flows; complete once [`Table::groups`] was called.
    pub settled: Settled,
    /// Records that came after their flow was closed; complete once [`Table::groups`] was called.
    pub late: u64,
    /// Flows that were given up for want of memory: how many failed by their own words, and how many did not.
    pub given_up: [u64; 2],
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            roster: Roster::default(),
            aliases: BTreeSet::new(),
            look_at: 0,
            kept_ids: BTreeSet::new(),
            spill: Spill::default(),
            spills: true,
            processes: BTreeMap::new(),
            voices: BTreeMap::new(),
            settled: Settled::default(),
            late: 0,
            given_up: [0; 2],
        }
    }
}

impl Table {
    /// Takes what some chunks say, in any order.
    pub fn take(&mut self, chunks: &mut [Notes]) {
        let mut numbers: Vec<Numbers> = Vec::with_capacity(chunks.len());
        for notes in chunks.iter_mut() {
            notes.settle_authors();
            numbers.push(self.numbers(notes));
            for (name, facts) in std::mem::take(&mut notes.processes) {
                self.processes.entry(name).or_default().merge(&facts);
            }
            for (voice, facts) in std::mem::take(&mut notes.voices) {
                self.voices.entry(voice).or_default().merge(facts);
            }
            for alias in std::mem::take(&mut notes.aliases) {
                self.add_alias(alias);
            }
        }
        // By shard what is by chunk, so that threads share neither.
        let mut dealt: Vec<Vec<Share>> =
            (0..SHARDS).map(|_| Vec::with_capacity(chunks.len())).collect();
        for notes in chunks.iter_mut() {
            for (shares, share) in dealt.iter_mut().zip(notes.shards.drain(..)) {
                shares.push(share);
            }
        }
        let notes = &*chunks;
        self.shards.par_iter_mut().zip(&mut dealt).for_each(|(shard, shares)| {
            for ((share, notes), numbers) in shares.iter_mut().zip(notes).zip(&numbers) {
                shard.take(share, notes, numbers);
            }
        });
        for shares in dealt {
            for (notes, share) in chunks.iter_mut().zip(shares) {
                notes.shards.push(share);
            }
        }
    }

    /// The table's numbers for a chunk's.
    fn numbers(&mut self, notes: &Notes) -> Numbers {
        let names = notes
            .names
            .texts()
            .iter()
            .map(|text| self.roster.names.number(text, Roster::MOST).unwrap_or(Numbers::FULL));
        let names: Vec<u32> = names.collect();
        let name =
            |number: u32| names.get(number as usize).copied().filter(|name| *name != Numbers::FULL);
        let mut writers = Vec::with_capacity(notes.writers.len());
        for author in &notes.writers {
            let named = name(author.component).zip(name(author.instance));
            let writer = named.map(|(component, instance)| {
                self.roster.writer(author.voice(notes.source), component, instance)
            });
            writers.push(writer.unwrap_or(Numbers::FULL));
        }
        Numbers { names, writers }
    }

    fn add_alias(&mut self, (a, b): (FlowKey, FlowKey)) {
        // What comes after its flow was closed is no other name of it.
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

    /// Closes every flow that ended well and whose last line is older than `before`, if `closes`: what is kept of it is its
    /// count, the durations of its spans and who called whom. Lines that come later are counted, not read. Of those as old that
    /// are open to question all but `most` bytes or so go to disk until the end.
    ///
    /// A look at all flows takes time, so there is one only where many have come since the last.
    pub fn sweep(&mut self, before: i64, closes: bool, most: u64) {
        let roster = &self.roster;
        self.shards
            .par_iter_mut()
            .filter(|shard| shard.is_worth_a_look())
            .for_each(|shard| shard.sweep(before, closes, roster));
        if closes && !self.aliases.is_empty() && self.aliases.len() >= self.look_at {
            self.close_aliased(before);
            self.look_at = (2 * self.aliases.len()).max(FEW_ALIASES);
        }
        self.spill(before, most);
    }

    /// Moves what [`Table::sweep`] found open to question to disk, where it takes more than that many bytes.
    fn spill(&mut self, before: i64, most: u64) {
        if !self.spills || self.shards.iter().map(|shard| shard.stale).sum::<u64>() <= most {
            return;
        }
        let outgoing: Vec<Outgoing> =
            self.shards.par_iter().map(|shard| shard.outgoing(before)).collect();
        for (shard, outgoing) in self.shards.iter_mut().zip(outgoing) {
            match self.spill.append(&outgoing.bytes) {
                Ok(begin) => shard.leave(outgoing, begin),
                // There is memory still; where that is bounded, too, flows are given up, and that is said.
                Err(_) => self.spills = false,
            }
        }
    }

    /// Keeps its flows within about so many bytes: of those that were silent for more than a moment those that ended well are closed, if
    /// `closes`, and the others go to disk; then flows are given up, to three quarters of that.
    pub fn shed(&mut self, most: u64, reached: i64, closes: bool) {
        let weigh = |shards: &[Shard]| {
            shards
                .par_iter()
                .map(|shard| shard.weights().map(|(_, weight)| weight).sum::<u64>())
                .sum::<u64>()
        };
        if weigh(&self.shards) <= most {
            return;
        }
        let (roster, before) = (&self.roster, reached.saturating_sub(SHORT_LINGER));
        self.shards.par_iter_mut().for_each(|shard| shard.sweep(before, closes, roster));
        self.spill(before, 0);
        let mut total = weigh(&self.shards);
        let mut weights: Vec<((bool, i64), u64)> =
            self.shards.iter().flat_map(Shard::weights).collect();
        weights.sort_unstable();
        let mut up_to = None;
        for (order, weight) in weights {
            if total <= most / 4 * 3 {
                break;
            }
            total -= weight;
            up_to = Some(order);
        }
        let Some(up_to) = up_to else { return };
        let given_up: Vec<[u64; 2]> =
            self.shards.par_iter_mut().map(|shard| shard.shed(up_to)).collect();
        for [failed, other] in given_up {
            self.given_up[0] += failed;
            self.given_up[1] += other;
        }
        self.drop_closed_aliases();
    }

    /// Keeps flows of these ids to the end, however they fare.
    pub fn keep(&mut self, ids: &[FlowKey]) {
        self.kept_ids = ids.iter().cloned().collect();
        for id in ids {
            self.shards[shard_of(id)].aliased.insert(id.clone());
        }
    }

    /// How many flows are kept: those that go on, and those that are open to question.
    pub fn kept(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len() + shard.spilled.len()).sum()
    }

    /// Closes every flow that ended well: nothing more is to come.
    pub fn close_all(&mut self) {
        let (roster, spill) = (&self.roster, &self.spill);
        self.shards.par_iter_mut().for_each(|shard| shard.close_all(roster, spill));
    }

    /// Closes flows of several ids: under all of them or not at all.
    fn close_aliased(&mut self, before: i64) {
        for keys in self.aliased() {
            if keys.iter().any(|key| self.kept_ids.contains(key)) {
                continue;
            }
            let entries =
                || keys.iter().filter_map(|key| self.shards[shard_of(key)].entries.get(key));
            let is_spilled =
                keys.iter().any(|key| self.shards[shard_of(key)].spilled.contains_key(key));
            let is_closed = !is_spilled
                && entries().count() > 0
                && entries().all(|entry| {
                    entry.is_older(before) && entry.if_settled(&self.roster).is_some()
                });
            if !is_closed {
                continue;
            }
            let mut flow = Flow::default();
            for key in &keys {
                if let Some(entry) = self.shards[shard_of(key)].drop_closed(key) {
                    flow.merge(entry.unfold(&self.roster));
                }
            }
            self.settled.ok += 1;
            self.settled.keep(&flow);
        }
        self.drop_closed_aliases();
    }

    fn drop_closed_aliases(&mut self) {
        let shards = &self.shards;
        self.aliases
            .retain(|(a, b)| ![a, b].iter().any(|key| shards[shard_of(key)].is_closed(key)));
    }

    /// All ids of flows that have several, grouped by flow.
    fn aliased(&self) -> Vec<Vec<FlowKey>> {
        let keys: BTreeSet<&FlowKey> = self.aliases.iter().flat_map(|(a, b)| [a, b]).collect();
        let keys: Vec<&FlowKey> = keys.into_iter().collect();
        let index: HashMap<&FlowKey, usize> =
            keys.iter().enumerate().map(|(at, key)| (*key, at)).collect();
        let mut union = Union::new(keys.len());
        // A group holds one trace id at most: a client may send one request id twice, but those are two flows.
        for (at, key) in keys.iter().enumerate() {
            let shard = &self.shards[shard_of(key)];
            union.traced[at] = shard.entries.get(*key).is_some_and(|entry| entry.traced)
                || shard.spilled.get(*key).is_some_and(|flow| flow.traced);
        }
        for (a, b) in &self.aliases {
            if let (Some(a), Some(b)) = (index.get(a), index.get(b)) {
                union.join(*a, *b);
            }
        }
        let mut groups: BTreeMap<usize, Vec<FlowKey>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            groups.entry(union.root(at)).or_default().push((*key).clone());
        }
        groups.into_values().collect()
    }

    /// Takes out every flow that is still open to question, under all its ids; in the order of the ids.
    pub fn groups(&mut self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for keys in self.aliased() {
            let mut parts: Vec<Group> = Vec::new();
            for key in &keys {
                let shard = &mut self.shards[shard_of(key)];
                let (entry, spilled) = (shard.entries.remove(key), shard.spilled.remove(key));
                if entry.is_some() || spilled.is_some() {
                    parts.push(Group::new(key.clone(), entry.unwrap_or_default(), spilled));
                }
            }
            let Some(id) = [Group::is_traced, Group::is_routed]
                .iter()
                .find_map(|is| parts.iter().find(|part| is(part)))
            else {
                continue;
            };
            let id = id.id.clone();
            let mut whole = Group { keys, ..Group::new(id, Entry::default(), None) };
            for part in parts {
                whole.entry.merge(part.entry);
                whole.spilled.extend(part.spilled);
            }
            groups.push(whole);
        }
        for shard in &mut self.shards {
            let mut spilled = std::mem::take(&mut shard.spilled);
            for (id, entry) in std::mem::take(&mut shard.entries) {
                let of_it = spilled.remove(&id);
                groups.push(Group::new(id, entry, of_it));
            }
            groups.extend(
                spilled
                    .into_iter()
                    .map(|(id, of_it)| Group::new(id, Entry::default(), Some(of_it))),
            );
            self.settled.merge(std::mem::take(&mut shard.settled));
            self.settled.merge(std::mem::take(&mut shard.stats).named(&self.roster));
            self.late += std::mem::take(&mut shard.late);
        }
        groups.retain(|group| {
            group.entry.has_spans() || group.spilled.iter().any(|flow| flow.has_spans)
        });
        groups.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        groups
    }

    /// A flow in full; `None` where what lies on disk of it cannot be read again.
    pub fn flow(&self, group: &Group) -> Option<Flow> {
        let mut flow = group.entry.unfold(&self.roster);
        for spilled in &group.spilled {
            flow.merge(spilled.read(&self.spill).ok()?.unfold(&self.roster));
        }
        Some(flow)
    }
}

/// How long a flow that ended well waits for late lines where memory is short, in nanoseconds.
const SHORT_LINGER: i64 = 5_000_000_000;

/// Fewer aliases are not worth a look.
const FEW_ALIASES: usize = 1024;

/// Disjoint sets, with at most one traced member each.
struct Union {
    parent: Vec<usize>,
    traced: Vec<bool>,
}

impl Union {
    fn new(len: usize) -> Self {
        Self { parent: (0..len).collect(), traced: vec![false; len] }
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
        if a == b || (self.traced[a] && self.traced[b]) {
            return;
        }
        self.parent[a.max(b)] = a.min(b);
        self.traced[a.min(b)] |= self.traced[a.max(b)];
    }
}
