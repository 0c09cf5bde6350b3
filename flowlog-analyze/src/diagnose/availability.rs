//! When each process was unavailable: dead, or silent as a whole although it usually logs.

use crate::flow::{Activity, ProcessActivity};

/// Why a process was unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DownKind {
    /// It ended without a shutdown, and was restarted later or never.
    Died,
    /// It shut down in order.
    Stopped,
    /// It logged nothing for much longer than it usually does, and then went on.
    Frozen,
}

/// A time in which a process was unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Downtime {
    /// Last line before, in nanoseconds.
    pub since: i64,
    /// First line after, in nanoseconds; `i64::MAX` if there is none.
    pub until: i64,
    /// Why it was unavailable.
    pub kind: DownKind,
    /// Whether the process itself shows it: by a restart, a shutdown, or a silence that is unlikely
    /// for it. If not, the logs may only end there.
    pub is_certain: bool,
}

impl Downtime {
    /// Returns whether the process was unavailable at a time.
    pub fn covers(&self, time: i64) -> bool {
        self.since <= time && time < self.until
    }
}

/// Minimum length of a freeze, in nanoseconds.
const MIN_FREEZE_NS: i64 = 3_000_000_000;

/// Maximum probability that a process which logs as often as this one is silent for that long by
/// chance.
const MAX_CHANCE: f64 = 1e-3;

/// Time in which a process ends after it reported its shutdown, in nanoseconds.
const SHUTDOWN_TIME_NS: i64 = 60_000_000_000;

/// Returns when a process was unavailable, by its own clock, in order. `end` is the end of the run,
/// by the same clock.
///
/// A process that never logs again died with its last line, unless it had shut down or the run
/// ended there; one that reports a start after other lines had died or stopped before. Any other
/// pause is a freeze if it is unlikely for a process that logs as often as this one. A long pause
/// alone proves nothing: an idle process logs nothing, either. Who uses a downtime needs a flow
/// that waited for the process.
pub(super) fn of(process: &ProcessActivity, end: i64) -> Vec<Downtime> {
    let mut found = Vec::new();
    let intervals: Vec<(i64, i64)> = process.activity.intervals().collect();
    let (Some((first, _)), Some((_, last))) = (intervals.first(), intervals.last()) else {
        return found;
    };
    let stopped = |from: i64, until: i64| {
        let since = until.saturating_sub(SHUTDOWN_TIME_NS).max(from);
        process.shutdowns.is_within(since, until.saturating_add(1))
    };
    let ended = |since: i64, from: i64| {
        if stopped(from, since) { DownKind::Stopped } else { DownKind::Died }
    };
    let mut life = *first;
    for start in starts(&process.starts) {
        let before = process.activity.last_before(start.saturating_sub(1));
        if let Some(since) = before.filter(|since| *since >= life) {
            let kind = ended(since, life);
            found.push(Downtime { since, until: start, kind, is_certain: true });
        }
        life = start;
    }
    if *last < end {
        let kind = ended(*last, life);
        let is_certain =
            kind == DownKind::Stopped || is_unlikely(&process.activity, end.saturating_sub(*last));
        found.push(Downtime { since: *last, until: i64::MAX, kind, is_certain });
    }
    let silences = intervals.windows(2).map(|pair| (pair[0].1, pair[1].0));
    for (since, until) in silences {
        let is_other = found.iter().any(|down| down.since < until && since < down.until);
        if !is_other && is_unlikely(&process.activity, until.saturating_sub(since)) {
            found.push(Downtime { since, until, kind: DownKind::Frozen, is_certain: true });
        }
    }
    found.sort_unstable();
    found
}

/// Returns whether a process that logs as often as this one may be active still at a time after its
/// last line, by its own clock.
pub(super) fn may_pause(process: &ProcessActivity, until: i64) -> bool {
    let last = process.activity.last();
    last.is_none_or(|last| !is_unlikely(&process.activity, until.saturating_sub(last)))
}

/// Returns the times at which a process started: the first of each group of reports.
fn starts(times: &Activity) -> impl Iterator<Item = i64> + '_ {
    times.intervals().map(|(first, _)| first)
}

/// Returns whether a pause of this length is unlikely for a process with this activity.
///
/// The process logs in a share of all seconds, other than those of the pause. If it did so at
/// random, it would be silent for `n` seconds with probability `(1 - share)^n`. Processes do not log
/// at random, so pauses that are half as long must be rare, too.
fn is_unlikely(activity: &Activity, pause: i64) -> bool {
    let (Some(first), Some(last)) = (activity.first(), activity.last()) else { return false };
    let rest = last.saturating_sub(first).saturating_sub(pause).saturating_add(Activity::GAP_NS);
    if pause < MIN_FREEZE_NS {
        return false;
    }
    let active: i64 = activity
        .intervals()
        .map(|(first, last)| last.saturating_sub(first).saturating_add(Activity::GAP_NS))
        .fold(0, i64::saturating_add);
    #[expect(clippy::cast_precision_loss, reason = "a probability tolerates rounding")]
    let (share, seconds) =
        ((active as f64 / rest.max(1) as f64).min(1.0), pause as f64 / Activity::GAP_NS as f64);
    let pauses = || {
        let ends = activity.intervals().map(|(_, last)| last);
        ends.zip(activity.intervals().skip(1)).map(|(last, (first, _))| first.saturating_sub(last))
    };
    let similar = pauses().filter(|other| other.saturating_mul(2) >= pause).count();
    (1.0 - share).powf(seconds) < MAX_CHANCE && similar <= MAX_SIMILAR + pauses().count() / 20
}

/// Number of pauses of which each is at least half as long as the other ones, and that are not usual
/// yet: a process may be frozen several times.
const MAX_SIMILAR: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = Activity::GAP_NS;

    fn process(lines: &[i64], starts: &[i64], shutdowns: &[i64]) -> ProcessActivity {
        let mut process = ProcessActivity::default();
        lines.iter().chain(starts).chain(shutdowns).for_each(|s| process.activity.insert(s * S));
        starts.iter().for_each(|s| process.starts.insert(s * S));
        shutdowns.iter().for_each(|s| process.shutdowns.insert(s * S));
        process
    }

    fn range(seconds: std::ops::Range<i64>) -> Vec<i64> {
        seconds.collect()
    }

    #[test]
    fn downtimes_of_processes() {
        let busy_with_pause = [range(0..40), range(50..90)].concat();
        let idle = [0, 20, 31, 60, 75, 89];
        for (name, process, expected) in [
            ("until the end", process(&range(0..100), &[0], &[]), vec![]),
            ("dead", process(&range(0..50), &[0], &[]), vec![(49, None, DownKind::Died)]),
            ("stopped", process(&range(0..50), &[0], &[48]), vec![(49, None, DownKind::Stopped)]),
            (
                "restarted",
                process(&[range(0..50), range(60..99)].concat(), &[0, 60], &[]),
                vec![(49, Some(60), DownKind::Died)],
            ),
            (
                "restarted in order",
                process(&[range(0..50), range(60..99)].concat(), &[0, 60], &[49]),
                vec![(49, Some(60), DownKind::Stopped)],
            ),
            (
                "frozen",
                process(&busy_with_pause, &[0], &[90]),
                vec![(39, Some(50), DownKind::Frozen)],
            ),
            ("idle", process(&idle, &[0], &[]), vec![]),
            ("a short pause", process(&[range(0..40), range(41..90)].concat(), &[], &[]), vec![]),
            (
                "regular pauses",
                process(&[0, 1, 5, 6, 10, 11, 15, 16, 20, 21, 25, 26, 89], &[], &[]),
                vec![(26, Some(89), DownKind::Frozen)],
            ),
        ] {
            let end = process.activity.last().unwrap_or(0).max(89 * S);
            let found: Vec<_> = of(&process, end)
                .into_iter()
                .map(|down| {
                    let until = (down.until != i64::MAX).then_some(down.until / S);
                    (down.since / S, until, down.kind)
                })
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
