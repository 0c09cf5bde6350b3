//! Sources to a table: chunks in parallel, all sources together in time.

mod schedule;
mod around;
mod alert;
mod chosen;
mod chunk;
mod told;
mod logged;
mod part;
mod reader;
mod live;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flowlog_schema::Time;
use flowlog_schema::report::{Input, InputProblems, Unread};
use rayon::prelude::*;

use crate::flow::{Ledger, Table};
use crate::format::Format;
use crate::lines::LineIndex;
use crate::names::Components;
use crate::observation::FlowKey;
use crate::source::{Source, Sources};
use crate::timeline::{Timelines, begin, within};
pub use alert::Alert;
pub use around::around;
use chosen::is_of_others;
use chunk::{Pool, read_part};
pub use live::{Moment, Watcher, ingest_growing};
pub use logged::LoggedEvent;
use part::Part;
use schedule::{Schedule, Task};

/// How the input is read. The report does not depend on any of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Bytes of a chunk.
    pub chunk: u64,
    /// Chunks that are worked on at once.
    pub batch: usize,
    /// How long after its last line a flow that ended well is closed, in nanoseconds of the logs' time; a line that
    /// comes later still is counted, not read.
    pub linger: i64,
    /// Whether flows that ended well are kept too.
    pub keeps_all: bool,
    /// Whether the lines themselves are judged too.
    pub keeps_ledger: bool,
    /// Whether the events are kept, to be handed on: see [`hand_on`].
    pub keeps_events: bool,
    /// Whether what goes wrong is told while reading goes on, and sources are not waited for that have come to rest.
    pub follows: bool,
    /// Most memory for flows, in bytes, about; what does not fit is given up, counted and said.
    pub memory: Option<u64>,
    /// Bytes of flows, about, that failed or hang and are kept in memory until the end; more go to disk.
    pub at_hand: u64,
    /// Lines before this moment are left out, in nanoseconds since the epoch; `i64::MIN` leaves none out.
    pub since: i64,
    /// Lines after this moment are left out; `i64::MAX` leaves none out.
    pub until: i64,
    /// Lines of other components are left out.
    pub components: Components,
    /// Flows that are kept however they end; by whichever of their ids.
    pub flows: Vec<FlowKey>,
    /// Whether lines may be known at sight, by what they share with those before them.
    pub by_sight: bool,
    /// Somebody sets it: nobody waits for the answer any more, and reading ends early.
    pub stopped: Arc<AtomicBool>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            chunk: 1 << 20,
            batch: 32,
            linger: 60_000_000_000,
            keeps_all: false,
            keeps_ledger: false,
            keeps_events: false,
            follows: false,
            memory: None,
            at_hand: 16 << 20,
            since: i64::MIN,
            until: i64::MAX,
            components: Components::default(),
            flows: Vec::new(),
            by_sight: true,
            stopped: Arc::default(),
        }
    }
}

/// What the input holds.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Its flows and processes.
    pub table: Table,
    /// What was read.
    pub input: Input,
    /// How well each component's lines follow the structure, where the plan asks for it.
    pub ledger: Ledger,
    /// Where which lines lie.
    pub index: LineIndex,
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Bytes that are done: read, or found to lie outside the times that are asked for.
    pub bytes: u64,
    /// Spans that said that they failed.
    pub failures: u64,
}

/// Reads all sources. `progress` is told of what each chunk added.
pub fn ingest(sources: &Sources, plan: &Plan, progress: &(dyn Fn(Progress) + Sync)) -> Ingested {
    let mut reading = Reading::new(plan);
    reading.update(sources, &|_| false, progress);
    while !plan.stopped.load(Ordering::Relaxed)
        && reading.step(sources, &mut |told| progress(told.progress))
    {}
    reading.finish(sources)
}

/// Reads all sources and hands their events on, source by source in the order of its lines, as long as `take` wants more. All sources advance
/// together in time, and no more of them is held than one round of chunks.
pub fn hand_on(sources: &Sources, plan: &Plan, take: &mut dyn FnMut(Vec<LoggedEvent>) -> bool) {
    let plan = Plan { keeps_events: true, ..plan.clone() };
    let mut reading = Reading::new(&plan);
    reading.update(sources, &|_| false, &|_| ());
    let mut wants_more = true;
    while wants_more
        && reading.step(sources, &mut |told| {
            wants_more = wants_more && (told.events.is_empty() || take(told.events))
        })
    {}
}

/// Reading in steps.
struct Reading<'p> {
    plan: &'p Plan,
    total: Total,
    timelines: Timelines,
    pool: Pool,
    schedule: Schedule,
    /// Sources that are known.
    known: usize,
    /// Bytes that were read since flows were closed last.
    unclosed: u64,
    /// A file that vanished while it was read is not a source that was read.
    lost: BTreeSet<usize>,
    unread: Vec<Unread>,
}

/// What one chunk told.
struct Step {
    progress: Progress,
    alerts: Vec<Alert>,
    events: Vec<LoggedEvent>,
}

impl<'p> Reading<'p> {
    fn new(plan: &'p Plan) -> Self {
        let mut total = Total::default();
        total.table.keep(&plan.flows);
        Self {
            plan,
            total,
            timelines: Timelines::default(),
            pool: Pool::default(),
            schedule: Schedule::default(),
            known: 0,
            unclosed: 0,
            lost: BTreeSet::new(),
            unread: Vec::new(),
        }
    }

    /// Takes in sources that came and what was learnt of those that grow.
    fn update(
        &mut self,
        sources: &Sources,
        grows: &(dyn Fn(usize) -> bool + Sync),
        progress: &(dyn Fn(Progress) + Sync),
    ) {
        self.timelines.update(sources);
        let plan = self.plan;
        let part_of = |(at, source): (usize, &Source)| {
            let index = self.known + at;
            // Of one that grows all that came lies ahead.
            if grows(index) {
                return (index, 0..0, None, 0);
            }
            let part = if is_of_others(source, &plan.components) {
                0..0
            } else {
                within(source, plan.since, plan.until)
            };
            let (begin, outside) =
                (begin(source, &part), source.size.saturating_sub(part.end - part.start));
            (index, part, begin, outside)
        };
        let new = sources.read.get(self.known..).unwrap_or_default();
        let came: Vec<(usize, Range<u64>, Option<i64>, u64)> =
            new.par_iter().enumerate().map(part_of).collect();
        progress(Progress { bytes: came.iter().map(|(.., outside)| outside).sum(), failures: 0 });
        for (index, part, begin, _) in came {
            self.schedule.add(index, &part, begin, grows(index));
        }
        self.known = sources.read.len();
    }

    /// Reads some chunks; whether there were any.
    fn step(&mut self, sources: &Sources, told: &mut dyn FnMut(Step)) -> bool {
        let tasks = self.schedule.next(self.plan);
        if tasks.is_empty() {
            return false;
        }
        let parts: Vec<Result<Part, String>> = self.read_all(sources, &tasks);
        let mut read: Vec<Part> = Vec::with_capacity(parts.len());
        for (task, part) in tasks.iter().zip(parts) {
            match part {
                Ok(mut part) => {
                    let progress = Progress { bytes: part.input.bytes, failures: part.failures };
                    let (alerts, events) =
                        (std::mem::take(&mut part.alerts), std::mem::take(&mut part.events));
                    told(Step { progress, alerts, events });
                    self.schedule.was_read(task, part.first, part.last);
                    read.push(part);
                }
                Err(error) => {
                    self.schedule.is_lost(task);
                    let source = sources
                        .read
                        .get(task.source)
                        .map_or_else(String::new, |source| source.name.clone());
                    self.unread.push(Unread { source, error });
                    self.lost.insert(task.source);
                }
            }
        }
        self.unclosed += read.iter().map(|part| part.input.bytes).sum::<u64>();
        self.total.take(read, &self.pool);
        let reached = self.schedule.end_step();
        // Logs that were put one behind the other go back in time: as long as there are few, none of their flows is closed.
        if self.unclosed < self.plan.chunk.saturating_mul(self.plan.batch as u64) {
            return true;
        }
        self.unclosed = 0;
        if let Some(reached) = reached {
            let Plan { linger, keeps_all, at_hand, memory, .. } = *self.plan;
            self.total.table.sweep(reached.saturating_sub(linger), !keeps_all, at_hand);
            if let Some(memory) = memory {
                self.total.table.shed(memory, reached, !keeps_all);
            }
        }
        true
    }

    fn read_all(&self, sources: &Sources, tasks: &[Task]) -> Vec<Result<Part, String>> {
        tasks
            .par_iter()
            .map(|task| read_part((sources, &self.timelines), &self.pool, task, self.plan))
            .collect()
    }

    /// What was read.
    fn finish(self, sources: &Sources) -> Ingested {
        let Self { plan, mut total, lost, .. } = self;
        if !plan.keeps_all {
            total.table.close_all();
        }
        let mut unread = [sources.unread.clone(), self.unread].concat();
        unread.sort_by(|a, b| a.source.cmp(&b.source));
        unread.dedup_by(|a, b| a.source == b.source);
        let mut input = total.input;
        input.sources = sources.read.len() as u64 - lost.len() as u64;
        input.unread = unread;
        input.first = total.first.map(|time| Time(time).to_string());
        input.last = total.last.map(|time| Time(time).to_string());
        for format in Format::all() {
            let lines = total.formats[format.number()];
            // Of formats only those that occur are worth a word.
            if lines > 0 || format == Format::UNRECOGNISED {
                input.formats.insert(format.name().to_owned(), lines);
            }
        }
        Ingested { table: total.table, input, ledger: total.ledger, index: total.index }
    }
}

/// What all chunks hold.
#[derive(Default)]
struct Total {
    table: Table,
    input: Input,
    formats: [u64; Format::COUNT],
    first: Option<i64>,
    last: Option<i64>,
    ledger: Ledger,
    index: LineIndex,
}

impl Total {
    fn take(&mut self, parts: Vec<Part>, pool: &Pool) {
        let mut notes = Vec::with_capacity(parts.len());
        for part in parts {
            let (source, offset, lines) = part.place;
            self.index.note(source, offset, lines);
            notes.push(part.notes);
            self.ledger.merge(part.ledger);
            let (mine, theirs) = (&mut self.input, part.input);
            mine.bytes += theirs.bytes;
            mine.lines += theirs.lines;
            mine.records += theirs.records;
            add_problems(&mut mine.problems, &theirs.problems);
            for (all, lines) in self.formats.iter_mut().zip(part.formats) {
                *all += lines;
            }
            self.first = self.first.into_iter().chain(part.first).min();
            self.last = self.last.into_iter().chain(part.last).max();
        }
        self.table.take(&mut notes);
        pool.give_back(notes);
    }
}

fn add_problems(mine: &mut InputProblems, theirs: &InputProblems) {
    mine.duplicate_keys += theirs.duplicate_keys;
    mine.bad_values += theirs.bad_values;
    mine.invalid_utf8 += theirs.invalid_utf8;
    mine.long_lines += theirs.long_lines;
    mine.lost_records += theirs.lost_records;
    mine.guessed_times += theirs.guessed_times;
}
