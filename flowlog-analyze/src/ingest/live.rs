//! Sources that grow: read as they come, with what goes wrong told at once.
//!
//! An event is whole when so much lies behind it that nothing can go on with it, or when its source has come to rest. Up to
//! there chunks are read as they are of any source, once and for good. What lies behind is read for its alerts alone, and again
//! when more has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::schedule::Task;
use super::{Alert, Ingested, Plan, Reading, Step};
use crate::lines::MAX_EVENT;
use crate::source::{Growing, Growth, Sources};

/// Who is told while reading goes on.
pub trait Watcher {
    /// Whether to go on; if not, what has come is read and nothing else.
    fn goes_on(&self) -> bool;

    /// Takes something that went wrong in a source of that name.
    fn alert(&mut self, alert: &Alert, source: &str);

    /// Takes how far reading has come.
    fn moved(&mut self, moment: Moment);
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    /// Bytes that came.
    pub bytes: u64,
    /// Lines that were read for good.
    pub lines: u64,
    /// Flows that are kept: those that go on, and those that are open to question.
    pub flows: u64,
    /// Spans that said that they failed.
    pub failures: u64,
}

/// A source is at rest when nothing came for so long; longer than a writer pauses inside an event.
const REST: Duration = Duration::from_secs(1);

/// A source that never rests is taken to rest when so much time has passed since: what others said meanwhile waits for it.
const UNREST: Duration = Duration::from_secs(5);

/// How often what is not whole is looked at for alerts.
const PEEK: Duration = Duration::from_millis(150);

/// Most bytes of a source that are looked at for alerts at once: where more are behind, they are read for good soon.
const MOST_PEEKED: u64 = 4 << 20;

/// Bytes behind an event in which another line of it may begin, and that line.
const REACH: u64 = 2 * MAX_EVENT as u64;

/// Fewer bytes are not worth a chunk where more come.
const WORTH: u64 = 64 * 1024;

/// What is not read for good yet of a source.
struct Tail {
    /// Its size when it was last looked at for alerts, and the time before that: an event may have been cut there.
    peeked: u64,
    peeked_before: u64,
    /// Where alerts were that were told.
    told: BTreeSet<u64>,
    /// When all of it was read for good.
    settled: Instant,
    is_over: bool,
}

/// Reads sources that grow until they end, or until the watcher wants no more.
pub fn ingest_growing(
    sources: &mut Sources,
    growing: &mut Growing,
    plan: &Plan,
    watcher: &mut dyn Watcher,
) -> Ingested {
    let mut live = Live {
        reading: Reading::new(plan),
        plan,
        tails: BTreeMap::new(),
        failures: 0,
        peeked: Instant::now(),
    };
    loop {
        let ends = !watcher.goes_on();
        if ends {
            growing.end(sources);
        } else {
            growing.poll(sources);
        }
        live.settle(sources, growing);
        let is_busy = live.step(sources, watcher);
        live.peek(sources, growing, watcher);
        watcher.moved(live.moment(sources));
        if is_busy {
            continue;
        }
        if growing.is_over() {
            return live.reading.finish(sources);
        }
        growing.wait();
    }
}

struct Live<'p> {
    reading: Reading<'p>,
    plan: &'p Plan,
    tails: BTreeMap<usize, Tail>,
    failures: u64,
    peeked: Instant,
}

impl Live<'_> {
    /// Gives out what is whole by now.
    fn settle(&mut self, sources: &Sources, growing: &Growing) {
        let growths: BTreeMap<usize, Growth> =
            growing.growths().map(|growth| (growth.source, growth)).collect();
        self.reading.update(sources, &|index| growths.contains_key(&index), &|_| {});
        for growth in growths.into_values() {
            let now = Instant::now();
            let fresh = || Tail {
                peeked: 0,
                peeked_before: 0,
                told: BTreeSet::new(),
                settled: now,
                is_over: false,
            };
            let tail = self.tails.entry(growth.source).or_insert_with(fresh);
            if tail.is_over {
                continue;
            }
            let schedule = &mut self.reading.schedule;
            let read_to = schedule.read_to(growth.source).unwrap_or(0);
            schedule.came(growth.source, growth.size);
            tail.told = tail.told.split_off(&read_to.saturating_sub(REACH));
            if growth.is_over {
                schedule.grow(growth.source, growth.size, false);
                schedule.end(growth.source);
                tail.is_over = true;
            } else if growth.size <= read_to {
                tail.settled = now;
            } else if self.plan.follows
                && (growth.grew.elapsed() >= REST || tail.settled.elapsed() >= UNREST)
            {
                schedule.grow(growth.source, growth.size, true);
                tail.settled = now;
            } else {
                let whole = growth.size.saturating_sub(REACH);
                if whole >= read_to + WORTH {
                    schedule.grow(growth.source, whole, false);
                }
            }
        }
    }

    /// Reads some of what is whole; whether there was any.
    fn step(&mut self, sources: &Sources, watcher: &mut dyn Watcher) -> bool {
        let mut alerts = Vec::new();
        let failures = &mut self.failures;
        let was_read = self.reading.step(sources, &mut |step: Step| {
            *failures += step.progress.failures;
            alerts.extend(step.alerts);
        });
        self.tell(sources, alerts, watcher);
        was_read
    }

    /// Looks at what is not whole for alerts.
    fn peek(&mut self, sources: &Sources, growing: &Growing, watcher: &mut dyn Watcher) {
        if !self.plan.follows || self.peeked.elapsed() < PEEK {
            return;
        }
        self.peeked = Instant::now();
        let mut tasks = Vec::new();
        for growth in growing.growths() {
            let Some(tail) = self
                .tails
                .get_mut(&growth.source)
                .filter(|tail| !tail.is_over && growth.size > tail.peeked)
            else {
                continue;
            };
            let Some(read_to) = self.reading.schedule.read_to(growth.source) else { continue };
            let from = read_to.max(tail.peeked_before).max(growth.size.saturating_sub(MOST_PEEKED));
            if from < growth.size {
                tasks.push(Task {
                    source: growth.source,
                    range: from..growth.size,
                    rested: None,
                    rests: u64::MAX,
                });
            }
            (tail.peeked_before, tail.peeked) = (tail.peeked, growth.size);
        }
        let mut alerts = Vec::new();
        let mut notes = Vec::new();
        for mut part in self.reading.read_all(sources, &tasks).into_iter().flatten() {
            alerts.append(&mut part.alerts);
            notes.push(part.notes);
        }
        self.reading.pool.give_back(notes);
        self.tell(sources, alerts, watcher);
    }

    /// Tells each alert once.
    fn tell(&mut self, sources: &Sources, mut alerts: Vec<Alert>, watcher: &mut dyn Watcher) {
        alerts.sort_by_key(|alert| (alert.time, alert.place));
        for alert in alerts {
            let index = alert.place.source as usize;
            let is_new =
                self.tails.get_mut(&index).is_none_or(|tail| tail.told.insert(alert.place.offset));
            if is_new {
                watcher.alert(&alert, sources.read.get(index).map_or("", |source| &source.name));
            }
        }
    }

    fn moment(&self, sources: &Sources) -> Moment {
        let input = &self.reading.total.input;
        let bytes = sources.read.iter().map(|source| source.size).sum();
        Moment {
            bytes,
            lines: input.lines,
            flows: self.reading.total.table.kept() as u64,
            failures: self.failures,
        }
    }
}
