//! How far the clocks of processes are apart, from their calls.

use std::collections::{BTreeMap, VecDeque};

use crate::flow::SkewBounds;

/// Returns how far the clock of each process is ahead, in nanoseconds, given the bounds that the calls
/// between processes set.
///
/// Traverses calls from process to process, those with the tightest bounds, so that each process has
/// one path to the others.
pub(super) fn of(processes: usize, calls: BTreeMap<(usize, usize), SkewBounds>) -> Vec<i64> {
    let mut calls: Vec<((usize, usize), SkewBounds)> = calls.into_iter().collect();
    calls.sort_by_key(|(call, bounds)| (bounds.width(), *call));
    let mut groups: Vec<usize> = (0..processes).collect();
    let mut neighbors: Vec<Vec<(usize, i64)>> = vec![Vec::new(); processes];
    for ((caller, callee), bounds) in calls {
        let (a, b) = (group_of(&mut groups, caller), group_of(&mut groups, callee));
        if a == b {
            continue;
        }
        groups[a.max(b)] = a.min(b);
        let ahead = least_skew(bounds);
        neighbors[caller].push((callee, ahead));
        neighbors[callee].push((caller, ahead.saturating_neg()));
    }
    let mut skews: Vec<Option<i64>> = vec![None; processes];
    for start in 0..processes {
        if skews[start].is_some() {
            continue;
        }
        let mut queue = VecDeque::from([(start, 0i64)]);
        while let Some((at, skew)) = queue.pop_front() {
            skews[at] = Some(skew);
            let open = neighbors[at].iter().filter(|(next, _)| skews[*next].is_none());
            queue.extend(open.map(|(next, ahead)| (*next, skew.saturating_add(*ahead))));
        }
    }
    skews.into_iter().map(Option::unwrap_or_default).collect()
}

/// Returns the group that a process belongs to.
fn group_of(groups: &mut [usize], mut at: usize) -> usize {
    while groups[at] != at {
        groups[at] = groups[groups[at]];
        at = groups[at];
    }
    at
}

/// Minimum number of calls of which the fastest took no time worth mentioning.
const MANY_CALLS: u64 = 20;

/// Returns zero if it is within the bounds, or else the middle of the bounds: a request and its
/// response take about as long. Without a lower bound, the clock is as far behind as the upper one
/// requires, or as far ahead as it allows if many calls set it: the fastest of many requests takes
/// almost no time.
fn least_skew(bounds: SkewBounds) -> i64 {
    match bounds.consistent() {
        (Some(lower), Some(upper)) if lower <= 0 && 0 <= upper => 0,
        (Some(lower), Some(upper)) => lower.midpoint(upper),
        (None, Some(upper)) if bounds.calls >= MANY_CALLS => upper,
        (None, Some(upper)) => upper.min(0),
        (Some(lower), None) => lower.max(0),
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_skew_within_the_bounds() {
        let of = |lower, upper| least_skew(SkewBounds::of_call(upper, lower, false));
        assert_eq!(of(Some(-5), Some(5)), 0);
        assert_eq!(of(Some(380), Some(402)), 391);
        assert_eq!(of(Some(-402), Some(-380)), -391);
        assert_eq!((of(None, None), of(None, Some(-7)), of(Some(7), None)), (0, -7, 7));
    }

    #[test]
    fn given_up_attempts_set_no_lower_bound() {
        let mut bounds = SkewBounds::of_call(Some(400), Some(380), false);
        bounds.add(SkewBounds::of_call(Some(900), Some(700), false));
        bounds.add(SkewBounds::of_call(Some(500), Some(30_000), false));
        assert_eq!(bounds.consistent(), (Some(380), Some(400)));
        assert_eq!(least_skew(bounds), 390);
    }

    #[test]
    fn the_tightest_bounds_connect_processes() {
        let bounds = |lower, upper| SkewBounds::of_call(Some(upper), Some(lower), false);
        let calls = BTreeMap::from([
            ((0, 1), bounds(90, 110)),
            ((1, 2), bounds(40, 60)),
            ((0, 2), bounds(-1_000, 5_000)),
            ((3, 4), bounds(-10, 10)),
        ]);
        assert_eq!(of(5, calls), [0, 100, 150, 0, 0]);
    }
}
