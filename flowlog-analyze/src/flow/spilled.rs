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

/// A flow, under one of its ids, that was written to disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spilled {
    begin: u64,
    length: u32,
    /// See [`Entry`].
    pub(super) traced: bool,
    pub(super) routed: bool,
    pub(super) has_spans: bool,
}

impl Spilled {
    /// The flow as it was written.
    ///
    /// # Errors
    /// Whatever reading it says.
    pub(super) fn read(self, spill: &Spill) -> io::Result<Entry> {
        let bytes = spill.read(self.begin, self.length as usize)?;
        postcard::from_bytes(&bytes).map_err(io::Error::other)
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
    /// Adds a flow, with what was written of it before; one that cannot be read again or written stays where it is.
    pub(super) fn add(&mut self, key: &FlowKey, entry: &Entry, before: Option<&Spilled>, spill: &Spill) {
        let bytes = match before {
            None => postcard::to_stdvec(entry),
            Some(before) => {
                let Ok(mut joined) = before.read(spill) else { return };
                joined.merge(entry.clone());
                postcard::to_stdvec(&joined)
            }
        };
        let Ok(bytes) = bytes else { return };
        let Ok(length) = u32::try_from(bytes.len()) else { return };
        let spilled = Spilled {
            begin: self.bytes.len() as u64,
            length,
            traced: entry.traced || before.is_some_and(|before| before.traced),
            routed: entry.routed || before.is_some_and(|before| before.routed),
            has_spans: entry.has_spans() || before.is_some_and(|before| before.has_spans),
        };
        self.bytes.extend_from_slice(&bytes);
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
            spilled.insert(key, Spilled { begin: begin + flow.begin, ..flow });
        }
        entries.shrink_to_fit();
    }
}
