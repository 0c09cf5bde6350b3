//! Follows growing sources: reads them as they grow, and reports failures at once.
//!
//! An event is complete when enough bytes follow it that no line can continue it, or when its
//! source is quiescent. Up to that point, chunks are read once, like those of any source. The rest
//! is read for alerts only, and read again when more has arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::schedule::Task;
use super::{Alert, ChunkOutput, IngestOptions, IngestState, Ingested};
use crate::lines::MAX_EVENT_BYTES;
use crate::source::{Follower, Growth, Sources};

/// Observer of a running ingestion, which receives alerts and progress and can end it.
pub trait FollowObserver {
    /// Returns whether to continue; called before each poll of the sources. After `false`, only
    /// what has already arrived is read.
    fn should_continue(&self) -> bool;

    /// Called once for each failure that a line reports. `source` is the name of its source.
    fn alert(&mut self, alert: &Alert, source: &str);

    /// Called after each step with the current progress.
    fn on_progress(&mut self, status: FollowStatus);
}

/// Progress of a followed ingestion.
#[derive(Debug, Clone, Copy, Default)]
pub struct FollowStatus {
    /// Bytes received.
    pub bytes: u64,
    /// Lines read, without those that were only scanned for alerts.
    pub lines: u64,
    /// Flows retained: those still in progress, and those that may have failed.
    pub flows: u64,
    /// Spans that reported a failure.
    pub failures: u64,
}

/// Time without new bytes after which a source is quiescent; longer than a producer pauses within
/// an event.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// Maximum time that bytes of a source wait for a quiet period. After it, a source that never
/// pauses is treated as quiescent, because lines of other sources wait for it.
const MAX_QUIET_WAIT: Duration = Duration::from_secs(5);

/// Interval between alert scans of incomplete events.
const ALERT_SCAN_INTERVAL: Duration = Duration::from_millis(150);

/// Maximum bytes of a source per alert scan. If more are pending, they are read as chunks soon.
const MAX_SCAN_BYTES: u64 = 4 << 20;

/// Bytes after an event in which another of its lines may begin, including that line.
const LOOKBACK_BYTES: u64 = 2 * MAX_EVENT_BYTES as u64;

/// Minimum bytes of a chunk while more are arriving.
const MIN_CHUNK_BYTES: u64 = 64 * 1024;

/// State of the bytes of a source that were not read as chunks yet.
struct TailState {
    /// Source size at the last alert scan, and at the one before. The next scan starts at the
    /// latter, because an event may have been cut off at the former.
    scanned: u64,
    scanned_before: u64,
    /// Offsets of the alerts that were reported.
    reported: BTreeSet<u64>,
    /// Time at which the source was last read completely, or treated as quiescent.
    last_quiescence: Instant,
    finished: bool,
}

/// Reads growing sources until they end or `observer` ends the ingestion.
pub fn ingest_growing(
    sources: &mut Sources,
    follower: &mut Follower,
    plan: &IngestOptions,
    observer: &mut dyn FollowObserver,
) -> Ingested {
    let mut reader = FollowReader {
        state: IngestState::new(plan),
        plan,
        tails: BTreeMap::new(),
        failures: 0,
        scanned: Instant::now(),
    };
    loop {
        let ends = !observer.should_continue();
        if ends {
            follower.end(sources);
        } else {
            follower.poll(sources);
        }
        reader.schedule_complete(sources, follower);
        let is_busy = reader.step(sources, observer);
        reader.scan_for_alerts(sources, follower, observer);
        observer.on_progress(reader.status(sources));
        if is_busy {
            continue;
        }
        if follower.finished() {
            return reader.state.finish(sources);
        }
        follower.wait();
    }
}

struct FollowReader<'p> {
    state: IngestState<'p>,
    plan: &'p IngestOptions,
    tails: BTreeMap<usize, TailState>,
    failures: u64,
    scanned: Instant,
}

impl FollowReader<'_> {
    /// Schedules the bytes that are complete by now.
    fn schedule_complete(&mut self, sources: &Sources, follower: &Follower) {
        let growths: BTreeMap<usize, Growth> =
            follower.growths().map(|growth| (growth.source, growth)).collect();
        self.state.update(sources, &|index| growths.contains_key(&index), &|_| {});
        for growth in growths.into_values() {
            let now = Instant::now();
            let fresh = || TailState {
                scanned: 0,
                scanned_before: 0,
                reported: BTreeSet::new(),
                last_quiescence: now,
                finished: false,
            };
            let tail = self.tails.entry(growth.source).or_insert_with(fresh);
            if tail.finished {
                continue;
            }
            let schedule = &mut self.state.schedule;
            let position = schedule.position(growth.source).unwrap_or(0);
            schedule.received(growth.source, growth.size);
            tail.reported = tail.reported.split_off(&position.saturating_sub(LOOKBACK_BYTES));
            if growth.finished {
                schedule.grow(growth.source, growth.size, false);
                schedule.end(growth.source);
                tail.finished = true;
            } else if growth.size <= position {
                tail.last_quiescence = now;
            } else if self.plan.follow
                && (growth.last_growth.elapsed() >= QUIET_PERIOD
                    || tail.last_quiescence.elapsed() >= MAX_QUIET_WAIT)
            {
                schedule.grow(growth.source, growth.size, true);
                tail.last_quiescence = now;
            } else {
                let whole = growth.size.saturating_sub(LOOKBACK_BYTES);
                if whole >= position + MIN_CHUNK_BYTES {
                    schedule.grow(growth.source, whole, false);
                }
            }
        }
    }

    /// Reads some of the complete bytes. Returns `false` if there were none.
    fn step(&mut self, sources: &Sources, observer: &mut dyn FollowObserver) -> bool {
        let mut alerts = Vec::new();
        let failures = &mut self.failures;
        let reported_up_to = self.state.step(sources, &mut |step: ChunkOutput| {
            *failures += step.progress.failures;
            alerts.extend(step.alerts);
        });
        self.record(sources, alerts, observer);
        reported_up_to
    }

    /// Scans incomplete bytes for alerts.
    fn scan_for_alerts(
        &mut self,
        sources: &Sources,
        follower: &Follower,
        observer: &mut dyn FollowObserver,
    ) {
        if !self.plan.follow || self.scanned.elapsed() < ALERT_SCAN_INTERVAL {
            return;
        }
        self.scanned = Instant::now();
        let mut tasks = Vec::new();
        for growth in follower.growths() {
            let Some(tail) = self
                .tails
                .get_mut(&growth.source)
                .filter(|tail| !tail.finished && growth.size > tail.scanned)
            else {
                continue;
            };
            let Some(position) = self.state.schedule.position(growth.source) else { continue };
            let from =
                position.max(tail.scanned_before).max(growth.size.saturating_sub(MAX_SCAN_BYTES));
            if from < growth.size {
                tasks.push(Task {
                    source: growth.source,
                    range: from..growth.size,
                    quiescent_at: None,
                    next_quiescence: u64::MAX,
                });
            }
            (tail.scanned_before, tail.scanned) = (tail.scanned, growth.size);
        }
        let mut alerts = Vec::new();
        let mut delta = Vec::new();
        for mut part in self.state.read_all(sources, &tasks).into_iter().flatten() {
            alerts.append(&mut part.alerts);
            delta.push(part.delta);
        }
        self.state.pool.give_back(delta);
        self.record(sources, alerts, observer);
    }

    /// Reports each alert once.
    fn record(
        &mut self,
        sources: &Sources,
        mut alerts: Vec<Alert>,
        observer: &mut dyn FollowObserver,
    ) {
        alerts.sort_by_key(|alert| (alert.time, alert.line));
        for alert in alerts {
            let index = alert.line.source as usize;
            let is_new = self
                .tails
                .get_mut(&index)
                .is_none_or(|tail| tail.reported.insert(alert.line.offset));
            if is_new {
                observer.alert(&alert, sources.read.get(index).map_or("", |source| &source.name));
            }
        }
    }

    fn status(&self, sources: &Sources) -> FollowStatus {
        let input = &self.state.accumulator.input;
        let bytes = sources.read.iter().map(|source| source.size).sum();
        FollowStatus {
            bytes,
            lines: input.lines,
            flows: self.state.accumulator.table.retained() as u64,
            failures: self.failures,
        }
    }
}
