//! Statistics of flows that ended well: counts, durations and calls.

use std::collections::HashMap;
use std::hash::Hash;

use compact_str::CompactString;
use foldhash::fast::FixedState;

use super::activity::Activity;
use super::closing::is_closed;
use super::interner::Interner;
use super::position::{LogPosition, ProducerId, ServiceInstance, keep_min};
use super::span::{Span, SpanStatus};
use super::spans::Flow;

/// Durations of complete spans of one component and state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Number of complete spans.
    pub count: u64,
    /// Longest duration, in nanoseconds.
    pub longest: i64,
    /// Number of spans that ended in this state.
    pub ended: u64,
}

impl PeerStats {
    /// Adds one span, with its duration in nanoseconds and whether it ended in this state.
    pub fn add(&mut self, duration: i64, ended: bool) {
        self.count += 1;
        self.ended += u64::from(ended);
        self.longest = self.longest.max(duration);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
        self.ended += other.ended;
    }
}

/// Number of calls from one component to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls of a span that calls the component once.
    once: u64,
    /// Calls of a span that calls the component several times.
    repeated: u64,
}

impl CallCounts {
    pub(super) fn add(&mut self, is_repeated: bool) {
        let counter = if is_repeated { &mut self.repeated } else { &mut self.once };
        *counter += 1;
    }

    fn merge(&mut self, other: Self) {
        self.once += other.once;
        self.repeated += other.repeated;
    }

    /// Returns whether spans usually call the component several times; a few calls may be retries.
    pub fn are_repeated(self) -> bool {
        self.repeated > self.once / 4
    }
}

/// Bounds on how far a callee's wall clock is ahead of its caller's, in nanoseconds.
///
/// A child opens after its parent and ends before it, so `child open - parent open` is an upper
/// bound and `child end - parent end` a lower one (Cristian, "Probabilistic clock synchronization",
/// 1989). An attempt that was given up may end after its caller, so that its lower bound is wrong:
/// the largest ones are kept, and those that contradict the upper bound are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkewBounds {
    /// Least upper bound.
    upper: Option<i64>,
    /// Greatest lower bounds, the greatest first; [`i64::MIN`] for none.
    lower: [i64; Self::MAX_LOWER],
    /// Number of calls that set an upper bound.
    pub calls: u64,
    /// Whether a caller ended well with a lower logical clock than its callee: its response carries
    /// none.
    pub without_response_clock: bool,
}

impl Default for SkewBounds {
    fn default() -> Self {
        Self {
            upper: None,
            lower: [i64::MIN; Self::MAX_LOWER],
            calls: 0,
            without_response_clock: false,
        }
    }
}

impl SkewBounds {
    /// Number of lower bounds kept.
    const MAX_LOWER: usize = 8;

    /// Creates the bounds that one call sets. A child that took longer than its parent outlived it,
    /// and sets no lower bound.
    pub fn of_call(upper: Option<i64>, lower: Option<i64>, without_response_clock: bool) -> Self {
        let calls = u64::from(upper.is_some());
        let mut bounds = Self { upper, calls, without_response_clock, ..Self::default() };
        if let Some(lower) = lower.filter(|lower| upper.is_none_or(|upper| *lower <= upper)) {
            bounds.lower[0] = lower;
        }
        bounds
    }

    /// Tightens the bounds.
    pub fn add(&mut self, other: Self) {
        keep_min(&mut self.upper, other.upper);
        for lower in other.lower {
            let at = self.lower.partition_point(|kept| *kept >= lower);
            if at < Self::MAX_LOWER && lower > i64::MIN {
                self.lower[at..].rotate_right(1);
                self.lower[at] = lower;
            }
        }
        self.calls += other.calls;
        self.without_response_clock |= other.without_response_clock;
    }

    /// Returns how far the bounds are apart; `i64::MAX` if one is missing.
    pub fn width(&self) -> i64 {
        match self.consistent() {
            (Some(lower), Some(upper)) => upper.saturating_sub(lower),
            _ => i64::MAX,
        }
    }

    /// Returns the greatest lower bound that does not contradict the upper bound, and the upper
    /// bound.
    pub fn consistent(&self) -> (Option<i64>, Option<i64>) {
        let lower = self
            .lower
            .iter()
            .copied()
            .find(|lower| *lower > i64::MIN && self.upper.is_none_or(|upper| *lower <= upper));
        (lower, self.upper)
    }
}

/// Counts, durations and calls of flows that ended well. Names are strings, or numbers of an
/// interner.
#[derive(Debug, Clone)]
pub struct ClosedStats<Name, Instance> {
    /// Number of flows that ended well.
    pub ok: u64,
    /// Durations of complete spans, by component and state.
    pub peers: HashMap<(Name, Name), PeerStats, FixedState>,
    /// Bounds of the clock skew between caller and callee.
    pub calls: HashMap<(Instance, Instance), SkewBounds, FixedState>,
    /// Whether any span has records.
    pub has_records: bool,
    /// Number of spans of records that lack their start: their logs lose lines.
    pub without_start: u64,
    /// Number of calls by the components of caller and callee, in flows that ended well.
    pub call_counts: HashMap<(Name, Name), CallCounts, FixedState>,
    /// When flows began that ended well, by the component of their root.
    pub served: HashMap<Name, Activity, FixedState>,
}

/// Statistics with names.
pub type NamedStats = ClosedStats<CompactString, ServiceInstance>;

impl<Name, Instance> Default for ClosedStats<Name, Instance> {
    fn default() -> Self {
        Self {
            ok: 0,
            peers: HashMap::default(),
            calls: HashMap::default(),
            has_records: false,
            without_start: 0,
            call_counts: HashMap::default(),
            served: HashMap::default(),
        }
    }
}

impl<Name: Clone + Eq + Hash, Instance: Eq + Hash> ClosedStats<Name, Instance> {
    /// Adds a complete span that passed through `states` and ended in `last`.
    pub(super) fn add_span<'s>(
        &mut self,
        component: &Name,
        states: impl Iterator<Item = &'s Name>,
        last: &Name,
        duration: i64,
    ) where
        Name: 's,
    {
        for state in states {
            let peers = self.peers.entry((component.clone(), state.clone())).or_default();
            peers.add(duration, state == last);
        }
    }

    /// Tightens the clock skew bounds of a caller and its callee.
    pub(super) fn add_call(&mut self, call: (Instance, Instance), bounds: SkewBounds) {
        self.calls.entry(call).or_default().add(bounds);
    }

    /// Adds the root of a flow that ended well.
    pub(super) fn add_root(&mut self, component: &Name, began: i64) {
        match self.served.get_mut(component) {
            Some(times) => times.insert(began),
            None => self.served.entry(component.clone()).or_default().insert(began),
        }
    }

    /// Adds the statistics of another part of the input.
    pub fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        self.has_records |= other.has_records;
        self.without_start += other.without_start;
        for (key, counts) in other.call_counts {
            self.call_counts.entry(key).or_default().merge(counts);
        }
        for (component, times) in other.served {
            self.served.entry(component).or_default().merge(&times);
        }
        for (key, stats) in other.peers {
            self.peers.entry(key).or_default().merge(stats);
        }
        for (key, bounds) in other.calls {
            self.add_call(key, bounds);
        }
    }
}

impl ClosedStats<u32, u32> {
    /// Resolves the numbers to names.
    pub(super) fn resolve(self, interner: &Interner) -> NamedStats {
        let mut named = NamedStats {
            ok: self.ok,
            has_records: self.has_records,
            without_start: self.without_start,
            ..NamedStats::default()
        };
        let name = |number| interner.names.resolve(number).clone();
        for ((component, state), stats) in self.peers {
            named.peers.entry((name(component), name(state))).or_default().merge(stats);
        }
        for ((caller, callee), counts) in self.call_counts {
            named.call_counts.entry((name(caller), name(callee))).or_default().merge(counts);
        }
        for (component, times) in self.served {
            named.served.entry(name(component)).or_default().merge(&times);
        }
        for ((caller, callee), bounds) in self.calls {
            let call = (interner.service_instance(caller), interner.service_instance(callee));
            named.add_call(call, bounds);
        }
        named
    }
}

impl NamedStats {
    /// Records the durations of a flow's complete spans, and its calls.
    pub fn add_flow(&mut self, flow: &Flow) {
        // A span that ended after its caller had abandoned it says nothing about usual durations.
        let abandoned = flow
            .spans
            .values()
            .filter_map(|span| {
                span.cancelled.or(span.failed.as_ref().map(|failure| failure.position))
            })
            .filter_map(LogPosition::time)
            .min();
        let in_time = |span: &Span| {
            abandoned.is_none_or(|abandoned| {
                span.finished().and_then(LogPosition::time).is_some_and(|end| end <= abandoned)
            })
        };
        let none = CompactString::default();
        for span in
            flow.spans.values().filter(|span| span.status() == SpanStatus::Ok && in_time(span))
        {
            if let Some(duration) = span.duration() {
                let starts_without_state =
                    span.states.first().is_none_or(|(position, _)| *position > span.first);
                let states = span.states.iter().map(|(_, state)| state);
                let states = states.chain(starts_without_state.then_some(&none));
                let last = CompactString::from(span.state());
                self.add_span(&span.component, states, &last, duration);
            }
        }
        let difference = |child: Option<LogPosition>, parent: Option<LogPosition>| {
            Some(child?.time()?.saturating_sub(parent?.time()?))
        };
        // Processes that pass on the flow's ID only may begin further spans without a parent.
        let root = flow
            .spans
            .values()
            .filter(|span| span.has_id && span.parent.is_none())
            .max_by_key(|span| span.duration());
        if let Some(root) = root.filter(|root| root.status() == SpanStatus::Ok)
            && let Some(began) = root.first.time()
        {
            self.add_root(&root.component, began);
        }
        self.has_records |= flow.spans.values().any(|span| span.coverage.record);
        let lacks_start = |span: &Span| span.has_id && span.coverage.record && !span.coverage.start;
        self.without_start += flow.spans.values().filter(|span| lacks_start(span)).count() as u64;
        let is_closed = is_closed(flow);
        for child in flow.spans.values() {
            let caller = child.parent.and_then(|key| flow.spans.get(&key));
            let Some(parent) = caller else {
                // The caller is unknown, but its lines, and thus the child's, lie within the root.
                if let Some(root) = root.filter(|root| is_closed && root.key != child.key) {
                    let is_start = root.coverage.start || !root.coverage.record;
                    let began = Some(root.first).filter(|_| is_start);
                    let upper = difference(Some(child.first), began);
                    let ended = root.status() == SpanStatus::Ok;
                    let lower =
                        if ended { difference(Some(child.last), root.finished()) } else { None };
                    let bounds = SkewBounds::of_call(upper, lower, false);
                    self.add_call((service_instance(root), service_instance(child)), bounds);
                }
                continue;
            };
            let is_repeated = || {
                flow.spans.values().any(|other| {
                    other.key != child.key
                        && other.parent == child.parent
                        && other.component == child.component
                })
            };
            if is_closed {
                let key = (parent.component.clone(), child.component.clone());
                self.call_counts.entry(key).or_default().add(is_repeated());
            }
            let complete = child.status() == SpanStatus::Ok && parent.status() == SpanStatus::Ok;
            // A parent whose start is missing began earlier.
            let is_start = parent.coverage.start || !parent.coverage.record;
            let upper = difference(Some(child.first), Some(parent.first).filter(|_| is_start));
            let lower =
                if complete { difference(child.finished(), parent.finished()) } else { None };
            let without_response_clock = complete
                && child
                    .finished()
                    .zip(parent.finished())
                    .is_some_and(|(child, parent)| is_without_clock(child.clock, parent.clock));
            let bounds = SkewBounds::of_call(upper, lower, without_response_clock);
            self.add_call((service_instance(parent), service_instance(child)), bounds);
        }
    }
}

/// Returns whether a caller ended well with a lower logical clock than its callee.
pub(super) fn is_without_clock(callee: u64, caller: u64) -> bool {
    caller > 0 && callee > caller
}

/// Returns the process that a span ran in: its instance, or the producer if it names none.
pub fn service_instance(span: &Span) -> ServiceInstance {
    let producer_id =
        if span.instance.is_empty() { span.first.line.producer_id() } else { ProducerId::NONE };
    (span.component.clone(), span.instance.clone(), producer_id)
}
