//! What one chunk says of flows and processes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use compact_str::CompactString;
use flowlog_schema::Glance;
use foldhash::fast::FixedState;

use super::mark::{Mark, Place, Voice};
use super::process::{ProcessFacts, VoiceFacts};
use super::roster::Names;
use super::row::{Kind, Row, Said};
use super::shard::{Entry, SHARDS, shard_of, shard_of_id};
use super::span::Pass;
use crate::envelope::Speaker;
use crate::observation::{FlowKey, Observation};
use crate::sign::Clue;

/// What one chunk says. [`Table::take`](super::Table::take) puts chunks together.
#[derive(Debug)]
pub struct Notes {
    pub(super) source: u32,
    /// What was said of flows, by the shard of the table that will take it.
    pub(super) shards: Vec<Share>,
    pub(super) names: Names,
    pub(super) writers: Vec<Author>,
    /// The author of the latest row: most lines have the one of the line before them.
    latest: usize,
    /// Two ids of one flow.
    pub(super) aliases: BTreeSet<(FlowKey, FlowKey)>,
    pub(super) processes: BTreeMap<(CompactString, CompactString), ProcessFacts>,
    pub(super) voices: BTreeMap<Voice, VoiceFacts>,
}

/// What a chunk says of the flows of one shard.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) entries: HashMap<FlowKey, Entry, FixedState>,
    pub(super) rows: Vec<Row>,
}

impl Share {
    fn clear(&mut self) {
        self.entries.clear();
        self.rows.clear();
    }
}

/// Who writes a chunk's rows, and when.
#[derive(Debug)]
pub(super) struct Author {
    speaker: u32,
    pub(super) component: u32,
    pub(super) instance: u32,
    pub(super) facts: ProcessFacts,
}

impl Author {
    pub(super) fn voice(&self, source: u32) -> Voice {
        Voice { source, speaker: self.speaker }
    }
}

/// Most names of a chunk's rows: they are numbered with 16 bits.
const MOST: usize = 1 << 16;

impl Notes {
    /// No notes of the source with that index.
    pub fn of(source: u32) -> Self {
        Self {
            source,
            shards: std::iter::repeat_with(Share::default).take(SHARDS).collect(),
            names: Names::default(),
            writers: Vec::new(),
            latest: 0,
            aliases: BTreeSet::new(),
            processes: BTreeMap::new(),
            voices: BTreeMap::new(),
        }
    }

    /// Nothing again, of another source; the room is kept.
    pub fn reset(&mut self, source: u32) {
        self.source = source;
        self.names.clear();
        self.writers.clear();
        self.latest = 0;
        self.shards.iter_mut().for_each(Share::clear);
        self.aliases.clear();
        self.processes.clear();
        self.voices.clear();
    }

    /// Adds an ordinary line; whether it could: what it refuses has to be read in full.
    pub fn pass(&mut self, glance: &Glance<'_>, callee: &str, place: Place) -> bool {
        let Some(kind) = Kind::of(glance.event) else { return false };
        let Some(writer) = self.author(place.speaker, glance.component, glance.instance.unwrap_or_default()) else { return false };
        let mut number = |text| self.names.number(text, MOST).and_then(|number| u16::try_from(number).ok());
        let Some((state, callee)) = number(glance.state.unwrap_or_default()).zip(number(callee)) else { return false };
        let mark = Mark { clock: glance.clock.map_or(0, |clock| clock.0), time: glance.time.0, place, blur: 1 };
        if let Some(author) = self.writers.get_mut(usize::from(writer)) {
            author.facts.note(mark, None);
        }
        let said = Said {
            span: glance.span_id.as_u64(),
            parent: glance.parent_id.map_or(0, flowlog_schema::SpanId::as_u64),
            clock: mark.clock,
            time: mark.time,
            offset: place.offset,
            writer,
            state,
            callee,
            kind,
            has_versions: glance.has_versions,
        };
        if let Some(share) = self.shards.get_mut(shard_of_id(glance.flow_id)) {
            share.rows.push(Row { flow: glance.flow_id, said });
        }
        true
    }

    fn author(&mut self, speaker: u32, component: &str, instance: &str) -> Option<u16> {
        let names = &self.names;
        let is = |author: &Author| {
            author.speaker == speaker && names.text(author.instance) == instance && names.text(author.component) == component
        };
        if !self.writers.get(self.latest).is_some_and(is) {
            self.latest = match self.writers.iter().position(is) {
                Some(at) => at,
                None => {
                    // Past a handful it is no log of processes, and looking through them would cost a square.
                    if self.writers.len() >= MOST_AUTHORS {
                        return None;
                    }
                    let (component, instance) = (self.names.number(component, MOST)?, self.names.number(instance, MOST)?);
                    self.writers.push(Author { speaker, component, instance, facts: ProcessFacts::default() });
                    self.writers.len() - 1
                }
            };
        }
        u16::try_from(self.latest).ok()
    }

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
        for other in observation.flows.iter().skip(1) {
            let alias = (id.clone(), other.clone());
            if !self.aliases.contains(&alias) {
                self.aliases.insert(alias);
            }
        }
        let Some(share) = self.shards.get_mut(shard_of(id)) else { return };
        if !share.entries.contains_key(id) {
            share.entries.insert(id.clone(), Entry::default());
        }
        if let Some(entry) = share.entries.get_mut(id) {
            entry.note(observation, mark);
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

    /// An ordinary line in words.
    pub(super) fn words(&self, said: &Said) -> Pass<'_> {
        let name = |number: u16| Some(self.names.text(u32::from(number)).as_str()).filter(|text| !text.is_empty());
        let author = self.writers.get(usize::from(said.writer));
        let (component, instance, speaker) = author.map_or((0, 0, 0), |author| (author.component, author.instance, author.speaker));
        Pass {
            span: said.span,
            parent: said.parent,
            mark: Mark { clock: said.clock, time: said.time, place: Place { source: self.source, offset: said.offset, speaker }, blur: 1 },
            component: self.names.text(component),
            instance: Some(self.names.text(instance).as_str()).filter(|text| !text.is_empty()),
            state: name(said.state),
            callee: name(said.callee),
            kind: said.kind,
            has_versions: said.has_versions,
        }
    }

    /// Hands what the authors of rows said to their voices and processes.
    pub(super) fn settle_authors(&mut self) {
        for author in &self.writers {
            let voice = self.voices.entry(author.voice(self.source)).or_default();
            voice.all.merge(&author.facts);
            let (component, instance) = (self.names.text(author.component), self.names.text(author.instance));
            if instance.is_empty() {
                voice.own.merge(&author.facts);
                voice.components.insert(component.clone());
            } else {
                let name = (component.clone(), instance.clone());
                voice.named.insert(name.clone());
                self.processes.entry(name).or_default().merge(&author.facts);
            }
        }
    }
}

/// Most authors of one chunk's rows.
const MOST_AUTHORS: usize = 256;
