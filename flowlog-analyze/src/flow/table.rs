//! All flows of the input, and all processes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use compact_str::CompactString;

use super::mark::{Mark, Voice, keep_max};
use super::process::{ProcessFacts, VoiceFacts};
use super::settled::{Party, Settled};
use super::span::{Fate, Span};
use crate::envelope::Speaker;
use crate::observation::{FlowKey, Observation};
use crate::sign::Clue;

/// One flow, or a part of one that is known by another of its ids.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Its spans by id.
    pub spans: BTreeMap<u64, Span>,
    /// Its last line.
    pub last: Option<Mark>,
}

impl Flow {
    fn merge(&mut self, other: Self) {
        for (key, span) in other.spans {
            match self.spans.entry(key) {
                std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().merge(span),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(span);
                }
            }
        }
        keep_max(&mut self.last, other.last);
    }
}

/// One flow under all its ids.
#[derive(Debug)]
pub struct Group {
    /// The id to show.
    pub id: FlowKey,
    /// Every id.
    pub keys: Vec<FlowKey>,
    /// The flow.
    pub flow: Flow,
}

/// All flows of the input, and all processes.
#[derive(Debug, Clone, Default)]
pub struct Table {
    flows: HashMap<FlowKey, Flow>,
    /// Ids that are trace ids or flow ids.
    traced: HashSet<FlowKey>,
    /// Ids that cross from process to process.
    routed: HashSet<FlowKey>,
    /// Two ids of one flow.
    aliases: BTreeSet<(FlowKey, FlowKey)>,
    /// Hashes of the ids of closed flows.
    closed: HashSet<u64>,
    /// Processes that name themselves.
    pub processes: BTreeMap<(CompactString, CompactString), ProcessFacts>,
    /// Who speaks in which source.
    pub voices: BTreeMap<Voice, VoiceFacts>,
    /// What is kept of closed flows.
    pub settled: Settled,
    /// Records that came after their flow was closed.
    pub late: u64,
}

impl Table {
    /// Adds one event.
    pub fn insert(&mut self, observation: &Observation<'_>, mark: Mark) {
        let voice = self.voices.entry(mark.place.voice()).or_default();
        voice.all.note(mark, observation.process);
        match (&observation.component, observation.instance.as_deref().filter(|instance| !instance.is_empty())) {
            (Some(component), Some(instance)) => {
                let name = (CompactString::from(component.as_ref()), CompactString::from(instance));
                if !voice.named.contains(&name) {
                    voice.named.insert(name.clone());
                }
                self.processes.entry(name).or_default().note(mark, observation.process);
            }
            (component, _) => {
                voice.own.note(mark, observation.process);
                let names = if observation.embedded { &mut voice.libraries } else { &mut voice.components };
                if let Some(component) = component
                    && !names.contains(component.as_ref())
                {
                    names.insert(CompactString::from(component.as_ref()));
                }
            }
        }
        let Some(id) = observation.flows.first() else { return };
        if observation.traced {
            if !self.traced.contains(id) {
                self.traced.insert(id.clone());
            }
        } else if !self.routed.contains(id) {
            self.routed.insert(id.clone());
        }
        for other in observation.flows.iter().skip(1) {
            let alias = (id.clone(), other.clone());
            if !self.aliases.contains(&alias) {
                self.aliases.insert(alias);
            }
        }
        if !self.flows.contains_key(id) {
            self.flows.insert(id.clone(), Flow::default());
        }
        let Some(flow) = self.flows.get_mut(id) else { return };
        keep_max(&mut flow.last, Some(mark));
        if let Some(reference) = &observation.span {
            flow.spans.entry(reference.key).or_insert_with(|| Span::new(reference, mark)).note(reference, observation, mark);
        }
    }

    /// Notes who a voice is.
    pub fn name(&mut self, voice: Voice, speaker: &Speaker) {
        self.voices.entry(voice).or_default().name.get_or_insert_with(|| speaker.clone());
    }

    /// Notes what a line says of the run.
    pub fn sign(&mut self, clue: Clue, mark: Mark, words: &str) {
        self.voices.entry(mark.place.voice()).or_default().sign(clue, mark, words);
    }

    /// Adds all of another table.
    pub fn merge(&mut self, mut other: Self) {
        if other.flows.len() > self.flows.len() {
            std::mem::swap(&mut self.flows, &mut other.flows);
        }
        for (key, flow) in other.flows {
            match self.flows.entry(key) {
                std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().merge(flow),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(flow);
                }
            }
        }
        self.traced.extend(other.traced);
        self.routed.extend(other.routed);
        self.aliases.extend(other.aliases);
        self.closed.extend(other.closed);
        for (name, facts) in other.processes {
            self.processes.entry(name).or_default().merge(&facts);
        }
        for (voice, facts) in other.voices {
            self.voices.entry(voice).or_default().merge(facts);
        }
        self.settled.merge(other.settled);
        self.late += other.late;
    }

    /// Closes every flow that ended well and whose last line is older than `before`: what is kept of it is its
    /// count, the durations of its spans and who called whom. Lines that come later are counted, not read.
    pub fn close(&mut self, before: i64) {
        self.drop_late();
        let candidates: HashSet<FlowKey> =
            self.flows.iter().filter(|(_, flow)| is_settled(flow, before)).map(|(key, _)| key.clone()).collect();
        if candidates.is_empty() {
            return;
        }
        // A flow is closed under all its ids or not at all.
        for names in self.names() {
            let present: Vec<&FlowKey> = names.iter().filter(|key| self.flows.contains_key(*key)).collect();
            if present.is_empty() || !present.iter().all(|key| candidates.contains(*key)) {
                continue;
            }
            let mut flow = Flow::default();
            for key in &names {
                if let Some(part) = self.flows.remove(key) {
                    flow.merge(part);
                }
            }
            self.settled.ok += 1;
            self.settled.keep(&flow);
            for key in names {
                self.closed.insert(hash(&key));
                self.traced.remove(&key);
                self.routed.remove(&key);
            }
        }
        let closed = &self.closed;
        self.aliases.retain(|(a, b)| !closed.contains(&hash(a)) && !closed.contains(&hash(b)));
    }

    /// Drops what came after its flow was closed.
    fn drop_late(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        let closed = &self.closed;
        let before = self.flows.len();
        self.flows.retain(|key, _| !closed.contains(&hash(key)));
        self.late += (before - self.flows.len()) as u64;
        self.traced.retain(|key| !closed.contains(&hash(key)));
        self.routed.retain(|key| !closed.contains(&hash(key)));
        self.aliases.retain(|(a, b)| !closed.contains(&hash(a)) && !closed.contains(&hash(b)));
    }

    /// All ids, grouped by flow.
    fn names(&self) -> Vec<Vec<FlowKey>> {
        let mut keys: BTreeSet<&FlowKey> = self.flows.keys().collect();
        for (a, b) in &self.aliases {
            keys.insert(a);
            keys.insert(b);
        }
        let keys: Vec<&FlowKey> = keys.into_iter().collect();
        let index: HashMap<&FlowKey, usize> = keys.iter().enumerate().map(|(at, key)| (*key, at)).collect();
        let mut union = Union::new(keys.len());
        // A group holds one trace id at most: a client may send one request id twice, but those are two flows.
        for (at, key) in keys.iter().enumerate() {
            union.traced[at] = self.traced.contains(*key);
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

    /// Every flow that is still open to question, under all its ids; in the order of the ids.
    pub fn groups(&mut self) -> Vec<Group> {
        self.drop_late();
        let mut groups: Vec<Group> = Vec::new();
        for keys in self.names() {
            let mut flow = Flow::default();
            let mut any = false;
            for key in &keys {
                if let Some(part) = self.flows.remove(key) {
                    flow.merge(part);
                    any = true;
                }
            }
            let id =
                [&self.traced, &self.routed].iter().find_map(|set| keys.iter().find(|key| set.contains(*key))).or(keys.first()).cloned();
            if let Some(id) = id
                && any
                && !flow.spans.is_empty()
            {
                groups.push(Group { id, keys, flow });
            }
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        groups
    }
}

/// Whether nothing more can be wrong with the flow: its root and every span ended well, before `before`.
fn is_settled(flow: &Flow, before: i64) -> bool {
    flow.last.and_then(Mark::time).is_some_and(|last| last < before)
        && !flow.spans.is_empty()
        && flow.spans.values().all(|span| span.fate() == Fate::Ok && span.recreated.is_none())
        && flow.spans.values().any(|span| span.parent.is_none())
}

fn hash(key: &FlowKey) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Settled {
    /// Keeps the durations of a flow's complete spans, and who called whom.
    pub fn keep(&mut self, flow: &Flow) {
        // A span that came to its end only after somebody had given up is no measure of what is usual.
        let given_up = flow
            .spans
            .values()
            .filter_map(|span| span.cancelled.or(span.failed.as_ref().map(|failure| failure.mark)))
            .filter_map(Mark::time)
            .min();
        let in_time = |span: &Span| given_up.is_none_or(|given_up| span.finished().and_then(Mark::time).is_some_and(|end| end <= given_up));
        for span in flow.spans.values().filter(|span| span.fate() == Fate::Ok && in_time(span)) {
            if let Some(duration) = span.duration() {
                let none = std::iter::once("")
                    .filter(|_| span.states.is_empty() || span.states.first().is_some_and(|(mark, _)| *mark > span.first));
                for state in span.states.iter().map(|(_, state)| state.as_str()).chain(none) {
                    self.peers
                        .entry((span.component.clone(), CompactString::from(state)))
                        .or_default()
                        .add(duration, state == span.state());
                }
            }
        }
        for child in flow.spans.values() {
            let Some(parent) = child.parent.and_then(|key| flow.spans.get(&key)) else { continue };
            let complete = child.fate() == Fate::Ok && parent.fate() == Fate::Ok;
            let difference = |child: Option<Mark>, parent: Option<Mark>| Some(child?.time()?.saturating_sub(parent?.time()?));
            let upper = difference(Some(child.first), Some(parent.first));
            let lower = if complete { difference(child.finished(), parent.finished()) } else { None };
            self.calls.entry((party(parent), party(child))).or_default().add(upper, lower);
        }
    }
}

/// Who speaks in a span: its instance, or the voice that stands for one.
pub fn party(span: &Span) -> Party {
    let voice = if span.instance.is_empty() { span.first.place.voice() } else { Voice::NONE };
    (span.component.clone(), span.instance.clone(), voice)
}

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
