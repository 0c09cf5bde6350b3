//! Flows that are kept on disk until the end of the input.
//!
//! A flow that failed or hangs is examined again only after all input has been read. A long run has
//! many such flows, and only the location on disk of each has to stay in memory. Later lines are
//! collected separately, and merged with it at the end.

use std::collections::HashMap;
use std::io;

use foldhash::fast::FixedState;

use super::state::FlowState;
use crate::event::FlowKey;
use crate::source::Spill;

/// Location of a written part of a flow: offset and length.
type SpillRange = (u64, u32);

/// Reference to a flow, under one of its IDs, that was written to disk in one or more parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpillRef {
    /// Last part. Each part starts with the location of the part before it.
    last: SpillRange,
    /// Copied from [`FlowState`], like the next field.
    pub(super) has_trace_id: bool,
    pub(super) routed: bool,
    pub(super) has_spans: bool,
}

impl SpillRef {
    /// Reads the flow as far as it was written.
    ///
    /// # Errors
    /// Returns an error if a part cannot be read or decoded.
    pub(super) fn read(self, spill: &Spill) -> io::Result<FlowState> {
        let (mut whole, mut next) = (FlowState::default(), Some(self.last));
        while let Some((begin, length)) = next {
            let bytes = spill.read(begin, length as usize)?;
            let (before, part): (Option<SpillRange>, FlowState) =
                postcard::from_bytes(&bytes).map_err(io::Error::other)?;
            whole.merge(part);
            next = before;
        }
        Ok(whole)
    }
}

/// Flows of one shard that are about to be written to disk.
#[derive(Debug, Default)]
pub(super) struct SpillBatch {
    pub(super) bytes: Vec<u8>,
    /// Flows, located as if `bytes` were at the beginning of the file.
    flows: Vec<(FlowKey, SpillRef)>,
}

impl SpillBatch {
    /// Adds a flow, or one more part of it. A flow that cannot be encoded stays in memory.
    pub(super) fn add(&mut self, key: &FlowKey, entry: &FlowState, before: Option<&SpillRef>) {
        let begin = self.bytes.len();
        let written =
            postcard::to_io(&(before.map(|before| before.last), entry), &mut self.bytes).is_ok();
        let Some(length) = u32::try_from(self.bytes.len() - begin).ok().filter(|_| written) else {
            return self.bytes.truncate(begin);
        };
        let spilled = SpillRef {
            last: (begin as u64, length),
            has_trace_id: entry.has_trace_id || before.is_some_and(|before| before.has_trace_id),
            routed: entry.routed || before.is_some_and(|before| before.routed),
            has_spans: entry.has_spans() || before.is_some_and(|before| before.has_spans),
        };
        self.flows.push((key.clone(), spilled));
    }

    /// Removes the written flows from memory. The batch is at offset `begin` of the file.
    pub(super) fn finish_spill(
        self,
        begin: u64,
        entries: &mut HashMap<FlowKey, FlowState, FixedState>,
        spilled: &mut HashMap<FlowKey, SpillRef, FixedState>,
    ) {
        for (key, flow) in self.flows {
            entries.remove(&key);
            let (at, length) = flow.last;
            spilled.insert(key, SpillRef { last: (begin + at, length), ..flow });
        }
        entries.shrink_to_fit();
    }
}
