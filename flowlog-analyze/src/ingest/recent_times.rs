//! Recent event times, used as a fallback for events without a timestamp.

use std::collections::VecDeque;

use crate::lines::MAX_EVENT_BYTES;

/// Offset, time and resolution of recent events with a timestamp, by offset.
#[derive(Debug, Default)]
pub(super) struct RecentTimes {
    times: VecDeque<(u64, i64, u32)>,
}

impl RecentTimes {
    /// Returns the time and resolution that the event at an offset inherits: those of the last
    /// event before it, if that is at most [`MAX_EVENT_BYTES`] bytes away.
    pub(super) fn latest_before(&self, at: u64) -> Option<(i64, u32)> {
        let found = match self.times.back() {
            Some(last) if last.0 >= at => {
                self.times.get(self.times.partition_point(|recent| recent.0 < at).checked_sub(1)?)
            }
            last => last,
        };
        found
            .filter(|recent| at - recent.0 <= MAX_EVENT_BYTES as u64)
            .map(|(_, time, resolution_ns)| (*time, *resolution_ns))
    }

    /// Records a time for later events to inherit.
    pub(super) fn record(&mut self, time: i64, resolution_ns: u32, at: u64) {
        while self.times.front().is_some_and(|recent| recent.0 + 2 * (MAX_EVENT_BYTES as u64) < at)
        {
            self.times.pop_front();
        }
        match self.times.back() {
            Some(last) if last.0 >= at => {
                let line = self.times.partition_point(|recent| recent.0 < at);
                match self.times.get_mut(line) {
                    Some(recent) if recent.0 == at => *recent = (at, time, resolution_ns),
                    _ => self.times.insert(line, (at, time, resolution_ns)),
                }
            }
            _ => self.times.push_back((at, time, resolution_ns)),
        }
    }
}
