//! Which chunk of which source is read next: all sources advance together in time, so that a flow's lines come together
//! and what is kept of flows that go on is little.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::Plan;

/// A chunk to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Index of the source.
    pub(super) source: usize,
    /// Where in it the chunk's lines begin.
    pub(super) range: Range<u64>,
}

/// How far each source was read.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Those that are not read to their end, the one that lags behind in time first.
    waiting: BinaryHeap<Reverse<Cursor>>,
    /// Those of which chunks are being read.
    busy: Vec<Cursor>,
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
}

impl Cursor {
    /// The time that it will have reached when what was given out of it is read, if it goes on as before.
    fn expected(&self, chunk: u64) -> i64 {
        let (Some(first), before) = (self.first, self.at.saturating_sub(u64::from(self.tasks) * chunk)) else {
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
    /// Nothing read yet of these parts, one of each source; and a moment before which no line of each lies, where it is known.
    pub(super) fn of(spans: &[Range<u64>], begins: &[Option<i64>]) -> Self {
        let cursor = |(source, span): (usize, &Range<u64>)| {
            let reached = begins.get(source).copied().flatten().unwrap_or(i64::MIN);
            Reverse(Cursor { reached, source, at: span.start, size: span.end, first: None, tasks: 0 })
        };
        Self { waiting: spans.iter().enumerate().filter(|(_, span)| !span.is_empty()).map(cursor).collect(), busy: Vec::new() }
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
            let Some(cursor) = unread.min_by_key(|cursor| (cursor.expected(chunk), cursor.tasks, cursor.source)) else { break };
            tasks.push(Task { source: cursor.source, range: cursor.at..cursor.at.saturating_add(chunk) });
            cursor.at = cursor.at.saturating_add(chunk);
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

    /// Ends a step: the time that every source has reached, where each that goes on tells one.
    pub(super) fn end_step(&mut self) -> Option<i64> {
        for mut cursor in self.busy.drain(..).filter(|cursor| cursor.at < cursor.size) {
            cursor.tasks = 0;
            self.waiting.push(Reverse(cursor));
        }
        self.waiting.peek().map(|Reverse(cursor)| cursor.reached).filter(|reached| *reached > i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads sources of so many bytes, of which the second passes through time ten times as fast; what each step gave out.
    fn steps(sizes: &[u64], begins: &[Option<i64>], plan: &Plan, tells: impl Fn(usize, u64) -> Option<i64>) -> Vec<Vec<(usize, u64)>> {
        let mut schedule = Schedule::of(&sizes.iter().map(|size| 0..*size).collect::<Vec<_>>(), begins);
        let mut steps = Vec::new();
        loop {
            let tasks = schedule.next(plan);
            if tasks.is_empty() {
                return steps;
            }
            steps.push(tasks.iter().map(|task| (task.source, task.range.start)).collect());
            for task in &tasks {
                schedule.was_read(task, tells(task.source, task.range.start), tells(task.source, task.range.end));
            }
            schedule.end_step();
        }
    }

    #[test]
    fn sources_advance_together_in_time() {
        let plan = Plan { chunk: 10, batch: 4, ..Plan::default() };
        let tells = |source: usize, at: u64| i64::try_from(at).ok().map(|at| if source == 1 { at * 10 } else { at });
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
        let steps = steps(&[200, 300, 300], &begins, &plan, |source, at| Some(begins[source]? + i64::try_from(at).ok()? * UNKNOWN_PACE));
        let read: Vec<usize> = steps.concat().iter().map(|(source, _)| *source).collect();
        assert_eq!(read, [0, 0, 2, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn a_source_without_times_is_read_first_and_in_parallel() {
        let plan = Plan { chunk: 10, batch: 4, ..Plan::default() };
        let steps = steps(&[200, 100], &[], &plan, |source, at| i64::try_from(at).ok().filter(|_| source == 1));
        assert_eq!(steps[1], [(0, 20), (0, 30), (0, 40), (0, 50)]);
        assert_eq!(steps.len(), 8);
    }
}
