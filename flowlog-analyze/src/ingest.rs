//! Sources to a table: chunks in parallel, all sources together in time.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use flowlog_schema::Time;
use flowlog_schema::report::{Input, InputProblems, Unread};
use rayon::prelude::*;

use crate::events::{Counted, Event, Hearer, NeedsPast, Recalled, read_events};
use crate::flow::{Ledger, Mark, Notes, Place, Table, Voice};
use crate::format::{self, Format};
use crate::lines::{LineIndex, MAX_EVENT, MAX_LINE, read_chunk};
use crate::observation::Observation;
use crate::shapes::Shapes;
use crate::sign;
use crate::source::Sources;
use crate::stamp::Stamp;
use crate::timeline::Timelines;

mod schedule;

use schedule::Schedule;

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
    /// Whether the lines themselves are judged too.
    pub keeps_ledger: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { chunk: 1 << 20, batch: 32, linger: 60_000_000_000, keeps_ledger: false }
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

/// Reads all sources. `progress` is told of the bytes that each step read.
pub fn ingest(sources: &Sources, plan: &Plan, progress: &(dyn Fn(u64) + Sync)) -> Ingested {
    let mut total = Total::default();
    let mut unread: Vec<Unread> = sources.unread.clone();
    let timelines = Timelines::new(sources);
    let pool = Pool::default();
    // A file that vanished while it was read is not a source that was read.
    let mut lost: BTreeSet<usize> = BTreeSet::new();
    let mut schedule = Schedule::of(sources);
    loop {
        let tasks = schedule.next(plan);
        if tasks.is_empty() {
            break;
        }
        let parts: Vec<Result<Part, String>> = tasks
            .par_iter()
            .map(|task| read_part(sources, &timelines, &pool, task.source, task.range.clone(), plan.keeps_ledger))
            .collect();
        let mut read: Vec<Part> = Vec::with_capacity(parts.len());
        for (task, part) in tasks.iter().zip(parts) {
            match part {
                Ok(part) => {
                    progress(part.input.bytes);
                    schedule.was_read(task, part.first, part.last);
                    read.push(part);
                }
                Err(error) => {
                    schedule.is_lost(task);
                    let source = sources.read.get(task.source).map_or_else(String::new, |source| source.name.clone());
                    unread.push(Unread { source, error });
                    lost.insert(task.source);
                }
            }
        }
        total.take(read, &pool);
        if let Some(reached) = schedule.end_step() {
            total.table.close(reached.saturating_sub(plan.linger));
        }
    }
    if plan.linger < i64::MAX {
        total.table.close_all();
    }
    unread.sort_by(|a, b| a.source.cmp(&b.source));
    unread.dedup_by(|a, b| a.source == b.source);
    let mut input = total.input;
    input.sources = sources.read.len() as u64 - lost.len() as u64;
    input.unread = unread;
    input.first = total.first.map(|time| Time(time).to_string());
    input.last = total.last.map(|time| Time(time).to_string());
    for format in Format::all() {
        let lines = total.formats.get(&format).copied().unwrap_or(0);
        // Of formats only those that occur are worth a word.
        if lines > 0 || format == Format::UNRECOGNISED {
            input.formats.insert(format.name().to_owned(), lines);
        }
    }
    Ingested { table: total.table, input, ledger: total.ledger, index: total.index }
}

/// What all chunks hold.
#[derive(Default)]
struct Total {
    table: Table,
    input: Input,
    formats: BTreeMap<Format, u64>,
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
            for (format, lines) in part.formats {
                *self.formats.entry(format).or_default() += lines;
            }
            self.first = self.first.into_iter().chain(part.first).min();
            self.last = self.last.into_iter().chain(part.last).max();
        }
        self.table.take(&mut notes);
        pool.give_back(notes);
    }
}

/// What one chunk holds.
struct Part {
    /// Its source, where it begins there, and how many lines it has.
    place: (u32, u64, u64),
    notes: Notes,
    input: Input,
    formats: BTreeMap<Format, u64>,
    first: Option<i64>,
    last: Option<i64>,
    ledger: Ledger,
}

impl Part {
    /// Nothing yet of a chunk that begins there.
    fn new(notes: Notes, source: u32, offset: u64) -> Self {
        Self {
            place: (source, offset, 0),
            notes,
            input: Input::default(),
            formats: BTreeMap::new(),
            first: None,
            last: None,
            ledger: Ledger::default(),
        }
    }

    /// Counts lines under a format; most lines have that of the one before.
    fn count(&mut self, format: Format, lines: u64) {
        *self.formats.entry(format).or_default() += lines;
        self.input.lines += lines;
    }

    /// Takes back a line of one record.
    fn uncount(&mut self, format: Format) {
        if let Some(lines) = self.formats.get_mut(&format) {
            *lines -= 1;
        }
        self.input.lines -= 1;
        self.input.records -= 1;
    }

    /// Notes the time of a record.
    fn note_time(&mut self, time: i64) {
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
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

/// Notes that were taken, whose room is used again.
#[derive(Default)]
struct Pool(Mutex<Vec<Notes>>);

impl Pool {
    fn take(&self, source: u32) -> Notes {
        match self.0.lock().ok().and_then(|mut pool| pool.pop()) {
            Some(mut notes) => {
                notes.reset(source);
                notes
            }
            None => Notes::of(source),
        }
    }

    fn give_back(&self, notes: Vec<Notes>) {
        if let Ok(mut pool) = self.0.lock() {
            pool.extend(notes);
        }
    }
}

fn read_part(
    sources: &Sources,
    timelines: &Timelines<'_>,
    pool: &Pool,
    index: usize,
    range: Range<u64>,
    keeps_ledger: bool,
) -> Result<Part, String> {
    let read = |past| read_with(sources, timelines, pool, index, range.clone(), past, keeps_ledger);
    match read(false) {
        Err(Stop::NeedsPast) => read(true),
        other => other,
    }
    .map_err(|stop| stop.to_string())
}

/// Why reading a chunk ended early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("what lies before has to be known")]
    NeedsPast,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<NeedsPast> for Stop {
    fn from(_: NeedsPast) -> Self {
        Self::NeedsPast
    }
}

/// Bytes that are read at once beyond a chunk whose last events go on.
const AHEAD: u64 = 64 * 1024;

fn read_with(
    sources: &Sources,
    timelines: &Timelines<'_>,
    pool: &Pool,
    index: usize,
    range: Range<u64>,
    past: bool,
    keeps_ledger: bool,
) -> Result<Part, Stop> {
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    let Some(source) = sources.read.get(index) else { return Ok(Part::new(pool.take(number), number, 0)) };
    let chunk = read_chunk(source, range.start..range.end.min(source.size), past, BUFFER.take())?;
    let mut reader = Reader { part: Part::new(pool.take(number), number, chunk.own), source: number, timelines, told: VecDeque::new(), keeps_ledger, begins: (0, false), shapes: SHAPES.take().unwrap_or_default(), authors: Vec::new(), generation: 0 };
    reader.part.input.bytes = chunk.start + chunk.bytes.len() as u64 - chunk.own;
    let mut ahead = |from: u64| {
        if from >= source.size {
            Ok(None)
        } else {
            read_chunk(source, from..from.saturating_add(AHEAD), false, Vec::new()).map(Some).map_err(Stop::from)
        }
    };
    let knows_past = chunk.knows_past;
    reader.begins = (chunk.own, knows_past);
    let lines = read_events(&chunk, &mut ahead, &mut reader);
    SHAPES.set(Some(reader.shapes));
    let mut part = reader.part;
    part.place.2 = lines?;
    BUFFER.set(chunk.bytes);
    Ok(part)
}

thread_local! {
    /// The room of the last chunk that this thread read: fresh memory for each costs as much as reading it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };

    /// Shapes of lines that this thread learnt.
    static SHAPES: Cell<Option<Box<Shapes>>> = const { Cell::new(None) };
}

/// Reads a chunk's events into a part.
struct Reader<'t> {
    part: Part,
    source: u32,
    timelines: &'t Timelines<'t>,
    /// The times that events tell, which those behind them take over: where each begins, the time, and how much later it may
    /// have been; by place.
    told: VecDeque<(u64, i64, u32)>,
    /// See [`Plan::keeps_ledger`].
    keeps_ledger: bool,
    /// Where the chunk begins, and whether its past is known.
    begins: (u64, bool),
    shapes: Box<Shapes>,
    /// By the number of a shape: its author, and the speaker's key.
    authors: Vec<Option<(u16, u32)>>,
    /// That of the shapes whose numbers `authors` has.
    generation: u32,
}

impl<'c> Hearer<'c> for Reader<'_> {
    type Error = Stop;

    fn hear(&mut self, event: &Event<'c>) -> Result<(), Stop> {
        let needs_past = self.take(event);
        let (own, knows_past) = self.begins;
        if needs_past && !knows_past && event.at - own <= MAX_EVENT as u64 { Err(Stop::NeedsPast) } else { Ok(()) }
    }

    fn skim(&mut self, at: u64, line: &[u8]) -> bool {
        if self.keeps_ledger {
            return false;
        }
        let place = Place { source: self.source, offset: at, speaker: 0 };
        if at < self.begins.0 {
            return false;
        }
        let Some((format, time)) = self.part.notes.skim(line.trim_ascii_end(), place) else { return false };
        self.note_record(format, time, at);
        true
    }

    fn recall(&mut self, line: &[u8]) -> Option<usize> {
        if self.keeps_ledger { None } else { self.shapes.recall(line) }
    }

    fn recalled(&self, number: usize) -> Option<Recalled<'_>> {
        self.shapes.recalled(number)
    }

    fn foretell(&mut self, event: &Event<'c>) {
        let line = event.text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let text = String::from_utf8_lossy(line.get(..line.len().min(MAX_LINE)).unwrap_or_default());
        let own = format::read(text.trim_end()).1.and_then(|observation| observation.time);
        if let Some((time, blur, _)) = self.moment(own, event.facts.time, self.told_before(event.at)) {
            self.tell(time, blur, event.at);
        }
    }

    fn count(&mut self, number: usize, at: u64, line: &[u8]) -> Option<Counted> {
        let (own, envelope) = self.shapes.stamps(number, line)?;
        let (author, speaker) = self.author(number)?;
        let told = self.told_before(at);
        let time = self.moment(own, envelope, told);
        let stamp = own.or(envelope);
        let (time_ns, blur) = time.map(|(time, blur, _)| (time, blur)).or(told)?;
        if told.is_none() && time.is_none_or(|(_, _, asks)| asks) {
            return None;
        }
        let format = self.shapes.known(number)?.format;
        let guessed = stamp.is_some_and(|stamp| !stamp.is_complete());
        if let Some((time, blur, _)) = time {
            self.tell(time, blur, at);
        }
        if at < self.begins.0 {
            return Some(Counted { format, guessed });
        }
        let place = Place { source: self.source, offset: at, speaker };
        self.part.notes.spoke(author, Mark { clock: 0, time: time_ns, place, blur });
        self.part.count(format, 1);
        self.part.input.records += 1;
        self.part.input.problems.guessed_times += u64::from(guessed);
        if let Some((time, _, _)) = time {
            self.part.note_time(time);
        }
        Some(Counted { format, guessed })
    }

    fn take_back(&mut self, counted: Counted, at: u64) {
        if at >= self.begins.0 {
            self.part.uncount(counted.format);
            self.part.input.problems.guessed_times -= u64::from(counted.guessed);
        }
    }
}

impl Reader<'_> {
    /// The time that the event at an offset may take over: that of the last event before it.
    fn told_before(&self, at: u64) -> Option<(i64, u32)> {
        let found = match self.told.back() {
            Some(last) if last.0 >= at => self.told.get(self.told.partition_point(|told| told.0 < at).checked_sub(1)?),
            last => last,
        };
        found.filter(|told| at - told.0 <= MAX_EVENT as u64).map(|(_, time, blur)| (*time, *blur))
    }

    /// Notes a time for events after it to take over.
    fn tell(&mut self, time: i64, blur: u32, at: u64) {
        while self.told.front().is_some_and(|told| told.0 + 2 * (MAX_EVENT as u64) < at) {
            self.told.pop_front();
        }
        match self.told.back() {
            Some(last) if last.0 >= at => {
                let place = self.told.partition_point(|told| told.0 < at);
                match self.told.get_mut(place) {
                    Some(told) if told.0 == at => *told = (at, time, blur),
                    _ => self.told.insert(place, (at, time, blur)),
                }
            }
            _ => self.told.push_back((at, time, blur)),
        }
    }

    /// The moment that an event's own stamp tells, or its envelope's, how much later it may have been, and whether an event
    /// before it may have a say in that.
    fn moment(&self, own: Option<Stamp>, envelope: Option<Stamp>, told: Option<(i64, u32)>) -> Option<(i64, u32, bool)> {
        let stamp = own.or(envelope)?;
        let blur = u32::try_from(stamp.unit).unwrap_or(u32::MAX);
        if stamp.is_complete() {
            return Some((stamp.ns, blur, false));
        }
        let complete = envelope.filter(|stamp| stamp.is_complete()).map(|stamp| stamp.ns);
        let (moment, asks) = self.timelines.of(self.source as usize).resolve(stamp, complete, told.map(|(time, _)| time));
        Some((moment, blur, asks))
    }

    /// The author of a known shape, and the key of its speaker.
    fn author(&mut self, number: usize) -> Option<(u16, u32)> {
        if self.generation != self.shapes.generation() {
            self.generation = self.shapes.generation();
            self.authors.clear();
        }
        if let Some(author) = self.authors.get(number).copied().flatten() {
            return Some(author);
        }
        let known = self.shapes.known(number)?;
        let speaker = known.speaker.key();
        let author = self.part.notes.author(speaker, &known.component, &known.instance, known.embedded)?;
        if speaker != 0 {
            self.part.notes.name(Voice { source: self.source, speaker }, &known.speaker);
        }
        if self.authors.len() <= number {
            self.authors.resize(number + 1, None);
        }
        self.authors[number] = Some((author, speaker));
        Some((author, speaker))
    }

    /// Takes an event; whether it lacked a time that an earlier one might tell.
    fn take(&mut self, event: &Event<'_>) -> bool {
        if event.text.is_empty() {
            self.part.count(Format::UNRECOGNISED, if event.own { event.lines } else { 0 });
            return false;
        }
        if self.glance(event) {
            return false;
        }
        let kept = event.text.get(..event.text.len().min(MAX_LINE)).unwrap_or_default();
        let text = std::str::from_utf8(kept).map_or_else(|_| String::from_utf8_lossy(kept), Cow::Borrowed);
        let (format, observation) = format::read(text.trim_end());
        let told = self.told_before(event.at);
        let envelope = event.facts.time;
        let own = observation.as_ref().and_then(|observation| observation.time);
        let stamp = own.or(envelope);
        let moment = self.moment(own, envelope, told);
        let time = moment.map(|(time, blur, _)| (time, blur));
        if let Some((time, blur)) = time {
            self.tell(time, blur, event.at);
        }
        // A line without a stamp has the milliseconds of its clock, else the time of the line before it.
        let clock = observation.as_ref().map_or(0, |observation| observation.clock);
        let by_clock = (clock > 0).then(|| (i64::try_from((clock >> 16) * 1_000_000).unwrap_or(Mark::NO_TIME), 1_000_000));
        let found = time.or(by_clock).or(told);
        // Which of two neighbours came first matters to a stamp that leaves something out.
        let needs_past = told.is_none() && (found.is_none() || moment.is_some_and(|(_, _, asks)| asks));
        if !event.own {
            return false;
        }
        self.part.count(format, event.lines);
        let input = &mut self.part.input;
        input.problems.invalid_utf8 += u64::from(matches!(text, Cow::Owned(_)));
        input.problems.long_lines += u64::from(kept.len() < event.text.len());
        input.problems.guessed_times += u64::from(stamp.is_some_and(|stamp| !stamp.is_complete()));
        let speaker = event.facts.speaker.key();
        let (time_ns, blur) = found.unwrap_or((Mark::NO_TIME, 0));
        let place = Place { source: self.source, offset: event.at, speaker };
        if speaker != 0 {
            self.part.notes.name(place.voice(), &event.facts.speaker);
        }
        let mark = Mark { clock, time: time_ns, place, blur };
        if self.keeps_ledger {
            self.part.ledger.note(format.is_structured(), event.lines, observation.as_ref(), mark);
        }
        let Some(mut observation) = observation else {
            // What no format takes may still be the one line that tells why: a build tool's, a shell's.
            let words = Observation { message: text, ..Observation::default() };
            if let Some(clue) = sign::of("", &words, &event.facts.speaker.process) {
                self.part.notes.sign(clue, mark, &words.message);
            }
            return needs_past;
        };
        input.records += 1;
        input.problems.duplicate_keys += u64::from(observation.problems.duplicate_keys);
        input.problems.bad_values += u64::from(observation.problems.bad_values);
        input.problems.lost_records += observation.lost;
        if let Some((time, _)) = time {
            self.part.note_time(time);
        }
        for flow in &mut observation.flows {
            flow.belongs_to(self.source);
        }
        self.part.notes.insert(&observation, mark);
        if let Some(clue) = sign::of(format.name(), &observation, &event.facts.speaker.process) {
            self.part.notes.sign(clue, mark, &observation.words());
        }
        needs_past
    }

    /// Takes an event that is an ordinary record; whether it did.
    fn glance(&mut self, event: &Event<'_>) -> bool {
        if self.keeps_ledger || event.lines > 1 {
            return false;
        }
        let Some((format, glance, fields)) = format::glance(event.text.trim_ascii_end()) else { return false };
        let speaker = event.facts.speaker.key();
        let place = Place { source: self.source, offset: event.at, speaker };
        if !event.own {
            self.tell(glance.time.0, 1, event.at);
            return true;
        }
        if !self.part.notes.pass(&glance, fields, place) {
            return false;
        }
        if speaker != 0 {
            self.part.notes.name(place.voice(), &event.facts.speaker);
        }
        self.note_record(format, glance.time.0, event.at);
        true
    }

    fn note_record(&mut self, format: Format, time: i64, at: u64) {
        self.part.count(format, 1);
        self.part.input.records += 1;
        self.part.note_time(time);
        self.tell(time, 1, at);
    }
}
