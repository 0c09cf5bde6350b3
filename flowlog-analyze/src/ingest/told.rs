//! The times that events tell, for those behind them that tell none.

use std::collections::VecDeque;

use crate::lines::MAX_EVENT;

/// Where each event with a time begins, its time, and how much later it may have been; by place.
#[derive(Debug, Default)]
pub(super) struct Told {
    times: VecDeque<(u64, i64, u32)>,
}

impl Told {
    /// The time that the event at an offset may take over: that of the last event before it.
    pub(super) fn before(&self, at: u64) -> Option<(i64, u32)> {
        let found = match self.times.back() {
            Some(last) if last.0 >= at => {
                self.times.get(self.times.partition_point(|told| told.0 < at).checked_sub(1)?)
            }
            last => last,
        };
        found.filter(|told| at - told.0 <= MAX_EVENT as u64).map(|(_, time, blur)| (*time, *blur))
    }

    /// Notes a time for events after it to take over.
    pub(super) fn tell(&mut self, time: i64, blur: u32, at: u64) {
        while self.times.front().is_some_and(|told| told.0 + 2 * (MAX_EVENT as u64) < at) {
            self.times.pop_front();
        }
        match self.times.back() {
            Some(last) if last.0 >= at => {
                let place = self.times.partition_point(|told| told.0 < at);
                match self.times.get_mut(place) {
                    Some(told) if told.0 == at => *told = (at, time, blur),
                    _ => self.times.insert(place, (at, time, blur)),
                }
            }
            _ => self.times.push_back((at, time, blur)),
        }
    }
}
