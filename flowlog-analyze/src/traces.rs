//! Lines with the ID of a flow, as a sample: when each component worked for the same flow.
//!
//! Formats of any logger say which flow a line belongs to, but not when a component's work begins
//! or ends. The time between neighboring lines of a flow is what can be known, see
//! [`crate::profile`].

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::event::FlowKey;
use crate::flow::LineRef;

/// One line of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceRow {
    /// Hash of the flow's ID.
    pub flow: u64,
    /// Time in nanoseconds since the epoch.
    pub time: i64,
    /// The line.
    pub line: LineRef,
    /// Hash of the line's pattern.
    pub pattern: u64,
}

/// Maximum number of lines that are kept.
const MAX_ROWS: usize = 400_000;

/// Lines of each flow, in the order of time.
pub type FlowLines = Vec<Vec<TraceRow>>;

/// Lines of flows. If there are too many, flows are dropped by the hash of their IDs, so that the
/// others are complete, and the same ones are kept in any order of merging.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    rows: Vec<TraceRow>,
    depth: u32,
}

impl Traces {
    /// Adds a line of a flow, unless its ID is valid in one source only.
    pub fn add(&mut self, flow: &FlowKey, time: i64, line: LineRef, pattern: u64) {
        if matches!(flow, FlowKey::SourceLocal(..)) {
            return;
        }
        let flow = FixedState::default().hash_one(flow);
        if flow.leading_zeros() >= self.depth {
            self.rows.push(TraceRow { flow, time, line, pattern });
        }
    }

    /// Merges the lines of another part of the input.
    pub fn merge(&mut self, mut other: Self) {
        self.raise(other.depth);
        let depth = self.depth;
        other.rows.retain(|row| row.flow.leading_zeros() >= depth);
        self.rows.append(&mut other.rows);
        while self.rows.len() > MAX_ROWS {
            self.raise(self.depth + 1);
        }
    }

    fn raise(&mut self, depth: u32) {
        if depth > self.depth {
            self.depth = depth;
            self.rows.retain(|row| row.flow.leading_zeros() >= depth);
        }
    }

    /// Returns the lines of each flow, in the order of time.
    pub fn flows(&self) -> FlowLines {
        let mut rows = self.rows.clone();
        rows.sort_unstable();
        rows.chunk_by(|a, b| a.flow == b.flow).map(<[TraceRow]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_does_not_depend_on_the_order_of_merging() {
        let part = |from: u64| {
            let mut part = Traces::default();
            for at in from..from + 150_000 {
                let flow = FlowKey::External(format!("flow-{}", at / 3).into());
                let line = LineRef { source: 0, offset: at, producer: 0 };
                part.add(&flow, at.cast_signed(), line, 7);
            }
            part
        };
        let merged = |order: &[u64]| {
            let mut all = Traces::default();
            order.iter().for_each(|from| all.merge(part(from * 150_000)));
            all.flows()
        };
        let flows = merged(&[0, 1, 2, 3]);
        assert_eq!(flows, merged(&[3, 1, 0, 2]));
        assert!(flows.iter().all(|flow| flow.len() == 3), "a flow is cut");
        assert!(flows.iter().map(Vec::len).sum::<usize>() <= MAX_ROWS);
    }
}
