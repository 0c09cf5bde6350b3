//! One clock for a source: what its stamps leave out, from the stamps around them that do not.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::OnceLock;

use crate::events::{Event, NeedsPast, read_events};
use crate::format;
use crate::lines::read_chunk;
use crate::source::{Source, Sources};
use crate::stamp::{self, Stamp};

/// What a source's stamps leave out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeline {
    /// A moment near the source's, from a stamp that says all.
    reference: Option<i64>,
    /// When the source was last written.
    latest: Option<i64>,
    /// How far stamps without a zone are ahead of UTC, in nanoseconds.
    zone: i64,
}

/// Bytes of a source that are looked at for stamps beside one another.
const SAMPLE: u64 = 64 * 1024;

/// How exactly the place of a moment in a source is looked for, in bytes.
const COARSE: u64 = 1 << 20;

/// How far lines may be out of order.
const MINUTE: i64 = 60 * 1_000_000_000;

/// Bytes of a source in which its first stamp is looked for.
const FIRST: u64 = 4 * 1024;

/// Zones differ by quarters of an hour.
const QUARTER: i64 = 15 * 60 * 1_000_000_000;

/// How far stamps of neighbouring lines may be apart.
const NEAR: i64 = 90 * 1_000_000_000;

const DAY: i64 = 24 * 3_600 * 1_000_000_000;

/// The timelines of all sources, each learnt when it is first asked for.
#[derive(Debug, Default)]
pub struct Timelines {
    /// Each with the size of its source when it was learnt.
    learnt: Vec<OnceLock<(Timeline, u64)>>,
    /// A moment of the run, for sources that tell none.
    reference: OnceLock<Option<i64>>,
}

impl Timelines {
    /// Of these sources.
    pub fn new(sources: &Sources) -> Self {
        let mut timelines = Self::default();
        timelines.update(sources);
        timelines
    }

    /// Makes room for sources that came, and forgets what was learnt of the first lines of a source that has twice as many now.
    pub fn update(&mut self, sources: &Sources) {
        self.learnt.resize_with(sources.read.len(), OnceLock::new);
        for (source, learnt) in sources.read.iter().zip(&mut self.learnt) {
            if learnt.get().is_some_and(|(_, size)| *size < SAMPLE && source.size >= 2 * *size) {
                learnt.take();
            }
        }
        if self.reference.get() == Some(&None) {
            self.reference.take();
        }
    }

    /// The timeline of the source with that index; an empty one where there is none.
    pub fn of(&self, sources: &Sources, index: usize) -> Timeline {
        let found = sources.read.get(index).zip(self.learnt.get(index));
        found
            .map(|(source, learnt)| {
                learnt.get_or_init(|| (self.learn(sources, source), source.size)).0
            })
            .unwrap_or_default()
    }

    /// Learns from the beginning and the end of a source; of one that has no complete stamp, from the others'.
    fn learn(&self, sources: &Sources, source: &Source) -> Timeline {
        let mut sample = Sample::of(source, 0..SAMPLE);
        if source.size > 2 * SAMPLE {
            sample.add(Sample::of(source, source.size - SAMPLE..source.size));
        }
        let others =
            || sources.read.iter().find_map(|other| Sample::of(other, 0..SAMPLE).reference);
        let reference = sample.reference.or_else(|| *self.reference.get_or_init(others));
        Timeline { reference, latest: source.modified(), zone: sample.zone() }
    }
}

/// The part of a source that may hold lines from `since` to `until`, both in nanoseconds since the epoch; all of it where its
/// stamps do not tell. A log's lines come in the order of their times, but for a minute.
pub fn within(source: &Source, since: i64, until: i64) -> Range<u64> {
    let moment = |at: u64| Sample::of(source, at..at.saturating_add(SAMPLE)).reference;
    // The last place, but for a few, that lies before whatever is looked for.
    let find = |is_before: &dyn Fn(i64) -> bool| {
        let (mut low, mut high) = (0, source.size);
        while high - low > COARSE {
            let middle = low + (high - low) / 2;
            match moment(middle).map(is_before) {
                Some(true) => low = middle,
                Some(false) => high = middle,
                None => return None,
            }
        }
        Some((low, high))
    };
    let start = if since > i64::MIN {
        find(&|time| time < since.saturating_sub(MINUTE)).map_or(0, |(low, _)| low)
    } else {
        0
    };
    let end = if until < i64::MAX {
        find(&|time| time <= until.saturating_add(MINUTE)).map_or(source.size, |(_, high)| high)
    } else {
        source.size
    };
    start..end.max(start)
}

/// A moment before a part of a source and one after it; before and after every moment where no stamps tell.
pub fn moments_around(source: &Source, part: &Range<u64>) -> RangeInclusive<i64> {
    let first_in = |range: Range<u64>| Sample::of(source, range).reference;
    let before = first_in(part.start.saturating_sub(SAMPLE)..part.start.saturating_add(SAMPLE));
    let after = first_in(part.end..part.end.saturating_add(SAMPLE));
    before.unwrap_or(i64::MIN)..=after.unwrap_or(i64::MAX)
}

/// A moment before which no line of a source's part lies, but for a minute; none where its first lines do not tell.
pub fn begin(source: &Source, part: &Range<u64>) -> Option<i64> {
    let first =
        Sample::of(source, part.start..part.end.min(part.start.saturating_add(FIRST))).reference?;
    Some(first.saturating_sub(MINUTE))
}

impl Timeline {
    /// The moment that a stamp tells: nearest to when its envelope or its predecessor was written, and within the
    /// second (or whatever unit) that the stamp tells not before either. And whether a predecessor may have a say in it.
    pub fn resolve(
        &self,
        stamp: Stamp,
        envelope: Option<i64>,
        before: Option<i64>,
        memory: &mut YearMemory,
    ) -> (i64, bool) {
        if stamp.is_complete() {
            return (stamp.ns, false);
        }
        let zone = if stamp.lacks_zone { self.zone } else { 0 };
        let near = envelope.or(before).or(self.reference);
        let ns = if stamp.lacks_year {
            self.year_remembered(stamp.ns, near.map(|near| near.saturating_add(zone)), memory)
        } else {
            stamp.ns
        };
        let ns = ns.saturating_sub(zone);
        let within = |moment: &i64| *moment >= ns && *moment - ns < stamp.unit;
        match envelope.filter(within) {
            Some(moment) => (moment, false),
            None => (before.filter(within).unwrap_or(ns), true),
        }
    }

    /// [`Timeline::year`], asked once a day.
    fn year_remembered(&self, ns: i64, near: Option<i64>, memory: &mut YearMemory) -> i64 {
        let day = |moment: i64| moment.div_euclid(DAY);
        if let Some((stamp, moment, shift)) = memory.0
            && day(stamp) == day(ns)
            && near.is_some_and(|near| day(near) == day(moment))
        {
            return ns.saturating_add(shift);
        }
        let found = self.year(ns, near);
        // Half a year away another year could be nearer in the evening.
        memory.0 = near
            .filter(|near| near.abs_diff(found) < 30 * DAY.unsigned_abs())
            .map(|near| (ns, near, found.saturating_sub(ns)));
        found
    }

    /// Puts the year in that brings a stamp nearest to a moment; without one, the last that had begun when the source
    /// was written.
    fn year(&self, ns: i64, near: Option<i64>) -> i64 {
        match (near, self.latest) {
            (Some(near), _) => {
                // Nothing was written after the source was.
                let past = |moment: &i64| {
                    self.latest.is_none_or(|latest| *moment <= latest.max(near).saturating_add(DAY))
                };
                years_around(ns, near)
                    .filter(past)
                    .min_by_key(|moment| moment.abs_diff(near))
                    .unwrap_or(ns)
            }
            (None, Some(latest)) => {
                let years = [0, -1, -2, -3, -4].map(|ahead| {
                    stamp::with_year(ns, stamp::year_of(latest).saturating_add(ahead))
                });
                years
                    .into_iter()
                    .flatten()
                    .find(|moment| *moment <= latest.saturating_add(DAY))
                    .unwrap_or(ns)
            }
            (None, None) => ns,
        }
    }
}

/// The year that was found last: a stamp without one, the moment that it is near to, and what the year adds.
#[derive(Debug, Default)]
pub struct YearMemory(Option<(i64, i64, i64)>);

/// A stamp without a year in the years around a moment.
fn years_around(ns: i64, moment: i64) -> impl Iterator<Item = i64> {
    [-1, 0, 1]
        .into_iter()
        .filter_map(move |ahead| stamp::with_year(ns, stamp::year_of(moment).saturating_add(ahead)))
}

/// Stamps of a part of a source.
#[derive(Default)]
struct Sample {
    reference: Option<i64>,
    /// Stamps that leave something out, each beside one that does not.
    pairs: Vec<(Stamp, i64)>,
}

impl Sample {
    fn of(source: &Source, range: Range<u64>) -> Self {
        let mut sample = Self::default();
        let Ok(chunk) = read_chunk(source, range, true, Vec::new()) else { return sample };
        let (mut before, mut waiting): (Option<i64>, Option<Stamp>) = (None, None);
        let read: Result<u64, NeedsPast> =
            read_events(&chunk, &mut |_| Ok(None), &mut |event: &Event<'_>| {
                let text = String::from_utf8_lossy(
                    event.text.get(..event.text.len().min(64 * 1024)).unwrap_or_default(),
                );
                let own = format::read(&text).1.and_then(|observation| observation.time);
                let envelope = event.facts.time;
                let complete = [own, envelope]
                    .into_iter()
                    .flatten()
                    .find(|stamp| stamp.is_complete())
                    .map(|stamp| stamp.ns);
                let partial =
                    [own, envelope].into_iter().flatten().find(|stamp| !stamp.is_complete());
                sample.reference = sample.reference.or(complete.filter(|_| event.own));
                if let Some((stamp, moment)) = partial.zip(complete.or(before)) {
                    sample.pairs.push((stamp, moment));
                } else if partial.is_some() {
                    waiting = waiting.or(partial);
                }
                if let Some((stamp, moment)) = waiting.zip(complete) {
                    sample.pairs.push((stamp, moment));
                    waiting = None;
                }
                before = complete.or(before);
                Ok(())
            });
        // A sample may begin anywhere: what its first lines belong to does not matter.
        let _ = read;
        sample
    }

    fn add(&mut self, other: Self) {
        self.reference = self.reference.or(other.reference);
        self.pairs.extend(other.pairs);
    }

    /// The zone that most pairs agree on.
    fn zone(&self) -> i64 {
        let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
        for (stamp, moment) in self.pairs.iter().filter(|(stamp, _)| stamp.lacks_zone) {
            let nearest =
                || years_around(stamp.ns, *moment).min_by_key(|local| local.abs_diff(*moment));
            let local = if stamp.lacks_year { nearest() } else { Some(stamp.ns) };
            let Some(ahead) = local.map(|local| local.saturating_sub(*moment)) else { continue };
            let zone = ahead.saturating_add(QUARTER / 2).div_euclid(QUARTER) * QUARTER;
            if (ahead - zone).abs() <= NEAR && zone.abs() <= 14 * 4 * QUARTER {
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
        let sources = Sources::of_texts([("a", text.as_bytes())]).unwrap();
        let timeline = Timelines::new(&sources).of(&sources, 0);
        let mut before = None;
        let mut times = Vec::new();
        for line in text.lines() {
            let Some(stamp) = format::read(line).1.and_then(|observation| observation.time) else {
                continue;
            };
            let (moment, _) = timeline.resolve(stamp, None, before, &mut YearMemory::default());
            before = Some(moment);
            times.push(flowlog_schema::Time(moment).to_string());
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
    fn a_span_of_time_is_a_part_of_a_long_log() {
        let begin = 1_763_800_000i64;
        let text: String = (0..60_000)
            .map(|at| {
                format!(
                    "{}  INFO x::y: {:080}\n",
                    flowlog_schema::Time((begin + at) * 1_000_000_000),
                    at
                )
            })
            .collect();
        let sources = Sources::of_texts([("a", text.as_bytes())]).unwrap();
        let (size, at) = (sources.read[0].size, |second: i64| (begin + second) * 1_000_000_000);
        assert_eq!(within(&sources.read[0], i64::MIN, i64::MAX), 0..size);
        let line = text.find('\n').unwrap() as u64 + 1;
        for (since, until) in [(0, 59_999), (30_000, 31_000), (59_000, 70_000), (-100, 5)] {
            let part = within(&sources.read[0], at(since), at(until));
            let first = u64::try_from(since.clamp(0, 60_000)).unwrap() * line;
            let last = (u64::try_from(until.clamp(0, 59_999)).unwrap() + 1) * line;
            assert!(part.start <= first && part.end >= last, "{since}..{until}: {part:?}");
            assert!(
                part.end - part.start <= last - first + 3 * COARSE,
                "{since}..{until}: {part:?}"
            );
        }
        // Where no stamp tells, all of it.
        let sources = Sources::of_texts([("a", "x\n".repeat(2_000_000).as_bytes())]).unwrap();
        assert_eq!(within(&sources.read[0], at(0), at(1)), 0..sources.read[0].size);
    }

    #[test]
    fn the_year_turns() {
        let text = "2025-12-31T23:59:59.500000Z  INFO x::y: a\nINFO 12-31 23:59:59 [core.py:1] b\nINFO 01-01 00:00:01 [core.py:1] c\n";
        assert_eq!(
            times(text)[1..],
            ["2025-12-31T23:59:59.500000Z", "2026-01-01T00:00:01.000000Z"]
        );
    }

    #[test]
    fn without_neighbours_the_last_year_that_had_begun() {
        let now = Timeline { reference: None, latest: Some(1_763_800_035_000_000_000), zone: 0 };
        let year = |line: &str| {
            let stamp = format::read(line).1.and_then(|observation| observation.time).unwrap();
            stamp::year_of(now.resolve(stamp, None, None, &mut YearMemory::default()).0)
        };
        assert_eq!(
            (year("INFO 11-21 08:27:15 [core.py:1] x"), year("INFO 12-24 08:27:15 [core.py:1] x")),
            (2025, 2024)
        );
        assert_eq!(year("INFO 02-29 08:27:15 [core.py:1] x"), 2024);
    }
}
