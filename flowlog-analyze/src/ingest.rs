//! Ingestion of sources into the flow table: chunks are read in parallel, and all sources advance
//! together in time.

mod schedule;
mod flow_window;
mod layouts;
mod alert;
mod component_prefilter;
mod chunk_error;
mod chunk;
mod recent_times;
mod event_row;
mod event_sink;
mod chunk_result;
mod reader;
mod follow;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flowlog_schema::Time;
use flowlog_schema::report::{Input, InputProblems, ReadError};
use rayon::prelude::*;

use crate::component_filter::ComponentFilter;
use crate::event::FlowKey;
use crate::flow::{LineStats, Table};
use crate::format::Format;
use crate::lines::LineIndex;
use crate::patterns::Patterns;
use crate::source::{Incomplete, Source, Sources};
use crate::timestamp_inference::{TimestampResolvers, byte_range_between, earliest_time};
use crate::traces::Traces;
pub use alert::Alert;
use chunk::{Pool, read_part};
use chunk_result::ChunkResult;
use component_prefilter::is_of_others;
pub use event_row::EventRow;
pub use flow_window::flow_window;
pub use follow::{FollowObserver, FollowStatus, ingest_growing};
use layouts::Layouts;
use schedule::{Schedule, Task};

/// How the input is read, which part of it, and what is retained.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Bytes per chunk.
    pub chunk: u64,
    /// Number of chunks read in parallel in one step.
    pub batch: usize,
    /// How long a flow that ended well stays open after its last line, in nanoseconds of log time.
    /// Lines that arrive after that are counted, not read.
    pub close_after: i64,
    /// Whether flows that ended well are retained too.
    pub retain_closed: bool,
    /// Whether statistics on the structure of the lines are collected.
    pub collect_line_stats: bool,
    /// Whether events are collected to be passed on; see [`stream_events`].
    pub collect_events: bool,
    /// Whether sources are followed: failures are reported while reading continues, and quiescent
    /// sources do not hold back the others.
    pub follow: bool,
    /// Approximate memory limit for flows, in bytes. Flows that exceed it are evicted, counted and
    /// reported.
    pub memory: Option<u64>,
    /// Approximate bytes of failed and hanging flows that are kept in memory until the end; any
    /// more are spilled to disk.
    pub spill_threshold: u64,
    /// Earliest time to read, in nanoseconds since the epoch. Lines before it are skipped;
    /// `i64::MIN` skips none.
    pub since: i64,
    /// Latest time to read, in nanoseconds since the epoch. Lines after it are skipped; `i64::MAX`
    /// skips none.
    pub until: i64,
    /// Components to read. Lines of other components are skipped.
    pub components: ComponentFilter,
    /// Flows to retain however they end, each by any of its IDs.
    pub flows: Vec<FlowKey>,
    /// Whether the fast path may recognize lines by what they share with earlier ones.
    pub fast_path: bool,
    /// Cancellation flag. Once it is set, reading ends early, because the result is no longer
    /// needed.
    pub cancel: Arc<AtomicBool>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            chunk: 1 << 20,
            batch: 32,
            close_after: 60_000_000_000,
            retain_closed: false,
            collect_line_stats: false,
            collect_events: false,
            follow: false,
            memory: None,
            spill_threshold: 16 << 20,
            since: i64::MIN,
            until: i64::MAX,
            components: ComponentFilter::default(),
            flows: Vec::new(),
            fast_path: true,
            cancel: Arc::default(),
        }
    }
}

/// Result of reading the input.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Flows and processes.
    pub table: Table,
    /// Summary of the input that was read.
    pub input: Input,
    /// How well each component's lines follow the structure, if
    /// [`IngestOptions::collect_line_stats`] is set.
    pub line_stats: LineStats,
    /// Line counts by source and offset, for line numbers.
    pub index: LineIndex,
    /// Message patterns.
    pub patterns: Patterns,
    /// Lines with the ID of a flow.
    pub traces: Traces,
    /// Ranges, by source, in which kubectl shows objects.
    pub objects: BTreeMap<u32, (u64, u64)>,
    /// Sources whose end is missing, by index.
    pub incomplete: BTreeMap<u32, Incomplete>,
}

/// Progress of reading.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Bytes done: read, or found to be outside the requested times and components.
    pub bytes: u64,
    /// Spans that reported a failure.
    pub failures: u64,
}

/// Reads all sources. Calls `progress` with increments: first for the bytes that are skipped, then
/// for each chunk.
pub fn ingest(
    sources: &Sources,
    plan: &IngestOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Ingested {
    let mut state = IngestState::new(plan);
    state.update(sources, &|_| false, progress);
    while !plan.cancel.load(Ordering::Relaxed)
        && state.step(sources, &mut |on_output| progress(on_output.progress))
    {}
    state.finish(sources)
}

/// Reads all sources and passes their events to `take` until it returns `false`. The events of each
/// source are passed on in line order. All sources advance together in time, and at most one round
/// of chunks is buffered.
pub fn stream_events(
    sources: &Sources,
    plan: &IngestOptions,
    take: &mut dyn FnMut(Vec<EventRow>) -> bool,
) {
    let plan = IngestOptions { collect_events: true, ..plan.clone() };
    let mut state = IngestState::new(&plan);
    state.update(sources, &|_| false, &|_| ());
    let mut wants_more = true;
    while wants_more
        && state.step(sources, &mut |on_output| {
            wants_more = wants_more && (on_output.events.is_empty() || take(on_output.events));
        })
    {}
}

/// State of reading in steps.
struct IngestState<'p> {
    plan: &'p IngestOptions,
    accumulator: Accumulator,
    resolvers: TimestampResolvers,
    layouts: Layouts,
    pool: Pool,
    schedule: Schedule,
    /// Number of sources that were scheduled.
    known: usize,
    /// Bytes read since flows were last closed.
    unclosed: u64,
    /// Sources that failed while they were read, such as a file that vanished; they do not count as
    /// read.
    lost: BTreeSet<usize>,
    read_errors: Vec<ReadError>,
}

/// Output of one chunk.
struct ChunkOutput {
    progress: Progress,
    alerts: Vec<Alert>,
    events: Vec<EventRow>,
}

impl<'p> IngestState<'p> {
    fn new(plan: &'p IngestOptions) -> Self {
        let mut accumulator = Accumulator::default();
        accumulator.table.retain(&plan.flows);
        Self {
            plan,
            accumulator,
            resolvers: TimestampResolvers::default(),
            layouts: Layouts::default(),
            pool: Pool::default(),
            schedule: Schedule::default(),
            known: 0,
            unclosed: 0,
            lost: BTreeSet::new(),
            read_errors: Vec::new(),
        }
    }

    /// Schedules new sources, and refreshes what was learned about the timestamps of growing ones.
    fn update(
        &mut self,
        sources: &Sources,
        grows: &(dyn Fn(usize) -> bool + Sync),
        progress: &(dyn Fn(Progress) + Sync),
    ) {
        self.resolvers.update(sources);
        let plan = self.plan;
        let part_of = |(at, source): (usize, &Source)| {
            let index = self.known + at;
            // All bytes of a growing source are still to be read: its range is extended later.
            if grows(index) {
                return (index, 0..0, None, 0);
            }
            let part = if is_of_others(source, &plan.components) {
                0..0
            } else {
                byte_range_between(source, plan.since, plan.until)
            };
            let (earliest_time, outside) =
                (earliest_time(source, &part), source.size.saturating_sub(part.end - part.start));
            (index, part, earliest_time, outside)
        };
        let new = sources.read.get(self.known..).unwrap_or_default();
        let came: Vec<(usize, Range<u64>, Option<i64>, u64)> =
            new.par_iter().enumerate().map(part_of).collect();
        progress(Progress { bytes: came.iter().map(|(.., outside)| outside).sum(), failures: 0 });
        for (index, part, earliest_time, _) in came {
            self.schedule.add(index, &part, earliest_time, grows(index));
        }
        self.known = sources.read.len();
    }

    /// Reads the next chunks and passes on the output of each. Returns `false` if there were none.
    fn step(&mut self, sources: &Sources, on_output: &mut dyn FnMut(ChunkOutput)) -> bool {
        let tasks = self.schedule.next(self.plan);
        if tasks.is_empty() {
            return false;
        }
        self.layouts.learn(sources, tasks.iter().map(|task| task.source));
        let parts: Vec<Result<ChunkResult, String>> = self.read_all(sources, &tasks);
        let mut read: Vec<ChunkResult> = Vec::with_capacity(parts.len());
        for (task, part) in tasks.iter().zip(parts) {
            match part {
                Ok(mut part) => {
                    let progress = Progress { bytes: part.input.bytes, failures: part.failures };
                    let (alerts, events) =
                        (std::mem::take(&mut part.alerts), std::mem::take(&mut part.events));
                    on_output(ChunkOutput { progress, alerts, events });
                    self.schedule.record_read(task, part.first, part.last);
                    read.push(part);
                }
                Err(error) => {
                    self.schedule.record_failure(task);
                    let source = sources
                        .read
                        .get(task.source)
                        .map_or_else(String::new, |source| source.name.clone());
                    self.read_errors.push(ReadError { source, error });
                    self.lost.insert(task.source);
                }
            }
        }
        self.unclosed += read.iter().map(|part| part.input.bytes).sum::<u64>();
        self.accumulator.take(read, &self.pool);
        let reached = self.schedule.end_step();
        // Concatenated logs go back in time, so no flow is closed while little has been read.
        if self.unclosed < self.plan.chunk.saturating_mul(self.plan.batch as u64) {
            return true;
        }
        self.unclosed = 0;
        if let Some(reached) = reached {
            let IngestOptions { close_after, retain_closed, spill_threshold, memory, .. } =
                *self.plan;
            self.accumulator.table.close_idle(
                reached.saturating_sub(close_after),
                !retain_closed,
                spill_threshold,
            );
            if let Some(memory) = memory {
                self.accumulator.table.evict(memory, reached, !retain_closed);
            }
        }
        true
    }

    fn read_all(&self, sources: &Sources, tasks: &[Task]) -> Vec<Result<ChunkResult, String>> {
        tasks
            .par_iter()
            .map(|task| {
                let layout = self.layouts.of(task.source);
                read_part((sources, &self.resolvers), layout, &self.pool, task, self.plan)
            })
            .collect()
    }

    /// Finishes reading and returns the result.
    fn finish(self, sources: &Sources) -> Ingested {
        let Self { plan, mut accumulator, lost, .. } = self;
        if !plan.retain_closed {
            accumulator.table.close_all();
        }
        let mut read_errors = [sources.read_errors.clone(), self.read_errors].concat();
        read_errors.sort_by(|a, b| a.source.cmp(&b.source));
        read_errors.dedup_by(|a, b| a.source == b.source);
        let mut input = accumulator.input;
        input.sources = sources.read.len() as u64 - lost.len() as u64;
        input.read_errors = read_errors;
        input.first = accumulator.first.map(|time| Time(time).to_string());
        input.last = accumulator.last.map(|time| Time(time).to_string());
        let incomplete = sources.incomplete().clone();
        let named = |(index, incomplete): (&u32, &Incomplete)| {
            let source = sources.read.get(*index as usize)?.name.clone();
            Some(ReadError { source, error: incomplete.reason().to_owned() })
        };
        input.incomplete = incomplete.iter().filter_map(named).collect();
        for format in Format::all() {
            let lines = accumulator.formats.get(format.number()).copied().unwrap_or(0);
            // Omit formats that do not occur.
            if lines > 0 || format == Format::UNRECOGNISED {
                input.formats.insert(format.name().to_owned(), lines);
            }
        }
        Ingested {
            table: accumulator.table,
            input,
            line_stats: accumulator.line_stats,
            index: accumulator.index,
            patterns: accumulator.patterns,
            traces: accumulator.traces,
            objects: accumulator.objects,
            incomplete,
        }
    }
}

/// Totals over all chunks.
#[derive(Default)]
struct Accumulator {
    table: Table,
    input: Input,
    /// Lines by format; empty until there are some.
    formats: Vec<u64>,
    first: Option<i64>,
    last: Option<i64>,
    line_stats: LineStats,
    index: LineIndex,
    patterns: Patterns,
    traces: Traces,
    objects: BTreeMap<u32, (u64, u64)>,
}

impl Accumulator {
    fn take(&mut self, parts: Vec<ChunkResult>, pool: &Pool) {
        let mut delta = Vec::with_capacity(parts.len());
        for part in parts {
            self.index.note(part.source, part.offset, part.lines);
            delta.push(part.delta);
            self.line_stats.merge(part.line_stats);
            self.patterns.merge(part.patterns);
            self.traces.merge(part.traces);
            if let Some((from, to)) = part.objects {
                let known = self.objects.entry(part.source).or_insert((from, to));
                *known = (known.0.min(from), known.1.max(to));
            }
            let (mine, theirs) = (&mut self.input, part.input);
            mine.bytes += theirs.bytes;
            mine.lines += theirs.lines;
            mine.records += theirs.records;
            add_problems(&mut mine.problems, &theirs.problems);
            self.formats.resize(Format::COUNT, 0);
            for (all, lines) in self.formats.iter_mut().zip(part.formats) {
                *all += lines;
            }
            self.first = self.first.into_iter().chain(part.first).min();
            self.last = self.last.into_iter().chain(part.last).max();
        }
        self.table.take(&mut delta);
        pool.give_back(delta);
    }
}

fn add_problems(mine: &mut InputProblems, theirs: &InputProblems) {
    mine.duplicate_keys += theirs.duplicate_keys;
    mine.bad_values += theirs.bad_values;
    mine.invalid_utf8 += theirs.invalid_utf8;
    mine.truncated_lines += theirs.truncated_lines;
    mine.lost_records += theirs.lost_records;
    mine.inferred_timestamps += theirs.inferred_timestamps;
}
