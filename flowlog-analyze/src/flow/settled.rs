//! What is kept of flows that ended well: counts, durations, and who calls whom.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::mark::{Voice, keep_max, keep_min};

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

    fn merge(&mut self, other: Self) {
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
}
