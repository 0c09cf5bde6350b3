//! State of one producer's stream: which of its events may continue.

use super::pending::PendingEvent;
use super::{AcceptedLine, RawEvent};

/// State of a stream.
#[derive(Default)]
pub(super) enum Slot<'c> {
    /// No line of the stream was seen yet: an event from before the chunk may continue.
    #[default]
    Unknown,
    /// No event can continue.
    Closed,
    /// This event may continue.
    Open(Box<PendingEvent<'c>>),
    /// This line may continue, although it was accepted: it matches a template.
    Template { accepted: AcceptedLine, at: u64, line: &'c [u8] },
}

impl<'c> Slot<'c> {
    pub(super) fn open(&self) -> Option<&PendingEvent<'c>> {
        if let Self::Open(open) = self { Some(open) } else { None }
    }

    pub(super) fn close(&mut self) -> Option<RawEvent<'c>> {
        match std::mem::replace(self, Self::Closed) {
            Self::Open(open) => Some(open.event),
            Self::Unknown | Self::Closed | Self::Template { .. } => None,
        }
    }

    /// Returns whether an event of the chunk may continue.
    pub(super) fn is_waiting(&self, chunk_start: u64) -> bool {
        match self {
            Self::Open(open) => open.event.starts_in_chunk,
            Self::Template { at, .. } => *at >= chunk_start,
            Self::Unknown | Self::Closed => false,
        }
    }
}
