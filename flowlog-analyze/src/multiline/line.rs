//! Lines of a chunk, and the fragments of lines that an envelope split.

use std::borrow::Cow;

use crate::envelope::EnvelopeMeta;

/// Position of a line relative to the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    /// Before the chunk.
    Lookbehind,
    /// In the chunk.
    Chunk,
    /// After the chunk. An event that begins here does not belong to the chunk.
    Lookahead,
}

/// Line that its envelope may have split, as far as it has been read.
pub(super) struct Fragment<'c> {
    pub(super) line: Line<'c>,
    /// Whether the line is incomplete.
    pub(super) partial: bool,
    /// Time at which its last fragment was read.
    pub(super) last: Option<i64>,
}

/// Complete line, without the envelope that may have split it.
pub(super) struct Line<'c> {
    pub(super) at: u64,
    pub(super) end: u64,
    pub(super) lines: u64,
    pub(super) text: Cow<'c, [u8]>,
    pub(super) meta: EnvelopeMeta,
    pub(super) region: Region,
}
