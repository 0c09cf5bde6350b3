//! Infers missing years and time zones from complete timestamps nearby.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::OnceLock;

use crate::format;
use crate::lines::read_chunk;
use crate::multiline::{NeedsLookbehind, RawEvent, read_events};
use crate::source::{Source, Sources};
use crate::timestamp::{self, Timestamp};

/// Values that complete the timestamps of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimestampResolver {
    /// Time close to those of the source, from a complete timestamp.
    reference: Option<i64>,
    /// Time of the last write to the source.
    latest: Option<i64>,
    /// How far timestamps without a zone are ahead of UTC, in nanoseconds.
    zone: i64,
}

/// Bytes of a source that are searched for adjacent timestamps.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// Precision in bytes of the search for a time in a source.
const COARSE_STEP_BYTES: u64 = 1 << 20;

/// Maximum disorder of lines, in nanoseconds.
const MAX_DISORDER_NS: i64 = 60 * 1_000_000_000;

/// Bytes of a source that are searched for its first timestamp.
const FIRST_SAMPLE_BYTES: u64 = 4 * 1024;

/// Step between time zones, in nanoseconds: they differ by quarters of an hour.
const QUARTER_HOUR_NS: i64 = 15 * 60 * 1_000_000_000;

/// Maximum difference between timestamps of adjacent lines, in nanoseconds.
const MAX_ADJACENT_GAP_NS: i64 = 90 * 1_000_000_000;

const DAY_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// Resolvers of all sources, each computed when it is first needed.
#[derive(Debug, Default)]
pub struct TimestampResolvers {
    /// Resolver of each source, and the size of the source when it was computed.
    learned: Vec<OnceLock<(TimestampResolver, u64)>>,
    /// Time within the run, for sources that have no complete timestamp.
    reference: OnceLock<Option<i64>>,
}

impl TimestampResolvers {
    /// Creates resolvers for these sources.
    pub fn new(sources: &Sources) -> Self {
        let mut resolvers = Self::default();
        resolvers.update(sources);
        resolvers
    }

    /// Adds new sources, and discards results from too few lines.
    ///
    /// These are the resolver of a source that had less than a full sample and has at least doubled
    /// since, and a reference that was not found.
    pub fn update(&mut self, sources: &Sources) {
        self.learned.resize_with(sources.read.len(), OnceLock::new);
        for (source, learned) in sources.read.iter().zip(&mut self.learned) {
            if learned
                .get()
                .is_some_and(|(_, size)| *size < SAMPLE_BYTES && source.size >= 2 * *size)
            {
                learned.take();
            }
        }
        if self.reference.get() == Some(&None) {
            self.reference.take();
        }
    }

    /// Returns the resolver of the source with that index; an empty one if there is no such source.
    pub fn of(&self, sources: &Sources, index: usize) -> TimestampResolver {
        let found = sources.read.get(index).zip(self.learned.get(index));
        found
            .map(|(source, learned)| {
                learned.get_or_init(|| (self.learn(sources, source), source.size)).0
            })
            .unwrap_or_default()
    }

    /// Computes the resolver of a source from its beginning and its end.
    ///
    /// The reference of a source without a complete timestamp comes from the other sources.
    fn learn(&self, sources: &Sources, source: &Source) -> TimestampResolver {
        let mut sample = Sample::of(source, 0..SAMPLE_BYTES);
        if source.size > 2 * SAMPLE_BYTES {
            sample.add(Sample::of(source, source.size - SAMPLE_BYTES..source.size));
        }
        let others =
            || sources.read.iter().find_map(|other| Sample::of(other, 0..SAMPLE_BYTES).reference);
        let reference = sample.reference.or_else(|| *self.reference.get_or_init(others));
        TimestampResolver { reference, latest: source.modified(), zone: sample.zone() }
    }
}

/// Returns the part of a source that may hold lines from `since` to `until`.
///
/// Both are in nanoseconds since the Unix epoch. Returns the whole source if it lacks the
/// timestamps. Lines are assumed to be ordered by time, to within a minute.
pub fn byte_range_between(source: &Source, since: i64, until: i64) -> Range<u64> {
    let time_ns = |at: u64| Sample::of(source, at..at.saturating_add(SAMPLE_BYTES)).reference;
    // Narrows down the last offset before the wanted time, by binary search.
    let find = |is_before: &dyn Fn(i64) -> bool| {
        let (mut low, mut high) = (0, source.size);
        while high - low > COARSE_STEP_BYTES {
            let middle = low + (high - low) / 2;
            match time_ns(middle).map(is_before) {
                Some(true) => low = middle,
                Some(false) => high = middle,
                None => return None,
            }
        }
        Some((low, high))
    };
    let start = if since > i64::MIN {
        find(&|time| time < since.saturating_sub(MAX_DISORDER_NS)).map_or(0, |(low, _)| low)
    } else {
        0
    };
    let end = if until < i64::MAX {
        find(&|time| time <= until.saturating_add(MAX_DISORDER_NS))
            .map_or(source.size, |(_, high)| high)
    } else {
        source.size
    };
    start..end.max(start)
}

/// Returns a time before and a time after a part of a source.
///
/// Without a complete timestamp, it is the earliest or the latest possible time.
pub fn time_range_around(source: &Source, part: &Range<u64>) -> RangeInclusive<i64> {
    let first_in = |range: Range<u64>| Sample::of(source, range).reference;
    let before =
        first_in(part.start.saturating_sub(SAMPLE_BYTES)..part.start.saturating_add(SAMPLE_BYTES));
    let after = first_in(part.end..part.end.saturating_add(SAMPLE_BYTES));
    before.unwrap_or(i64::MIN)..=after.unwrap_or(i64::MAX)
}

/// Returns a lower bound for the times in a part of a source, with a minute allowed for disorder.
///
/// Returns `None` if the first lines have no complete timestamp.
pub fn earliest_time(source: &Source, part: &Range<u64>) -> Option<i64> {
    let first =
        Sample::of(source, part.start..part.end.min(part.start.saturating_add(FIRST_SAMPLE_BYTES)))
            .reference?;
    Some(first.saturating_sub(MAX_DISORDER_NS))
}

impl TimestampResolver {
    /// Resolves a timestamp. Also returns whether the time of its predecessor may have influenced
    /// it.
    ///
    /// A missing year is the one that brings the time closest to that of the envelope, or else the
    /// predecessor, or else the reference. If the envelope or the predecessor is within the
    /// resolution of the timestamp, its time is returned.
    pub fn resolve(
        &self,
        stamp: Timestamp,
        envelope: Option<i64>,
        before: Option<i64>,
        memory: &mut YearCache,
    ) -> (i64, bool) {
        if stamp.is_complete() {
            return (stamp.ns, false);
        }
        let zone = if stamp.missing_zone { self.zone } else { 0 };
        let near = envelope.or(before).or(self.reference);
        let ns = if stamp.missing_year {
            self.year_cached(stamp.ns, near.map(|near| near.saturating_add(zone)), memory)
        } else {
            stamp.ns
        };
        let ns = ns.saturating_sub(zone);
        let byte_range_between = |time_ns: &i64| *time_ns >= ns && *time_ns - ns < stamp.unit;
        match envelope.filter(byte_range_between) {
            Some(time_ns) => (time_ns, false),
            None => (before.filter(byte_range_between).unwrap_or(ns), true),
        }
    }

    /// Returns [`Self::year`], computed once a day.
    fn year_cached(&self, ns: i64, near: Option<i64>, memory: &mut YearCache) -> i64 {
        let day = |time_ns: i64| time_ns.div_euclid(DAY_NS);
        if let Some((stamp, time_ns, shift)) = memory.0
            && day(stamp) == day(ns)
            && near.is_some_and(|near| day(near) == day(time_ns))
        {
            return ns.saturating_add(shift);
        }
        let found = self.year(ns, near);
        // Half a year from `near`, another year could be closer later in the same day.
        memory.0 = near
            .filter(|near| near.abs_diff(found) < 30 * DAY_NS.unsigned_abs())
            .map(|near| (ns, near, found.saturating_sub(ns)));
        found
    }

    /// Returns the time with the year that brings it closest to `near`.
    ///
    /// Without `near`, this is the last year in which the time is not after the last write to the
    /// source.
    fn year(&self, ns: i64, near: Option<i64>) -> i64 {
        match (near, self.latest) {
            (Some(near), _) => {
                // No line is newer than the last write.
                let past = |time_ns: &i64| {
                    self.latest
                        .is_none_or(|latest| *time_ns <= latest.max(near).saturating_add(DAY_NS))
                };
                years_around(ns, near)
                    .filter(past)
                    .min_by_key(|time_ns| time_ns.abs_diff(near))
                    .unwrap_or(ns)
            }
            (None, Some(latest)) => {
                let years = [0, -1, -2, -3, -4].map(|ahead| {
                    timestamp::with_year(ns, timestamp::year_of(latest).saturating_add(ahead))
                });
                years
                    .into_iter()
                    .flatten()
                    .find(|time_ns| *time_ns <= latest.saturating_add(DAY_NS))
                    .unwrap_or(ns)
            }
            (None, None) => ns,
        }
    }
}

/// Last year that was inferred: a timestamp without a year, the time it is close to, and the
/// nanoseconds that the year adds.
#[derive(Debug, Default)]
pub struct YearCache(Option<(i64, i64, i64)>);

/// Returns a timestamp without a year in the years around a time.
fn years_around(ns: i64, time_ns: i64) -> impl Iterator<Item = i64> {
    [-1, 0, 1].into_iter().filter_map(move |ahead| {
        timestamp::with_year(ns, timestamp::year_of(time_ns).saturating_add(ahead))
    })
}

/// Timestamps of a part of a source.
#[derive(Default)]
struct Sample {
    reference: Option<i64>,
    /// Incomplete timestamps, each with a complete one next to it.
    pairs: Vec<(Timestamp, i64)>,
}

impl Sample {
    fn of(source: &Source, range: Range<u64>) -> Self {
        let mut sample = Self::default();
        let Ok(chunk) = read_chunk(source, range, true, Vec::new()) else { return sample };
        let (mut before, mut waiting): (Option<i64>, Option<Timestamp>) = (None, None);
        let read: Result<u64, NeedsLookbehind> =
            read_events(&chunk, &mut |_| Ok(None), &mut |event: &RawEvent<'_>| {
                let text = String::from_utf8_lossy(
                    event.text.get(..event.text.len().min(64 * 1024)).unwrap_or_default(),
                );
                let own = format::read(&text).1.and_then(|event| event.time);
                let envelope = event.meta.time;
                let complete = [own, envelope]
                    .into_iter()
                    .flatten()
                    .find(|stamp| stamp.is_complete())
                    .map(|stamp| stamp.ns);
                let partial =
                    [own, envelope].into_iter().flatten().find(|stamp| !stamp.is_complete());
                sample.reference = sample.reference.or(complete.filter(|_| event.starts_in_chunk));
                if let Some((stamp, time_ns)) = partial.zip(complete.or(before)) {
                    sample.pairs.push((stamp, time_ns));
                } else if partial.is_some() {
                    waiting = waiting.or(partial);
                }
                if let Some((stamp, time_ns)) = waiting.zip(complete) {
                    sample.pairs.push((stamp, time_ns));
                    waiting = None;
                }
                before = complete.or(before);
                Ok(())
            });
        // A sample may begin anywhere, so it does not matter which event its first lines belong to.
        let _ = read;
        sample
    }

    fn add(&mut self, other: Self) {
        self.reference = self.reference.or(other.reference);
        self.pairs.extend(other.pairs);
    }

    /// Returns the zone that most pairs agree on.
    fn zone(&self) -> i64 {
        let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
        for (stamp, time_ns) in self.pairs.iter().filter(|(stamp, _)| stamp.missing_zone) {
            let nearest =
                || years_around(stamp.ns, *time_ns).min_by_key(|local| local.abs_diff(*time_ns));
            let local = if stamp.missing_year { nearest() } else { Some(stamp.ns) };
            let Some(ahead) = local.map(|local| local.saturating_sub(*time_ns)) else { continue };
            let zone = ahead.saturating_add(QUARTER_HOUR_NS / 2).div_euclid(QUARTER_HOUR_NS)
                * QUARTER_HOUR_NS;
            if (ahead - zone).abs() <= MAX_ADJACENT_GAP_NS && zone.abs() <= 14 * 4 * QUARTER_HOUR_NS
            {
                *votes.entry(zone).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(zone, count)| (*count, -zone.abs()))
            .map_or(0, |(zone, _)| zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str) -> Vec<String> {
        let sources = Sources::from_texts([("a", text.as_bytes())]).unwrap();
        let resolver = TimestampResolvers::new(&sources).of(&sources, 0);
        let mut before = None;
        let mut times = Vec::new();
        for line in text.lines() {
            let Some(stamp) = format::read(line).1.and_then(|event| event.time) else {
                continue;
            };
            let (time_ns, _) = resolver.resolve(stamp, None, before, &mut YearCache::default());
            before = Some(time_ns);
            times.push(flowlog_schema::Time(time_ns).to_string());
        }
        times
    }

    #[test]
    fn year_zone_and_digits_come_from_neighbours() {
        let text = "2025-04-07T18:34:44.908815Z  INFO x::y: added\n\
                    2025-04-07T11:34:45-0700 [INFO] [entry:Frontend:1] up\n\
                    INFO 04-07 11:34:47 [core.py:1] up\n\
                    INFO 04-07 11:34:47 [core.py:1] up\n";
        assert_eq!(
            times(text),
            [
                "2025-04-07T18:34:44.908815Z",
                "2025-04-07T18:34:45.000000Z",
                "2025-04-07T18:34:47.000000Z",
                "2025-04-07T18:34:47.000000Z"
            ]
        );
        let same_second =
            "2025-04-07T18:34:44.908815Z  INFO x::y: added\nINFO 04-07 18:34:44 [core.py:1] up\n";
        assert_eq!(times(same_second)[1], "2025-04-07T18:34:44.908815Z");
    }

    #[test]
    fn a_time_range_maps_to_a_byte_range() {
        let earliest_time = 1_763_800_000i64;
        let text: String = (0..60_000)
            .map(|at| {
                format!(
                    "{}  INFO x::y: {:080}\n",
                    flowlog_schema::Time((earliest_time + at) * 1_000_000_000),
                    at
                )
            })
            .collect();
        let sources = Sources::from_texts([("a", text.as_bytes())]).unwrap();
        let (size, at) =
            (sources.read[0].size, |second: i64| (earliest_time + second) * 1_000_000_000);
        assert_eq!(byte_range_between(&sources.read[0], i64::MIN, i64::MAX), 0..size);
        let line = text.find('\n').unwrap() as u64 + 1;
        for (since, until) in [(0, 59_999), (30_000, 31_000), (59_000, 70_000), (-100, 5)] {
            let part = byte_range_between(&sources.read[0], at(since), at(until));
            let first = u64::try_from(since.clamp(0, 60_000)).unwrap() * line;
            let last = (u64::try_from(until.clamp(0, 59_999)).unwrap() + 1) * line;
            assert!(part.start <= first && part.end >= last, "{since}..{until}: {part:?}");
            assert!(
                part.end - part.start <= last - first + 3 * COARSE_STEP_BYTES,
                "{since}..{until}: {part:?}"
            );
        }
        // Without timestamps, the part is the whole source.
        let sources = Sources::from_texts([("a", "x\n".repeat(2_000_000).as_bytes())]).unwrap();
        assert_eq!(byte_range_between(&sources.read[0], at(0), at(1)), 0..sources.read[0].size);
    }

    #[test]
    fn the_year_rolls_over() {
        let text = "2025-12-31T23:59:59.500000Z  INFO x::y: a\nINFO 12-31 23:59:59 [core.py:1] b\nINFO 01-01 00:00:01 [core.py:1] c\n";
        assert_eq!(
            times(text)[1..],
            ["2025-12-31T23:59:59.500000Z", "2026-01-01T00:00:01.000000Z"]
        );
    }

    #[test]
    fn without_neighbors_the_latest_past_year_is_used() {
        let now =
            TimestampResolver { reference: None, latest: Some(1_763_800_035_000_000_000), zone: 0 };
        let year = |line: &str| {
            let stamp = format::read(line).1.and_then(|event| event.time).unwrap();
            timestamp::year_of(now.resolve(stamp, None, None, &mut YearCache::default()).0)
        };
        assert_eq!(
            (year("INFO 11-21 08:27:15 [core.py:1] x"), year("INFO 12-24 08:27:15 [core.py:1] x")),
            (2025, 2024)
        );
        assert_eq!(year("INFO 02-29 08:27:15 [core.py:1] x"), 2024);
    }
}
