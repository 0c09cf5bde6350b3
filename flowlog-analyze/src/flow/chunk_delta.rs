//! Chunk deltas: what one chunk adds to the flow table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use compact_str::CompactString;
use flowlog_schema::{CachedRecord, FastRecord, FlowId, RecordCache, SpanId};
use foldhash::fast::FixedState;

use super::activity_log::{ProcessActivity, ProducerActivity};
use super::interner::StringInterner;
use super::position::{LineRef, LogPosition, ProducerId};
use super::resolved_row::{Kind, ResolvedRow};
use super::row::{FlowRow, Row, RowIds};
use super::shard_index::{SHARDS, shard_of, shard_of_id};
use super::state::FlowState;
use crate::component_filter::ComponentFilter;
use crate::envelope::Producer;
use crate::event::{FlowKey, ParsedEvent};
use crate::format::{self, Fields, Format};
use crate::rules::RuleMatch;

/// What one chunk adds to the flow table. [`Table::take`](super::Table::take) merges the deltas of
/// all chunks.
#[derive(Debug)]
pub struct ChunkDelta {
    pub(super) source: u32,
    /// Flow data, by the shard of the table that merges it.
    pub(super) shards: Vec<ShardDelta>,
    pub(super) names: StringInterner,
    pub(super) writers: Vec<ChunkWriter>,
    /// Cache of the parts that records have in common; filled by earlier chunks of any source.
    cache: RecordCache,
    shared: Shared,
    /// Index of the latest row's writer: most rows have the same writer as the row before.
    latest: usize,
    /// Pairs of IDs that name the same flow.
    pub(super) aliases: BTreeSet<(FlowKey, FlowKey)>,
    pub(super) processes: BTreeMap<(CompactString, CompactString), ProcessActivity>,
    pub(super) producers_by_id: BTreeMap<ProducerId, ProducerActivity>,
}

/// Flow data of one chunk for one shard.
#[derive(Debug, Default)]
pub(super) struct ShardDelta {
    pub(super) entries: HashMap<FlowKey, FlowState, FixedState>,
    pub(super) rows: Vec<FlowRow>,
}

impl ShardDelta {
    fn clear(&mut self) {
        self.entries.clear();
        self.rows.clear();
    }
}

/// A writer of rows in a chunk, with its activity.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    producer: u32,
    pub(super) component: u32,
    pub(super) instance: u32,
    /// Whether the component is a library inside the process that logs.
    is_library: bool,
    /// Whether any row is of a format that only known programs write.
    has_known_format: bool,
    /// See [`ProducerActivity::has_any_logger`].
    has_any_logger: bool,
    pub(super) activity: ProcessActivity,
}

impl ChunkWriter {
    pub(super) fn producer_id(&self, source: u32) -> ProducerId {
        ProducerId { source, producer: self.producer }
    }
}

/// Maximum number of names in the rows of a chunk: their IDs have 16 bits.
const MAX_NAMES: usize = 1 << 16;

impl ChunkDelta {
    /// Creates an empty delta for the source with this index.
    pub fn of(source: u32) -> Self {
        Self {
            source,
            shards: std::iter::repeat_with(ShardDelta::default).take(SHARDS).collect(),
            names: StringInterner::default(),
            writers: Vec::new(),
            cache: RecordCache::default(),
            shared: Shared::default(),
            latest: 0,
            aliases: BTreeSet::new(),
            processes: BTreeMap::new(),
            producers_by_id: BTreeMap::new(),
        }
    }

    /// Clears the delta for use with another source. Its buffers and the record cache are kept.
    pub fn reset(&mut self, source: u32) {
        self.source = source;
        self.names.clear();
        self.writers.clear();
        self.latest = 0;
        self.shared.clear();
        self.shards.iter_mut().for_each(ShardDelta::clear);
        self.aliases.clear();
        self.processes.clear();
        self.producers_by_id.clear();
    }

    /// Decodes an ordinary record that differs from earlier ones only in its time and IDs, and adds
    /// it if its time is within `span` and its component is in `components`.
    ///
    /// Returns the format, the time, and whether the record was added; `None` if the record has to
    /// be decoded in another way.
    #[inline]
    pub fn try_record(
        &mut self,
        line: &[u8],
        line_ref: LineRef,
        span: &RangeInclusive<i64>,
        components: &ComponentFilter,
    ) -> Option<(Format, i64, bool)> {
        let (format, record, fields) = format::decode_cached(&mut self.cache, line)?;
        let is_selected = || {
            components.is_all()
                || self
                    .cache
                    .producer(record.producer)
                    .is_some_and(|producer| components.holds(&producer.component))
        };
        if !span.contains(&record.time.0) || !is_selected() {
            return Some((format, record.time.0, false));
        }
        let ids = self
            .shared
            .get(record.producer, record.transition, record.tail)
            .or_else(|| self.share(&record, fields, line_ref.producer))?;
        let row = Row {
            span: record.span_id.as_u64(),
            parent: record.parent_id.map_or(0, SpanId::as_u64),
            clock: record.clock.map_or(0, |clock| clock.0),
            time: record.time.0,
            offset: line_ref.offset,
            ids,
        };
        self.push(record.flow_id, row, line_ref);
        Some((format, record.time.0, true))
    }

    /// Adds an ordinary record. Returns `false` if the record has to be parsed in full instead.
    pub fn add_record(
        &mut self,
        record: &FastRecord<'_>,
        fields: Fields<'_>,
        line: LineRef,
    ) -> bool {
        let Some(kind) = Kind::of(record.event) else { return false };
        let Some(writer) = self.writer(
            line.producer,
            record.component,
            record.instance.unwrap_or_default(),
            false,
        ) else {
            return false;
        };
        let names = self
            .get_or_intern(record.state.unwrap_or_default())
            .zip(self.get_or_intern(fields.callee));
        let Some((state, callee)) = names else { return false };
        let row = Row {
            span: record.span_id.as_u64(),
            parent: record.parent_id.map_or(0, SpanId::as_u64),
            clock: record.clock.map_or(0, |clock| clock.0),
            time: record.time.0,
            offset: line.offset,
            ids: RowIds { writer, state, callee, kind, has_versions: record.has_versions },
        };
        self.push(record.flow_id, row, line);
        true
    }

    #[inline]
    fn push(&mut self, flow: FlowId, row: Row<u16>, line: LineRef) {
        let position = row.position(line.source, line.producer);
        self.touch(row.ids.writer, Format::FLOWLOG_JSON, true, position);
        if let Some(delta) = self.shards.get_mut(shard_of_id(flow)) {
            delta.rows.push(FlowRow { flow, row });
        }
    }

    /// Resolves the parts that a record has in common with others to the chunk's IDs, and remembers
    /// these.
    fn share(
        &mut self,
        record: &CachedRecord<'_>,
        fields: Fields<'_>,
        producer: u32,
    ) -> Option<RowIds<u16>> {
        // Taken out of `self` while its strings are interned.
        let cache = std::mem::take(&mut self.cache);
        let ids = self.row_ids(&cache, record, fields, producer);
        self.cache = cache;
        ids
    }

    fn row_ids(
        &mut self,
        cache: &RecordCache,
        record: &CachedRecord<'_>,
        fields: Fields<'_>,
        producer: u32,
    ) -> Option<RowIds<u16>> {
        let named = cache.producer(record.producer)?;
        let transition = cache.transition(record.transition)?;
        let fields = record.tail.map_or(fields, |tail| Fields::of(cache.fields(tail)));
        let writer = self.writer(producer, &named.component, &named.instance, false)?;
        let (state, callee) =
            (self.get_or_intern(&transition.state)?, self.get_or_intern(fields.callee)?);
        let kind = Kind::of(transition.event)?;
        put(&mut self.shared.writers, record.producer, writer);
        put(
            &mut self.shared.transitions,
            record.transition,
            (state, kind, transition.has_versions),
        );
        if let Some(tail) = record.tail {
            put(&mut self.shared.callees, tail, callee);
        }
        Some(RowIds { writer, state, callee, kind, has_versions: transition.has_versions })
    }

    fn get_or_intern(&mut self, text: &str) -> Option<u16> {
        self.names.get_or_intern(text, MAX_NAMES).and_then(|number| u16::try_from(number).ok())
    }

    /// Returns the index of the writer with this identity, adding it if needed; `None` if there are
    /// too many writers or names.
    pub fn writer(
        &mut self,
        producer: u32,
        component: &str,
        instance: &str,
        is_library: bool,
    ) -> Option<u16> {
        let names = &self.names;
        let is = |writer: &ChunkWriter| {
            writer.producer == producer
                && writer.is_library == is_library
                && names.resolve(writer.instance) == instance
                && names.resolve(writer.component) == component
        };
        if !self.writers.get(self.latest).is_some_and(is) {
            self.latest = match self.writers.iter().position(is) {
                Some(at) => at,
                None => {
                    // A log with more writers is not one of processes, and the linear search would
                    // become quadratic.
                    if self.writers.len() >= MAX_WRITERS {
                        return None;
                    }
                    let (component, instance) = (
                        self.names.get_or_intern(component, MAX_NAMES)?,
                        self.names.get_or_intern(instance, MAX_NAMES)?,
                    );
                    self.writers.push(ChunkWriter {
                        producer,
                        component,
                        instance,
                        is_library,
                        has_known_format: false,
                        has_any_logger: false,
                        activity: ProcessActivity::default(),
                    });
                    self.writers.len() - 1
                }
            };
        }
        u16::try_from(self.latest).ok()
    }

    /// Adds a line to the activity of a writer. `has_level` is whether it has a severity.
    pub fn touch(&mut self, writer: u16, format: Format, has_level: bool, position: LogPosition) {
        if let Some(writer) = self.writers.get_mut(usize::from(writer)) {
            writer.has_known_format |= !format.is_of_any_program();
            writer.has_any_logger |= format.is_of_any_logger() && has_level;
            writer.activity.note(position, None);
        }
    }

    /// Adds one event of a format.
    pub fn insert(&mut self, format: Format, event: &ParsedEvent<'_>, position: LogPosition) {
        let producer = self.producers_by_id.entry(position.line.producer_id()).or_default();
        producer.has_known_format |= !format.is_of_any_program();
        producer.has_any_logger |= format.is_of_any_logger() && event.level.is_some();
        producer.all_lines.note(position, event.process);
        match (&event.component, event.instance.as_deref().filter(|instance| !instance.is_empty()))
        {
            (Some(component), Some(instance)) => {
                let name = (CompactString::from(component.as_ref()), CompactString::from(instance));
                if !producer.named_instances.contains(&name) {
                    producer.named_instances.insert(name.clone());
                }
                self.processes.entry(name).or_default().note(position, event.process);
            }
            (component, _) => {
                producer.unnamed_lines.note(position, event.process);
                let names = if event.is_library {
                    &mut producer.libraries
                } else {
                    &mut producer.components
                };
                if let Some(component) = component
                    && !names.contains(component.as_ref())
                {
                    names.insert(CompactString::from(component.as_ref()));
                }
            }
        }
        let Some(id) = event.flows.first() else { return };
        for other in event.flows.iter().skip(1) {
            let alias = (id.clone(), other.clone());
            if !self.aliases.contains(&alias) {
                self.aliases.insert(alias);
            }
        }
        let Some(delta) = self.shards.get_mut(shard_of(id)) else { return };
        if !delta.entries.contains_key(id) {
            delta.entries.insert(id.clone(), FlowState::default());
        }
        if let Some(entry) = delta.entries.get_mut(id) {
            entry.note(event, position);
        }
    }

    /// Sets the identity of a producer, unless it is known already.
    pub fn name(&mut self, producer_id: ProducerId, producer: &Producer) {
        self.producers_by_id
            .entry(producer_id)
            .or_default()
            .name
            .get_or_insert_with(|| producer.clone());
    }

    /// Records that a line matched a rule.
    pub fn add_match(&mut self, rule_match: RuleMatch, position: LogPosition, message: &str) {
        let producer = self.producers_by_id.entry(position.line.producer_id()).or_default();
        producer.add_match(rule_match, position, message);
    }

    /// Resolves a row's numbers to names.
    pub(super) fn resolve(&self, row: &Row<u16>) -> ResolvedRow<'_> {
        let name = |number: u16| {
            Some(self.names.resolve(u32::from(number)).as_str()).filter(|text| !text.is_empty())
        };
        let writer = self.writers.get(usize::from(row.ids.writer));
        let (component, instance, producer) =
            writer.map_or((0, 0, 0), |writer| (writer.component, writer.instance, writer.producer));
        ResolvedRow {
            span: row.span,
            parent: row.parent,
            position: row.position(self.source, producer),
            component: self.names.resolve(component),
            instance: Some(self.names.resolve(instance).as_str()).filter(|text| !text.is_empty()),
            state: name(row.ids.state),
            callee: name(row.ids.callee),
            kind: row.ids.kind,
            has_versions: row.ids.has_versions,
        }
    }

    /// Adds the activity of the writers to their producers and processes.
    pub(super) fn flush_writers(&mut self) {
        for writer in &self.writers {
            let producer = self.producers_by_id.entry(writer.producer_id(self.source)).or_default();
            producer.all_lines.merge(&writer.activity);
            producer.has_known_format |= writer.has_known_format;
            producer.has_any_logger |= writer.has_any_logger;
            let (component, instance) =
                (self.names.resolve(writer.component), self.names.resolve(writer.instance));
            if instance.is_empty() || component.is_empty() {
                producer.unnamed_lines.merge(&writer.activity);
                let names = if writer.is_library {
                    &mut producer.libraries
                } else {
                    &mut producer.components
                };
                if !component.is_empty() && instance.is_empty() {
                    names.insert(component.clone());
                }
            } else {
                let name = (component.clone(), instance.clone());
                producer.named_instances.insert(name.clone());
                self.processes.entry(name).or_default().merge(&writer.activity);
            }
        }
    }
}

/// The chunk's IDs for the indexes of the record cache.
#[derive(Debug, Default)]
struct Shared {
    /// Writer of each producer.
    writers: Vec<Option<u16>>,
    /// State, kind, and presence of versions, of each transition.
    transitions: Vec<Option<(u16, Kind, bool)>>,
    /// Callee of each tail.
    callees: Vec<Option<u16>>,
}

impl Shared {
    #[inline]
    fn get(&self, producer: usize, transition: usize, tail: Option<usize>) -> Option<RowIds<u16>> {
        let writer = self.writers.get(producer).copied().flatten()?;
        let (state, kind, has_versions) = self.transitions.get(transition).copied().flatten()?;
        let callee = self.callees.get(tail?).copied().flatten()?;
        Some(RowIds { writer, state, callee, kind, has_versions })
    }

    fn clear(&mut self) {
        self.writers.clear();
        self.transitions.clear();
        self.callees.clear();
    }
}

/// Sets an element, extending the list if it is too short.
fn put<T: Clone>(list: &mut Vec<Option<T>>, at: usize, value: T) {
    if list.len() <= at {
        list.resize(at + 1, None);
    }
    list[at] = Some(value);
}

/// Maximum number of writers of one chunk's rows.
const MAX_WRITERS: usize = 256;
