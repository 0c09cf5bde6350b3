//! The hybrid logical clock.
//!
//! Implements Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally
//! Distributed Databases" (2014), packed into 64 bits: 48 bits of Unix milliseconds and a 16-bit
//! counter. The counter carries into the milliseconds, so the clock never stalls.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::parse_hex16;

/// Maximum lead of a received clock over the local wall clock: 24 hours, in milliseconds. A clock
/// further ahead is not adopted.
pub const MAX_CLOCK_LEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// A reading of the clock. Within a flow, the event with the smaller reading happened before the
/// one with the greater reading, or concurrently with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clock(pub u64);

impl Clock {
    /// Parses 16 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex16(text).map(Self)
    }

    /// Returns the wall-clock part, in Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hybrid logical clock of a process. Every record and every received reading advances it.
#[derive(Debug, Default)]
pub struct HybridClock {
    last: AtomicU64,
    refused: AtomicU64,
}

impl HybridClock {
    /// Creates a clock that has not ticked.
    pub const fn new() -> Self {
        Self { last: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Advances the clock for a local event and returns its reading, `max(local + 1, now << 16)`.
    pub fn tick(&self, now_ms: u64) -> Clock {
        self.advance(now_ms << 16)
    }

    /// Advances the clock for the receipt of `received` and returns its reading.
    ///
    /// The reading is `max(local + 1, received + 1, now << 16)`.
    ///
    /// A reading more than [`MAX_CLOCK_LEAD_MS`] ahead of `now_ms` is not adopted but counted in
    /// [`HybridClock::refused`], because one broken host must not drag every clock forward.
    pub fn receive(&self, received: Clock, now_ms: u64) -> Clock {
        if received.unix_ms() > now_ms.saturating_add(MAX_CLOCK_LEAD_MS) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return self.tick(now_ms);
        }
        self.advance(received.0.saturating_add(1).max(now_ms << 16))
    }

    /// Returns the last reading; zero before the first.
    pub fn last(&self) -> Clock {
        Clock(self.last.load(Ordering::Relaxed))
    }

    /// Returns the number of received readings that were too far ahead to be adopted.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn advance(&self, at_least: u64) -> Clock {
        let transition = |last: u64| last.saturating_add(1).max(at_least);
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(transition(last)));
        Clock(transition(last.unwrap_or_else(|last| last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_receives() {
        let clock = HybridClock::new();
        assert_eq!(clock.tick(5), Clock(5 << 16));
        assert_eq!(clock.tick(5), Clock((5 << 16) + 1));
        assert_eq!(
            clock.tick(4),
            Clock((5 << 16) + 2),
            "a wall clock that steps back does not turn the clock back"
        );
        assert_eq!(clock.receive(Clock(9 << 16), 6), Clock((9 << 16) + 1));
        assert_eq!(clock.receive(Clock(3 << 16), 6), Clock((9 << 16) + 2));
        assert_eq!(clock.tick(11), Clock(11 << 16));
    }

    #[test]
    fn the_counter_carries_into_the_milliseconds() {
        let clock = HybridClock::new();
        clock.receive(Clock((7 << 16) | 0xffff), 7);
        assert_eq!(clock.tick(7), Clock((8 << 16) + 1));
    }

    #[test]
    fn readings_more_than_a_day_ahead_are_refused_and_counted() {
        let clock = HybridClock::new();
        let ahead = |ms: u64| Clock((10 + MAX_CLOCK_LEAD_MS + ms) << 16);
        assert_eq!(clock.receive(ahead(1), 10), Clock(10 << 16));
        assert_eq!(clock.refused(), 1);
        assert_eq!(clock.receive(ahead(0), 10), Clock(ahead(0).0 + 1));
        assert_eq!(clock.refused(), 1);
        assert_eq!(clock.receive(Clock(u64::MAX), 10).unix_ms(), 10 + MAX_CLOCK_LEAD_MS);
    }

    #[test]
    fn parses_hex() {
        assert_eq!(Clock::parse("019aaaacb23c001a"), Some(Clock(0x019a_aaac_b23c_001a)));
        assert_eq!(Clock::parse("19aaaacb23c001a"), None);
        assert_eq!(Clock(0x1a).to_string(), "000000000000001a");
    }
}
