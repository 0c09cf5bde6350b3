//! When the lines of a pattern were logged: a histogram that coarsens as it grows.

use std::collections::BTreeMap;

/// Maximum number of buckets.
const MAX_BUCKETS: usize = 48;

/// Counts in buckets of equal width, a power of two seconds, aligned to the epoch.
///
/// The width is the smallest with which all counts fit, so that the result does not depend on the
/// order in which parts are merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rate {
    /// Logarithm of the width in seconds.
    width: u32,
    buckets: BTreeMap<i64, u64>,
}

impl Rate {
    /// Adds lines at a time in nanoseconds.
    pub fn add(&mut self, time: i64, count: u64) {
        let second = time.div_euclid(1_000_000_000);
        *self.buckets.entry(second >> self.width).or_default() += count;
        self.shrink();
    }

    /// Takes back one line.
    pub fn take_back(&mut self, time: i64) {
        let bucket = time.div_euclid(1_000_000_000) >> self.width;
        if let Some(count) = self.buckets.get_mut(&bucket) {
            *count = count.saturating_sub(1);
        }
    }

    /// Merges the counts of another part.
    pub fn merge(&mut self, other: Self) {
        while self.width < other.width {
            self.coarsen();
        }
        let shift = self.width - other.width;
        for (bucket, count) in other.buckets {
            *self.buckets.entry(bucket >> shift).or_default() += count;
        }
        self.shrink();
    }

    /// Returns the number of lines with a time in `from..until`, in nanoseconds, as far as the
    /// buckets can tell: a bucket counts if it begins there.
    pub fn within(&self, from: i64, until: i64) -> u64 {
        let width_ns = 1_000_000_000_i64.saturating_mul(1 << self.width);
        self.buckets
            .iter()
            .filter(|(bucket, _)| (from..until).contains(&bucket.saturating_mul(width_ns)))
            .map(|(_, count)| count)
            .sum()
    }

    fn shrink(&mut self) {
        while self.buckets.len() > MAX_BUCKETS && self.width < 40 {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.width += 1;
        let mut coarse = BTreeMap::new();
        for (bucket, count) in std::mem::take(&mut self.buckets) {
            *coarse.entry(bucket >> 1).or_default() += count;
        }
        self.buckets = coarse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_does_not_depend_on_the_order() {
        let times: Vec<i64> = (0..500).map(|at| at * at * 7_000_000_000).collect();
        let mut whole = Rate::default();
        times.iter().for_each(|time| whole.add(*time, 1));
        let mut parts: Vec<Rate> = times
            .chunks(37)
            .map(|chunk| {
                let mut part = Rate::default();
                chunk.iter().rev().for_each(|time| part.add(*time, 1));
                part
            })
            .collect();
        parts.reverse();
        let mut merged = Rate::default();
        parts.into_iter().for_each(|part| merged.merge(part));
        assert_eq!(merged, whole);
        assert_eq!(merged.within(i64::MIN, i64::MAX), 500);
        assert!(merged.buckets.len() <= MAX_BUCKETS);
    }
}
