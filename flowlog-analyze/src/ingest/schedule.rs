//! Order in which chunks are read: all sources advance together in time, so that the lines of a
//! flow arrive together and little has to be kept for flows in progress.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;

use super::IngestOptions;

/// A chunk to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Index of the source.
    pub(super) source: usize,
    /// Byte range in which the chunk's lines begin.
    pub(super) range: Range<u64>,
    /// Offset at which the source was last quiescent, at or before the chunk.
    pub(super) quiescent_at: Option<u64>,
    /// Offset at which the source is quiescent next; no event of the chunk extends beyond it.
    pub(super) next_quiescence: u64,
}

/// How far each source was read.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Sources with bytes left to read, the one furthest behind in time first.
    waiting: BinaryHeap<Reverse<Cursor>>,
    /// Sources with chunks that are being read.
    busy: Vec<Cursor>,
    /// Growing sources that are read as far as they may be, by source.
    idle: BTreeMap<usize, Cursor>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    /// Latest time read so far.
    reached: i64,
    source: usize,
    /// Offset of the next chunk, and end of the bytes that may be read.
    at: u64,
    size: u64,
    /// First time of the source.
    first: Option<i64>,
    /// Number of chunks in this step.
    tasks: u32,
    /// Whether the source may grow.
    grows: bool,
    /// Bytes received, some of which may not be ready to be read.
    received: u64,
    /// Offset at which the source was last quiescent.
    quiescent_at: Option<u64>,
    /// Offsets at which it was quiescent after that.
    next_quiescence: VecDeque<u64>,
}

impl Cursor {
    /// Returns the time that the source is expected to reach once the chunks of this step are read,
    /// if its pace stays the same.
    fn expected(&self, chunk: u64) -> i64 {
        let (Some(first), before) =
            (self.first, self.at.saturating_sub(u64::from(self.tasks) * chunk))
        else {
            return self.reached.saturating_add(i64::from(self.tasks) * UNKNOWN_PACE_NS);
        };
        let took = i128::from(self.reached.saturating_sub(first));
        let ahead = took * i128::from(u64::from(self.tasks) * chunk) / i128::from(before.max(1));
        self.reached.saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX))
    }
}

/// Assumed duration of a chunk of a source from which none was read yet, in nanoseconds of log
/// time. Logs that begin within this time of each other are read in turn.
const UNKNOWN_PACE_NS: i64 = 60_000_000_000;

impl Schedule {
    /// Adds a source of which `part` is to be read. No line of it is before `begin`, if that is
    /// known.
    pub(super) fn add(
        &mut self,
        source: usize,
        part: &Range<u64>,
        begin: Option<i64>,
        grows: bool,
    ) {
        let reached = begin.unwrap_or(i64::MIN);
        let (at, size, next_quiescence) = (part.start, part.end, VecDeque::new());
        self.put(Cursor {
            reached,
            source,
            at,
            size,
            first: None,
            tasks: 0,
            grows,
            received: 0,
            quiescent_at: None,
            next_quiescence,
        });
    }

    /// Allows a growing source to be read up to `size`. `is_quiescent` tells whether it is
    /// quiescent there.
    pub(super) fn grow(&mut self, source: usize, size: u64, is_quiescent: bool) {
        if let Some(mut cursor) = self.take(source) {
            cursor.size = size.max(cursor.size);
            let last = cursor.next_quiescence.back().copied().or(cursor.quiescent_at).unwrap_or(0);
            if is_quiescent && size > last {
                cursor.next_quiescence.push_back(size);
            }
            self.put(cursor);
        }
    }

    /// Records how many bytes of a growing source were received, though they may not be ready to be
    /// read.
    pub(super) fn received(&mut self, source: usize, received: u64) {
        if let Some(cursor) = self.idle.get_mut(&source) {
            cursor.received = received;
        }
    }

    /// Marks a source as no longer growing.
    pub(super) fn end(&mut self, source: usize) {
        if let Some(mut cursor) = self.take(source) {
            cursor.grows = false;
            self.put(cursor);
        }
    }

    /// Returns the offset up to which a growing source was read.
    pub(super) fn position(&self, source: usize) -> Option<u64> {
        let cursors = self.waiting.iter().map(|Reverse(cursor)| cursor).chain(self.idle.values());
        cursors.filter(|cursor| cursor.source == source).map(|cursor| cursor.at).next()
    }

    /// Removes and returns a growing source.
    fn take(&mut self, source: usize) -> Option<Cursor> {
        if let Some(cursor) = self.idle.remove(&source) {
            return Some(cursor);
        }
        let mut found = None;
        self.waiting.retain(|Reverse(cursor)| {
            let is = cursor.source == source && cursor.grows;
            if is {
                found = Some(cursor.clone());
            }
            !is
        });
        found
    }

    fn put(&mut self, cursor: Cursor) {
        if cursor.at < cursor.size {
            self.waiting.push(Reverse(cursor));
        } else if cursor.grows {
            self.idle.insert(cursor.source, cursor);
        }
    }

    /// Returns the chunks of the next step; none if everything is read.
    pub(super) fn next(&mut self, plan: &IngestOptions) -> Vec<Task> {
        let (batch, chunk) = (plan.batch.max(1), plan.chunk.max(1));
        while self.busy.len() < batch
            && let Some(Reverse(cursor)) = self.waiting.pop()
        {
            self.busy.push(cursor);
        }
        let mut tasks = Vec::with_capacity(batch);
        while tasks.len() < batch {
            let read_errors = self.busy.iter_mut().filter(|cursor| cursor.at < cursor.size);
            let Some(cursor) = read_errors
                .min_by_key(|cursor| (cursor.expected(chunk), cursor.tasks, cursor.source))
            else {
                break;
            };
            while let Some(rest) = cursor.next_quiescence.pop_front_if(|rest| *rest <= cursor.at) {
                cursor.quiescent_at = Some(rest);
            }
            let next_quiescence = cursor.next_quiescence.front().copied().unwrap_or(u64::MAX);
            let range =
                cursor.at..cursor.at.saturating_add(chunk).min(cursor.size).min(next_quiescence);
            cursor.at = range.end;
            tasks.push(Task {
                source: cursor.source,
                range,
                quiescent_at: cursor.quiescent_at,
                next_quiescence,
            });
            cursor.tasks += 1;
        }
        tasks
    }

    /// Records the times of a chunk that was read.
    pub(super) fn record_read(&mut self, task: &Task, first: Option<i64>, last: Option<i64>) {
        if let Some(cursor) = self.cursor(task) {
            cursor.reached = cursor.reached.max(last.unwrap_or(i64::MIN));
            cursor.first = cursor.first.or(first);
        }
    }

    /// Skips the rest of a source that could not be read.
    pub(super) fn record_failure(&mut self, task: &Task) {
        if let Some(cursor) = self.cursor(task) {
            cursor.at = cursor.size;
        }
    }

    fn cursor(&mut self, task: &Task) -> Option<&mut Cursor> {
        self.busy.iter_mut().find(|cursor| cursor.source == task.source)
    }

    /// Ends a step. Returns the time that every source has reached, or `None` if an unfinished
    /// source has no known time. A source with all received bytes read does not hold back the
    /// others.
    pub(super) fn end_step(&mut self) -> Option<i64> {
        for mut cursor in std::mem::take(&mut self.busy) {
            cursor.tasks = 0;
            self.put(cursor);
        }
        let waiting = self.waiting.peek().map(|Reverse(cursor)| cursor.reached);
        let behind = self
            .idle
            .values()
            .filter(|cursor| cursor.received > cursor.at)
            .map(|cursor| cursor.reached);
        let reached = waiting
            .into_iter()
            .chain(behind)
            .min()
            .or_else(|| self.idle.values().map(|cursor| cursor.reached).max());
        reached.filter(|reached| *reached > i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schedules sources of the given sizes and returns the chunks of each step. The closure yields
    /// the time at an offset of a source.
    fn steps(
        sizes: &[u64],
        begins: &[Option<i64>],
        plan: &IngestOptions,
        expected: impl Fn(usize, u64) -> Option<i64>,
    ) -> Vec<Vec<(usize, u64)>> {
        let mut schedule = Schedule::default();
        for (source, size) in sizes.iter().enumerate() {
            schedule.add(source, &(0..*size), begins.get(source).copied().flatten(), false);
        }
        let mut steps = Vec::new();
        loop {
            let tasks = schedule.next(plan);
            if tasks.is_empty() {
                return steps;
            }
            steps.push(tasks.iter().map(|task| (task.source, task.range.start)).collect());
            for task in &tasks {
                schedule.record_read(
                    task,
                    expected(task.source, task.range.start),
                    expected(task.source, task.range.end),
                );
            }
            schedule.end_step();
        }
    }

    #[test]
    fn sources_advance_together_in_time() {
        let plan = IngestOptions { chunk: 10, batch: 4, ..IngestOptions::default() };
        let expected = |source: usize, at: u64| {
            i64::try_from(at).ok().map(|at| if source == 1 { at * 10 } else { at })
        };
        let steps = steps(&[200, 100, 0], &[], &plan, expected);
        assert_eq!(steps[0], [(0, 0), (1, 0), (0, 10), (1, 10)]);
        // The second source is far ahead: it waits until the first has caught up.
        assert_eq!(steps[1], [(0, 20), (0, 30), (0, 40), (0, 50)]);
        let read: Vec<(usize, u64)> = steps.concat();
        let mut sorted = read.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((read.len(), sorted.len()), (30, 30), "every chunk is read once");
    }

    #[test]
    fn a_log_continued_in_another_file_is_read_in_order() {
        let plan = IngestOptions { chunk: 100, batch: 2, ..IngestOptions::default() };
        // Of three files, the last continues where the first ends, and the second where the last
        // ends.
        let begins = [0, 500, 200].map(|minutes| Some(minutes * UNKNOWN_PACE_NS));
        let steps = steps(&[200, 300, 300], &begins, &plan, |source, at| {
            Some(begins[source]? + i64::try_from(at).ok()? * UNKNOWN_PACE_NS)
        });
        let read: Vec<usize> = steps.concat().iter().map(|(source, _)| *source).collect();
        assert_eq!(read, [0, 0, 2, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn a_growing_source_is_read_up_to_its_limit() {
        let plan = IngestOptions { chunk: 100, batch: 8, ..IngestOptions::default() };
        let mut schedule = Schedule::default();
        schedule.add(0, &(0..0), None, true);
        let read = |schedule: &mut Schedule| {
            let tasks = schedule.next(&plan);
            tasks.iter().for_each(|task| {
                schedule.record_read(task, None, i64::try_from(task.range.end).ok());
            });
            let reached = schedule.end_step();
            (
                tasks
                    .iter()
                    .map(|task| (task.range.clone(), task.quiescent_at, task.next_quiescence))
                    .collect::<Vec<_>>(),
                reached,
            )
        };
        assert_eq!(read(&mut schedule), (vec![], None));
        schedule.grow(0, 150, false);
        assert_eq!(
            read(&mut schedule),
            (vec![(0..100, None, u64::MAX), (100..150, None, u64::MAX)], Some(150))
        );
        schedule.grow(0, 180, true);
        schedule.grow(0, 190, true);
        schedule.grow(0, 200, false);
        let quiescent_at = vec![
            (150..180, None, 180),
            (180..190, Some(180), 190),
            (190..200, Some(190), u64::MAX),
        ];
        assert_eq!(read(&mut schedule), (quiescent_at, Some(200)));
        assert_eq!((schedule.position(0), schedule.position(1)), (Some(200), None));
        // Another source that is ahead waits for received bytes, and not for bytes that were not
        // received.
        schedule.add(1, &(0..0), None, true);
        schedule.received(0, 210);
        schedule.grow(1, 500, false);
        assert_eq!(read(&mut schedule).1, Some(200));
        schedule.received(0, 200);
        schedule.grow(1, 600, false);
        assert_eq!(read(&mut schedule).1, Some(600));
        schedule.end(0);
        assert_eq!((read(&mut schedule).0, schedule.position(0)), (vec![], None));
    }

    #[test]
    fn a_source_without_times_is_read_first_and_in_parallel() {
        let plan = IngestOptions { chunk: 10, batch: 4, ..IngestOptions::default() };
        let steps = steps(&[200, 100], &[], &plan, |source, at| {
            i64::try_from(at).ok().filter(|_| source == 1)
        });
        assert_eq!(steps[1], [(0, 20), (0, 30), (0, 40), (0, 50)]);
        assert_eq!(steps.len(), 8);
    }
}
