//! What is kept of flows that ended well: counts, durations, and who calls whom.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::entry::Flow;
use super::mark::{Mark, Voice, keep_max, keep_min};
use super::span::{Fate, Span};

/// How long complete spans took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// How many.
    pub count: u64,
    /// The longest, in nanoseconds.
    pub longest: i64,
    /// How many ended in that state.
    pub ended: u64,
}

impl PeerStats {
    /// Adds one.
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

/// Bounds of how far one process's wall clock is ahead of another's, in nanoseconds.
///
/// A child opens after its parent and ends before it, so `child open - parent open` is an upper bound and
/// `child end - parent end` a lower one (Cristian, "Probabilistic clock synchronization", 1989).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SkewBounds {
    /// The least upper bound.
    pub upper: Option<i64>,
    /// The greatest lower bound.
    pub lower: Option<i64>,
}

impl SkewBounds {
    /// Tightens the bounds.
    pub fn add(&mut self, upper: Option<i64>, lower: Option<i64>) {
        keep_min(&mut self.upper, upper);
        keep_max(&mut self.lower, lower);
    }
}

/// A process as a flow names it: component, and instance or the voice that stands for one.
pub type Party = (CompactString, CompactString, Voice);

/// What is kept of flows that ended well.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// How many flows ended well.
    pub ok: u64,
    /// How long complete spans took, by component and state.
    pub peers: BTreeMap<(CompactString, CompactString), PeerStats>,
    /// Caller and callee, with what is known of their clocks.
    pub calls: BTreeMap<(Party, Party), SkewBounds>,
}

impl Settled {
    /// Adds what another part of the input knows.
    pub fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        for (key, stats) in other.peers {
            self.peers.entry(key).or_default().merge(stats);
        }
        for (key, bounds) in other.calls {
            self.calls.entry(key).or_default().add(bounds.upper, bounds.lower);
        }
    }

    /// Keeps the durations of a flow's complete spans, and who called whom.
    pub fn keep(&mut self, flow: &Flow) {
        // A span that came to its end only after somebody had given up is no measure of what is usual.
        let given_up = flow
            .spans
            .values()
            .filter_map(|span| span.cancelled.or(span.failed.as_ref().map(|failure| failure.mark)))
            .filter_map(Mark::time)
            .min();
        let in_time = |span: &Span| {
            given_up.is_none_or(|given_up| {
                span.finished().and_then(Mark::time).is_some_and(|end| end <= given_up)
            })
        };
        for span in flow.spans.values().filter(|span| span.fate() == Fate::Ok && in_time(span)) {
            if let Some(duration) = span.duration() {
                let none = std::iter::once("").filter(|_| {
                    span.states.is_empty()
                        || span.states.first().is_some_and(|(mark, _)| *mark > span.first)
                });
                for state in span.states.iter().map(|(_, state)| state.as_str()).chain(none) {
                    self.peers
                        .entry((span.component.clone(), CompactString::from(state)))
                        .or_default()
                        .add(duration, state == span.state());
                }
            }
        }
        for child in flow.spans.values() {
            let Some(parent) = child.parent.and_then(|key| flow.spans.get(&key)) else { continue };
            let complete = child.fate() == Fate::Ok && parent.fate() == Fate::Ok;
            let difference = |child: Option<Mark>, parent: Option<Mark>| {
                Some(child?.time()?.saturating_sub(parent?.time()?))
            };
            let upper = difference(Some(child.first), Some(parent.first));
            let lower =
                if complete { difference(child.finished(), parent.finished()) } else { None };
            self.calls.entry((party(parent), party(child))).or_default().add(upper, lower);
        }
    }
}

/// Who speaks in a span: its instance, or the voice that stands for one.
pub fn party(span: &Span) -> Party {
    let voice = if span.instance.is_empty() { span.first.place.voice() } else { Voice::NONE };
    (span.component.clone(), span.instance.clone(), voice)
}
