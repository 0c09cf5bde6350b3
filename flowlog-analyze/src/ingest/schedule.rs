//! Which chunk of which source is read next: all sources advance together in time, so that a flow's lines come together
//! and what is kept of flows that go on is little.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;

use super::Plan;

/// A chunk to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Index of the source.
    pub(super) source: usize,
    /// Where in it the chunk's lines begin.
    pub(super) range: Range<u64>,
    /// Where the source came to rest last, at or before the chunk.
    pub(super) rested: Option<u64>,
    /// Where it comes to rest next: no event of the chunk reaches beyond.
    pub(super) rests: u64,
}

/// How far each source was read.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Those that are not read to their end, the one that lags behind in time first.
    waiting: BinaryHeap<Reverse<Cursor>>,
    /// Those of which chunks are being read.
    busy: Vec<Cursor>,
    /// Those that grow and are read as far as they came, by source.
    idle: BTreeMap<usize, Cursor>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    /// Its last time so far.
    reached: i64,
    source: usize,
    /// Where the next chunk begins, and where the source ends.
    at: u64,
    size: u64,
    /// Its first time.
    first: Option<i64>,
    /// Chunks of this step.
    tasks: u32,
    /// It may grow.
    grows: bool,
    /// Bytes of it that came, though they may not be read yet.
    came: u64,
    /// Where it came to rest last.
    rested: Option<u64>,
    /// Where it came to rest after that.
    rests: VecDeque<u64>,
}

impl Cursor {
    /// The time that it will have reached when what was given out of it is read, if it goes on as before.
    fn expected(&self, chunk: u64) -> i64 {
        let (Some(first), before) =
            (self.first, self.at.saturating_sub(u64::from(self.tasks) * chunk))
        else {
            return self.reached.saturating_add(i64::from(self.tasks) * UNKNOWN_PACE);
        };
        let took = i128::from(self.reached.saturating_sub(first));
        let ahead = took * i128::from(u64::from(self.tasks) * chunk) / i128::from(before.max(1));
        self.reached.saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX))
    }
}

/// How long a chunk is thought to take of a source of which none was read, in nanoseconds of the logs' time: logs that begin
/// within as much are read in turn.
const UNKNOWN_PACE: i64 = 60_000_000_000;

impl Schedule {
    /// Adds a source of which that part is to be read; and a moment before which no line of it lies, where it is known.
    pub(super) fn add(
        &mut self,
        source: usize,
        part: &Range<u64>,
        begin: Option<i64>,
        grows: bool,
    ) {
        let reached = begin.unwrap_or(i64::MIN);
        let (at, size, rests) = (part.start, part.end, VecDeque::new());
        self.put(Cursor {
            reached,
            source,
            at,
            size,
            first: None,
            tasks: 0,
            grows,
            came: 0,
            rested: None,
            rests,
        });
    }

    /// Lets a source that grows be read up to there, where it came to rest or did not.
    pub(super) fn grow(&mut self, source: usize, size: u64, rests: bool) {
        if let Some(mut cursor) = self.take(source) {
            cursor.size = size.max(cursor.size);
            let last = cursor.rests.back().copied().or(cursor.rested).unwrap_or(0);
            if rests && size > last {
                cursor.rests.push_back(size);
            }
            self.put(cursor);
        }
    }

    /// Says how much of a source that grows has come, though it may not be read yet.
    pub(super) fn came(&mut self, source: usize, came: u64) {
        if let Some(cursor) = self.idle.get_mut(&source) {
            cursor.came = came;
        }
    }

    /// Says that a source grows no more.
    pub(super) fn end(&mut self, source: usize) {
        if let Some(mut cursor) = self.take(source) {
            cursor.grows = false;
            self.put(cursor);
        }
    }

    /// How far a source was read that grows.
    pub(super) fn read_to(&self, source: usize) -> Option<u64> {
        let cursors = self.waiting.iter().map(|Reverse(cursor)| cursor).chain(self.idle.values());
        cursors.filter(|cursor| cursor.source == source).map(|cursor| cursor.at).next()
    }

    /// Takes out a source that grows.
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

    /// Gives out the chunks of the next step; none where all is read.
    pub(super) fn next(&mut self, plan: &Plan) -> Vec<Task> {
        let (batch, chunk) = (plan.batch.max(1), plan.chunk.max(1));
        while self.busy.len() < batch
            && let Some(Reverse(cursor)) = self.waiting.pop()
        {
            self.busy.push(cursor);
        }
        let mut tasks = Vec::with_capacity(batch);
        while tasks.len() < batch {
            let unread = self.busy.iter_mut().filter(|cursor| cursor.at < cursor.size);
            let Some(cursor) =
                unread.min_by_key(|cursor| (cursor.expected(chunk), cursor.tasks, cursor.source))
            else {
                break;
            };
            while let Some(rest) = cursor.rests.pop_front_if(|rest| *rest <= cursor.at) {
                cursor.rested = Some(rest);
            }
            let rests = cursor.rests.front().copied().unwrap_or(u64::MAX);
            let range = cursor.at..cursor.at.saturating_add(chunk).min(cursor.size).min(rests);
            cursor.at = range.end;
            tasks.push(Task { source: cursor.source, range, rested: cursor.rested, rests });
            cursor.tasks += 1;
        }
        tasks
    }

    /// Notes the times of a chunk that was read.
    pub(super) fn was_read(&mut self, task: &Task, first: Option<i64>, last: Option<i64>) {
        if let Some(cursor) = self.cursor(task) {
            cursor.reached = cursor.reached.max(last.unwrap_or(i64::MIN));
            cursor.first = cursor.first.or(first);
        }
    }

    /// Gives a source up.
    pub(super) fn is_lost(&mut self, task: &Task) {
        if let Some(cursor) = self.cursor(task) {
            cursor.at = cursor.size;
        }
    }

    fn cursor(&mut self, task: &Task) -> Option<&mut Cursor> {
        self.busy.iter_mut().find(|cursor| cursor.source == task.source)
    }

    /// Ends a step: the time that every source has reached, where each that goes on tells one. One of which all that came is read
    /// has reached whatever the others have.
    pub(super) fn end_step(&mut self) -> Option<i64> {
        for mut cursor in std::mem::take(&mut self.busy) {
            cursor.tasks = 0;
            self.put(cursor);
        }
        let waiting = self.waiting.peek().map(|Reverse(cursor)| cursor.reached);
        let behind = self
            .idle
            .values()
            .filter(|cursor| cursor.came > cursor.at)
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

    /// Reads sources of so many bytes, of which the second passes through time ten times as fast; what each step gave out.
    fn steps(
        sizes: &[u64],
        begins: &[Option<i64>],
        plan: &Plan,
        tells: impl Fn(usize, u64) -> Option<i64>,
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
                schedule.was_read(
                    task,
                    tells(task.source, task.range.start),
                    tells(task.source, task.range.end),
                );
            }
            schedule.end_step();
        }
    }

    #[test]
    fn sources_advance_together_in_time() {
        let plan = Plan { chunk: 10, batch: 4, ..Plan::default() };
        let tells = |source: usize, at: u64| {
            i64::try_from(at).ok().map(|at| if source == 1 { at * 10 } else { at })
        };
        let steps = steps(&[200, 100, 0], &[], &plan, tells);
        assert_eq!(steps[0], [(0, 0), (1, 0), (0, 10), (1, 10)]);
        // The second is far ahead: it waits until the first has caught up.
        assert_eq!(steps[1], [(0, 20), (0, 30), (0, 40), (0, 50)]);
        let read: Vec<(usize, u64)> = steps.concat();
        let mut sorted = read.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((read.len(), sorted.len()), (30, 30), "every chunk once");
    }

    #[test]
    fn a_log_that_goes_on_in_another_file_is_read_in_that_order() {
        let plan = Plan { chunk: 100, batch: 2, ..Plan::default() };
        // Of three files the last goes on where the first ends, and the second where the last does.
        let begins = [0, 500, 200].map(|minutes| Some(minutes * UNKNOWN_PACE));
        let steps = steps(&[200, 300, 300], &begins, &plan, |source, at| {
            Some(begins[source]? + i64::try_from(at).ok()? * UNKNOWN_PACE)
        });
        let read: Vec<usize> = steps.concat().iter().map(|(source, _)| *source).collect();
        assert_eq!(read, [0, 0, 2, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn a_source_that_grows_is_read_as_far_as_it_may_be() {
        let plan = Plan { chunk: 100, batch: 8, ..Plan::default() };
        let mut schedule = Schedule::default();
        schedule.add(0, &(0..0), None, true);
        let read = |schedule: &mut Schedule| {
            let tasks = schedule.next(&plan);
            tasks
                .iter()
                .for_each(|task| schedule.was_read(task, None, i64::try_from(task.range.end).ok()));
            let reached = schedule.end_step();
            (
                tasks
                    .iter()
                    .map(|task| (task.range.clone(), task.rested, task.rests))
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
        let rested = vec![
            (150..180, None, 180),
            (180..190, Some(180), 190),
            (190..200, Some(190), u64::MAX),
        ];
        assert_eq!(read(&mut schedule), (rested, Some(200)));
        assert_eq!((schedule.read_to(0), schedule.read_to(1)), (Some(200), None));
        // Another that is ahead waits for what came of it, and not for what did not come.
        schedule.add(1, &(0..0), None, true);
        schedule.came(0, 210);
        schedule.grow(1, 500, false);
        assert_eq!(read(&mut schedule).1, Some(200));
        schedule.came(0, 200);
        schedule.grow(1, 600, false);
        assert_eq!(read(&mut schedule).1, Some(600));
        schedule.end(0);
        assert_eq!((read(&mut schedule).0, schedule.read_to(0)), (vec![], None));
    }

    #[test]
    fn a_source_without_times_is_read_first_and_in_parallel() {
        let plan = Plan { chunk: 10, batch: 4, ..Plan::default() };
        let steps = steps(&[200, 100], &[], &plan, |source, at| {
            i64::try_from(at).ok().filter(|_| source == 1)
        });
        assert_eq!(steps[1], [(0, 20), (0, 30), (0, 40), (0, 50)]);
        assert_eq!(steps.len(), 8);
    }
}
