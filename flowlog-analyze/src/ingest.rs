//! Sources to a table: chunks in parallel, all sources together in time.

use std::collections::BTreeMap;

use flowlog_schema::Time;
use flowlog_schema::report::{Input, InputProblems, Unread};
use rayon::prelude::*;

use crate::flow::{Mark, Place, Table, sign_of};
use crate::format::{Format, read_events};
use crate::lines::{MAX_EVENT, read_chunk};
use crate::observation::Observation;
use crate::source::{Source, Sources};

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
}

impl Default for Plan {
    fn default() -> Self {
        Self { chunk: 4 << 20, batch: 8, linger: 60_000_000_000 }
    }
}

/// What the input holds.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Its flows and processes.
    pub table: Table,
    /// What was read.
    pub input: Input,
}

/// Reads all sources. `progress` is told of the bytes that each step read.
pub fn ingest(sources: &Sources, plan: &Plan, progress: &(dyn Fn(u64) + Sync)) -> Ingested {
    let mut total = Part::default();
    let mut unread: Vec<Unread> = sources.unread.clone();
    let mut cursors: Vec<Cursor> =
        sources.read.iter().enumerate().map(|(index, source)| Cursor { index, at: 0, reached: i64::MIN, size: source.size }).collect();
    loop {
        cursors.retain(|cursor| cursor.at < cursor.size);
        if cursors.is_empty() {
            break;
        }
        // The sources that lag behind in time go first, so that a flow's lines come together.
        cursors.sort_by_key(|cursor| (cursor.reached, cursor.index));
        let mut tasks: Vec<(usize, u64)> = Vec::with_capacity(plan.batch);
        for cursor in cursors.iter_mut().take(plan.batch.max(1)) {
            tasks.push((cursor.index, cursor.at));
            cursor.at += plan.chunk.max(1);
        }
        let lag = cursors.len();
        if lag < plan.batch
            && let Some(cursor) = cursors.first_mut()
        {
            for _ in lag..plan.batch {
                if cursor.at < cursor.size {
                    tasks.push((cursor.index, cursor.at));
                    cursor.at += plan.chunk.max(1);
                }
            }
        }
        let parts: Vec<(usize, Result<Part, String>)> = tasks
            .par_iter()
            .map(|(index, at)| {
                let part = sources
                    .read
                    .get(*index)
                    .map_or_else(|| Ok(Part::default()), |source| read_part(source, *index, *at, plan.chunk.max(1)));
                (*index, part)
            })
            .collect();
        let mut read: Vec<Part> = Vec::with_capacity(parts.len());
        for (index, part) in parts {
            match part {
                Ok(part) => {
                    progress(part.input.bytes);
                    if let Some(cursor) = cursors.iter_mut().find(|cursor| cursor.index == index) {
                        cursor.reached = cursor.reached.max(part.last.unwrap_or(i64::MIN));
                    }
                    read.push(part);
                }
                Err(error) => {
                    if let Some(cursor) = cursors.iter_mut().find(|cursor| cursor.index == index) {
                        cursor.at = cursor.size;
                        let source = sources.read.get(index).map_or_else(String::new, |source| source.name.clone());
                        unread.push(Unread { source, error });
                    }
                }
            }
        }
        let step = read.into_par_iter().reduce(Part::default, |mut joined, part| {
            joined.merge(part);
            joined
        });
        total.merge(step);
        let reached = cursors.iter().filter(|cursor| cursor.at < cursor.size).map(|cursor| cursor.reached).min();
        if let Some(reached) = reached.filter(|reached| *reached > i64::MIN) {
            total.table.close(reached.saturating_sub(plan.linger));
        }
    }
    unread.sort_by(|a, b| a.source.cmp(&b.source));
    unread.dedup_by(|a, b| a.source == b.source);
    let mut input = total.input;
    // A file that vanished before its first byte was read is not a source that was read.
    let lost = unread.iter().filter(|unread| sources.read.iter().any(|source| source.name == unread.source)).count();
    input.sources = (sources.read.len() - lost.min(sources.read.len())) as u64;
    input.unread = unread;
    input.first = total.first.map(|time| Time(time).to_string());
    input.last = total.last.map(|time| Time(time).to_string());
    for format in Format::ALL {
        input.formats.insert(format.as_str().to_owned(), total.formats.get(&format).copied().unwrap_or(0));
    }
    Ingested { table: total.table, input }
}

struct Cursor {
    index: usize,
    at: u64,
    reached: i64,
    size: u64,
}

/// What one chunk holds.
#[derive(Default)]
struct Part {
    table: Table,
    input: Input,
    formats: BTreeMap<Format, u64>,
    first: Option<i64>,
    last: Option<i64>,
}

impl Part {
    fn merge(&mut self, other: Self) {
        self.table.merge(other.table);
        let (mine, theirs) = (&mut self.input, other.input);
        mine.bytes += theirs.bytes;
        mine.lines += theirs.lines;
        mine.records += theirs.records;
        add_problems(&mut mine.problems, &theirs.problems);
        for (format, lines) in other.formats {
            *self.formats.entry(format).or_default() += lines;
        }
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.into_iter().chain(other.last).max();
    }
}

fn add_problems(mine: &mut InputProblems, theirs: &InputProblems) {
    mine.duplicate_keys += theirs.duplicate_keys;
    mine.bad_values += theirs.bad_values;
    mine.invalid_utf8 += theirs.invalid_utf8;
    mine.long_lines += theirs.long_lines;
    mine.lost_records += theirs.lost_records;
}

fn read_part(source: &Source, index: usize, at: u64, size: u64) -> Result<Part, String> {
    let chunk = read_chunk(source, at..at.saturating_add(size).min(source.size)).map_err(|error| error.to_string())?;
    let mut part = Part::default();
    part.input.bytes = chunk.bytes.len() as u64;
    let source_index = u32::try_from(index).unwrap_or(u32::MAX);
    // The time that a line without a stamp takes over, and where the line that told it lies.
    let mut told: Option<(i64, usize)> = None;
    read_events(&chunk.bytes, |block, format, observation, quality| {
        part.input.lines += block.lines;
        *part.formats.entry(format).or_default() += block.lines;
        part.input.problems.invalid_utf8 += u64::from(quality.invalid_utf8);
        part.input.problems.long_lines += u64::from(quality.cut);
        let Some(observation) = observation else { return };
        if format != Format::Unrecognised {
            part.input.records += 1;
        }
        part.input.problems.duplicate_keys += u64::from(observation.problems.duplicate_keys);
        part.input.problems.bad_values += u64::from(observation.problems.bad_values);
        part.input.problems.lost_records += observation.lost;
        if let Some(time) = observation.time {
            told = Some((time, block.at));
            part.first = Some(part.first.map_or(time, |first| first.min(time)));
            part.last = Some(part.last.map_or(time, |last| last.max(time)));
        }
        // A line without a stamp has the milliseconds of its clock, else the time of the line before it.
        let by_clock = (observation.clock > 0).then(|| i64::try_from((observation.clock >> 16) * 1_000_000).unwrap_or(Mark::NO_TIME));
        let inherited = told.filter(|(_, at)| block.at - at <= MAX_EVENT).map(|(time, _)| time);
        let mark = Mark {
            clock: observation.clock,
            time: observation.time.or(by_clock).or(inherited).unwrap_or(Mark::NO_TIME),
            place: Place { source: source_index, offset: chunk.start + block.at as u64 },
        };
        insert(&mut part.table, &observation, mark);
    });
    Ok(part)
}

fn insert(table: &mut Table, observation: &Observation<'_>, mark: Mark) {
    table.insert(observation, mark);
    if let Some((kind, about)) = sign_of(observation) {
        table.sign(kind, about, mark, &observation.message);
    }
}
