//! What one chunk says of flows and processes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use compact_str::CompactString;
use flowlog_schema::{FlowId, Glance, Skim, Skimmer};
use foldhash::fast::FixedState;

use super::entry::Entry;
use super::mark::{Mark, Place, Voice};
use super::process::{ProcessFacts, VoiceFacts};
use super::roster::Names;
use super::row::{Kind, Row, Said};
use super::shard::{SHARDS, shard_of, shard_of_id};
use super::span::Pass;
use crate::envelope::Speaker;
use crate::format::{self, Fields, Format};
use crate::names::Components;
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
    /// What the rows of earlier chunks, of any source, share.
    skimmer: Skimmer,
    shared: Shared,
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
    /// The component is a library in whatever process speaks.
    embedded: bool,
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
            skimmer: Skimmer::default(),
            shared: Shared::default(),
            latest: 0,
            aliases: BTreeSet::new(),
            processes: BTreeMap::new(),
            voices: BTreeMap::new(),
        }
    }

    /// Nothing again, of another source; the room is kept, and what lines share.
    pub fn reset(&mut self, source: u32) {
        self.source = source;
        self.names.clear();
        self.writers.clear();
        self.latest = 0;
        self.shared.clear();
        self.shards.iter_mut().for_each(Share::clear);
        self.aliases.clear();
        self.processes.clear();
        self.voices.clear();
    }

    /// Reads an ordinary record that shares with earlier ones all but its time and ids, and adds it if its time lies within
    /// `span` and its component counts: its format and time, and whether it was added.
    #[inline]
    pub fn skim(
        &mut self,
        line: &[u8],
        place: Place,
        span: &RangeInclusive<i64>,
        counts: &Components,
    ) -> Option<(Format, i64, bool)> {
        let (format, skim, fields) = format::skim(&mut self.skimmer, line)?;
        let is_chosen = || {
            counts.is_all()
                || self
                    .skimmer
                    .origin(skim.origin)
                    .is_some_and(|origin| counts.holds(&origin.component))
        };
        if !span.contains(&skim.time.0) || !is_chosen() {
            return Some((format, skim.time.0, false));
        }
        let shared = self
            .shared
            .get(skim.origin, skim.step, skim.tail)
            .or_else(|| self.share(&skim, fields, place.speaker))?;
        let (writer, state, callee, kind, has_versions) = shared;
        let parent = skim.parent_id.map_or(0, flowlog_schema::SpanId::as_u64);
        let clock = skim.clock.map_or(0, |clock| clock.0);
        let (span, time, offset) = (skim.span_id.as_u64(), skim.time.0, place.offset);
        let said =
            Said { span, parent, clock, time, offset, writer, state, callee, kind, has_versions };
        self.push(skim.flow_id, said, place);
        Some((format, time, true))
    }

    /// Adds an ordinary record; whether it could: what it refuses has to be read in full.
    pub fn pass(&mut self, glance: &Glance<'_>, fields: Fields<'_>, place: Place) -> bool {
        let Some(kind) = Kind::of(glance.event) else { return false };
        let Some(writer) = self.author(
            place.speaker,
            glance.component,
            glance.instance.unwrap_or_default(),
            false,
        ) else {
            return false;
        };
        let names = self.number(glance.state.unwrap_or_default()).zip(self.number(fields.callee));
        let Some((state, callee)) = names else { return false };
        let parent = glance.parent_id.map_or(0, flowlog_schema::SpanId::as_u64);
        let clock = glance.clock.map_or(0, |clock| clock.0);
        let (span, time, offset) = (glance.span_id.as_u64(), glance.time.0, place.offset);
        let said = Said {
            span,
            parent,
            clock,
            time,
            offset,
            writer,
            state,
            callee,
            kind,
            has_versions: glance.has_versions,
        };
        self.push(glance.flow_id, said, place);
        true
    }

    #[inline]
    fn push(&mut self, flow: FlowId, said: Said, place: Place) {
        self.spoke(said.writer, Mark { clock: said.clock, time: said.time, place, blur: 1 });
        if let Some(share) = self.shards.get_mut(shard_of_id(flow)) {
            share.rows.push(Row { flow, said });
        }
    }

    /// A chunk's numbers for what a line shares, remembered for the next.
    fn share(&mut self, skim: &Skim<'_>, fields: Fields<'_>, speaker: u32) -> Option<Words> {
        // Out of the way while its words are given numbers.
        let skimmer = std::mem::take(&mut self.skimmer);
        let words = self.words_of(&skimmer, skim, fields, speaker);
        self.skimmer = skimmer;
        words
    }

    fn words_of(
        &mut self,
        skimmer: &Skimmer,
        skim: &Skim<'_>,
        fields: Fields<'_>,
        speaker: u32,
    ) -> Option<Words> {
        let (origin, step) = (skimmer.origin(skim.origin)?, skimmer.step(skim.step)?);
        let fields = skim.tail.map_or(fields, |tail| Fields::of(skimmer.fields(tail)));
        let writer = self.author(speaker, &origin.component, &origin.instance, false)?;
        let (state, callee) = (self.number(&step.state)?, self.number(fields.callee)?);
        let kind = Kind::of(step.event)?;
        put(&mut self.shared.writers, skim.origin, writer);
        put(&mut self.shared.steps, skim.step, (state, kind, step.has_versions));
        if let Some(tail) = skim.tail {
            put(&mut self.shared.callees, tail, callee);
        }
        Some((writer, state, callee, kind, step.has_versions))
    }

    fn number(&mut self, text: &str) -> Option<u16> {
        self.names.number(text, MOST).and_then(|number| u16::try_from(number).ok())
    }

    /// The number of whoever writes so; none where there are too many.
    pub fn author(
        &mut self,
        speaker: u32,
        component: &str,
        instance: &str,
        embedded: bool,
    ) -> Option<u16> {
        let names = &self.names;
        let is = |author: &Author| {
            author.speaker == speaker
                && author.embedded == embedded
                && names.text(author.instance) == instance
                && names.text(author.component) == component
        };
        if !self.writers.get(self.latest).is_some_and(is) {
            self.latest = match self.writers.iter().position(is) {
                Some(at) => at,
                None => {
                    // Past a handful it is no log of processes, and looking through them would cost a square.
                    if self.writers.len() >= MOST_AUTHORS {
                        return None;
                    }
                    let (component, instance) =
                        (self.names.number(component, MOST)?, self.names.number(instance, MOST)?);
                    self.writers.push(Author {
                        speaker,
                        component,
                        instance,
                        embedded,
                        facts: ProcessFacts::default(),
                    });
                    self.writers.len() - 1
                }
            };
        }
        u16::try_from(self.latest).ok()
    }

    /// Notes that an author spoke.
    pub fn spoke(&mut self, author: u16, mark: Mark) {
        if let Some(author) = self.writers.get_mut(usize::from(author)) {
            author.facts.note(mark, None);
        }
    }

    /// Adds one event.
    pub fn insert(&mut self, observation: &Observation<'_>, mark: Mark) {
        let voice = self.voices.entry(mark.place.voice()).or_default();
        voice.all.note(mark, observation.process);
        match (
            &observation.component,
            observation.instance.as_deref().filter(|instance| !instance.is_empty()),
        ) {
            (Some(component), Some(instance)) => {
                let name = (CompactString::from(component.as_ref()), CompactString::from(instance));
                if !voice.named.contains(&name) {
                    voice.named.insert(name.clone());
                }
                self.processes.entry(name).or_default().note(mark, observation.process);
            }
            (component, _) => {
                voice.own.note(mark, observation.process);
                let names =
                    if observation.embedded { &mut voice.libraries } else { &mut voice.components };
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
        let name = |number: u16| {
            Some(self.names.text(u32::from(number)).as_str()).filter(|text| !text.is_empty())
        };
        let author = self.writers.get(usize::from(said.writer));
        let (component, instance, speaker) =
            author.map_or((0, 0, 0), |author| (author.component, author.instance, author.speaker));
        Pass {
            span: said.span,
            parent: said.parent,
            mark: Mark {
                clock: said.clock,
                time: said.time,
                place: Place { source: self.source, offset: said.offset, speaker },
                blur: 1,
            },
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
            let (component, instance) =
                (self.names.text(author.component), self.names.text(author.instance));
            if instance.is_empty() || component.is_empty() {
                voice.own.merge(&author.facts);
                let names =
                    if author.embedded { &mut voice.libraries } else { &mut voice.components };
                if !component.is_empty() && instance.is_empty() {
                    names.insert(component.clone());
                }
            } else {
                let name = (component.clone(), instance.clone());
                voice.named.insert(name.clone());
                self.processes.entry(name).or_default().merge(&author.facts);
            }
        }
    }
}

/// A chunk's numbers for what the skimmer numbers.
#[derive(Debug, Default)]
struct Shared {
    /// The author of each origin.
    writers: Vec<Option<u16>>,
    /// State, kind and versions of each step.
    steps: Vec<Option<(u16, Kind, bool)>>,
    /// The callee of each tail.
    callees: Vec<Option<u16>>,
}

/// Author, state, callee, kind and whether there are versions.
type Words = (u16, u16, u16, Kind, bool);

impl Shared {
    #[inline]
    fn get(&self, origin: usize, step: usize, tail: Option<usize>) -> Option<Words> {
        let writer = self.writers.get(origin).copied().flatten()?;
        let (state, kind, has_versions) = self.steps.get(step).copied().flatten()?;
        let callee = self.callees.get(tail?).copied().flatten()?;
        Some((writer, state, callee, kind, has_versions))
    }

    fn clear(&mut self) {
        self.writers.clear();
        self.steps.clear();
        self.callees.clear();
    }
}

/// Puts a value where it belongs in a list that may be too short.
fn put<T: Clone>(list: &mut Vec<Option<T>>, at: usize, value: T) {
    if list.len() <= at {
        list.resize(at + 1, None);
    }
    list[at] = Some(value);
}

/// Most authors of one chunk's rows.
const MOST_AUTHORS: usize = 256;
