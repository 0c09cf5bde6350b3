//! When the lines of a pattern were logged: a histogram that coarsens as it grows.

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
    /// Buckets in order, each with its lines.
    buckets: Vec<(i64, u64)>,
}

impl Rate {
    /// Adds lines at a time in nanoseconds.
    pub fn add(&mut self, time: i64, count: u64) {
        let bucket = time.div_euclid(1_000_000_000) >> self.width;
        // Most lines come in order.
        if let Some((last, lines)) = self.buckets.last_mut()
            && *last == bucket
        {
            *lines += count;
            return;
        }
        self.add_to(bucket, count);
        self.shrink();
    }

    fn add_to(&mut self, bucket: i64, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => {
                if let Some((_, lines)) = self.buckets.get_mut(at) {
                    *lines += count;
                }
            }
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Takes back one line.
    pub fn take_back(&mut self, time: i64) {
        let bucket = time.div_euclid(1_000_000_000) >> self.width;
        if let Some((_, lines)) = self.buckets.iter_mut().rev().find(|(own, _)| *own == bucket) {
            *lines = lines.saturating_sub(1);
        }
    }

    /// Merges the counts of another part.
    pub fn merge(&mut self, other: Self) {
        while self.width < other.width {
            self.coarsen();
        }
        let shift = self.width - other.width;
        for (bucket, count) in other.buckets {
            self.add_to(bucket >> shift, count);
        }
        self.shrink();
    }

    /// Returns the number of lines in the buckets that start in `from..until`, in nanoseconds.
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
        self.buckets.iter_mut().for_each(|(bucket, _)| *bucket >>= 1);
        self.buckets.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 += if is_same { next.1 } else { 0 };
            is_same
        });
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
