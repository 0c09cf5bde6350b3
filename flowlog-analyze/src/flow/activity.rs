//! Times at which a process logged, to the second.

/// Set of times, joined into intervals if the next is at most [`Activity::GAP_NS`] away.
///
/// The intervals are the connected components of the times, so they do not depend on insertion
/// order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    intervals: Vec<(i64, i64)>,
}

impl Activity {
    /// Longest pause within an interval, in nanoseconds: pauses up to this length are not recorded.
    pub const GAP_NS: i64 = 1_000_000_000;

    /// No times.
    pub const EMPTY: Self = Self { intervals: Vec::new() };

    /// Adds a time.
    pub fn insert(&mut self, time: i64) {
        // Most times arrive in order.
        if let Some((start, end)) = self.intervals.last_mut()
            && time >= *start
        {
            if time <= end.saturating_add(Self::GAP_NS) {
                *end = time.max(*end);
            } else {
                self.intervals.push((time, time));
            }
            return;
        }
        let at = self.intervals.partition_point(|(_, end)| end.saturating_add(Self::GAP_NS) < time);
        match self.intervals.get_mut(at) {
            Some((start, end)) if *start <= time.saturating_add(Self::GAP_NS) => {
                *start = time.min(*start);
                *end = time.max(*end);
                let end = *end;
                // The extended interval may now touch the next one.
                if let Some((_, next)) = self
                    .intervals
                    .get(at + 1)
                    .copied()
                    .filter(|(start, _)| *start <= end.saturating_add(Self::GAP_NS))
                {
                    self.intervals.remove(at + 1);
                    if let Some(joined) = self.intervals.get_mut(at) {
                        joined.1 = next.max(end);
                    }
                }
            }
            _ => self.intervals.insert(at, (time, time)),
        }
    }

    /// Adds all times of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.intervals.is_empty() {
            return;
        }
        self.intervals.extend_from_slice(&other.intervals);
        self.join();
    }

    fn join(&mut self) {
        self.intervals.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(self.intervals.len());
        for (start, end) in self.intervals.drain(..) {
            match joined.last_mut() {
                Some((_, last)) if start <= last.saturating_add(Self::GAP_NS) => {
                    *last = end.max(*last);
                }
                _ => joined.push((start, end)),
            }
        }
        self.intervals = joined;
    }

    /// Returns whether there are no times.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Returns the first time.
    pub fn first(&self) -> Option<i64> {
        self.intervals.first().map(|(start, _)| *start)
    }

    /// Returns the last time.
    pub fn last(&self) -> Option<i64> {
        self.intervals.last().map(|(_, end)| *end)
    }

    /// Returns the last time at or before `time`, to the resolution of an interval.
    pub fn last_before(&self, time: i64) -> Option<i64> {
        let after = self.intervals.partition_point(|(start, _)| *start <= time);
        self.intervals.get(after.checked_sub(1)?).map(|(_, end)| (*end).min(time))
    }

    /// Returns the first time after `time`, to the resolution of an interval.
    pub fn first_after(&self, time: i64) -> Option<i64> {
        let at = self.intervals.partition_point(|(_, end)| *end <= time);
        self.intervals.get(at).map(|(start, _)| (*start).max(time.saturating_add(1)))
    }

    /// Iterates over the intervals without a pause, each from its first time to its last.
    pub fn intervals(&self) -> impl DoubleEndedIterator<Item = (i64, i64)> + '_ {
        self.intervals.iter().copied()
    }

    /// Returns whether there is a time within `from..until`.
    pub fn is_within(&self, from: i64, until: i64) -> bool {
        self.first_after(from.saturating_sub(1)).is_some_and(|time| time < until)
    }

    /// Returns the longest pause between two times, in nanoseconds; at least [`Activity::GAP_NS`].
    pub fn longest_gap(&self) -> i64 {
        let gaps = self.intervals.windows(2).map(|pair| pair[1].0 - pair[0].1);
        gaps.max().unwrap_or(0).max(Self::GAP_NS)
    }
}

impl FromIterator<i64> for Activity {
    fn from_iter<Times: IntoIterator<Item = i64>>(times: Times) -> Self {
        let mut activity = Self::EMPTY;
        times.into_iter().for_each(|time| activity.insert(time));
        activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = Activity::GAP_NS;

    #[test]
    fn insertion_order_does_not_matter() {
        let times = [0, S / 2, 3 * S, 3 * S + 1, 9 * S, 2 * S, 4 * S];
        let mut forward = Activity::default();
        times.iter().for_each(|m| forward.insert(*m));
        let mut backward = Activity::default();
        times.iter().rev().for_each(|m| backward.insert(*m));
        let (mut left, mut right) = (Activity::default(), Activity::default());
        times.iter().take(3).for_each(|m| left.insert(*m));
        times.iter().skip(3).for_each(|m| right.insert(*m));
        left.merge(&right);
        assert_eq!(forward, backward);
        assert_eq!(forward, left);
        assert_eq!(forward.intervals, vec![(0, S / 2), (2 * S, 4 * S), (9 * S, 9 * S)]);
    }

    #[test]
    fn unsorted_times_give_the_same_intervals_as_sorted_ones() {
        let mut random = 7u64;
        for _ in 0..200 {
            let times: Vec<i64> = (0..40)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    i64::try_from(random >> 33).unwrap() % (30 * S)
                })
                .collect();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let (mut any, mut ordered) = (Activity::default(), Activity::default());
            times.iter().for_each(|moment| any.insert(*moment));
            sorted.iter().for_each(|moment| ordered.insert(*moment));
            assert_eq!(any, ordered, "{times:?}");
        }
    }

    #[test]
    fn first_last_and_gap_queries() {
        let mut activity = Activity::default();
        assert_eq!(
            (activity.first(), activity.last(), activity.last_before(5)),
            (None, None, None)
        );
        for moment in [0, 5 * S, 6 * S] {
            activity.insert(moment);
        }
        assert_eq!((activity.first(), activity.last()), (Some(0), Some(6 * S)));
        assert_eq!((activity.last_before(S), activity.last_before(-1)), (Some(0), None));
        assert_eq!((activity.first_after(0), activity.first_after(6 * S)), (Some(5 * S), None));
        assert_eq!(activity.longest_gap(), 5 * S);
    }
}
