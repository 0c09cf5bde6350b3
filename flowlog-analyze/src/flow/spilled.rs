//! Flows that wait on disk for the end.
//!
//! A flow that failed, or hangs, is looked at again only when everything was read: for a long run those are many, and all that
//! has to be at hand of one is where it was written to. What is said of it later is kept apart, and joined with it at the end.

use std::collections::HashMap;
use std::io;

use foldhash::fast::FixedState;

use super::entry::Entry;
use crate::observation::FlowKey;
use crate::source::Spill;

/// Where a part of a flow was written to: the beginning and the length.
type Written = (u64, u32);

/// A flow, under one of its ids, that was written to disk: once, or part by part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spilled {
    /// The last part, in front of which stands where the one before it is.
    last: Written,
    /// See [`Entry`].
    pub(super) traced: bool,
    pub(super) routed: bool,
    pub(super) has_spans: bool,
}

impl Spilled {
    /// The flow as far as it was written.
    ///
    /// # Errors
    /// Whatever reading it says.
    pub(super) fn read(self, spill: &Spill) -> io::Result<Entry> {
        let (mut whole, mut next) = (Entry::default(), Some(self.last));
        while let Some((begin, length)) = next {
            let bytes = spill.read(begin, length as usize)?;
            let (before, part): (Option<Written>, Entry) =
                postcard::from_bytes(&bytes).map_err(io::Error::other)?;
            whole.merge(part);
            next = before;
        }
        Ok(whole)
    }
}

/// Flows of one shard on their way to disk.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    /// Each as if the bytes stood at the beginning of the file.
    flows: Vec<(FlowKey, Spilled)>,
}

impl Outgoing {
    /// Adds a flow, or one more part of it; one that cannot be written stays where it is.
    pub(super) fn add(&mut self, key: &FlowKey, entry: &Entry, before: Option<&Spilled>) {
        let begin = self.bytes.len();
        let written =
            postcard::to_io(&(before.map(|before| before.last), entry), &mut self.bytes).is_ok();
        let Some(length) = u32::try_from(self.bytes.len() - begin).ok().filter(|_| written) else {
            return self.bytes.truncate(begin);
        };
        let spilled = Spilled {
            last: (begin as u64, length),
            traced: entry.traced || before.is_some_and(|before| before.traced),
            routed: entry.routed || before.is_some_and(|before| before.routed),
            has_spans: entry.has_spans() || before.is_some_and(|before| before.has_spans),
        };
        self.flows.push((key.clone(), spilled));
    }

    /// Lets go of what was written, which begins there in the file.
    pub(super) fn leave(
        self,
        begin: u64,
        entries: &mut HashMap<FlowKey, Entry, FixedState>,
        spilled: &mut HashMap<FlowKey, Spilled, FixedState>,
    ) {
        for (key, flow) in self.flows {
            entries.remove(&key);
            let (at, length) = flow.last;
            spilled.insert(key, Spilled { last: (begin + at, length), ..flow });
        }
        entries.shrink_to_fit();
    }
}
