//! Statistics of flows that ended well: counts, durations and calls.

use std::collections::HashMap;
use std::hash::Hash;

use compact_str::CompactString;
use foldhash::fast::FixedState;

use super::interner::Interner;
use super::position::{LogPosition, ProducerId, ServiceInstance, keep_max, keep_min};
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

/// Bounds on how far a callee's wall clock is ahead of its caller's, in nanoseconds.
///
/// A child opens after its parent and ends before it, so `child open - parent open` is an upper
/// bound and `child end - parent end` a lower one (Cristian, "Probabilistic clock synchronization",
/// 1989).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SkewBounds {
    /// Least upper bound.
    pub upper: Option<i64>,
    /// Greatest lower bound.
    pub lower: Option<i64>,
}

impl SkewBounds {
    /// Tightens the bounds.
    pub fn add(&mut self, upper: Option<i64>, lower: Option<i64>) {
        keep_min(&mut self.upper, upper);
        keep_max(&mut self.lower, lower);
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
}

/// Statistics with names.
pub type NamedStats = ClosedStats<CompactString, ServiceInstance>;

impl<Name, Instance> Default for ClosedStats<Name, Instance> {
    fn default() -> Self {
        Self { ok: 0, peers: HashMap::default(), calls: HashMap::default() }
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
    pub(super) fn add_call(
        &mut self,
        call: (Instance, Instance),
        upper: Option<i64>,
        lower: Option<i64>,
    ) {
        self.calls.entry(call).or_default().add(upper, lower);
    }

    /// Adds the statistics of another part of the input.
    pub fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        for (key, stats) in other.peers {
            self.peers.entry(key).or_default().merge(stats);
        }
        for (key, bounds) in other.calls {
            self.add_call(key, bounds.upper, bounds.lower);
        }
    }
}

impl ClosedStats<u32, u32> {
    /// Resolves the numbers to names.
    pub(super) fn resolve(self, interner: &Interner) -> NamedStats {
        let mut named = NamedStats { ok: self.ok, ..NamedStats::default() };
        let name = |number| interner.names.resolve(number).clone();
        for ((component, state), stats) in self.peers {
            named.peers.entry((name(component), name(state))).or_default().merge(stats);
        }
        for ((caller, callee), bounds) in self.calls {
            let call = (interner.service_instance(caller), interner.service_instance(callee));
            named.add_call(call, bounds.upper, bounds.lower);
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
        for child in flow.spans.values() {
            let Some(parent) = child.parent.and_then(|key| flow.spans.get(&key)) else { continue };
            let complete = child.status() == SpanStatus::Ok && parent.status() == SpanStatus::Ok;
            let difference = |child: Option<LogPosition>, parent: Option<LogPosition>| {
                Some(child?.time()?.saturating_sub(parent?.time()?))
            };
            let upper = difference(Some(child.first), Some(parent.first));
            let lower =
                if complete { difference(child.finished(), parent.finished()) } else { None };
            self.add_call((service_instance(parent), service_instance(child)), upper, lower);
        }
    }
}

/// Returns whether a flow ended well: it has a root, and every span ended without a failure.
///
/// Takes, for each span, whether it ended so and whether it is a root.
pub(super) fn ended_well(spans: impl Iterator<Item = (bool, bool)>) -> bool {
    let mut has_root = false;
    for (ended, is_root) in spans {
        if !ended {
            return false;
        }
        has_root |= is_root;
    }
    has_root
}

/// Returns the process that a span ran in: its instance, or the producer if it names none.
pub fn service_instance(span: &Span) -> ServiceInstance {
    let producer_id =
        if span.instance.is_empty() { span.first.line.producer_id() } else { ProducerId::NONE };
    (span.component.clone(), span.instance.clone(), producer_id)
}
